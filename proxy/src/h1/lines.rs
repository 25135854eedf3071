//! Field lines of both directions: from `httparse`'s slices to spans, and the fields that decide
//! framing and connection use.
//!
//! It knows no start lines. `request` and `response` call it. Invariants: every accepted line ended
//! in CRLF; framing is decided from exactly one field line; `Connection` can mark any field as
//! hop-by-hop but Host and the framing fields.

use super::error::Error;
use crate::http::field::{Field, Known, is_tchar, parse_length};
use crate::http::{Span, Version};
use crate::limits::CONNECTION_OPTIONS_MAX;

/// The lines of one field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    /// Index of the first line.
    pub(super) first: Option<usize>,
    /// There is another line.
    pub(super) repeated: bool,
}

/// Where the fields stand that the engine itself reads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Index {
    pub(super) connection: Lines,
    pub(super) content_length: Lines,
    pub(super) expect: Lines,
    pub(super) host: Lines,
    pub(super) te: Lines,
    pub(super) transfer_encoding: Lines,
    pub(super) upgrade: Lines,
}

/// What the `Connection` lines ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    close: bool,
    keep_alive: bool,
    pub(super) upgrade: bool,
}

impl Lines {
    #[inline]
    fn add(&mut self, at: usize) {
        self.repeated = self.first.is_some();
        self.first = self.first.or(Some(at));
    }

    /// The only line's value; `None` if there is none or several.
    #[inline]
    pub(super) fn only<'a>(self, arena: &'a [u8], fields: &[Field]) -> Option<&'a [u8]> {
        match self {
            Self { first: Some(at), repeated: false } => Some(fields[at].value.of(arena)),
            Self { .. } => None,
        }
    }

    #[inline]
    pub(super) fn is_absent(self) -> bool {
        self.first.is_none()
    }
}

impl Options {
    /// Whether the peer allows another message on this connection, RFC 9112 section 9.3.
    #[inline]
    pub(super) fn keep_alive(self, version: Version) -> bool {
        match version {
            Version::Http10 => self.keep_alive && !self.close,
            Version::Http11 | Version::Http2 => !self.close,
        }
    }
}

/// Where `part`, a slice of `whole`, begins in it.
#[inline]
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// The span of `part` in `whole`; an empty part may lie outside.
#[inline]
pub(super) fn span(whole: &[u8], part: &[u8]) -> Span {
    if part.is_empty() {
        return Span::default();
    }
    let start = offset(whole, part);
    Span { start: start as u32, end: (start + part.len()) as u32 }
}

/// Turns the parsed lines of `head` into `fields` over `arena` (a copy of `head`), names in lower
/// case. `None` if the start line or a field line did not end in CRLF, which `httparse` lets pass.
#[inline]
pub(super) fn load(
    head: &[u8],
    parsed: &[httparse::Header<'_>],
    arena: &mut [u8],
    fields: &mut Vec<Field>,
) -> Option<Index> {
    let mut index = Index::default();
    if !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    fields.reserve(parsed.len());
    for (at, line) in parsed.iter().enumerate() {
        let start = offset(head, line.name.as_bytes());
        // The byte before a name is the line feed; a value never ends in a carriage return.
        if head[start - 2] != b'\r' {
            return None;
        }
        let end = start + line.name.len();
        let name = &mut arena[start..end];
        name.make_ascii_lowercase();
        let known = Known::of(name);
        index.add(known, at);
        fields.push(Field {
            name: Span { start: start as u32, end: end as u32 },
            value: span(head, line.value),
            known,
            hop: known.is_hop_by_hop(),
            never_indexed: false,
        });
    }
    Some(index)
}

impl Index {
    #[inline]
    fn add(&mut self, known: Known, at: usize) {
        match known {
            Known::Connection => self.connection.add(at),
            Known::ContentLength => self.content_length.add(at),
            Known::Expect => self.expect.add(at),
            Known::Host => self.host.add(at),
            Known::Te => self.te.add(at),
            Known::TransferEncoding => self.transfer_encoding.add(at),
            Known::Upgrade => self.upgrade.add(at),
            _ => {}
        }
    }

    /// The one Content-Length. Several lines are refused even if equal.
    pub(super) fn length(&self, arena: &[u8], fields: &[Field]) -> Result<Option<u64>, Error> {
        if self.content_length.is_absent() {
            return Ok(None);
        }
        let value = self.content_length.only(arena, fields);
        let value = value.ok_or(Error::Malformed("several content-length lines"))?;
        parse_length(value).map(Some).ok_or(Error::Malformed("content-length"))
    }

    /// Whether the body is in chunked coding; every other use of Transfer-Encoding is refused.
    pub(super) fn chunked(
        &self,
        version: Version,
        arena: &[u8],
        fields: &[Field],
    ) -> Result<bool, Error> {
        if self.transfer_encoding.is_absent() {
            return Ok(false);
        }
        if version == Version::Http10 {
            return Err(Error::Malformed("transfer-encoding in HTTP/1.0"));
        }
        if !self.content_length.is_absent() {
            return Err(Error::Malformed("content-length with transfer-encoding"));
        }
        let value = self.transfer_encoding.only(arena, fields);
        let value = value.ok_or(Error::Malformed("several transfer-encoding lines"))?;
        if value.eq_ignore_ascii_case(b"chunked") {
            return Ok(true);
        }
        Err(refused_coding(value))
    }

    /// The single token `websocket` in a single `Upgrade` line, wanted by `Connection` too.
    pub(super) fn websocket(&self, options: Options, arena: &[u8], fields: &[Field]) -> bool {
        options.upgrade
            && self
                .upgrade
                .only(arena, fields)
                .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
    }

    /// Reads the `Connection` lines and marks the fields that they name as hop-by-hop.
    #[inline]
    pub(super) fn options(&self, arena: &[u8], fields: &mut [Field]) -> Result<Options, Error> {
        let mut options = Options::default();
        let Some(first) = self.connection.first else { return Ok(options) };
        let mut count = 0;
        for at in first..fields.len() {
            if fields[at].known != Known::Connection {
                continue;
            }
            for option in members(fields[at].value.of(arena)) {
                count += 1;
                if count > CONNECTION_OPTIONS_MAX {
                    return Err(Error::Malformed("too many connection options"));
                }
                options.add(option, arena, fields);
            }
        }
        Ok(options)
    }
}

impl Options {
    fn add(&mut self, option: &[u8], arena: &[u8], fields: &mut [Field]) {
        if option.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else {
            for field in fields {
                let removable = !matches!(field.known, Known::Host | Known::ContentLength);
                if removable && field.name.of(arena).eq_ignore_ascii_case(option) {
                    field.hop = true;
                }
            }
        }
    }
}

/// The non-empty members of a comma-separated list.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Why a Transfer-Encoding other than `chunked` is refused: a well-formed list of other codings is
/// not implemented; what repeats or misplaces `chunked`, or is no list of tokens, is malformed.
#[cold]
fn refused_coding(value: &[u8]) -> Error {
    let mut list = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).peekable();
    while let Some(member) = list.next() {
        let is_token = !member.is_empty() && member.iter().all(|&b| is_tchar(b));
        let misplaced = member.eq_ignore_ascii_case(b"chunked") && list.peek().is_some();
        if !is_token || misplaced {
            return Error::Malformed("transfer-encoding");
        }
    }
    Error::UnknownCoding
}
