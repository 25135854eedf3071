//! Frames from the peer, RFC 9113 sections 3.4, 5 and 6: all but the meaning of field blocks.
//!
//! [`super::Connection::read`] steps through it. Invariants: every flow-controlled byte is counted
//! against both windows once, whatever becomes of it; a frame on a stream that is over is told apart
//! by how it ended; each suspicious frame is charged.

use std::time::Instant;

use super::{ALIVE_PING, Connection, DRAIN_PING, Drain};
use crate::h2::error::{ConnectionError, ErrorCode};
use crate::h2::event::{Event, Read};
use crate::h2::flow::WINDOW_MAX;
use crate::h2::frame::{self, ACK, END_STREAM, HEADER_BYTES, Header, Kind, PADDED, PREFACE};
use crate::h2::head::Message;
use crate::h2::stream::{Closed, Receiving, StreamId};

/// An update that leaves a window smaller than this is suspected to be a drip.
const TINY_WINDOW_BYTES: usize = 1024;

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// The client's preface.
    Preface,
    /// The peer's first frame, which is SETTINGS.
    FirstSettings,
    /// A frame.
    Frame,
    /// The rest of a DATA frame: so much data, then so much padding.
    Data { stream: StreamId, data: usize, padding: usize, end: bool },
    /// Payload that means nothing.
    Skip { left: usize },
    /// A CONTINUATION frame, after so many others.
    Block { stream: StreamId, end: bool, depends_on_itself: bool, frames: u32 },
    /// Nothing more.
    Failed(ConnectionError),
}

/// What is known of a stream that a frame names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It was never opened.
    Idle,
    /// It is the driver's, and the peer may send on it.
    Open(Receiving),
    /// It is over.
    Closed(Closed),
    /// It is over for longer than anybody remembers, or was skipped.
    Forgotten,
}

pub(super) type Step = Result<Option<Event>, ConnectionError>;

const MORE: Read = Read { consumed: 0, event: None };

impl<M: Message> Connection<M> {
    pub(super) fn step(
        &mut self,
        input: &[u8],
        head: &mut M,
        now: Instant,
    ) -> Result<Read, ConnectionError> {
        match self.reading {
            Reading::Preface => return self.preface(input),
            Reading::Data { stream, data, padding, end } => {
                return Ok(self.data_part(input, 0, stream, data, padding, end));
            }
            Reading::Skip { left } => {
                let consumed = left.min(input.len());
                self.skip(left - consumed);
                return Ok(Read { consumed, event: None });
            }
            Reading::FirstSettings | Reading::Frame | Reading::Block { .. } => {}
            Reading::Failed(error) => return Err(error),
        }
        let Some(header) = Header::read(input) else { return Ok(MORE) };
        self.check_order(header)?;
        header.check()?;
        match header.kind {
            Kind::Data => return self.data(header, input, now),
            Kind::Unknown(_) => {
                self.charge(now)?;
                self.skip(header.length);
                return Ok(Read { consumed: HEADER_BYTES, event: None });
            }
            _ => {}
        }
        let consumed = HEADER_BYTES + header.length;
        let Some(payload) = input.get(HEADER_BYTES..consumed) else { return Ok(MORE) };
        let event = self.frame(header, payload, head, now)?;
        Ok(Read { consumed, event })
    }

    fn preface(&mut self, input: &[u8]) -> Result<Read, ConnectionError> {
        let length = input.len().min(PREFACE.len());
        if input[..length] != PREFACE[..length] {
            return Err(ConnectionError::protocol("not the connection preface"));
        }
        if length < PREFACE.len() {
            return Ok(MORE);
        }
        self.reading = Reading::FirstSettings;
        Ok(Read { consumed: PREFACE.len(), event: None })
    }

    /// The first frame is SETTINGS, and nothing stands between the frames of a field block.
    fn check_order(&mut self, header: Header) -> Result<(), ConnectionError> {
        match self.reading {
            Reading::FirstSettings if header.kind != Kind::Settings || header.has(ACK) => {
                Err(ConnectionError::protocol("the first frame is not SETTINGS"))
            }
            Reading::Block { stream, .. }
                if header.kind != Kind::Continuation || header.stream != stream.number() =>
            {
                Err(ConnectionError::protocol("a frame between those of a field block"))
            }
            Reading::FirstSettings | Reading::Block { .. } => Ok(()),
            _ if header.kind == Kind::Continuation => {
                Err(ConnectionError::protocol("CONTINUATION of nothing"))
            }
            _ => Ok(()),
        }
    }

