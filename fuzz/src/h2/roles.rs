//! What the two roles do about events: a server answers, a client asks again.

use proxy::h2::{Event, StreamId};
use proxy::http::{Framing, Known, Method, RequestHead, ResponseHead};

use super::super::h1::forwarded;
use super::Plan;
use super::drive::{Drive, RETURN_BYTES_MAX, Stream};
use super::watch::Role;

/// Requests that a client makes besides the first ones.
const REQUESTS_MAX: usize = 20;

/// What the two roles do differently.
pub(super) trait Driven: Role {
    /// The head's body length if it says one, and whether it is the last head.
    fn announced(&self) -> (Option<u64>, bool);
    /// Holds a head to what may pass; returns it as bytes.
    fn check(&self) -> Vec<u8>;
    /// A head names a stream.
    fn note_stream(drive: &mut Drive<Self>, id: StreamId);
    /// The stream and the first field block of a new message from the peer, if one can come.
    fn next_message(drive: &mut Drive<Self>) -> Option<(u32, &'static [u8])>;
    /// Does what the script says.
    fn answer(drive: &mut Drive<Self>, event: &Event);
}

impl Drive<ResponseHead> {
    /// Begins a request with so many bytes of a body.
    pub(super) fn request(&mut self, method: Method, websocket: bool, body: usize) {
        let method_fields: &[_] = match method {
            _ if websocket => &[(":method", "CONNECT"), (":protocol", "websocket")],
            Method::Head => &[(":method", "HEAD")],
            Method::Post => &[(":method", "POST")],
            _ => &[(":method", "GET")],
        };
        let rest = [(":scheme", "http"), (":path", "/"), (":authority", "a.test")];
        let end = !websocket && body == 0;
        let id = self.end.request(method, websocket, end, |fields| {
            for (name, value) in method_fields.iter().chain(&rest) {
                fields.field(name.as_bytes(), value.as_bytes());
            }
        });
        let Some(id) = id else { return };
        self.own += RETURN_BYTES_MAX;
        self.requests += 1;
        self.watch.opened(id);
        let left = (body > 0).then_some((body, false));
        self.streams.insert(id, Stream { left, answered: true, ..Stream::default() });
    }
}

impl Driven for RequestHead {
    fn announced(&self) -> (Option<u64>, bool) {
        match self.framing {
            Framing::Length(length) => (Some(length), true),
            Framing::None | Framing::Chunked | Framing::UntilClose => (None, true),
        }
    }

    fn check(&self) -> Vec<u8> {
        assert!(!self.host().is_empty());
        forwarded(self);
        let start = format!("{} {} {:?}\n", self.method_str(), self.path(), self.framing);
        [start.as_bytes(), &lines(self.end_to_end())].concat()
    }

    fn note_stream(drive: &mut Drive<Self>, id: StreamId) {
        assert!(id.number() % 2 == 1, "a stream of ours");
        assert!(drive.streams.insert(id, Stream::default()).is_none(), "a second request");
        assert!(drive.streams.len() <= drive.script.local().streams_max as usize);
        drive.watch.opened(id);
    }

    fn next_message(drive: &mut Drive<Self>) -> Option<(u32, &'static [u8])> {
        // POST http / of `a`.
        let stream = drive.watch.next_stream()?;
        Some((stream, b"\x83\x86\x84\x01\x01a"))
    }

    fn answer(drive: &mut Drive<Self>, event: &Event) {
        let (Event::Head { stream: id, .. }
        | Event::Refused { stream: id, .. }
        | Event::Data { stream: id, end: true, .. }
        | Event::Trailers { stream: id }
        | Event::Reset { stream: id, .. }) = *event
        else {
            return;
        };
        match drive.script.plan(id) {
            Plan::Ignore => {}
            Plan::Reset => drive.reset(id),
            Plan::Forget => return drive.forget(id),
            Plan::Answer { interim, at_end, body, trailers } => {
                let stream = drive.live_or_over(id);
                // Whoever answers may not know yet that the stream is over.
                if !stream.answered && (stream.ended || stream.over || !at_end) {
                    stream.answered = true;
                    let is_whole = body == 0 && !trailers;
                    stream.left = (!is_whole).then_some((body, trailers));
                    if interim {
                        drive.send_head(id, false, |fields| fields.status(103));
                    }
                    drive.send_head(id, is_whole, |fields| fields.status(200));
                }
            }
        }
        drive.settle();
        let stream = drive.live_or_over(id);
        if stream.over || (stream.answered && stream.left.is_none() && stream.ended) {
            drive.forget(id);
        }
    }
}

impl Driven for ResponseHead {
    fn announced(&self) -> (Option<u64>, bool) {
        let is_last = !self.is_interim();
        match self.framing {
            Framing::Length(length) => (Some(length), is_last),
            Framing::None | Framing::Chunked | Framing::UntilClose => (None, is_last),
        }
    }

    fn check(&self) -> Vec<u8> {
        assert!((100..600).contains(&self.status) && self.status != 101);
        let start = format!("{} {:?}\n", self.status, self.framing);
        [start.as_bytes(), &lines(self.end_to_end())].concat()
    }

    fn note_stream(_: &mut Drive<Self>, _: StreamId) {}

    fn next_message(drive: &mut Drive<Self>) -> Option<(u32, &'static [u8])> {
        let requests = drive.requests;
        drive.request(Method::Get, false, 0);
        drive.settle();
        let (stream, _) = drive.streams.last_key_value()?;
        (drive.requests > requests).then_some((stream.number(), b"\x88"))
    }

    fn answer(drive: &mut Drive<Self>, event: &Event) {
        let (Event::Head { stream: id, .. }
        | Event::Data { stream: id, end: true, .. }
        | Event::Trailers { stream: id }
        | Event::Reset { stream: id, .. }) = *event
        else {
            return;
        };
        match drive.script.plan(id) {
            Plan::Ignore => return,
            Plan::Reset => drive.reset(id),
            Plan::Forget => drive.forget(id),
            Plan::Answer { .. } => {
                let stream = drive.live_or_over(id);
                if stream.over || stream.ended {
                    drive.forget(id);
                }
            }
        }
        if drive.requests < REQUESTS_MAX {
            drive.request(Method::Post, false, 100);
        }
    }
}

fn lines<'h>(fields: impl Iterator<Item = (&'h [u8], &'h [u8], Known)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value, _) in fields {
        assert!(!name.iter().any(|byte| byte.is_ascii_uppercase() || b" :\r\n".contains(byte)));
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
        out.extend_from_slice(&[name, b"=", value, b"\n"].concat());
    }
    out
}
