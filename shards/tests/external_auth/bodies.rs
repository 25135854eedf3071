//! Bodies that servers are shown, and that go on from here.

use std::io::Write;
use std::time::Duration;

use shards::Backend;

use super::support::{OK, Recorded, backends, read_until};
use super::{ALLOWED, by_http, guarded, start};

/// Requests whose bodies are `body`, whole at once or in pieces.
fn ways(body: &str) -> [Vec<String>; 3] {
    let length = body.len();
    let head = |framing: &str| format!("POST /p HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
    let (one, two) = body.split_at(length / 2);
    let chunk = |piece: &str| format!("{:x}\r\n{piece}\r\n", piece.len());
    [
        vec![head(&format!("Content-Length: {length}")) + body],
        vec![head(&format!("Content-Length: {length}")), one.to_owned(), two.to_owned()],
        vec![head("Transfer-Encoding: chunked"), chunk(one), chunk(two) + "0\r\n\r\n"],
    ]
}

#[test]
fn a_body_is_shown_whole_and_reaches_the_backend_whole() {
    for runtime in backends() {
        for (nth, way) in ways("0123456789").iter().enumerate() {
            let (backend, server) = (Recorded::always(OK), Recorded::always(ALLOWED));
            let ir = guarded(backend.address, server.address, by_http("auth", 10));
            let world = start(runtime, &ir);
            let mut client = world.connect();
            for round in 1..=2 {
                for piece in way {
                    client.write_all(piece.as_bytes()).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
                let answer = read_until(&mut client, "hello");
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{runtime:?} {nth}: {answer}");
                let asked = server.text();
                assert_eq!(asked.matches("content-length: 10\r\n\r\n0123456789").count(), round);
                let seen = backend.text();
                let (one, two) = ("5\r\n01234\r\n5\r\n56789", "a\r\n0123456789\r\n0\r\n\r\n");
                let whole = if nth == 2 { two } else { "\r\n\r\n0123456789" };
                assert_eq!(seen.matches(whole).count(), round, "{nth}: {seen}");
                assert!(!seen.contains(one), "{seen}");
            }
            world.stop();
        }
    }
}

#[test]
fn a_body_beyond_the_bound_is_refused_and_nobody_sees_it() {
    for (nth, way) in ways("0123456789").iter().enumerate() {
        let (backend, server) = (Recorded::always(OK), Recorded::always(ALLOWED));
        let ir = guarded(backend.address, server.address, by_http("auth", 9));
        let world = start(Backend::Epoll, &ir);
        let mut client = world.connect();
        for piece in way {
            client.write_all(piece.as_bytes()).unwrap();
        }
        let answer = read_until(&mut client, "\r\n\r\nContent Too Large\n");
        assert!(answer.starts_with("HTTP/1.1 413 "), "{nth}: {answer}");
        assert!(answer.contains("x-ringway-reason: auth_body_too_large\r\n"), "{nth}: {answer}");
        assert_eq!((backend.text(), server.text()), (String::new(), String::new()), "{nth}");
        world.stop();
    }
}

#[test]
fn a_denied_body_is_not_taken_for_the_next_request() {
    for way in &ways("GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n") {
        let backend = Recorded::always(OK);
        let server = Recorded::always("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
        let ir = guarded(backend.address, server.address, by_http("auth", 100));
        let world = start(Backend::Epoll, &ir);
        let mut client = world.connect();
        for piece in way {
            client.write_all(piece.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        client.write_all(b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let answers = super::support::read_to_end(&mut client);
        assert_eq!(answers.matches("HTTP/1.1 403 ").count(), 2, "{answers}");
        assert_eq!(server.text().matches("/check/hidden").count(), 0);
        assert_eq!(server.text().matches("GET /check/next").count(), 1);
        world.stop();
    }
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let (backend, server) = (Recorded::always(OK), Recorded::always(ALLOWED));
    let ir = guarded(backend.address, server.address, by_http("auth", 10));
    let world = start(Backend::Epoll, &ir);
    let mut client = world.connect();
    let head = b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.write_all(head).unwrap();
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").unwrap();
    assert!(read_until(&mut client, "hello").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(server.text().ends_with("\r\n\r\nbody") && backend.text().ends_with("\r\n\r\nbody"));
    assert!(!backend.text().contains("expect"), "{}", backend.text());
    world.stop();
}

#[test]
fn trailers_of_a_shown_body_go_on() {
    let (backend, server) = (Recorded::always(OK), Recorded::always(ALLOWED));
    let ir = guarded(backend.address, server.address, by_http("auth", 10));
    let world = start(Backend::Epoll, &ir);
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
        Connection: close, te\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n";
    assert!(world.exchange(request).ends_with("hello"));
    assert!(backend.text().ends_with("1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n"), "{}", backend.text());
    assert!(!server.text().contains("x-sum"));
    world.stop();
}
