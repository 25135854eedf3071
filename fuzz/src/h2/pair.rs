//! Two of our ends that talk to each other, while any driver does what the bytes say.
//!
//! The first eight bytes are windows, then three each are one operation of either driver. Held: nothing
//! is lost, doubled or swapped; neither end finds anything wrong with the other; whatever happened, the
//! windows are whole again at the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proxy::h2::{Client, Connection, ErrorCode, Event, Local, Message, Server, StreamId};
use proxy::http::{Method, RequestHead, ResponseHead};

use super::start;

const OPERATIONS_MAX: usize = 300;
/// Smaller windows need too many round trips.
const WINDOW_MIN: u32 = 2_000;
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];

/// Windows and operations of two ends.
pub fn operations(input: &[u8]) {
    let Some((windows, rest)) = input.split_first_chunk::<8>() else { return };
    let [a, b, c, d, e, f, g, h] = *windows;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    let window = |high, low| WINDOW_MIN + 3 * u32::from(pair(high, low));
    let mut world = World::new((window(a, b), window(c, d), pair(e, f), pair(g, h)));
    for operation in rest.chunks_exact(3).take(OPERATIONS_MAX) {
        // Sizes up to a whole window, small ones more often.
        let size = u16::from(operation[2]) * u16::from(operation[2]);
        world.operate((operation[0], operation[1], size));
    }
    world.finish();
}

/// One direction of one stream, as both drivers see it.
#[derive(Debug, Default)]
struct Flow {
    sent: Vec<u8>,
    sent_end: bool,
    got: Vec<u8>,
    got_end: bool,
    /// Bytes that the receiving driver has not given back.
    held: usize,
    begun: bool,
}

#[derive(Debug, Default)]
struct Exchange {
    up: Flow,
    down: Flow,
    /// Reset by either end, or refused.
    broken: bool,
}

struct World {
    client: Client,
    server: Server,
    request: RequestHead,
    response: ResponseHead,
    /// Bytes on their way.
    up: Vec<u8>,
    down: Vec<u8>,
    exchanges: BTreeMap<StreamId, Exchange>,
    now: Instant,
}

impl World {
    fn new((stream_up, stream_down, more_up, more_down): (u32, u32, u16, u16)) -> Self {
        let local = |stream_window, more: u16| Local {
            streams_max: 20,
            stream_window,
            connection_window: 65_535 + u32::from(more),
        };
        Self {
            client: Client::client(local(stream_down, more_down)),
            server: Server::server(local(stream_up, more_up)),
            request: RequestHead::default(),
            response: ResponseHead::default(),
            up: Vec::new(),
            down: Vec::new(),
            exchanges: BTreeMap::new(),
            now: start(),
        }
    }

    fn pick(&self, which: u8) -> Option<StreamId> {
        let count = self.exchanges.len();
        self.exchanges.keys().nth(usize::from(which) % count.max(1)).copied()
    }

    fn operate(&mut self, (what, which, size): (u8, u8, u16)) {
        // Time passes, so that tiny windows do not spend the budget.
        self.now += Duration::from_secs(1);
        let size = usize::from(size);
        match (what % 12, self.pick(which)) {
            (0 | 1, _) => self.open(),
            (2 | 3, _) => self.carry(true, size),
            (4 | 5, _) => self.carry(false, size),
            (6, Some(id)) => self.send(true, id, size, which.is_multiple_of(4)),
            (7, Some(id)) => self.respond(id),
            (8, Some(id)) => self.send(false, id, size, which.is_multiple_of(4)),
            (9, Some(id)) => self.release(id, size),
            (10, Some(id)) if which.is_multiple_of(3) => {
                self.client.reset(id, ErrorCode::Cancel);
                self.exchange(id).broken = true;
            }
            (11, Some(id)) if which.is_multiple_of(3) && self.exchange(id).up.begun => {
                self.server.reset(id, ErrorCode::InternalError);
                self.exchange(id).broken = true;
            }
            _ => {}
        }
    }

    fn exchange(&mut self, id: StreamId) -> &mut Exchange {
        self.exchanges.get_mut(&id).expect("it is in the map")
    }

    fn open(&mut self) {
        let id = self.client.request(Method::Post, false, false, |fields| {
            for (name, value) in POST {
                fields.field(name.as_bytes(), value.as_bytes());
            }
        });
        if let Some(id) = id {
            assert!(self.exchanges.insert(id, Exchange::default()).is_none());
        }
    }

    fn respond(&mut self, id: StreamId) {
        let exchange = self.exchange(id);
        if exchange.up.begun && !exchange.down.begun && !exchange.broken {
            exchange.down.begun = true;
            self.server.send_head(id, false, |fields| fields.status(200));
        }
    }

    fn send(&mut self, up: bool, id: StreamId, size: usize, end: bool) {
        let exchange = self.exchanges.get_mut(&id).expect("it is in the map");
        let flow = if up { &mut exchange.up } else { &mut exchange.down };
        if flow.sent_end || exchange.broken || (!up && !flow.begun) {
            return;
        }
        let data: Vec<_> = (0..size).map(|at| (flow.sent.len() + at) as u8).collect();
        let accepted = if up {
            self.client.send_data(id, &data, end)
        } else {
            self.server.send_data(id, &data, end)
        };
        flow.sent.extend_from_slice(&data[..accepted]);
        flow.sent_end = end && accepted == data.len();
    }

