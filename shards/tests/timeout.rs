//! A rule's time limits, and clients that leave while they wait, through real shards.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use proxy::epoch::Settings;
use proxy::ir;
use support::{
    GET, GET_CLOSE, OK, Recorded, World, backends, config, one, read_to_end, read_until, rule,
    settle,
};

/// Where nothing has to happen within it.
const LIMIT: Duration = Duration::from_millis(150);
/// Where something has to, on however busy a machine.
const AMPLE: Duration = Duration::from_millis(700);
/// Far longer than any test may take.
const FOREVER: Duration = Duration::from_secs(60);

/// Everything goes to `backend` within these limits, but `/fast`, which has none.
fn limited(backend: &Recorded, request: Option<Duration>, each: Option<Duration>) -> ir::Ir {
    let mut limited = rule("/", &[("b", 1)]);
    limited.timeouts = ir::Timeouts { request, backend_request: each };
    config(vec![limited, rule("/fast", &[("b", 1)])], &[("b", vec![backend.address])])
}

fn named() -> Settings {
    Settings { debug_header: true, access_log: true, ..Settings::default() }
}

/// A backend that reads requests and answers those to `/fast` only.
fn silent() -> Recorded {
    Recorded::start(|mut tap, _| {
        while let Some(request) = tap.request() {
            if request.contains("/fast ") {
                tap.write(OK.as_bytes());
            }
        }
    })
}

#[test]
fn a_silent_backend_ends_with_504_at_either_limit_and_the_client_stays_connected() {
    for runtime in backends() {
        for (request, each, reason) in [
            (Some(LIMIT), None, "request_timeout"),
            (None, Some(LIMIT), "backend_timeout"),
            (Some(FOREVER), Some(LIMIT), "backend_timeout"),
            (Some(LIMIT), Some(LIMIT), "request_timeout"),
        ] {
            let backend = silent();
            let world = World::start(runtime, &limited(&backend, request, each), named());
            let mut client = world.connect();
            for _ in 0..2 {
                for head in ["GET /slow HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), {
                    "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_owned()
                }] {
                    client.write_all(head.as_bytes()).unwrap();
                    let answer = read_until(&mut client, "Gateway Timeout\n");
                    assert!(answer.starts_with("HTTP/1.1 504 "), "{runtime:?} {answer}");
                    let named = format!("x-ringway-reason: {reason}\r\n");
                    assert!(answer.contains(&named), "{runtime:?} {answer}");
                    assert!(!answer.contains("close"), "{runtime:?} {answer}");
                }
                client.write_all(b"GET /fast HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                read_until(&mut client, "hello");
            }
            world.stop();
        }
    }
}

#[test]
fn a_late_answer_is_nobodys_answer() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                if request.contains("/late ") {
                    thread::sleep(LIMIT * 3);
                    tap.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate");
                } else {
                    tap.write(OK.as_bytes());
                }
            }
        });
        let world = World::start(runtime, &limited(&backend, None, Some(LIMIT)), named());
        let mut client = world.connect();
        for _ in 0..3 {
            client.write_all(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            read_until(&mut client, "Gateway Timeout\n");
            client.write_all(b"GET /fast HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let answer = read_until(&mut client, "hello");
            assert!(!answer.contains("late"), "{runtime:?} {answer}");
        }
        world.stop();
    }
}

#[test]
fn a_limit_that_passes_during_the_upload_is_told_while_the_body_still_comes() {
    for runtime in backends() {
        for (request, each) in [(Some(LIMIT), None), (None, Some(LIMIT))] {
            let backend = silent();
            let mut world = World::start(runtime, &limited(&backend, request, each), named());
            let mut client = world.connect();
            client
                .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nsome of it")
                .unwrap();
            let answer = read_to_end(&mut client);
            assert!(answer.starts_with("HTTP/1.1 504 "), "{runtime:?} {answer}");
            assert!(answer.contains("connection: close\r\n"), "{runtime:?} {answer}");
            assert!(!answer.contains("<RST>"), "{runtime:?} {answer}");
            drop(client);
            settle(&mut world, 1);
            world.stop();
        }
    }
}

