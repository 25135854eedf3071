//! The response head as the client gets it: the backend's, or one of our own.

use super::Forward;
use crate::fault::Fault;
use crate::filter::{cors, cors_of, header};
use crate::h1::encode;
use crate::http::{Framing, Known, Method, RequestHead, ResponseHead, Version};
use crate::table::Rule;

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
        let cors = self.filters().cors();
        let bodiless = delivery.framing == Framing::None;
        for (name, value, known) in response.end_to_end() {
            // A bodiless answer (to HEAD, or 304) keeps the length that a GET would have had.
            let ours = (known == Known::ContentLength && !bodiless)
                || (cors.is_some() && cors::owns(name));
            if !ours && header::keeps(modifiers.clone(), name) {
                encode::field(out, name, value);
            }
        }
        if let Some(cors) = cors {
            cors::response(cors, request, |name| header::keeps(modifiers.clone(), name), out);
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

/// Appends a whole answer of the gateway's own. `fields` are [`super::Reply::fields`], `rule` is the
/// rule that the request belongs to and its head: a script of another origin may read our answers
/// as it may read a backend's. `debug` names the reason in a field.
pub fn write_reply(
    fault: Fault,
    fields: Option<&[u8]>,
    rule: Option<(&Rule, &RequestHead)>,
    (method, version): (Method, Version),
    keep_alive: bool,
    debug: bool,
    out: &mut Vec<u8>,
) {
    let Some(status) = fault.status() else { return };
    let phrase = encode::reason_phrase(status).as_bytes();
    encode::status_line(out, status, phrase);
    out.extend_from_slice(fields.unwrap_or_default());
    if let Some((rule, head)) = rule.filter(|_| fault != Fault::Preflight)
        && let Some(cors) = cors_of(&rule.filters)
    {
        cors::response(cors, head, |_| true, out);
    }
    if debug {
        encode::field(out, b"x-ringway-reason", fault.code().as_bytes());
    }
    let body = if fields.is_some() { b"".as_slice() } else { phrase };
    if !body.is_empty() {
        encode::field(out, b"content-type", b"text/plain");
    }
    if status != 204 {
        let length = body.len() + usize::from(!body.is_empty());
        encode::framing(out, Framing::Length(length as u64));
    }
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