    /// A frame whose payload is complete.
    fn frame(&mut self, header: Header, payload: &[u8], head: &mut M, now: Instant) -> Step {
        let stream = StreamId::new(header.stream);
        match header.kind {
            Kind::Headers => self.headers(header, payload, head, now),
            Kind::Continuation => self.continuation(header, payload, head, now),
            Kind::Priority => self.priority(stream, payload, now),
            Kind::RstStream => {
                self.rst_stream(stream, ErrorCode::from_wire(frame::number(payload)), now)
            }
            Kind::Settings => self.settings(header, payload, now),
            Kind::PushPromise => Err(ConnectionError::protocol("PUSH_PROMISE")),
            Kind::Ping => self.pinged(header, payload, now),
            Kind::GoAway => self.going_away(payload, now),
            Kind::WindowUpdate => self.window_update(stream, frame::number(payload), now),
            Kind::Data | Kind::Unknown(_) => Ok(None),
        }
    }

    /// What is known of the stream that a frame is on.
    pub(super) fn known(&mut self, id: StreamId) -> Known {
        if id.number() > self.last || id.number().is_multiple_of(2) {
            return Known::Idle;
        }
        if let Some(stream) = self.streams.get(id) {
            return stream.closed().map_or(Known::Open(stream.receiving), Known::Closed);
        }
        self.streams.remembered(id).map_or(Known::Forgotten, Known::Closed)
    }

    /// Counts something suspicious.
    pub(super) fn charge(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if self.budget.charge(now) { Ok(()) } else { Err(SPENT) }
    }

    /// Counts what may be an answer to something that we sent.
    fn charge_answer(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if self.budget.answer(now) { Ok(()) } else { Err(SPENT) }
    }

    /// The peer broke a rule on one stream: it is reset, and the driver told if the stream is its.
    pub(super) fn stream_error(&mut self, id: StreamId, code: ErrorCode, now: Instant) -> Step {
        self.charge(now)?;
        frame::write_rst_stream(id, code, &mut self.out);
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        let told = stream.reset.is_some();
        stream.reset = Some(Closed::ByUs);
        self.abandon(id);
        Ok((!told).then_some(Event::Reset { stream: id, code, by_peer: false }))
    }

    fn skip(&mut self, left: usize) {
        self.reading = if left == 0 { Reading::Frame } else { Reading::Skip { left } };
    }

    /// The header of a DATA frame, and what has come of its payload.
    fn data(
        &mut self,
        header: Header,
        input: &[u8],
        now: Instant,
    ) -> Result<Read, ConnectionError> {
        let id = StreamId::new(header.stream);
        let mut start = HEADER_BYTES;
        let (mut data, mut padding) = (header.length, 0);
        if header.has(PADDED) {
            if header.length == 0 {
                return Err(ConnectionError::frame_size("DATA too short for its flags"));
            }
            let Some(&length) = input.get(HEADER_BYTES) else { return Ok(MORE) };
            start += 1;
            padding = usize::from(length);
            let left = (header.length - 1).checked_sub(padding);
            data = left.ok_or(ConnectionError::protocol("padding longer than the payload"))?;
        }
        let end = header.has(END_STREAM);
        let length = header.length as u32;
        let known = self.known(id);
        if known == Known::Idle {
            return Err(ConnectionError::protocol("DATA on an idle stream"));
        }
        if !self.receive.take(length) {
            return Err(ConnectionError::flow_control("DATA beyond the connection's window"));
        }
        if data == 0 && !end {
            self.charge(now)?;
        }
        match self.admit(id, known, length, data, end)? {
            Admit::Deliver => {
                let unseen = length - data as u32;
                self.release(id, unseen as usize);
                Ok(self.data_part(input, start, id, data, padding, end))
            }
            Admit::Drop => {
                self.give_back(length);
                self.skip(data + padding);
                Ok(Read { consumed: start, event: None })
            }
            Admit::Error(code) => {
                self.give_back(length);
                self.skip(data + padding);
                let event = self.stream_error(id, code, now)?;
                Ok(Read { consumed: start, event })
            }
        }
    }

