//! HTTP/1 through real shards on every runtime, with raw clients and recording backends.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::thread;
use std::time::Duration;

use proxy::epoch::Settings;
use support::{
    GET, GET_CLOSE, OK, Recorded, World, backends, config, one, read_to_end, read_until, rule,
    settle,
};

#[test]
fn a_request_is_forwarded_and_its_answer_comes_back() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world = World::start(runtime, &one(&backend), Settings::default());
        let answer = world.exchange(GET_CLOSE);
        assert_eq!(
            answer, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
            "{runtime:?}"
        );
        let seen = backend.text();
        assert!(seen.starts_with("GET /a HTTP/1.1\r\nhost: x.example\r\n"), "{seen}");
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
        assert!(!seen.contains("close"), "hop-by-hop fields stay behind: {seen}");
        world.stop();
    }
}

#[test]
fn connections_are_kept_on_both_sides() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world = World::start(runtime, &one(&backend), Settings::default());
        let mut client = world.connect();
        for _ in 0..20 {
            client.write_all(GET).unwrap();
            read_until(&mut client, "hello");
        }
        assert_eq!(*backend.connections.lock().unwrap(), 1);
        world.stop();
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                for part in request.split("\r\n\r\n").filter(|part| !part.is_empty()) {
                    let path = part.split(' ').nth(1).unwrap().to_owned();
                    let length = path.len();
                    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{path}");
                    tap.write(text.as_bytes());
                }
            }
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        let mut client = world.connect();
        let mut all = Vec::new();
        for n in 0..5 {
            all.extend(format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes());
        }
        client.write_all(&all).unwrap();
        let text = read_until(&mut client, "/4");
        let at = |n: usize| text.find(&format!("\r\n\r\n/{n}")).unwrap();
        assert!((1..5).all(|n| at(n - 1) < at(n)), "{text}");
        world.stop();
    }
}

#[test]
fn a_body_travels_whole_in_either_framing() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                let body = request.split_once("\r\n\r\n").unwrap().1.to_owned();
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
                let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                tap.write((head + &chunk).as_bytes());
            }
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        let big = "abcdefgh".repeat(40_000);
        let length = big.len();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let answer = world.exchange((head + &big).as_bytes());
        assert!(unchunk(&answer).ends_with(&big), "{runtime:?} {}", answer.len());
        let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
                       Connection: close\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let answer = unchunk(&world.exchange(chunked.as_bytes()));
        assert!(answer.contains("abc") && answer.contains("de"), "{answer}");
        assert!(!answer.contains("x=y"), "chunk extensions are dropped: {answer}");
        world.stop();
    }
}

/// Removes the outermost chunked coding, leniently.
fn unchunk(text: &str) -> String {
    let Some((head, mut rest)) = text.split_once("\r\n\r\n") else { return text.to_owned() };
    if !head.contains("chunked") {
        return text.to_owned();
    }
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if size == 0 {
            break;
        }
        body.push_str(&tail[..size]);
        rest = &tail[size + 2..];
    }
    body
}

#[test]
fn every_way_to_have_no_answer_gives_its_status() {
    for runtime in backends() {
        let dead = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let closes = Recorded::start(|mut tap, _| {
            tap.request();
        });
        let garbage = Recorded::always("HELLO\r\n\r\n");
        let mut invalid = rule("/invalid", &[("b", 1)]);
        invalid.backends[0].target = proxy::ir::Target::Invalid("no such Service".into());
        let ir = config(
            vec![
                rule("/dead", &[("dead", 1)]),
                rule("/closes", &[("closes", 1)]),
                rule("/garbage", &[("garbage", 1)]),
                rule("/empty", &[("empty", 1)]),
                invalid,
            ],
            &[
                ("dead", vec![dead]),
                ("closes", vec![closes.address]),
                ("garbage", vec![garbage.address]),
                ("empty", vec![]),
            ],
        );
        let settings = Settings { debug_header: true, ..Settings::default() };
        let world = World::start(runtime, &ir, settings);
        for (path, status, reason) in [
            ("/dead", "502", "connect_failed"),
            ("/closes", "502", "upstream_reset"),
            ("/garbage", "502", "upstream_malformed"),
            ("/empty", "503", "no_endpoints"),
            ("/invalid", "500", "backend_invalid"),
            ("/nowhere", "404", "no_route"),
        ] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n");
            let answer = world.exchange(request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            assert!(
                answer.contains(&format!("x-ringway-reason: {reason}\r\n")),
                "{path}: {answer}"
            );
        }
        world.stop();
    }
}

