//! An allocator that counts, so that tests can prove that a hot path allocates nothing.
//!
//! It is the system's allocator with a counter for each thread and one for all of them; programs
//! never install it. Invariant: counting changes nothing about the memory that is handed out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The allocator: `#[global_allocator] static ALLOCATOR: Counting = Counting;`.
#[derive(Debug)]
pub struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static IGNORED: Cell<bool> = const { Cell::new(false) };
    static OF_THIS_THREAD: Cell<u64> = const { Cell::new(0) };
}

/// Allocations so far on all threads that are not ignored.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Allocations so far on this thread, ignored or not.
#[must_use]
pub fn allocations_of_this_thread() -> u64 {
    OF_THIS_THREAD.get()
}

/// Bytes that threads which are not ignored have allocated, less those that they have freed.
#[must_use]
pub fn live_bytes() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

/// Leaves this thread out of [`allocations`] from now on.
pub fn ignore_this_thread() {
    IGNORED.with(|ignored| ignored.set(true));
}

fn count(bytes: i64) {
    // At the very end of a thread its cells are gone; nothing that matters happens there.
    let _ = OF_THIS_THREAD.try_with(|count| count.set(count.get() + 1));
    if !is_ignored() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn is_ignored() -> bool {
    IGNORED.try_with(Cell::get).unwrap_or(true)
}

// SAFETY: every call is passed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller keeps `GlobalAlloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !is_ignored() {
            LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
