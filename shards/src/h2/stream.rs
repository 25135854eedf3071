//! One stream in the hands of its exchange: a body that arrives, a message that leaves.
//!
//! The same for both roles. Both halves wait by the connection's state, never by the connection.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use proxy::fault::Fault;
use proxy::h2::{ErrorCode, Fields, Message, StreamId};
use proxy::http::HeadWriter;
use proxy::limits::{self, H2_OUTPUT_BYTES_MAX};
use runtime::{Buf, Runtime};

use super::{End, SPARE_MAX, Shared, Slot, State, TURN_BYTES_MIN};
use crate::cut::Cut;
use crate::deadline::{Deadline, Deadlines};
use crate::relay::{Drain, Piece, Source};

/// A stream of a connection.
#[derive(Debug)]
pub(crate) struct Stream<M: Message> {
    shared: Rc<Shared<M>>,
    id: StreamId,
}

/// The message that arrives.
#[derive(Debug)]
pub(crate) struct Incoming<R: Runtime, M: Message> {
    stream: Stream<M>,
    /// Taken from the connection, not yet forwarded.
    body: Vec<u8>,
    /// Bytes of it that were given out.
    given: usize,
    trailers: Vec<u8>,
    whole: bool,
    pace: Option<Pace>,
    runtime: PhantomData<fn() -> R>,
}

/// The least rate of a body, and who keeps it.
#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) deadline: Deadline,
    pub(crate) window: Duration,
    pub(crate) in_window: u64,
    pub(crate) waited: Duration,
}

/// The message that leaves.
#[derive(Debug)]
pub(crate) struct Outgoing<R: Runtime, M: Message> {
    stream: Stream<M>,
    /// Its end is said.
    ended: bool,
    /// Bytes that went out.
    pub(crate) sent: u64,
    memory: Vec<u8>,
    stall: Stall,
    runtime: PhantomData<fn() -> R>,
}

/// Whether the peer takes what it asked for.
#[derive(Debug)]
struct Stall {
    deadlines: Rc<Deadlines>,
    deadline: Option<Deadline>,
    window: Duration,
    /// Its window holds back what is to be sent now.
    held: bool,
    /// When it began to, and what it has taken since.
    since: Option<Instant>,
    taken: u64,
}

impl<M: Message> Shared<M> {
    /// The most bytes of fields that the peer reads.
    pub(crate) fn head_bytes_max(&self) -> u32 {
        self.state.borrow().engine.peer().header_list_bytes_max
    }
}

impl<M: Message> Clone for Stream<M> {
    fn clone(&self) -> Self {
        Self { shared: Rc::clone(&self.shared), id: self.id }
    }
}

impl<M: Message> Stream<M> {
    pub(crate) fn new(shared: Rc<Shared<M>>, id: StreamId) -> Self {
        Self { shared, id }
    }

    /// Both halves; `window` is the time in which the peer must take the least rate.
    pub(crate) fn halves<R: Runtime>(
        &self,
        deadlines: &Rc<Deadlines>,
        window: Duration,
    ) -> (Incoming<R, M>, Outgoing<R, M>) {
        let incoming = Incoming {
            stream: self.clone(),
            body: Vec::new(),
            given: 0,
            trailers: Vec::new(),
            whole: false,
            pace: None,
            runtime: PhantomData,
        };
        let deadlines = Rc::clone(deadlines);
        let stall = Stall { deadlines, deadline: None, window, held: false, since: None, taken: 0 };
        let outgoing = Outgoing {
            stream: self.clone(),
            ended: false,
            sent: 0,
            memory: Vec::new(),
            stall,
            runtime: PhantomData,
        };
        (incoming, outgoing)
    }

    /// The exchange is over.
    pub(crate) fn forget(&self, now: Instant) {
        self.shared.with(|state| state.forget(self.id, now));
    }

