//! Peers that are slow, rude or broken, against real shards: what each does to itself and to nobody
//! else, and that nothing is left behind.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use proxy::epoch::Settings;
use support::{Recorded, World, backends, config, rule};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x.example\r\n\r\n";

fn one(backend: &Recorded) -> proxy::ir::Ir {
    config(vec![rule("/", &[("b", 1)])], &[("b", vec![backend.address])])
}

/// Settings whose rate windows are a second long.
fn impatient() -> Settings {
    let mut settings = Settings { access_log: true, ..Settings::default() };
    settings.timeouts.response_stall = Duration::from_secs(1);
    settings.timeouts.body_rate_window = Duration::from_secs(1);
    settings
}

/// Waits until nobody is connected, and returns the access log so far.
fn settle(world: &mut World) -> String {
    let last = world.wait_for(|report| report.connections == 0);
    world.seen.push(last);
    let lines = world.seen.iter().flat_map(|report| report.activity.access_log.iter().copied());
    String::from_utf8(lines.collect()).unwrap()
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
            let log = settle(&mut world);
            assert!(interim || log.contains("client_too_slow"), "{runtime:?} {log}");
            drop(client);
            world.stop();
        }
    }
}
