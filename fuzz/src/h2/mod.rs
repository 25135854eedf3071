//! HTTP/2: frames alone, and a whole connection of either role whose peer sends any bytes.
//!
//! The first byte of a connection's input is the [`Script`]: what the driver does about events. Held,
//! besides what [`watch`] holds of the output: how the input is cut changes neither events nor
//! output; events come in an order that a driver can follow; bodies are as long as announced; what is
//! held, written and resident is bounded; an error stays, and GOAWAY names it.

mod drive;
pub mod pair;
mod roles;
mod watch;

use proxy::h2::frame::{self, HEADER_BYTES, Header, Kind, PAYLOAD_BYTES_MAX};
use proxy::h2::{Client, Event, Local, Server, StreamId};
use proxy::http::{Method, RequestHead, ResponseHead};

use self::drive::Drive;
use super::{piece_sizes, split, start};

/// Frames as they stand: what is read of a header is written back, payloads stay in their bounds.
pub fn frames(input: &[u8]) {
    let mut rest = input;
    while let Some(header) = Header::read(rest) {
        let mut out = Vec::new();
        header.write(&mut out);
        assert_eq!(out.len(), HEADER_BYTES);
        assert_eq!(Header::read(&out), Some(header));
        let end = rest.len().min(HEADER_BYTES + header.length);
        let payload = &rest[HEADER_BYTES..end];
        rest = &rest[end..];
        if header.check().is_err() || payload.len() < header.length {
            continue;
        }
        assert!(header.length <= PAYLOAD_BYTES_MAX);
        match header.kind {
            Kind::Headers => drop(frame::headers(header, payload).map(|parts| {
                assert!(parts.fragment.len() <= payload.len());
                assert!(parts.dependency.is_none_or(|stream| stream >> 31 == 0));
            })),
            Kind::Settings => {
                let pairs: Vec<_> = frame::settings(payload).collect();
                let mut out = Vec::new();
                frame::write_settings(&pairs, &mut out);
                assert_eq!(&out[HEADER_BYTES..], payload);
            }
            Kind::GoAway => assert!(frame::go_away(payload).0 >> 31 == 0),
            Kind::WindowUpdate | Kind::RstStream => {
                assert_eq!(frame::number(payload).to_be_bytes(), payload);
            }
            _ => {}
        }
    }
}

/// A server whose client sends any bytes.
pub fn server(input: &[u8]) {
    let (script, bytes) = split(input);
    whole_and_cut(bytes, script, |size| serve(bytes, Script(script), size));
}

/// A client whose server sends any bytes.
pub fn client(input: &[u8]) {
    let (script, bytes) = split(input);
    whole_and_cut(bytes, script, |size| ask(bytes, Script(script), size));
}

fn whole_and_cut(bytes: &[u8], script: u8, run: impl Fn(usize) -> Outcome) {
    let whole = run(usize::MAX);
    for size in piece_sizes(bytes) {
        let cut = run(size);
        // Who resets amid a frame has seen more or less of it.
        if !Script(script).is_abrupt() {
            assert_eq!(cut, whole, "in pieces of {size}");
        }
    }
}

/// The end towards a client, fed in pieces of so many bytes.
pub fn serve(bytes: &[u8], script: Script, piece: usize) -> Outcome {
    let mut drive = Drive::<RequestHead>::new(Server::server(script.local()), script);
    drive.settle();
    drive.feed(bytes, piece);
    drive.finish(bytes)
}

/// The end towards a backend with requests under way: two of GET, one for a WebSocket.
pub fn ask(bytes: &[u8], script: Script, piece: usize) -> Outcome {
    let mut drive = Drive::<ResponseHead>::new(Client::client(script.local()), script);
    for websocket in [false, false, true] {
        drive.request(Method::Get, websocket, 0);
    }
    if !script.is_passive() {
        drive.request(Method::Head, false, 0);
        drive.request(Method::Post, false, 40_000);
    }
    drive.settle();
    drive.feed(bytes, piece);
    drive.finish(bytes)
}

/// Everything that a driver sees of a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The events; data in a row is one of them, however it was cut.
    pub words: Vec<String>,
    heads: Vec<Vec<u8>>,
    data: Vec<u8>,
    output: Vec<u8>,
}

/// What a driver does: 0 is nothing but to look on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script(pub u8);

/// What becomes of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Ignore,
    Reset,
    Forget,
    /// An answer: after an interim one or not, at the head or the end, with so much of a body.
    Answer {
        interim: bool,
        at_end: bool,
        body: usize,
        trailers: bool,
    },
}

impl Script {
    fn is_passive(self) -> bool {
        self.0 == 0
    }

    /// Windows and streams: few, so that short inputs meet their ends.
    fn local(self) -> Local {
        if self.is_passive() {
            return Local::default();
        }
        Local { streams_max: 5, stream_window: 4096, connection_window: 65_535 }
    }

    /// Streams are reset amid their first data.
    fn is_abrupt(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// The connection is ended gracefully early on.
    fn drains(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// No body is ever forwarded.
    fn holds(self) -> bool {
        self.0 & 0x80 != 0
    }

    fn plan(self, stream: StreamId) -> Plan {
        if self.is_passive() {
            return Plan::Ignore;
        }
        let answer =
            |interim, at_end, body, trailers| Plan::Answer { interim, at_end, body, trailers };
        match (u32::from(self.0) + stream.number() / 2) % 8 {
            0 => Plan::Reset,
            1 => answer(false, false, 0, false),
            2 => answer(true, false, 100, false),
            3 => answer(false, false, 40_000, false),
            4 => answer(false, false, 10, true),
            5 => answer(true, true, 70_000, true),
            6 => Plan::Forget,
            _ => Plan::Ignore,
        }
    }
}

impl Outcome {
    fn note(&mut self, event: &Event) {
        let ends = |end: bool| if end { ":end" } else { "" };
        let word = match event {
            Event::Head { stream, end } => format!("head:{}{}", stream.number(), ends(*end)),
            Event::Refused { stream, why } => {
                format!("refused:{}:{}", stream.number(), why.status())
            }
            Event::Data { stream, range, end } => {
                return self.note_data(stream.number(), range.len(), ends(*end));
            }
            Event::Trailers { stream } => format!("trailers:{}", stream.number()),
            Event::Reset { stream, code, .. } => {
                format!("reset:{}:{}", stream.number(), code.name())
            }
            Event::Rejected { stream, code } => {
                format!("rejected:{}:{}", stream.number(), code.name())
            }
            Event::Writable { stream } => {
                format!("writable:{}", stream.map_or(0, StreamId::number))
            }
            Event::Settings => "settings".to_owned(),
            Event::GoAway { last, .. } => format!("goaway-of-peer:{last}"),
            Event::Pong => "pong".to_owned(),
        };
        self.words.push(word);
    }

    /// Data in a row is one word.
    fn note_data(&mut self, stream: u32, length: usize, end: &str) {
        let start = format!("data:{stream}:");
        let words = &mut self.words;
        let before = words.last().and_then(|word| word.strip_prefix(&start)?.parse::<usize>().ok());
        if before.is_some() {
            words.pop();
        }
        words.push(format!("{start}{}{end}", before.unwrap_or(0) + length));
    }
}
