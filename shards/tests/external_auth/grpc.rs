//! Servers that are asked by gRPC, as another implementation of HTTP/2 serves them; clients of HTTP/2.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Response};
use proxy::ir;
use shards::Backend;

use super::http2_kit::{Backend2, block_on, connect, get, post, text, upload};
use super::support::{OK, Recorded, World, config, rule};
use super::{by_http, guarded, shared, start};

/// A field of text, bytes or a message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = [bytes.len() as u8 | 0x80, (bytes.len() >> 7) as u8];
    [&[number << 3 | 2][..], &length, bytes].concat()
}

/// A header with its value.
fn header(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

/// What a server says, and how its call ends.
struct Call {
    message: Vec<u8>,
    status: &'static str,
}

/// Allows, with these fields of an `OkHttpResponse`.
fn allowing(fields: &[Vec<u8>]) -> Call {
    let message = [field(1, b""), field(3, &fields.concat())].concat();
    Call { message, status: "0" }
}

/// Denies, with these fields of a `DeniedHttpResponse`.
fn denying(fields: &[Vec<u8>]) -> Call {
    let message = [field(1, &[8, 7]), field(2, &fields.concat())].concat();
    Call { message, status: "0" }
}

/// A server that says so, and what it was asked.
fn server(call: Call) -> (Backend2, Receiver<(String, Vec<u8>)>) {
    let (asked, seen) = channel();
    let (asked, call) = (Mutex::new(asked), Arc::new(call));
    let server = Backend2::start(100, move |request, mut respond, _| {
        let asked = asked.lock().unwrap().clone();
        let call = Arc::clone(&call);
        async move {
            let (head, mut body) = request.into_parts();
            let mut bytes = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece.unwrap();
                bytes.extend_from_slice(&piece);
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            let line = format!(
                "{} {} {:?} {:?}",
                head.method, head.uri, head.headers["content-type"], head.headers["te"]
            );
            asked.send((line, bytes)).unwrap();
            let response = Response::builder().header("content-type", "application/grpc");
            let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
            let length = (call.message.len() as u32).to_be_bytes();
            let message = [&[0][..], &length, &call.message].concat();
            upload(&mut stream, message, false).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", call.status.parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        }
    });
    (server, seen)
}

/// Everything goes to `backend`, if `server` allows it by gRPC.
fn asking(backend: &Recorded, server: &Backend2, allowed: &[&str], body: u32) -> ir::Ir {
    let protocol = ir::AuthProtocol::Grpc { allowed_headers: shared(allowed) };
    let auth = ir::ExternalAuth { protocol, ..by_http("default/auth:1+h2", body) };
    let mut rule = rule("/", &[("b", 1)]);
    rule.filters = vec![ir::Filter::ExternalAuth(auth)];
    let all = [("b", vec![backend.address]), ("default/auth:1+h2", vec![server.address])];
    let mut ir = config(vec![rule], &all);
    let of_server = ir.backends.get_mut("default/auth:1+h2").unwrap();
    Arc::make_mut(of_server).protocol = ir::BackendProtocol::Http2;
    ir
}

fn ask(world: &World, lines: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "POST /a?q=1 HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    world.exchange(request.as_bytes())
}

#[test]
fn a_server_is_asked_by_a_call_and_its_answer_changes_request_and_response() {
    for runtime in super::backends() {
        let backend = Recorded::always(OK);
        let call = allowing(&[
            field(2, &header("X-User", "alice")),
            field(2, &[header("x-many", "2"), field(2, &[8, 1])].concat()),
            field(5, b"authorization"),
            field(6, &header("x-told", "yes")),
            field(7, &[field(1, b"user"), field(2, b"al ice")].concat()),
            field(8, b"q"),
            // Nobody knows this one.
            field(15, b"?"),
        ]);
        let (server, asked) = server(call);
        let world = start(runtime, &asking(&backend, &server, &[], 100));
        for _ in 0..2 {
            let lines = "X-User: mallory\r\nX-Many: 1\r\nAuthorization: Basic x\r\n";
            let answer = ask(&world, lines, "body");
            assert!(answer.ends_with("hello"), "{runtime:?} {answer}");
            assert!(answer.contains("x-told: yes\r\n"), "{answer}");
            let (line, message) = asked.recv().unwrap();
            let call = "POST http://auth.default/envoy.service.auth.v3.Authorization/Check \
                        \"application/grpc\" \"trailers\"";
            assert_eq!(line, call);
            let message = String::from_utf8_lossy(&message).into_owned();
            for shown in [
                "127.0.0.1",
                "/a?q=1",
                "HTTP/1.1",
                "authorization",
                "Basic x",
                "mallory",
                "body",
                "x-forwarded-for",
                ":path",
            ] {
                assert!(message.contains(shown), "{shown}: {message:?}");
            }
        }
        let seen = backend.text();
        assert_eq!(seen.matches("POST /a?user=al%20ice HTTP/1.1\r\n").count(), 2, "{seen}");
        assert_eq!(seen.matches("x-user: alice\r\n").count(), 2, "{seen}");
        assert_eq!(seen.matches("x-many: 1\r\n").count(), 2, "{seen}");
        assert_eq!(seen.matches("x-many: 2\r\n").count(), 2, "{seen}");
        assert!(!seen.contains("mallory") && !seen.contains("authorization"), "{seen}");
        assert_eq!(server.count(), 1, "it is kept: {runtime:?}");
        world.stop();
    }
}

#[test]
fn with_a_list_a_server_is_shown_no_other_header() {
    let backend = Recorded::always(OK);
    let (server, asked) = server(allowing(&[]));
    let world = start(Backend::Epoll, &asking(&backend, &server, &["x-shown"], 0));
    assert!(ask(&world, "X-Shown: 1\r\nX-Hidden: 2\r\n", "secret").ends_with("hello"));
    let message = asked.recv().unwrap().1;
    let message = String::from_utf8_lossy(&message).into_owned();
    assert!(message.contains("x-shown"), "{message:?}");
    for hidden in ["x-hidden", "x-forwarded", "content-length", "secret", ":path"] {
        assert!(!message.contains(hidden), "{hidden}: {message:?}");
    }
    world.stop();
}

#[test]
fn a_denial_of_a_call_goes_to_the_client_and_nothing_to_the_backend() {
    let plain = Call { message: field(1, &[8, 16]), status: "0" };
    for (call, line, rest) in [
        (
            denying(&[
                field(1, &[8, 0x91, 3]),
                field(2, &header("X-Why", "because")),
                field(3, b"no way"),
            ]),
            "HTTP/1.1 401 ",
            &["x-why: because\r\n", "\r\n\r\nno way"][..],
        ),
        (denying(&[]), "HTTP/1.1 403 ", &["content-length: 0\r\n"]),
        (plain, "HTTP/1.1 403 ", &[]),
    ] {
        let backend = Recorded::always(OK);
        let (server, _asked) = server(call);
        let world = start(Backend::Epoll, &asking(&backend, &server, &[], 0));
        let answer = ask(&world, "", "");
        assert!(answer.starts_with(line), "{answer}");
        for part in rest {
            assert!(answer.contains(part), "{part}: {answer}");
        }
        assert_eq!(backend.text(), "");
        world.stop();
    }
}

#[test]
fn a_call_that_says_nothing_that_is_understood_lets_nothing_pass() {
    let text = |text: &str| text.as_bytes().to_vec();
    for (message, status) in [
        (Vec::new(), "0"),
        (allowing(&[]).message, "13"),
        (text("\x0a\x05abc"), "0"),
        (text("what?"), "0"),
        (field(3, &field(2, &header("a", "b\r\nx-user: root"))), "0"),
        (field(3, &field(2, &header("a b", "c"))), "0"),
        // It says both.
        ([field(1, b""), field(2, &field(1, &[8, 1]))].concat(), "0"),
    ] {
        let backend = Recorded::always(OK);
        let (server, _asked) = server(Call { message: message.clone(), status });
        let world = start(Backend::Epoll, &asking(&backend, &server, &[], 0));
        let answer = ask(&world, "", "");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{message:x?}: {answer}");
        assert_eq!(backend.text(), "", "{message:x?}");
        world.stop();
    }
}

#[test]
fn clients_of_http_2_are_held_to_the_same() {
    for runtime in super::backends() {
        let backend = Recorded::always(OK);
        let server = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                tap.write(if request.contains("sesame") {
                    b"HTTP/1.1 200 OK\r\nX-User: alice\r\nContent-Length: 0\r\n\r\n".as_slice()
                } else {
                    b"HTTP/1.1 401 No\r\nX-Why: w\r\nContent-Length: 2\r\n\r\nno"
                });
            }
        });
        let ir = guarded(backend.address, server.address, by_http("auth", 20_000));
        let world = start(runtime, &ir);
        block_on(async {
            let mut client = connect(&world).await;
            let (response, _) = client.send_request(get("/"), true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["x-why"]),
                (401, &"w".parse().unwrap())
            );
            assert_eq!(text(response).await, "no");
            for length in [6, 17_000] {
                let (response, mut stream) = client.send_request(post("/p"), false).unwrap();
                let body = format!("sesame{}", "x".repeat(length - 6));
                upload(&mut stream, body, true).await;
                assert_eq!(text(response.await.unwrap()).await, "hello", "{runtime:?} {length}");
            }
            let (response, mut stream) = client.send_request(post("/p"), false).unwrap();
            upload(&mut stream, "x".repeat(20_001), true).await;
            assert_eq!(response.await.unwrap().status().as_u16(), 413);
        });
        let seen = backend.text();
        assert_eq!(seen.matches("x-user: alice\r\n").count(), 2, "{seen}");
        assert_eq!(seen.matches("sesame").count(), 2, "{seen}");
        world.stop();
    }
}
