//! HTTP/2 and unary gRPC: many requests at once on a connection.
//!
//! The engine of the gateway itself frames and reads. A [`Channel`] is one connection with its reader
//! and writer; every slot of it is a client with one stream at a time. Called by `load::run`.
//! Invariant: a request that was begun is answered exactly once, by `Engine::deliver` or by its
//! time-out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proxy::h2::{Client as Engine2, ConnectionError, Event, Local, StreamId};
use proxy::http::write::lines;
use proxy::http::{Method, ResponseHead};
use runtime::{Runtime, Size};

use crate::frames::Frames;
use crate::load::answer::Received;
use crate::load::client::{Exchange, Orders, Run};
use crate::load::engine::{Delivered, Failed};
use crate::load::kept::connect;
use crate::load::link::{Incoming, Outgoing};
use crate::load::record::Failure;
use crate::protocol::Protocol;

/// What a connection grants the server: never the limit of a benchmark.
const LOCAL: Local = Local { streams_max: 0, stream_window: 4 << 20, connection_window: 64 << 20 };
/// From the end of a connection to the next attempt.
const RECONNECT: Duration = Duration::from_millis(10);
/// Between two looks whether it is connected.
const SETTLE: Duration = Duration::from_millis(2);

/// One connection, and the requests on it.
pub(crate) struct Channel {
    run: Run,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Unset: not connected.
    http2: Option<Engine2>,
    /// Connections so far: what belongs to an earlier one ends.
    generation: usize,
    pending: Vec<Pending>,
    /// Slots and URLs that wait for a stream.
    queued: VecDeque<(usize, usize)>,
    writer: Option<Waker>,
    /// The first attempt to connect has ended, well or not.
    tried: bool,
}

/// A request under way.
struct Pending {
    stream: StreamId,
    slot: usize,
    target: usize,
    /// Body bytes that are sent.
    sent: usize,
    received: Received,
    /// The value of grpc-status, once it is there.
    grpc_status: Option<Vec<u8>>,
}

impl Channel {
    /// Not connected.
    pub(crate) fn new(run: Run) -> Rc<Self> {
        Rc::new(Self { run, state: RefCell::default() })
    }

    /// Connects, and again whenever the connection has ended.
    pub(crate) async fn keep<R: Runtime>(self: Rc<Self>) {
        loop {
            let failed = match connect::<R>(&self.run, 0).await {
                Ok(link) => {
                    let generation = self.begin();
                    R::spawn(Rc::clone(&self).write::<R>(link.outgoing, generation));
                    self.receive::<R>(link.incoming).await
                }
                Err(failed) => failed,
            };
            self.fail_all(&failed);
            R::sleep_until(R::now() + RECONNECT).await;
        }
    }

    fn begin(&self) -> usize {
        let mut state = self.state.borrow_mut();
        state.http2 = Some(Engine2::client(LOCAL));
        state.generation += 1;
        state.generation
    }

    /// The connection is gone: so is every request on it.
    fn fail_all(&self, failed: &Failed) {
        let mut state = self.state.borrow_mut();
        state.http2 = None;
        state.tried = true;
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
        let mut engine = self.run.engine.borrow_mut();
        let begun = state.pending.drain(..).map(|pending| pending.slot).collect::<Vec<_>>();
        let queued = state.queued.drain(..).map(|(slot, _)| slot);
        for slot in begun.into_iter().chain(queued) {
            engine.deliver(slot, Err(failed.clone()));
        }
    }

