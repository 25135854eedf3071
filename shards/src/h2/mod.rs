//! A connection of HTTP/2 as both sides drive it: the engine and its streams in one place.
//!
//! The connection's task receives, feeds the engine ([`Shared::digest`]) and sends what it has to say
//! ([`send`]); every exchange works on a stream of its own by a [`stream::Stream`]. All are tasks of
//! one thread, so frames of many streams leave in one send. Invariants: no borrow of the state lives
//! across an await; what waits to be sent is bounded, and whoever would add to it waits in turn.

pub(crate) mod clock;
pub(crate) mod listed;
mod slot;
pub(crate) mod stream;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use proxy::h1;
use proxy::h2::hpack::Block;
use proxy::h2::{Connection, ConnectionError, ErrorCode, Event, Message, StreamId};
use proxy::http::{Method, ResponseHead};
use proxy::limits::{
    H2_CLIENT_BYTES_MAX, H2_CONNECTION_WINDOW_BYTES, H2_HEADS_BYTES_MAX, H2_OUTPUT_BYTES_MAX,
    H2_STREAM_WINDOW_BYTES, H2_STREAMS_MAX,
};
use runtime::Abort;

pub(crate) use self::clock::Clock;
pub(crate) use self::slot::End;
use self::slot::{GROWTH, Slot};
use self::stream::Stream;
use crate::framed::Outlet;
use crate::input::Input;
use crate::report::Http2Counts;

/// A connection and its streams.
#[derive(Debug)]
pub(crate) struct Shared<M: Message> {
    state: RefCell<State<M>>,
}

/// What the tasks of a connection share.
#[derive(Debug)]
pub(crate) struct State<M: Message> {
    pub(crate) engine: Connection<M>,
    /// By identifier.
    streams: Vec<(StreamId, Box<Slot<M>>)>,
    /// How many of them are reset, with an exchange that has not seen it yet.
    reset: usize,
    /// Memory of all their bodies (bytes).
    bodies: usize,
    #[allow(clippy::vec_box, reason = "moved in and out as a pointer for every stream")]
    spare: Vec<Box<Slot<M>>>,
    /// Memory for the next bodies that have none (server).
    spare_bodies: Vec<Vec<u8>>,
    /// Heads whose memory the next ones take (client).
    #[allow(clippy::vec_box, reason = "moved in and out as a pointer for every head")]
    spare_heads: Vec<Box<M>>,
    /// Whoever waits for room in the output, in the order in which they came.
    room: VecDeque<StreamId>,
    writer: Option<Waker>,
    reader: Option<Waker>,
    phase: Phase,
    /// The peer takes no more streams.
    leaving: bool,
    clock: Clock,
    abort: Abort,
    /// What happened since somebody counted.
    tally: Http2Counts,
}

/// How far a connection's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// What is said is sent, then FIN.
    Finishing,
    /// Nothing can be said any more.
    Gone,
}

/// What the driver has to act on.
#[derive(Debug)]
pub(crate) enum Found {
    /// The head is filled.
    Head { stream: StreamId, end: bool },
    /// A request that gets an error answer.
    Refused { stream: StreamId, why: h1::error::Error },
    /// Nothing more until more is received.
    Nothing,
    /// Nothing more until some output is sent, or exchanges of streams that were reset are over.
    Choked,
}

