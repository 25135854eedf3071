//! Bytes both ways between two connections until both directions have ended.
//!
//! Each direction receives a block, sends it on, and only then receives the next: no more than a block
//! is held, and a side that takes nothing holds up the other. Ends are passed on as they came: FIN as
//! FIN, while the other direction goes on; a reset as a reset. It knows nothing of routing.
//! Invariant: a stream that was cut never ends on the other side as if it were whole.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proxy::fault::Fault;
use runtime::buf::SMALL_BYTES;
use runtime::{Abort, Runtime, Size};

use crate::input::Input;
use crate::race::both;
use crate::shard::Shard;
use crate::transport::{RecvHalf, SendHalf};

/// One of the two connections.
pub(crate) struct End<'e, R: Runtime> {
    pub(crate) send: &'e mut SendHalf<R>,
    pub(crate) recv: &'e mut RecvHalf<R>,
    /// What it sent that was received already.
    pub(crate) input: &'e mut Input,
}

/// What both directions and the clock share.
#[derive(Debug)]
pub(crate) struct Flow {
    client: Abort,
    upstream: Abort,
    /// From client to upstream.
    up: Lane,
    /// From upstream to client.
    down: Lane,
    cut: Cell<Option<Fault>>,
    /// The counters of its listener.
    slot: u32,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    moved: Cell<u64>,
}

/// How one direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneEnd {
    /// With the sender's FIN, passed on; or the whole flow was cut.
    Done,
    /// The receiver has sent its FIN and takes no more.
    Refused,
}

/// One direction at work.
struct Pump<'p, R: Runtime> {
    shard: &'p Shard<R>,
    flow: &'p Flow,
    lane: &'p Lane,
    /// What it means when the sender or the receiver breaks.
    faults: (Fault, Fault),
}

impl Flow {
    pub(crate) fn new(client: Abort, upstream: Abort, slot: u32) -> Rc<Self> {
        let (up, down) = (Lane::default(), Lane::default());
        Rc::new(Self { client, upstream, up, down, cut: Cell::new(None), slot })
    }

    /// Bytes moved so far, from the client and to it.
    pub(crate) fn moved(&self) -> (u64, u64) {
        (self.up.moved.get(), self.down.moved.get())
    }

    /// Why it was cut, if it was.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.cut.get()
    }

    /// Ends both connections by a reset, because of `fault`.
    pub(crate) fn cut(&self, fault: Fault) {
        if self.cut.get().is_none() {
            self.cut.set(Some(fault));
            self.reset();
        }
    }

    /// Resets both connections.
    pub(crate) fn reset(&self) {
        self.client.reset_now();
        self.upstream.reset_now();
    }
}

/// Relays until both directions have ended.
pub(crate) async fn run<R: Runtime>(
    shard: &Rc<Shard<R>>,
    flow: &Rc<Flow>,
    client: End<'_, R>,
    upstream: End<'_, R>,
) {
    let limit = shard.installed().epoch.settings.timeouts.stream_idle;
    let idle = shard.deadlines.watch(Rc::clone(flow), R::now(), limit);
    let (gone, reset) = (Fault::ClientGone, Fault::UpstreamReset);
    let up = Pump { shard, flow, lane: &flow.up, faults: (gone, reset) };
    let down = Pump { shard, flow, lane: &flow.down, faults: (reset, gone) };
    let (up, down) = both(
        pin!(up.run((client.recv, client.input), upstream.send)),
        pin!(down.run((upstream.recv, upstream.input), client.send)),
    )
    .await;
    drop(idle);
    if flow.cut.get().is_none() && up == LaneEnd::Refused {
        Box::pin(linger(shard, &flow.client, client.recv, client.input)).await;
    }
    if flow.cut.get().is_none() && down == LaneEnd::Refused {
        Box::pin(linger(shard, &flow.upstream, upstream.recv, upstream.input)).await;
    }
}

