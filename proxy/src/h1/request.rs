//! Request heads, RFC 9112 sections 2 to 6, with the refusals of the public policy.
//!
//! It reads no bodies and matches no routes; `shards` calls it with whatever bytes it has. Decisions
//! beyond the RFC: an absolute target overrides Host, which must still be single and valid; only
//! visible ASCII without `#` is allowed in a target; `Upgrade` counts only as `websocket` and is
//! dropped otherwise; `Expect` is dropped where it must be ignored (HTTP/1.0, no body).

use std::mem::MaybeUninit;

use httparse::{Header, Status};

use super::error::Error;
use super::lines::{self, Index};
use super::scan::{self, Kind};
use crate::http::path::{Canonical, canonical};
use crate::http::{Framing, Known, Method, RequestHead, Span, Version, authority};
use crate::limits::METHOD_BYTES_MAX;
use crate::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, REQUEST_TARGET_BYTES_MAX};

/// Reads one request head from the start of `input` into `head` (cleared first).
///
/// Returns the bytes consumed, or `None` when the head is not complete yet: call again with more.
/// What can be refused is refused at once, complete or not.
/// Empty lines before the request line are skipped (RFC 9112 section 2.2), at most one.
///
/// After `None`, `head` only holds the engine's memory of the incomplete bytes. Calling again with
/// the same head saves scanning them again; any other head gives the same answers.
///
/// # Errors
/// Any violation of the public policy; [`Error::status`] is the answer, and the connection closes.
pub fn read(input: &[u8], head: &mut RequestHead) -> Result<Option<usize>, Error> {
    reset(head);
    if head.scan.is_pending()
        && !scan::is_complete(Kind::Request, input, &mut head.arena, &mut head.scan)?
    {
        return Ok(None);
    }
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; HEAD_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    if let Ok(Status::Complete(length)) = parsed.parse_with_uninit_headers(input, &mut slots)
        && let Some(index) = load(&input[..length], &parsed, head)
    {
        finish(&input[..length], parsed.path.unwrap_or_default(), &index, head)?;
        return Ok(Some(length));
    }
    if scan::is_complete(Kind::Request, input, &mut head.arena, &mut head.scan)? {
        return Err(Error::Malformed("request head"));
    }
    Ok(None)
}

/// Everything but the arena, which may hold an incomplete head that `scan` belongs to.
fn reset(head: &mut RequestHead) {
    let RequestHead { arena, fields, scan, .. } = head;
    let mut fields = std::mem::take(fields);
    fields.clear();
    *head =
        RequestHead { arena: std::mem::take(arena), fields, scan: *scan, ..RequestHead::default() };
}

/// Copies the head and its lines; `None` sends a suspicious head to the exact scanner.
#[inline]
fn load(bytes: &[u8], parsed: &httparse::Request<'_, '_>, head: &mut RequestHead) -> Option<Index> {
    let method = parsed.method?.as_bytes();
    let target = parsed.path?;
    let start = lines::offset(bytes, method);
    let strict_start = start == 0 || (start == 2 && bytes[0] == b'\r');
    if !strict_start
        || bytes.len() > HEAD_BYTES_MAX
        || method.len() > METHOD_BYTES_MAX
        || target.len() > REQUEST_TARGET_BYTES_MAX
        || !target.is_ascii()
    {
        return None;
    }
    head.arena.clear();
    head.arena.extend_from_slice(bytes);
    let index = lines::load(bytes, parsed.headers, &mut head.arena, &mut head.fields)?;
    head.method = Method::of(method);
    head.method_span = lines::span(bytes, method);
    head.version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    Some(index)
}

/// Everything that the meaning of the lines decides.
#[inline]
fn finish(bytes: &[u8], target: &str, index: &Index, head: &mut RequestHead) -> Result<(), Error> {
    if head.method == Method::Connect {
        return Err(Error::Method);
    }
    host(index, head)?;
    read_target(bytes, target, index, head)?;
    let (arena, fields) = (&head.arena, &mut head.fields);
    head.framing = if index.chunked(head.version, arena, fields)? {
        Framing::Chunked
    } else {
        index.length(arena, fields)?.map_or(Framing::None, Framing::Length)
    };
    let options = index.options(arena, fields)?;
    head.keep_alive = options.keep_alive(head.version);
    if !index.upgrade.is_absent() {
        head.websocket = head.method == Method::Get
            && head.version == Version::Http11
            && !has_body(head.framing)
            && index.websocket(options, &head.arena, &head.fields);
    }
    head.te_trailers = !index.te.is_absent() && takes_trailers(head);
    expect(index, head)
}

