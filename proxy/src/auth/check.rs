//! The question as a gRPC call: `envoy.service.auth.v3.Authorization/Check`.
//!
//! The fields are those of Envoy's API
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/external_auth.proto>); what it
//! has beyond HTTP (metadata, labels, certificates) is neither sent nor read. Invariant: an answer
//! without a status or an answer of its own for HTTP does not allow.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edits::{Action, Fields, is_in_reach};
use super::wire::{self, Message, Value};
use super::{Denial, Edits, Malformed, Question, Reply, Verdict};
use crate::epoch::Backend;
use crate::http::write::lines;
use crate::http::{Framing, HeadWriter, RequestHead, Version, field};
use crate::limits;

/// Writes the head of the call.
pub(super) fn write(question: &Question<'_>, length: usize, out: &mut impl HeadWriter) {
    let authority = |out: &mut Vec<u8>| write_authority(question.server, out);
    let path = |out: &mut Vec<u8>| out.extend_from_slice(PATH);
    out.request(b"POST", question.scheme(), authority, path, false);
    out.field(b"content-type", b"application/grpc");
    out.takes_trailers();
    out.framing(Framing::Length(length as u64));
    out.end();
}

/// The name that its certificate bears, else that of its Service.
fn write_authority(server: &Backend, out: &mut Vec<u8>) {
    if let Some(tls) = &server.tls {
        return out.extend_from_slice(tls.server_name.as_bytes());
    }
    let (namespace, rest) = server.name.split_once('/').unwrap_or(("", &server.name));
    let service = rest.split(':').next().unwrap_or_default();
    for part in [service, ".", namespace] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The call's one message with its prefix.
pub(super) fn request(question: &Question<'_>, allowed: &[Arc<str>]) -> Vec<u8> {
    let mut attributes = Message::default();
    let client = question.provenance.client;
    attributes.message(1, &peer(client.address, 0));
    attributes.message(2, &peer("", question.port));
    let mut request = Message::default();
    request.message(2, &http(question, allowed));
    attributes.message(4, &request);
    if let Some(sni) = client.sni {
        let mut session = Message::default();
        session.bytes(1, sni.as_bytes());
        attributes.message(12, &session);
    }
    let mut check = Message::default();
    check.message(1, &attributes);
    let message = check.finish();
    let length = u32::try_from(message.len()).expect("heads and bodies that are shown are bounded");
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// A `Peer` with the address of a socket.
fn peer(address: &str, port: u16) -> Message {
    let (mut socket, mut of_address, mut peer) =
        (Message::default(), Message::default(), Message::default());
    socket.bytes(2, address.as_bytes()).int(3, i64::from(port));
    of_address.message(1, &socket);
    peer.message(1, &of_address);
    peer
}

/// The `HttpRequest`.
fn http(question: &Question<'_>, allowed: &[Arc<str>]) -> Message {
    let head = question.head;
    let mut http = Message::default();
    let id = head.end_to_end().find(|(name, _, _)| *name == b"x-request-id");
    http.bytes(1, &text(id.map_or(&[][..], |(_, value, _)| value)));
    http.bytes(2, head.method_bytes());
    for (name, value) in headers(question, allowed) {
        http.entry(3, &name, &text(&value));
    }
    http.bytes(4, &target(head)).bytes(5, head.authority_bytes());
    http.bytes(6, question.provenance.scheme().as_bytes());
    http.int(9, size(head));
    http.bytes(
        10,
        match head.version {
            Version::Http10 => b"HTTP/1.0",
            Version::Http11 => b"HTTP/1.1",
            Version::Http2 => b"HTTP/2",
        },
    );
    // Text must be text on this wire; anything else has a field of its own.
    let body = if std::str::from_utf8(question.body).is_ok() { 11 } else { 12 };
    http.bytes(body, question.body);
    http
}

/// Fields by name, several lines joined.
fn headers(question: &Question<'_>, allowed: &[Arc<str>]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let head = question.head;
    let mut collected = Collected::default();
    let shown = |name: &[u8]| allowed.is_empty() || Question::is_allowed(name, allowed);
    question.provenance.write(head, shown, &mut collected);
    let pseudo = [
        (&b":authority"[..], head.authority_bytes().to_vec()),
        (b":method", head.method_bytes().to_vec()),
        (b":path", target(head)),
        (b":scheme", question.provenance.scheme().as_bytes().to_vec()),
    ];
    let pseudo = pseudo.into_iter().filter(|(name, _)| shown(name));
    collected.0.extend(pseudo.map(|(name, value)| (name.to_vec(), value)));
    collected.0
}

/// Takes fields and nothing else.
#[derive(Default)]
struct Collected(BTreeMap<Vec<u8>, Vec<u8>>);

impl HeadWriter for Collected {
    fn request(
        &mut self,
        _method: &[u8],
        _scheme: &str,
        _authority: impl FnOnce(&mut Vec<u8>),
        _target: impl FnOnce(&mut Vec<u8>),
        _hidden: bool,
    ) {
    }

    fn status(&mut self, _status: u16, _reason: &[u8]) {}

    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.field_of(name, |out| out.extend_from_slice(value));
    }

    fn field_of(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let joined = match self.0.get_mut(name) {
            Some(joined) => {
                // The one field whose lines are not a list (RFC 9113 section 8.2.3).
                let separator: &[u8] = if name == b"cookie" { b"; " } else { b"," };
                joined.extend_from_slice(separator);
                joined
            }
            None => self.0.entry(name.to_vec()).or_default(),
        };
        write(joined);
    }

    fn framing(&mut self, _framing: Framing) {}

    fn takes_trailers(&mut self) {}

    fn websocket(&mut self) {}

    fn persistence(&mut self, _version: Version, _keep_alive: bool) {}

    fn end(&mut self) {}
}

fn target(head: &RequestHead) -> Vec<u8> {
    let mut target = head.path_bytes().to_vec();
    head.write_query(&mut target);
    target
}

/// The size of the body, -1 where nobody knows it.
fn size(head: &RequestHead) -> i64 {
    match head.framing {
        Framing::None => 0,
        Framing::Length(length) => i64::try_from(length).unwrap_or(-1),
        Framing::Chunked | Framing::UntilClose => -1,
    }
}

/// Text that is allowed on this wire.
fn text(bytes: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(bytes).into_owned().into_bytes()
}

/// What the answer of a call means.
pub(super) fn verdict(reply: Reply<'_>) -> Result<Verdict, Malformed> {
    let is_status = |name: &[u8]| name.eq_ignore_ascii_case(b"grpc-status");
    let mut in_head = reply.head.end_to_end().map(|(name, value, _)| (name, value));
    let status = lines(reply.trailers).find(|(name, _)| is_status(name));
    let status = status.or_else(|| in_head.find(|(name, _)| is_status(name)));
    let is_ok = status.is_some_and(|(_, value)| value == b"0");
    if reply.head.status != 200 || !is_ok {
        return Err(Malformed);
    }
    let (prefix, message) = reply.body.split_at_checked(PREFIX_BYTES).ok_or(Malformed)?;
    let (flag, length) = (prefix[0], &prefix[1..]);
    let whole = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if flag != 0 || whole != message.len() {
        return Err(Malformed);
    }
    response(message)
}

/// A `CheckResponse`.
fn response(message: &[u8]) -> Result<Verdict, Malformed> {
    let (mut code, mut ok, mut denied) = (None, None, None);
    for field in wire::fields(message) {
        match field? {
            (1, Value::Bytes(status)) => code = Some(integer(status, 1)?),
            // Of an alternative the last one counts.
            (2, Value::Bytes(response)) => (ok, denied) = (None, Some(response)),
            (3, Value::Bytes(response)) => (ok, denied) = (Some(response), None),
            (1..=3, _) => return Err(Malformed),
            _ => {}
        }
    }
    match (code, ok, denied) {
        (None, None, None) => Err(Malformed),
        (None | Some(0), ok, None) => allowed(ok.unwrap_or_default()).map(Verdict::Allowed),
        (_, _, denied) => denial(denied.unwrap_or_default()).map(Verdict::Denied),
    }
}

/// The integer `field` of a message, 0 where it is left out.
fn integer(message: &[u8], field: u32) -> Result<u64, Malformed> {
    let mut value = 0;
    for found in wire::fields(message) {
        match found? {
            (number, Value::Varint(given)) if number == field => value = given,
            (number, _) if number == field => return Err(Malformed),
            _ => {}
        }
    }
    Ok(value)
}

/// An `OkHttpResponse`.
fn allowed(message: &[u8]) -> Result<Edits, Malformed> {
    let mut edits = Edits::default();
    for field in wire::fields(message) {
        match field? {
            (2, Value::Bytes(option)) => header(option, edits.request())?,
            (5, Value::Bytes(name)) => edits.request().push(Action::Remove, name, b"")?,
            (6, Value::Bytes(option)) => header(option, edits.response())?,
            (7, Value::Bytes(parameter)) => {
                let (name, value, _) = pair(parameter)?;
                edits.query().set(name, value);
            }
            (8, Value::Bytes(name)) => edits.query().remove(name),
            (2 | 5..=8, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok(edits)
}

/// A `HeaderValueOption`: it replaces what is there unless it says otherwise.
fn header(option: &[u8], fields: &mut Fields) -> Result<(), Malformed> {
    let (mut header, mut append, mut action, mut keeps_empty) = (None, None, 0, false);
    for field in wire::fields(option) {
        match field? {
            (1, Value::Bytes(given)) => header = Some(given),
            (2, Value::Bytes(wrapped)) => append = Some(integer(wrapped, 1)? != 0),
            (3, Value::Varint(given)) => action = given,
            (4, Value::Varint(given)) => keeps_empty = given != 0,
            (1..=4, _) => return Err(Malformed),
            _ => {}
        }
    }
    let (name, value, raw) = pair(header.ok_or(Malformed)?)?;
    let value = if raw.is_empty() { value } else { raw };
    let action = match (append, action) {
        (Some(true), _) => Action::Add,
        (Some(false), _) | (None, 0 | 2) => Action::Set,
        (None, 1) => Action::AddIfAbsent,
        (None, 3) => Action::SetIfPresent,
        (None, _) => return Err(Malformed),
    };
    // An empty value takes a field away where it would replace it.
    match action {
        Action::Set if value.is_empty() && !keeps_empty => fields.push(Action::Remove, name, b""),
        _ => fields.push(action, name, value),
    }
}

/// Key, value, and value as bytes.
type Pair<'p> = (&'p [u8], &'p [u8], &'p [u8]);

/// A `HeaderValue` or a `QueryParameter`.
fn pair(message: &[u8]) -> Result<Pair<'_>, Malformed> {
    let mut parts = [&[][..]; 3];
    for field in wire::fields(message) {
        match field? {
            (number @ 1..=3, Value::Bytes(part)) => parts[number as usize - 1] = part,
            (1..=3, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok((parts[0], parts[1], parts[2]))
}

/// A `DeniedHttpResponse`.
fn denial(message: &[u8]) -> Result<Denial, Malformed> {
    let (mut status, mut lines, mut body) = (0, Vec::new(), &[][..]);
    for field in wire::fields(message) {
        match field? {
            (1, Value::Bytes(given)) => status = integer(given, 1)?,
            (2, Value::Bytes(option)) => line(option, &mut lines)?,
            (3, Value::Bytes(given)) => body = given,
            (1..=3, _) => return Err(Malformed),
            _ => {}
        }
    }
    let status = match status {
        0 => FORBIDDEN,
        status => u16::try_from(status)
            .ok()
            .filter(|status| (200..600).contains(status))
            .ok_or(Malformed)?,
    };
    if body.len() > limits::AUTH_ANSWER_BYTES_MAX || lines.len() > limits::HEAD_BYTES_MAX {
        return Err(Malformed);
    }
    Ok(Denial { status, fields: lines, body: body.to_vec() })
}

/// Appends a field for the client.
fn line(option: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut header = &[][..];
    for field in wire::fields(option) {
        if let (1, Value::Bytes(given)) = field? {
            header = given;
        }
    }
    let (name, value, raw) = pair(header)?;
    let name = name.to_ascii_lowercase();
    let value = if raw.is_empty() { value } else { raw }.trim_ascii();
    if !value.iter().all(|byte| field::is_value_byte(*byte)) {
        return Err(Malformed);
    }
    if is_in_reach(&name)? {
        for part in [&name, &b": "[..], value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    Ok(())
}

const PATH: &[u8] = b"/envoy.service.auth.v3.Authorization/Check";
/// Whether the message is compressed, and its length.
const PREFIX_BYTES: usize = 5;
const FORBIDDEN: u16 = 403;