    /// Why it ended early, if it did.
    pub(crate) fn end(&self) -> Option<End> {
        self.shared.with(|state| match state.slot(self.id) {
            Some(slot) => slot.end,
            None => Some(End::Gone),
        })
    }

    /// Ready when it ends early, but for what we do about it ourselves.
    pub(crate) fn poll_abandoned(&self, cx: &Context<'_>) -> Poll<End> {
        let end = self.poll(cx, |slot| slot.end.filter(|end| *end != End::Ours));
        end.map(|end| end.unwrap_or(End::Gone))
    }

    /// Ends it by a reset.
    pub(crate) fn reset(&self, code: ErrorCode) {
        self.mark(|slot| slot.end = slot.end.or(Some(End::Ours)));
        self.shared.with(|state| state.engine.reset(self.id, code));
    }

    /// Lets whoever works on it see that we want its end.
    pub(crate) fn give_up(&self) {
        self.mark(|slot| slot.end = slot.end.or(Some(End::Ours)));
    }

    /// Lets whoever waits for its body see that none will come.
    pub(crate) fn give_up_reading(&self) {
        self.mark(|slot| slot.late = true);
    }

    fn mark(&self, change: impl FnOnce(&mut Slot<M>)) {
        self.shared.with(|state| {
            if let Some(slot) = state.slot(self.id) {
                change(slot);
                slot.wake();
            }
        });
    }

