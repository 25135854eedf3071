//! The other side of a connection under test: what comes out of it is fed to an engine of the other role.
//!
//! It counts windows by itself, from the frames alone. Held: no frame that we write is an error to our
//! own other end, of a stream or of the connection; nothing is written on a stream that was not opened;
//! no window is overdrawn; frames are whole and no larger than allowed; GOAWAY never takes more than
//! the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proxy::h2::frame::{self, ACK, HEADER_BYTES, Header, Kind, PAYLOAD_BYTES_MAX, PREFACE};
use proxy::h2::{Client, Connection, ErrorCode, Event, Local, Message, Server, StreamId};
use proxy::http::{Method, RequestHead, ResponseHead};

use super::start;

/// Streams that a peer skips in a row before nobody follows it any longer.
const SKIPPED_MAX: u32 = 400;
const WINDOW_DEFAULT: u64 = 65_535;
const WINDOW_MAX: u32 = 0x7fff_ffff;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Wide enough for whatever the real peer grants.
const WIDE: Local =
    Local { streams_max: 1000, stream_window: WINDOW_MAX, connection_window: WINDOW_MAX };

/// A kind of head that an end under test reads.
pub(super) trait Role: Message + Default {
    /// What the other end reads.
    type Other: Message + Default;
    fn other() -> Connection<Self::Other>;
    /// The other end opens its next stream.
    fn open(other: &mut Connection<Self::Other>) -> Option<StreamId>;
}

impl Role for RequestHead {
    type Other = ResponseHead;

    fn other() -> Client {
        Client::client(WIDE)
    }

    fn open(other: &mut Client) -> Option<StreamId> {
        let id = other.request(Method::Get, false, false, |fields| {
            fields.field(b":method", b"GET");
        });
        other.output().clear();
        id
    }
}

impl Role for ResponseHead {
    type Other = RequestHead;

    fn other() -> Server {
        Server::server(WIDE)
    }

    fn open(_: &mut Server) -> Option<StreamId> {
        None
    }
}

pub(super) struct Watch<M: Role> {
    /// `None` when it could not follow.
    other: Option<Connection<M::Other>>,
    head: M::Other,
    now: Instant,
    /// The last stream that was opened, and that the other end has.
    opened: u32,
    followed: u32,
    ledger: Ledger,
    begun: bool,
    go_away: Option<(u32, ErrorCode)>,
}

impl<M: Role> Watch<M> {
    pub(super) fn new(local: Local) -> Self {
        let mut other = M::other();
        other.output().clear();
        Self {
            other: Some(other),
            head: M::Other::default(),
            now: start(),
            opened: 0,
            followed: 0,
            ledger: Ledger::new(M::SERVER, local),
            begun: M::SERVER,
            go_away: None,
        }
    }

    /// The code of the last GOAWAY.
    pub(super) fn last_go_away(&self) -> Option<ErrorCode> {
        self.go_away.map(|(_, code)| code)
    }

    /// The end under test has taken so many bytes, and they end with a frame.
    pub(super) fn is_between_frames(&self, taken: usize) -> bool {
        self.ledger.seen == taken
    }

    /// A stream that a client may open next.
    pub(super) fn next_stream(&self) -> Option<u32> {
        let next = if self.opened == 0 { 1 } else { self.opened + 2 };
        (next < WINDOW_MAX).then_some(next)
    }

    /// How often the connection's window was announced.
    pub(super) fn announcements(&self) -> usize {
        self.ledger.announcements
    }

    /// The peer may send a whole window, no more and no less.
    pub(super) fn is_whole(&self) {
        assert_eq!(self.ledger.left, self.ledger.size, "the connection's window");
    }

    /// All that the end under test has taken so far.
    pub(super) fn granted(&mut self, taken: &[u8]) {
        self.ledger.granted(taken);
        assert!(self.ledger.left >= 0, "more was taken than the window");
    }

    /// A stream was opened, by whichever side does.
    pub(super) fn opened(&mut self, id: StreamId) {
        assert!(id.number() > self.opened, "streams are opened in order");
        self.opened = id.number();
        if !M::SERVER {
            self.followed = self.opened;
            return;
        }
        let Some(other) = &mut self.other else { return };
        if self.opened - self.followed > SKIPPED_MAX {
            self.other = None;
            return;
        }
        while self.followed < self.opened {
            let Some(new) = M::open(other) else { return };
            self.followed = new.number();
            if self.followed < self.opened {
                other.forget(new);
            }
        }
    }

    pub(super) fn forget(&mut self, id: StreamId) {
        if let Some(other) = &mut self.other {
            other.forget(id);
            other.output().clear();
        }
    }

