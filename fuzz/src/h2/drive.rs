//! A driver of a connection whose peer sends any bytes, as `shards` has one for either role.
//!
//! It does what the [`Script`] says, at the events that do not depend on how the input was cut, and holds
//! every event to what is known of its stream. What comes out goes to [`Watch`]; what only one role does
//! is [`Driven`]'s.

use std::collections::BTreeMap;
use std::time::Instant;

use proxy::h2::frame::{END_HEADERS, HEADER_BYTES, Header, Kind, PAYLOAD_BYTES_MAX};
use proxy::h2::hpack::Block;
use proxy::h2::{Connection, ConnectionError, ErrorCode, Event, StreamId};

use super::roles::Driven;
use super::watch::{Role, Watch};
use super::{Outcome, Script, start};

/// What one connection may hold in the worst case (bytes).
const RESIDENT_BYTES_MAX: usize = 1 << 20;
/// Frames that carry an event may ask for so many bytes in return, each.
pub(super) const RETURN_BYTES_MAX: usize = 128;

/// One stream as its driver knows it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The final head came.
    pub(super) begun: bool,
    /// The peer's message is whole.
    pub(super) ended: bool,
    /// Over before its time, by either side; nothing is told of it any more.
    pub(super) over: bool,
    pub(super) answered: bool,
    /// Body bytes to send, trailers behind them or not; `None` once the end is sent.
    pub(super) left: Option<(usize, bool)>,
    pub(super) delivered: u64,
    pub(super) announced: Option<u64>,
    /// Data that was not given back.
    pub(super) held: usize,
}

pub(super) struct Drive<M: Role> {
    pub(super) end: Connection<M>,
    pub(super) head: M,
    pub(super) script: Script,
    pub(super) now: Instant,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    pub(super) watch: Watch<M>,
    pub(super) error: Option<ConnectionError>,
    pub(super) outcome: Outcome,
    /// Events other than data.
    pub(super) events: usize,
    pub(super) requests: usize,
    pub(super) consumed: usize,
    /// Bytes that the driver asked to be sent, with what goes around them.
    pub(super) own: usize,
}

impl<M: Driven> Drive<M> {
    pub(super) fn new(end: Connection<M>, script: Script) -> Self {
        let (words, heads, data, output) = Default::default();
        Self {
            end,
            head: M::default(),
            script,
            now: start(),
            streams: BTreeMap::new(),
            watch: Watch::new(script.local()),
            error: None,
            outcome: Outcome { words, heads, data, output },
            events: 0,
            requests: 0,
            consumed: 0,
            own: 0,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], piece: usize) {
        let mut arrived = 0;
        while arrived < bytes.len() && self.error.is_none() {
            arrived = bytes.len().min(arrived.saturating_add(piece));
            self.read(&bytes[..arrived]);
            let kept = arrived - self.consumed;
            assert!(self.error.is_some() || kept < HEADER_BYTES + PAYLOAD_BYTES_MAX, "{kept}");
        }
    }

    /// Reads what of `input` was not consumed.
    fn read(&mut self, input: &[u8]) {
        loop {
            let rest = &input[self.consumed..];
            let read = match self.end.read(rest, &mut self.head, self.now) {
                Ok(read) => read,
                Err(error) => {
                    let again = self.end.read(rest, &mut self.head, self.now);
                    assert_eq!(again.err(), Some(error), "an error stays");
                    self.outcome.words.push(format!("goaway:{}", error.code.name()));
                    self.error = Some(error);
                    return self.settle();
                }
            };
            if read.consumed == 0 && read.event.is_none() {
                return;
            }
            self.consumed += read.consumed;
            self.watch.granted(&input[..self.consumed]);
            let Some(event) = read.event else {
                self.drain();
                continue;
            };
            self.outcome.note(&event);
            self.check(&event, rest, read.consumed);
            self.drain();
            self.act(&event);
            M::answer(self, &event);
            self.settle();
        }
    }
    /// Takes the output, and holds it to what the peer may get.
    fn drain(&mut self) {
        let start = self.outcome.output.len();
        self.outcome.output.append(self.end.output());
        self.watch.sent(&self.outcome.output[start..]);
        let (written, most) = (self.outcome.output.len(), 2048 + 4 * self.consumed + self.own);
        assert!(written <= most, "{written} bytes for {}", self.consumed);
        let resident = self.end.resident_bytes();
        assert!(resident <= RESIDENT_BYTES_MAX, "{resident} bytes are held");
        assert!(
            resident <= 24 * 1024 + 4 * (self.consumed + self.own),
            "{resident} bytes are held"
        );
    }

