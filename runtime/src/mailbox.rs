//! The cross-thread mailbox: a crossbeam channel with an eventfd, so that an async thread can sleep
//! on it. Used for both messages that cross threads: the epoch down, the report up.
//!
//! It is not a general channel: the sender never blocks, the receiver decides whether only the
//! latest message counts. Invariant: a message is in the queue before its wake-up is, so whoever
//! clears the wake-up first and looks after misses nothing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};
use std::sync::Arc;

use crossbeam_channel as channel;

/// The sending end; clone it for several senders.
#[derive(Debug)]
pub struct Sender<T> {
    queue: channel::Sender<T>,
    wake: Arc<File>,
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver<T> {
    queue: channel::Receiver<T>,
    wake: Arc<File>,
}

/// A mailbox.
///
/// # Errors
/// No eventfd could be had.
pub fn mailbox<T: Send>() -> io::Result<(Sender<T>, Receiver<T>)> {
    let wake = Arc::new(eventfd()?);
    let (sender, receiver) = channel::unbounded();
    Ok((Sender { queue: sender, wake: Arc::clone(&wake) }, Receiver { queue: receiver, wake }))
}

/// A non-blocking eventfd.
pub(crate) fn eventfd() -> io::Result<File> {
    // SAFETY: eventfd takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), wake: Arc::clone(&self.wake) }
    }
}

impl<T> Sender<T> {
    /// Puts `message` and wakes the receiver. Returns false when the receiver is gone.
    pub fn send(&self, message: T) -> bool {
        if self.queue.send(message).is_err() {
            return false;
        }
        // It fails only when the counter is full, and then the receiver has a wake-up waiting.
        let _ = (&*self.wake).write(&1u64.to_ne_bytes());
        true
    }
}

impl<T> Receiver<T> {
    /// The next message, if one is there.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }

    /// The newest message, dropping older ones, if one is there.
    #[must_use]
    pub fn try_latest(&self) -> Option<T> {
        self.queue.try_iter().last()
    }

    /// Takes the wake-ups so far; call before `try_recv` or `try_latest`.
    pub fn clear_wake(&self) {
        // It fails only when there is no wake-up to take.
        let _ = (&*self.wake).read(&mut [0; 8]);
    }

    /// Waits for a message on a shard's thread, then call [`Self::try_latest`]. A wake-up may come
    /// without a message.
    ///
    /// # Errors
    /// The descriptor failed.
    pub async fn wait<R: crate::Runtime>(&self) -> io::Result<()> {
        R::readable(self.as_fd()).await?;
        self.clear_wake();
        Ok(())
    }
}

impl<T> AsFd for Receiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_latest_drops_the_older_ones() {
        let (sender, receiver) = mailbox().unwrap();
        assert_eq!(receiver.try_recv(), None::<u32>);
        for n in 0..5 {
            assert!(sender.send(n));
        }
        assert_eq!(receiver.try_recv(), Some(0));
        assert_eq!(receiver.try_latest(), Some(4));
        assert_eq!(receiver.try_latest(), None);
    }

    #[test]
    fn sending_to_a_receiver_that_is_gone_says_so() {
        let (sender, receiver) = mailbox::<u32>().unwrap();
        drop(receiver);
        assert!(!sender.send(1));
    }

    #[test]
    fn clearing_takes_every_wake_up_at_once_and_never_blocks() {
        let (sender, receiver) = mailbox().unwrap();
        sender.send(1);
        sender.send(2);
        receiver.clear_wake();
        let empty = (&*receiver.wake).read(&mut [0; 8]).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        receiver.clear_wake();
    }
}
