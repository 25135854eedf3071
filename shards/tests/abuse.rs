//! Peers that are slow, rude or broken, against real shards: what each does to itself and to nobody
//! else, and that nothing is left behind.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use proxy::epoch::Settings;
use support::{
    GET, GET_CLOSE, OK, Recorded, World, backends, config, one, read_to_end, read_until, rule,
    settle,
};

const POST_CLOSE: &[u8] =
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
/// Settings whose rate windows are a second long.
fn impatient() -> Settings {
    let mut settings = Settings { access_log: true, ..Settings::default() };
    settings.timeouts.response_stall = Duration::from_secs(1);
    settings.timeouts.body_rate_window = Duration::from_secs(1);
    settings
}

#[test]
fn a_backend_that_pauses_longer_than_the_stall_limit_is_not_the_clients_fault() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            tap.request();
            tap.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            for _ in 0..5 {
                thread::sleep(Duration::from_millis(900));
                tap.write(b"1\r\nx\r\n");
            }
            tap.write(b"0\r\n\r\n");
        });
        let world = World::start(runtime, &one(&backend), impatient());
        let answer = world.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(answer.ends_with("0\r\n\r\n"), "{runtime:?} {answer}");
        assert_eq!(answer.matches("1\r\nx\r\n").count(), 5, "{runtime:?} {answer}");
        world.stop();
    }
}

#[test]
fn a_client_that_stops_reading_is_cut_and_leaves_nothing_behind() {
    for runtime in backends() {
        for interim in [false, true] {
            let backend = Recorded::start(move |mut tap, _| {
                tap.request();
                if interim {
                    let filler = "x".repeat(60_000);
                    let hint = format!("HTTP/1.1 103 Early Hints\r\nx-filler: {filler}\r\n\r\n");
                    for _ in 0..100 {
                        tap.write(hint.as_bytes());
                    }
                }
                tap.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
                let block = vec![b'x'; 1_000_000];
                for _ in 0..100 {
                    tap.write(&block);
                }
            });
            let mut world = World::start(runtime, &one(&backend), impatient());
            let mut client = world.connect();
            client.write_all(GET).unwrap();
            client.read_exact(&mut [0; 16]).unwrap();
            let log = settle(&mut world, 1);
            assert!(interim || log.contains("client_too_slow"), "{runtime:?} {log}");
            drop(client);
            world.stop();
        }
    }
}

#[test]
fn a_post_is_never_sent_twice() {
    for runtime in backends() {
        // The second request of a connection is read, and never answered.
        let backend = Recorded::start(|mut tap, _| {
            tap.request();
            tap.write(OK.as_bytes());
            tap.request();
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        assert!(world.exchange(POST_CLOSE).contains("hello"));
        let answer = world.exchange(POST_CLOSE);
        assert!(answer.starts_with("HTTP/1.1 502"), "{runtime:?} {answer}");
        assert_eq!(backend.text().matches("POST /").count(), 2, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_body_that_only_a_close_ends_is_not_ended_by_a_reset() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            tap.read(); // The rest of the request stays unread, so that the close is a reset.
            tap.write(b"HTTP/1.1 200 OK\r\n\r\nhalf");
            thread::sleep(Duration::from_millis(100));
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        let mut request = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n".to_vec();
        request.resize(request.len() + 900_000, b'x');
        let answer = world.exchange(&request);
        assert!(answer.contains("half") && !answer.contains("0\r\n\r\n"), "{runtime:?} {answer}");
        world.stop();
    }
}

#[test]
fn bad_uploads_are_cut() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                if request.starts_with("GET") {
                    tap.write(OK.as_bytes());
                }
            }
        });
        let mut world = World::start(runtime, &one(&backend), impatient());
        let head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        for _ in 0..3 {
            // A drip below the least rate; each byte alone must not begin a new window.
            let mut slow = world.connect();
            slow.write_all(head).unwrap();
            for _ in 0..40 {
                if slow.write_all(b"1\r\na\r\n").is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(100));
            }
            assert!(slow.write_all(b"1\r\na\r\n").is_err(), "{runtime:?}: the drip goes on");
            let mut bad = head.to_vec();
            bad.extend_from_slice(b"nonsense\r\n");
            let answer = world.exchange(&bad);
            assert!(answer.starts_with("HTTP/1.1 400"), "{runtime:?} {answer}");
        }
        let log = settle(&mut world, 6);
        assert_eq!(log.matches("body_too_slow").count(), 3, "{runtime:?} {log}");
        assert_eq!(log.matches("malformed_request").count(), 3, "{runtime:?} {log}");
        world.stop();
    }
}

