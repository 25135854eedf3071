//! One stream's state, RFC 9113 section 5.1, and the set of a connection's streams.
//!
//! It sends and decides nothing; the connection reads and changes it. Invariants: streams stay in
//! the set until the driver forgets them, so work that goes on behind a reset stream still counts;
//! what is remembered of forgotten ones is bounded.

use std::collections::VecDeque;

use super::flow::{ReceiveWindow, SendWindow};
use crate::limits::H2_CLOSED_STREAMS_MAX;

/// A stream identifier, 1 to 2³¹-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u32);

impl StreamId {
    /// The stream of a frame header that is not the connection's.
    pub(super) fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// How far the peer's message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// No final head yet (client).
    Head,
    /// Data or trailers.
    Body,
    /// Whole.
    Ended,
}

/// A stream that the driver has not forgotten.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) receiving: Receiving,
    /// We sent END_STREAM.
    pub(super) sent_end: bool,
    /// A RST_STREAM went either way: nothing is sent or told any more.
    pub(super) reset: Option<Closed>,
    /// The request was refused: what still arrives is dropped.
    pub(super) discard: bool,
    /// The answer to this request has no body (client: HEAD).
    pub(super) bodiless: bool,
    /// Extended CONNECT: no Content-Length rule.
    pub(super) tunnel: bool,
    /// What its request head takes (server).
    pub(super) head_bytes: usize,
    /// Interim responses so far (client).
    pub(super) interim: u32,
    /// Content-Length bytes that are still to come.
    pub(super) expected: Option<u64>,
    pub(super) receive: ReceiveWindow,
    pub(super) send: SendWindow,
}

impl Stream {
    /// A new stream with the windows of both sides.
    pub(super) fn new(id: StreamId, receive: u32, send: u32) -> Self {
        Self {
            id,
            receiving: Receiving::Head,
            sent_end: false,
            reset: None,
            discard: false,
            bodiless: false,
            tunnel: false,
            head_bytes: 0,
            interim: 0,
            expected: None,
            receive: ReceiveWindow::new(receive),
            send: SendWindow::new(send),
        }
    }

    /// How a stream that nothing more is sent on ended; `None` while something may come.
    pub(super) fn closed(&self) -> Option<Closed> {
        let both = self.sent_end && self.receiving == Receiving::Ended;
        self.reset.or_else(|| both.then_some(Closed::Whole))
    }

    /// Whether more data may come that counts.
    pub(super) fn is_receiving(&self) -> bool {
        self.reset.is_none() && self.receiving != Receiving::Ended
    }

    /// Whether we may send on it.
    pub(super) fn can_send(&self) -> bool {
        self.reset.is_none() && !self.sent_end
    }
}

/// How a stream ended, which decides what a late frame on it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// END_STREAM both ways: a late frame is an error of the connection.
    Whole,
    /// The peer reset it: a late frame is an error of the stream.
    ByPeer,
    /// We reset it: what was under way is ignored.
    ByUs,
}

/// Room for so many streams stays with an idle connection.
const STREAMS_KEPT: usize = 8;

/// The streams of a connection: those of the driver, and the last ones that it forgot.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// In the order of their identifiers, which only grow.
    live: Vec<Stream>,
    closed: VecDeque<(StreamId, Closed)>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    #[inline]
    pub(super) fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        let at = self.find(id)?;
        self.live.get_mut(at)
    }

    #[inline]
    fn find(&self, id: StreamId) -> Option<usize> {
        self.live.binary_search_by_key(&id, |stream| stream.id).ok()
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.live.iter_mut()
    }

    /// Adds a stream with a larger identifier than any before.
    pub(super) fn push(&mut self, stream: Stream) {
        self.live.push(stream);
    }

    pub(super) fn resident_bytes(&self) -> usize {
        self.live.capacity() * size_of::<Stream>()
            + self.closed.capacity() * size_of::<(StreamId, Closed)>()
    }

    /// Gives back memory that an idle connection has no use for.
    pub(super) fn shrink(&mut self) {
        self.live.shrink_to(STREAMS_KEPT);
    }

    /// Takes a stream out; what it was is remembered for late frames by [`Streams::remember`].
    pub(super) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let at = self.find(id)?;
        Some(self.live.remove(at))
    }

    /// Remembers how a stream that is not the driver's ended.
    pub(super) fn remember(&mut self, id: StreamId, closed: Closed) {
        if self.closed.len() >= H2_CLOSED_STREAMS_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back((id, closed));
    }

    /// How a stream that is not the driver's ended, if it was one of the last.
    pub(super) fn remembered(&self, id: StreamId) -> Option<Closed> {
        self.closed.iter().rev().find(|(other, _)| *other == id).map(|(_, closed)| *closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_streams_are_remembered_up_to_a_bound() {
        let mut streams = Streams::default();
        let last = H2_CLOSED_STREAMS_MAX as u32 + 5;
        for number in 0..last {
            streams.remember(StreamId::new(number), Closed::ByPeer);
        }
        assert_eq!(streams.remembered(StreamId::new(last - 1)), Some(Closed::ByPeer));
        assert_eq!(streams.remembered(StreamId::new(4)), None);
        assert_eq!(streams.remembered(StreamId::new(5)), Some(Closed::ByPeer));
        assert_eq!(streams.closed.len(), H2_CLOSED_STREAMS_MAX);
    }

    #[test]
    fn streams_are_found_and_removed_by_identifier() {
        let mut streams = Streams::default();
        for number in [1, 5, 9] {
            streams.push(Stream::new(StreamId::new(number), 10, 10));
        }
        assert_eq!(streams.get(StreamId::new(5)).map(|stream| stream.id.number()), Some(5));
        assert!(streams.get(StreamId::new(3)).is_none());
        assert!(streams.remove(StreamId::new(5)).is_some());
        assert!(streams.remove(StreamId::new(5)).is_none());
        assert_eq!(streams.len(), 2);
    }
}
