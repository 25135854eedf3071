//! Field blocks into heads: what HTTP/2 says of fields, RFC 9113 section 8, on top of HPACK.
//!
//! It keeps no state between blocks; the connection calls it. Invariants: what passes is as good as
//! what the HTTP/1 engine admits (same names, values, hosts and paths), no connection-specific field
//! passes, and a block costs no more memory than the limits of a head, whatever it decodes to.

mod request;
mod response;
mod trailers;

pub(super) use self::trailers::collect as collect_trailers;

use super::hpack::{self, Decoder};
use crate::h1::error::Error as Refusal;
use crate::http::field::{is_tchar, is_value_byte, parse_length};
use crate::http::{Field, Known, RequestHead, ResponseHead, Span};
use crate::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX};

/// A kind of head that a connection can read: [`RequestHead`] or [`ResponseHead`].
pub trait Message: Sealed {
    /// Whoever reads it is the server.
    const SERVER: bool;
}

impl Message for RequestHead {
    const SERVER: bool = true;
}

impl Message for ResponseHead {
    const SERVER: bool = false;
}

/// What the engine does with a head.
pub trait Sealed {
    /// Empties the head and takes it apart: arena and fields.
    fn begin(&mut self) -> (&mut Vec<u8>, &mut Vec<Field>);

    /// Gives back what was collected, and its memory: the fields that were not would be missing.
    fn shed(&mut self) {
        let (arena, fields) = self.begin();
        (*arena, *fields) = (Vec::new(), Vec::new());
    }

    /// Bytes that it holds.
    fn held(&self) -> usize;

    /// Gives the collected fields their meaning.
    ///
    /// # Errors
    /// Whatever a head may not be.
    fn finish(&mut self, block: Parts, asked: Asked, end: bool) -> Result<Meaning, Flaw>;
}

/// What is known of a response's request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// It was HEAD.
    pub(super) bodiless: bool,
    /// It was an extended CONNECT.
    pub(super) tunnel: bool,
}

/// What a head means to its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// Another head follows.
    pub(super) interim: bool,
    /// Content-Length that DATA must add up to.
    pub(super) expected: Option<u64>,
    /// Bytes of no message of its own follow.
    pub(super) tunnel: bool,
}

/// What is wrong with a field block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The stream is reset by `PROTOCOL_ERROR`.
    Malformed,
    /// A request that can be answered.
    Refused(Refusal),
}

impl From<Refusal> for Flaw {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Where the pseudo-fields of a block stand in the arena, and the fields that are read on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    pub(super) method: Option<Span>,
    pub(super) scheme: Option<Span>,
    pub(super) authority: Option<Span>,
    pub(super) path: Option<Span>,
    /// No hop may put it into a table.
    pub(super) path_hidden: bool,
    pub(super) protocol: Option<Span>,
    pub(super) status: Option<Span>,
    /// Index of the first Host line.
    pub(super) host: Option<usize>,
    pub(super) content_length: Option<usize>,
    pub(super) expect: Option<usize>,
    pub(super) te: bool,
    /// Cookie crumbs.
    pub(super) cookies: usize,
}

/// Decodes `block` into `head`, its table in any case.
///
/// # Errors
/// An error of compression ends the connection; a [`Flaw`] the stream.
pub(super) fn read<M: Message>(
    decoder: &mut Decoder,
    block: &[u8],
    head: &mut M,
    asked: Asked,
    end: bool,
) -> Result<Result<Meaning, Flaw>, hpack::Error> {
    let (arena, fields) = head.begin();
    let mut collector = Collector::new(arena, fields);
    match decoder.decode(block, |field| collector.push(field)) {
        Ok(()) => {}
        Err(hpack::DecodeError::Refused(flaw)) => {
            head.shed();
            return Ok(Err(flaw));
        }
        Err(hpack::DecodeError::Compression(error)) => return Err(error),
    }
    collector.join_cookies();
    let parts = collector.parts;
    Ok(head.finish(parts, asked, end))
}

/// Counts a field against the limits of a head, as RFC 9113 section 6.5.2 counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    bytes: usize,
    fields: usize,
}

impl Size {
    /// `false` beyond a limit.
    #[must_use]
    fn add(&mut self, name: &[u8], value: &[u8], bytes_max: usize) -> bool {
        self.bytes += name.len() + value.len() + hpack::FIELD_OVERHEAD_BYTES;
        self.fields += 1;
        self.bytes <= bytes_max && self.fields <= HEAD_FIELDS_MAX
    }
}

/// A block on its way into a head's arena.
struct Collector<'h> {
    arena: &'h mut Vec<u8>,
    fields: &'h mut Vec<Field>,
    parts: Parts,
    size: Size,
}

impl<'h> Collector<'h> {
    fn new(arena: &'h mut Vec<u8>, fields: &'h mut Vec<Field>) -> Self {
        Self { arena, fields, parts: Parts::default(), size: Size::default() }
    }

