//! One request with its response through the gateway, as values: no I/O, no waiting.
//!
//! `shards` calls [`start`] with a parsed head and gets a [`Step`]: an answer of our own, servers that
//! must allow it first, or where to forward. It then asks [`Forward`] to write the outgoing head, to name another endpoint after a
//! failure that provably left the request unprocessed, and to write the response head. Invariant:
//! every decision of an exchange comes from the one epoch it was started with.

mod ask;
mod forwarded;
mod grpc;
mod request;
mod response;

use std::net::SocketAddr;
use std::time::Instant;

use crate::balance::{EndpointId, Local};
use crate::epoch::{Backend, Claim, Epoch, Listener, Port, Settings};
use crate::fault::Fault;
use crate::filter::{Filters, cors, cors_of, redirect, redirect_of};
use crate::h1::encode::Text;
use crate::http::RequestHead;
use crate::ir::{BackendProtocol, Cors, Protocol};
use crate::table::{Hit, Mirror, Rule, WeightedBackend};

pub use self::ask::{Ask, Server};
pub use self::forwarded::Provenance;
pub use self::response::{Answer, Delivery};

/// Who asks: facts of the connection that a request arrived on.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    /// The peer's IP address as text.
    pub address: &'c str,
    /// The SNI name of the TLS session, lower case.
    pub sni: Option<&'c str>,
}

/// What to do with a request.
#[derive(Debug)]
pub enum Step<'e> {
    /// Answer it here.
    Reply(Reply<'e>),
    /// Have it allowed before anything else.
    Ask(Ask<'e>),
    /// Forward it.
    Forward(Forward<'e>),
}

/// An answer of the gateway's own.
#[derive(Debug)]
pub struct Reply<'e> {
    /// Why.
    pub fault: Fault,
    /// Whole field lines that this answer alone has: a redirect's Location, a preflight's fields.
    pub fields: Option<Vec<u8>>,
    /// The listener that the request belongs to, if one was found.
    pub listener: Option<&'e Listener>,
    /// The rule that matched, if one did.
    pub rule: Option<&'e Rule>,
}

/// A request on its way to an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'e> {
    /// The listener that the request belongs to.
    pub listener: &'e Listener,
    /// The rule that matched.
    pub rule: &'e Rule,
    /// The backend that was picked.
    pub backend: &'e Backend,
    /// The endpoint that was picked.
    pub endpoint: EndpointId,
    /// Its address.
    pub address: SocketAddr,
    slot: u32,
    prefix: usize,
    protocol: Protocol,
    choice: &'e WeightedBackend,
    settings: &'e Settings,
}

/// What stays the same while a request finds its way.
#[derive(Clone, Copy, Debug)]
struct Course<'e> {
    epoch: &'e Epoch,
    port: &'e Port,
    listener: &'e Listener,
}

/// Routes one request: claim, find, filters, pick.
pub fn start<'e>(
    head: &RequestHead,
    client: Client<'_>,
    epoch: &'e Epoch,
    port: &'e Port,
    local: &mut Local,
    now: Instant,
) -> Step<'e> {
    let listener = match port.claim(head.host(), client.sni) {
        Claim::Listener(listener) => listener,
        Claim::Misdirected => return reply(Fault::Misdirected),
        Claim::Unclaimed => return reply(Fault::HostUnclaimed),
    };
    let course = Course { epoch, port, listener };
    if !listener.auth.is_empty() {
        return Step::Ask(Ask { auth: &listener.auth, course, hit: None });
    }
    course.route(head, local, now)
}

