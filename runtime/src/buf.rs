//! Blocks of received bytes from this thread's pool.
//!
//! A [`Buf`] is a window (`start..end`) on a block that goes back to the pool of its thread when
//! dropped. Not `Send`. The pool keeps a bounded number of free blocks per size.

/// Received bytes.
#[derive(Debug)]
pub struct Buf {
    block: Vec<u8>,
    start: usize,
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Buf {
    /// Drops the first `n` bytes of the window.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "advance past the end");
        self.start += n;
    }

    /// Drops all but the first `n` bytes of the window.
    pub fn truncate(&mut self, n: usize) {
        self.block.truncate(self.start + n);
    }

    /// Bytes in the window.
    #[must_use]
    pub fn len(&self) -> usize {
        self.block.len() - self.start
    }

    /// Whether the window is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::ops::Deref for Buf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.block[self.start..]
    }
}
