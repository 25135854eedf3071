//! The fields of a request: RFC 9113 section 8.3.1, RFC 8441, and the refusals of HTTP/1 requests.
//!
//! A flaw that HTTP/2 names is malformed (the stream is reset); a host, path or size that the public
//! policy refuses gets the same answer as in HTTP/1. Decisions beyond the RFC: `:scheme` is `http` or
//! `https`; Host is kept as a line equal to the authority, as in HTTP/1; an extended CONNECT is
//! matched as the GET that it stands for.

use super::{Asked, Flaw, Meaning, Parts, Sealed, append};
use crate::h1::error::Error as Refusal;
use crate::http::field::is_tchar;
use crate::http::path::{Canonical, canonical};
use crate::http::{Field, Framing, Known, Method, RequestHead, Span, Version, authority};
use crate::limits::{METHOD_BYTES_MAX, REQUEST_TARGET_BYTES_MAX};

impl Sealed for RequestHead {
    fn begin(&mut self) -> (&mut Vec<u8>, &mut Vec<Field>) {
        let (mut arena, mut fields) =
            (std::mem::take(&mut self.arena), std::mem::take(&mut self.fields));
        arena.clear();
        fields.clear();
        *self =
            Self { arena, fields, version: Version::Http2, keep_alive: true, ..Self::default() };
        (&mut self.arena, &mut self.fields)
    }

    fn held(&self) -> usize {
        self.arena.len() + self.fields.len() * size_of::<Field>()
    }

    fn finish(&mut self, parts: Parts, _: Asked, end: bool) -> Result<Meaning, Flaw> {
        let (Some(method), None) = (parts.method, parts.status) else {
            return Err(Flaw::Malformed);
        };
        set_method(self, method)?;
        let tunnel = tunnel(self, &parts, end)?;
        let length = length(self, &parts, end)?;
        self.framing = match length {
            _ if tunnel => Framing::None,
            Some(length) => Framing::Length(length),
            None if !end => Framing::Chunked,
            None => match self.method {
                // RFC 9110 section 8.6: methods that anticipate content say that there is none.
                Method::Post | Method::Put | Method::Patch => Framing::Length(0),
                _ => Framing::None,
            },
        };
        (self.te_trailers, self.target_hidden) = (parts.te, parts.path_hidden);
        let (Some(scheme), Some(path)) = (parts.scheme, parts.path) else {
            return Err(if self.method == Method::Connect && !tunnel {
                Refusal::Method.into()
            } else {
                Flaw::Malformed
            });
        };
        if self.method == Method::Connect && !tunnel {
            return Err(Flaw::Malformed);
        }
        set_scheme(self, scheme)?;
        set_host(self, &parts)?;
        set_target(self, path)?;
        expect(self, &parts, end)?;
        if tunnel {
            self.websocket = true;
            self.method = Method::Get;
            self.method_span = append(&mut self.arena, b"GET");
        }
        Ok(Meaning { interim: false, expected: length.filter(|_| !tunnel), tunnel })
    }
}

fn set_method(head: &mut RequestHead, span: Span) -> Result<(), Flaw> {
    let method = span.of(&head.arena);
    if method.is_empty() || !method.iter().all(|&byte| is_tchar(byte)) {
        return Err(Flaw::Malformed);
    }
    if method.len() > METHOD_BYTES_MAX {
        return Err(Refusal::HeadTooLarge.into());
    }
    head.method = Method::of(method);
    head.method_span = span;
    Ok(())
}

/// RFC 8441 section 4: `:protocol` only with CONNECT, and only what we know.
fn tunnel(head: &RequestHead, parts: &Parts, end: bool) -> Result<bool, Flaw> {
    let Some(protocol) = parts.protocol else { return Ok(false) };
    if head.method != Method::Connect || end {
        return Err(Flaw::Malformed);
    }
    if protocol.of(&head.arena) != b"websocket" {
        return Err(Refusal::Method.into());
    }
    Ok(true)
}

/// RFC 9113 section 8.1.1: one Content-Length, 0 without DATA.
fn length(head: &RequestHead, parts: &Parts, end: bool) -> Result<Option<u64>, Flaw> {
    let length = super::content_length(&head.arena, &head.fields, parts)?;
    if end && length.is_some_and(|length| length > 0) {
        return Err(Flaw::Malformed);
    }
    Ok(length)
}

