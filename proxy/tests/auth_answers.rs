//! Answers of authorization servers, from outside: whatever arrives, only what says so allows.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use proxy::auth::{Auth, Question, Reply, Verdict};
use proxy::epoch::{Backend, Epoch, Settings};
use proxy::exchange::{Client, Provenance};
use proxy::h1;
use proxy::http::{RequestHead, ResponseHead};
use proxy::ir::{self, AuthProtocol, Ir};

/// A backend, which only an epoch makes.
fn server(tls: bool) -> std::sync::Arc<Backend> {
    let tls = tls.then(|| {
        let roots = ir::Roots::System;
        let server_name = "auth.example".into();
        std::sync::Arc::new(ir::BackendTls { server_name, sans: Vec::new(), roots })
    });
    let backend = ir::Backend { tls, ..ir::Backend::default() };
    let backends = [("ns/svc:80+h2".into(), std::sync::Arc::new(backend))].into();
    let epoch = Epoch::compile(1, &Ir { ports: Vec::new(), backends }, Settings::default(), None);
    epoch.backends[0].clone().unwrap()
}

fn with_question<T>(protocol: AuthProtocol, check: impl FnOnce(&Question<'_>) -> T) -> T {
    let mut head = RequestHead::default();
    h1::request::read(b"GET /p HTTP/1.1\r\nHost: x\r\nX-User: me\r\n\r\n", &mut head).unwrap();
    let auth = Auth { slot: Some(0), protocol, body_bytes_max: 0 };
    let client = Client { address: "192.0.2.1", sni: None };
    let provenance = Provenance { client, protocol: ir::Protocol::Http, trusted: false };
    let server = server(false);
    let (auth, head, server) = (&auth, &head, &*server);
    check(&Question { auth, head, provenance, port: 80, server, body: b"" })
}

fn by_grpc() -> AuthProtocol {
    AuthProtocol::Grpc { allowed_headers: Vec::new() }
}

fn answer(text: &str) -> ResponseHead {
    let mut head = ResponseHead::default();
    let read = h1::response::read(text.as_bytes(), proxy::http::Method::Get, false, &mut head);
    assert!(read.unwrap().is_some());
    head
}

/// A message with its prefix.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

proptest! {
    #[test]
    fn a_call_may_bring_any_bytes(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        let head = answer("HTTP/1.1 200 OK\r\n\r\n");
        with_question(by_grpc(), |question| {
            let body = framed(&message);
            let reply = Reply { head: &head, body: &body, trailers: b"grpc-status: 0\r\n" };
            if let Ok(Verdict::Allowed(edits)) = question.verdict(reply) {
                let mut head = RequestHead::default();
                h1::request::read(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &mut head).unwrap();
                edits.apply(&mut head).ok();
                prop_assert_eq!(head.host(), "x");
                for (name, value, _) in head.end_to_end() {
                    prop_assert!(!name.contains(&b'\r') && !value.contains(&b'\r'));
                    prop_assert!(!name.contains(&b'\n') && !value.contains(&b'\n'));
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_call_allows_only_by_a_whole_message_and_the_status_of_success() {
    let ok = framed(b"\x0a\x00");
    let (whole, trailer) = ("HTTP/1.1 200 OK\r\n\r\n", &b"grpc-status: 0\r\n"[..]);
    for (head, body, trailers, allows) in [
        (whole, &ok[..], trailer, true),
        (whole, &ok[..], b"GRPC-Status: 0\r\n", true),
        ("HTTP/1.1 200 OK\r\ngrpc-status: 0\r\n\r\n", &ok[..], b"", true),
        (whole, &framed(b"\x1a\x00")[..], trailer, true),
        (whole, &ok[..], b"", false),
        (whole, &ok[..], b"grpc-status: 2\r\n", false),
        (whole, &ok[..], b"grpc-status: 00\r\n", false),
        ("HTTP/1.1 503 No\r\n\r\n", &ok[..], trailer, false),
        // What the trailers say counts.
        ("HTTP/1.1 200 OK\r\ngrpc-status: 0\r\n\r\n", &ok[..], b"grpc-status: 7\r\n", false),
        (whole, b"", trailer, false),
        (whole, &ok[..4], trailer, false),
        (whole, &ok[..6], trailer, false),
        (whole, &[&ok[..], b"\x00"].concat(), trailer, false),
        (whole, &[&ok[..], &ok].concat(), trailer, false),
        (whole, b"\x01\x00\x00\x00\x02\x0a\x00", trailer, false),
        (whole, &framed(b"")[..], trailer, false),
        (whole, &framed(b"\x0a\x02\x08\x07")[..], trailer, false),
        (whole, &framed(b"\x0a\x00\x12\x00")[..], trailer, false),
        (whole, &framed(b"\x08\x00")[..], trailer, false),
    ] {
        let head = answer(head);
        let verdict = with_question(by_grpc(), |question| {
            question.verdict(Reply { head: &head, body, trailers })
        });
        let allowed = matches!(verdict, Ok(Verdict::Allowed(_)));
        assert_eq!(allowed, allows, "{} {body:x?} {}", head.status, trailers.escape_ascii());
    }
}

#[test]
fn a_call_names_its_server_as_its_certificate_does_or_its_service() {
    let mut head = RequestHead::default();
    h1::request::read(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &mut head).unwrap();
    let auth = Auth { slot: Some(0), protocol: by_grpc(), body_bytes_max: 0 };
    let client = Client { address: "192.0.2.1", sni: Some("x") };
    let provenance = Provenance { client, protocol: ir::Protocol::Tls, trusted: false };
    for (tls, host) in [(false, "svc.ns"), (true, "auth.example")] {
        let server = server(tls);
        let (auth, head, server) = (&auth, &head, &*server);
        let question = Question { auth, head, provenance, port: 443, server, body: b"" };
        let mut out = Vec::new();
        question.write_head(question.content().len(), &mut h1::encode::Text(&mut out));
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("POST /envoy.service.auth.v3.Authorization/Check HTTP/1.1\r\n"));
        assert!(out.contains(&format!("host: {host}\r\n")), "{out}");
    }
}
