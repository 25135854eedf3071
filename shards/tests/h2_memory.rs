//! What a client of HTTP/2 can make a real shard hold by what it sends, however it goes about it.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use proxy::epoch::Settings;
use proxy::h2::{Client, Event, Local, StreamId};
use proxy::http::{Method, ResponseHead};
use proxy::ir;
use proxy::limits::{H2_CLIENT_BYTES_MAX, H2_CONNECTION_WINDOW_BYTES, H2_STREAMS_MAX};
use runtime::alloc::{Counting, ignore_this_thread, live_bytes};
use support::{World, config, rule};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of the field that makes each head as large as a hundred of them may be.
const FIELD_BYTES: usize = 2200;
/// After so many words with the shard its tasks have done what there is to do.
const TURNS: usize = 5;
/// What serves a stream whose upload is under way and asks for it, with its connection to a backend
/// of HTTP/1 where it has one (bytes). A hundred of them with all that their client may make us hold
/// beside it stay below two mebibytes.
const EXCHANGE_BYTES_MAX: i64 = 9 * 1024;
/// The half of a body that is sent on.
const HALF_BYTES: usize = 512;
/// What is not this connection's: the shard's blocks, and the output towards the backend (bytes).
const PASSING_BYTES_MAX: i64 = 256 * 1024;

#[test]
fn policy_http2_a_client_makes_a_connection_hold_no_more_than_a_mebibyte() {
    ignore_this_thread();
    let plain = world(Vec::new(), ir::BackendProtocol::Http1);
    exchanges(&plain);
    plain.stop();
    // Backends that take no body, and those that take all of it.
    for stream_window in [0, 0x7fff_ffff] {
        let world = world(hello(stream_window), ir::BackendProtocol::Http2);
        // What an exchange costs by itself is not the client's doing.
        let exchanges = exchanges(&world);
        let mut attack = Attack::start(&world);
        let before = live_bytes();
        attack.open(FIELD_BYTES);
        let sent = attack.flood();
        let held = live_bytes() - before - exchanges;
        // What is read on goes through the shard's blocks and the backend's connection.
        let max = H2_CLIENT_BYTES_MAX as i64 + PASSING_BYTES_MAX;
        assert!(held > 0 && held <= max, "{stream_window}: {held}");
        if stream_window == 0 {
            let window = H2_CONNECTION_WINDOW_BYTES as usize;
            assert!(sent <= window && held as usize >= window, "{sent} {held}");
        } else {
            assert!(sent > 100 * 64 * 1024, "{sent}");
        }
        world.stop();
    }
}

/// A gateway with one backend that says `hello` and never answers.
fn world(hello: Vec<u8>, protocol: ir::BackendProtocol) -> World {
    let backend = backend(hello);
    let mut ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![backend])]);
    for backend in ir.backends.values_mut() {
        Arc::make_mut(backend).protocol = protocol;
    }
    World::start(shards::Backend::Epoll, &ir, Settings::default())
}

/// What as many exchanges cost as one connection may have, each with half of a body.
fn exchanges(world: &World) -> i64 {
    let mut quiet = Attack::start(world);
    let before = live_bytes();
    quiet.open(0);
    for at in 0..quiet.streams.len() {
        let sent = quiet.client.send_data(quiet.streams[at], &[b'h'; HALF_BYTES], false);
        assert_eq!(sent, HALF_BYTES);
    }
    (0..TURNS).for_each(|_| quiet.turn());
    let exchanges = live_bytes() - before;
    let each = exchanges / i64::from(H2_STREAMS_MAX);
    assert!(0 < each && each <= EXCHANGE_BYTES_MAX, "{each}");
    exchanges
}

/// A client that keeps the rules, and takes all that they allow.
struct Attack {
    client: Client,
    socket: TcpStream,
    input: Vec<u8>,
    streams: Vec<StreamId>,
}

impl Attack {
    fn start(world: &World) -> Self {
        let client = Client::client(Local::default());
        let (socket, streams) = (world.connect(), Vec::new());
        let mut attack = Self { client, socket, input: Vec::new(), streams };
        attack.turn();
        attack
    }

    /// As many requests as may be open, with a field of `bytes`; none of them ends.
    fn open(&mut self, bytes: usize) {
        while self.streams.len() < H2_STREAMS_MAX as usize {
            let value = vec![b'v'; bytes];
            let id = self.client.request(Method::Post, false, false, |fields| {
                for (name, value) in [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", "a.test"),
                ] {
                    fields.field(name.as_bytes(), value.as_bytes());
                }
                if bytes > 0 {
                    fields.never_indexed(b"x-field", &value);
                }
            });
            self.streams.push(id.unwrap());
        }
        (0..TURNS).for_each(|_| self.turn());
    }

    /// Fills every window until no more is granted, and keeps all streams open.
    fn flood(&mut self) -> usize {
        let (block, mut sent) = (vec![b'x'; 64 * 1024], 0);
        for _ in 0..2 {
            for at in 0..self.streams.len() {
                sent += self.client.send_data(self.streams[at], &block, false);
                self.write();
                self.turn();
            }
            (0..TURNS).for_each(|_| self.turn());
        }
        sent
    }

    fn write(&mut self) {
        self.socket.write_all(self.client.output()).unwrap();
        self.client.output().clear();
    }

    /// Says all there is to say and waits until the shard has read it.
    fn turn(&mut self) {
        self.client.ping();
        self.write();
        let mut head = ResponseHead::default();
        loop {
            let read = self.client.read(&self.input, &mut head, Instant::now()).unwrap();
            self.input.drain(..read.consumed);
            match read.event {
                Some(Event::Pong) => return,
                Some(Event::Reset { code, .. }) => panic!("{code:?}"),
                Some(_) => {}
                None if read.consumed > 0 => {}
                None => {
                    let mut block = [0; 4096];
                    let count = self.socket.read(&mut block).unwrap();
                    assert!(count > 0, "the shard closed the connection");
                    self.input.extend_from_slice(&block[..count]);
                }
            }
        }
    }
}

/// What a backend of HTTP/2 says first, that takes as much of each body as `stream_window` says.
fn hello(stream_window: u32) -> Vec<u8> {
    let mut hello = vec![0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4];
    hello.extend_from_slice(&stream_window.to_be_bytes());
    hello.extend_from_slice(&[0, 0, 0, 4, 1, 0, 0, 0, 0]);
    hello.extend_from_slice(&[0, 0, 4, 8, 0, 0, 0, 0, 0]);
    hello.extend_from_slice(&(0x7fff_ffff_u32 - 65_535).to_be_bytes());
    hello
}

/// A backend that takes requests and their bodies, and never answers any.
fn backend(hello: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        ignore_this_thread();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(&hello).unwrap();
            thread::spawn(move || {
                ignore_this_thread();
                let mut block = vec![0; 64 * 1024];
                while stream.read(&mut block).is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}
