//! Datagram sockets: one that is bound, the ones connected for its peers, and their batches.
//!
//! The bound socket and all that it connected are watched by one epoll(7) instance, so a backend
//! waits on a single descriptor however many peers there are, and the rest is non-blocking: this
//! is the same code on every backend. `shards` is the only caller. Invariant: the address that a
//! datagram was sent to is known, and what is sent back leaves from it.

mod address;
mod batch;
mod poll;
mod send;

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use self::batch::Names;
pub use self::batch::{BATCH_MAX, Batch, DATAGRAM_BYTES_MAX};
use self::poll::Poll;
pub use self::poll::{READY_MAX, Ready};
use crate::Abort;
use crate::abort::{Guard, set_option};
use crate::socket::{self, Home};

/// Bytes that the kernel may hold for a bound socket in either direction, cut to its own limit
/// (`net.core.rmem_max`, `net.core.wmem_max`): a burst waits there instead of being lost.
pub const BUFFER_BYTES_MAX: usize = 4 << 20;
/// Places filled from a connected socket at a time, so that a busy one leaves room for others.
const CONNECTED_BATCH_MAX: usize = 16;

/// What `SO_MEMINFO` fills in: `SK_MEMINFO_VARS` words, of which one is the number of drops.
const MEMINFO_WORDS: usize = 9;
const MEMINFO_DROPS_WORD: usize = 8;

/// A bound socket, and the watch over it and the ones that it connected.
#[derive(Debug)]
pub struct Bound {
    guard: Guard,
    socket: Socket,
    poll: Poll,
    names: Names,
    segments: Cell<bool>,
}

/// A socket that exchanges datagrams with one peer. It is no longer watched once it is dropped.
#[derive(Debug)]
pub struct Connected {
    socket: Socket,
    segments: Cell<bool>,
}

/// What became of a batch that was to be sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// Places that are done with; in the next, what was sent of a train does not go again.
    pub places: usize,
    /// Datagrams that the kernel took.
    pub datagrams: u32,
    /// Bytes in them.
    pub bytes: u64,
    /// Datagrams that it did not take: its buffer is full, or they cannot be sent as they are.
    pub lost: u32,
    /// Why a connected socket is of no more use; the datagrams behind those counted were not sent.
    pub error: Option<io::Error>,
}

impl Bound {
    /// Binds `address` (SO_REUSEPORT): several sockets may share it, and the kernel gives all
    /// datagrams of one pair of addresses and ports to the same one while none comes or goes.
    /// `[::]` takes IPv4 too, and becomes `0.0.0.0` where there is no IPv6.
    ///
    /// # Errors
    /// As the kernel says (`AddrInUse`, `AddrNotAvailable`, `PermissionDenied`).
    pub fn new(address: SocketAddr, home: Home) -> io::Result<Self> {
        let socket = socket::bind_datagram(address, home)?;
        let bound = local(&socket)?;
        let names = if bound.is_ipv6() { Names::V6 } else { Names::V4 };
        // Without these options the addresses would be unknown, so a failure is one of binding.
        match names {
            Names::V4 => enable(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?,
            Names::V6 => enable(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?,
            Names::None => {}
        }
        take_trains(&socket);
        // Smaller buffers work as well.
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES_MAX);
        let _ = socket.set_send_buffer_size(BUFFER_BYTES_MAX);
        let poll = Poll::new()?;
        poll.add(socket.as_fd(), Ready::Bound)?;
        let guard = Guard::new(socket.as_raw_fd());
        Ok(Self { guard, socket, poll, names, segments: Cell::new(true) })
    }

    /// A socket of its own towards `peer`, watched from now on under `token`.
    ///
    /// # Errors
    /// As the kernel says: out of descriptors or ports, no route.
    pub fn connect(&self, peer: SocketAddr, token: u32) -> io::Result<Connected> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(peer), kind, Some(Protocol::UDP))?;
        take_trains(&socket);
        socket.connect(&peer.into())?;
        self.poll.add(socket.as_fd(), Ready::Connected(token))?;
        Ok(Connected { socket, segments: Cell::new(true) })
    }

    /// Which sockets have something now, at most [`READY_MAX`] of them, in place of what `ready`
    /// held. One that is not emptied stays ready; one that was dropped meanwhile may still be named.
    pub fn ready(&self, ready: &mut Vec<Ready>) {
        self.poll.take(ready);
    }

    /// Takes what arrived into the free places of `batch`, each with its peer and the address it
    /// was sent to; says how many places.
    ///
    /// # Errors
    /// As the kernel says; the socket goes on.
    pub fn receive(&self, batch: &mut Batch) -> io::Result<usize> {
        batch.receive(self.socket.as_fd(), BATCH_MAX, self.names)
    }

    /// Sends the datagrams of `batch` at `places`, each to its peer from its local address. What
    /// one peer cannot be sent says nothing about the others, so there is never an error.
    pub fn send(&self, batch: &mut Batch, places: &[u16]) -> Sent {
        batch.send(self.socket.as_fd(), places, self.names, &self.segments)
    }

    /// Datagrams that the kernel had no room for since the socket was opened; it wraps around. A
    /// train may count as one.
    #[must_use]
    pub fn overrun(&self) -> u32 {
        overrun(&self.socket)
    }

    /// Stops the waiting from elsewhere on this thread: a waiting [`crate::Datagram::ready`] returns.
    #[must_use]
    pub fn abort_handle(&self) -> Abort {
        self.guard.handle()
    }

    /// The bound address.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        local(&self.socket)
    }

    /// What to wait on.
    pub(crate) fn watch(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

impl Connected {
    /// Takes what arrived into the free places of `batch`, a bounded number at a time; says how
    /// many places.
    ///
    /// # Errors
    /// The peer or the way to it is gone (an ICMP error): told once, here or by `send`.
    pub fn receive(&self, batch: &mut Batch) -> io::Result<usize> {
        batch.receive(self.socket.as_fd(), CONNECTED_BATCH_MAX, Names::None)
    }

    /// Sends the datagrams of `batch` at `places`.
    pub fn send(&self, batch: &mut Batch, places: &[u16]) -> Sent {
        batch.send(self.socket.as_fd(), places, Names::None, &self.segments)
    }

    /// As [`Bound::overrun`].
    #[must_use]
    pub fn overrun(&self) -> u32 {
        overrun(&self.socket)
    }

    /// Its own address.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        local(&self.socket)
    }
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// What `SO_MEMINFO` counts as dropped; 0 where the kernel does not tell.
fn overrun(socket: &Socket) -> u32 {
    let mut words = [0u32; MEMINFO_WORDS];
    let Ok(mut length) = libc::socklen_t::try_from(size_of_val(&words)) else { return 0 };
    // SAFETY: the kernel writes at most `length` bytes into `words`, which has that many. On failure
    // it writes nothing.
    unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        );
    }
    words[MEMINFO_DROPS_WORD]
}

/// What the kernel brought through its layers as one need not be cut up for us (UDP_GRO).
fn take_trains(socket: &Socket) {
    // Without it every datagram arrives by itself.
    let _ = enable(socket, libc::SOL_UDP, libc::UDP_GRO);
}

fn enable(socket: &Socket, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let one: libc::c_int = 1;
    set_option(socket.as_raw_fd(), level, name, &one)
}
