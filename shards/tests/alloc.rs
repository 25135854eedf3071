//! The hot path allocates nothing: counted while a real shard proxies keep-alive requests.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use proxy::epoch::Settings;
use runtime::alloc::{Counting, allocations, ignore_this_thread};
use shards::Backend;
use support::{World, config, rule};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello";
const GET: &[u8] = b"GET /a?b=c HTTP/1.1\r\nHost: x.example\r\nAccept: */*\r\n\r\n";
const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: x.example\r\nContent-Length: 4\r\n\r\nbody";

#[test]
fn a_proxied_keep_alive_request_allocates_nothing() {
    ignore_this_thread();
    let backend = backend();
    for runtime in support::backends() {
        if runtime == Backend::Glommio {
            // Its own tasks and wakers allocate; it is the second opinion on the seam, not the path.
            continue;
        }
        let ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![backend])]);
        let world = World::start(runtime, &ir, Settings::default());
        let mut client = world.connect();
        let mut block = [0; 1024];
        let mut send = |request: &[u8]| {
            client.write_all(request).unwrap();
            assert!(support::read_some(&mut client, &mut block).unwrap() > 0);
        };
        for _ in 0..500 {
            send(GET);
            send(POST);
        }
        assert!(allocations() > 0, "the counter sees the shard's thread");
        // The tick's reports allocate now and then: the quietest of many batches is the truth.
        let batch = |send: &mut dyn FnMut()| {
            let before = allocations();
            (0..50).for_each(|_| send());
            allocations() - before
        };
        let get = (0..40).map(|_| batch(&mut || send(GET))).min();
        let post = (0..40).map(|_| batch(&mut || send(POST))).min();
        assert_eq!((get, post), (Some(0), Some(0)), "{runtime:?}: allocations per 50 requests");
        drop(client);
        world.stop();
    }
}

/// Answers whatever it reads, without counting.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        ignore_this_thread();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                ignore_this_thread();
                stream.set_nodelay(true).unwrap();
                let mut block = [0; 2048];
                while support::read_some(&mut stream, &mut block).is_ok_and(|n| n > 0) {
                    stream.write_all(RESPONSE).unwrap();
                }
            });
        }
    });
    address
}
