//! One epoll(7) instance over the sockets of a bound one: level-triggered, never waited in.
//!
//! A backend waits until the instance itself can be read, then `take` asks it without waiting.
//! Used by [`super::Bound`] only. A descriptor leaves it by being closed.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Sockets that one look tells of.
pub const READY_MAX: usize = 64;
/// The token of the bound socket.
const BOUND: u64 = u64::MAX;

/// A socket that has something to take: datagrams or an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// The bound one.
    Bound,
    /// The one connected under this token.
    Connected(u32),
}

#[derive(Debug)]
pub(super) struct Poll {
    epoll: OwnedFd,
    events: RefCell<Box<[libc::epoll_event]>>,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave it to us alone.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let none = libc::epoll_event { events: 0, u64: 0 };
        Ok(Self { epoll, events: RefCell::new([none; READY_MAX].into()) })
    }

    pub(super) fn add(&self, socket: BorrowedFd<'_>, ready: Ready) -> io::Result<()> {
        let token = match ready {
            Ready::Bound => BOUND,
            Ready::Connected(token) => token.into(),
        };
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        let (epoll, fd) = (self.epoll.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: both descriptors are open, and `event` is only read during the call.
        match unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(super) fn take(&self, ready: &mut Vec<Ready>) {
        ready.clear();
        let mut events = self.events.borrow_mut();
        let room = libc::c_int::try_from(events.len()).expect("READY_MAX is small");
        // SAFETY: the kernel writes at most `room` events, which is how many there are, during the
        // call only. Its errors (a signal) tell of nothing that is ready.
        let count =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), room, 0) };
        let count = usize::try_from(count).unwrap_or(0);
        ready.extend(events[..count].iter().map(|event| match u32::try_from(event.u64) {
            Ok(token) => Ready::Connected(token),
            Err(_) => Ready::Bound,
        }));
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