    /// What becomes of a DATA frame; its stream's window and length are counted.
    fn admit(
        &mut self,
        id: StreamId,
        known: Known,
        length: u32,
        data: usize,
        end: bool,
    ) -> Result<Admit, ConnectionError> {
        match known {
            Known::Open(Receiving::Body) => {}
            Known::Open(Receiving::Head) => return Ok(Admit::Error(ErrorCode::ProtocolError)),
            Known::Closed(Closed::ByUs) => return Ok(Admit::Drop),
            Known::Closed(Closed::Whole) => return Err(CLOSED),
            Known::Open(Receiving::Ended)
            | Known::Closed(Closed::ByPeer)
            | Known::Forgotten
            | Known::Idle => return Ok(Admit::Error(ErrorCode::StreamClosed)),
        }
        let Some(stream) = self.streams.get(id) else { return Ok(Admit::Drop) };
        if stream.discard {
            if end {
                stream.receiving = Receiving::Ended;
            }
            // Nobody gives this back but us, and a window is only announced by whole halves.
            return Ok(Admit::Drop);
        }
        if let Some(expected) = &mut stream.expected {
            match expected.checked_sub(data as u64) {
                Some(left) if left == 0 || !end => *expected = left,
                _ => return Ok(Admit::Error(ErrorCode::ProtocolError)),
            }
        }
        if !stream.receive.take(length) {
            return Ok(Admit::Error(ErrorCode::FlowControlError));
        }
        Ok(Admit::Deliver)
    }

    /// Hands out what has come of a DATA frame's data.
    fn data_part(
        &mut self,
        input: &[u8],
        start: usize,
        id: StreamId,
        data: usize,
        padding: usize,
        end: bool,
    ) -> Read {
        let Some(stream) = self.streams.get(id).filter(|stream| stream.reset.is_none()) else {
            // Reset or forgotten meanwhile: its bytes were given back then.
            let left = start + data + padding;
            let consumed = left.min(input.len());
            self.skip(left - consumed);
            return Read { consumed, event: None };
        };
        let part = start..input.len().min(start + data);
        let left = data - part.len();
        let whole = left == 0;
        if whole && end {
            stream.receiving = Receiving::Ended;
        }
        if whole {
            self.skip(padding);
        } else {
            self.reading = Reading::Data { stream: id, data: left, padding, end };
        }
        let consumed = part.end;
        let tells = !part.is_empty() || (whole && end);
        let event = Event::Data { stream: id, range: part, end: whole && end };
        Read { consumed, event: tells.then_some(event) }
    }

    /// PRIORITY is obsolete: checked and ignored.
    fn priority(&mut self, id: StreamId, payload: &[u8], now: Instant) -> Step {
        self.charge(now)?;
        let code = match payload.first_chunk::<5>().filter(|_| payload.len() == 5) {
            None => ErrorCode::FrameSizeError,
            Some(priority) if frame::priority_dependency(priority) == id.number() => {
                ErrorCode::ProtocolError
            }
            Some(_) => return Ok(None),
        };
        match self.known(id) {
            Known::Idle => Err(ConnectionError { code, reason: "PRIORITY" }),
            Known::Open(_) => self.stream_error(id, code, now),
            Known::Closed(_) | Known::Forgotten => Ok(None),
        }
    }

    fn rst_stream(&mut self, id: StreamId, code: ErrorCode, now: Instant) -> Step {
        if M::SERVER {
            self.charge(now)?;
        }
        match self.known(id) {
            Known::Idle => Err(ConnectionError::protocol("RST_STREAM on an idle stream")),
            Known::Open(_) => {
                if let Some(stream) = self.streams.get(id) {
                    stream.reset = Some(Closed::ByPeer);
                }
                self.abandon(id);
                Ok(Some(Event::Reset { stream: id, code, by_peer: true }))
            }
            Known::Closed(_) | Known::Forgotten => Ok(None),
        }
    }

