//! A rule's retry policy through real shards: what is tried again, how often, and with which body.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use proxy::epoch::Settings;
use proxy::ir;
use support::{
    GET, GET_CLOSE, OK, Recorded, World, backends, config, read_to_end, read_until, rule, settle,
};

/// Enough for an answer on a busy machine.
const LIMIT: Duration = Duration::from_millis(400);
const BAD: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy";

const CLOSES: &str = "\r\nconnection: close\r\n\r\n";

fn retry(attempts: u32) -> ir::Retry {
    ir::Retry { codes: vec![500, 503], attempts, backoff: Duration::from_millis(1) }
}

fn policy(endpoints: &[SocketAddr], retry: ir::Retry, timeouts: ir::Timeouts) -> ir::Ir {
    let mut rule = rule("/", &[("b", 1)]);
    rule.retry = Some(retry);
    rule.timeouts = timeouts;
    config(vec![rule], &[("b", endpoints.to_vec())])
}

fn named() -> Settings {
    Settings { debug_header: true, access_log: true, ..Settings::default() }
}

/// Fails the first `failures` requests of all, in the given way, then answers.
fn flaky(
    failures: usize,
    fail: impl Fn(&mut support::Tap) -> bool + Send + Sync + 'static,
) -> Recorded {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    Recorded::start(move |mut tap, _| {
        while tap.request().is_some() {
            if seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < failures {
                if !fail(&mut tap) {
                    return;
                }
            } else {
                tap.write(OK.as_bytes());
            }
        }
    })
}

fn busy(tap: &mut support::Tap) -> bool {
    tap.write(BAD.as_bytes());
    true
}

fn hang_up(_: &mut support::Tap) -> bool {
    false
}

