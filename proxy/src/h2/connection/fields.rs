//! Field blocks from the peer: requests, responses and trailers, RFC 9113 sections 5.1, 6.2 and 8.1.
//!
//! What a block's fields may be is `head`'s; here stands what they may do to a stream. Invariants:
//! every block is decoded, whatever becomes of it, so that both HPACK tables stay equal; a request
//! becomes the driver's only when it is well-formed.

use std::time::Instant;

use super::receive::{CLOSED, Known, Reading, Step};
use super::{Connection, Drain};
use crate::h2::error::{ConnectionError, ErrorCode};
use crate::h2::event::Event;
use crate::h2::frame::{self, END_HEADERS, END_STREAM, Header};
use crate::h2::head::{self, Asked, Flaw, Meaning, Message};
use crate::h2::hpack;
use crate::h2::stream::{Closed, Receiving, Stream, StreamId};
use crate::limits::{
    H2_CONTINUATIONS_MAX, H2_HEADS_BYTES_MAX, H2_TOO_LARGE_COST, HEAD_BYTES_MAX,
    INTERIM_RESPONSES_MAX,
};

/// A complete field block.
#[derive(Clone, Copy, Debug)]
struct Fields<'b> {
    id: StreamId,
    end: bool,
    depends_on_itself: bool,
    bytes: &'b [u8],
}

const FLOOD: ConnectionError =
    ConnectionError { code: ErrorCode::EnhanceYourCalm, reason: "field block too large" };

impl<M: Message> Connection<M> {
    pub(super) fn headers(
        &mut self,
        header: Header,
        payload: &[u8],
        head: &mut M,
        now: Instant,
    ) -> Step {
        let parts = frame::headers(header, payload)?;
        let id = StreamId::new(header.stream);
        let end = header.has(END_STREAM);
        let depends_on_itself = parts.dependency == Some(header.stream);
        if header.has(END_HEADERS) {
            return self.fields(
                Fields { id, end, depends_on_itself, bytes: parts.fragment },
                head,
                now,
            );
        }
        self.block.clear();
        self.block.extend_from_slice(parts.fragment);
        self.reading = Reading::Block { stream: id, end, depends_on_itself, frames: 0 };
        Ok(None)
    }

    pub(super) fn continuation(
        &mut self,
        header: Header,
        payload: &[u8],
        head: &mut M,
        now: Instant,
    ) -> Step {
        let Reading::Block { stream: id, end, depends_on_itself, frames } = self.reading else {
            return Err(ConnectionError::protocol("CONTINUATION of nothing"));
        };
        if payload.is_empty() {
            self.charge(now)?;
        }
        let frames = frames + 1;
        if frames > H2_CONTINUATIONS_MAX || self.block.len() + payload.len() > HEAD_BYTES_MAX {
            return Err(FLOOD);
        }
        self.block.extend_from_slice(payload);
        self.reading = Reading::Block { stream: id, end, depends_on_itself, frames };
        if !header.has(END_HEADERS) {
            return Ok(None);
        }
        self.reading = Reading::Frame;
        let block = std::mem::take(&mut self.block);
        self.fields(Fields { id, end, depends_on_itself, bytes: &block }, head, now)
    }

    fn fields(&mut self, block: Fields<'_>, head: &mut M, now: Instant) -> Step {
        match self.known(block.id) {
            Known::Idle if M::SERVER && !block.id.number().is_multiple_of(2) => {
                self.request_fields(block, head, now)
            }
            Known::Idle => Err(ConnectionError::protocol("HEADERS on a stream that may not begin")),
            Known::Forgotten => Err(ConnectionError::protocol("HEADERS on an earlier stream")),
            Known::Closed(Closed::Whole) => Err(CLOSED),
            Known::Closed(Closed::ByUs) => self.pass_over(block).map(|()| None),
            Known::Closed(Closed::ByPeer) | Known::Open(Receiving::Ended) => {
                self.pass_over(block)?;
                self.stream_error(block.id, ErrorCode::StreamClosed, now)
            }
            Known::Open(_) if block.depends_on_itself => {
                self.pass_over(block)?;
                self.stream_error(block.id, ErrorCode::ProtocolError, now)
            }
            Known::Open(Receiving::Head) => self.response_fields(block, head, now),
            Known::Open(Receiving::Body) => self.trailer_fields(block, now),
        }
    }

