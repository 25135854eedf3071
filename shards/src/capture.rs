//! What went out of a request's body, kept within a bound, for another try or for mirrors.
//!
//! Filled by the upload in passing, in the framing in which it is sent on: nothing waits for it.
//! Invariant: a capture is whole or worth nothing; beyond the bound it holds no bytes at all.

use std::cell::{Cell, RefCell};

use proxy::limits;

/// The body of one request, as it was sent.
#[derive(Debug)]
pub(crate) struct Capture {
    bytes: RefCell<Vec<u8>>,
    state: Cell<State>,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing of the body was taken from the client.
    #[default]
    Untouched,
    /// Some of it was.
    Partial,
    /// All of it was, and it is here.
    Whole,
    /// It does not fit.
    TooLarge,
}

impl Capture {
    /// For a body that somebody may ask for, or nobody will.
    pub(crate) fn new(wanted: bool) -> Self {
        let bytes_max = if wanted { limits::CAPTURE_BYTES_MAX } else { 0 };
        Self { bytes: RefCell::default(), state: Cell::default(), bytes_max }
    }

    /// The upload begins.
    pub(crate) fn begin(&self) {
        if self.state.get() == State::Untouched {
            self.state.set(State::Partial);
        }
    }

    /// A piece goes out.
    pub(crate) fn add(&self, piece: &[u8]) {
        if self.state.get() != State::Partial {
            return;
        }
        let mut bytes = self.bytes.borrow_mut();
        if bytes.len() + piece.len() > self.bytes_max {
            *bytes = Vec::new();
            self.state.set(State::TooLarge);
        } else {
            bytes.extend_from_slice(piece);
        }
    }

    /// The upload is complete.
    pub(crate) fn finish(&self) {
        if self.state.get() == State::Partial {
            self.state.set(State::Whole);
        }
    }

    /// Whether the body is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.get() == State::Whole
    }

    /// Whether it may yet become whole: some of it is here.
    pub(crate) fn is_partial(&self) -> bool {
        self.state.get() == State::Partial
    }

    /// Whether the client still has all of the body.
    pub(crate) fn is_untouched(&self) -> bool {
        self.state.get() == State::Untouched
    }

    /// Appends the body if it is here; returns its length.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Option<usize> {
        let bytes = self.is_whole().then(|| self.bytes.borrow())?;
        out.extend_from_slice(&bytes);
        Some(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_captured_whole_or_not_at_all() {
        let mut out = Vec::new();
        let capture = Capture::new(true);
        assert!(capture.is_untouched() && !capture.is_partial());
        capture.begin();
        capture.add(b"abc");
        assert!(!capture.is_untouched() && capture.is_partial());
        assert_eq!(capture.write(&mut out), None);
        capture.add(&vec![b'x'; limits::CAPTURE_BYTES_MAX - 3]);
        capture.finish();
        assert!(capture.is_whole());
        assert_eq!(capture.write(&mut out), Some(limits::CAPTURE_BYTES_MAX));
    }

    #[test]
    fn a_body_beyond_the_bound_or_that_nobody_wants_is_not_kept() {
        for (wanted, length) in [(true, limits::CAPTURE_BYTES_MAX), (false, 0)] {
            let capture = Capture::new(wanted);
            capture.begin();
            for piece in [&vec![b'x'; length][..], b"x", b"y"] {
                capture.add(piece);
            }
            capture.finish();
            assert!(!capture.is_whole() && !capture.is_partial());
            assert_eq!(capture.write(&mut Vec::new()), None);
            assert_eq!(capture.bytes.borrow().capacity(), 0);
        }
    }
}