#[test]
fn a_pooled_connection_that_died_is_replaced_without_the_client_noticing() {
    for runtime in backends() {
        // Answers one request a connection, promises to keep it, and closes.
        let backend = Recorded::start(|mut tap, _| {
            if tap.request().is_some() {
                tap.write(OK.as_bytes());
            }
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        let mut client = world.connect();
        for _ in 0..10 {
            client.write_all(GET).unwrap();
            read_until(&mut client, "hello");
        }
        world.stop();
    }
}

#[test]
fn a_truncated_body_never_looks_whole() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            let request = tap.request().unwrap_or_default();
            if request.contains("/length") {
                tap.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
            } else {
                tap.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n");
            }
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        for (path, version) in
            [("/length", "1.1"), ("/chunked", "1.1"), ("/chunked", "1.0"), ("/length", "1.0")]
        {
            let request = format!("GET {path} HTTP/{version}\r\nHost: x\r\n\r\n");
            let answer = world.exchange(request.as_bytes());
            let cut = answer.ends_with("<RST>") || answer.ends_with("half");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            assert!(cut && !body.contains("0\r\n\r\n"), "{path} {version}: {answer}");
            if version == "1.0" && path == "/chunked" {
                assert!(answer.ends_with("<RST>"), "a close alone would mean the end: {answer}");
            }
        }
        world.stop();
    }
}

#[test]
fn a_websocket_becomes_a_tunnel_and_half_closes() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            tap.request();
            tap.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Accept: abc\r\n\r\n",
            );
            while let Some(bytes) = tap.read() {
                tap.write(&bytes);
            }
        });
        let settings = Settings { access_log: true, ..Settings::default() };
        let mut world = World::start(runtime, &one(&backend), settings);
        let mut client = world.connect();
        client
            .write_all(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n",
            )
            .unwrap();
        let head = read_until(&mut client, "\r\n\r\n").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("upgrade: websocket"), "{head}");
        client.write_all(b"ping").unwrap();
        assert_eq!(read_until(&mut client, "ping"), "ping");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client), "");
        drop(client);
        let log = settle(&mut world, 1);
        assert!(log.contains("\"bytes_in\":4,\"bytes_out\":4,"), "{log}");
        world.stop();
    }
}

#[test]
fn an_interim_response_is_passed_on_before_the_body_is_sent() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            tap.read();
            tap.write(b"HTTP/1.1 100 Continue\r\n\r\n");
            tap.read();
            tap.write(OK.as_bytes());
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        let mut client = world.connect();
        client
            .write_all(
                b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
            )
            .unwrap();
        assert!(read_until(&mut client, "\r\n\r\n").starts_with("HTTP/1.1 100"));
        client.write_all(b"body").unwrap();
        read_until(&mut client, "hello");
        world.stop();
    }
}

#[test]
fn a_new_epoch_rules_the_next_request_of_an_open_connection() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = one(&backend);
        let mut world = World::start(runtime, &ir, Settings::default());
        let mut client = world.connect();
        client.write_all(GET).unwrap();
        read_until(&mut client, "hello");
        let mut edited = ir.clone();
        edited.ports[0].listeners[0].routes.clear();
        world.follow(&edited, Settings::default());
        client.write_all(GET).unwrap();
        let answer = read_until(&mut client, "Not Found\n");
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        world.stop();
    }
}

#[test]
fn a_drain_lets_what_is_there_finish_and_says_close() {
    for runtime in backends() {
        let backend = Recorded::after(Duration::from_millis(400), OK);
        let ir = one(&backend);
        let mut world = World::start(runtime, &ir, Settings::default());
        let mut client = world.connect();
        client.write_all(GET).unwrap();
        thread::sleep(Duration::from_millis(100));
        let settings = Settings { drain: Some(Duration::from_secs(20)), ..Settings::default() };
        world.follow(&ir, settings);
        read_until(&mut client, "hello");
        // A connection that comes during the drain is served, and told to close.
        let answer = world.exchange(GET);
        assert!(answer.contains("connection: close"), "{answer}");
        drop(client);
        world.wait_for(|report| report.phase == shards::report::Phase::Ended);
        world.shards.join();
    }
}
