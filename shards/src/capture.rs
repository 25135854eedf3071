//! What went out of a request's body, kept within a bound, for another try or for mirrors.
//!
//! Filled by the upload in passing, as bytes without framing: every backend gets it in its own.
//! Nothing waits for it.
//! Invariant: a capture is whole or worth nothing; beyond the bound it holds no bytes at all.

use std::cell::{Cell, RefCell};

use proxy::fault::Fault;
use proxy::limits;

use crate::relay::{Piece, Source};
use crate::upstream::AtHand;

/// The body of one request.
#[derive(Debug)]
pub(crate) struct Capture {
    body: RefCell<Body>,
    state: Cell<State>,
    bytes_max: usize,
}

/// A whole body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// Lines `name: value CRLF`.
    pub(crate) trailers: Vec<u8>,
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

impl Body {
    pub(crate) fn at_hand(&self) -> AtHand<'_> {
        AtHand { bytes: &self.bytes, trailers: &self.trailers }
    }
}

/// Receives a whole body; `None` if it is larger than `bytes_max`.
///
/// # Errors
/// Why it is not whole.
pub(crate) async fn gather(
    source: &mut impl Source,
    bytes_max: usize,
) -> Result<Option<Body>, Fault> {
    let mut bytes = Vec::new();
    loop {
        match source.next()? {
            Piece::Bytes { bytes: piece, .. } => bytes.extend_from_slice(piece),
            Piece::Block { block, .. } => bytes.extend_from_slice(&block),
            Piece::Nothing => source.fill().await?,
            Piece::End => {
                let trailers = source.trailers().to_vec();
                return Ok(Some(Body { bytes, trailers }));
            }
        }
        if bytes.len() > bytes_max {
            return Ok(None);
        }
    }
}

impl Capture {
    /// For a body that somebody may ask for, or nobody will.
    pub(crate) fn new(wanted: bool) -> Self {
        let bytes_max = if wanted { limits::CAPTURE_BYTES_MAX } else { 0 };
        Self { body: RefCell::default(), state: Cell::default(), bytes_max }
    }

    /// Of a body that was received before.
    pub(crate) fn of(body: Body) -> Self {
        let bytes_max = body.bytes.len();
        Self { body: RefCell::new(body), state: Cell::new(State::Whole), bytes_max }
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
        let bytes = &mut self.body.borrow_mut().bytes;
        if bytes.len() + piece.len() > self.bytes_max {
            *bytes = Vec::new();
            self.state.set(State::TooLarge);
        } else {
            bytes.extend_from_slice(piece);
        }
    }

    /// The upload is complete.
    pub(crate) fn finish(&self, trailers: &[u8]) {
        if self.state.get() == State::Partial {
            self.body.borrow_mut().trailers.extend_from_slice(trailers);
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

    /// A copy of the body if it is here.
    pub(crate) fn whole(&self) -> Option<Body> {
        self.is_whole().then(|| self.body.borrow().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_captured_whole_or_not_at_all() {
        let capture = Capture::new(true);
        assert!(capture.is_untouched() && !capture.is_partial());
        capture.begin();
        capture.add(b"abc");
        assert!(!capture.is_untouched() && capture.is_partial());
        assert!(capture.whole().is_none());
        capture.add(&vec![b'x'; limits::CAPTURE_BYTES_MAX - 3]);
        capture.finish(b"t: 1\r\n");
        let body = capture.whole().expect("it fits");
        assert_eq!(
            (body.bytes.len(), &*body.trailers),
            (limits::CAPTURE_BYTES_MAX, &b"t: 1\r\n"[..])
        );
    }

    #[test]
    fn a_body_beyond_the_bound_or_that_nobody_wants_is_not_kept() {
        for (wanted, length) in [(true, limits::CAPTURE_BYTES_MAX), (false, 0)] {
            let capture = Capture::new(wanted);
            capture.begin();
            for piece in [&vec![b'x'; length][..], b"x", b"y"] {
                capture.add(piece);
            }
            capture.finish(b"");
            assert!(!capture.is_whole() && !capture.is_partial());
            assert!(capture.whole().is_none());
            assert_eq!(capture.body.borrow().bytes.capacity(), 0);
        }
    }
}
