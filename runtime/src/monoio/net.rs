//! Sockets on monoio, for its io_uring and its epoll driver alike.
//!
//! The two halves of a connection share one monoio socket; it closes when both are dropped (and
//! nothing of theirs is in flight). Steady-state `recv` and `send` allocate nothing and make no
//! system call of their own on a ring.
//!
//! Waiting pins at most a small block: a small `recv` hands its block to the kernel at once, a
//! large or late one first looks whether anything is there, and takes its block only for bytes that
//! are. Accepting waits for readiness and then accepts without waiting, on both drivers, because a
//! cancelled accept that had already succeeded would lose its descriptor in the ring.

use std::cell::UnsafeCell;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;

use ::monoio::buf::{IoBuf, IoBufMut};
use ::monoio::io::{AsyncReadRent, AsyncWriteRent};
use ::monoio::net::{TcpListener, TcpStream};

use crate::abort::Guard;
use crate::buf::Buf;
use crate::datagram::Bound;
use crate::poison::Poison;
use crate::socket::Home;
use crate::{Abort, Runtime, Size, socket};

use super::turn::Turn;

/// Looks at ready datagram sockets in a row before giving way: each is followed by much work.
const DATAGRAM_TURN_MAX: u8 = 2;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    guard: Guard,
    inner: TcpListener,
    turn: Turn,
}

/// The receiving half.
#[derive(Debug)]
pub struct Stream {
    socket: Rc<Connection>,
    poison: Poison,
    turn: Turn,
    /// The last large `recv` took all there was: look before the next one.
    drained: bool,
}

/// The sending half.
#[derive(Debug)]
pub struct Sink {
    socket: Rc<Connection>,
    poison: Poison,
    turn: Turn,
}

/// What the halves share. The guard comes first: it must forget the descriptor before it closes.
#[derive(Debug)]
struct Connection {
    guard: Guard,
    inner: UnsafeCell<TcpStream>,
}

/// A bound datagram socket. What is waited on comes first: it must be given up before the sockets.
#[derive(Debug)]
pub struct Datagram {
    polled: TcpStream,
    turn: Turn,
    bound: Rc<Bound>,
}

pub(crate) fn listen(address: SocketAddr, home: Home) -> io::Result<Listener> {
    let inner = TcpListener::from_std(socket::listen(address, home)?)?;
    Ok(Listener { guard: Guard::new(inner.as_raw_fd()), inner, turn: Turn::default() })
}

pub(crate) async fn connect(address: SocketAddr) -> io::Result<(Sink, Stream)> {
    let stream = TcpStream::connect_addr(address).await?;
    let halves = Connection::halves(stream);
    socket::set_options((&halves.0.socket.fd()).into())?;
    Ok(halves)
}

/// Waits on a duplicate, since the drivers register and close what they are given.
pub(crate) async fn readable(fd: BorrowedFd<'_>) -> io::Result<()> {
    polled(fd)?.readable(false).await
}

/// A duplicate of `fd` that nothing but polling is ever asked of.
fn polled(fd: BorrowedFd<'_>) -> io::Result<TcpStream> {
    TcpStream::from_std(StdStream::from(fd.try_clone_to_owned()?))
}

impl Datagram {
    pub(crate) fn new(address: SocketAddr, home: Home) -> io::Result<Self> {
        let bound = Bound::new(address, home)?;
        let polled = polled(bound.watch())?;
        Ok(Self { polled, turn: Turn::of(DATAGRAM_TURN_MAX), bound: Rc::new(bound) })
    }
}

impl crate::Datagram for Datagram {
    fn bound(&self) -> &Rc<Bound> {
        &self.bound
    }

    async fn ready(&mut self) -> io::Result<()> {
        let Self { polled, turn, .. } = self;
        turn.take(pin!(polled.readable(false))).await
    }
}

impl<R: Runtime<Stream = Stream, Sink = Sink>> crate::Listener<R> for Listener {
    async fn accept(&mut self) -> io::Result<(Sink, Stream, SocketAddr)> {
        let Self { inner, turn, .. } = self;
        turn.take(pin!(accept(inner))).await
    }

