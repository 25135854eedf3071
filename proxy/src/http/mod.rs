//! Version-neutral HTTP: heads as byte ranges into an arena of their own, no I/O, no allocation per
//! request once the arena has grown.
//!
//! The HTTP/1 and HTTP/2 engines fill a [`RequestHead`] or [`ResponseHead`]; `table` matches
//! it, `exchange` edits and forwards it. Invariants: field names are lower case; the path is the one
//! canonical path that is both matched and forwarded; hop-by-hop fields are marked, so that neither
//! matching nor forwarding sees them.

pub mod authority;
pub mod field;
pub mod path;
pub mod trailer;
pub mod write;

use crate::h1::scan::Scan;
use crate::h2::hpack::FIELD_OVERHEAD_BYTES;
pub use field::{Field, Known};
pub use write::HeadWriter;

/// A byte range of a head's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// Request method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the registered methods of RFC 9110 section 9")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
    Connect,
    /// Any other token; see [`RequestHead::method_str`].
    Other,
}

/// HTTP version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

/// How a message's body is delimited: decided once, RFC 9112 section 6.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// No body at all.
    #[default]
    None,
    /// Exactly this many bytes.
    Length(u64),
    /// Chunked coding; in HTTP/2, whose streams end by themselves, a length that is not known.
    Chunked,
    /// Until the connection closes (responses only).
    UntilClose,
}

/// A request head. Reused: the engine clears it before filling it.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// The arena that all spans point into: valid UTF-8 is guaranteed for names, method, host,
    /// path and query, not for field values.
    pub arena: Vec<u8>,
    /// Field lines in order, hop-by-hop ones included and marked.
    pub fields: Vec<Field>,
    /// Method.
    pub method: Method,
    /// Method as written.
    pub method_span: Span,
    /// Version of the client.
    pub version: Version,
    /// Host without port, lower case, without trailing dot; empty only for HTTP/1.0 without Host.
    pub host: Span,
    /// Port of the authority, if written.
    pub port: Option<u16>,
    /// `host[:port]`: what is forwarded as Host. An absolute target's authority overrides Host, and
    /// the Host line's value is this span too.
    pub authority: Span,
    /// Canonical path, starting with `/` (or `*` for `OPTIONS *`).
    pub path: Span,
    /// Query without `?`.
    pub query: Option<Span>,
    /// Body framing.
    pub framing: Framing,
    /// The client allows another request on this connection.
    pub keep_alive: bool,
    /// `Expect: 100-continue` was sent (HTTP/1.1 only).
    pub expect_continue: bool,
    /// A well-formed `Upgrade: websocket` with `Connection: upgrade` on a body-less GET.
    pub websocket: bool,
    /// No hop may put the target into a table (HTTP/2).
    pub target_hidden: bool,
    /// `TE: trailers` was sent: trailers may be forwarded.
    pub te_trailers: bool,
    /// The HTTP/1 engine's progress on an incomplete head; nothing else reads or writes it.
    pub scan: Scan,
}

/// A response head. Reused like [`RequestHead`].
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// The arena that all spans point into.
    pub arena: Vec<u8>,
    /// Field lines in order, hop-by-hop ones included and marked.
    pub fields: Vec<Field>,
    /// Status code, 100 to 599.
    pub status: u16,
    /// Reason phrase as received.
    pub reason: Span,
    /// Version of the backend.
    pub version: Version,
    /// Body framing, given the request's method.
    pub framing: Framing,
    /// The backend allows another request on this connection.
    pub keep_alive: bool,
    /// 101 with `Upgrade: websocket` and `Connection: upgrade`.
    pub websocket: bool,
    /// The HTTP/1 engine's progress on an incomplete head; nothing else reads or writes it.
    pub scan: Scan,
}

impl Span {
    /// The bytes of this span in `arena`.
    #[must_use]
    #[inline]
    pub fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start as usize..self.end as usize]
    }
}

