//! Blocks of received bytes from this thread's pool.
//!
//! A [`Buf`] is a window on a block that goes back to the pool of the thread that drops it (a `Buf`
//! is not `Send`, so that is the thread that took it). Two sizes of block exist; each has a bounded
//! list of free ones. A backend lends a block to the kernel by value, so a block is in exactly one
//! place: a free list, a `Buf`, or an operation in flight. A block is zeroed when it is allocated and
//! keeps old bytes after: they lie outside every window. An empty list allocates, a full one frees.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::Size;

/// Bytes in a small block.
pub const SMALL_BYTES: usize = 2 * 1024;
/// Bytes in a large block.
pub const LARGE_BYTES: usize = 64 * 1024;
/// Small blocks a thread keeps for reuse (2 MiB).
pub const SMALL_FREE_MAX: usize = 1024;
/// Large blocks a thread keeps for reuse (4 MiB).
pub const LARGE_FREE_MAX: usize = 64;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// The free blocks of one thread and how many it has lent out.
struct Pool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    lent: Lent,
}

/// How many blocks of this thread are in use: held by a [`Buf`] or lent to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lent {
    /// Blocks of [`SMALL_BYTES`].
    pub small: usize,
    /// Blocks of [`LARGE_BYTES`].
    pub large: usize,
}

/// What this thread's pool has lent out now.
#[must_use]
pub fn lent() -> Lent {
    POOL.with_borrow(|pool| pool.lent)
}

impl Pool {
    const fn new() -> Self {
        Self { small: Vec::new(), large: Vec::new(), lent: Lent { small: 0, large: 0 } }
    }

    fn take(&mut self, size: Size) -> Vec<u8> {
        let (list, lent, bytes) = match size {
            Size::Small | Size::Late => (&mut self.small, &mut self.lent.small, SMALL_BYTES),
            Size::Large => (&mut self.large, &mut self.lent.large, LARGE_BYTES),
        };
        *lent += 1;
        list.pop().unwrap_or_else(|| vec![0; bytes])
    }

    fn give(&mut self, block: Vec<u8>) {
        let (list, lent, free_max) = match block.len() {
            SMALL_BYTES => (&mut self.small, &mut self.lent.small, SMALL_FREE_MAX),
            LARGE_BYTES => (&mut self.large, &mut self.lent.large, LARGE_FREE_MAX),
            _ => return, // made from foreign bytes: not a pool block
        };
        *lent = lent.saturating_sub(1);
        if list.len() < free_max {
            list.push(block);
        }
    }
}

/// Received bytes: `start..end` of a block.
#[derive(Debug)]
pub struct Buf {
    block: Vec<u8>,
    start: usize,
    end: usize,
    _not_send: PhantomData<*const ()>,
}

impl Buf {
    /// An empty window on a free block of this thread.
    pub(crate) fn take(size: Size) -> Self {
        Self::new(POOL.with_borrow_mut(|pool| pool.take(size)))
    }

    const fn new(block: Vec<u8>) -> Self {
        Self { block, start: 0, end: 0, _not_send: PhantomData }
    }

    /// The whole block as room to receive into; what the window held is void.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.start = 0;
        self.end = 0;
        &mut self.block
    }

    /// Makes the first `n` bytes of the block the window.
    pub(crate) fn set_filled(&mut self, n: usize) {
        assert!(n <= self.block.len(), "more bytes than the block has");
        self.start = 0;
        self.end = n;
    }

    /// Drops the first `n` bytes of the window.
    ///
    /// # Panics
    /// The window is shorter.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "advance past the end");
        self.start += n;
    }

    /// Drops all but the first `n` bytes of the window.
    pub fn truncate(&mut self, n: usize) {
        self.end = self.end.min(self.start.saturating_add(n));
    }

    /// Bytes in the window.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether the window is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&[u8]> for Buf {
    /// A copy of `bytes`, in a block of the pool when one is large enough.
    fn from(bytes: &[u8]) -> Self {
        let mut buf = if bytes.len() <= SMALL_BYTES {
            Self::take(Size::Small)
        } else if bytes.len() <= LARGE_BYTES {
            Self::take(Size::Large)
        } else {
            Self::new(vec![0; bytes.len()])
        };
        buf.room()[..bytes.len()].copy_from_slice(bytes);
        buf.set_filled(bytes.len());
        buf
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let block = std::mem::take(&mut self.block);
        // At the end of a thread the pool may be gone already: then the block is simply freed.
        let _ = POOL.try_with(|pool| pool.borrow_mut().give(block));
    }
}

impl std::ops::Deref for Buf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_block_is_the_next_one_taken() {
        let first = Buf::take(Size::Small);
        let address = first.block.as_ptr();
        drop(first);
        assert_eq!(Buf::take(Size::Small).block.as_ptr(), address);
    }

    #[test]
    fn a_block_is_lent_until_its_window_is_dropped() {
        assert_eq!(lent(), Lent::default());
        let large = Buf::take(Size::Large);
        let small = Buf::from(&b"abc"[..]);
        assert_eq!(lent(), Lent { small: 1, large: 1 });
        drop(large);
        drop(small);
        assert_eq!(lent(), Lent::default());
    }

    #[test]
    fn the_free_list_is_bounded() {
        let blocks: Vec<Buf> = (0..LARGE_FREE_MAX + 3).map(|_| Buf::take(Size::Large)).collect();
        drop(blocks);
        POOL.with_borrow(|pool| assert_eq!(pool.large.len(), LARGE_FREE_MAX));
    }

    #[test]
    fn a_window_shrinks_from_both_ends_and_a_reused_block_starts_afresh() {
        let mut buf = Buf::from(&b"hello world"[..]);
        buf.advance(6);
        assert_eq!(&*buf, b"world");
        buf.truncate(3);
        assert_eq!((&*buf, buf.len()), (&b"wor"[..], 3));
        buf.truncate(usize::MAX);
        assert_eq!(&*buf, b"wor");
        buf.advance(3);
        assert!(buf.is_empty());
        assert_eq!(buf.room().len(), SMALL_BYTES);
    }

    #[test]
    fn foreign_bytes_larger_than_a_block_never_enter_the_pool() {
        let bytes = vec![7; LARGE_BYTES + 1];
        let buf = Buf::from(&bytes[..]);
        assert_eq!(&*buf, &bytes[..]);
        assert_eq!(lent(), Lent::default());
        drop(buf);
        POOL.with_borrow(|pool| assert!(pool.small.is_empty() && pool.large.is_empty()));
    }
}
