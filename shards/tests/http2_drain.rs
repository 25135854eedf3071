//! A drain as clients of HTTP/2 see it: told, served, and closed as soon as nothing is left to be done.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http2_kit;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use http2_kit::raw::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, frame,
    read_frame, read_kind, request,
};
use proxy::epoch::Settings;
use support::{OK, Recorded, World, backends, one};

const STREAMS_ALL: u32 = 0x7fff_ffff;

/// Longer than any test may take.
fn draining() -> Settings {
    Settings { drain: Some(Duration::from_secs(60)), ..Settings::default() }
}

/// A client whose settings are settled.
fn begin(world: &World) -> TcpStream {
    let mut stream = world.connect();
    let both = [PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(SETTINGS, ACK, 0, b"")].concat();
    stream.write_all(&both).unwrap();
    while read_kind(&mut stream, SETTINGS).expect("settings").flags & ACK == 0 {}
    stream
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request(b"GET", b"/", &[]))
}

fn answer(stream: &mut TcpStream) {
    assert_eq!(read_kind(stream, DATA).expect("an answer").payload, b"hello");
}

/// Reads the announcement of the end, answers it, and reads up to the end: the last stream that is taken.
fn leave(stream: &mut TcpStream) -> u32 {
    let ping = loop {
        match read_frame(stream).expect("the announcement") {
            Frame { kind: GOAWAY, payload, .. } => {
                assert_eq!(payload[..4], STREAMS_ALL.to_be_bytes());
            }
            Frame { kind: PING, payload, .. } => break payload,
            _ => {}
        }
    };
    stream.write_all(&frame(PING, ACK, 0, &ping)).unwrap();
    let told = read_kind(stream, GOAWAY).expect("the end");
    assert_eq!(told.number(4), 0, "NO_ERROR");
    assert_eq!(support::read_some(stream, &mut [0]).unwrap(), 0, "it is closed");
    told.number(0)
}

#[test]
fn a_connection_at_rest_is_closed_once_its_client_knows() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = one(&backend);
        let mut world = World::start(runtime, &ir, Settings::default());
        let mut fresh = begin(&world);
        let mut used = begin(&world);
        used.write_all(&get(1)).unwrap();
        answer(&mut used);
        world.follow(&ir, draining());
        assert_eq!(leave(&mut fresh), 0, "{runtime:?}");
        assert_eq!(leave(&mut used), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_connection_that_comes_during_a_drain_is_served_and_told() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = one(&backend);
        let mut world = World::start(runtime, &ir, Settings::default());
        let waiting = begin(&world); // Keeps the drain from its end.
        world.follow(&ir, draining());
        let mut late = begin(&world);
        late.write_all(&get(1)).unwrap();
        let mut ping = None;
        let mut is_answered = false;
        while ping.is_none() || !is_answered {
            match read_frame(&mut late).expect("more") {
                Frame { kind: PING, payload, .. } => ping = Some(payload),
                Frame { kind: DATA, payload, .. } => is_answered = payload == b"hello",
                Frame { kind: GOAWAY, payload, .. } => {
                    assert_eq!(payload[..4], STREAMS_ALL.to_be_bytes(), "{runtime:?}");
                }
                _ => {}
            }
        }
        // What was on its way is still taken.
        let rest = [get(3), frame(PING, ACK, 0, &ping.unwrap())].concat();
        late.write_all(&rest).unwrap();
        let mut last = None;
        is_answered = false;
        while last.is_none() || !is_answered {
            let found = read_frame(&mut late).expect("more");
            match found.kind {
                DATA => is_answered = found.payload == b"hello",
                GOAWAY => last = Some(found.number(0)),
                _ => {}
            }
        }
        assert_eq!(
            support::read_some(&mut late, &mut [0]).unwrap(),
            0,
            "{runtime:?}: it is closed"
        );
        assert_eq!((is_answered, last), (true, Some(3)), "{runtime:?}");
        drop(waiting);
        world.stop();
    }
}