impl<M: Message> Shared<M> {
    pub(crate) fn new(engine: Connection<M>, clock: Clock, abort: Abort) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(State {
                engine,
                streams: Vec::new(),
                reset: 0,
                bodies: 0,
                spare: Vec::new(),
                spare_bodies: Vec::new(),
                spare_heads: Vec::new(),
                room: VecDeque::new(),
                writer: None,
                reader: None,
                phase: Phase::Open,
                leaving: false,
                clock,
                abort,
                tally: Http2Counts::default(),
            }),
        })
    }

    /// Works on the state; whatever that gives to say is sent.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State<M>) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let result = work(&mut state);
        if !state.engine.output().is_empty()
            && let Some(writer) = state.writer.take()
        {
            writer.wake();
        }
        result
    }

    /// Feeds the engine from `input` up to something that the driver has to act on.
    ///
    /// # Errors
    /// The peer broke the protocol; the reason is in the output.
    pub(crate) fn digest(
        &self,
        input: &mut Input,
        head: &mut M,
        now: Instant,
    ) -> Result<Found, ConnectionError> {
        self.with(|state| state.digest(input, head, now))
    }

    /// What happened since the last call.
    pub(crate) fn take_tally(&self) -> Http2Counts {
        std::mem::take(&mut self.state.borrow_mut().tally)
    }

    /// Waits until more may be read.
    pub(crate) async fn relieved(&self) {
        poll_fn(|cx| {
            self.with(|state| {
                if state.is_choked() && state.phase == Phase::Open {
                    state.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
        })
        .await;
    }

    /// Nothing comes any more; what is said is still sent, then FIN.
    pub(crate) fn finish(&self) {
        self.end(Phase::Finishing);
    }

    /// The connection is gone.
    pub(crate) fn gone(&self) {
        self.end(Phase::Gone);
    }

    fn end(&self, phase: Phase) {
        let mut state = self.state.borrow_mut();
        state.phase = phase;
        for (_, slot) in &mut state.streams {
            slot.end = slot.end.or(Some(End::Gone));
            slot.wake();
        }
        for waker in [state.writer.take(), state.reader.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// The peer's first SETTINGS are here.
    pub(crate) fn is_established(&self) -> bool {
        self.state.borrow().engine.is_established()
    }

    /// Begins to end it gracefully, unless that has begun.
    pub(crate) fn drain(&self) {
        self.with(|state| {
            if !state.engine.is_draining() {
                state.engine.drain();
            }
            state.rest();
        });
    }

    fn poll_output(&self, cx: &Context<'_>, out: &mut Vec<u8>) -> Poll<bool> {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Gone {
            return Poll::Ready(false);
        }
        if state.engine.output().is_empty() {
            if state.phase == Phase::Finishing {
                return Poll::Ready(false);
            }
            if state.streams.is_empty() && out.capacity() > IDLE_KEPT_BYTES_MAX {
                *out = Vec::new();
            }
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(state.engine.output(), out);
        for id in std::mem::take(&mut state.room) {
            if let Some(slot) = state.slot(id) {
                slot.wake();
            }
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        Poll::Ready(true)
    }
}

impl Shared<ResponseHead> {
    /// Whether a stream could begin now.
    pub(crate) fn can_request(&self) -> bool {
        let state = self.state.borrow();
        state.phase == Phase::Open && !state.is_late() && state.engine.can_request()
    }

    /// Streams that may be open at once.
    pub(crate) fn streams_max(&self) -> u32 {
        self.state.borrow().engine.peer().streams_max.min(H2_STREAMS_MAX)
    }

    /// Begins a stream by a request; `None` if that is not possible (any more).
    pub(crate) fn request(
        shared: &Rc<Self>,
        method: Method,
        end: bool,
        write: impl FnOnce(&mut Block<'_>),
    ) -> Option<Stream<ResponseHead>> {
        shared.with(|state| {
            if state.phase != Phase::Open {
                return None;
            }
            let id = state.engine.request(method, false, end, write)?;
            state.open(id);
            Some(Stream::new(Rc::clone(shared), id))
        })
    }
}

/// Sends what there is to say until the connection ends.
pub(crate) async fn send<M: Message>(
    shared: &Shared<M>,
    outlet: &mut impl Outlet,
) -> io::Result<()> {
    let mut out = Vec::new();
    while poll_fn(|cx| shared.poll_output(cx, &mut out)).await {
        out = outlet.send(out).await?;
    }
    outlet.finish().await
}

impl<M: Message> State<M> {
    fn digest(
        &mut self,
        input: &mut Input,
        head: &mut M,
        now: Instant,
    ) -> Result<Found, ConnectionError> {
        loop {
            if self.is_choked() {
                return Ok(Found::Choked);
            }
            let read = self.engine.read(input.bytes(), head, now)?;
            self.clock.hear(read.consumed);
            let found = match read.event {
                Some(Event::Head { stream, end }) => {
                    self.clock.active();
                    if M::SERVER {
                        self.tally.streams += 1;
                        self.open(stream).whole = end;
                    }
                    Some(Found::Head { stream, end })
                }
                Some(Event::Refused { stream, why }) => {
                    self.tally.streams += 1;
                    self.open(stream);
                    Some(Found::Refused { stream, why })
                }
                Some(event) => {
                    self.apply(event, input.bytes());
                    None
                }
                None if read.consumed == 0 => Some(Found::Nothing),
                None => None,
            };
            input.consume(read.consumed);
            if read.consumed > 0 && !self.is_amid() {
                self.clock.is_whole(); // What is incomplete now is another frame.
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    fn apply(&mut self, event: Event, input: &[u8]) {
        match event {
            Event::Data { stream, range, end } => {
                self.clock.active();
                let at = self.find(stream);
                if let Some((_, slot)) = at.and_then(|at| self.streams.get_mut(at)) {
                    let spare = &mut self.spare_bodies;
                    self.bodies += slot.put(&input[range], spare);
                    slot.whole |= end;
                    slot.wake();
                }
            }
            Event::Trailers { stream } => {
                let at = self.find(stream);
                if let Some((_, slot)) = at.and_then(|at| self.streams.get_mut(at)) {
                    slot.trailers.extend_from_slice(self.engine.trailers());
                    slot.whole = true;
                    slot.wake();
                }
            }
            Event::Reset { stream, code, by_peer } => {
                self.tally.reset += u64::from(by_peer);
                let at = self.find(stream);
                if let Some((_, slot)) = at.and_then(|at| self.streams.get_mut(at)) {
                    self.reset += usize::from(!std::mem::replace(&mut slot.reset, true));
                    slot.end = Some(match code {
                        _ if !by_peer => End::Malformed,
                        ErrorCode::RefusedStream => slot.refused(),
                        code => End::Peer(code),
                    });
                    slot.wake();
                }
            }
            Event::Writable { stream: Some(stream) } => {
                if let Some(slot) = self.slot(stream) {
                    slot.wake();
                }
            }
            Event::Writable { stream: None } | Event::Settings => {
                self.streams.iter_mut().for_each(|(_, slot)| slot.wake());
            }
            Event::GoAway { last, .. } if !M::SERVER => {
                self.leaving = true;
                for (id, slot) in &mut self.streams {
                    if id.number() > last {
                        slot.end = slot.end.or_else(|| Some(slot.refused()));
                        slot.wake();
                    }
                }
                self.rest();
            }
            Event::Rejected { .. } => self.tally.rejected += 1,
            Event::Pong => self.clock.signed(),
            Event::GoAway { .. } | Event::Head { .. } | Event::Refused { .. } => {}
        }
    }

    /// Whether nothing more may be read: too much waits to be sent, or too many exchanges wait to see
    /// that their streams are gone. Resets come faster than exchanges end.
    fn is_choked(&self) -> bool {
        self.engine.is_choked() || (M::SERVER && self.reset >= RESETS_MAX)
    }

    /// Nothing comes any more.
    fn is_finishing(&self) -> bool {
        self.phase == Phase::Finishing
    }

    fn find(&self, id: StreamId) -> Option<usize> {
        self.streams.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    fn slot(&mut self, id: StreamId) -> Option<&mut Slot<M>> {
        let at = self.find(id)?;
        self.streams.get_mut(at).map(|(_, slot)| &mut **slot)
    }

    /// A stream that was opened just now; identifiers only grow.
    fn open(&mut self, id: StreamId) -> &mut Slot<M> {
        let slot = self.spare.pop().unwrap_or_default();
        self.clock.occupied();
        self.streams.push((id, slot));
        let at = self.streams.len() - 1;
        &mut self.streams[at].1
    }

    /// The exchange on a stream is over.
    fn forget(&mut self, id: StreamId, now: Instant) {
        self.engine.forget(id);
        let Some(at) = self.find(id) else { return };
        let (_, mut slot) = self.streams.remove(at);
        self.bodies -= std::mem::take(&mut slot.memory);
        if std::mem::take(&mut slot.reset) {
            self.reset -= 1;
            if self.reset == 0
                && let Some(reader) = self.reader.take()
            {
                reader.wake();
            }
        }
        if self.spare.len() < SPARE_MAX && slot.body.capacity() <= SPARE_BODY_BYTES_MAX {
            slot.clear();
            slot.memory = slot.body.capacity();
            self.bodies += slot.memory;
            self.spare.push(slot);
        }
        if self.streams.is_empty() {
            let dropped = self.spare.iter().skip(1).map(|slot| slot.memory).sum::<usize>();
            self.bodies -= dropped;
            self.spare.truncate(1);
            self.spare_heads.truncate(1);
            self.spare_bodies.truncate(1);
        }
        if self.streams.is_empty() {
            self.clock.vacant(now);
        }
        self.rest();
    }

    /// Takes what has arrived of a stream's body for `body`, which is done with.
    fn take_body(&mut self, id: StreamId, body: &mut Vec<u8>) -> Option<&mut Slot<M>> {
        body.clear();
        let at = self.find(id)?;
        let (_, slot) = self.streams.get_mut(at)?;
        if M::SERVER && self.bodies > BODIES_KEPT_BYTES_MAX {
            let memory = std::mem::take(body).capacity();
            self.bodies -= memory;
            slot.memory -= memory;
        }
        let memory = body.capacity();
        let waits = M::SERVER && memory > 0 && memory <= SPARE_BODY_BYTES_MAX;
        if waits && slot.body.is_empty() && !slot.whole {
            // Its client may be long in sending more, and has other streams.
            self.bodies -= memory;
            slot.memory -= memory;
            let done_with = std::mem::take(body);
            if self.spare_bodies.len() < SPARE_BODIES_MAX {
                self.spare_bodies.push(done_with);
            }
        }
        std::mem::swap(body, &mut slot.body);
        Some(slot)
    }

    /// Lets whoever receives see that nothing is left to be done.
    fn rest(&mut self) {
        if self.engine.is_drained() || (self.leaving && self.streams.is_empty()) {
            self.abort.abort_reading();
        }
    }
}

/// A stream takes no more of the output than this in one turn while others wait.
const TURN_BYTES_MIN: usize = 16 * 1024;
/// An idle connection keeps no larger buffer.
const IDLE_KEPT_BYTES_MAX: usize = 4 * 1024;
/// Slots that a connection keeps for its next streams.
const SPARE_MAX: usize = 16;
const SPARE_BODY_BYTES_MAX: usize = 2 * 1024;
/// So many streams of a client may be reset before their exchanges end.
const RESETS_MAX: usize = 16;
/// Bodies whose memory a connection keeps for any of its streams.
const SPARE_BODIES_MAX: usize = 4;

/// A client's bodies keep the memory that they are done with up to this, all taken together.
const BODIES_KEPT_BYTES_MAX: usize = 2 * H2_STREAM_WINDOW_BYTES as usize;
/// What else a connection of a client holds: HPACK's tables, its streams, a frame that is not whole.
const REST_BYTES_MAX: usize = 64 * 1024;

// Memory that a body keeps is counted, so all of them take no more than what is kept and what the
// window lets in; one output is being sent while the next one fills.
const _: () = assert!(
    BODIES_KEPT_BYTES_MAX
        + H2_CONNECTION_WINDOW_BYTES as usize / GROWTH * (GROWTH + 1)
        + H2_HEADS_BYTES_MAX
        + 2 * H2_OUTPUT_BYTES_MAX
        + REST_BYTES_MAX
        <= H2_CLIENT_BYTES_MAX
);
const _: () = assert!(TURN_BYTES_MIN <= H2_OUTPUT_BYTES_MAX);
