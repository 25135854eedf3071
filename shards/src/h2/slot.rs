//! What a connection knows of one stream: what arrived and was not taken, and how it ended.
//!
//! The connection's state holds one for every stream that its exchange has not forgotten, and keeps
//! some for the next ones. Invariant: what a body takes of memory is counted by whoever puts it here.

use std::collections::VecDeque;
use std::task::Waker;

use proxy::h2::ErrorCode;

/// One stream, as far as it is not its exchange's.
#[derive(Debug)]
pub(super) struct Slot<M> {
    pub(super) waker: Option<Waker>,
    /// Heads that nobody has taken yet (client).
    pub(super) heads: VecDeque<Box<M>>,
    /// A head has come (client).
    pub(super) answered: bool,
    /// Body bytes that nobody has taken yet.
    pub(super) body: Vec<u8>,
    /// Memory of its body, taken or not (bytes).
    pub(super) memory: usize,
    pub(super) trailers: Vec<u8>,
    /// The peer's message is whole.
    pub(super) whole: bool,
    pub(super) end: Option<End>,
    /// Its body came too slowly.
    pub(super) late: bool,
    /// It was reset, by whichever side.
    pub(super) reset: bool,
}

/// Why a stream ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer reset it.
    Peer(ErrorCode),
    /// The peer has done nothing for it and says so.
    Unprocessed,
    /// What the peer sent on it breaks the protocol.
    Malformed,
    /// Its connection is gone.
    Gone,
    /// We ended it.
    Ours,
}

impl<M> Default for Slot<M> {
    fn default() -> Self {
        Self {
            waker: None,
            heads: VecDeque::new(),
            answered: false,
            body: Vec::new(),
            memory: 0,
            trailers: Vec::new(),
            whole: false,
            end: None,
            late: false,
            reset: false,
        }
    }
}

impl<M> Slot<M> {
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What it means that the peer says that it did nothing: nothing, once it has answered.
    pub(super) fn refused(&self) -> End {
        if self.answered { End::Peer(ErrorCode::RefusedStream) } else { End::Unprocessed }
    }

    /// Adds to the body; returns how much memory that took.
    pub(super) fn put(&mut self, bytes: &[u8], spare: &mut Vec<Vec<u8>>) -> usize {
        let body = &mut self.body;
        let before = body.capacity();
        if before == 0
            && let Some(spare) = spare.pop()
        {
            *body = spare;
        }
        if body.capacity() - body.len() < bytes.len() {
            // By less than a vector would: what many streams hold is bounded by memory.
            body.reserve_exact(bytes.len().max(body.len() / GROWTH).max(GROWTH_BYTES_MIN));
        }
        body.extend_from_slice(bytes);
        let grown = self.body.capacity() - before;
        self.memory += grown;
        grown
    }

    pub(super) fn clear(&mut self) {
        self.waker = None;
        self.heads.clear();
        self.body.clear();
        self.trailers.clear();
        (self.answered, self.whole, self.end, self.late) = (false, false, None, false);
    }
}

/// A body that needs more memory gets no more than this part of its length beyond it.
pub(super) const GROWTH: usize = 8;
const GROWTH_BYTES_MIN: usize = 64;
