//! Gives freed memory back to the system.
//!
//! Building a configuration leaves many freed pieces behind in the C library's heaps; the control
//! thread calls this when it is done building. It decides nothing about when that pays.

/// Gives back every whole page that is free. Costs milliseconds for tens of megabytes, and holds up
/// a thread that allocates from the heap it is busy with: call it when things are quiet.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and locks each heap while it works on it.
    unsafe {
        libc::malloc_trim(0);
    }
}