#[test]
fn a_tunnel_whose_client_is_reset_ends_on_both_sides() {
    for runtime in backends() {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let backend = Recorded::start(move |mut tap, _| {
            tap.request();
            tap.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\n\r\nhi",
            );
            while tap.read().is_some() {}
            seen.store(true, Ordering::SeqCst);
            // A backend that does not mind a FIN: it stays until it is told more.
            while tap.stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let mut world = World::start(runtime, &one(&backend), impatient());
        let mut client = world.connect();
        client
            .write_all(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Key: k\r\n\r\n",
            )
            .unwrap();
        read_until(&mut client, "hi");
        drop(client);
        settle(&mut world, 1);
        assert!(ended.load(Ordering::SeqCst), "{runtime:?}");
        world.stop();
    }
}

#[test]
fn bytes_behind_an_answer_never_become_another_answer() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, number| {
            while tap.request().is_some() {
                tap.write(OK.as_bytes());
                if number == 0 {
                    thread::sleep(Duration::from_millis(2));
                    tap.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison");
                }
            }
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        assert!(world.exchange(GET_CLOSE).ends_with("hello"));
        thread::sleep(Duration::from_millis(50));
        for _ in 0..5 {
            let answer = world.exchange(GET_CLOSE);
            assert!(answer.ends_with("hello"), "{runtime:?} {answer}");
        }
        world.stop();
    }
}

#[test]
fn an_answer_that_overtakes_the_body_says_close_and_arrives_whole() {
    for runtime in backends() {
        for (path, status) in [("/early", "413"), ("/reset", "502")] {
            let backend = Recorded::start(|mut tap, _| {
                let head = tap.read().unwrap_or_default();
                if head.windows(6).any(|window| window == b"/early") {
                    tap.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig");
                    thread::sleep(Duration::from_millis(50));
                }
            });
            let mut world = World::start(runtime, &one(&backend), impatient());
            let mut client = world.connect();
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            client.write_all(&[b'x'; 70_000]).unwrap();
            thread::sleep(Duration::from_millis(300));
            // Still in the middle of its body; what looks like a request belongs to it.
            client.write_all(GET).unwrap();
            client.write_all(&[b'x'; 70_000]).unwrap();
            let answer = read_to_end(&mut client);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{runtime:?} {answer}");
            assert!(answer.contains("connection: close\r\n"), "{runtime:?} {answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{runtime:?} {answer}");
            assert!(!answer.contains("<RST>"), "{runtime:?} {answer}");
            drop(client);
            settle(&mut world, 1);
            world.stop();
        }
    }
}

#[test]
fn a_route_that_sets_a_forwarded_field_replaces_ours() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let mut ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![backend.address])]);
        let mut set = rule("/", &[("b", 1)]);
        set.filters = vec![proxy::ir::Filter::RequestHeaderModifier(proxy::ir::HeaderModifier {
            set: vec![("x-forwarded-proto".into(), "https".into())],
            add: vec![("x-split".into(), "a\r\nx-forged: b".into())],
            remove: vec!["x-forwarded-host".into()],
        })];
        let route = proxy::ir::Route {
            name: "default/route".into(),
            created: 0,
            grpc: false,
            rules: vec![set],
        };
        ir.ports[0].listeners[0].routes[0].route = Arc::new(route);
        let world = World::start(runtime, &ir, Settings::default());
        world.exchange(GET_CLOSE);
        let seen = backend.text();
        assert!(seen.contains("x-forwarded-proto: https\r\n"), "{seen}");
        assert_eq!(seen.matches("x-forwarded-proto").count(), 1, "{seen}");
        assert!(!seen.contains("x-forwarded-host") && !seen.contains("x-forged"), "{seen}");
        world.stop();
    }
}

#[test]
fn a_drain_that_is_called_off_lets_the_shard_serve_on() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = one(&backend);
        let mut world = World::start(runtime, &ir, Settings::default());
        let mut client = world.connect();
        client.write_all(GET).unwrap();
        read_until(&mut client, "hello");
        for drain in [Some(Duration::from_secs(60)), None] {
            world.follow(&ir, Settings { drain, ..Settings::default() });
        }
        thread::sleep(Duration::from_millis(500));
        client.write_all(GET).unwrap();
        assert!(!read_until(&mut client, "hello").contains("close"));
        world.stop();
    }
}

#[test]
fn clients_that_leave_in_any_phase_and_rude_backends_leave_nothing_behind() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
                match target.as_str() {
                    "/interim" => tap.write(&b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000)),
                    "/101" => tap.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
                    _ => tap.write(OK.as_bytes()),
                }
            }
        });
        let mut world = World::start(runtime, &one(&backend), impatient());
        for start in ["", "GET / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"]
        {
            let mut client = world.connect();
            client.write_all(start.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(20));
            drop(client);
        }
        let mut unread = world.connect();
        unread.write_all(GET).unwrap();
        thread::sleep(Duration::from_millis(50));
        drop(unread); // With the answer unread, so this is a reset.
        let mut half = world.connect();
        half.write_all(GET).unwrap();
        half.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(read_to_end(&mut half).ends_with("hello"), "{runtime:?}");
        for path in ["/interim", "/101"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = world.exchange(request.as_bytes());
            assert!(answer.contains("HTTP/1.1 502 "), "{runtime:?} {path} {answer}");
            assert!(answer.matches("HTTP/1.1 103").count() <= 100, "{runtime:?}");
        }
        drop(half);
        settle(&mut world, 5);
        world.stop();
    }
}
