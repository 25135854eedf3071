//! One request to a backend and its response back: the data path of the gateway.
//!
//! A request that provably was not processed may go to another endpoint, or again to the same one
//! when only a kept connection was dead. What a rule asks for beyond that is in `retry`. Invariant:
//! no path here sends a request twice that may have been processed, unless it is idempotent.

use std::time::Instant;

use proxy::balance::Outcome;
use proxy::exchange::Forward;
use proxy::fault::Fault;
use proxy::http::Method;
use runtime::Runtime;

use super::attempt::{Ended, Failure, Try};
use super::client::{Client, Respond};
use super::exchange::{Exchange, Next};
use super::tunnel;
use crate::shard::Shard;
use crate::upstream::{self, Acquired, Backend, Destination, InFlight};

/// What follows a try of a rule without a policy.
enum After {
    Done(Next),
    /// Another try, after this failure.
    Again(Failure),
}

impl<'e, R: Runtime, C: Client<R>> Exchange<'_, 'e, R, C> {
    /// Forwards the request by a rule without a policy and brings the response back.
    pub(super) async fn forward(&mut self, mut forward: Forward<'e>) -> Next {
        let (shard, installed) = (self.shard, self.installed);
        let here = self.client.body_here(&self.scratch.request);
        let repeatable = here.is_some() && is_idempotent(self.scratch.request.method);
        let mut now = self.trace.routed.unwrap_or(self.trace.received);
        loop {
            self.trace.attempts += 1;
            let mut flight = InFlight::begin(shard, installed, forward.endpoint);
            let to = Destination::of(&forward, &self.client.origin().peer);
            let acquired = upstream::acquire(shard, installed, to, repeatable, now, None).await;
            let upstream = match acquired {
                Ok(upstream) => upstream,
                Err(fault) => {
                    flight.outcome = Outcome::Failed;
                    drop(flight);
                    now = R::now();
                    let Some(other) = another(shard, &forward, self.trace.attempts, now) else {
                        return Box::pin(self.answer(fault, None)).await;
                    };
                    forward = other;
                    self.trace.forwarded(&forward);
                    continue;
                }
            };
            // An idle connection costs no time worth a look at the clock.
            self.trace.connected(if upstream.is_reused() { now } else { R::now() });
            let after = match upstream {
                Acquired::Http1(upstream) => {
                    self.once(&forward, flight, here, repeatable, upstream).await
                }
                Acquired::Http2(upstream) => {
                    Box::pin(self.once(&forward, flight, here, repeatable, upstream)).await
                }
            };
            match after {
                After::Done(next) => return next,
                After::Again(_) if self.trace.attempts < ATTEMPTS_MAX => {
                    now = R::now();
                    shard.recorder.retry();
                    shard.pool.forget(forward.address);
                }
                After::Again(failure) => return Box::pin(self.give_up(&failure)).await,
            }
        }
    }

    /// One try on a connection that is at hand.
    async fn once<U: Backend<R>>(
        &mut self,
        forward: &Forward<'e>,
        mut flight: InFlight<'_, R>,
        here: Option<usize>,
        repeatable: bool,
        mut upstream: U,
    ) -> After {
        let tried = Try { forward, flight: &flight, here, extra: None };
        After::Done(match self.attempt(&tried, &mut upstream).await {
            Ended::Whole { upstream_reusable, client_keep } => {
                let done = self.trace.done(R::now());
                flight.whole(upstream, upstream_reusable, done);
                if client_keep { Next::Keep } else { Next::Close }
            }
            Ended::Switched => {
                flight.outcome = Outcome::Answered;
                Box::pin(tunnel::run(self.shard, self.client, upstream, self.trace)).await;
                Next::Drop
            }
            Ended::Answered(fault) => {
                flight.failed(fault);
                Next::Close
            }
            // Only the other loop asks for it.
            Ended::Again { .. } => Next::Drop,
            Ended::Failed(failure) => {
                let dead = failure.unanswered && upstream.is_reused() && repeatable;
                if dead || (failure.unprocessed && here.is_some()) {
                    return After::Again(failure);
                }
                flight.failed(failure.fault);
                drop((flight, upstream));
                Box::pin(self.give_up(&failure)).await
            }
        })
    }

    /// Ends an exchange that has no whole response.
    pub(super) async fn give_up(&mut self, failure: &Failure) -> Next {
        if failure.begun || failure.fault.status().is_none() {
            let client = self.client.response();
            self.trace.fault = Some(if failure.begun && client.is_stalled() {
                Fault::ClientTooSlow
            } else {
                failure.fault
            });
            client.cut_short();
            return Next::Drop;
        }
        self.answer(failure.fault, None).await
    }
}

/// Another endpoint for a request that none has seen yet; `None` when it has had its tries.
pub(super) fn another<'e, R: Runtime>(
    shard: &Shard<R>,
    forward: &Forward<'e>,
    attempts: u16,
    now: Instant,
) -> Option<Forward<'e>> {
    let other = forward.elsewhere(&mut shard.local.borrow_mut(), now);
    let other = other.filter(|_| attempts < ATTEMPTS_MAX)?;
    shard.recorder.retry();
    Some(other)
}

/// Whether a request may be sent again although it may have been processed (RFC 9110 section 9.2.2).
pub(super) fn is_idempotent(method: Method) -> bool {
    match method {
        Method::Get
        | Method::Head
        | Method::Options
        | Method::Trace
        | Method::Put
        | Method::Delete => true,
        Method::Post | Method::Patch | Method::Connect | Method::Other => false,
    }
}

/// Endpoints tried for one request, the first included.
pub(super) const ATTEMPTS_MAX: u16 = 3;
