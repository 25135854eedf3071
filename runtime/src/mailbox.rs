//! The cross-thread mailbox: a crossbeam channel with an eventfd, so that an async thread can sleep
//! on it. Used for both messages that cross threads: the epoch down, the report up.
//!
//! It is not a general channel: the sender never blocks, the receiver decides whether only the
//! latest message counts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crossbeam_channel as channel;

/// The sending end; clone it for several senders.
#[derive(Debug)]
pub struct Sender<T> {
    queue: channel::Sender<T>,
    wake: Arc<OwnedFd>,
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver<T> {
    queue: channel::Receiver<T>,
    wake: Arc<OwnedFd>,
}

/// A mailbox.
///
/// # Errors
/// No eventfd could be had.
pub fn mailbox<T: Send>() -> io::Result<(Sender<T>, Receiver<T>)> {
    todo!()
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), wake: Arc::clone(&self.wake) }
    }
}

impl<T> Sender<T> {
    /// Puts `message` and wakes the receiver. Returns false when the receiver is gone.
    pub fn send(&self, message: T) -> bool {
        let _ = (message, &self.queue, &self.wake);
        todo!()
    }
}

impl<T> Receiver<T> {
    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }

    /// The newest message, dropping older ones, if one is there.
    pub fn try_latest(&self) -> Option<T> {
        self.queue.try_iter().last()
    }

    /// Takes the wake-ups so far; call before `try_recv` or `try_latest`.
    pub fn clear_wake(&self) {
        todo!()
    }

    /// Waits for a message on a shard's thread, then call [`Self::try_latest`].
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
