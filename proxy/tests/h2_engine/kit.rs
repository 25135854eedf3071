//! Frames by hand, an end that is fed with them, and what it answered.

use std::time::Instant;

use proxy::h2::frame::{END_HEADERS, END_STREAM, HEADER_BYTES, Header, Kind, PREFACE};
use proxy::h2::hpack::Encoder;
use proxy::h2::{Client, ConnectionError, ErrorCode, Event, Local, Server, frame};
use proxy::http::{RequestHead, ResponseHead};

pub(crate) type Text = (&'static str, &'static str);

pub(crate) const GET: [Text; 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];
pub(crate) const POST: [Text; 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];

/// Bytes of one peer.
pub(crate) struct Frames {
    pub(crate) bytes: Vec<u8>,
    encoder: Encoder,
}

impl Frames {
    /// Of a client that has begun well.
    pub(crate) fn client() -> Self {
        let mut frames = Self::nothing();
        frames.bytes.extend_from_slice(PREFACE);
        frames.settings(&[])
    }

    pub(crate) fn nothing() -> Self {
        Self { bytes: Vec::new(), encoder: Encoder::new() }
    }

    pub(crate) fn frame(mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Header { length: payload.len(), kind, flags, stream }.write(&mut self.bytes);
        self.bytes.extend_from_slice(payload);
        self
    }

    pub(crate) fn settings(self, pairs: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        frame::write_settings(pairs, &mut payload);
        self.frame(Kind::Settings, 0, 0, &payload[HEADER_BYTES..])
    }

    pub(crate) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        let mut writer = self.encoder.block(&mut block);
        for (name, value) in fields {
            writer.field(name.as_bytes(), value.as_bytes());
        }
        block
    }

    pub(crate) fn headers(mut self, stream: u32, end: bool, fields: &[(&str, &str)]) -> Self {
        let block = self.block(fields);
        self.frame(Kind::Headers, END_HEADERS | end_flag(end), stream, &block)
    }

    pub(crate) fn data(self, stream: u32, end: bool, data: &[u8]) -> Self {
        self.frame(Kind::Data, end_flag(end), stream, data)
    }

    pub(crate) fn rst(self, stream: u32, code: ErrorCode) -> Self {
        self.frame(Kind::RstStream, 0, stream, &(code as u32).to_be_bytes())
    }

    pub(crate) fn window(self, stream: u32, increment: u32) -> Self {
        self.frame(Kind::WindowUpdate, 0, stream, &increment.to_be_bytes())
    }
}

fn end_flag(end: bool) -> u8 {
    if end { END_STREAM } else { 0 }
}

/// What an event was, with the data itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Event(Event),
    Data { stream: u32, data: Vec<u8>, end: bool },
}

/// A server under test.
pub(crate) struct Subject {
    pub(crate) server: Server,
    pub(crate) head: RequestHead,
    pub(crate) now: Instant,
    pub(crate) seen: Vec<Seen>,
    pub(crate) heads: Vec<String>,
    pub(crate) error: Option<ConnectionError>,
    /// Input that is not a whole frame yet.
    pub(crate) rest: Vec<u8>,
}

impl Subject {
    pub(crate) fn new() -> Self {
        let mut server = Server::server(Local::default());
        server.output().clear();
        Self {
            server,
            head: RequestHead::default(),
            now: Instant::now(),
            seen: Vec::new(),
            heads: Vec::new(),
            error: None,
            rest: Vec::new(),
        }
    }

    /// Feeds `bytes` as one piece behind what was left over.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut input = std::mem::take(&mut self.rest);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        while self.error.is_none() {
            let read = match self.server.read(rest, &mut self.head, self.now) {
                Ok(read) => read,
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            };
            if read.consumed == 0 && read.event.is_none() {
                break;
            }
            self.note(rest, read.event);
            rest = &rest[read.consumed..];
        }
        assert!(rest.len() <= HEADER_BYTES + 16_384, "{} bytes are kept", rest.len());
        self.rest = rest.to_vec();
    }

    fn note(&mut self, input: &[u8], event: Option<Event>) {
        let Some(event) = event else { return };
        if matches!(event, Event::Head { .. }) {
            self.heads.push(describe(&self.head));
        }
        let Event::Data { stream, range, end } = event else {
            self.seen.push(Seen::Event(event));
            return;
        };
        let (stream, data) = (stream.number(), &input[range]);
        // However it was cut: one entry for as long as nothing else comes between.
        if let Some(Seen::Data { stream: last, data: before, end: last_end }) = self.seen.last_mut()
            && *last == stream
        {
            before.extend_from_slice(data);
            *last_end |= end;
        } else {
            self.seen.push(Seen::Data { stream, data: data.to_vec(), end });
        }
    }

    /// The frames that it answered so far, taken.
    pub(crate) fn answers(&mut self) -> Vec<(Header, Vec<u8>)> {
        frames_of(&std::mem::take(self.server.output()))
    }
}

/// A client under test, fed in one go.
pub(crate) fn feed_client(
    client: &mut Client,
    head: &mut ResponseHead,
    bytes: &[u8],
) -> Result<Vec<Event>, ErrorCode> {
    let (mut rest, mut events) = (bytes, Vec::new());
    loop {
        let read = client.read(rest, head, Instant::now()).map_err(|error| error.code)?;
        if read.consumed == 0 && read.event.is_none() {
            return Ok(events);
        }
        rest = &rest[read.consumed..];
        events.extend(read.event);
    }
}

/// Whole frames of an output.
pub(crate) fn frames_of(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(header) = Header::read(bytes) {
        let end = HEADER_BYTES + header.length;
        frames.push((header, bytes[HEADER_BYTES..end].to_vec()));
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty(), "half a frame was written");
    frames
}

/// The codes of the RST_STREAM frames among `frames`, by stream.
pub(crate) fn resets(frames: &[(Header, Vec<u8>)]) -> Vec<(u32, ErrorCode)> {
    let resets = frames.iter().filter(|(header, _)| header.kind == Kind::RstStream);
    resets.map(|(h, p)| (h.stream, ErrorCode::from_wire(frame::number(p)))).collect()
}

/// The GOAWAY frames among `frames`.
pub(crate) fn go_aways(frames: &[(Header, Vec<u8>)]) -> Vec<(u32, ErrorCode)> {
    let go_aways = frames.iter().filter(|(header, _)| header.kind == Kind::GoAway);
    go_aways.map(|(_, payload)| frame::go_away(payload)).collect()
}

/// A request head in one line.
pub(crate) fn describe(head: &RequestHead) -> String {
    let mut text = format!("{} {} {}", head.method_str(), head.authority(), head.path());
    if let Some(query) = head.query() {
        text += &format!("?{query}");
    }
    text += &format!(" {:?}", head.framing);
    for (flag, name) in [
        (head.websocket, "websocket"),
        (head.te_trailers, "trailers"),
        (head.expect_continue, "expect"),
    ] {
        if flag {
            text += &format!(" {name}");
        }
    }
    for (name, value, _) in head.end_to_end() {
        if name != b"host" {
            text +=
                &format!(" {}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        }
    }
    text
}