    async fn receive<R: Runtime>(&self, mut incoming: Incoming<R>) -> Failed {
        let mut rest = Vec::new();
        let mut head = ResponseHead::default();
        loop {
            let digest = |bytes: &[u8]| self.digest::<R>(bytes, &mut rest, &mut head);
            match incoming.recv(Size::Large, digest).await {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(error))) => return (Failure::Malformed, error.to_string()),
                Ok(None) => return (Failure::Closed, "the connection ended".to_owned()),
                Err(error) => return (Failure::Closed, error.to_string()),
            }
        }
    }

    /// Takes bytes in; an incomplete frame stays in `rest`.
    fn digest<R: Runtime>(
        &self,
        bytes: &[u8],
        rest: &mut Vec<u8>,
        head: &mut ResponseHead,
    ) -> Result<(), ConnectionError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(http2) = &mut state.http2 else { return Ok(()) };
        let kept = std::mem::take(rest);
        let joined;
        let input = if kept.is_empty() {
            bytes
        } else {
            joined = [kept.as_slice(), bytes].concat();
            joined.as_slice()
        };
        let now = R::now();
        let mut frames = Frames::of(input);
        while let Some((event, _)) = frames.next(http2, head, now)? {
            if let Some(over) = self.event(http2, &mut state.pending, event, head) {
                self.complete(http2, &mut state.pending, over);
            }
        }
        rest.extend_from_slice(&input[frames.used..]);
        state.tried = true;
        state.advance(&self.run.orders);
        Ok(())
    }

    /// What an event does to its request; which one is over, and why if it failed.
    fn event(
        &self,
        http2: &mut Engine2,
        pending: &mut [Pending],
        event: Event,
        head: &ResponseHead,
    ) -> Option<(StreamId, Option<Failed>)> {
        match event {
            Event::Head { stream, end } => {
                if let Some(pending) = of(pending, stream).filter(|_| !head.is_interim()) {
                    let field = |name: &str| value(head, name);
                    pending.received.head(head.status, &self.run.orders.expected, field);
                    pending.grpc_status = value(head, "grpc-status").map(<[u8]>::to_vec);
                }
                end.then_some((stream, None))
            }
            Event::Data { stream, range, end } => {
                if let Some(pending) = of(pending, stream) {
                    pending.received.bytes += range.len() as u64;
                }
                http2.release(stream, range.len());
                end.then_some((stream, None))
            }
            Event::Trailers { stream } => {
                if let Some(pending) = of(pending, stream) {
                    let found = lines(http2.trailers()).find(|(name, _)| *name == b"grpc-status");
                    pending.grpc_status = found.map(|(_, value)| value.to_vec());
                }
                Some((stream, None))
            }
            Event::Reset { stream, code, .. } => {
                Some((stream, Some((Failure::Closed, format!("reset with {code:?}")))))
            }
            Event::Refused { .. }
            | Event::Rejected { .. }
            | Event::Writable { .. }
            | Event::Settings
            | Event::GoAway { .. }
            | Event::Pong => None,
        }
    }

    /// Judges a request that is over.
    fn complete(
        &self,
        http2: &mut Engine2,
        pending: &mut Vec<Pending>,
        (stream, failed): (StreamId, Option<Failed>),
    ) {
        http2.forget(stream);
        let Some(at) = pending.iter().position(|pending| pending.stream == stream) else { return };
        let pending = pending.swap_remove(at);
        let mut engine = self.run.engine.borrow_mut();
        let learned = &mut engine.learned[pending.target];
        let judged = match failed {
            Some(failed) => Err(failed),
            None => self.judge(&pending, learned),
        };
        engine.deliver(pending.slot, judged);
    }

    fn judge(&self, pending: &Pending, learned: &mut Option<u64>) -> Result<u64, Failed> {
        if self.run.orders.protocol == Protocol::Grpc
            && pending.received.status == 200
            && pending.grpc_status.as_deref() != Some(b"0")
        {
            let status = pending.grpc_status.as_deref().unwrap_or(b"absent");
            let text = format!("grpc-status {}", String::from_utf8_lossy(status));
            return Err((Failure::Status, text));
        }
        pending.received.check(&self.run.orders.expected, learned)
    }

    async fn write<R: Runtime>(self: Rc<Self>, mut outgoing: Outgoing<R>, generation: usize) {
        let mut out = Vec::new();
        while poll_fn(|context| self.poll_output(context, &mut out, generation)).await {
            match outgoing.send(out).await {
                Ok(sent) => out = sent,
                // The reader sees the end, too.
                Err(_) => return,
            }
        }
    }

    fn poll_output(
        &self,
        context: &Context<'_>,
        out: &mut Vec<u8>,
        generation: usize,
    ) -> Poll<bool> {
        let mut state = self.state.borrow_mut();
        if state.generation != generation {
            return Poll::Ready(false);
        }
        let Some(http2) = &mut state.http2 else { return Poll::Ready(false) };
        if http2.output().is_empty() {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        out.clear();
        std::mem::swap(http2.output(), out);
        state.advance(&self.run.orders);
        Poll::Ready(true)
    }
}

