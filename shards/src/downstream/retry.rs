//! The loop over tries for a rule with a policy: its timeouts, its retry, its mirrors.
//!
//! A request is tried again only as the rule says: for its statuses, for connections that fail before
//! a response byte, for tries that take too long; as often as it says, within its `timeouts.request`.
//! Never after part of a response went to the client, and never without the whole body at hand.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use proxy::balance::Outcome;
use proxy::exchange::Forward;
use proxy::fault::Fault;
use proxy::ir::Retry;
use proxy::limits;
use proxy::table::Policy;
use runtime::Runtime;

use super::attempt::{Ended, Failure, Try};
use super::client::Client;
use super::exchange::{Exchange, Next};
use super::forward::{ATTEMPTS_MAX, another, is_idempotent};
use super::limit::Limits;
use super::mirror::Mirrors;
use super::tunnel;
use crate::capture::{Body, Capture};
use crate::race::{beside, race};
use crate::shard::Shard;
use crate::upstream::{self, Acquired, AtHand, Backend, Destination, InFlight};

/// What a try does for its rule's policy.
pub(super) struct Extra<'e> {
    pub(super) capture: Capture,
    /// As the request says: its head forgets it once a body is uploaded.
    pub(super) keep_alive: bool,
    expects: bool,
    /// There may be another try.
    pub(super) another: bool,
    mirrors: Option<Mirrors>,
    /// The statuses that are tried again.
    statuses: &'e [u16],
    /// After this moment another try would come too late.
    before: Option<Instant>,
}

/// Where a request stands between its tries.
struct Course<'e> {
    policy: &'e Policy,
    here: Option<usize>,
    repeatable: bool,
    /// Retries that the rule allowed so far.
    retries: u32,
    /// Repeats because a kept connection was dead.
    repeats: u16,
    /// The wait before the next retry.
    wait: Duration,
    extra: Extra<'e>,
}

/// How a try ended, as the loop needs to know.
enum Verdict {
    Done(Next),
    /// A status that the rule wants tried again.
    Again,
    /// On a connection that had carried an exchange before, or not.
    Failed(Failure, bool),
}

/// What comes after a failure.
enum After<'e> {
    /// Nothing.
    GiveUp(Failure),
    /// Another try at once.
    Now(Forward<'e>),
    /// Another try after the wait.
    Later,
}

impl Extra<'_> {
    /// Whether a response with this status calls for another try.
    pub(super) fn wants_again(&self, status: u16, now: Instant) -> bool {
        self.another && self.statuses.contains(&status) && self.is_in_time(now)
    }

    /// Whether another try can have the whole body: it waits a moment for the rest of one that is
    /// still on its way, which whoever polls this keeps receiving.
    pub(super) async fn body_is_at_hand<R: Runtime>(&self) -> bool {
        // A client that waits for `100 Continue` sends no more.
        if self.capture.is_partial() && !self.expects {
            let until = R::now() + REST_TIME_MAX;
            let until = self.before.map_or(until, |before| before.min(until));
            let rest = poll_fn(|_| match self.capture.is_partial() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            });
            race(pin!(rest), pin!(R::sleep_until(until))).await;
        }
        self.capture.is_whole()
    }

    fn is_in_time(&self, now: Instant) -> bool {
        self.before.is_none_or(|before| now < before)
    }

    /// Sends the copies of a request whose body needs no upload: it is `here`, or an earlier try
    /// left it here.
    fn mirror_what_is_here<R: Runtime>(&self, shard: &Rc<Shard<R>>, here: Option<&[u8]>) {
        match (here, &self.mirrors) {
            (Some(bytes), Some(mirrors)) => {
                mirrors.send(shard, Some(AtHand { bytes, trailers: b"" }));
            }
            (None, Some(_)) if self.capture.is_whole() => self.mirror_capture(shard),
            _ => {}
        }
    }

    /// Sends the copies of a request whose body was uploaded.
    pub(super) fn mirror_capture<R: Runtime>(&self, shard: &Rc<Shard<R>>) {
        if let Some(mirrors) = &self.mirrors {
            let whole = self.capture.whole();
            let body = whole.as_ref();
            mirrors.send(shard, body.map(Body::at_hand));
        }
    }
}

