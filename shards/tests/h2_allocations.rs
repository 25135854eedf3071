//! The HTTP/2 engine of `proxy`: exchanges cost no heap allocation once the reused buffers have
//! grown. It stands here because the counting allocator is `runtime`'s.

use std::time::Instant;

use proxy::h2::{Client, Connection, Event, Local, Message, Server, StreamId};
use proxy::http::{Method, RequestHead, ResponseHead};
use proxy::limits::H2_CLOSED_STREAMS_MAX;
use runtime::alloc::{Counting, allocations_of_this_thread};

#[global_allocator]
static COUNTING: Counting = Counting;

struct Pair {
    client: Client,
    server: Server,
    request: RequestHead,
    response: ResponseHead,
    /// Carries bytes between the two.
    wire: Vec<u8>,
}

fn read<M: Message>(end: &mut Connection<M>, head: &mut M, wire: &[u8]) -> Option<StreamId> {
    let (mut rest, mut ended) = (wire, None);
    loop {
        let read = end.read(rest, head, now()).unwrap_or_else(|error| panic!("{error}"));
        match read.event {
            Some(Event::Data { stream, range, end: last }) => {
                end.release(stream, range.len());
                ended = last.then_some(stream);
            }
            Some(_) => {}
            None if read.consumed == 0 => return ended,
            None => {}
        }
        rest = &rest[read.consumed..];
    }
}

#[allow(clippy::disallowed_methods, reason = "a test needs some instant")]
fn now() -> Instant {
    Instant::now()
}

impl Pair {
    fn exchange(&mut self) {
        let id = self.client.request(Method::Post, false, false, |fields| {
            for (name, value) in [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/items/1?q"),
                (":authority", "A.example."),
                ("cookie", "a=1"),
                ("x-request-id", "123"),
                ("cookie", "b=2"),
            ] {
                fields.field(name.as_bytes(), value.as_bytes());
            }
        });
        let id = id.unwrap_or_else(|| panic!("no stream"));
        assert_eq!(self.client.send_data(id, &[1; 5000], true), 5000);
        self.wire.append(self.client.output());
        assert_eq!(read(&mut self.server, &mut self.request, &self.wire), Some(id));
        self.wire.clear();
        assert_eq!(self.request.path(), "/items/1");
        self.server.send_head(id, false, |fields| {
            fields.status(200);
            fields.field(b"server", b"any");
        });
        assert_eq!(self.server.send_data(id, &[2; 5000], true), 5000);
        self.server.forget(id);
        self.wire.append(self.server.output());
        assert_eq!(read(&mut self.client, &mut self.response, &self.wire), Some(id));
        self.wire.clear();
        self.client.forget(id);
    }
}

#[test]
fn a_later_exchange_allocates_nothing() {
    let mut pair = Pair {
        client: Client::client(Local::default()),
        server: Server::server(Local::default()),
        request: RequestHead::default(),
        response: ResponseHead::default(),
        wire: Vec::new(),
    };
    for _ in 0..=H2_CLOSED_STREAMS_MAX {
        pair.exchange();
    }
    let before = allocations_of_this_thread();
    assert!(before > 0, "the first exchanges are counted");
    for _ in 0..100 {
        pair.exchange();
    }
    assert_eq!(allocations_of_this_thread(), before);
}
