//! Copies of requests for mirrors (`RequestMirror`): sent by tasks of their own, answers dropped.
//!
//! A copy is what the backend gets, byte for byte. Nothing about it is waited for and nothing that
//! happens to it reaches the client. Invariant: every bound that stops a copy (body, number, time)
//! is counted with its reason.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use proxy::balance::EndpointId;
use proxy::exchange::Forward;
use proxy::fault::Fault;
use proxy::http::write::Recorded;
use proxy::http::{Method, RequestHead, ResponseHead};
use proxy::ir::BackendProtocol;
use proxy::limits;
use proxy::table::Policy;
use proxy::tls::{Alpn, Identity};
use runtime::Runtime;

use crate::arrival::Peer;
use crate::capture::Body;
use crate::race::{Either, race};
use crate::relay;
use crate::report::MirrorEnd;
use crate::shard::Shard;
use crate::upstream::h1::Connection;
use crate::upstream::h2;
use crate::upstream::origin::{self, Announced, Origin};
use crate::upstream::{Answers, AtHand, Backend, InFlight};

/// The mirrors of one request, until its body is at hand.
pub(super) struct Mirrors {
    /// Backend slots, and how each is spoken to.
    targets: Vec<Target>,
    head: Rc<Recorded>,
    method: Method,
    sent: Cell<bool>,
}

/// One mirror.
#[derive(Clone)]
struct Target {
    slot: u32,
    protocol: BackendProtocol,
    identity: Option<Rc<Identity>>,
    announced: Option<Announced>,
}

/// One copy on its way.
struct Copy {
    endpoint: EndpointId,
    origin: Origin,
    protocol: BackendProtocol,
    head: Rc<Recorded>,
    body: Rc<Body>,
    method: Method,
}

impl Mirrors {
    /// Draws which mirrors get a copy of this request; `None` if none does.
    pub(super) fn draw<R: Runtime>(
        shard: &Shard<R>,
        policy: &Policy,
        forward: &Forward<'_>,
        head: &RequestHead,
        client: &super::origin::Origin,
    ) -> Option<Self> {
        let mut targets = Vec::new();
        for mirror in policy.mirrors.iter().chain(forward.mirrors()) {
            if shard.local.borrow_mut().draw(mirror.numerator, mirror.denominator) {
                match Target::of(shard, mirror.slot, forward, &client.peer) {
                    Ok(target) => targets.push(target),
                    Err(_) => shard.recorder.mirror(MirrorEnd::Failed),
                }
            }
        }
        if targets.is_empty() {
            return None;
        }
        if head.websocket || head.expect_continue {
            targets.iter().for_each(|_| shard.recorder.mirror(MirrorEnd::Unfit));
            return None;
        }
        let mut copy = Recorded::default();
        forward.write_request(head, client.client(), &mut copy);
        Some(Self { targets, head: Rc::new(copy), method: head.method, sent: Cell::new(false) })
    }

    /// Sends the copies, once; without a body that is here, it was too large.
    pub(super) fn send<R: Runtime>(&self, shard: &Rc<Shard<R>>, body: Option<AtHand<'_>>) {
        if self.sent.replace(true) {
            return;
        }
        let body = body.map(|body| {
            let (bytes, trailers) = (body.bytes.to_vec(), body.trailers.to_vec());
            Rc::new(Body { bytes, trailers })
        });
        for target in &self.targets {
            if let Err(reason) = self.send_one(shard, target.clone(), body.as_ref()) {
                shard.recorder.mirror(reason);
            }
        }
    }

    fn send_one<R: Runtime>(
        &self,
        shard: &Rc<Shard<R>>,
        target: Target,
        body: Option<&Rc<Body>>,
    ) -> Result<(), MirrorEnd> {
        let body = body.ok_or(MirrorEnd::TooLarge)?;
        let in_flight = shard.mirrors.get();
        if in_flight >= limits::MIRRORS_IN_FLIGHT_MAX {
            return Err(MirrorEnd::Busy);
        }
        let Target { slot, protocol, identity, announced } = target;
        let picked = shard.local.borrow_mut().pick_endpoint(slot, None, R::now());
        let (endpoint, address) = picked.ok_or(MirrorEnd::NoEndpoint)?;
        shard.mirrors.set(in_flight + 1);
        let (head, body, method) = (Rc::clone(&self.head), Rc::clone(body), self.method);
        let origin = Origin { address, identity, announced };
        R::spawn(run(Rc::clone(shard), Copy { endpoint, origin, protocol, head, body, method }));
        Ok(())
    }
}

