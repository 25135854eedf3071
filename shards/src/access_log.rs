//! One JSON line per exchange, stream or UDP session, written into the shard's own buffer; control
//! writes it out.
//!
//! Every value that a client controls is escaped; bytes that are not UTF-8 appear as U+FFFD.

use std::time::{Duration, Instant};

use proxy::fault::Fault;
use proxy::http::RequestHead;

use crate::stream::Record;
use crate::trace::Trace;
use crate::udp;

/// Ties the monotonic clock of shards to wall-clock time, once at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) monotonic: Instant,
    pub(crate) since_unix_epoch: Duration,
}

impl Clock {
    /// How long after the Unix epoch `at` was.
    fn unix(self, at: Instant) -> Duration {
        self.since_unix_epoch + at.saturating_duration_since(self.monotonic)
    }
}

/// What a line says beside its trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'l> {
    pub(crate) shard: usize,
    pub(crate) epoch: u64,
    pub(crate) client: &'l str,
    pub(crate) head: &'l RequestHead,
}

impl Line<'_> {
    /// Appends the line.
    pub(crate) fn write(&self, trace: &Trace<'_>, clock: Clock, now: Instant, out: &mut Vec<u8>) {
        let place = (self.shard, self.epoch);
        let mut object = Object::line(clock.unix(trace.received), place, self.client, out);
        object.text("listener", trace.listener.map_or("-", |listener| &listener.name).as_bytes());
        // A refused head has no parts that could be trusted.
        let refused = |fault| matches!(fault, Fault::Malformed(_) | Fault::HeaderTimeout);
        if !trace.fault.is_some_and(refused) {
            object.text("protocol", self.head.version.name().as_bytes());
            object.text("method", self.head.method_bytes());
            object.text("host", self.head.host().as_bytes());
            object.text("path", self.head.path().as_bytes());
        }
        object.number("status", u64::from(trace.status));
        object.text("reason", trace.fault.map_or("-", |fault| fault.code()).as_bytes());
        if let Some(detail) = trace.fault.and_then(Fault::detail) {
            object.text("detail", detail.as_bytes());
        }
        if let Some(rule) = trace.rule {
            object.text("route", rule.route.as_bytes());
            object.number("rule", rule.index as u64);
        }
        if let (Some(backend), Some(endpoint)) = (trace.backend, trace.endpoint) {
            object.text("backend", backend.name.as_bytes());
            object.text("endpoint", endpoint.to_string().as_bytes());
            object.number("attempts", u64::from(trace.attempts));
        }
        object.number("bytes_in", trace.bytes_in);
        object.number("bytes_out", trace.bytes_out);
        for (name, time) in [("route_us", trace.routing()), ("auth_us", trace.auth)] {
            if let Some(time) = time {
                object.micros(name, time);
            }
        }
        for (name, from, to) in [
            ("connect_us", trace.routed, trace.connected),
            ("first_byte_us", trace.connected, trace.first_byte),
            ("relay_us", trace.first_byte, Some(now)),
            ("total_us", Some(trace.received), Some(now)),
        ] {
            if let (Some(from), Some(to)) = (from, to) {
                object.micros(name, to - from);
            }
        }
        object.close();
    }
}

/// Appends the line of a stream.
pub(crate) fn write_stream(
    record: &Record,
    place: (usize, u64),
    clock: Clock,
    now: Instant,
    out: &mut Vec<u8>,
) {
    let client = record.client.to_string();
    let mut object = Object::line(clock.unix(record.received), place, &client, out);
    let labels = record.labels.as_ref();
    object.text("listener", labels.map_or("-", |labels| &labels.listener).as_bytes());
    object.text("stream", record.kind.name().as_bytes());
    if let Some(sni) = &record.sni {
        object.text("sni", sni.as_bytes());
    }
    object.text("reason", record.fault.map_or("-", |fault| fault.code()).as_bytes());
    if let Some(route) = labels.and_then(|labels| labels.route.as_ref()) {
        object.text("route", route.as_bytes());
    }
    let backend = labels.and_then(|labels| labels.backend.as_ref());
    if let (Some(backend), Some(endpoint)) = (backend, record.endpoint) {
        object.text("backend", backend.as_bytes());
        object.text("endpoint", endpoint.to_string().as_bytes());
        object.number("attempts", u64::from(record.attempts));
    }
    object.number("bytes_in", record.moved.0);
    object.number("bytes_out", record.moved.1);
    if let Some(connected) = record.connected {
        object.micros("connect_us", connected - record.received);
    }
    object.micros("total_us", now - record.received);
    object.close();
}

/// Appends the line of a UDP session.
pub(crate) fn write_session(
    session: &udp::Ended<'_>,
    place: (usize, u64),
    clock: Clock,
    now: Instant,
    out: &mut Vec<u8>,
) {
    let udp::Entry { labels, began, datagrams, bytes } = session.entry;
    let client = session.client.to_string();
    let mut object = Object::line(clock.unix(*began), place, &client, out);
    object.text("listener", labels.listener.as_bytes());
    object.text("stream", b"udp");
    object.text("reason", session.end.name().as_bytes());
    for (name, value) in [("route", &labels.route), ("backend", &labels.backend)] {
        if let Some(value) = value {
            object.text(name, value.as_bytes());
        }
    }
    object.text("endpoint", session.endpoint.to_string().as_bytes());
    object.number("datagrams_in", datagrams[udp::counts::Direction::ToBackend as usize]);
    object.number("datagrams_out", datagrams[udp::counts::Direction::ToClient as usize]);
    object.number("bytes_in", bytes[udp::counts::Direction::ToBackend as usize]);
    object.number("bytes_out", bytes[udp::counts::Direction::ToClient as usize]);
    object.micros("total_us", now.saturating_duration_since(*began));
    object.close();
}

/// A JSON object being appended.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Object<'o> {
    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Begins a line with what every one has; `since_unix_epoch` is when what it tells of began.
    fn line(
        since_unix_epoch: Duration,
        (shard, epoch): (usize, u64),
        client: &str,
        out: &'o mut Vec<u8>,
    ) -> Self {
        let mut object = Self::open(out);
        object.micros("time_unix_us", since_unix_epoch);
        object.number("shard", shard as u64);
        object.number("epoch", epoch);
        object.text("client", client.as_bytes());
        object
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    fn micros(&mut self, name: &str, value: Duration) {
        self.number(name, u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    }

    fn text(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.out.push(b'"');
        for character in String::from_utf8_lossy(value).chars() {
            match character {
                '"' => self.out.extend_from_slice(b"\\\""),
                '\\' => self.out.extend_from_slice(b"\\\\"),
                control if control < ' ' || control == '\u{7f}' => {
                    self.out.extend_from_slice(format!("\\u{:04x}", control as u32).as_bytes());
                }
                other => {
                    self.out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        self.out.push(b'"');
    }

    fn close(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_inside_its_string() {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.text("path", b"/\"}\n{\\\x01\xff");
        object.number("n", 7);
        object.close();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "{\"path\":\"/\\\"}\\u000a{\\\\\\u0001\u{fffd}\",\"n\":7}\n");
    }
}
