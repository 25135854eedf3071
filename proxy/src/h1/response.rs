//! Response heads from backends, RFC 9112 sections 4 to 6.
//!
//! It reads no bodies and retries nothing; `shards` calls it. Decisions beyond the RFC: no empty line
//! before a status line; Transfer-Encoding from HTTP/1.0, together with Content-Length, or on an
//! interim response is malformed; a 204 or 304 that announces a body ends the connection's use.

use std::mem::MaybeUninit;

use httparse::{Header, Status};

use super::error::Error;
use super::lines::{self, Index};
use super::scan::{self, Kind};
use crate::http::{Framing, Method, ResponseHead, Span, Version};
use crate::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX};

/// Where the reason phrase begins: behind `HTTP/1.x 200 `.
const REASON_START: usize = 13;

/// Reads one response head from the start of `input` into `head` (cleared first), for a request
/// with method `method` that did or did not ask for a WebSocket.
///
/// Returns the bytes consumed, or `None` when the head is not complete yet; see
/// [`super::request::read`] for what `head` holds then.
///
/// # Errors
/// A malformed answer: the gateway answers 502 and closes the upstream connection.
pub fn read(
    input: &[u8],
    method: Method,
    websocket_asked: bool,
    head: &mut ResponseHead,
) -> Result<Option<usize>, Error> {
    reset(head);
    if head.scan.is_pending()
        && !scan::is_complete(Kind::Response, input, &mut head.arena, &mut head.scan)?
    {
        return Ok(None);
    }
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; HEAD_FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    if let Ok(Status::Complete(length)) =
        config.parse_response_with_uninit_headers(&mut parsed, input, &mut slots)
        && let Some(index) = load(&input[..length], &parsed, head)
    {
        finish(method, websocket_asked, &index, head)?;
        return Ok(Some(length));
    }
    if scan::is_complete(Kind::Response, input, &mut head.arena, &mut head.scan)? {
        return Err(Error::Malformed("response head"));
    }
    Ok(None)
}

/// Everything but the arena, which may hold an incomplete head that `scan` belongs to.
fn reset(head: &mut ResponseHead) {
    let ResponseHead { arena, fields, scan, .. } = head;
    let mut fields = std::mem::take(fields);
    fields.clear();
    *head = ResponseHead {
        arena: std::mem::take(arena),
        fields,
        scan: *scan,
        ..ResponseHead::default()
    };
}

/// Copies the head and its lines; `None` sends a suspicious head to the exact scanner.
#[inline]
fn load(
    bytes: &[u8],
    parsed: &httparse::Response<'_, '_>,
    head: &mut ResponseHead,
) -> Option<Index> {
    if bytes[0] != b'H' || bytes.len() > HEAD_BYTES_MAX {
        return None;
    }
    head.arena.clear();
    head.arena.extend_from_slice(bytes);
    let index = lines::load(bytes, parsed.headers, &mut head.arena, &mut head.fields)?;
    head.status = parsed.code?;
    head.version = if parsed.version? == 0 { Version::Http10 } else { Version::Http11 };
    let line_end = match parsed.headers.first() {
        Some(line) => lines::offset(bytes, line.name.as_bytes()) - 2,
        None => bytes.len() - 4,
    };
    let start = REASON_START.min(line_end);
    head.reason = Span { start: start as u32, end: line_end as u32 };
    Some(index)
}

/// Everything that the meaning of the lines decides.
#[inline]
fn finish(
    method: Method,
    websocket_asked: bool,
    index: &Index,
    head: &mut ResponseHead,
) -> Result<(), Error> {
    if !(100..600).contains(&head.status) {
        return Err(Error::Malformed("status code"));
    }
    let chunked = index.chunked(head.version, &head.arena, &head.fields)?;
    let length = index.length(&head.arena, &head.fields)?;
    let options = index.options(&head.arena, &mut head.fields)?;
    head.keep_alive = options.keep_alive(head.version);
    if head.status < 200 {
        return interim(websocket_asked, chunked, length, options, index, head);
    }
    let bodyless = method == Method::Head || matches!(head.status, 204 | 304);
    head.framing = match length {
        _ if bodyless => Framing::None,
        Some(length) => Framing::Length(length),
        None if chunked => Framing::Chunked,
        None => Framing::UntilClose,
    };
    if head.framing == Framing::UntilClose {
        head.keep_alive = false;
    }
    if method != Method::Head && bodyless {
        // A backend that announces a body here may well send it: never take it for an answer.
        let announced = chunked || (head.status == 204 && length.is_some_and(|n| n > 0));
        head.keep_alive &= !announced;
    }
    if head.status == 204 {
        drop_length(index, head);
    }
    Ok(())
}

/// 1xx: no body, and no framing field but a harmless `Content-Length: 0`.
fn interim(
    websocket_asked: bool,
    chunked: bool,
    length: Option<u64>,
    options: lines::Options,
    index: &Index,
    head: &mut ResponseHead,
) -> Result<(), Error> {
    if chunked || length.is_some_and(|length| length > 0) {
        return Err(Error::Malformed("interim response with a body"));
    }
    drop_length(index, head);
    if head.status == 101 {
        head.websocket = websocket_asked
            && head.version == Version::Http11
            && index.websocket(options, &head.arena, &head.fields);
        if !head.websocket {
            return Err(Error::Malformed("switching protocols without being asked"));
        }
    }
    Ok(())
}

/// RFC 9110 section 8.6: no Content-Length in a 1xx or 204.
fn drop_length(index: &Index, head: &mut ResponseHead) {
    if let Some(at) = index.content_length.first {
        head.fields[at].hop = true;
    }
}