impl State {
    /// Begins what waits, sends on what is cut short, and wakes the writer if there is something.
    fn advance(&mut self, orders: &Orders) {
        let Some(http2) = &mut self.http2 else { return };
        for pending in &mut self.pending {
            pending.send_on(http2, &orders.targets[pending.target].bytes);
        }
        while http2.is_established()
            && http2.can_request()
            && let Some((slot, target)) = self.queued.pop_front()
        {
            let to = &orders.targets[target];
            let method = if to.bytes.is_empty() { Method::Get } else { Method::Post };
            let stream = http2.request(method, false, to.bytes.is_empty(), |block| {
                for (name, value) in &to.fields {
                    block.field(name, value);
                }
            });
            let Some(stream) = stream else { break };
            let received = Received::default();
            let mut pending =
                Pending { stream, slot, target, sent: 0, received, grpc_status: None };
            pending.send_on(http2, &to.bytes);
            self.pending.push(pending);
        }
        if !http2.output().is_empty()
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
    }
}

impl Pending {
    fn send_on(&mut self, http2: &mut Engine2, body: &[u8]) {
        if self.sent < body.len() {
            self.sent += http2.send_data(self.stream, &body[self.sent..], true);
        }
    }
}

/// The request of a stream.
fn of(pending: &mut [Pending], stream: StreamId) -> Option<&mut Pending> {
    pending.iter_mut().find(|pending| pending.stream == stream)
}

/// The value of a field.
fn value<'h>(head: &'h ResponseHead, name: &str) -> Option<&'h [u8]> {
    head.end_to_end().find(|(found, _, _)| *found == name.as_bytes()).map(|(_, value, _)| value)
}

/// A client with one stream at a time of a channel.
pub(crate) struct Stream<R: Runtime> {
    index: usize,
    channel: Rc<Channel>,
    runtime: PhantomData<R>,
}

impl<R: Runtime> Stream<R> {
    /// The client of slot `index`.
    pub(crate) fn new(index: usize, channel: Rc<Channel>) -> Self {
        Self { index, channel, runtime: PhantomData }
    }
}

impl<R: Runtime> Exchange for Stream<R> {
    async fn open(&mut self) {
        while !self.channel.state.borrow().tried {
            R::sleep_until(R::now() + SETTLE).await;
        }
    }

    async fn exchange(&mut self, target: usize) -> Result<u64, Failed> {
        {
            let mut state = self.channel.state.borrow_mut();
            state.queued.push_back((self.index, target));
            state.advance(&self.channel.run.orders);
        }
        let engine = &self.channel.run.engine;
        let outcome = Delivered { engine, index: self.index }.await;
        if outcome.is_ok() {
            return outcome;
        }
        let mut state = self.channel.state.borrow_mut();
        let state = &mut *state;
        // One that was given up is still there.
        state.queued.retain(|(slot, _)| *slot != self.index);
        if let Some(at) = state.pending.iter().position(|pending| pending.slot == self.index) {
            let pending = state.pending.swap_remove(at);
            if let Some(http2) = &mut state.http2 {
                http2.forget(pending.stream);
            }
        }
        outcome
    }
}