impl<'e> Course<'e> {
    fn left(&self) -> bool {
        self.policy.retry.as_ref().is_some_and(|retry| self.retries < retry.attempts)
    }

    /// Makes ready for a try that must end at `limits`.
    fn prepare<R: Runtime>(&mut self, shard: &Shard<R>, limits: Limits) {
        self.extra.another = self.left();
        let Some(retry) = self.policy.retry.as_ref().filter(|_| self.left()) else { return };
        self.wait = shard.local.borrow_mut().jitter(backoff(retry, self.retries));
        self.extra.statuses = &retry.codes;
        self.extra.before = limits.request().map(|end| end.checked_sub(self.wait).unwrap_or(end));
    }

    /// What to do about `failure`; it comes back if there is nothing to do.
    fn after<R: Runtime>(
        &mut self,
        shard: &Shard<R>,
        forward: &Forward<'e>,
        failure: Failure,
        reused: bool,
        tries: u16,
    ) -> After<'e> {
        let now = R::now();
        let connecting = matches!(
            failure.fault,
            Fault::ConnectFailed | Fault::ConnectTimeout | Fault::UpstreamTls(_)
        );
        if self.policy.retry.is_none() && connecting {
            let other = another(shard, forward, tries, now);
            return other.map_or(After::GiveUp(failure), After::Now);
        }
        let body = self.here.is_some()
            || self.extra.capture.is_whole()
            || self.extra.capture.is_untouched();
        let dead = failure.unanswered && reused && self.repeatable;
        if (dead || (failure.unprocessed && body)) && self.repeats + 1 < ATTEMPTS_MAX {
            self.repeats += 1;
            shard.recorder.retry();
            shard.pool.forget(forward.address);
            return After::Now(*forward);
        }
        if !failure.is_transient() || !body || !self.left() || !self.extra.is_in_time(now) {
            return After::GiveUp(failure);
        }
        // Another endpoint need not wait for the one that is down.
        let other = connecting.then(|| another(shard, forward, tries, now)).flatten();
        match other {
            Some(other) => {
                self.retries += 1;
                After::Now(other)
            }
            None => After::Later,
        }
    }
}

