//! One exchange with a client, whatever version it speaks: route, answer or forward, count.
//!
//! The drivers (`h1`, `h2`) read the head and say what becomes of the connection; everything in
//! between is here and in the files that go on from here (`forward`, `retry`, `attempt`).

use std::rc::Rc;

use proxy::exchange::{self, Answer, Reply, Step};
use proxy::fault::Fault;
use runtime::Runtime;

use super::client::{Client, Respond};
use crate::install::Installed;
use crate::scratch::Scratch;
use crate::shard::Shard;
use crate::trace::Trace;

/// What becomes of the connection after an exchange; of a stream, whether the rest of its request is
/// still wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request may follow.
    Keep,
    /// The answer said so: send FIN, let the client finish, close.
    Close,
    /// Nothing more can be said: close at once.
    Drop,
}

/// One request, and all that is at hand to answer it.
pub(super) struct Exchange<'x, 'e, R: Runtime, C> {
    pub(super) shard: &'x Rc<Shard<R>>,
    /// Pinned: this exchange sees one epoch.
    pub(super) installed: &'e Installed,
    pub(super) client: &'x mut C,
    pub(super) scratch: &'x mut Scratch,
    pub(super) trace: &'x mut Trace<'e>,
}

impl<'e, R: Runtime, C: Client<R>> Exchange<'_, 'e, R, C> {
    /// Answers or forwards the request in the scratch.
    pub(super) async fn run(&mut self) -> Next {
        self.client.lend(&mut self.scratch.out);
        let next = match self.route() {
            Step::Reply(reply) => Box::pin(self.reply(&reply)).await,
            Step::Ask(ask) => Box::pin(self.authorize(ask)).await,
            Step::Forward(forward) => {
                self.trace.forwarded(&forward);
                match &forward.rule.policy {
                    None => self.forward(forward).await,
                    Some(policy) => Box::pin(self.forward_by_policy(policy, forward)).await,
                }
            }
        };
        self.client.lend(&mut self.scratch.out);
        next
    }

    /// Answers what could not be read, or may not be served.
    pub(super) async fn refuse(&mut self, fault: Fault) -> Next {
        self.client.lend(&mut self.scratch.out);
        self.scratch.request.keep_alive = false;
        let next = self.reply(&refusal(fault)).await;
        self.client.lend(&mut self.scratch.out);
        next
    }

    fn route(&mut self) -> Step<'e> {
        let origin = self.client.origin();
        // The port may have gone, or turned from plain to TLS, since the connection was accepted.
        let Some(port) = self.installed.port(origin.port).filter(|port| origin.is_of(port)) else {
            return Step::Reply(refusal(Fault::HostUnclaimed));
        };
        let mut local = self.shard.local.borrow_mut();
        let (head, now) = (&self.scratch.request, self.trace.received);
        let epoch = &self.installed.epoch;
        let step = exchange::start(head, origin.client(), epoch, port, &mut local, now);
        self.trace.routed(R::now());
        step
    }

    pub(super) async fn reply(&mut self, reply: &Reply<'e>) -> Next {
        self.trace.replied(reply);
        self.answer(reply.fault, reply.fields.as_deref()).await
    }

    /// Sends an answer of our own, after taking the request's body out of the way.
    pub(super) async fn answer(&mut self, fault: Fault, fields: Option<&[u8]>) -> Next {
        self.answer_with(fault, fields, None).await
    }

    /// The same, with a body that is not of our own wording.
    pub(super) async fn answer_with(
        &mut self,
        fault: Fault,
        fields: Option<&[u8]>,
        content: Option<&[u8]>,
    ) -> Next {
        let head = &self.scratch.request;
        let is_received = self.scratch.is_received;
        let body_read = head.keep_alive && (is_received || self.client.skip_body(head));
        let keep = body_read && !self.shard.is_draining();
        let said = Said { fault, fields, content, keep };
        match said.send(self.client.response(), self.installed, self.scratch, self.trace).await {
            Ok(()) if keep => Next::Keep,
            Ok(()) => Next::Close,
            Err(_) => Next::Drop,
        }
    }
}

/// What we say ourselves.
pub(super) struct Said<'s> {
    pub(super) fault: Fault,
    pub(super) fields: Option<&'s [u8]>,
    pub(super) content: Option<&'s [u8]>,
    pub(super) keep: bool,
}

impl Said<'_> {
    /// Sends it.
    pub(super) async fn send(
        &self,
        client: &mut impl Respond,
        installed: &Installed,
        scratch: &Scratch,
        trace: &mut Trace<'_>,
    ) -> std::io::Result<()> {
        let fault = self.fault;
        trace.fault = Some(fault);
        let unread = matches!(fault, Fault::Malformed(_) | Fault::HeaderTimeout);
        let answer = Answer {
            fault,
            fields: self.fields,
            content: self.content,
            request: (!unread).then_some(&scratch.request),
            rule: trace.rule,
            keep_alive: self.keep,
            debug: installed.epoch.settings.debug_header,
        };
        trace.status = answer.status().unwrap_or(0);
        let sent = client.answer(&answer).await;
        trace.bytes_out = client.sent();
        sent
    }
}

fn refusal<'e>(fault: Fault) -> Reply<'e> {
    Reply { fault, fields: None, listener: None, rule: None }
}