impl Version {
    /// As a request line or a log names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

impl Method {
    /// The method of a token; methods are case-sensitive.
    #[must_use]
    #[inline]
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

impl RequestHead {
    /// Method as written.
    #[must_use]
    pub fn method_str(&self) -> &str {
        self.text(self.method_span)
    }

    /// Host without port, lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text(self.host)
    }

    /// `host[:port]`, lower case: the value of the Host line to forward; empty like the host.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.text(self.authority)
    }

    /// Canonical path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(self.path)
    }

    /// Query without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.text(span))
    }

    /// Method as written, to be written again: unlike a `str` it needs no look at its bytes.
    #[must_use]
    #[inline]
    pub fn method_bytes(&self) -> &[u8] {
        self.method_span.of(&self.arena)
    }

    /// [`RequestHead::authority`] to be written again.
    #[must_use]
    #[inline]
    pub fn authority_bytes(&self) -> &[u8] {
        self.authority.of(&self.arena)
    }

    /// [`RequestHead::path`] to be written again.
    #[must_use]
    #[inline]
    pub fn path_bytes(&self) -> &[u8] {
        self.path.of(&self.arena)
    }

    /// Appends `?` and the query, if there is one.
    #[inline]
    pub fn write_query(&self, out: &mut Vec<u8>) {
        if let Some(query) = self.query {
            out.push(b'?');
            out.extend_from_slice(query.of(&self.arena));
        }
    }

    /// Whether a peer that reads no more than `bytes` of fields takes it.
    #[must_use]
    #[inline]
    pub fn fits(&self, bytes: u32) -> bool {
        fits(&self.arena, &self.fields, bytes as usize)
    }

    /// End-to-end fields, in order.
    pub fn passing(&self) -> impl Iterator<Item = &Field> {
        passing(&self.fields)
    }

    /// End-to-end fields as name and value, in order.
    pub fn end_to_end(&self) -> impl Iterator<Item = (&[u8], &[u8], Known)> {
        end_to_end(&self.arena, &self.fields)
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.arena)).expect("the engine admits only ASCII here")
    }
}

impl ResponseHead {
    /// Reason phrase as received.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        self.reason.of(&self.arena)
    }

    /// An interim response: another head follows. A 101 is final.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The value of an end-to-end Content-Length: with [`Framing::None`] (HEAD, 304) it describes
    /// the body that was not sent, otherwise it equals the framing.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        let line = self.fields.iter().find(|f| f.known == Known::ContentLength && !f.hop)?;
        field::parse_length(line.value.of(&self.arena))
    }

    /// Whether a peer that reads no more than `bytes` of fields takes it.
    #[must_use]
    #[inline]
    pub fn fits(&self, bytes: u32) -> bool {
        fits(&self.arena, &self.fields, bytes as usize)
    }

    /// End-to-end fields, in order.
    pub fn passing(&self) -> impl Iterator<Item = &Field> {
        passing(&self.fields)
    }

    /// End-to-end fields as name and value, in order.
    pub fn end_to_end(&self) -> impl Iterator<Item = (&[u8], &[u8], Known)> {
        end_to_end(&self.arena, &self.fields)
    }
}

/// As RFC 9113 section 6.5.2 counts. The arena holds more than what is sent: only where all of it is
/// too much, the fields are counted.
#[inline]
fn fits(arena: &[u8], fields: &[Field], bytes: usize) -> bool {
    let size = |field: &Field| {
        field.name.of(arena).len() + field.value.of(arena).len() + FIELD_OVERHEAD_BYTES
    };
    arena.len() + fields.len() * FIELD_OVERHEAD_BYTES <= bytes
        || passing(fields).map(size).sum::<usize>() <= bytes
}

fn passing(fields: &[Field]) -> impl Iterator<Item = &Field> {
    fields.iter().filter(|field| !field.hop)
}

fn end_to_end<'a>(
    arena: &'a [u8],
    fields: &'a [Field],
) -> impl Iterator<Item = (&'a [u8], &'a [u8], Known)> {
    passing(fields).map(|field| (field.name.of(arena), field.value.of(arena), field.known))
}
