//! Properties over made-up connections: cuts change nothing, and two of our ends lose nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proxy::h2::frame::Kind;
use proxy::h2::{Client, Connection, ErrorCode, Event, Local, Message, Server, StreamId};
use proxy::http::{Method, RequestHead, ResponseHead};

use super::kit::{Frames, GET, POST, Subject, Text};

/// One step of a peer, well-behaved or not.
fn step(frames: Frames, (what, stream, size): (u8, u8, u8)) -> Frames {
    const FLAWED: [&[Text]; 4] = [
        &[(":method", "GET")],
        &[("A", "b")],
        &[("cookie", "a"), ("x", "y")],
        &[(":path", "/%zz")],
    ];
    let stream = u32::from(stream % 16);
    let data = vec![size; usize::from(size)];
    match what % 16 {
        0..=2 => frames.headers(stream | 1, what % 2 == 0, &GET),
        3 => frames.headers(stream | 1, false, &POST),
        4 => frames.headers(stream | 1, true, FLAWED[usize::from(size) % 4]),
        5..=7 => frames.data(stream | 1, size.is_multiple_of(5), &data),
        8 => frames.frame(Kind::Data, 0x9, stream | 1, &data),
        9 => frames.rst(stream | 1, ErrorCode::Cancel),
        10 => frames.window(stream, u32::from(size)),
        11 => frames.settings(&[(0x4, u32::from(size))]),
        12 => frames.frame(Kind::Ping, 0, 0, &[size; 8]),
        13 => frames.frame(Kind::Unknown(size | 0x80), size, stream, &data),
        14 => frames.frame(Kind::Priority, 0, stream | 1, &[0, 0, 0, size % 8, 1]),
        _ => {
            let mut frames = frames;
            let block = frames.block(&POST);
            let (first, rest) = block.split_at(usize::from(size) % block.len());
            let frames = frames.frame(Kind::Headers, 0, stream | 1, first);
            frames.frame(Kind::Continuation, 0x4, stream | 1, rest)
        }
    }
}

fn outcome(pieces: &[&[u8]]) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut subject = Subject::new();
    for piece in pieces {
        subject.feed(piece);
    }
    let answers = std::mem::take(subject.server.output());
    (subject.seen, subject.heads, subject.error, answers)
}

fn pieces<'a>(data: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut % (data.len() + 1)).collect();
    places.extend([0, data.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn events_do_not_depend_on_how_the_input_is_cut(
        steps in vec(any::<(u8, u8, u8)>(), 0..40),
        cuts in vec(any::<usize>(), 0..20),
    ) {
        let bytes = steps.into_iter().fold(Frames::client(), step).bytes;
        prop_assert_eq!(outcome(&pieces(&bytes, &cuts)), outcome(&[&bytes]));
        let single: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(outcome(&single), outcome(&[&bytes]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in vec(any::<u8>(), 0..200),
        steps in vec(any::<(u8, u8, u8)>(), 0..5),
        cuts in vec(any::<usize>(), 0..5),
    ) {
        let mut all = steps.into_iter().fold(Frames::client(), step).bytes;
        all.extend_from_slice(&bytes);
        prop_assert_eq!(outcome(&pieces(&all, &cuts)), outcome(&[&all]));
    }

    #[test]
    fn two_ends_lose_nothing_and_keep_the_order(
        windows in (50_u32..200_000, 50_u32..200_000, any::<u16>(), any::<u16>()),
        operations in vec(any::<(u8, u8, u16)>(), 0..300),
    ) {
        let mut world = World::new(windows);
        for operation in operations {
            world.operate(operation);
        }
        world.finish();
    }
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
            now: Instant::now(),
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
        self.exchanges.get_mut(&id).unwrap()
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
        let exchange = self.exchanges.get_mut(&id).unwrap();
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
        let exchange = self.exchanges.get_mut(&id).unwrap();
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
        let id = *self.exchanges.keys().last().unwrap();
        let mut rounds = 0;
        while self.exchange(id).up.sent.len() < 100_000 {
            self.now += Duration::from_secs(1);
            self.send(true, id, 100_000, false);
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
            let flow = flow_of(exchanges.get_mut(&stream).unwrap(), up);
            flow.begun = true;
            flow.got_end = end;
        }
        Event::Data { stream, range, end } => {
            let flow = flow_of(exchanges.get_mut(&stream).unwrap(), up);
            assert!(!flow.got_end);
            flow.held += range.len();
            flow.got.extend_from_slice(&input[range]);
            flow.got_end = end;
        }
        Event::Reset { stream, .. } | Event::Rejected { stream, .. } => {
            exchanges.get_mut(&stream).unwrap().broken = true;
        }
        Event::Settings | Event::Writable { .. } => {}
        Event::Refused { .. } | Event::Trailers { .. } | Event::GoAway { .. } | Event::Pong => {
            panic!("{event:?}")
        }
    }
}
