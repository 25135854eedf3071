//! Copies of requests for mirrors (`RequestMirror`): sent by tasks of their own, answers dropped.
//!
//! A copy is what the backend gets, byte for byte. Nothing about it is waited for and nothing that
//! happens to it reaches the client. Invariant: every bound that stops a copy (body, number, time)
//! is counted with its reason.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use proxy::balance::EndpointId;
use proxy::exchange::{Client, Forward};
use proxy::h1;
use proxy::h1::encode::Text;
use proxy::http::{Method, RequestHead, ResponseHead};
use proxy::limits;
use proxy::table::Policy;
use runtime::{Runtime, Size};

use crate::race::{Either, race};
use crate::relay;
use crate::report::MirrorEnd;
use crate::shard::Shard;
use crate::upstream::{InFlight, Upstream};

/// The mirrors of one request, until its body is at hand.
pub(super) struct Mirrors {
    /// Backend slots.
    slots: Vec<u32>,
    head: Vec<u8>,
    method: Method,
    sent: Cell<bool>,
}

/// One copy on its way.
struct Copy {
    endpoint: EndpointId,
    address: SocketAddr,
    request: Vec<u8>,
    method: Method,
}

impl Mirrors {
    /// Draws which mirrors get a copy of this request; `None` if none does.
    pub(super) fn draw<R: Runtime>(
        shard: &Shard<R>,
        policy: &Policy,
        forward: &Forward<'_>,
        head: &RequestHead,
        client: Client<'_>,
    ) -> Option<Self> {
        let mut slots = Vec::new();
        {
            let mut local = shard.local.borrow_mut();
            for mirror in policy.mirrors.iter().chain(forward.mirrors()) {
                if local.draw(mirror.numerator, mirror.denominator) {
                    slots.push(mirror.slot);
                }
            }
        }
        if slots.is_empty() {
            return None;
        }
        if head.websocket || head.expect_continue {
            slots.iter().for_each(|_| shard.recorder.mirror(MirrorEnd::Unfit));
            return None;
        }
        let mut copy = Vec::new();
        forward.write_request(head, client, &mut Text(&mut copy));
        Some(Self { slots, head: copy, method: head.method, sent: Cell::new(false) })
    }

    /// Sends the copies, once; `body` as it is framed on the wire, `None` if it was too large.
    pub(super) fn send<R: Runtime>(&self, shard: &Rc<Shard<R>>, body: Option<&[u8]>) {
        if self.sent.replace(true) {
            return;
        }
        for &slot in &self.slots {
            if let Err(reason) = self.send_one(shard, slot, body) {
                shard.recorder.mirror(reason);
            }
        }
    }

    fn send_one<R: Runtime>(
        &self,
        shard: &Rc<Shard<R>>,
        slot: u32,
        body: Option<&[u8]>,
    ) -> Result<(), MirrorEnd> {
        let body = body.ok_or(MirrorEnd::TooLarge)?;
        let in_flight = shard.mirrors.get();
        if in_flight >= limits::MIRRORS_IN_FLIGHT_MAX {
            return Err(MirrorEnd::Busy);
        }
        let picked = shard.local.borrow_mut().pick_endpoint(slot, None, R::now());
        let (endpoint, address) = picked.ok_or(MirrorEnd::NoEndpoint)?;
        let request = [&*self.head, body].concat();
        shard.mirrors.set(in_flight + 1);
        R::spawn(run(Rc::clone(shard), Copy { endpoint, address, request, method: self.method }));
        Ok(())
    }
}

/// The life of one copy.
async fn run<R: Runtime>(shard: Rc<Shard<R>>, copy: Copy) {
    let end = R::now() + limits::MIRROR_TIMEOUT;
    let reason = match race(deliver(&shard, copy), R::sleep_until(end)).await {
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
    let acquired = Upstream::acquire(shard, &installed, copy.address, false, R::now(), None).await;
    let mut upstream = match acquired {
        Ok(upstream) => upstream,
        Err(fault) => {
            flight.failed(fault);
            return None;
        }
    };
    upstream.sink_send(copy.request).await.ok()?;
    let cut = Cell::new(None);
    let (_, mut incoming, _) = upstream.halves(&cut);
    let response = read_head(&mut incoming, copy.method).await?;
    flight.answered();
    let whole = relay::discard(&mut incoming, response.framing, limits::CAPTURE_BYTES_MAX).await;
    let reusable = whole && response.keep_alive && incoming.is_clean();
    flight.whole(upstream, reusable, R::now());
    Some(())
}

async fn read_head<R: Runtime>(
    upstream: &mut relay::Incoming<'_, R>,
    method: Method,
) -> Option<ResponseHead> {
    let mut response = ResponseHead::default();
    let mut interim = 0;
    while interim <= limits::INTERIM_RESPONSES_MAX {
        match h1::response::read(upstream.input.bytes(), method, false, &mut response) {
            Ok(Some(consumed)) => {
                upstream.input.consume(consumed);
                if !response.is_interim() {
                    return Some(response);
                }
                interim += 1;
            }
            Ok(None) => {
                if !upstream.fill(Size::Small).await.ok()? {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
    None
}
