//! Both ends of a connection talking to each other.

#![allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]

use std::time::Instant;

use super::Connection;
use crate::h2::head::Message;
use crate::h2::{Client, ErrorCode, Event, Fields, Local, Server, StreamId};
use crate::http::{Field, Framing, HeadWriter, Method, RequestHead, ResponseHead};

/// Everything that an end makes of `input`.
fn feed<M: Message>(
    end: &mut Connection<M>,
    head: &mut M,
    input: &[u8],
    now: Instant,
) -> Result<Vec<Event>, ErrorCode> {
    let mut events = Vec::new();
    let mut rest = input;
    loop {
        let read = end.read(rest, head, now).map_err(|error| error.code)?;
        rest = &rest[read.consumed..];
        if read.consumed == 0 && read.event.is_none() {
            assert!(rest.is_empty(), "an incomplete frame: {rest:?}");
            return Ok(events);
        }
        events.extend(read.event);
    }
}

/// Both ends with their settings exchanged.
struct Pair {
    client: Client,
    server: Server,
    request: RequestHead,
    response: ResponseHead,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            client: Client::client(Local::default()),
            server: Server::server(Local::default()),
            request: RequestHead::default(),
            response: ResponseHead::default(),
            now: Instant::now(),
        };
        assert_eq!(pair.up(), Ok(vec![Event::Settings]));
        assert_eq!(pair.down(), Ok(vec![Event::Settings]));
        assert_eq!(pair.up(), Ok(vec![]));
        pair
    }

    /// What the client has said reaches the server.
    fn up(&mut self) -> Result<Vec<Event>, ErrorCode> {
        let bytes = std::mem::take(self.client.output());
        feed(&mut self.server, &mut self.request, &bytes, self.now)
    }

    /// What the server has said reaches the client.
    fn down(&mut self) -> Result<Vec<Event>, ErrorCode> {
        let bytes = std::mem::take(self.server.output());
        feed(&mut self.client, &mut self.response, &bytes, self.now)
    }

    fn get(&mut self, end: bool) -> StreamId {
        let request = self.client.request(Method::Get, false, end, |fields| {
            for (name, value) in GET {
                fields.field(name, value);
            }
        });
        request.unwrap()
    }
}

const GET: [(&[u8], &[u8]); 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"a.test")];

#[test]
fn a_request_and_its_response_pass_whole() {
    let mut pair = Pair::new();
    let id = pair.get(false);
    assert_eq!(pair.client.send_data(id, b"hello", true), 5);
    let events = pair.up().unwrap();
    assert_eq!(events[0], Event::Head { stream: id, end: false });
    let Event::Data { stream, range, end } = &events[1] else { panic!("{events:?}") };
    assert_eq!((*stream, range.len(), *end), (id, 5, true));
    assert_eq!((pair.request.path(), pair.request.host()), ("/a", "a.test"));
    assert_eq!(pair.request.framing, Framing::Chunked);
    pair.server.send_head(id, false, |fields| fields.status(103));
    pair.server.send_head(id, false, |fields| fields.status(200));
    assert_eq!(pair.server.send_data(id, b"x", false), 1);
    pair.server.send_trailers(id, |fields| fields.field(b"grpc-status", b"0"));
    pair.server.forget(id);
    let events = pair.down().unwrap();
    assert!(events[..2].iter().all(|event| *event == Event::Head { stream: id, end: false }));
    assert_eq!(events[3], Event::Trailers { stream: id });
    assert_eq!(pair.client.trailers(), b"grpc-status: 0\r\n");
    assert_eq!(pair.response.status, 200);
    pair.client.forget(id);
    assert_eq!((pair.client.streams(), pair.server.streams()), (0, 0));
    assert!(pair.client.output().is_empty() && pair.server.output().is_empty());
}

/// Names of the fields that no hop may put into a table.
fn never_indexed(arena: &[u8], fields: &[Field]) -> Vec<String> {
    let fields = fields.iter().filter(|field| field.never_indexed);
    fields.map(|field| String::from_utf8_lossy(field.name.of(arena)).into_owned()).collect()
}

#[test]
fn rfc7541_7_1_3_a_field_that_is_never_indexed_stays_so_on_the_next_connection() {
    let (mut from, mut to) = (Pair::new(), Pair::new());
    for _ in 0..3 {
        let id = from.client.request(Method::Get, false, true, |fields| {
            for (name, value) in GET {
                fields.field(name, value);
            }
            let crumb = b"a=0123456789012345678901";
            fields.field(b"cookie", crumb);
            fields.field(b"x-plain", b"1");
            fields.never_indexed(b"x-secret", b"2");
            fields.never_indexed(b"cookie", crumb);
        });
        from.up().unwrap();
        let request = &from.request;
        assert_eq!(never_indexed(&request.arena, &request.fields), ["cookie", "x-secret"]);
        let on = to.client.request(Method::Get, false, true, |block| {
            for (name, value) in GET {
                block.field(name, value);
            }
            let mut memory = Vec::new();
            let mut out = Fields(block, &mut memory);
            request.passing().for_each(|field| out.copy(&request.arena, field));
        });
        to.up().unwrap();
        let request = &to.request;
        assert_eq!(never_indexed(&request.arena, &request.fields), ["cookie", "x-secret"]);
        to.server.send_head(on.unwrap(), true, |fields| {
            fields.status(200);
            fields.field(b"x-plain", b"1");
            fields.never_indexed(b"x-secret", b"2");
        });
        to.down().unwrap();
        let response = &to.response;
        assert_eq!(never_indexed(&response.arena, &response.fields), ["x-secret"]);
        from.server.send_head(id.unwrap(), true, |block| {
            block.status(200);
            let mut memory = Vec::new();
            let mut out = Fields(block, &mut memory);
            response.passing().for_each(|field| out.copy(&response.arena, field));
        });
        from.down().unwrap();
        let response = &from.response;
        assert_eq!(never_indexed(&response.arena, &response.fields), ["x-secret"]);
        for pair in [&mut from, &mut to] {
            pair.client.forget(id.unwrap());
            pair.server.forget(id.unwrap());
        }
    }
}