    /// Something was written.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        if !self.begun && !bytes.is_empty() {
            self.begun = true;
            self.feed(&bytes[..PREFACE.len()]);
            bytes = &bytes[PREFACE.len()..];
        }
        while !bytes.is_empty() {
            let header = Header::read(bytes).expect("whole frames are written");
            let (one, rest) = bytes.split_at(HEADER_BYTES + header.length);
            bytes = rest;
            self.frame(header, one);
        }
    }

    fn frame(&mut self, header: Header, bytes: &[u8]) {
        let payload = &bytes[HEADER_BYTES..];
        assert!(header.check().is_ok() && header.length <= PAYLOAD_BYTES_MAX, "{header:?}");
        // A request's own head comes before anybody can be told of it.
        let is_new = !M::SERVER && header.kind == Kind::Headers;
        assert!(is_new || header.stream <= self.opened, "{header:?} on an idle stream");
        if matches!(header.kind, Kind::Data | Kind::Headers) {
            assert!(!self.ledger.reset.contains(&header.stream), "{header:?} behind a reset");
        }
        if header.kind == Kind::Data {
            self.ledger.sent(header);
        }
        if header.kind == Kind::WindowUpdate && header.stream == 0 {
            self.ledger.announced(frame::number(payload));
        }
        if header.kind == Kind::GoAway {
            let (last, code) = frame::go_away(payload);
            assert!(self.go_away.is_none_or(|(before, _)| last <= before), "GOAWAY takes more");
            self.go_away = Some((last, code));
            // The other end would open no more streams, which its real peer may have done already.
            return;
        }
        if M::SERVER && header.stream > self.followed {
            let is_surplus = header.kind == Kind::RstStream;
            assert!(is_surplus || self.other.is_none(), "{header:?} on a stream that is not open");
            return;
        }
        self.feed(bytes);
    }

    /// Feeds the other end, which must find nothing wrong.
    fn feed(&mut self, bytes: &[u8]) {
        let Some(other) = &mut self.other else { return };
        // Time passes, so that its own budget is no matter.
        self.now += Duration::from_secs(100);
        let mut rest = bytes;
        loop {
            let read = other.read(rest, &mut self.head, self.now);
            let read = read.unwrap_or_else(|error| panic!("{error} because of {bytes:02x?}"));
            match read.event {
                Some(Event::Data { stream, range, .. }) => other.release(stream, range.len()),
                Some(
                    event @ (Event::Reset { by_peer: false, .. }
                    | Event::Refused { .. }
                    | Event::Rejected { .. }),
                ) => panic!("{event:?} because of {bytes:02x?}"),
                _ => {}
            }
            refuses_nothing(other.output(), bytes);
            rest = &rest[read.consumed..];
            if rest.is_empty() {
                return;
            }
            assert!(read.consumed > 0, "half a frame was written");
        }
    }
}

/// Takes what the other end says to what it was fed.
fn refuses_nothing(output: &mut Vec<u8>, fed: &[u8]) {
    let mut rest = &output[..];
    while let Some(header) = Header::read(rest) {
        let is_refusal = matches!(header.kind, Kind::RstStream | Kind::GoAway);
        assert!(!is_refusal, "{header:?} because of {fed:02x?}");
        rest = &rest[HEADER_BYTES + header.length..];
    }
    output.clear();
}

/// Windows as the peer granted them, and what was sent; and the connection's as we grant it.
struct Ledger {
    /// How much of the peer's bytes was looked at.
    seen: usize,
    /// The window that streams begin with: a change of it is a change of every stream's.
    initial: u64,
    granted: BTreeMap<u32, u64>,
    sent: BTreeMap<u32, u64>,
    /// Streams that the peer reset.
    reset: BTreeSet<u32>,
    /// What the peer may still send, what that may be at most, and how often it was told.
    left: i64,
    size: i64,
    announcements: usize,
}

impl Ledger {
    fn new(is_server: bool, local: Local) -> Self {
        Self {
            seen: if is_server { PREFACE.len() } else { 0 },
            initial: WINDOW_DEFAULT,
            granted: BTreeMap::new(),
            sent: BTreeMap::new(),
            reset: BTreeSet::new(),
            left: WINDOW_DEFAULT as i64,
            size: i64::from(local.connection_window),
            announcements: 0,
        }
    }

    fn announced(&mut self, increment: u32) {
        self.left += i64::from(increment);
        assert!(self.left <= self.size, "a window larger than it should be");
        self.announcements += 1;
    }

    fn granted(&mut self, taken: &[u8]) {
        while let Some(header) = taken.get(self.seen..).and_then(Header::read) {
            let start = self.seen + HEADER_BYTES;
            let end = start + header.length;
            match (header.kind, taken.get(start..end)) {
                (Kind::Data, _) => self.left -= header.length as i64,
                (Kind::Settings, Some(payload)) if !header.has(ACK) => {
                    let pairs = frame::settings(payload);
                    let last = pairs.filter(|(id, _)| *id == INITIAL_WINDOW_SIZE).last();
                    self.initial = last.map_or(self.initial, |(_, value)| u64::from(value));
                }
                (Kind::WindowUpdate, Some(payload)) => {
                    let increment = frame::number(payload) & WINDOW_MAX;
                    *self.granted.entry(header.stream).or_default() += u64::from(increment);
                }
                (Kind::RstStream, Some(_)) => {
                    self.reset.insert(header.stream);
                }
                _ => {}
            }
            self.seen = end;
        }
    }

    fn sent(&mut self, header: Header) {
        for (stream, initial) in [(0, WINDOW_DEFAULT), (header.stream, self.initial)] {
            let sent = self.sent.entry(stream).or_default();
            *sent += header.length as u64;
            let granted = initial + self.granted.get(&stream).copied().unwrap_or(0);
            assert!(*sent <= granted, "{sent} bytes on {stream}, {granted} granted");
        }
    }
}
