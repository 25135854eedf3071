//! What the driver sends: heads, data, trailers, resets.
//!
//! It waits for nothing: what the windows or the output do not take stays with the driver.
//! Invariants: a stream's END_STREAM is sent once, behind all its data; streams are opened in order.

use super::Connection;
use crate::h2::error::ErrorCode;
use crate::h2::frame::{self, END_STREAM, HEADER_BYTES, Header, Kind, PAYLOAD_BYTES_MAX};
use crate::h2::head::Message;
use crate::h2::hpack::Block;
use crate::h2::stream::{Closed, Receiving, Stream, StreamId};
use crate::http::{Method, ResponseHead};
use crate::limits::{H2_OUTPUT_BYTES_MAX, H2_STREAMS_MAX};

/// While the output has any room, so much is taken: no frames of a few bytes at its edge.
const FRAME_BYTES_MIN: usize = 1024;
/// Frames that an honest peer may send in answer to one of ours.
const ANSWERS: u32 = 2;

impl Connection<ResponseHead> {
    /// Whether [`Connection::request`] would open a stream now.
    #[must_use]
    pub fn can_request(&self) -> bool {
        let max = self.peer.streams_max.min(H2_STREAMS_MAX) as usize;
        self.drain == super::Drain::No
            && self.peer_last.is_none()
            && self.streams.len() < max
            && self.last < super::super::flow::WINDOW_MAX - 1
            && !matches!(self.reading, super::Reading::Failed(_))
    }

    /// Opens a stream by a request head. `websocket` says that it is an extended CONNECT. `write`
    /// appends the fields, pseudo-fields first. `None` when the peer allows no stream now, or none
    /// ever again.
    pub fn request(
        &mut self,
        method: Method,
        websocket: bool,
        end: bool,
        write: impl FnOnce(&mut Block<'_>),
    ) -> Option<StreamId> {
        if !self.can_request() {
            return None;
        }
        self.last = if self.last == 0 { 1 } else { self.last + 2 };
        let id = StreamId::new(self.last);
        let mut stream = Stream::new(id, self.local.stream_window, self.peer.initial_window);
        stream.bodiless = method == Method::Head;
        stream.tunnel = websocket;
        self.streams.push(stream);
        self.send_head(id, end, write);
        Some(id)
    }
}

impl<M: Message> Connection<M> {
    /// Sends a head: an interim one (never with `end`) or the final one. `write` appends the fields,
    /// pseudo-fields first, names in lower case. Does nothing on a stream that is over, or that has
    /// sent its end: an event says or has said so.
    pub fn send_head(&mut self, id: StreamId, end: bool, write: impl FnOnce(&mut Block<'_>)) {
        let Some(stream) = self.streams.get(id).filter(|stream| stream.can_send()) else { return };
        stream.sent_end = end;
        self.budget.earn(ANSWERS);
        let start = self.out.len();
        Header { length: 0, kind: Kind::Headers, flags: 0, stream: id.number() }
            .write(&mut self.out);
        write(&mut self.encoder.block(&mut self.out));
        frame::split_block(start, id, end, &mut self.out);
    }

    /// Sends trailers, which end the message. `write` appends the fields, no pseudo-fields.
    pub fn send_trailers(&mut self, id: StreamId, write: impl FnOnce(&mut Block<'_>)) {
        self.send_head(id, true, write);
    }

    /// Appends body bytes as far as the windows and the output allow, and says how many. `end` is
    /// sent along with the last byte, or alone behind it, whatever the windows are.
    pub fn send_data(&mut self, id: StreamId, data: &[u8], end: bool) -> usize {
        let accepted = data.len().min(self.capacity(id));
        let Some(stream) = self.streams.get(id).filter(|stream| stream.can_send()) else {
            return 0;
        };
        let end = end && accepted == data.len();
        if accepted == 0 && !end {
            return 0;
        }
        stream.send.take(accepted);
        stream.sent_end = end;
        self.send.take(accepted);
        let mut rest = &data[..accepted];
        loop {
            let (payload, tail) = rest.split_at(rest.len().min(PAYLOAD_BYTES_MAX));
            rest = tail;
            let flags = if end && rest.is_empty() { END_STREAM } else { 0 };
            Header { length: payload.len(), kind: Kind::Data, flags, stream: id.number() }
                .write(&mut self.out);
            self.out.extend_from_slice(payload);
            self.budget.earn(ANSWERS);
            if rest.is_empty() {
                return accepted;
            }
        }
    }

    /// Body bytes that [`Connection::send_data`] would take now. 0 because of a window:
    /// [`super::super::Event::Writable`] or [`super::super::Event::Settings`] follows. 0 because of
    /// the output: ask again once it is written.
    #[must_use]
    pub fn capacity(&mut self, id: StreamId) -> usize {
        let room = match H2_OUTPUT_BYTES_MAX.saturating_sub(self.out.len()) {
            0 => 0,
            room => room.max(FRAME_BYTES_MIN),
        };
        let connection = self.send.left();
        let stream = self.streams.get(id).filter(|stream| stream.can_send());
        stream.map_or(0, |stream| stream.send.left().min(connection).min(room))
    }

    /// Ends a stream early. No event follows; it still has to be forgotten.
    pub fn reset(&mut self, id: StreamId, code: ErrorCode) {
        let Some(stream) = self.streams.get(id) else { return };
        if stream.closed().is_none() {
            stream.reset = Some(Closed::ByUs);
            frame::write_rst_stream(id, code, &mut self.out);
            self.abandon(id);
        }
    }

    /// Gives back what a stream that ended early holds of the connection's window.
    pub(super) fn abandon(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id) else { return };
        let held = stream.receive.held();
        let _ = stream.receive.give_back(held);
        self.give_back(held);
    }

    /// The driver is done with a stream: it no longer counts as open. One that is not over is reset:
    /// an answered request whose body is still under way by `NO_ERROR`, anything else as cut short.
    pub fn forget(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id) else { return };
        let answered = stream.sent_end && stream.receiving != Receiving::Ended;
        self.reset(
            id,
            match (M::SERVER, answered) {
                (true, true) => ErrorCode::NoError,
                (true, false) => ErrorCode::InternalError,
                (false, _) => ErrorCode::Cancel,
            },
        );
        self.abandon(id);
        if let Some(stream) = self.streams.remove(id) {
            let closed = stream.closed().unwrap_or(Closed::ByUs);
            self.head_bytes -= stream.head_bytes;
            self.streams.remember(id, closed);
        }
        if self.streams.len() == 0 {
            self.streams.shrink();
            self.trailers = Vec::new();
        }
    }
}

const _: () = assert!(HEADER_BYTES + PAYLOAD_BYTES_MAX < H2_OUTPUT_BYTES_MAX);
