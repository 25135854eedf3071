//! How long a peer may take to acknowledge our SETTINGS, in both roles, by bytes on real sockets.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http2_kit;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use http2_kit::raw::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, backend, frame,
    read_frame, read_kind, request,
};
use proxy::epoch::Settings;
use proxy::ir::BackendProtocol;
use support::{OK, Recorded, World, backends, config, one, rule};

const SETTINGS_TIMEOUT: u32 = 4;

/// Our SETTINGS must be acknowledged within `limit`.
fn within(limit: Duration) -> Settings {
    let mut settings = Settings::default();
    settings.timeouts.h2_settings = limit;
    settings
}

/// A client that has sent its SETTINGS and nothing else.
fn begin(world: &World) -> TcpStream {
    let mut stream = world.connect();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).unwrap();
    stream
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request(b"GET", b"/", &[]))
}

#[test]
fn rfc9113_6_5_3_a_client_that_acknowledges_nothing_is_told_so_whatever_else_it_sends() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let mut world = World::start(runtime, &one(&backend), within(Duration::from_millis(500)));
        let mut silent = begin(&world);
        let mut busy = begin(&world);
        let mut writer = busy.try_clone().unwrap();
        let busy_too = thread::spawn(move || {
            // Below the least rate, or it might be a slow link.
            for number in 0..40 {
                let request = get(2 * number + 1);
                let ping = frame(PING, 0, 0, &[0; 8]);
                if writer.write_all(&[request, ping].concat()).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(400));
            }
        });
        for stream in [&mut silent, &mut busy] {
            let told = read_kind(stream, GOAWAY).expect("it is told why");
            assert_eq!(told.number(4), SETTINGS_TIMEOUT, "{runtime:?}");
            let after = std::iter::from_fn(|| read_frame(stream)).count();
            assert_eq!(after, 0, "{runtime:?}");
        }
        drop((silent, busy));
        busy_too.join().unwrap();
        while world.seen.iter().map(|report| report.activity.http2.broken).sum::<u64>() < 2 {
            let next = world.wait_for(|report| report.activity.http2.broken > 0);
            world.seen.push(next);
        }
        world.stop();
    }
}

#[test]
fn a_client_that_has_acknowledged_is_left_alone() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world = World::start(runtime, &one(&backend), within(Duration::from_millis(200)));
        let mut stream = begin(&world);
        stream.write_all(&frame(SETTINGS, ACK, 0, b"")).unwrap();
        thread::sleep(Duration::from_millis(1000));
        stream.write_all(&get(1)).unwrap();
        let answer = read_kind(&mut stream, DATA).expect("it is answered");
        assert_eq!(answer.payload, b"hello", "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_slow_client_is_given_the_time_that_its_own_bytes_take_and_no_more() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world = World::start(runtime, &one(&backend), within(Duration::from_millis(400)));
        let post = frame(HEADERS, END_HEADERS, 1, &request(b"POST", b"/", &[]));
        // Its acknowledgement is behind the body that it sent first.
        let mut honest = begin(&world);
        honest.write_all(&post).unwrap();
        for _ in 0..15 {
            honest.write_all(&frame(DATA, 0, 1, &[b'x'; 60])).unwrap();
            thread::sleep(Duration::from_millis(100));
        }
        let rest = [frame(SETTINGS, ACK, 0, b""), frame(DATA, END_STREAM, 1, b"x")].concat();
        honest.write_all(&rest).unwrap();
        let answer = read_kind(&mut honest, DATA).expect("it is answered");
        assert_eq!(answer.payload, b"hello", "{runtime:?}");
        // This one has read our SETTINGS: it could not have sent as much before.
        let mut liar = begin(&world);
        liar.write_all(&post).unwrap();
        for _ in 0..5 {
            liar.write_all(&frame(DATA, 0, 1, &[b'x'; 13_000])).unwrap();
        }
        let mut writer = liar.try_clone().unwrap();
        let drip = thread::spawn(move || {
            while writer.write_all(&frame(DATA, 0, 1, &[b'x'; 60])).is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let told = read_kind(&mut liar, GOAWAY).expect("it is told why");
        assert_eq!(told.number(4), SETTINGS_TIMEOUT, "{runtime:?}");
        drop(liar);
        drip.join().unwrap();
        world.stop();
    }
}

#[test]
fn rfc9113_6_5_3_a_backend_that_acknowledges_nothing_is_told_so_and_its_requests_are_answered() {
    for runtime in backends() {
        let (codes, seen) = mpsc::channel();
        let codes = Mutex::new(codes);
        let address = backend(move |mut stream, _| {
            stream.write_all(&frame(SETTINGS, 0, 0, b"")).unwrap();
            let told = read_kind(&mut stream, GOAWAY);
            codes.lock().unwrap().send(told.map(|told| told.number(4))).unwrap();
        });
        let mut ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![address])]);
        for backend in ir.backends.values_mut() {
            Arc::make_mut(backend).protocol = BackendProtocol::Http2;
        }
        let world = World::start(runtime, &ir, within(Duration::from_millis(300)));
        let answer = world.exchange(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        assert!(answer.starts_with("HTTP/1.1 502 "), "{runtime:?} {answer}");
        let code = seen.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(code, Some(SETTINGS_TIMEOUT), "{runtime:?}");
        world.stop();
    }
}