fn set_scheme(head: &RequestHead, span: Span) -> Result<(), Flaw> {
    let scheme = span.of(&head.arena);
    let known = [&b"http"[..], b"https"].into_iter().any(|s| scheme.eq_ignore_ascii_case(s));
    if known { Ok(()) } else { Err(Refusal::Malformed("scheme").into()) }
}

/// RFC 9113 section 8.3.1: `:authority` or Host, and no two that differ.
fn set_host(head: &mut RequestHead, parts: &Parts) -> Result<(), Flaw> {
    let mut lines = head.fields.iter().filter(|field| field.known == Known::Host);
    let line = lines.next().map(|field| field.value);
    if lines.next().is_some() {
        return Err(Refusal::Malformed("several host lines").into());
    }
    let span = parts.authority.or(line).ok_or(Refusal::Malformed("no host"))?;
    let (host, port, authority) = read_authority(head, span)?;
    if let (Some(line), Some(_)) = (line, parts.authority) {
        let (_, _, other) = read_authority(head, line)?;
        if other.of(&head.arena) != authority.of(&head.arena) {
            return Err(Refusal::Malformed("host differs from the authority").into());
        }
    }
    (head.host, head.port, head.authority) = (host, port, authority);
    match parts.host {
        Some(at) => head.fields[at].value = authority,
        None => {
            let name = append(&mut head.arena, b"host");
            head.fields.push(Field {
                name,
                value: authority,
                known: Known::Host,
                ..Field::default()
            });
        }
    }
    Ok(())
}

/// Checks and canonicalises the authority at `span`: host, port and `host[:port]`.
fn read_authority(
    head: &mut RequestHead,
    span: Span,
) -> Result<(Span, Option<u16>, Span), Refusal> {
    let raw = &mut head.arena[span.start as usize..span.end as usize];
    let parsed = authority::parse(raw)?;
    raw.make_ascii_lowercase();
    let host = Span { start: span.start, end: span.start + parsed.host_length as u32 };
    let whole = match parsed.port {
        _ if !parsed.trailing_dot => span,
        None => host,
        Some(port) => {
            let start = head.arena.len();
            head.arena.extend_from_within(host.start as usize..host.end as usize);
            head.arena.push(b':');
            head.arena.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
            Span { start: start as u32, end: head.arena.len() as u32 }
        }
    };
    Ok((host, parsed.port, whole))
}

/// `:path`: the path made canonical, and the query.
fn set_target(head: &mut RequestHead, span: Span) -> Result<(), Flaw> {
    let target = span.of(&head.arena);
    if target.is_empty() {
        return Err(Flaw::Malformed);
    }
    if target.len() > REQUEST_TARGET_BYTES_MAX {
        return Err(Refusal::TargetTooLong.into());
    }
    if target == b"*" && head.method == Method::Options {
        head.path = span;
        return Ok(());
    }
    let length = memchr::memchr(b'?', target).unwrap_or(target.len());
    let path = Span { start: span.start, end: span.start + length as u32 };
    if length < target.len() {
        let query = Span { start: path.end + 1, end: span.end };
        let visible = |byte: &u8| matches!(byte, 0x21..=0x7e) && *byte != b'#';
        if !query.of(&head.arena).iter().all(visible) {
            return Err(Refusal::Malformed("query").into());
        }
        head.query = Some(query);
    }
    let start = head.arena.len();
    // Allocates only for a path that is not canonical.
    let (raw, mut out) = (path.of(&head.arena), Vec::new());
    head.path = match canonical(raw, &mut out).map_err(Refusal::from)? {
        Canonical::AsWritten => path,
        Canonical::Appended => {
            head.arena.extend_from_slice(&out);
            Span { start: start as u32, end: head.arena.len() as u32 }
        }
    };
    Ok(())
}

/// As in HTTP/1: `100-continue` or nothing.
fn expect(head: &mut RequestHead, parts: &Parts, end: bool) -> Result<(), Flaw> {
    let Some(at) = parts.expect else { return Ok(()) };
    let mut lines = head.fields.iter().filter(|field| field.known == Known::Expect);
    let only = lines.next().filter(|_| lines.next().is_none());
    let wanted = |line: &Field| line.value.of(&head.arena).eq_ignore_ascii_case(b"100-continue");
    if !only.is_some_and(wanted) {
        return Err(Refusal::Expectation.into());
    }
    head.expect_continue = !end && head.framing != Framing::Length(0);
    head.fields[at].hop |= !head.expect_continue;
    Ok(())
}
