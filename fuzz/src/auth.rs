//! Answers of authorization servers: a `CheckResponse`, or a response of HTTP.
//!
//! The first byte says which, and whether the message comes in its frame of gRPC or brings one of its
//! own. Held: what an answer makes of a request can still be forwarded and keeps Host, path and framing;
//! what it tells the client is a final status, whole lines, and no more than the limits.

use std::sync::Arc;

use proxy::auth::{Auth, Denial, Edits, Question, Reply, Verdict};
use proxy::epoch::{Backend, Epoch, Settings};
use proxy::exchange::{Client, Provenance};
use proxy::http::{Method, RequestHead, ResponseHead};
use proxy::ir::{self, AuthProtocol, Ir};
use proxy::{h1, limits};

use super::{h1::forwarded, split};

const REQUEST: &[u8] = b"POST /p?a=1&b=2 HTTP/1.1\r\nHost: x:8\r\nX-User: me\r\nCookie: c\r\n\
    Content-Length: 3\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nX-User: me\r\nContent-Length: 3\r\n\r\n";

thread_local! {
    /// The server that is asked; only an epoch makes one.
    static SERVER: Arc<Backend> = server();
}

/// The answer to one question.
pub fn answer(input: &[u8]) {
    let (how, bytes) = split(input);
    let all = Arc::<str>::from("x-user");
    let protocol = match how % 4 {
        0 | 1 => AuthProtocol::Grpc { allowed_headers: Vec::new() },
        kind => AuthProtocol::Http {
            path: String::new().into(),
            allowed_headers: Vec::new(),
            allowed_response_headers: if kind == 2 { vec![all] } else { Vec::new() },
        },
    };
    let (mut head, framed);
    head = ResponseHead::default();
    let (text, body) = match how % 4 {
        0 => {
            framed = [&[0][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat();
            (RESPONSE, &framed[..])
        }
        1 => (RESPONSE, bytes),
        _ => (bytes, &b"body"[..]),
    };
    let Ok(Some(_)) = h1::response::read(text, Method::Post, false, &mut head) else { return };
    let reply = Reply { head: &head, body, trailers: b"grpc-status: 0\r\n" };
    match ask(protocol, reply) {
        Some(Verdict::Allowed(edits)) => allowed(&edits),
        Some(Verdict::Denied(denial)) => denied(&denial),
        None => {}
    }
}

fn ask(protocol: AuthProtocol, reply: Reply<'_>) -> Option<Verdict> {
    let auth = Auth { slot: Some(0), protocol, body_bytes_max: 0 };
    let client = Client { address: "192.0.2.1", sni: None };
    let provenance = Provenance { client, protocol: ir::Protocol::Http, trusted: false };
    let head = request();
    SERVER.with(|server| {
        let (auth, head) = (&auth, &head);
        Question { auth, head, provenance, port: 80, server, body: b"" }.verdict(reply).ok()
    })
}

fn request() -> RequestHead {
    let mut head = RequestHead::default();
    let read = h1::request::read(REQUEST, &mut head);
    assert_eq!(read, Ok(Some(REQUEST.len())));
    head
}

fn allowed(edits: &Edits) {
    let (before, mut head) = (request(), request());
    if edits.apply(&mut head).is_ok() {
        assert_eq!((head.authority(), head.path()), (before.authority(), before.path()));
        assert_eq!((head.framing, head.method_str()), (before.framing, before.method_str()));
        assert!(head.fields.len() <= limits::HEAD_FIELDS_MAX);
        forwarded(&head);
    }
    let mut head = ResponseHead::default();
    let read = h1::response::read(RESPONSE, Method::Post, false, &mut head);
    assert_eq!(read, Ok(Some(RESPONSE.len())));
    if edits.apply_to_response(&mut head).is_ok() {
        assert_eq!(head.content_length(), Some(3));
        assert!(head.fields.len() <= limits::HEAD_FIELDS_MAX);
        head.end_to_end().for_each(|(name, value, _)| line(name, value));
    }
}

fn denied(denial: &Denial) {
    assert!((200..600).contains(&denial.status));
    assert!(denial.body.len() <= limits::AUTH_ANSWER_BYTES_MAX);
    assert!(denial.fields.len() <= limits::HEAD_BYTES_MAX);
    let mut rest = &denial.fields[..];
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a line ends");
        let colon = rest.windows(2).position(|pair| pair == b": ").expect("a line has a name");
        line(&rest[..colon], &rest[colon + 2..end]);
        rest = &rest[end + 2..];
    }
}

fn line(name: &[u8], value: &[u8]) {
    assert!(!name.is_empty() && name != b"transfer-encoding");
    assert!(!name.iter().any(|byte| byte.is_ascii_uppercase() || b"\r\n\0: ".contains(byte)));
    assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
}

fn server() -> Arc<Backend> {
    let backends = [("ns/svc:80+h2".into(), Arc::new(ir::Backend::default()))].into();
    let epoch = Epoch::compile(1, &Ir { ports: Vec::new(), backends }, Settings::default(), None);
    epoch.backends[0].clone().expect("the backend that was put in")
}