    fn release(&mut self, id: StreamId, count: usize) {
        let exchange = self.exchanges.get_mut(&id).expect("it is in the map");
        let up = count.min(exchange.up.held);
        exchange.up.held -= up;
        self.server.release(id, up);
        let down = count.min(exchange.down.held);
        exchange.down.held -= down;
        self.client.release(id, down);
    }

    /// Up to `count` bytes arrive at the other end.
    fn carry(&mut self, up: bool, count: usize) {
        if up {
            self.up.append(self.client.output());
            let count = count.min(self.up.len());
            let taken =
                read(&mut self.server, &mut self.request, &self.up[..count], self.now, |e, d| {
                    note(&mut self.exchanges, true, e, d);
                });
            self.up.drain(..taken);
        } else {
            self.down.append(self.server.output());
            let count = count.min(self.down.len());
            let client = &mut self.client;
            let taken = read(client, &mut self.response, &self.down[..count], self.now, |e, d| {
                note(&mut self.exchanges, false, e, d);
            });
            self.down.drain(..taken);
        }
    }

    /// Lets everything come to its end, and compares.
    fn finish(&mut self) {
        let ids: Vec<_> = self.exchanges.keys().copied().collect();
        // A small window needs many round trips.
        for _ in 0..100_000 {
            self.now += Duration::from_secs(1);
            for up in [true, false] {
                self.carry(up, usize::MAX);
            }
            let mut done = true;
            for &id in &ids {
                self.release(id, usize::MAX);
                self.respond(id);
                self.send(true, id, 0, true);
                self.send(false, id, 0, true);
                let Exchange { up, down, broken } = self.exchange(id);
                done &= *broken || (up.got_end && down.got_end);
            }
            let quiet = self.client.output().is_empty() && self.server.output().is_empty();
            if done && quiet && self.up.is_empty() && self.down.is_empty() {
                break;
            }
        }
        for (id, exchange) in &self.exchanges {
            for flow in [&exchange.up, &exchange.down] {
                assert!(flow.sent.starts_with(&flow.got), "{id:?}");
                if !exchange.broken {
                    assert!(flow.got_end && flow.got == flow.sent, "{id:?}");
                }
            }
        }
        for id in ids {
            self.client.forget(id);
            self.server.forget(id);
        }
        assert_eq!((self.client.streams(), self.server.streams()), (0, 0));
        for up in [true, false, true, false] {
            self.carry(up, usize::MAX);
        }
        self.refill();
    }

    /// Whatever happened, the connection's windows are whole again: a new exchange is not stuck.
    fn refill(&mut self) {
        self.open();
        let id = *self.exchanges.keys().last().expect("it is in the map");
        let mut rounds = 0;
        while self.exchange(id).up.sent.len() < 100_000 {
            self.now += Duration::from_secs(1);
            self.send(true, id, 4_000, false);
            self.carry(true, usize::MAX);
            self.release(id, usize::MAX);
            self.carry(false, usize::MAX);
            rounds += 1;
            assert!(rounds < 200_001, "stuck");
        }
    }
}

/// Reads whole frames and parts of DATA; returns the bytes consumed.
fn read<M: Message>(
    end: &mut Connection<M>,
    head: &mut M,
    input: &[u8],
    now: Instant,
    mut note: impl FnMut(Event, &[u8]),
) -> usize {
    let mut at = 0;
    loop {
        let read = end.read(&input[at..], head, now).unwrap_or_else(|error| panic!("{error}"));
        if read.consumed == 0 && read.event.is_none() {
            return at;
        }
        if let Some(event) = read.event {
            note(event, &input[at..]);
        }
        at += read.consumed;
    }
}

fn note(exchanges: &mut BTreeMap<StreamId, Exchange>, up: bool, event: Event, input: &[u8]) {
    fn flow_of(exchange: &mut Exchange, up: bool) -> &mut Flow {
        if up { &mut exchange.up } else { &mut exchange.down }
    }
    match event {
        Event::Head { stream, end } => {
            let flow = flow_of(exchanges.get_mut(&stream).expect("it is in the map"), up);
            flow.begun = true;
            flow.got_end = end;
        }
        Event::Data { stream, range, end } => {
            let flow = flow_of(exchanges.get_mut(&stream).expect("it is in the map"), up);
            assert!(!flow.got_end);
            flow.held += range.len();
            flow.got.extend_from_slice(&input[range]);
            flow.got_end = end;
        }
        Event::Reset { stream, .. } | Event::Rejected { stream, .. } => {
            exchanges.get_mut(&stream).expect("it is in the map").broken = true;
        }
        Event::Settings | Event::Writable { .. } => {}
        Event::Refused { .. } | Event::Trailers { .. } | Event::GoAway { .. } | Event::Pong => {
            panic!("{event:?}")
        }
    }
}