impl<'e, R: Runtime, C: Client<R>> Exchange<'_, 'e, R, C> {
    /// Forwards a request by a rule that asks for more than one plain try.
    pub(super) async fn forward_by_policy(
        &mut self,
        policy: &'e Policy,
        mut forward: Forward<'e>,
    ) -> Next {
        let mut course = self.course(policy, &forward);
        loop {
            let after = match self.try_once(&mut course, &forward).await {
                Verdict::Done(next) => return next,
                Verdict::Again => After::Later,
                Verdict::Failed(failure, reused) => {
                    course.after(self.shard, &forward, failure, reused, self.trace.attempts)
                }
            };
            forward = match after {
                After::Now(next) => next,
                After::Later => match self.wait_to_retry(&mut course, &forward).await {
                    Ok(next) => next,
                    Err(fault) => return self.give_up(&Failure::unsent(fault)).await,
                },
                After::GiveUp(failure) => return self.give_up(&failure).await,
            };
            self.trace.forwarded(&forward);
        }
    }

    fn course(&mut self, policy: &'e Policy, forward: &Forward<'e>) -> Course<'e> {
        let received = self.scratch.body.take();
        let request = &self.scratch.request;
        let here = if received.is_none() { self.client.body_here(request) } else { None };
        let client = self.client.origin();
        let mirrors = Mirrors::draw(self.shard, policy, forward, request, client);
        let wanted = here.is_none() && (policy.retry.is_some() || mirrors.is_some());
        Course {
            policy,
            here,
            repeatable: here.is_some() && is_idempotent(request.method),
            retries: 0,
            repeats: 0,
            wait: Duration::ZERO,
            extra: Extra {
                capture: received.map_or_else(|| Capture::new(wanted), Capture::of),
                keep_alive: request.keep_alive,
                expects: request.expect_continue,
                another: false,
                mirrors,
                statuses: &[],
                before: None,
            },
        }
    }

    /// Waits for the next retry's turn and picks its endpoint, another one if there is any.
    async fn wait_to_retry(
        &self,
        course: &mut Course<'e>,
        forward: &Forward<'e>,
    ) -> Result<Forward<'e>, Fault> {
        course.retries += 1;
        self.shard.recorder.retry();
        if !course.wait.is_zero() {
            R::sleep_until(R::now() + course.wait).await;
            if self.client.is_gone() {
                return Err(Fault::ClientGone);
            }
        }
        let next = forward.again(&mut self.shard.local.borrow_mut(), R::now());
        next.ok_or(Fault::NoEndpoints)
    }

    /// One try with its limits kept.
    async fn try_once(&mut self, course: &mut Course<'e>, forward: &Forward<'e>) -> Verdict {
        let (shard, installed) = (self.shard, self.installed);
        self.trace.attempts = self.trace.attempts.saturating_add(1);
        let now = R::now();
        let limits = Limits::of(&course.policy.timeouts, self.trace.received, now);
        course.prepare(shard, limits);
        let mut flight = InFlight::begin(shard, installed, forward.endpoint);
        let (repeatable, limit) = (course.repeatable, limits.first());
        let to = Destination::of(forward, &self.client.origin().peer);
        let acquired = upstream::acquire(shard, installed, to, repeatable, now, limit).await;
        match acquired {
            Ok(Acquired::Http1(upstream)) => {
                self.try_on(course, forward, limits, flight, upstream).await
            }
            Ok(Acquired::Http2(upstream)) => {
                Box::pin(self.try_on(course, forward, limits, flight, upstream)).await
            }
            Err(fault) => {
                let late = limits.passed(R::now()).filter(|_| fault == Fault::ConnectTimeout);
                let fault = late.unwrap_or(fault);
                flight.failed(fault);
                Verdict::Failed(Failure::unsent(fault), false)
            }
        }
    }

    async fn try_on<U: Backend<R>>(
        &mut self,
        course: &Course<'e>,
        forward: &Forward<'e>,
        limits: Limits,
        mut flight: InFlight<'_, R>,
        mut upstream: U,
    ) -> Verdict {
        self.trace.connected(R::now());
        let here = course.here.map(|length| self.client.here(length));
        course.extra.mirror_what_is_here(self.shard, here);
        let ended = {
            let tried =
                Try { forward, flight: &flight, here: course.here, extra: Some(&course.extra) };
            let limits = pin!(limits.keep(&flight, upstream.cut(), self.client.cut()));
            beside(pin!(self.attempt(&tried, &mut upstream)), limits).await.0
        };
        match ended {
            Ended::Whole { upstream_reusable, client_keep } => {
                flight.whole(upstream, upstream_reusable, self.trace.done(R::now()));
                Verdict::Done(if client_keep { Next::Keep } else { Next::Close })
            }
            Ended::Again { upstream_reusable } => {
                flight.whole(upstream, upstream_reusable, R::now());
                Verdict::Again
            }
            Ended::Switched => {
                flight.outcome = Outcome::Answered;
                tunnel::run(self.shard, self.client, upstream, self.trace).await;
                Verdict::Done(Next::Drop)
            }
            Ended::Answered(fault) => {
                flight.failed(fault);
                Verdict::Done(Next::Close)
            }
            Ended::Failed(failure) => {
                // That a kept connection was dead does not speak against its endpoint.
                let dead = failure.unanswered && upstream.is_reused() && course.repeatable;
                if !dead && !failure.unprocessed {
                    flight.failed(failure.fault);
                }
                Verdict::Failed(failure, upstream.is_reused())
            }
        }
    }
}

/// The least wait before the retry after `retries` of them: it doubles up to a bound.
fn backoff(retry: &Retry, retries: u32) -> Duration {
    let grown = retry.backoff.saturating_mul(1 << retries.min(16));
    grown.min(limits::RETRY_BACKOFF_MAX.max(retry.backoff))
}

/// The rest of a body that another try needs is waited for at most for this time.
const REST_TIME_MAX: Duration = Duration::from_secs(1);
