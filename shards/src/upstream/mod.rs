//! Backends as an exchange sees them, whatever carries its request there.
//!
//! [`Backend`] is one connection or stream for one exchange; [`h1`] and its pool hold the
//! connections of HTTP/1, by their [`origin`]. [`InFlight`] pairs the balancer's begin and end whatever happens.

pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod open;
pub(crate) mod origin;
pub(crate) mod pool;

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use proxy::balance::{EndpointId, Outcome};
use proxy::epoch::{self, Listener};
use proxy::exchange::{Client, Forward};
use proxy::fault::Fault;
use proxy::http::write::Recorded;
use proxy::http::{Framing, HeadWriter, Method, RequestHead, ResponseHead};
use proxy::ir::BackendProtocol;
use proxy::tls::Alpn;
use runtime::Runtime;

use self::origin::Origin;
use crate::arrival::Peer;
use crate::cut::Cut;
use crate::install::Installed;
use crate::relay::{Drain, Source};
use crate::shard::Shard;
use crate::watch::Watch;

/// A connection or stream that carries one exchange to a backend.
pub(crate) trait Backend<R: Runtime>: Sized {
    /// Takes the request's body.
    type Request: Drain;
    /// Gives the response.
    type Response<'u>: Answers
    where
        Self: 'u;

    /// Takes or gives back the memory in which a request is written.
    fn lend(&mut self, memory: &mut Vec<u8>);

    /// Whether the backend reads a head as large as this one.
    fn takes(&self, _request: &RequestHead) -> bool {
        true
    }

    /// Sends a head with its body if that is at hand; else the body is to follow.
    fn send(
        &mut self,
        head: &impl WriteHead,
        framing: Framing,
        body: Option<AtHand<'_>>,
    ) -> impl Future<Output = io::Result<()>>;

    /// Both directions at once. `cut` says whether we ended them ourselves.
    fn halves<'u>(
        &'u mut self,
        cut: &'u Cell<Option<Fault>>,
    ) -> (&'u mut Self::Request, Self::Response<'u>);

    /// Both directions of a tunnel, once protocols were switched.
    fn tunnel<'u>(
        &'u mut self,
        cut: &'u Cell<Option<Fault>>,
    ) -> (&'u mut Self::Request, Self::Response<'u>);

    /// Ends it.
    fn cut(&self) -> Cut;

    /// Whether its connection carried an exchange before.
    fn is_reused(&self) -> bool;

    /// Whether the backend has said that it did nothing for this request.
    fn is_unprocessed(&self) -> bool;

    /// It is free for another exchange.
    fn release(self, shard: &Shard<R>, now: Instant);
}

/// What carries an exchange, in the version that its backend speaks.
pub(crate) enum Acquired<R: Runtime> {
    Http1(Box<h1::Connection<R>>),
    Http2(Box<h2::StreamBackend<R>>),
}

/// Where a request goes: an endpoint of a backend, for what a client sent by a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'d> {
    pub(crate) backend: &'d epoch::Backend,
    pub(crate) address: SocketAddr,
    pub(crate) listener: &'d Listener,
    pub(crate) client: &'d Peer,
}

impl<'d> Destination<'d> {
    /// Where `forward` goes for `client`.
    pub(crate) fn of(forward: &Forward<'d>, client: &'d Peer) -> Self {
        let Forward { backend, address, listener, .. } = *forward;
        Self { backend, address, listener, client }
    }
}

/// A connection or stream to `to`, by `limit` if there is one. `repeatable` as the request is.
pub(crate) async fn acquire<R: Runtime>(
    shard: &Rc<Shard<R>>,
    installed: &Installed,
    to: Destination<'_>,
    repeatable: bool,
    now: Instant,
    limit: Option<Instant>,
) -> Result<Acquired<R>, Fault> {
    match to.backend.protocol {
        BackendProtocol::Http1 => {
            let origin = Origin::of(shard, to, Alpn::Http1)?;
            let acquired =
                h1::Connection::acquire(shard, installed, origin, repeatable, now, limit);
            acquired.await.map(Acquired::Http1)
        }
        BackendProtocol::Http2 => {
            let origin = Origin::of(shard, to, Alpn::Http2)?;
            let acquired = h2::pool::acquire(shard, installed, origin, limit);
            Box::pin(acquired).await.map(Acquired::Http2)
        }
    }
}

impl<R: Runtime> Acquired<R> {
    /// Whether it carried an exchange before.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_reused(),
            Self::Http2(stream) => stream.is_reused(),
        }
    }
}

/// A response: its heads, then its body.
pub(crate) trait Answers: Source {
    /// The next head, interim or final.
    fn head(
        &mut self,
        request: &RequestHead,
        response: &mut ResponseHead,
    ) -> impl Future<Output = Result<(), NoHead>>;

    /// Whether another exchange may follow this whole one.
    fn is_reusable(&self, response: &ResponseHead) -> bool;
}

/// Why there is no response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHead {
    /// What came is no response.
    Malformed,
    /// The backend's side ended before any byte of it.
    Unanswered,
    /// It ended in the middle.
    Cut,
}

/// A body that is here whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtHand<'b> {
    pub(crate) bytes: &'b [u8],
    /// Lines `name: value CRLF`.
    pub(crate) trailers: &'b [u8],
}

/// A request head to be written in whatever version its backend speaks.
pub(crate) trait WriteHead {
    fn method(&self) -> Method;
    fn write_to(&self, out: &mut impl HeadWriter);
}

/// The head of a client's request as a backend gets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'o> {
    pub(crate) forward: &'o Forward<'o>,
    pub(crate) head: &'o RequestHead,
    pub(crate) client: Client<'o>,
}

impl WriteHead for Outgoing<'_> {
    fn method(&self) -> Method {
        self.head.method
    }

    fn write_to(&self, out: &mut impl HeadWriter) {
        self.forward.write_request(self.head, self.client, out);
    }
}

impl WriteHead for Recorded {
    fn method(&self) -> Method {
        Self::method(self)
    }

    fn write_to(&self, out: &mut impl HeadWriter) {
        self.replay(out);
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
    /// Why we ended the backend's side, if we did.
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
    pub(crate) fn waits(&self, client: Cut, upstream: Cut) {
        if self.begun.get() {
            return;
        }
        self.unwatch();
        match client {
            Cut::Connection(client) => {
                self.watch.set(Some(self.shard.watches.begin(client, upstream)));
            }
            // Somebody reads from those all the time.
            Cut::Client(_) | Cut::Backend(_) => {}
        }
    }

    /// Its response head is here.
    pub(crate) fn answered(&self) {
        self.unwatch();
        self.shard.local.borrow_mut().answered(self.endpoint);
    }

    /// Ends the backend's side because of `fault`.
    pub(crate) fn cut(&self, fault: Fault, upstream: &Cut) {
        self.cut.set(self.cut.get().or(Some(fault)));
        upstream.end();
    }

    /// Why we ended it, if it was us.
    pub(crate) fn cut_by(&self) -> Option<Fault> {
        let gone = |watch: &Watch| self.shard.watches.client_gone(*watch);
        self.cut.get().or_else(|| self.watch.get().filter(gone).map(|_| Fault::ClientGone))
    }

    /// The exchange is over, the response delivered whole.
    pub(crate) fn whole(&mut self, upstream: impl Backend<R>, reusable: bool, now: Instant) {
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
