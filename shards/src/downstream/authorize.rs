//! Requests that must be allowed first (`ExternalAuth`): before routing, or before what their rule does.
//!
//! Each filter's server is asked in its turn, and what it wants changed is changed before the next one
//! sees the request. A body that a server is shown is received whole first and goes on from here.
//! Invariant: a request that was not allowed in so many words goes nowhere; no failure, bound or limit
//! opens the way.

use std::cell::Cell;
use std::pin::pin;
use std::time::Instant;

use proxy::auth::{Auth, Denial, Verdict};
use proxy::exchange::{Ask, Step};
use proxy::fault::Fault;
use proxy::http::{Framing, Known};
use proxy::ir::Timeouts;
use proxy::limits;
use proxy::table::Policy;
use runtime::Runtime;

use super::client::{Client, Respond};
use super::exchange::{Exchange, Next};
use super::question::Asked;
use crate::capture::{Body, gather};
use crate::race::{Either, beside, race};
use crate::report::AuthEnd;

/// Why a request goes no further.
enum Refused {
    /// The server says so.
    Denied(Denial),
    /// We do.
    Ourselves(Fault),
}

impl<'e, R: Runtime, C: Client<R>> Exchange<'_, 'e, R, C> {
    /// Has the request allowed, and answers or forwards it.
    pub(super) async fn authorize(&mut self, mut ask: Ask<'e>) -> Next {
        loop {
            self.trace.asked(&ask);
            let since = R::now();
            let outcome = self.ask_each(&ask).await;
            let now = R::now();
            self.trace.authorized(since, now);
            self.trace.routed(now);
            self.shard.recorder.auth(match &outcome {
                Ok(()) => AuthEnd::Allowed,
                Err(Refused::Denied(_)) => AuthEnd::Denied,
                Err(Refused::Ourselves(_)) => AuthEnd::Failed,
            });
            match outcome {
                Ok(()) => {}
                Err(Refused::Ourselves(fault)) => return self.answer(fault, None).await,
                Err(Refused::Denied(denial)) => return self.deny(&denial).await,
            }
            let head = &self.scratch.request;
            let step = ask.allowed(head, &mut self.shard.local.borrow_mut(), now);
            match step {
                Step::Ask(next) => ask = next,
                Step::Reply(reply) => return self.reply(&reply).await,
                Step::Forward(forward) => {
                    self.trace.forwarded(&forward);
                    let policy = forward.rule.policy.as_deref().unwrap_or(&NO_POLICY);
                    return self.forward_by_policy(policy, forward).await;
                }
            }
        }
    }

    async fn ask_each(&mut self, ask: &Ask<'e>) -> Result<(), Refused> {
        for auth in ask.auth {
            let until =
                ask.timeouts().request.and_then(|time| self.trace.received.checked_add(time));
            let body = self.shown(auth, until).await.map_err(Refused::Ourselves)?;
            match self.ask(ask, auth, &body, until).await.map_err(Refused::Ourselves)? {
                Verdict::Denied(denial) => return Err(Refused::Denied(denial)),
                Verdict::Allowed(edits) => {
                    let applied = edits.apply(&mut self.scratch.request);
                    applied.map_err(|_| Refused::Ourselves(Fault::AuthFailed))?;
                    if edits.has_response() {
                        self.scratch.edits.push(edits);
                    }
                }
            }
        }
        Ok(())
    }

    /// One question with its limits kept.
    async fn ask(
        &self,
        ask: &Ask<'e>,
        auth: &'e Auth,
        body: &[u8],
        until: Option<Instant>,
    ) -> Result<Verdict, Fault> {
        let limit = R::now() + limits::AUTH_TIMEOUT;
        let (limit, late) = match until {
            Some(until) if until < limit => (until, Fault::RequestTimeout),
            _ => (limit, Fault::AuthTimeout),
        };
        let origin = self.client.origin();
        let (client, peer) = (origin.client(), &origin.peer);
        let head = &self.scratch.request;
        let asked = Asked { ask, auth, head, client, peer, body, limit };
        let put = pin!(asked.put(self.shard, self.installed));
        match race(put, pin!(R::sleep_until(limit))).await {
            Either::First(verdict) => verdict,
            Either::Second(()) => Err(late),
        }
    }

    /// The request's body as far as the server is shown it: all of it or nothing.
    async fn shown(&mut self, auth: &Auth, until: Option<Instant>) -> Result<Vec<u8>, Fault> {
        let bytes_max = auth.body_bytes_max;
        if bytes_max == 0 {
            return Ok(Vec::new());
        }
        let bytes = if let Some(body) = &self.scratch.body {
            body.bytes.clone()
        } else if let Some(length) = self.client.body_here(&self.scratch.request) {
            self.client.here(length).to_vec()
        } else {
            self.receive(bytes_max, until).await?
        };
        if bytes.len() > bytes_max { Err(Fault::AuthBodyTooLarge) } else { Ok(bytes) }
    }

    /// Receives the whole body, which goes on from here.
    async fn receive(
        &mut self,
        bytes_max: usize,
        until: Option<Instant>,
    ) -> Result<Vec<u8>, Fault> {
        let framing = self.scratch.request.framing;
        if matches!(framing, Framing::Length(length) if length > bytes_max as u64) {
            return Err(Fault::AuthBodyTooLarge);
        }
        self.ask_for_body().await?;
        // From here on the body is partly read: no answer of ours may keep the connection.
        let keep_alive = std::mem::take(&mut self.scratch.request.keep_alive);
        let (window, cut) =
            (self.installed.epoch.settings.timeouts.body_rate_window, self.client.cut());
        let late = Cell::new(false);
        let gathered = {
            let (mut source, _) = self.client.halves(framing, window);
            let mut limit = pin!(async {
                let Some(until) = until else { return std::future::pending().await };
                R::sleep_until(until).await;
                late.set(true);
                cut.end_reading();
            });
            beside(pin!(gather(&mut source, bytes_max)), limit.as_mut()).await.0
        };
        let body: Body = match gathered {
            Ok(body) => body.ok_or(Fault::AuthBodyTooLarge)?,
            Err(_) if late.get() => return Err(Fault::RequestTimeout),
            Err(fault) => return Err(fault),
        };
        let bytes = body.bytes.clone();
        self.trace.bytes_in = bytes.len() as u64;
        self.scratch.request.keep_alive = keep_alive;
        self.scratch.is_received = true;
        self.scratch.body = Some(body);
        Ok(bytes)
    }

    /// A client that waits to be asked for its body is asked by us; its backend need not do it again.
    async fn ask_for_body(&mut self) -> Result<(), Fault> {
        let head = &mut self.scratch.request;
        head.fields.retain(|field| field.known != Known::Expect);
        if std::mem::take(&mut head.expect_continue) {
            self.client.response().proceed().await.map_err(|_| Fault::ClientGone)?;
        }
        Ok(())
    }

    async fn deny(&mut self, denial: &Denial) -> Next {
        let Denial { status, fields, body } = denial;
        self.answer_with(Fault::AuthDenied(*status), Some(fields), Some(body)).await
    }
}

/// For a request that a listener's servers allowed: what they did to it is looked after where rules
/// with a policy are.
static NO_POLICY: Policy = Policy {
    timeouts: Timeouts { request: None, backend_request: None },
    retry: None,
    mirrors: Vec::new(),
    auth: Vec::new(),
};
