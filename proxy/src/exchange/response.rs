//! The response head as the client gets it: the backend's, or one of our own.

use super::Forward;
use crate::fault::Fault;
use crate::filter::header;
use crate::h1::encode;
use crate::http::{Framing, Known, Method, RequestHead, ResponseHead, Version};

/// How a response travels to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its framing on the client's connection.
    pub framing: Framing,
    /// The connection stays open behind it.
    pub keep_alive: bool,
}

impl Delivery {
    /// Decides framing and persistence for a final `response` to `request`.
    ///
    /// A body of unknown length becomes chunked for HTTP/1.1 and close-delimited for HTTP/1.0.
    /// `keep` says whether client and gateway both want the connection kept.
    #[must_use]
    pub fn of(request: &RequestHead, response: &ResponseHead, keep: bool) -> Self {
        let keep_alive = keep;
        match (response.framing, request.version) {
            (Framing::None | Framing::Length(_), _) => {
                Self { framing: response.framing, keep_alive }
            }
            (Framing::Chunked | Framing::UntilClose, Version::Http11) => {
                Self { framing: Framing::Chunked, keep_alive }
            }
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
                Self { framing: Framing::UntilClose, keep_alive: false }
            }
        }
    }
}

impl Forward<'_> {
    /// Appends the head of a final response, after the header modifiers.
    pub fn write_response(
        &self,
        request: &RequestHead,
        response: &ResponseHead,
        delivery: Delivery,
        out: &mut Vec<u8>,
    ) {
        encode::status_line(out, response.status, response.reason.of(&response.arena));
        let modifiers = self.filters().response_headers();
        let bodiless = delivery.framing == Framing::None;
        for (name, value, known) in response.end_to_end() {
            // A bodiless answer (to HEAD, or 304) keeps the length that a GET would have had.
            let ours = known == Known::ContentLength && !bodiless;
            if !ours && header::keeps(modifiers.clone(), name) {
                encode::field(out, name, value);
            }
        }
        header::additions(modifiers, |name, value| encode::field(out, name, value));
        encode::framing(out, delivery.framing);
        write_persistence(request.version, delivery.keep_alive, out);
        encode::end(out);
    }

    /// Appends an interim (1xx) response; 101 keeps its upgrade fields.
    pub fn write_interim(&self, response: &ResponseHead, out: &mut Vec<u8>) {
        encode::status_line(out, response.status, response.reason.of(&response.arena));
        for (name, value, known) in response.end_to_end() {
            if known != Known::ContentLength {
                encode::field(out, name, value);
            }
        }
        if response.websocket {
            let modifiers = self.filters().response_headers();
            header::additions(modifiers, |name, value| encode::field(out, name, value));
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        }
        encode::end(out);
    }
}

/// Appends a whole answer of the gateway's own. `debug` names the reason in a field.
pub fn write_reply(
    fault: Fault,
    location: Option<&[u8]>,
    (method, version): (Method, Version),
    keep_alive: bool,
    debug: bool,
    out: &mut Vec<u8>,
) {
    let Some(status) = fault.status() else { return };
    let phrase = encode::reason_phrase(status).as_bytes();
    encode::status_line(out, status, phrase);
    if let Some(location) = location {
        encode::field(out, b"location", location);
    }
    if debug {
        encode::field(out, b"x-ringway-reason", fault.code().as_bytes());
    }
    if !phrase.is_empty() && location.is_none() {
        encode::field(out, b"content-type", b"text/plain");
    }
    let body = if location.is_some() { b"".as_slice() } else { phrase };
    let length = body.len() + usize::from(!body.is_empty());
    encode::framing(out, Framing::Length(length as u64));
    write_persistence(version, keep_alive, out);
    encode::end(out);
    if method != Method::Head && !body.is_empty() {
        out.extend_from_slice(body);
        out.push(b'\n');
    }
}

fn write_persistence(version: Version, keep_alive: bool, out: &mut Vec<u8>) {
    match (version, keep_alive) {
        (Version::Http11, true) => {}
        (Version::Http10, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (_, false) => out.extend_from_slice(b"connection: close\r\n"),
    }
}
