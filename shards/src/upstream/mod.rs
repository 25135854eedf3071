//! Connections to endpoints: taken from this shard's pool or opened.
//!
//! Identity is the endpoint's address. [`InFlight`] pairs the balancer's begin and end whatever
//! happens. Invariant: a connection goes back to the pool only clean, behind a whole exchange.

pub(crate) mod pool;

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use proxy::balance::{EndpointId, Outcome};
use proxy::fault::Fault;
use runtime::{Abort, Runtime, Sink, Stream};

use crate::input::Input;
use crate::install::Installed;
use crate::race::{Either, race};
use crate::relay::Incoming;
use crate::shard::Shard;

/// A connection to an endpoint.
pub(crate) struct Upstream<R: Runtime> {
    sink: R::Sink,
    stream: R::Stream,
    input: Input,
    pub(crate) abort: Abort,
    /// We ended it ourselves: its end of input is not the backend's.
    cut: Cell<bool>,
    address: SocketAddr,
    /// It carried an exchange before.
    pub(crate) reused: bool,
}

impl<R: Runtime> Upstream<R> {
    /// A connection to `address`: an idle one, else a new one. `repeatable` as the request is.
    pub(crate) async fn acquire(
        shard: &Shard<R>,
        installed: &Installed,
        address: SocketAddr,
        repeatable: bool,
        now: Instant,
    ) -> Result<Self, Fault> {
        if let Some(upstream) = shard.pool.checkout(address, repeatable, now) {
            shard.recorder.upstream_reused();
            return Ok(upstream);
        }
        let deadline = R::now() + installed.epoch.settings.timeouts.connect;
        match race(R::connect(address), R::sleep_until(deadline)).await {
            Either::First(Ok((sink, stream))) => {
                shard.recorder.upstream_opened();
                let abort = stream.abort_handle();
                let input = Input::default();
                Ok(Self {
                    sink,
                    stream,
                    input,
                    abort,
                    cut: Cell::new(false),
                    address,
                    reused: false,
                })
            }
            Either::First(Err(_)) => Err(Fault::ConnectFailed),
            Either::Second(()) => Err(Fault::ConnectTimeout),
        }
    }

    /// Sends and gives the buffer back, empty.
    pub(crate) async fn sink_send(&mut self, out: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = self.sink.send(out).await?;
        out.clear();
        Ok(out)
    }

    /// Both halves at once.
    pub(crate) fn halves(&mut self) -> (&mut R::Sink, Incoming<'_, R>, &Abort) {
        let incoming =
            Incoming { stream: &mut self.stream, input: &mut self.input, cut: &self.cut };
        (&mut self.sink, incoming, &self.abort)
    }

    /// Back to the pool, for another exchange.
    pub(crate) fn release(mut self, shard: &Shard<R>, now: Instant) {
        self.reused = true;
        shard.pool.checkin(self.address, self, now);
    }

    /// Whether an idle connection can no longer be used.
    pub(crate) fn is_stale(&self) -> bool {
        self.stream.is_stale()
    }
}

/// One exchange in flight with an endpoint, as the balancer counts it.
pub(crate) struct InFlight<'s, R: Runtime> {
    shard: &'s Shard<R>,
    /// The epoch that the exchange began with.
    pub(crate) installed: &'s Installed,
    endpoint: EndpointId,
    pub(crate) outcome: Outcome,
    /// When it ended, if somebody has looked at the clock already.
    pub(crate) ended: Option<Instant>,
}

impl<'s, R: Runtime> InFlight<'s, R> {
    pub(crate) fn begin(
        shard: &'s Rc<Shard<R>>,
        installed: &'s Installed,
        endpoint: EndpointId,
    ) -> Self {
        shard.local.borrow_mut().begin(endpoint);
        Self { shard, installed, endpoint, outcome: Outcome::Unknown, ended: None }
    }

    /// Whether connections may be kept behind this exchange.
    pub(crate) fn may_keep(&self) -> bool {
        !self.shard.is_draining()
    }

    /// Its response head is here.
    pub(crate) fn answered(&self) {
        self.shard.local.borrow_mut().answered(self.endpoint);
    }
}

impl<R: Runtime> Drop for InFlight<'_, R> {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(R::now);
        self.shard.local.borrow_mut().end(self.endpoint, self.outcome, now);
    }
}
