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
use runtime::{Abort, Runtime};

use crate::input::Input;
use crate::install::Installed;
use crate::race::{Either, race};
use crate::relay::Incoming;
use crate::shard::Shard;
use crate::transport::{self, RecvHalf, SendHalf};
use crate::watch::Watch;

/// A connection to an endpoint.
pub(crate) struct Upstream<R: Runtime> {
    send: SendHalf<R>,
    recv: RecvHalf<R>,
    input: Input,
    pub(crate) abort: Abort,
    address: SocketAddr,
    /// It carried an exchange before.
    pub(crate) reused: bool,
}

impl<R: Runtime> Upstream<R> {
    /// A connection to `address`: an idle one, else a new one, by `limit` if there is one.
    /// `repeatable` as the request is.
    pub(crate) async fn acquire(
        shard: &Shard<R>,
        installed: &Installed,
        address: SocketAddr,
        repeatable: bool,
        now: Instant,
        limit: Option<Instant>,
    ) -> Result<Self, Fault> {
        if let Some(upstream) = shard.pool.checkout(address, repeatable, now) {
            shard.recorder.upstream_reused();
            return Ok(upstream);
        }
        let deadline = R::now() + installed.epoch.settings.timeouts.connect;
        let deadline = limit.map_or(deadline, |limit| limit.min(deadline));
        match race(R::connect(address), R::sleep_until(deadline)).await {
            Either::First(Ok((sink, stream))) => {
                shard.recorder.upstream_opened();
                let (send, recv) = transport::halves(sink, stream);
                let (abort, input) = (recv.abort_handle(), Input::default());
                Ok(Self { send, recv, input, abort, address, reused: false })
            }
            Either::First(Err(_)) => Err(Fault::ConnectFailed),
            Either::Second(()) => Err(Fault::ConnectTimeout),
        }
    }

    /// Sends and gives the buffer back, empty.
    pub(crate) async fn sink_send(&mut self, out: Vec<u8>) -> io::Result<Vec<u8>> {
        self.send.send(out).await
    }

    /// Both halves at once. `cut` says whether we ended the connection ourselves: its end of input
    /// is not the backend's then.
    pub(crate) fn halves<'u>(
        &'u mut self,
        cut: &'u Cell<Option<Fault>>,
    ) -> (&'u mut SendHalf<R>, Incoming<'u, R>, &'u Abort) {
        let incoming = Incoming { half: &mut self.recv, input: &mut self.input, cut };
        (&mut self.send, incoming, &self.abort)
    }

    /// Back to the pool, for another exchange.
    pub(crate) fn release(mut self, shard: &Shard<R>, now: Instant) {
        self.reused = true;
        shard.pool.checkin(self.address, self, now);
    }

    /// Whether an idle connection can no longer be used.
    pub(crate) fn is_stale(&self) -> bool {
        self.recv.is_stale()
    }
}

/// One exchange in flight with an endpoint, as the balancer counts it.
pub(crate) struct InFlight<'s, R: Runtime> {
    pub(crate) shard: &'s Rc<Shard<R>>,
    /// The epoch that the exchange began with.
    pub(crate) installed: &'s Installed,
    endpoint: EndpointId,
    pub(crate) outcome: Outcome,
    /// When it ended, if somebody has looked at the clock already.
    pub(crate) ended: Option<Instant>,
    /// Why we ended its upstream connection, if we did.
    pub(crate) cut: Cell<Option<Fault>>,
    /// The client has some of the final response and waits for the rest.
    pub(crate) begun: Cell<bool>,
    watch: Cell<Option<Watch>>,
}

impl<'s, R: Runtime> InFlight<'s, R> {
    pub(crate) fn begin(
        shard: &'s Rc<Shard<R>>,
        installed: &'s Installed,
        endpoint: EndpointId,
    ) -> Self {
        shard.local.borrow_mut().begin(endpoint);
        Self {
            shard,
            installed,
            endpoint,
            outcome: Outcome::Unknown,
            ended: None,
            cut: Cell::new(None),
            begun: Cell::new(false),
            watch: Cell::new(None),
        }
    }

    /// Whether connections may be kept behind this exchange.
    pub(crate) fn may_keep(&self) -> bool {
        !self.shard.is_draining()
    }

    /// The request is out, and `client` waits for the head of its response, if it has none yet.
    pub(crate) fn waits(&self, client: Abort, upstream: Abort) {
        if self.begun.get() {
            return;
        }
        self.unwatch();
        self.watch.set(Some(self.shard.watches.begin(client, upstream)));
    }

    /// Its response head is here.
    pub(crate) fn answered(&self) {
        self.unwatch();
        self.shard.local.borrow_mut().answered(self.endpoint);
    }

    /// Ends its upstream connection because of `fault`.
    pub(crate) fn cut(&self, fault: Fault, upstream: &Abort) {
        self.cut.set(self.cut.get().or(Some(fault)));
        upstream.abort();
    }

    /// Why we ended it, if it was us.
    pub(crate) fn cut_by(&self) -> Option<Fault> {
        let gone = |watch: &Watch| self.shard.watches.client_gone(*watch);
        self.cut.get().or_else(|| self.watch.get().filter(gone).map(|_| Fault::ClientGone))
    }

    /// The exchange is over, the response delivered whole.
    pub(crate) fn whole(&mut self, upstream: Upstream<R>, reusable: bool, now: Instant) {
        self.outcome = Outcome::Answered;
        self.ended = Some(now);
        if reusable {
            upstream.release(self.shard, now);
        }
    }

    /// It is over without one.
    pub(crate) fn failed(&mut self, fault: Fault) {
        if fault.is_endpoints() {
            self.outcome = Outcome::Failed;
        }
    }

    fn unwatch(&self) {
        if let Some(watch) = self.watch.take() {
            self.shard.watches.end(watch);
        }
    }
}

impl<R: Runtime> Drop for InFlight<'_, R> {
    fn drop(&mut self) {
        self.unwatch();
        let now = self.ended.unwrap_or_else(R::now);
        self.shard.local.borrow_mut().end(self.endpoint, self.outcome, now);
    }
}
