//! The `glommio` backend: an executor of its own kind, which polls for readiness through io_uring.
//!
//! It owns no buffer on behalf of the kernel: a block is taken when bytes are there and received
//! into by a plain system call. Whatever has to wait (a socket, a listener, an eventfd) waits on a
//! glommio stream, which is what glommio offers for polling a descriptor.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use ::glommio::net::TcpStream;
use ::glommio::timer::Timer;
use ::glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use futures_io::{AsyncRead, AsyncWrite};

use crate::abort::Guard;
use crate::buf::Buf;
use crate::datagram::Bound;
use crate::poison::Poison;
use crate::socket::Home;
use crate::{Abort, Options, Runtime, Size, StartError, cores, probe, socket};

/// Entries of each of an executor's three rings unless the options say otherwise: small enough for
/// several executors under a memlock limit of 8 MiB.
const ENTRIES_DEFAULT: u32 = 512;
/// Registered memory for file I/O, which we do not use: glommio's least.
const IO_MEMORY: usize = 64 * 1024;

/// Readiness through io_uring, by glommio.
#[derive(Clone, Copy, Debug)]
pub struct Glommio;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    guard: Guard,
    inner: TcpListener,
}

/// The receiving half.
#[derive(Debug)]
pub struct Stream {
    socket: Rc<Connection>,
    poison: Poison,
}

/// The sending half.
#[derive(Debug)]
pub struct Sink {
    socket: Rc<Connection>,
    poison: Poison,
}

/// A bound datagram socket.
#[derive(Debug)]
pub struct Datagram {
    bound: Rc<Bound>,
}

/// What the halves share. The guard comes first: it must forget the descriptor before it closes.
#[derive(Debug)]
struct Connection {
    guard: Guard,
    inner: RefCell<TcpStream>,
}

impl Runtime for Glommio {
    const NAME: &'static str = "glommio";
    type Listener = Listener;
    type Stream = Stream;
    type Sink = Sink;
    type Datagram = Datagram;

    fn block_on<F: Future>(
        options: &Options,
        main: impl FnOnce() -> F,
    ) -> Result<F::Output, StartError> {
        cores::pin_if(options.core)?;
        probe::uring()?;
        let executor = executor(options.entries)?;
        Ok(executor.run(async { main().await }))
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        ::glommio::spawn_local(task).detach();
    }

    async fn sleep_until(deadline: Instant) {
        Timer::new(deadline.saturating_duration_since(Instant::now())).await;
    }

    fn listen(address: SocketAddr, home: Home) -> io::Result<Listener> {
        let inner = socket::listen(address, home)?;
        Ok(Listener { guard: Guard::new(inner.as_raw_fd()), inner })
    }

    async fn connect(address: SocketAddr) -> io::Result<(Sink, Stream)> {
        let mut inner = adopt(socket::connecting(address)?.into());
        // Sending nothing waits for the connection, and tells its error.
        poll_fn(|cx| Pin::new(&mut inner).poll_write(cx, &[])).await?;
        Ok(Connection::halves(inner))
    }

    fn bind(address: SocketAddr, home: Home) -> io::Result<Datagram> {
        Ok(Datagram { bound: Rc::new(Bound::new(address, home)?) })
    }

    /// Polls a duplicate as if it were a stream. Receiving from what is no stream fails, and that
    /// it was tried is the news: the descriptor can be read. Nothing is consumed.
    async fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut duplicate = adopt(fd.try_clone_to_owned()?);
        let _ = poll_fn(|cx| Pin::new(&mut duplicate).poll_read(cx, &mut [0])).await;
        Ok(())
    }
}

/// The pinning is ours already, so glommio places nothing.
fn executor(entries: u32) -> Result<LocalExecutor, StartError> {
    // Without the hard limit the executor may still fit; if not, it says so.
    let _ = socket::raise_memlock();
    let entries = if entries == 0 { ENTRIES_DEFAULT } else { entries };
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(IO_MEMORY)
        .ring_depth(entries as usize)
        .make()
        .map_err(|error| StartError::Backend {
            backend: Glommio::NAME,
            cause: error.to_string(),
            remedy: "raise the memlock limit (ulimit -l) or grant CAP_IPC_LOCK, \
                     or run with fewer shards",
        })
}

/// Begins to poll `fd` at once.
fn adopt(fd: OwnedFd) -> TcpStream {
    // SAFETY: the descriptor is open and ours, and ownership passes to the stream.
    unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) }
}

impl crate::Listener<Glommio> for Listener {
    async fn accept(&mut self) -> io::Result<(Sink, Stream, SocketAddr)> {
        loop {
            match socket::accept(self.inner.as_fd()) {
                Ok((stream, peer)) => {
                    let (sink, stream) = Connection::halves(adopt(stream.into()));
                    return Ok((sink, stream, peer));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Glommio::readable(self.inner.as_fd()).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn abort_handle(&self) -> Abort {
        self.guard.handle()
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl crate::Datagram for Datagram {
    fn bound(&self) -> &Rc<Bound> {
        &self.bound
    }

    /// Always asks the ring, so others get their turn.
    async fn ready(&mut self) -> io::Result<()> {
        Glommio::readable(self.bound.watch()).await
    }
}

impl Connection {
    fn halves(inner: TcpStream) -> (Sink, Stream) {
        let guard = Guard::new(inner.as_raw_fd());
        let socket = Rc::new(Self { guard, inner: RefCell::new(inner) });
        (
            Sink { socket: Rc::clone(&socket), poison: Poison::default() },
            Stream { socket, poison: Poison::default() },
        )
    }

    fn with_fd<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        let inner = self.inner.borrow();
        // SAFETY: the stream owns the descriptor and is borrowed for as long.
        f(unsafe { BorrowedFd::borrow_raw(inner.as_raw_fd()) })
    }

    /// A block is held only while it is being received into.
    fn poll_recv(&self, cx: &mut Context<'_>, size: Size) -> Poll<io::Result<Buf>> {
        let mut buf = Buf::take(size);
        let n = ready!(Pin::new(&mut *self.inner.borrow_mut()).poll_read(cx, buf.room()))?;
        buf.set_filled(n);
        Poll::Ready(Ok(buf))
    }

    async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent =
                poll_fn(|cx| Pin::new(&mut *self.inner.borrow_mut()).poll_write(cx, bytes)).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[sent..];
        }
        Ok(())
    }
}

impl crate::Stream for Stream {
    async fn recv(&mut self, size: Size) -> io::Result<Buf> {
        self.poison.enter()?;
        let received = poll_fn(|cx| self.socket.poll_recv(cx, size)).await;
        self.poison.leave();
        received
    }

    fn abort_handle(&self) -> Abort {
        self.socket.guard.handle()
    }

    fn is_stale(&self) -> bool {
        self.socket.with_fd(socket::is_stale)
    }
}

impl crate::Sink for Sink {
    async fn send(&mut self, buf: Vec<u8>) -> io::Result<Vec<u8>> {
        self.all(&buf).await.map(|()| buf)
    }

    async fn send_buf(&mut self, buf: Buf) -> io::Result<()> {
        self.all(&buf).await
    }

    fn finish(&mut self) {
        self.socket.with_fd(socket::finish);
    }
}

impl Sink {
    async fn all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.poison.enter()?;
        let sent = self.socket.send_all(bytes).await;
        self.poison.leave();
        sent
    }
}