/// `TE` lists `trailers`; it means nothing in HTTP/1.0.
fn takes_trailers(head: &RequestHead) -> bool {
    let mut lines = head.fields.iter().filter(|field| field.known == Known::Te);
    head.version == Version::Http11
        && lines.any(|line| {
            let mut members = lines::members(line.value.of(&head.arena));
            members.any(|member| member.eq_ignore_ascii_case(b"trailers"))
        })
}

fn has_body(framing: Framing) -> bool {
    match framing {
        Framing::None | Framing::Length(0) => false,
        Framing::Length(_) | Framing::Chunked | Framing::UntilClose => true,
    }
}

/// Exactly one valid Host; HTTP/1.0 may leave it out.
#[inline]
fn host(index: &Index, head: &mut RequestHead) -> Result<(), Error> {
    match index.host.first {
        Some(_) if index.host.repeated => Err(Error::Malformed("several host lines")),
        Some(at) => {
            let span = head.fields[at].value;
            set_authority(span, head)?;
            head.fields[at].value = head.authority;
            Ok(())
        }
        None if head.version == Version::Http10 => Ok(()),
        None => Err(Error::Malformed("no host")),
    }
}

/// Checks and canonicalises the authority at `span` of the arena.
#[inline]
fn set_authority(span: Span, head: &mut RequestHead) -> Result<(), Error> {
    let raw = &mut head.arena[span.start as usize..span.end as usize];
    let parsed = authority::parse(raw)?;
    raw.make_ascii_lowercase();
    head.host = Span { start: span.start, end: span.start + parsed.host_length as u32 };
    head.port = parsed.port;
    head.authority = if !parsed.trailing_dot {
        span
    } else if let Some(port) = parsed.port {
        let start = head.arena.len();
        head.arena.extend_from_within(head.host.start as usize..head.host.end as usize);
        head.arena.push(b':');
        head.arena.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        Span { start: start as u32, end: head.arena.len() as u32 }
    } else {
        head.host
    };
    Ok(())
}

/// Origin, absolute and asterisk form, RFC 9112 section 3.2.
#[inline]
fn read_target(
    bytes: &[u8],
    target: &str,
    index: &Index,
    head: &mut RequestHead,
) -> Result<(), Error> {
    let target = target.as_bytes();
    if target.first() == Some(&b'/') {
        return path_and_query(bytes, target, head);
    }
    if target == b"*" && head.method == Method::Options {
        head.path = lines::span(bytes, target);
        return Ok(());
    }
    let rest = absolute(target).ok_or(Error::Malformed("request target"))?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (written, rest) = rest.split_at(end);
    set_authority(lines::span(bytes, written), head)?;
    if let Some(at) = index.host.first {
        head.fields[at].value = head.authority;
    }
    match rest.first() {
        Some(b'/') => path_and_query(bytes, rest, head),
        None if head.method == Method::Options => {
            head.path = append(head, b"*");
            Ok(())
        }
        _ => {
            set_query(bytes, rest, head)?;
            head.path = append(head, b"/");
            Ok(())
        }
    }
}

/// What follows `http://` or `https://`.
fn absolute(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

#[inline]
fn path_and_query(bytes: &[u8], target: &[u8], head: &mut RequestHead) -> Result<(), Error> {
    let path_length = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(path_length);
    set_query(bytes, query, head)?;
    let start = head.arena.len();
    head.path = match canonical(path, &mut head.arena)? {
        Canonical::AsWritten => lines::span(bytes, path),
        Canonical::Appended => Span { start: start as u32, end: head.arena.len() as u32 },
    };
    Ok(())
}

/// `query` begins with `?`, or is empty.
#[inline]
fn set_query(bytes: &[u8], query: &[u8], head: &mut RequestHead) -> Result<(), Error> {
    if query.is_empty() {
        return Ok(());
    }
    if memchr::memchr(b'#', query).is_some() {
        return Err(Error::Malformed("fragment in the request target"));
    }
    let start = lines::offset(bytes, query) + 1;
    head.query = Some(Span { start: start as u32, end: (start + query.len() - 1) as u32 });
    Ok(())
}

fn append(head: &mut RequestHead, text: &[u8]) -> Span {
    let start = head.arena.len();
    head.arena.extend_from_slice(text);
    Span { start: start as u32, end: head.arena.len() as u32 }
}

/// `100-continue` or nothing; ignored, and not forwarded, where there is nothing to wait for.
#[inline]
fn expect(index: &Index, head: &mut RequestHead) -> Result<(), Error> {
    let Some(at) = index.expect.first else { return Ok(()) };
    let value = index.expect.only(&head.arena, &head.fields);
    if !value.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        return Err(Error::Expectation);
    }
    head.expect_continue = head.version == Version::Http11 && has_body(head.framing);
    if !head.expect_continue {
        head.fields[at].hop = true;
    }
    Ok(())
}