#[test]
fn a_limit_that_passes_during_the_download_ends_the_message_incomplete() {
    let framings = [
        ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", "1.1"),
        ("content-length: 10\r\n\r\nhalf", "1.1"),
        ("\r\nhalf", "1.0"),
    ];
    for runtime in backends() {
        for (request, each, reason) in
            [(Some(AMPLE), None, "request_timeout"), (None, Some(AMPLE), "backend_timeout")]
        {
            let backend = Recorded::start(move |mut tap, _| {
                let path = tap.request().unwrap_or_default();
                let framing = framings.iter().enumerate();
                let asked = |n: usize| path.starts_with(&format!("GET /{n} "));
                for (_, (head, _)) in framing.filter(|(n, _)| asked(*n)) {
                    tap.write(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
                }
                tap.read(); // Until the gateway closes.
            });
            let mut world = World::start(runtime, &limited(&backend, request, each), named());
            thread::scope(|scope| {
                for (n, (_, version)) in framings.iter().enumerate() {
                    let (world, request) =
                        (world.address, format!("GET /{n} HTTP/{version}\r\nHost: x\r\n\r\n"));
                    scope.spawn(move || {
                        let mut client = std::net::TcpStream::connect(world).unwrap();
                        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                        client.write_all(request.as_bytes()).unwrap();
                        let answer = read_to_end(&mut client);
                        assert!(answer.contains("half"), "{runtime:?} {answer}");
                        assert!(answer.ends_with("<RST>"), "{runtime:?} {answer}");
                        assert!(!answer.contains("0\r\n\r\n<"), "{runtime:?} {answer}");
                    });
                }
            });
            let log = settle(&mut world, framings.len());
            assert_eq!(log.matches(reason).count(), framings.len(), "{runtime:?} {log}");
            world.stop();
        }
    }
}

#[test]
fn a_client_that_stops_reading_is_cut_at_the_limit_of_its_request() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            tap.request();
            tap.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
            let block = vec![b'x'; 1_000_000];
            for _ in 0..100 {
                tap.write(&block);
            }
        });
        let ir = limited(&backend, Some(AMPLE), None);
        let mut world = World::start(runtime, &ir, named());
        let mut client = world.connect();
        client.write_all(GET).unwrap();
        client.read_exact(&mut [0; 16]).unwrap();
        let log = settle(&mut world, 1);
        assert!(log.contains("request_timeout"), "{runtime:?} {log}");
        drop(client);
        world.stop();
    }
}

#[test]
fn a_response_within_its_limits_is_untouched_and_both_connections_are_kept() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = limited(&backend, Some(FOREVER), Some(FOREVER));
        let world = World::start(runtime, &ir, named());
        let mut client = world.connect();
        for _ in 0..20 {
            client.write_all(GET).unwrap();
            read_until(&mut client, "hello");
            let post = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                         3\r\nabc\r\n0\r\n\r\n";
            client.write_all(post).unwrap();
            read_until(&mut client, "hello");
        }
        assert_eq!(*backend.connections.lock().unwrap(), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_tunnel_outlives_the_limits_of_its_request() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            tap.request();
            tap.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\n\r\n",
            );
            while let Some(bytes) = tap.read() {
                tap.write(&bytes);
            }
        });
        let ir = limited(&backend, Some(AMPLE), Some(AMPLE));
        let world = World::start(runtime, &ir, named());
        let mut client = world.connect();
        client
            .write_all(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n",
            )
            .unwrap();
        read_until(&mut client, "\r\n\r\n");
        thread::sleep(AMPLE * 2);
        client.write_all(b"still here").unwrap();
        assert_eq!(read_until(&mut client, "here"), "still here");
        world.stop();
    }
}

/// Three clients that leave while they wait: reset, closed, and closed behind a request.
#[test]
fn a_client_that_leaves_while_it_waits_frees_the_backend() {
    for runtime in backends() {
        for policy in [false, true] {
            let freed = Arc::new(AtomicUsize::new(0));
            let seen = Arc::clone(&freed);
            let backend = Recorded::start(move |mut tap, _| {
                tap.request();
                while tap.read().is_some() {}
                seen.fetch_add(1, Ordering::SeqCst);
            });
            let ir = if policy { limited(&backend, Some(FOREVER), None) } else { one(&backend) };
            let mut world = World::start(runtime, &ir, named());
            let body = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                         3\r\nabc\r\n0\r\n\r\n";
            for request in [GET.to_vec(), [GET, GET].concat(), body.to_vec()] {
                let mut client = world.connect();
                client.write_all(&request).unwrap();
                thread::sleep(Duration::from_millis(30));
                drop(client);
            }
            let log = settle(&mut world, 3);
            assert_eq!(log.matches("client_gone").count(), 3, "{runtime:?} {log}");
            while freed.load(Ordering::SeqCst) < 3 {
                thread::sleep(Duration::from_millis(5));
            }
            world.stop();
        }
    }
}

#[test]
fn a_client_that_stays_gets_even_a_very_late_answer() {
    for runtime in backends() {
        let backend = Recorded::after(Duration::from_millis(1500), OK);
        let world = World::start(runtime, &one(&backend), named());
        assert!(world.exchange(GET_CLOSE).ends_with("hello"), "{runtime:?}");
        let mut client = world.connect();
        client.write_all(&[GET, GET].concat()).unwrap();
        read_until(&mut client, "hello");
        read_until(&mut client, "hello");
        world.stop();
    }
}