fn unreachable() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn listed_statuses_are_tried_again_as_often_as_the_rule_says() {
    for runtime in backends() {
        for (failures, attempts, status, tries) in
            [(2, 3, 200, 3), (3, 3, 200, 4), (9, 3, 503, 4), (1, 0, 503, 1), (1, 1, 200, 2)]
        {
            let backend = flaky(failures, busy);
            let ir = policy(&[backend.address], retry(attempts), ir::Timeouts::default());
            let mut world = World::start(runtime, &ir, named());
            let answer = world.exchange(GET_CLOSE);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{runtime:?} {answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{runtime:?} {answer}");
            assert!(status == 200 || answer.ends_with("busy"), "the last one, whole: {answer}");
            assert_eq!(backend.text().matches("GET /a").count(), tries, "{runtime:?}");
            assert_eq!(*backend.connections.lock().unwrap(), 1, "it is used again");
            let log = settle(&mut world, 1);
            assert!(log.contains(&format!("\"attempts\":{tries}")), "{runtime:?} {log}");
            let retries: u64 = world.seen.iter().map(|report| report.activity.retries).sum();
            assert_eq!(retries, tries as u64 - 1, "{runtime:?}");
            world.stop();
        }
    }
}

#[test]
fn other_statuses_are_not_tried_again() {
    for runtime in backends() {
        let backend = flaky(9, |tap| {
            tap.write(b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n");
            true
        });
        let ir = policy(&[backend.address], retry(3), ir::Timeouts::default());
        let world = World::start(runtime, &ir, named());
        assert!(world.exchange(GET_CLOSE).starts_with("HTTP/1.1 502 "), "{runtime:?}");
        assert_eq!(backend.text().matches("GET /a").count(), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_reset_before_any_answer_is_tried_again_whatever_the_method() {
    for runtime in backends() {
        for (failures, attempts, status, tries) in [(2, 2, 200, 3), (9, 2, 502, 3), (9, 0, 502, 1)]
        {
            let backend = flaky(failures, hang_up);
            let ir = policy(&[backend.address], retry(attempts), ir::Timeouts::default());
            let world = World::start(runtime, &ir, named());
            let post = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\
                         Connection: close\r\n\r\nbody";
            let answer = world.exchange(post);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{runtime:?} {answer}");
            assert_eq!(backend.text().matches("\r\n\r\nbody").count(), tries, "{runtime:?}");
            world.stop();
        }
    }
}

#[test]
fn an_endpoint_that_is_down_is_passed_over() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let endpoints = [unreachable(), backend.address];
        let ir = policy(&endpoints, retry(1), ir::Timeouts::default());
        let world = World::start(runtime, &ir, named());
        for _ in 0..20 {
            assert!(world.exchange(GET_CLOSE).ends_with("hello"), "{runtime:?}");
        }
        world.stop();
        let ir = policy(&[unreachable()], retry(5), ir::Timeouts::default());
        let mut world = World::start(runtime, &ir, named());
        let answer = world.exchange(GET_CLOSE);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{runtime:?} {answer}");
        let log = settle(&mut world, 1);
        assert!(log.contains("\"attempts\":6"), "{runtime:?} {log}");
        world.stop();
    }
}

#[test]
fn a_retry_goes_to_another_endpoint_if_there_is_one() {
    for runtime in backends() {
        let (bad, good) = (flaky(usize::MAX, busy), Recorded::always(OK));
        let ir = policy(&[bad.address, good.address], retry(1), ir::Timeouts::default());
        let world = World::start(runtime, &ir, named());
        for _ in 0..20 {
            assert!(world.exchange(GET_CLOSE).ends_with("hello"), "{runtime:?}");
        }
        assert!(!bad.text().is_empty(), "{runtime:?}: the bad one was asked");
        world.stop();
    }
}

#[test]
fn an_uploaded_body_is_replayed_byte_for_byte() {
    let text = "0123456789abcdef".repeat(1250);
    let framed = [
        ("Content-Length: 20000", text.clone()),
        ("Transfer-Encoding: chunked", format!("4e20\r\n{text}\r\n0\r\n\r\n")),
    ];
    for runtime in backends() {
        for (fail, (framing, body)) in [busy, hang_up].into_iter().zip(&framed) {
            let backend = flaky(2, fail);
            let ir = policy(&[backend.address], retry(2), ir::Timeouts::default());
            let world = World::start(runtime, &ir, named());
            let mut client = world.connect();
            let head = format!("POST /a HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(20));
            client.write_all(body.as_bytes()).unwrap();
            let answer = read_until(&mut client, "hello");
            assert!(!answer.contains("close"), "{runtime:?} {answer}");
            let seen = backend.text();
            let tries: Vec<_> = seen.split("POST /a").skip(1).collect();
            assert_eq!(tries.len(), 3, "{runtime:?}");
            assert!(tries[0].len() > 20_000, "{runtime:?}");
            assert!(tries.iter().all(|one| one == &tries[0]), "{runtime:?}");
            client.write_all(GET).unwrap();
            read_until(&mut client, "hello");
            world.stop();
        }
    }
}

/// A backend that fails as soon as it has some of a first request: it answers, or hangs up.
fn hasty(answers: bool) -> Recorded {
    Recorded::start(move |mut tap, number| {
        if number == 0 {
            tap.read();
            if answers {
                tap.write(BAD.replace("\r\n\r\n", CLOSES).as_bytes());
                while tap.read().is_some() {}
            }
            return;
        }
        while tap.request().is_some() {
            tap.write(OK.as_bytes());
        }
    })
}

#[test]
fn a_body_that_is_still_on_its_way_is_received_for_the_next_try() {
    for runtime in backends() {
        for answers in [true, false] {
            let backend = hasty(answers);
            let ir = policy(&[backend.address], retry(1), ir::Timeouts::default());
            let world = World::start(runtime, &ir, named());
            let mut client = world.connect();
            client.write_all(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n").unwrap();
            for piece in [b"abc", b"def", b"ghi"] {
                thread::sleep(Duration::from_millis(60));
                client.write_all(piece).unwrap();
            }
            let answer = read_until(&mut client, "hello");
            assert!(answer.starts_with("HTTP/1.1 200"), "{runtime:?} {answer}");
            assert!(backend.text().ends_with("\r\n\r\nabcdefghi"), "{runtime:?}");
            client.write_all(GET).unwrap();
            read_until(&mut client, "hello");
            world.stop();
        }
    }
}

#[test]
fn a_body_that_does_not_come_leaves_the_first_answer_standing() {
    for runtime in backends() {
        for (answers, expect) in [(true, ""), (false, ""), (true, "Expect: 100-continue\r\n")] {
            let backend = hasty(answers);
            let ir = policy(&[backend.address], retry(1), ir::Timeouts::default());
            let world = World::start(runtime, &ir, named());
            let head = format!("POST /a HTTP/1.1\r\nHost: x\r\n{expect}Content-Length: 9\r\n\r\n");
            let answer = world.exchange(head.as_bytes());
            let status = if answers { 503 } else { 502 };
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{runtime:?} {answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{runtime:?} {answer}");
            assert_eq!(backend.text().matches("POST /a").count(), 1, "{runtime:?}");
            world.stop();
        }
    }
}

#[test]
fn a_body_above_the_bound_is_sent_once_and_the_answer_stands() {
    for runtime in backends() {
        for (fail, status) in [(busy as fn(&mut support::Tap) -> bool, 503), (hang_up, 502)] {
            let backend = flaky(1, fail);
            let ir = policy(&[backend.address], retry(3), ir::Timeouts::default());
            let world = World::start(runtime, &ir, named());
            let mut request = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\
                                Connection: close\r\n\r\n"
                .to_vec();
            request.resize(request.len() + 70_000, b'x');
            let answer = world.exchange(&request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{runtime:?} {answer}");
            assert_eq!(backend.text().matches("POST /a").count(), 1, "{runtime:?}");
            world.stop();
        }
    }
}

#[test]
fn a_try_that_takes_too_long_is_tried_again_within_the_time_of_the_request() {
    for runtime in backends() {
        let slow = |tap: &mut support::Tap| {
            thread::sleep(LIMIT * 3);
            tap.write(BAD.as_bytes());
            false
        };
        let backend = flaky(2, slow);
        let each = ir::Timeouts { request: None, backend_request: Some(LIMIT) };
        let world = World::start(runtime, &policy(&[backend.address], retry(2), each), named());
        assert!(world.exchange(GET_CLOSE).ends_with("hello"), "{runtime:?}");
        world.stop();

        let backend = flaky(9, slow);
        let world = World::start(runtime, &policy(&[backend.address], retry(2), each), named());
        let answer = world.exchange(GET_CLOSE);
        assert!(answer.contains("x-ringway-reason: backend_timeout\r\n"), "{runtime:?} {answer}");
        assert_eq!(backend.text().matches("GET /a").count(), 3, "{runtime:?}");
        world.stop();

        let backend = flaky(9, slow);
        let all = ir::Timeouts { request: Some(LIMIT * 2), backend_request: Some(LIMIT) };
        let world = World::start(runtime, &policy(&[backend.address], retry(9), all), named());
        let answer = world.exchange(GET_CLOSE);
        assert!(answer.contains("x-ringway-reason: request_timeout\r\n"), "{runtime:?} {answer}");
        assert!(backend.text().matches("GET /a").count() < 5, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_retry_that_would_come_too_late_is_left_out_and_the_answer_stands() {
    for runtime in backends() {
        let backend = flaky(9, busy);
        let retry = ir::Retry { backoff: Duration::from_secs(100), ..retry(3) };
        let timeouts =
            ir::Timeouts { request: Some(Duration::from_secs(9)), backend_request: None };
        let world = World::start(runtime, &policy(&[backend.address], retry, timeouts), named());
        let mut client = world.connect();
        for _ in 0..3 {
            client.write_all(GET).unwrap();
            assert!(read_until(&mut client, "busy").starts_with("HTTP/1.1 503"), "{runtime:?}");
        }
        world.stop();
    }
}

#[test]
fn nothing_is_tried_again_once_the_client_has_some_of_the_answer() {
    for runtime in backends() {
        let backend = flaky(1, |tap| {
            tap.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
            false
        });
        let ir = policy(&[backend.address], retry(3), ir::Timeouts::default());
        let world = World::start(runtime, &ir, named());
        let answer = world.exchange(GET);
        assert!(answer.contains("half") && answer.ends_with("<RST>"), "{runtime:?} {answer}");
        assert_eq!(backend.text().matches("GET /a").count(), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_dropped_answer_that_never_ends_costs_its_connection_and_nothing_else() {
    for runtime in backends() {
        let backend = flaky(1, |tap| {
            tap.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 1000000\r\n\r\nnever");
            true
        });
        let ir = policy(&[backend.address], retry(1), ir::Timeouts::default());
        let world = World::start(runtime, &ir, named());
        assert!(world.exchange(GET_CLOSE).ends_with("hello"), "{runtime:?}");
        assert_eq!(*backend.connections.lock().unwrap(), 2, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_client_that_leaves_during_the_wait_ends_the_tries() {
    for runtime in backends() {
        let backend = flaky(usize::MAX, busy);
        let retry = ir::Retry { backoff: Duration::from_millis(300), ..retry(50) };
        let ir = policy(&[backend.address], retry, ir::Timeouts::default());
        let mut world = World::start(runtime, &ir, named());
        let mut client = world.connect();
        client.write_all(GET).unwrap();
        thread::sleep(Duration::from_millis(50));
        drop(client);
        let log = settle(&mut world, 1);
        assert!(log.contains("client_gone"), "{runtime:?} {log}");
        let mut other = world.connect();
        other.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut other), "", "the shard lives");
        world.stop();
    }
}
