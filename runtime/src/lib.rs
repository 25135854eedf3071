//! The machine: what a shard may ask of its core, and the backends that answer.
//!
//! The only crate that may contain `unsafe` or name monoio, glommio, io_uring or libc. It knows
//! nothing of HTTP or Gateway API. `shards` is generic over [`Runtime`]; `control` picks the backend.
//!
//! # Contract
//! One suite (`tests/contract`) runs it against every backend.
//! 1. `recv` returns a [`Buf`] that this thread's pool owns; an empty one means the peer sent FIN.
//!    At most one `recv` and one `send` are in flight per half. Waiting pins at most one small block.
//! 2. Dropping an unfinished `recv` or `send` poisons that half: later calls fail with
//!    `ErrorKind::NotConnected`. A buffer that the kernel may still touch is never freed or reused.
//! 3. Dropping an unfinished `accept` or `connect` leaks no file descriptor.
//! 4. `send` keeps order and sends everything or fails.
//! 5. Deadlines are the caller's: [`Abort::abort`] ends both halves from elsewhere on the same
//!    thread; a waiting `recv` then returns empty or an error, a waiting `send` an error.
//! 6. [`StartError`] names the remedy.
//! 7. A half that is dropped sends nothing; the socket closes when both halves are gone.
//! 8. A half whose operations never have to wait gives way to other tasks and timers after some of
//!    them. Tasks must do the same: one that wakes itself in a loop starves its thread.
//! 9. `Runtime::readable` consumes nothing and may be dropped at any time.
//! 10. Datagrams keep their bounds, and their order between two sockets. The address that one was
//!     sent to is known, and answers leave from it. An ICMP error is told once, by the connected
//!     socket that it concerns; the bound one goes on whatever happens to its peers.
//!     [`Datagram::ready`] consumes nothing, may be dropped at any time, and gives way like a half.
//! 11. When `main` ends, tasks that still wait are abandoned; a ring may then outlive its runtime
//!     until the process ends, so end the tasks first where that matters.

mod abort;
pub mod alloc;
pub mod buf;
pub mod cores;
pub mod datagram;
mod epoll;
mod glommio;
pub mod mailbox;
pub mod memory;
mod monoio;
mod poison;
pub mod probe;
pub mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Instant;

use thiserror::Error;

use self::datagram::Bound;
use self::socket::Home;

pub use self::abort::Abort;
pub use self::buf::Buf;
pub use self::epoll::Epoll;
pub use self::glommio::Glommio;
pub use self::monoio::Monoio;

/// A backend: a zero-sized marker, so that one binary holds all of them.
pub trait Runtime: Sized + 'static {
    /// Its name on the command line and in metrics.
    const NAME: &'static str;
    /// A listening socket.
    type Listener: Listener<Self>;
    /// The receiving half of a connection.
    type Stream: Stream;
    /// The sending half of a connection.
    type Sink: Sink;

    /// A bound datagram socket with those that it connects.
    type Datagram: Datagram;

    /// Runs `main` to its end on this thread, pinned as `options` say.
    ///
    /// # Errors
    /// The backend cannot start here; the error says what to do.
    fn block_on<F: Future>(
        options: &Options,
        main: impl FnOnce() -> F,
    ) -> Result<F::Output, StartError>;

    /// Starts a task on this thread; it runs on after its creator.
    fn spawn(task: impl Future<Output = ()> + 'static);

    /// The monotonic clock.
    #[must_use]
    fn now() -> Instant {
        Instant::now()
    }

    /// Waits until `deadline` (granularity: 1 to 2 ms).
    fn sleep_until(deadline: Instant) -> impl Future<Output = ()>;

    /// Opens a listening socket with SO_REUSEPORT; several may share an address, and `home` says
    /// whether it must be one of this host.
    ///
    /// # Errors
    /// As the kernel says (`AddrInUse`, `AddrNotAvailable`, `PermissionDenied`).
    fn listen(address: SocketAddr, home: Home) -> io::Result<Self::Listener>;

    /// Connects, with TCP_NODELAY.
    fn connect(address: SocketAddr)
    -> impl Future<Output = io::Result<(Self::Sink, Self::Stream)>>;

    /// Binds a datagram socket; see [`Bound::new`].
    ///
    /// # Errors
    /// As the kernel says (`AddrInUse`, `AddrNotAvailable`, `PermissionDenied`).
    fn bind(address: SocketAddr, home: Home) -> io::Result<Self::Datagram>;

    /// Waits until `fd` (an eventfd or timerfd, not a socket of this backend) can be read.
    fn readable(fd: BorrowedFd<'_>) -> impl Future<Output = io::Result<()>>;
}

/// A listening socket.
pub trait Listener<R: Runtime> {
    /// The next connection with its peer's address, with TCP_NODELAY.
    fn accept(&mut self) -> impl Future<Output = io::Result<(R::Sink, R::Stream, SocketAddr)>>;
    /// Stops the listening from elsewhere on this thread: a waiting `accept` then fails.
    fn abort_handle(&self) -> Abort;
    /// The bound address.
    ///
    /// # Errors
    /// As the kernel says.
    fn local_address(&self) -> io::Result<SocketAddr>;
}

/// A bound datagram socket with those that it connects. Receiving and sending never wait.
pub trait Datagram: 'static {
    /// The sockets.
    fn bound(&self) -> &Rc<Bound>;
    /// Waits until one of them has datagrams or an error, so that [`Bound::ready`] names it.
    fn ready(&mut self) -> impl Future<Output = io::Result<()>>;
}

/// The receiving half.
pub trait Stream: 'static {
    /// Bytes that arrived; empty means FIN.
    fn recv(&mut self, size: Size) -> impl Future<Output = io::Result<Buf>>;
    /// Ends both halves from elsewhere on this thread.
    fn abort_handle(&self) -> Abort;
    /// Whether the peer has closed or sent unexpected bytes while nobody was reading: a non-blocking
    /// look (`MSG_PEEK`) at an idle connection.
    fn is_stale(&self) -> bool;
}

/// The sending half.
pub trait Sink: 'static {
    /// Sends all of `buf` and gives it back for reuse.
    fn send(&mut self, buf: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>>;
    /// Sends a received block onwards without copying it.
    fn send_buf(&mut self, buf: Buf) -> impl Future<Output = io::Result<()>>;
    /// Sends FIN; the other half goes on.
    fn finish(&mut self);
}

/// How much a `recv` expects, a hint for the block it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A head: 2 KiB, also while idle.
    Small,
    /// A head that may be long in coming: 2 KiB, taken only once bytes are there; it costs a system
    /// call of its own.
    Late,
    /// A body: 64 KiB, taken only once bytes are there; it costs a system call of its own.
    Large,
}

/// How to start a backend.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Pin the thread to this core.
    pub core: Option<cores::CoreId>,
    /// Submission queue entries (rings only); 0 takes the backend's default.
    pub entries: u32,
}

/// Why a backend cannot start, and the remedy.
#[derive(Debug, Error)]
pub enum StartError {
    /// The kernel has no io_uring, or too old a one.
    #[error("io_uring is not usable: {cause}; {remedy}")]
    Uring {
        /// What failed.
        cause: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The thread could not be pinned.
    #[error("cannot pin to core {core}: {source}; choose among the cores of this cgroup's cpuset")]
    Pin {
        /// Which core.
        core: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else the backend said.
    #[error("the {backend} runtime cannot start: {cause}; {remedy}")]
    Backend {
        /// Which backend.
        backend: &'static str,
        /// What failed.
        cause: String,
        /// What to do about it.
        remedy: &'static str,
    },
}