impl<'e> Course<'e> {
    /// Finds the rule, which may want the request allowed first.
    fn route(self, head: &RequestHead, local: &mut Local, now: Instant) -> Step<'e> {
        let Some(hit) = self.listener.table.find(head, &mut local.caches) else {
            return Step::Reply(Reply { listener: Some(self.listener), ..empty(Fault::NoRoute) });
        };
        let rule = hit.rule;
        if let Some(fields) = preflight(cors_of(&rule.filters), head) {
            return self.answer(rule, Fault::Preflight, fields);
        }
        match rule.policy.as_ref().filter(|policy| !policy.auth.is_empty()) {
            None => self.pick(hit, head, local, now),
            Some(policy) => {
                if let Some(fields) = Self::preflight_of_backend(rule, head, local) {
                    return self.answer(rule, Fault::Preflight, fields);
                }
                Step::Ask(Ask { auth: &policy.auth, course: self, hit: Some(hit) })
            }
        }
    }

    /// A preflight carries no credentials, so a backend's CORS filter answers it unasked too.
    fn preflight_of_backend(rule: &Rule, head: &RequestHead, local: &mut Local) -> Option<Vec<u8>> {
        if redirect_of(&rule.filters).is_some() || !cors::is_preflight(head) {
            return None;
        }
        let choice = local.pick_backend(rule).and_then(|index| rule.backends.get(index))?;
        preflight(cors_of(&choice.filters), head)
    }

    /// Redirects a request that matched, or picks where it goes.
    fn pick(self, hit: Hit<'e>, head: &RequestHead, local: &mut Local, now: Instant) -> Step<'e> {
        let Self { epoch, port, listener } = self;
        let Hit { rule, prefix } = hit;
        if let Some(filter) = redirect_of(&rule.filters) {
            let mut fields = Vec::with_capacity(FIELDS_BYTES);
            fields.extend_from_slice(b"location: ");
            let tls = port.protocol == Protocol::Tls;
            redirect::location(filter, head, prefix, tls, listener.port, &mut fields);
            fields.extend_from_slice(b"\r\n");
            return self.answer(rule, Fault::Redirect(filter.status), fields);
        }
        let refuse = |fault| {
            Step::Reply(Reply { listener: Some(listener), rule: Some(rule), ..empty(fault) })
        };
        let Some(choice) = local.pick_backend(rule).and_then(|index| rule.backends.get(index))
        else {
            return refuse(Fault::BackendInvalid);
        };
        if let Some(fields) = preflight(cors_of(&choice.filters), head) {
            return self.answer(rule, Fault::Preflight, fields);
        }
        let backend = choice
            .slot
            .and_then(|slot| Some((slot, epoch.backends.get(slot as usize)?.as_deref()?)));
        let Some((slot, backend)) = backend else { return refuse(Fault::BackendInvalid) };
        let switches = backend.websocket && backend.protocol == BackendProtocol::Http1;
        if head.websocket && !switches {
            return refuse(Fault::WebsocketUnsupported);
        }
        let Some((endpoint, address)) = local.pick_endpoint(slot, None, now) else {
            return refuse(Fault::NoEndpoints);
        };
        Step::Forward(Forward {
            listener,
            rule,
            backend,
            endpoint,
            address,
            slot,
            prefix,
            protocol: port.protocol,
            choice,
            settings: &epoch.settings,
        })
    }

    fn answer(self, rule: &'e Rule, fault: Fault, fields: Vec<u8>) -> Step<'e> {
        let (listener, rule) = (Some(self.listener), Some(rule));
        Step::Reply(Reply { fault, fields: Some(fields), listener, rule })
    }
}

impl<'e> Forward<'e> {
    /// Mirrors of the backend that was picked; those of the rule are in its policy.
    #[must_use]
    pub fn mirrors(&self) -> &'e [Mirror] {
        &self.choice.mirrors
    }

    fn filters(&self) -> Filters<'e> {
        Filters { rule: &self.rule.filters, backend: &self.choice.filters }
    }

    /// Another endpoint for the same request, after this one failed before it could have processed
    /// anything. `None` when there is no other.
    #[must_use]
    pub fn elsewhere(&self, local: &mut Local, now: Instant) -> Option<Self> {
        self.again(local, now).filter(|other| other.endpoint != self.endpoint)
    }

    /// Where to try the same request again: at another endpoint, or at the same one where the
    /// backend has no other. `None` when it has none left.
    #[must_use]
    pub fn again(&self, local: &mut Local, now: Instant) -> Option<Self> {
        let (endpoint, address) = local.pick_endpoint(self.slot, Some(self.endpoint), now)?;
        Some(Self { endpoint, address, ..*self })
    }
}

fn reply<'e>(fault: Fault) -> Step<'e> {
    Step::Reply(empty(fault))
}

fn empty<'e>(fault: Fault) -> Reply<'e> {
    Reply { fault, fields: None, listener: None, rule: None }
}

/// The fields that answer `head`, if it is a preflight that `cors` has to answer.
fn preflight(cors: Option<&Cors>, head: &RequestHead) -> Option<Vec<u8>> {
    let cors = cors.filter(|_| cors::is_preflight(head))?;
    let mut fields = Vec::with_capacity(FIELDS_BYTES);
    cors::preflight(cors, head, &mut Text(&mut fields));
    Some(fields)
}

const FIELDS_BYTES: usize = 128;
