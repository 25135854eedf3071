//! Memory for bytes on their way out: a few buffers a thread, lent for as long as there are any.
//!
//! `transport` takes one for what it sends encrypted, `framed` one for a body that comes in pieces.
//! Both give it back once it is sent, so that whoever waits holds none and the busy allocate none. Invariant: what is kept is empty, and bounded in number and size.

use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
pub(crate) fn take() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives a buffer back.
pub(crate) fn give(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > BUFFER_BYTES_MAX {
        return;
    }
    buffer.clear();
    FREE.with_borrow_mut(|free| {
        if free.len() < FREE_MAX {
            free.push(buffer);
        }
    });
}

/// Buffers kept by a thread.
const FREE_MAX: usize = 16;
/// Larger ones are not kept: a block of a body and what TLS adds fit twice.
const BUFFER_BYTES_MAX: usize = 160 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_only_so_many_of_them() {
        for _ in 0..2 {
            let many: Vec<_> = (0..2 * FREE_MAX).map(|_| vec![1; 100]).collect();
            many.into_iter().for_each(give);
            give(vec![1; BUFFER_BYTES_MAX + 1]);
            give(Vec::new());
        }
        let back: Vec<_> = (0..2 * FREE_MAX).map(|_| take()).collect();
        assert!(back.iter().all(Vec::is_empty));
        assert_eq!(back.iter().filter(|buffer| buffer.capacity() > 0).count(), FREE_MAX);
    }
}
