//! Filters of listeners, before routing (GEP-5224): which of them can be obeyed, and whom they ask.
//!
//! What is wrong with a filter itself keeps its listener from being served; a reference that leads
//! nowhere does not, for such a filter lets nothing pass. Called once per listener for the first, and
//! once for all of them when it is known which backends want TLS.

use std::sync::Arc;

use proxy::ir;

use super::backend::{self, Barrier, LookedUp, Referrer, Target};
use super::backend_tls::{Policies, Use};
use super::gateway::Planned;
use super::listener::Listener;
use super::status::Reason;
use super::{Fault, external_auth};
use crate::api::{self, ExternalAuth, Kind, ListenerFilterType, Name, Protocol};
use crate::store::Snapshot;

/// Where the filters of all listeners lead.
#[derive(Debug, Default)]
pub(super) struct Followed {
    targets: Vec<Target>,
    /// What was looked up, with the number of the listener.
    services: Vec<(usize, LookedUp)>,
}

impl Followed {
    /// Every Service port that servers are asked at; may repeat.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter()
    }

    /// The same from every listener, with what leads nowhere; may repeat.
    pub(super) fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        let each = self.services.iter();
        each.map(|(listener, known)| Use {
            service: &known.name,
            port: known.port,
            listener: *listener,
        })
    }
}

/// Why a listener is not accepted for its filters' sake.
pub(super) fn refusal(spec: &api::Listener, listener: &Listener) -> Option<Fault> {
    let filters = spec.filters.as_ref()?;
    if !matches!(spec.protocol, Protocol::Http | Protocol::Https) {
        let protocol = spec.protocol.as_str();
        let field = listener.field("filters");
        let message = format!("{field} stand at a {protocol} listener: use HTTP or HTTPS");
        return Some(Fault::new(Reason::InvalidListenerFilter, field, message));
    }
    filters.requests.iter().enumerate().find_map(|(index, filter)| {
        let field = listener.field(&format!("filters.requests[{index}]"));
        match &filter.kind {
            ListenerFilterType::ExternalAuth => match &filter.external_auth {
                Some(auth) => {
                    let mut nowhere = |_: &_, _: &str, _| ir::Target::Invalid("".into());
                    let field = format!("{field}.externalAuth");
                    let read = external_auth::translate(auth, &field, &mut nowhere);
                    read.err().map(|fault| Fault { reason: Reason::InvalidListenerFilter, ..fault })
                }
                None => {
                    let message =
                        format!("{field} is of type ExternalAuth but has no externalAuth");
                    Some(Fault::new(Reason::InvalidListenerFilter, field, message))
                }
            },
            ListenerFilterType::ExtensionRef | ListenerFilterType::Unknown(_) => {
                let kind = filter.kind.as_str();
                let message = format!("{field}: filter {kind} is not supported: remove it");
                Some(Fault::new(Reason::UnsupportedValue, format!("{field}.type"), message))
            }
        }
    })
}

/// Follows the references of all listeners' filters.
pub(super) fn resolve(
    snapshot: &Snapshot,
    policies: &Policies,
    gateways: &mut [Planned],
) -> Followed {
    let mut followed = Followed::default();
    let mut number = 0;
    for gateway in gateways {
        let object = Arc::clone(&gateway.object);
        let name = gateway.name.clone();
        let owner = (Kind::Gateway, &name);
        let specs = &object.spec.listeners;
        follow_all(
            snapshot,
            policies,
            owner,
            (specs, &mut gateway.listeners),
            &mut number,
            &mut followed,
        );
        for set in &mut gateway.sets {
            let object = Arc::clone(&set.object);
            let name = set.name.clone();
            let owner = (Kind::ListenerSet, &name);
            let specs = &object.spec.listeners;
            follow_all(
                snapshot,
                policies,
                owner,
                (specs, &mut set.listeners),
                &mut number,
                &mut followed,
            );
        }
    }
    followed
}

fn follow_all(
    snapshot: &Snapshot,
    policies: &Policies,
    (kind, name): (Kind, &Name),
    (specs, listeners): (&[api::Listener], &mut [Listener]),
    number: &mut usize,
    followed: &mut Followed,
) {
    for listener in listeners {
        let specs = specs[listener.index].filters.as_ref();
        for (index, filter) in specs.iter().flat_map(|all| &all.requests).enumerate() {
            let speaks = ir::BackendProtocol::Http1;
            let referrer = Referrer { snapshot, policies, kind, route: name, speaks };
            let field = listener.field(&format!("filters.requests[{index}]"));
            if filter.kind == ListenerFilterType::ExtensionRef {
                let message =
                    format!("{field}: no kind of extensionRef is known: remove the filter");
                let field = format!("{field}.extensionRef");
                let fault = Fault::new(Reason::InvalidListenerFilterRef, field, message);
                listener.unresolved.push(fault);
            }
            let auth = filter.external_auth.as_ref();
            if let Some(auth) = auth.filter(|_| filter.kind == ListenerFilterType::ExternalAuth) {
                follow(referrer, auth, &field, (listener, *number), followed);
            }
        }
        *number += 1;
    }
}

fn follow(
    referrer: Referrer<'_>,
    auth: &ExternalAuth,
    field: &str,
    (listener, number): (&mut Listener, usize),
    followed: &mut Followed,
) {
    let mut services = Vec::new();
    let mut follow = |reference: &api::BackendRef, field: &str, speaks: Option<_>| {
        let referrer = Referrer { speaks: speaks.unwrap_or(referrer.speaks), ..referrer };
        match backend::resolve(referrer, reference, field, &mut services) {
            Ok(target) => {
                let key = Arc::clone(&target.key);
                followed.targets.push(target);
                ir::Target::Backend(key)
            }
            Err(Barrier::Policy(message)) => ir::Target::Invalid(message),
            Err(Barrier::Unresolved(fault)) => {
                let message = format!("{field}: {}", fault.message);
                let reason = match fault.reason {
                    Reason::RefNotPermitted => Reason::RefNotPermitted,
                    _ => Reason::InvalidListenerFilterRef,
                };
                listener.unresolved.push(Fault::new(reason, fault.field, message.clone()));
                ir::Target::Invalid(message.into())
            }
        }
    };
    let read = external_auth::translate(auth, &format!("{field}.externalAuth"), &mut follow);
    // What cannot be read has its listener refused.
    listener.filters.extend(read.ok().map(ir::Filter::ExternalAuth));
    followed.services.extend(services.into_iter().map(|known| (number, known)));
}