    /// Looks whether `ready` finds something; `None` when the stream is gone.
    fn poll<T>(
        &self,
        cx: &Context<'_>,
        ready: impl FnOnce(&mut Slot<M>) -> Option<T>,
    ) -> Poll<Option<T>> {
        self.shared.with(|state| {
            let Some(slot) = state.slot(self.id) else { return Poll::Ready(None) };
            match ready(slot) {
                Some(found) => Poll::Ready(Some(found)),
                None => {
                    slot.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Waits for a head (client). `Err`: there will be none, with what is known of why.
    pub(crate) async fn head(&self, head: &mut M) -> Result<(), End> {
        let found = poll_fn(|cx| {
            self.poll(cx, |slot| match (slot.heads.pop_front(), slot.end) {
                (Some(found), _) => Some(Ok(found)),
                (None, Some(end)) => Some(Err(end)),
                (None, None) => None,
            })
        });
        let mut found = found.await.unwrap_or(Err(End::Gone))?;
        std::mem::swap(head, &mut found);
        self.shared.with(|state| {
            if state.spare_heads.len() < SPARE_MAX {
                state.spare_heads.push(found);
            }
        });
        Ok(())
    }

    /// A head arrived (client); it is swapped for an old one.
    pub(crate) fn put_head(&self, head: &mut M, end: bool)
    where
        M: Default,
    {
        self.shared.with(|state| {
            let mut place = state.spare_heads.pop().unwrap_or_default();
            std::mem::swap(head, &mut place);
            if let Some(slot) = state.slot(self.id) {
                slot.heads.push_back(place);
                slot.answered = true;
                slot.whole |= end;
                slot.wake();
            }
        });
    }
}

impl<R: Runtime, M: Message> Incoming<R, M> {
    pub(crate) fn stream(&self) -> &Stream<M> {
        &self.stream
    }

    /// Takes over what has arrived.
    fn take(&mut self) {
        let Self { stream, body, given, trailers, whole, .. } = self;
        stream.shared.with(|state| {
            if *given > 0 {
                state.engine.release(stream.id, std::mem::take(given));
            }
            if let Some(slot) = state.take_body(stream.id, body)
                && slot.whole
                && !std::mem::replace(whole, true)
            {
                std::mem::swap(trailers, &mut slot.trailers);
            }
        });
    }

    /// The length of the whole message if it has arrived, without trailers and within `bytes_max`.
    pub(crate) fn here(&mut self, bytes_max: usize) -> Option<usize> {
        if self.body.is_empty() && !self.whole {
            self.take();
        }
        let fits = self.whole && self.trailers.is_empty() && self.body.len() <= bytes_max;
        fits.then_some(self.body.len())
    }

    /// What has arrived of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// What has arrived is dealt with.
    pub(crate) fn take_bytes(&mut self) {
        self.given = self.body.len();
        self.take();
    }

    /// Whether nothing more comes.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// From now on the peer must keep the least rate, or need not.
    pub(crate) fn set_pace(&mut self, pace: Option<Pace>) {
        self.pace = pace;
    }

    async fn wait(&mut self) -> Result<(), Fault> {
        let found = poll_fn(|cx| {
            self.stream.poll(cx, |slot| {
                let here = !slot.body.is_empty() || slot.whole;
                match slot.end {
                    _ if here => Some(Ok(())),
                    _ if slot.late => Some(Err(Fault::BodyTooSlow)),
                    Some(End::Malformed) => Some(Err(Fault::Malformed(400))),
                    Some(_) => Some(Err(Fault::ClientGone)),
                    None => None,
                }
            })
        });
        let result = found.await.unwrap_or(Err(Fault::ClientGone));
        // What a backend does not send to its end is not its client's fault.
        if M::SERVER { result } else { result.map_err(|_| Fault::UpstreamTruncated) }
    }
}

impl<R: Runtime, M: Message> Source for Incoming<R, M> {
    fn next(&mut self) -> Result<Piece<'_>, Fault> {
        if self.given > 0 || self.body.is_empty() {
            self.take();
        }
        if self.body.is_empty() {
            return Ok(if self.whole { Piece::End } else { Piece::Nothing });
        }
        self.given = self.body.len();
        Ok(Piece::Bytes { bytes: &self.body, last: self.whole && self.trailers.is_empty() })
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        let Some(pace) = &mut self.pace else { return self.wait().await };
        let since = R::now();
        if pace.in_window >= limits::body_bytes_min(pace.window) {
            (pace.in_window, pace.waited) = (0, Duration::ZERO);
        }
        pace.deadline.set_for_reading(since + pace.window.saturating_sub(pace.waited));
        let filled = self.wait().await;
        let arrived = self
            .stream
            .shared
            .with(|state| state.slot(self.stream.id).map_or(0, |slot| slot.body.len()));
        if let Some(pace) = &mut self.pace {
            pace.deadline.clear();
            pace.waited += R::now().saturating_duration_since(since);
            pace.in_window += arrived as u64;
        }
        filled
    }

    fn trailers(&self) -> &[u8] {
        &self.trailers
    }
}

impl<R: Runtime, M: Message> Outgoing<R, M>
where
    Cut: From<Stream<M>>,
{
    /// Takes or gives back memory to write values in.
    pub(crate) fn lend(&mut self, memory: &mut Vec<u8>) {
        self.memory.clear();
        std::mem::swap(&mut self.memory, memory);
    }

    /// A head whose stream is open already.
    pub(crate) async fn head(
        &mut self,
        end: bool,
        write: impl FnOnce(&mut Fields<'_, '_>),
    ) -> io::Result<()> {
        self.room().await?;
        let (id, memory) = (self.stream.id, &mut self.memory);
        let written = self.stream.shared.with(|state| {
            let before = state.engine.output().len();
            state.engine.send_head(id, end, |block| write(&mut Fields(block, memory)));
            state.engine.output().len() - before
        });
        self.sent += written as u64;
        self.ended |= end;
        Ok(())
    }

    /// The most bytes of fields that the peer reads.
    pub(crate) fn head_bytes_max(&self) -> u32 {
        self.stream.shared.head_bytes_max()
    }

    /// The peer made us wait too long.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stall.deadline.as_ref().is_some_and(Deadline::fired)
    }

    /// Its head was sent when the stream was opened.
    pub(crate) fn opened(&mut self, end: bool) {
        self.ended = end;
    }

    /// Waits until the output has room.
    async fn room(&self) -> io::Result<()> {
        let Stream { shared, id } = &self.stream;
        poll_fn(|cx| {
            shared.with(|state| {
                ended(state, *id)?;
                if !state.engine.is_choked() {
                    return Poll::Ready(Ok(()));
                }
                await_room(state, *id, cx);
                Poll::Pending
            })
        })
        .await
    }

    /// One turn: gives away what the windows and the output take.
    fn poll_data(&mut self, cx: &Context<'_>, rest: &mut &[u8], end: bool) -> Poll<io::Result<()>> {
        let Stream { shared, id } = &self.stream;
        shared.with(|state| {
            ended(state, *id)?;
            let turn = TURN_BYTES_MIN.max(H2_OUTPUT_BYTES_MAX / (state.room.len() + 1));
            let (now, later) = rest.split_at(rest.len().min(turn));
            let taken = state.engine.send_data(*id, now, end && later.is_empty());
            *rest = &rest[taken..];
            self.sent += taken as u64;
            self.stall.taken += taken as u64;
            if rest.is_empty() {
                self.ended |= end;
                return Poll::Ready(Ok(()));
            }
            if taken == now.len() || state.engine.is_choked() {
                await_room(state, *id, cx);
            } else {
                self.stall.held = true;
                if let Some(slot) = state.slot(*id) {
                    slot.waker = Some(cx.waker().clone());
                }
            }
            Poll::Pending
        })
    }

    async fn data(&mut self, bytes: &[u8], end: bool) -> io::Result<()> {
        let mut rest = bytes;
        let stream = self.stream.clone();
        self.stall.held = false;
        poll_fn(|cx| {
            let polled = self.poll_data(cx, &mut rest, end);
            if polled.is_pending() && self.stall.held {
                self.stall.watch::<R>(|| stream.clone().into());
            }
            polled
        })
        .await?;
        if !self.stall.held {
            self.stall.clear();
        }
        Ok(())
    }
}

/// An error if the stream is over.
fn ended<M: Message>(state: &mut State<M>, id: StreamId) -> io::Result<()> {
    match state.slot(id) {
        Some(Slot { end: None, .. }) => Ok(()),
        Some(_) | None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Waits for its turn to add to the output.
fn await_room<M: Message>(state: &mut State<M>, id: StreamId, cx: &Context<'_>) {
    if !state.room.contains(&id) {
        state.room.push_back(id);
    }
    if let Some(slot) = state.slot(id) {
        slot.waker = Some(cx.waker().clone());
    }
}

impl Stall {
    /// The peer holds us up: from then on it must take the least rate.
    fn watch<R: Runtime>(&mut self, cut: impl FnOnce() -> Cut) {
        let now = R::now();
        let since = *self.since.get_or_insert(now);
        if self.taken >= limits::body_bytes_min(self.window) {
            (self.since, self.taken) = (Some(now), 0);
        }
        let since = self.since.unwrap_or(since);
        let deadlines = &self.deadlines;
        let deadline = self.deadline.get_or_insert_with(|| deadlines.register(cut()));
        deadline.set(since + self.window);
    }

    fn clear(&mut self) {
        (self.since, self.taken) = (None, 0);
        if let Some(deadline) = &self.deadline {
            deadline.clear();
        }
    }
}

impl<R: Runtime, M: Message> Drain for Outgoing<R, M>
where
    Cut: From<Stream<M>>,
{
    async fn write(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        self.data(bytes, last).await
    }

    async fn write_block(&mut self, block: Buf, last: bool) -> io::Result<()> {
        self.data(&block, last).await
    }

    /// The connection's task sends by itself.
    async fn flush(&mut self) -> io::Result<()> {
        self.stall.clear();
        Ok(())
    }

    async fn end(&mut self, trailers: &[u8]) -> io::Result<()> {
        self.stall.clear();
        if self.ended {
            return Ok(());
        }
        if trailers.is_empty() {
            return self.data(b"", true).await;
        }
        self.head(true, |out| out.lines(trailers)).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.end(b"").await
    }
}