impl<R: Runtime> Pump<'_, R> {
    async fn run(
        &self,
        (recv, input): (&mut RecvHalf<R>, &mut Input),
        send: &mut SendHalf<R>,
    ) -> LaneEnd {
        let (mut size, mut out) = (Size::Small, Vec::new());
        loop {
            let length = input.bytes().len();
            if length > 0 {
                match self.pass(input, send, out).await {
                    Ok(back) => out = back,
                    Err(error) => return self.refused(&error),
                }
                self.count(length);
                // Little is asked for while little comes: it needs no system call of its own.
                size = if length < SMALL_BYTES { Size::Small } else { Size::Large };
            }
            match recv.fill(size, input).await {
                _ if self.flow.cut.get().is_some() => return LaneEnd::Done,
                Ok(true) => {}
                Ok(false) => return self.finish(send).await,
                Err(_) => {
                    self.flow.cut(self.faults.0);
                    return LaneEnd::Done;
                }
            }
        }
    }

    /// Sends all that was received, as the block it came in where it is one.
    async fn pass(
        &self,
        input: &mut Input,
        send: &mut SendHalf<R>,
        mut out: Vec<u8>,
    ) -> io::Result<Vec<u8>> {
        match input.take_block() {
            Some(block) => out = send.send_block(out, block).await?,
            None => {
                out.extend_from_slice(input.bytes());
                input.consume(input.bytes().len());
                out = send.send(out).await?;
                if out.capacity() > OUT_KEPT_BYTES_MAX {
                    out = Vec::new();
                }
            }
        }
        Ok(out)
    }

    fn count(&self, length: usize) {
        let moved = &self.lane.moved;
        moved.set(moved.get() + length as u64);
        let is_up = std::ptr::eq(self.lane, &raw const self.flow.up);
        self.shard.recorder.stream_moved(self.flow.slot, is_up, length);
    }

    /// What was sent found no taker. One that sent FIN before may have said all it had to say, and
    /// that is still passed on; any other is broken.
    fn refused(&self, error: &io::Error) -> LaneEnd {
        if error.kind() == io::ErrorKind::BrokenPipe && self.flow.cut.get().is_none() {
            return LaneEnd::Refused;
        }
        self.flow.cut(self.faults.1);
        LaneEnd::Done
    }

    async fn finish(&self, send: &mut SendHalf<R>) -> LaneEnd {
        // A receiver that is gone shows itself in the other direction.
        let _ = send.finish().await;
        LaneEnd::Done
    }
}

/// Takes what is still sent for a moment, so that the reset which answers it destroys nothing of what
/// was sent the other way.
async fn linger<R: Runtime>(
    shard: &Rc<Shard<R>>,
    abort: &Abort,
    recv: &mut RecvHalf<R>,
    input: &mut Input,
) {
    let deadline = shard.deadlines.register(abort.clone());
    deadline.set(R::now() + LINGER);
    let mut taken = 0;
    while taken < LINGER_BYTES_MAX && recv.fill(Size::Large, input).await.unwrap_or(false) {
        taken += input.bytes().len();
        input.consume(input.bytes().len());
    }
}

/// The clock's side of a flow: whether anything moved.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) flow: Rc<Flow>,
    limit: Duration,
    seen: u64,
    quiet: u32,
}

impl Idle {
    pub(crate) fn new(flow: Rc<Flow>, limit: Duration) -> Self {
        Self { flow, limit, seen: 0, quiet: 0 }
    }

    /// When to look next.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        now + self.limit / LOOKS
    }

    /// Looks, and cuts the flow if nothing moved for its limit. Returns whether it did.
    pub(crate) fn look(&mut self) -> bool {
        let (up, down) = self.flow.moved();
        let moved = up + down;
        self.quiet = if moved == self.seen { self.quiet + 1 } else { 0 };
        self.seen = moved;
        let cut = self.quiet >= LOOKS;
        if cut {
            self.flow.cut(Fault::StreamIdle);
        }
        cut
    }
}

const OUT_KEPT_BYTES_MAX: usize = 2 * 1024;
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// Looks at a flow within its idle limit; it ends at most one of them late.
const LOOKS: u32 = 4;
