//! What a connection tells its driver.
//!
//! Plain data, made by [`super::Connection::read`]. Invariant: every stream that a [`Event::Head`] or
//! [`Event::Refused`] names for the first time is the driver's until it calls
//! [`super::Connection::forget`]; no event names it afterwards.

use std::ops::Range;

use super::error::ErrorCode;
use super::stream::StreamId;
use crate::h1::error::Error as Refusal;

/// What one call of [`super::Connection::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Bytes of the input that are done with. 0 without an event: more are needed.
    pub consumed: usize,
    /// What they meant to the driver, if anything.
    pub event: Option<Event>,
}

/// Something that the driver acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The head given to `read` is filled: a request (server), or an interim or final response
    /// (client).
    Head {
        /// Its stream.
        stream: StreamId,
        /// No body and no trailers follow.
        end: bool,
    },
    /// Server only: a request that gets an error answer and reaches no backend. What is still to
    /// come of it is dropped. The head given to `read` holds what was understood.
    Refused {
        /// Its stream.
        stream: StreamId,
        /// Why; [`Refusal::status`] is the answer.
        why: Refusal,
    },
    /// Body bytes: `input[range]` of the call. Give them back by `release` once they are forwarded.
    Data {
        /// Their stream.
        stream: StreamId,
        /// Where they stand in the input of this call; may be empty with `end`.
        range: Range<usize>,
        /// The body ends here, whole.
        end: bool,
    },
    /// The body ends here, whole, with [`super::Connection::trailers`].
    Trailers {
        /// Its stream.
        stream: StreamId,
    },
    /// The stream is over before both messages were whole; `forget` it. Nothing more can be sent.
    Reset {
        /// The stream.
        stream: StreamId,
        /// The peer's code, or ours.
        code: ErrorCode,
        /// The peer did it; otherwise we did, because the peer broke a rule on this stream.
        by_peer: bool,
    },
    /// A malformed or surplus request was answered by RST_STREAM before it became the driver's:
    /// there is nothing to do but to count it.
    Rejected {
        /// The stream.
        stream: StreamId,
        /// What we reset it with.
        code: ErrorCode,
    },
    /// A stream that could not send may send again; `None`: any stream may.
    Writable {
        /// The stream.
        stream: Option<StreamId>,
    },
    /// The peer's settings changed: more streams may be allowed, any stream may send again.
    Settings,
    /// The peer opens (server) or takes (client) no more streams.
    GoAway {
        /// Client: streams above this were not processed and may be sent elsewhere.
        last: u32,
        /// Why.
        code: ErrorCode,
    },
    /// Our [`super::Connection::ping`] was answered.
    Pong,
}