impl Target {
    /// How the backend in `slot` is spoken to for what came by the listener of `forward`.
    fn of<R: Runtime>(
        shard: &Shard<R>,
        slot: u32,
        forward: &Forward<'_>,
        client: &Peer,
    ) -> Result<Self, Fault> {
        let installed = shard.installed();
        let backend = installed.epoch.backends.get(slot as usize).and_then(Option::as_ref);
        let protocol = backend.map_or_else(BackendProtocol::default, |backend| backend.protocol);
        let alpn = match protocol {
            BackendProtocol::Http1 => Alpn::Http1,
            BackendProtocol::Http2 => Alpn::Http2,
        };
        let (identity, announced) = match backend {
            Some(backend) => {
                let identity = origin::identity(shard, backend, forward.listener, alpn)?;
                (identity, origin::announced(backend, client)?)
            }
            None => (None, None), // It has no endpoint either.
        };
        Ok(Self { slot, protocol, identity, announced })
    }
}

/// The life of one copy.
async fn run<R: Runtime>(shard: Rc<Shard<R>>, copy: Copy) {
    let end = R::now() + limits::MIRROR_TIMEOUT;
    let reason = match race(pin!(deliver(&shard, copy)), pin!(R::sleep_until(end))).await {
        Either::First(Some(())) => MirrorEnd::Delivered,
        Either::First(None) => MirrorEnd::Failed,
        Either::Second(()) => MirrorEnd::TimedOut,
    };
    shard.mirrors.set(shard.mirrors.get() - 1);
    shard.recorder.mirror(reason);
}

/// Sends a copy and receives its answer. `None`: there is no whole answer.
async fn deliver<R: Runtime>(shard: &Rc<Shard<R>>, copy: Copy) -> Option<()> {
    let installed = shard.installed();
    let mut flight = InFlight::begin(shard, &installed, copy.endpoint);
    let origin = copy.origin.clone();
    let fault = match copy.protocol {
        BackendProtocol::Http1 => {
            let now = R::now();
            match Connection::acquire(shard, &installed, origin, false, now, None).await {
                Ok(upstream) => return deliver_on(&copy, flight, upstream).await,
                Err(fault) => fault,
            }
        }
        BackendProtocol::Http2 => match h2::pool::acquire(shard, &installed, origin, None).await {
            Ok(upstream) => return deliver_on(&copy, flight, upstream).await,
            Err(fault) => fault,
        },
    };
    flight.failed(fault);
    None
}

async fn deliver_on<R: Runtime, U: Backend<R>>(
    copy: &Copy,
    mut flight: InFlight<'_, R>,
    mut upstream: U,
) -> Option<()> {
    let framing = copy.head.delimited();
    upstream.send(&*copy.head, framing, Some(copy.body.at_hand())).await.ok()?;
    let cut = Cell::new(None);
    let reusable = {
        let (_, mut incoming) = upstream.halves(&cut);
        let response = read_head(&mut incoming, copy.method).await?;
        flight.answered();
        let whole = relay::discard(&mut incoming, limits::CAPTURE_BYTES_MAX).await;
        whole && incoming.is_reusable(&response)
    };
    flight.whole(upstream, reusable, R::now());
    Some(())
}

async fn read_head(upstream: &mut impl Answers, method: Method) -> Option<ResponseHead> {
    let request = RequestHead { method, ..RequestHead::default() };
    let mut response = ResponseHead::default();
    for _ in 0..=limits::INTERIM_RESPONSES_MAX {
        upstream.head(&request, &mut response).await.ok()?;
        if !response.is_interim() {
            return Some(response);
        }
    }
    None
}