    /// Decodes for the table's sake.
    fn pass_over(&mut self, block: Fields<'_>) -> Result<(), ConnectionError> {
        match self.decoder.decode(block.bytes, |_| Err(())) {
            Ok(()) | Err(hpack::DecodeError::Refused(())) => Ok(()),
            Err(hpack::DecodeError::Compression(_)) => Err(COMPRESSION),
        }
    }

    /// Opens a stream, or not.
    fn request_fields(&mut self, block: Fields<'_>, head: &mut M, now: Instant) -> Step {
        let Fields { id, end, .. } = block;
        self.last = id.number();
        let full = self.streams.len() >= self.local.streams_max as usize;
        if full || matches!(self.drain, Drain::Final(_)) {
            self.pass_over(block)?;
            return self.reject(id, ErrorCode::RefusedStream, now);
        }
        if block.depends_on_itself {
            self.pass_over(block)?;
            return self.reject(id, ErrorCode::ProtocolError, now);
        }
        let read = head::read(&mut self.decoder, block.bytes, head, Asked::default(), end);
        let read = read.map_err(|_| COMPRESSION)?;
        let read = match read {
            Ok(meaning) => Ok(meaning),
            Err(Flaw::Refused(why)) if why.status() == 431 => {
                if !self.budget.spend(H2_TOO_LARGE_COST, now) {
                    return Err(FLOOD);
                }
                Err(why)
            }
            Err(Flaw::Refused(why)) => Err(why),
            Err(Flaw::Malformed) => return self.reject(id, ErrorCode::ProtocolError, now),
        };
        let head_bytes = head.held();
        if self.head_bytes + head_bytes > H2_HEADS_BYTES_MAX {
            return self.reject(id, ErrorCode::RefusedStream, now);
        }
        let mut stream = Stream::new(id, self.local.stream_window, self.peer.initial_window);
        stream.receiving = if end { Receiving::Ended } else { Receiving::Body };
        stream.head_bytes = head_bytes;
        self.head_bytes += head_bytes;
        self.budget.earn(1);
        let event = match read {
            Ok(meaning) => {
                stream.expected = meaning.expected;
                stream.tunnel = meaning.tunnel;
                Event::Head { stream: id, end }
            }
            Err(why) => {
                stream.discard = true;
                Event::Refused { stream: id, why }
            }
        };
        self.streams.push(stream);
        Ok(Some(event))
    }

    /// A request that never becomes the driver's.
    fn reject(&mut self, id: StreamId, code: ErrorCode, now: Instant) -> Step {
        self.charge(now)?;
        frame::write_rst_stream(id, code, &mut self.out);
        self.streams.remember(id, Closed::ByUs);
        Ok(Some(Event::Rejected { stream: id, code }))
    }

    fn response_fields(&mut self, block: Fields<'_>, head: &mut M, now: Instant) -> Step {
        let Fields { id, end, .. } = block;
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        let asked = Asked { bodiless: stream.bodiless, tunnel: stream.tunnel };
        let read = head::read(&mut self.decoder, block.bytes, head, asked, end);
        let Ok(meaning) = read.map_err(|_| COMPRESSION)? else {
            return self.stream_error(id, ErrorCode::ProtocolError, now);
        };
        let Meaning { interim, expected, tunnel } = meaning;
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        if interim {
            stream.interim += 1;
            if stream.interim > INTERIM_RESPONSES_MAX {
                return self.stream_error(id, ErrorCode::EnhanceYourCalm, now);
            }
        } else {
            stream.receiving = if end { Receiving::Ended } else { Receiving::Body };
            stream.expected = expected;
            stream.tunnel = tunnel;
        }
        Ok(Some(Event::Head { stream: id, end }))
    }

    /// The second field block of a message: RFC 9113 section 8.1.
    fn trailer_fields(&mut self, block: Fields<'_>, now: Instant) -> Step {
        let id = block.id;
        self.trailers.clear();
        let read = head::collect_trailers(&mut self.decoder, block.bytes, &mut self.trailers);
        let read = read.map_err(|_| COMPRESSION)?;
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        let whole = block.end && !stream.tunnel && stream.expected.unwrap_or(0) == 0;
        if stream.discard && block.end {
            stream.receiving = Receiving::Ended;
            return Ok(None);
        }
        if !whole || read.is_err() {
            return self.stream_error(id, ErrorCode::ProtocolError, now);
        }
        stream.receiving = Receiving::Ended;
        Ok(Some(Event::Trailers { stream: id }))
    }
}

const COMPRESSION: ConnectionError =
    ConnectionError { code: ErrorCode::CompressionError, reason: "field block" };
