//! Ends a connection from elsewhere on the same thread.
//!
//! Both halves of a connection share one [`Guard`]; an [`Abort`] shares its cell. The guard forgets
//! the descriptor before the connection gives it up, so that an `Abort` can never reach a
//! descriptor that the kernel has since handed to somebody else.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::rc::Rc;

const GONE: RawFd = -1;

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
    use std::io::Read;
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
        assert_eq!(still_open.kind(), std::io::ErrorKind::WouldBlock);

        let guard = Guard::new(one.as_raw_fd());
        guard.handle().abort();
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
    }
}