    fn settings(&mut self, header: Header, payload: &[u8], now: Instant) -> Step {
        if header.has(ACK) {
            match self.unacknowledged.checked_sub(1) {
                Some(left) => self.unacknowledged = left,
                None => self.charge(now)?,
            }
            return Ok(None);
        }
        if matches!(self.reading, Reading::FirstSettings) {
            self.reading = Reading::Frame;
        } else {
            self.charge(now)?;
        }
        let before = self.peer;
        for (identifier, value) in frame::settings(payload) {
            self.peer.set(identifier, value, !M::SERVER)?;
            if identifier == crate::h2::settings::HEADER_TABLE_SIZE {
                self.encoder.set_table_max(value);
            }
        }
        let change = i64::from(self.peer.initial_window) - i64::from(before.initial_window);
        for stream in self.streams.all() {
            if !stream.send.add(change) {
                return Err(ConnectionError::flow_control("SETTINGS_INITIAL_WINDOW_SIZE"));
            }
        }
        frame::write_settings_ack(&mut self.out);
        Ok(Some(Event::Settings))
    }

    fn pinged(&mut self, header: Header, payload: &[u8], now: Instant) -> Step {
        let payload = payload.first_chunk::<8>().copied().unwrap_or_default();
        if !header.has(ACK) {
            self.charge_answer(now)?;
            frame::write_ping(ACK, payload, &mut self.out);
            return Ok(None);
        }
        match payload {
            ALIVE_PING if self.pings > 0 => {
                self.pings -= 1;
                return Ok(Some(Event::Pong));
            }
            DRAIN_PING if self.drain == Drain::Announced => self.go_away(ErrorCode::NoError),
            _ => self.charge(now)?,
        }
        Ok(None)
    }

    fn going_away(&mut self, payload: &[u8], now: Instant) -> Step {
        self.charge(now)?;
        let (last, code) = frame::go_away(payload);
        let last = self.peer_last.map_or(last, |before| before.min(last));
        self.peer_last = Some(last);
        if !M::SERVER {
            let unprocessed = self.streams.all().filter(|stream| stream.id.number() > last);
            for stream in unprocessed {
                stream.reset = stream.reset.or(Some(Closed::ByPeer));
            }
        }
        Ok(Some(Event::GoAway { last, code }))
    }

    fn window_update(&mut self, id: StreamId, increment: u32, now: Instant) -> Step {
        self.charge_answer(now)?;
        let increment = i64::from(increment & WINDOW_MAX);
        if id.number() == 0 {
            let before = self.send.left();
            if increment == 0 {
                return Err(ConnectionError::protocol("WINDOW_UPDATE of nothing"));
            }
            if !self.send.add(increment) {
                return Err(ConnectionError::flow_control(
                    "WINDOW_UPDATE beyond the largest window",
                ));
            }
            let after = self.send.left();
            return self.widened(None, before, after, now);
        }
        match self.known(id) {
            Known::Idle => {
                return Err(ConnectionError::protocol("WINDOW_UPDATE on an idle stream"));
            }
            Known::Closed(_) | Known::Forgotten => return Ok(None),
            Known::Open(_) => {}
        }
        if increment == 0 {
            return self.stream_error(id, ErrorCode::ProtocolError, now);
        }
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        let before = stream.send.left();
        if !stream.send.add(increment) {
            return self.stream_error(id, ErrorCode::FlowControlError, now);
        }
        let after = stream.send.left();
        self.widened(Some(id), before, after, now)
    }

    /// A window grew; who keeps it tiny makes us send tiny frames.
    fn widened(
        &mut self,
        stream: Option<StreamId>,
        before: usize,
        after: usize,
        now: Instant,
    ) -> Step {
        if after < TINY_WINDOW_BYTES {
            self.charge(now)?;
        }
        Ok((before == 0 && after > 0).then_some(Event::Writable { stream }))
    }
}

/// What becomes of a DATA frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admit {
    Deliver,
    Drop,
    Error(ErrorCode),
}

pub(super) const CLOSED: ConnectionError =
    ConnectionError { code: ErrorCode::StreamClosed, reason: "a frame on a closed stream" };

pub(super) const SPENT: ConnectionError =
    ConnectionError { code: ErrorCode::EnhanceYourCalm, reason: "the abuse budget is spent" };