    /// Sends what can be sent, until nothing more can.
    pub(super) fn settle(&mut self) {
        loop {
            self.drain();
            let mut moved = false;
            for (&id, stream) in &mut self.streams {
                let Some((left, trailers)) = stream.left else { continue };
                let sent = self.end.send_data(id, &vec![b'd'; left], !trailers);
                assert!(sent <= left);
                self.own += sent + HEADER_BYTES * (1 + sent / PAYLOAD_BYTES_MAX);
                stream.left = Some((left - sent, trailers));
                moved |= sent > 0;
                if sent == left {
                    stream.left = None;
                    moved = true;
                    if trailers {
                        self.own += RETURN_BYTES_MAX;
                        self.end.send_trailers(id, |fields| fields.field(b"grpc-status", b"0"));
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Gives back what was delivered. Not part by part: how the input is cut must not show.
    fn release(&mut self) {
        if self.script.holds() {
            return;
        }
        for (&id, stream) in &mut self.streams {
            self.end.release(id, std::mem::take(&mut stream.held));
        }
    }

    pub(super) fn reset(&mut self, id: StreamId) {
        self.own += RETURN_BYTES_MAX;
        self.end.reset(id, ErrorCode::Cancel);
        self.streams.entry(id).or_default().over = true;
    }

    pub(super) fn forget(&mut self, id: StreamId) {
        self.own += RETURN_BYTES_MAX;
        self.end.forget(id);
        self.streams.remove(&id);
        self.drain();
        self.watch.forget(id);
    }

    pub(super) fn send_head(
        &mut self,
        id: StreamId,
        end: bool,
        write: impl FnOnce(&mut Block<'_>),
    ) {
        self.own += RETURN_BYTES_MAX;
        self.end.send_head(id, end, write);
    }

    /// What every driver does about an event, whatever its role.
    fn act(&mut self, event: &Event) {
        if let Event::Data { stream, end: false, .. } = event {
            if self.script.is_abrupt() {
                self.reset(*stream);
            }
            return;
        }
        self.release();
        self.events += 1;
        if self.events == 3 && self.script.drains() {
            self.own += 2 * RETURN_BYTES_MAX;
            self.end.ping();
            self.end.drain();
        }
    }

    /// The stream of an event is one that events may name.
    fn live(&mut self, id: StreamId) -> &mut Stream {
        let stream = self.streams.get_mut(&id).expect("a stream that the driver has");
        assert!(!stream.over, "{id:?} is over");
        stream
    }

    pub(super) fn live_or_over(&mut self, id: StreamId) -> &mut Stream {
        self.streams.get_mut(&id).expect("a stream that the driver has")
    }

    fn check(&mut self, event: &Event, input: &[u8], consumed: usize) {
        let local = self.script.local();
        match event {
            Event::Head { stream, end } => {
                let (announced, last) = self.head.announced();
                M::note_stream(self, *stream);
                let stream = self.live(*stream);
                assert!(!stream.begun && !stream.ended, "a second head");
                stream.begun = last;
                stream.ended = *end;
                stream.announced = announced;
                self.outcome.heads.push(self.head.check());
            }
            Event::Data { stream, range, end } => {
                assert!(range.start <= range.end && range.end <= consumed);
                self.outcome.data.extend_from_slice(&input[range.clone()]);
                let stream = self.live(*stream);
                assert!(stream.begun && !stream.ended, "data outside of a body");
                stream.held += range.len();
                assert!(stream.held <= local.stream_window as usize);
                stream.delivered += range.len() as u64;
                self.ended(event, *end);
                let held: usize = self.streams.values().map(|stream| stream.held).sum();
                assert!(held <= local.connection_window as usize);
            }
            Event::Trailers { .. } => {
                let trailers = self.end.trailers();
                assert!(trailers.is_empty() || trailers.ends_with(b"\r\n"));
                self.outcome.heads.push(trailers.to_vec());
                self.ended(event, true);
            }
            Event::Reset { stream, .. } => self.live(*stream).over = true,
            Event::Refused { stream, .. } => {
                M::note_stream(self, *stream);
                assert!(M::SERVER);
            }
            Event::Rejected { stream, .. } => {
                assert!(M::SERVER && !self.streams.contains_key(stream));
                self.watch.opened(*stream);
            }
            Event::Writable { stream } => {
                let _ = stream.map(|stream| self.live(stream));
            }
            Event::Settings | Event::GoAway { .. } | Event::Pong => {}
        }
    }

    fn ended(&mut self, event: &Event, end: bool) {
        let (Event::Data { stream, .. } | Event::Trailers { stream }) = event else { return };
        let stream = self.live(*stream);
        assert!(stream.begun && !stream.ended, "the end of no body");
        stream.ended = end;
        if let Some(announced) = stream.announced {
            assert!(stream.delivered <= announced, "more than was announced");
            assert!(!end || stream.delivered == announced, "less than was announced");
        }
    }

    /// The connection ends: everything that it holds is let go.
    pub(super) fn finish(mut self, input: &[u8]) -> Outcome {
        assert!(self.consumed <= input.len());
        if let Some(error) = self.error {
            assert_eq!(self.watch.last_go_away(), Some(error.code), "GOAWAY names the error");
        }
        self.forget_all();
        self.probe(input);
        self.forget_all();
        self.outcome
    }

    fn forget_all(&mut self) {
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            self.forget(id);
        }
        assert_eq!(self.end.streams(), 0);
    }

    /// Another message with data, until the connection's window is announced again: it is whole.
    fn probe(&mut self, input: &[u8]) {
        const FRAME_BYTES: usize = 2048;
        let is_ready = self.error.is_none()
            && self.end.is_established()
            && !self.end.is_amid_head()
            && self.watch.is_between_frames(self.consumed)
            && self.watch.last_go_away().is_none();
        if !is_ready || self.script.is_passive() || self.script.holds() {
            return;
        }
        let Some((stream, block)) = M::next_message(self) else { return };
        let mut bytes = input[..self.consumed].to_vec();
        frame(Kind::Headers, END_HEADERS, stream, block, &mut bytes);
        let announcements = self.watch.announcements();
        for _ in 0..=self.script.local().connection_window as usize / FRAME_BYTES {
            frame(Kind::Data, 0, stream, &[0; FRAME_BYTES], &mut bytes);
            self.read(&bytes);
            self.release();
            self.drain();
            if self.error.is_some() {
                return;
            }
            if self.watch.announcements() > announcements {
                return self.watch.is_whole();
            }
        }
        panic!("the connection's window is never announced again");
    }
}

fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    Header { length: payload.len(), kind, flags, stream }.write(out);
    out.extend_from_slice(payload);
}