    fn abort_handle(&self) -> Abort {
        self.guard.handle()
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

async fn accept(inner: &TcpListener) -> io::Result<(Sink, Stream, SocketAddr)> {
    // SAFETY: the listener owns the descriptor and outlives the borrow.
    let fd = unsafe { BorrowedFd::borrow_raw(inner.as_raw_fd()) };
    loop {
        match socket::accept(fd) {
            Ok((stream, peer)) => {
                let (sink, stream) = Connection::halves(TcpStream::from_std(stream)?);
                return Ok((sink, stream, peer));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                inner.readable(false).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Connection {
    fn halves(inner: TcpStream) -> (Sink, Stream) {
        let guard = Guard::new(inner.as_raw_fd());
        let socket = Rc::new(Self { guard, inner: UnsafeCell::new(inner) });
        (
            Sink { socket: Rc::clone(&socket), poison: Poison::default(), turn: Turn::default() },
            Stream { socket, poison: Poison::default(), turn: Turn::default(), drained: true },
        )
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: a shared look at the descriptor's number; the connection owns it and outlives
        // the borrow.
        unsafe { BorrowedFd::borrow_raw((*self.inner.get()).as_raw_fd()) }
    }

    fn receive(&self, buf: Buf) -> impl Future<Output = (io::Result<usize>, Buf)> {
        // SAFETY: monoio wants `&mut` only to copy the shared descriptor into the operation, which
        // happens before `read` returns; its own split halves do the same. Everything is on one
        // thread, so no other reference is live during the call.
        unsafe { &mut *self.inner.get() }.read(buf)
    }

    fn send<B: IoBuf>(&self, bytes: B) -> impl Future<Output = (io::Result<usize>, B)> {
        // SAFETY: as in `receive`.
        unsafe { &mut *self.inner.get() }.write(bytes)
    }

    async fn readable(&self) -> io::Result<()> {
        // SAFETY: only shared references to the socket exist while this waits, or exclusive ones
        // that end before they could overlap with a use of this one (see `receive`).
        let inner = unsafe { &*self.inner.get() };
        inner.readable(false).await
    }
}

impl crate::Stream for Stream {
    async fn recv(&mut self, size: Size) -> io::Result<Buf> {
        self.poison.enter()?;
        let received = match size {
            Size::Small => self.turn.take(pin!(small(&self.socket))).await,
            Size::Late => self.turn.take(pin!(ready(&self.socket, size, &mut true))).await,
            Size::Large => self.turn.take(pin!(ready(&self.socket, size, &mut self.drained))).await,
        };
        self.poison.leave();
        received
    }

    fn abort_handle(&self) -> Abort {
        self.socket.guard.handle()
    }

    fn is_stale(&self) -> bool {
        socket::is_stale(self.socket.fd())
    }
}

async fn small(socket: &Connection) -> io::Result<Buf> {
    let (received, buf) = socket.receive(Buf::take(Size::Small)).await;
    received.map(|_| buf)
}

/// Takes a block only once bytes are there.
async fn ready(socket: &Connection, size: Size, drained: &mut bool) -> io::Result<Buf> {
    loop {
        if *drained {
            socket.readable().await?;
        }
        match socket::receive(socket.fd(), Buf::take(size)) {
            Ok((buf, full)) => {
                *drained = !full;
                return Ok(buf);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *drained = true,
            Err(error) => return Err(error),
        }
    }
}

impl crate::Sink for Sink {
    fn send(&mut self, buf: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>> {
        self.all(buf)
    }

    async fn send_buf(&mut self, buf: Buf) -> io::Result<()> {
        self.all(buf).await.map(drop)
    }

    fn finish(&mut self) {
        socket::finish(self.socket.fd());
    }
}

impl Sink {
    async fn all<B: IoBuf>(&mut self, bytes: B) -> io::Result<B> {
        self.poison.enter()?;
        let mut rest = Rest { bytes, sent: 0 };
        let result = loop {
            if rest.bytes_init() == 0 {
                break Ok(rest.bytes);
            }
            let (sent, back) = self.turn.take(pin!(self.socket.send(rest))).await;
            rest = back;
            match sent {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => rest.sent += n,
                Err(error) => break Err(error),
            }
        };
        self.poison.leave();
        result
    }
}

/// What is left to send.
struct Rest<B> {
    bytes: B,
    sent: usize,
}

// SAFETY: the pointer and the length describe the tail of an `IoBuf`, which keeps its bytes in
// place while it is not touched; `sent` never exceeds its length.
unsafe impl<B: IoBuf> IoBuf for Rest<B> {
    fn read_ptr(&self) -> *const u8 {
        self.bytes.read_ptr().wrapping_add(self.sent)
    }

    fn bytes_init(&self) -> usize {
        self.bytes.bytes_init() - self.sent
    }
}

// SAFETY: the bytes are in a heap block that moves with the `Buf` by pointer only.
unsafe impl IoBuf for Buf {
    fn read_ptr(&self) -> *const u8 {
        self.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: as above; `room` is the whole block.
unsafe impl IoBufMut for Buf {
    fn write_ptr(&mut self) -> *mut u8 {
        self.room().as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.room().len()
    }

    unsafe fn set_init(&mut self, n: usize) {
        self.set_filled(n);
    }
}
