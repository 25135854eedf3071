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
    /// All of it was, and it is here. `keep_alive` as the request says.
    Whole { keep_alive: bool },
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
    pub(crate) fn finish(&self, keep_alive: bool) {
        if self.state.get() == State::Partial {
            self.state.set(State::Whole { keep_alive });
        }
    }

    /// Whether the request may keep the client's connection, if its body is here.
    pub(crate) fn whole(&self) -> Option<bool> {
        match self.state.get() {
            State::Whole { keep_alive } => Some(keep_alive),
            State::Untouched | State::Partial | State::TooLarge => None,
        }
    }

    /// Whether the client still has all of the body.
    pub(crate) fn is_untouched(&self) -> bool {
        self.state.get() == State::Untouched
    }

    /// Appends the body, if it is here; returns its length.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> usize {
        let bytes = self.bytes.borrow();
        out.extend_from_slice(&bytes);
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_captured_whole_or_not_at_all() {
        let capture = Capture::new(true);
        assert!(capture.is_untouched() && capture.whole().is_none());
        capture.begin();
        capture.add(b"abc");
        assert!(!capture.is_untouched() && capture.whole().is_none());
        capture.add(&vec![b'x'; limits::CAPTURE_BYTES_MAX - 3]);
        capture.finish(true);
        assert_eq!(capture.whole(), Some(true));
        let large = Capture::new(true);
        large.begin();
        large.add(&vec![b'x'; limits::CAPTURE_BYTES_MAX]);
        large.add(b"x");
        large.add(b"y");
        large.finish(true);
        assert_eq!((large.whole(), large.write(&mut Vec::new())), (None, 0));
        let unwanted = Capture::new(false);
        unwanted.begin();
        unwanted.add(b"a");
        unwanted.finish(true);
        assert_eq!((unwanted.whole(), unwanted.write(&mut Vec::new())), (None, 0));
    }
}
