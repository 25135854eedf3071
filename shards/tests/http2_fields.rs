//! What a client of HTTP/2 asks of its fields is kept on the way to a backend of HTTP/2.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http2_kit;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use http2_kit::raw::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, backend, frame, literal,
    read_frame, read_kind, settle,
};
use proxy::epoch::Settings;
use proxy::h2::hpack::{Decoder, Field};
use proxy::ir::BackendProtocol;
use support::{World, backends, config, rule};

/// A field that the sender wants in no table: RFC 7541 section 6.2.3.
fn hidden(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = literal(name, value);
    field[0] = 0x10;
    field
}

/// The names of a block's fields that are wanted in no table.
fn hidden_names(decoder: &mut Decoder, block: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let decoded = decoder.decode(block, |field: Field<'_>| {
        if field.never_indexed {
            names.push(String::from_utf8(field.name.to_vec()).unwrap());
        }
        Ok::<_, ()>(())
    });
    assert!(decoded.is_ok());
    names
}

#[test]
fn rfc7541_6_2_3_what_may_stand_in_no_table_stands_in_none_of_ours() {
    for runtime in backends() {
        let (names, seen) = mpsc::channel();
        let names = Mutex::new(names);
        let address = backend(move |mut stream: TcpStream, _| {
            settle(&mut stream);
            let mut decoder = Decoder::new(4096);
            while let Some(found) = read_frame(&mut stream) {
                if found.kind == HEADERS {
                    let hidden = hidden_names(&mut decoder, &found.payload);
                    names.lock().unwrap().send(hidden).unwrap();
                }
                if found.kind <= HEADERS && found.flags & END_STREAM != 0 {
                    let fields = [literal(b":status", b"200"), hidden(b"x-c", b"3")].concat();
                    let trailers = [hidden(b"x-d", b"4"), literal(b"x-e", b"5")].concat();
                    let answer = [
                        frame(HEADERS, END_HEADERS, found.stream, &fields),
                        frame(DATA, 0, found.stream, b"hello"),
                        frame(HEADERS, END_HEADERS | END_STREAM, found.stream, &trailers),
                    ];
                    stream.write_all(&answer.concat()).unwrap();
                }
            }
        });
        let mut ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![address])]);
        for backend in ir.backends.values_mut() {
            Arc::make_mut(backend).protocol = BackendProtocol::Http2;
        }
        let world = World::start(runtime, &ir, Settings::default());
        let mut client = world.connect();
        let start = [PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(SETTINGS, ACK, 0, b"")].concat();
        client.write_all(&start).unwrap();
        let mut decoder = Decoder::new(4096);
        // More than once: what repeats is what is put into a table.
        for stream in [1, 3, 5] {
            let fields = [
                literal(b":method", b"POST"),
                literal(b":scheme", b"http"),
                hidden(b":path", b"/?key=secret"),
                literal(b":authority", b"x.example"),
                hidden(b"x-a", b"1"),
                literal(b"x-z", b"0"),
            ]
            .concat();
            let trailers = [literal(b"x-y", b"0"), hidden(b"x-b", b"2")].concat();
            let request = [
                frame(HEADERS, END_HEADERS, stream, &fields),
                frame(DATA, 0, stream, b"body"),
                frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers),
            ];
            client.write_all(&request.concat()).unwrap();
            for wanted in [vec![":path", "x-a"], vec!["x-b"]] {
                let found = seen.recv_timeout(Duration::from_secs(10)).unwrap();
                assert_eq!(found, wanted, "{runtime:?} {stream}");
            }
            for wanted in ["x-c", "x-d"] {
                let found = read_kind(&mut client, HEADERS).unwrap();
                assert_eq!(hidden_names(&mut decoder, &found.payload), [wanted], "{runtime:?}");
            }
        }
        drop(client);
        world.stop();
    }
}
