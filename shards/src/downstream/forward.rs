//! One request to a backend and its response back: the data path of the gateway.
//!
//! A request that provably was not processed may go to another endpoint, or again to the same one
//! when only a kept connection was dead. What a rule asks for beyond that is in `retry`. Invariant:
//! no path here sends a request twice that may have been processed, unless it is idempotent.

use std::rc::Rc;
use std::time::Instant;

use proxy::balance::Outcome;
use proxy::exchange::Forward;
use proxy::fault::Fault;
use proxy::http::{Framing, Method, RequestHead};
use runtime::Runtime;

use super::attempt::{Ended, Failure, Try};
use super::h1::Next;
use super::{Downstream, tunnel};
use crate::install::Installed;
use crate::scratch::Scratch;
use crate::shard::Shard;
use crate::trace::Trace;
use crate::upstream::{InFlight, Upstream};

impl<R: Runtime> Downstream<R> {
    /// Forwards the request in `scratch` by a rule without a policy and brings the response back.
    pub(super) async fn forward<'e>(
        &mut self,
        shard: &Rc<Shard<R>>,
        installed: &Installed,
        mut forward: Forward<'e>,
        scratch: &mut Scratch,
        trace: &mut Trace<'e>,
    ) -> Next {
        let here = body_here(&scratch.request, self.reader.input.bytes());
        let repeatable = here.is_some() && is_idempotent(scratch.request.method);
        let mut now = trace.routed.unwrap_or(trace.received);
        loop {
            trace.attempts += 1;
            let mut flight = InFlight::begin(shard, installed, forward.endpoint);
            let address = forward.address;
            let acquired =
                Upstream::acquire(shard, installed, address, repeatable, now, None).await;
            let mut upstream = match acquired {
                Ok(upstream) => upstream,
                Err(fault) => {
                    flight.outcome = Outcome::Failed;
                    drop(flight);
                    now = R::now();
                    let Some(other) = another(shard, &forward, trace.attempts, now) else {
                        let answer = self.answer(shard, fault, None, installed, scratch, trace);
                        return Box::pin(answer).await;
                    };
                    forward = other;
                    trace.forwarded(&forward);
                    continue;
                }
            };
            // An idle connection costs no time worth a look at the clock.
            trace.connected(if upstream.reused { now } else { R::now() });
            let tried = Try { forward: &forward, flight: &flight, here, extra: None };
            match self.attempt(&tried, &mut upstream, scratch, trace).await {
                Ended::Whole { upstream_reusable, client_keep } => {
                    let done = trace.done(R::now());
                    flight.whole(upstream, upstream_reusable, done);
                    return if client_keep { Next::Keep } else { Next::Close };
                }
                Ended::Switched => {
                    flight.outcome = Outcome::Answered;
                    Box::pin(tunnel::run(shard, self, upstream)).await;
                    return Next::Drop;
                }
                Ended::Answered(fault) => {
                    flight.failed(fault);
                    return Next::Close;
                }
                // Only the other loop asks for it.
                Ended::Again { .. } => return Next::Drop,
                Ended::Failed(failure) => {
                    let again = failure.unanswered && upstream.reused && repeatable;
                    if !again {
                        flight.failed(failure.fault);
                    }
                    if !again || trace.attempts >= ATTEMPTS_MAX {
                        let end = self.give_up(shard, &failure, installed, scratch, trace);
                        return Box::pin(end).await;
                    }
                    now = R::now();
                    shard.recorder.retry();
                    shard.pool.forget(forward.address);
                }
            }
        }
    }

    /// Ends an exchange that has no whole response.
    pub(super) async fn give_up(
        &mut self,
        shard: &Shard<R>,
        failure: &Failure,
        installed: &Installed,
        scratch: &mut Scratch,
        trace: &mut Trace<'_>,
    ) -> Next {
        if failure.begun || failure.fault.status().is_none() {
            trace.fault = Some(if failure.begun && self.writer.stall.fired() {
                Fault::ClientTooSlow
            } else {
                failure.fault
            });
            self.writer.abort.reset();
            return Next::Drop;
        }
        self.answer(shard, failure.fault, None, installed, scratch, trace).await
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

/// The length of the request's body if all of it is at the start of `input` (or there is none), and
/// small enough to travel with the head.
pub(super) fn body_here(head: &RequestHead, input: &[u8]) -> Option<usize> {
    match head.framing {
        Framing::None => Some(0),
        Framing::Length(length) => usize::try_from(length)
            .ok()
            .filter(|length| *length <= input.len() && *length <= BODY_WITH_HEAD_BYTES_MAX),
        Framing::Chunked | Framing::UntilClose => None,
    }
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
/// A body up to this size that is already here is sent with the head.
const BODY_WITH_HEAD_BYTES_MAX: usize = 16 * 1024;
