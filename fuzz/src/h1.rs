//! HTTP/1: request and response heads with their bodies, and chunked bodies alone.
//!
//! The driver is that of the message corpus (`proxy/tests/vectors`). Held: how the input is cut changes
//! nothing; what is taken is taken again, with the same meaning, as it is forwarded; a body that is
//! written again is the same body.

use proxy::h1;
use proxy::h1::body::{BodyReader, BodyWriter};
use proxy::h1::encode::Text;
use proxy::http::{Framing, HeadWriter, Known, Method, RequestHead, ResponseHead};
use proxy::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, TRAILER_BYTES_MAX};

use super::vectors::{End, Outcome, drive_request, drive_request_with, drive_response};
use super::{piece_sizes, split};

/// Messages of one connection that are looked at.
const MESSAGES_MAX: usize = 8;

/// The requests of a connection.
pub fn request(input: &[u8]) {
    let mut head = RequestHead::default();
    let mut rest = input.to_vec();
    for _ in 0..MESSAGES_MAX {
        let whole = drive_request_with(&mut head, std::iter::once(&rest[..]));
        for size in piece_sizes(&rest) {
            assert_eq!(drive_request(rest.chunks(size)), whole, "in pieces of {size}");
        }
        if !whole.head.is_empty() {
            check(&whole);
            forwarded(&head);
        }
        if whole.end != End::Done || whole.rest.len() == rest.len() {
            return;
        }
        rest = whole.rest;
    }
}

/// The response to a request that the first byte describes.
pub fn response(input: &[u8]) {
    let (asked, input) = split(input);
    let method = if asked & 1 == 0 { Method::Get } else { Method::Head };
    let websocket = asked & 2 != 0;
    let whole = drive_response(method, websocket, std::iter::once(input));
    for size in piece_sizes(input) {
        let cut = drive_response(method, websocket, input.chunks(size));
        assert_eq!(cut, whole, "in pieces of {size}");
    }
    if !whole.head.is_empty() {
        check(&whole);
    }
    let mut head = ResponseHead::default();
    if let Ok(Some(_)) = h1::response::read(input, method, websocket, &mut head) {
        answered(&head, method, websocket);
    }
}

/// A chunked body; what follows it is not touched.
pub fn chunked(input: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut reader, mut body, mut kept) =
            (BodyReader::new(Framing::Chunked), Vec::new(), Vec::new());
        for piece in pieces {
            kept.extend_from_slice(piece);
            loop {
                let read = reader.read(&kept)?;
                assert!(read.data.start <= read.data.end && read.data.end <= read.consumed);
                body.extend_from_slice(&kept[read.data]);
                kept.drain(..read.consumed);
                assert_eq!(read.done, reader.is_done());
                if read.done || read.consumed == 0 {
                    break;
                }
            }
        }
        let done = reader.end_of_input();
        assert!(done || (kept.is_empty() && reader.trailers().is_empty()), "it asks for no more");
        Ok::<_, h1::error::Error>((body, done, reader.trailers().to_vec(), kept))
    };
    let whole = read(&mut std::iter::once(input));
    for size in piece_sizes(input) {
        assert_eq!(read(&mut input.chunks(size)), whole, "in pieces of {size}");
    }
    let Ok((body, true, trailers, rest)) = whole else { return };
    assert!(body.len() + rest.len() < input.len() && trailers.len() <= TRAILER_BYTES_MAX);
    assert!(input.ends_with(&rest));
    let (mut writer, mut out) = (BodyWriter::new(Framing::Chunked), Vec::new());
    for data in body.chunks(1 + body.len() / 3) {
        writer.before(data.len(), &mut out);
        out.extend_from_slice(data);
        writer.after(&mut out);
    }
    writer.finish(&trailers, &mut out);
    assert_eq!(read(&mut std::iter::once(&out[..])), Ok((body, true, trailers, Vec::new())));
}

fn check(outcome: &Outcome) {
    assert!(outcome.fields.len() <= HEAD_FIELDS_MAX);
    assert!(outcome.fields.iter().map(Vec::len).sum::<usize>() <= 2 * HEAD_BYTES_MAX);
    assert!(outcome.trailers.len() <= TRAILER_BYTES_MAX);
    for line in &outcome.fields {
        assert!(!line.iter().any(|byte| b"\r\n\0".contains(byte)), "{}", line.escape_ascii());
    }
}

/// A head that was taken is taken again as a backend gets it, and means the same.
pub(super) fn forwarded(head: &RequestHead) {
    let host = if head.host().is_empty() { "none" } else { head.authority() };
    let target = |out: &mut Vec<u8>| {
        out.extend_from_slice(head.path().as_bytes());
        for part in head.query().into_iter().flat_map(|query| ["?", query]) {
            out.extend_from_slice(part.as_bytes());
        }
    };
    let mut out = Vec::new();
    let mut text = Text(&mut out);
    text.request(
        head.method_bytes(),
        "",
        |out| out.extend_from_slice(host.as_bytes()),
        target,
        false,
    );
    let passes = |known: &Known| !matches!(known, Known::Host | Known::ContentLength);
    for (name, value, _) in head.end_to_end().filter(|(_, _, known)| passes(known)) {
        text.field(name, value);
    }
    text.framing(head.framing);
    text.end();
    let mut again = RequestHead::default();
    let read = h1::request::read(&out, &mut again);
    assert_eq!(read, Ok(Some(out.len())), "{}", out.escape_ascii());
    let meaning = |head: &RequestHead| {
        let path = (head.path().to_owned(), head.query().map(str::to_owned));
        (head.method_str().to_owned(), path, head.framing)
    };
    assert_eq!(meaning(&again), meaning(head));
    assert_eq!(again.authority(), host);
    let mut hops = again.fields.iter().filter(|field| field.hop);
    assert!(hops.all(|field| field.known == Known::TransferEncoding));
}

/// A response that was taken is taken again as a client gets it, and means the same.
fn answered(head: &ResponseHead, method: Method, websocket: bool) {
    let mut out = Vec::new();
    let mut text = Text(&mut out);
    text.status(head.status, head.reason());
    for (name, value, known) in head.end_to_end() {
        if known != Known::ContentLength || head.framing == Framing::None {
            text.field(name, value);
        }
    }
    if head.websocket {
        text.websocket();
    } else {
        text.framing(head.framing);
    }
    text.end();
    let mut again = ResponseHead::default();
    let read = h1::response::read(&out, method, websocket, &mut again);
    assert_eq!(read, Ok(Some(out.len())), "{}", out.escape_ascii());
    assert_eq!((again.status, again.framing), (head.status, head.framing));
    assert_eq!(again.content_length(), head.content_length());
    assert_eq!(again.websocket, head.websocket);
}