    fn push(&mut self, field: hpack::Field<'_>) -> Result<(), Flaw> {
        let hpack::Field { name, value, never_indexed } = field;
        if !self.size.add(name, value, HEAD_BYTES_MAX) {
            return Err(Refusal::HeadTooLarge.into());
        }
        if name.first() == Some(&b':') {
            self.parts.path_hidden |= never_indexed && name == b":path";
            return self.pseudo(name, value);
        }
        let known = check(name, value)?;
        let name = append(self.arena, name);
        let value = append(self.arena, value);
        self.note(known, name);
        self.fields.push(Field { name, value, known, hop: known.is_hop_by_hop(), never_indexed });
        Ok(())
    }

    /// RFC 9113 section 8.3: known ones only, each once, all before the other fields.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Flaw> {
        let parts = &mut self.parts;
        let slot = match name {
            b":method" => &mut parts.method,
            b":scheme" => &mut parts.scheme,
            b":authority" => &mut parts.authority,
            b":path" => &mut parts.path,
            b":protocol" => &mut parts.protocol,
            b":status" => &mut parts.status,
            _ => return Err(Flaw::Malformed),
        };
        if slot.is_some() || !self.fields.is_empty() || !is_value(value) {
            return Err(Flaw::Malformed);
        }
        *slot = Some(append(self.arena, value));
        Ok(())
    }

    fn note(&mut self, known: Known, name: Span) {
        let at = self.fields.len();
        let parts = &mut self.parts;
        match known {
            // A second one is told from the first by the index that is already there.
            Known::Host => parts.host = parts.host.or(Some(at)),
            Known::ContentLength => parts.content_length = parts.content_length.or(Some(at)),
            Known::Expect => parts.expect = parts.expect.or(Some(at)),
            Known::Te => parts.te = true,
            Known::Other => parts.cookies += usize::from(name.of(self.arena) == b"cookie"),
            _ => {}
        }
    }

    /// RFC 9113 section 8.2.3: crumbs become one line, where the first one stood.
    fn join_cookies(&mut self) {
        if self.parts.cookies < 2 {
            return;
        }
        let Self { arena, fields, .. } = self;
        let is_cookie = |arena: &[u8], field: &Field| {
            field.known == Known::Other && field.name.of(arena) == b"cookie"
        };
        let start = arena.len();
        let (mut first, mut never_indexed) = (None, false);
        for at in 0..fields.len() {
            if !is_cookie(arena, &fields[at]) {
                continue;
            }
            if first.is_some() {
                arena.extend_from_slice(b"; ");
            } else {
                first = Some(at);
            }
            never_indexed |= fields[at].never_indexed;
            let Span { start, end } = fields[at].value;
            arena.extend_from_within(start as usize..end as usize);
        }
        let Some(first) = first else { return };
        fields[first].value = Span { start: start as u32, end: arena.len() as u32 };
        fields[first].never_indexed = never_indexed;
        let mut at = 0;
        fields.retain(|field| {
            let keep = at <= first || !is_cookie(arena, field);
            at += 1;
            keep
        });
        // Only crumbs behind the first were removed, but the other indices may have moved.
        let find = |known| fields.iter().position(|field| field.known == known);
        self.parts.host = find(Known::Host);
        self.parts.content_length = find(Known::ContentLength);
        self.parts.expect = find(Known::Expect);
    }
}

/// RFC 9113 section 8.2: what a field other than a pseudo-field may be, in heads and trailers.
fn check(name: &[u8], value: &[u8]) -> Result<Known, Flaw> {
    let lower_case = |byte: &u8| is_tchar(*byte) && !byte.is_ascii_uppercase();
    if name.is_empty() || !name.iter().all(lower_case) || !is_value(value) {
        return Err(Flaw::Malformed);
    }
    let known = Known::of(name);
    match known {
        Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::TransferEncoding
        | Known::Upgrade => Err(Flaw::Malformed),
        Known::Te if !value.eq_ignore_ascii_case(b"trailers") => Err(Flaw::Malformed),
        _ => Ok(known),
    }
}

/// RFC 9113 section 8.1.1: at most one Content-Length, of digits.
fn content_length(arena: &[u8], fields: &[Field], parts: &Parts) -> Result<Option<u64>, Flaw> {
    let Some(at) = parts.content_length else { return Ok(None) };
    if fields[at + 1..].iter().any(|field| field.known == Known::ContentLength) {
        return Err(Flaw::Malformed);
    }
    parse_length(fields[at].value.of(arena)).map(Some).ok_or(Flaw::Malformed)
}

fn is_value(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    value.iter().all(|&byte| is_value_byte(byte))
        && !is_space(value.first())
        && !is_space(value.last())
}

fn append(arena: &mut Vec<u8>, text: &[u8]) -> Span {
    let start = arena.len();
    arena.extend_from_slice(text);
    Span { start: start as u32, end: arena.len() as u32 }
}
