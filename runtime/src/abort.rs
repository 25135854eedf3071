//! Ends a connection from elsewhere on the same thread.
//!
//! Both halves of a connection share one [`Guard`]; an [`Abort`] shares its cell. The guard forgets
//! the descriptor before the connection gives it up, so that an `Abort` can never reach a
//! descriptor that the kernel has since handed to somebody else.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;

use socket2::SockRef;

use crate::socket::canonical;

const GONE: RawFd = -1;
/// Enough of `struct tcp_info` to hold `tcpi_bytes_acked`, which is at byte 120 on Linux.
const TCP_INFO_WORDS: usize = 16;
const TCP_INFO_BYTES_ACKED_WORD: usize = 15;

/// A weak handle on a connection.
#[derive(Clone, Debug)]
pub struct Abort {
    fd: Rc<Cell<RawFd>>,
}

impl Abort {
    /// Shuts both directions down; does nothing when the connection is gone.
    pub fn abort(&self) {
        let fd = self.fd.get();
        if fd != GONE {
            // SAFETY: the guard resets the cell before the descriptor closes, on this very thread,
            // so `fd` is open and ours. A socket that is already shut down answers an error.
            unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
        }
    }

    /// Ends receiving only: what waits for input sees the end, and an answer can still be sent.
    pub fn abort_reading(&self) {
        let fd = self.fd.get();
        if fd != GONE {
            // SAFETY: as in `abort`.
            unsafe { libc::shutdown(fd, libc::SHUT_RD) };
        }
    }

    /// Makes the coming close a reset (RST), so that the peer cannot take what it got for a whole.
    pub fn reset(&self) {
        let fd = self.fd.get();
        if fd != GONE {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            // A failure leaves the default in place.
            let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
        }
    }

    /// Resets the connection now: the peer gets an RST and no FIN before it, nothing that was sent is
    /// delivered any more, and whoever waits for either half sees an error.
    pub fn reset_now(&self) {
        let fd = self.fd.get();
        if fd == GONE {
            return;
        }
        let nowhere =
            libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
        let length = libc::socklen_t::try_from(size_of_val(&nowhere)).expect("it is 16 bytes");
        // SAFETY: as in `abort`; `nowhere` is `length` bytes long and only read. Connecting to no
        // address is how a TCP connection is dissolved; the descriptor stays ours.
        if unsafe { libc::connect(fd, &raw const nowhere, length) } != 0 {
            self.reset();
            self.abort();
        }
    }

    /// Whether the peer has closed or reset, whatever it sent before that is still unread: a look
    /// that consumes nothing. A connection that is gone counts as closed.
    #[must_use]
    pub fn is_closed_by_peer(&self) -> bool {
        let fd = self.fd.get();
        let mut look = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: `look` is one entry and outlives the call, which does not wait.
        let found = unsafe { libc::poll(&raw mut look, 1, 0) };
        fd == GONE || found > 0
    }

    /// Our address of the connection; `None` when it is gone.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        let fd = self.fd.get();
        if fd == GONE {
            return None;
        }
        // SAFETY: as in `abort`: `fd` is open and ours for as long as this runs.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        let address = SockRef::from(&socket).local_addr().ok()?.as_socket()?;
        Some(canonical(address))
    }

    /// Bytes that the peer has acknowledged so far (TCP only); `None` when the connection is gone.
    #[must_use]
    pub fn bytes_acked(&self) -> Option<u64> {
        let fd = self.fd.get();
        if fd == GONE {
            return None;
        }
        let mut info = [0u64; TCP_INFO_WORDS];
        let mut length = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
        // SAFETY: the kernel writes at most `length` bytes into `info`, which has that many.
        let result = unsafe {
            libc::getsockopt(
                fd,
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        (result == 0).then_some(info[TCP_INFO_BYTES_ACKED_WORD])
    }
}

/// Sets a socket option that is no more than a plain C value.
pub(crate) fn set_option<T: Copy>(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("socket options are small");
    // SAFETY: `value` is `length` bytes long and only read.
    match unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Owned by a connection, dropped before its descriptor is closed.
#[derive(Debug)]
pub(crate) struct Guard {
    fd: Rc<Cell<RawFd>>,
}

impl Guard {
    pub(crate) fn new(fd: RawFd) -> Self {
        Self { fd: Rc::new(Cell::new(fd)) }
    }

    pub(crate) fn handle(&self) -> Abort {
        Abort { fd: Rc::clone(&self.fd) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.fd.set(GONE);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn abort_ends_a_living_connection_and_never_touches_the_next_user_of_its_descriptor() {
        let (one, mut other) = UnixStream::pair().unwrap();
        let guard = Guard::new(one.as_raw_fd());
        let abort = guard.handle();
        drop(guard); // the connection is given up; its descriptor now stands for somebody else's
        abort.abort();
        other.set_nonblocking(true).unwrap();
        let still_open = other.read(&mut [0]).unwrap_err();
        assert_eq!(still_open.kind(), io::ErrorKind::WouldBlock);

        let guard = Guard::new(one.as_raw_fd());
        guard.handle().abort();
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_peer_that_closed_is_seen_behind_what_it_sent() {
        let (one, mut other) = UnixStream::pair().unwrap();
        let guard = Guard::new(one.as_raw_fd());
        let look = guard.handle();
        assert!(!look.is_closed_by_peer());
        other.write_all(b"x").unwrap();
        assert!(!look.is_closed_by_peer(), "bytes alone are no close");
        drop(other);
        assert!(look.is_closed_by_peer());
        drop(guard);
        assert!(look.is_closed_by_peer(), "nobody is there any more");
    }

    #[test]
    fn a_reset_is_all_that_the_peer_sees() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (one, _) = listener.accept().unwrap();
        let guard = Guard::new(one.as_raw_fd());
        assert_eq!(guard.handle().local_address(), Some(listener.local_addr().unwrap()));
        guard.handle().reset_now();
        let end = peer.read(&mut [0]).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
        assert!((&one).write(b"x").is_err(), "our half is over too");
        drop(guard);
        assert_eq!(Abort { fd: Rc::new(Cell::new(GONE)) }.local_address(), None);
    }
}
