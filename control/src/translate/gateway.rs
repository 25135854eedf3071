//! Gateways: which are served, on which addresses, and what their listeners may do.

use std::collections::BTreeSet;
use std::sync::Arc;

use proxy::ir;

use super::address::{self, Site};
use super::class::{Classes, Verdict};
use super::frontend::Frontend;
use super::listener::{self, Listener, Owner};
use super::listener_set::{self, PlannedSet};
use super::proxy_protocol::Proxies;
use super::status::{Address, Problem, Reason};
use super::{Fault, conflict, hostname};
use crate::api::{self, Gateway, Kind, Name};
use crate::report::Transport;
use crate::store::Snapshot;

/// A Gateway of ours.
#[derive(Debug)]
pub(super) struct Planned {
    /// The object.
    pub object: Arc<Gateway>,
    /// Its name.
    pub name: Name,
    /// Where it listens.
    pub site: Site,
    /// The addresses that its status shows.
    pub shown: Vec<Address>,
    /// Why it is refused, if it is.
    pub fault: Option<Fault>,
    /// What it asks for in `spec.addresses` and does not have.
    pub lacking: Vec<Fault>,
    /// Why it does not count as programmed for want of an address or a port, if so.
    pub unassigned: Option<Fault>,
    /// What it asks of clients under TLS.
    pub frontend: Frontend,
    /// Who speaks the PROXY protocol to its listeners and those of its ListenerSets.
    pub proxies: Proxies,
    /// What it shows to backends that it speaks TLS to.
    pub client_certificate: Option<Arc<ir::Certificate>>,
    /// What is wrong with that, if something is; it keeps nothing from being served.
    pub unresolved: Option<Fault>,
    /// Its own listeners in the order of the spec.
    pub listeners: Vec<Listener>,
    /// The ListenerSets that name it, in the order in which they win; those that it does not take
    /// too.
    pub sets: Vec<PlannedSet>,
}

impl Planned {
    /// Whether it is accepted: not refused, with one listener of its own that is not.
    pub(super) fn is_accepted(&self) -> bool {
        self.fault.is_none() && self.listeners.iter().any(Listener::accepts)
    }

    /// Whether a listener of it or of its ListenerSets takes traffic.
    pub(super) fn serves(&self, listener: &Listener) -> bool {
        self.is_accepted() && !self.site.is_nowhere() && listener.is_programmed()
    }

    /// Its own listeners, then those of its ListenerSets: the order in which they are numbered.
    pub(super) fn all_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().chain(self.sets.iter().flat_map(|set| &set.listeners))
    }

    /// The ports that its listeners name.
    pub(super) fn ports(&self) -> BTreeSet<(u16, Transport)> {
        self.all_listeners().filter_map(Listener::socket).collect()
    }
}

/// Plans every Gateway of ours with its ListenerSets, oldest first: who comes first wins a port.
/// Beside them stand the ListenerSets that name no Gateway.
pub(super) fn plan(snapshot: &Snapshot, classes: &Classes) -> (Vec<Planned>, Vec<Problem>) {
    let ours = snapshot
        .gateways
        .iter()
        .filter(|(_, object)| classes.verdict(&object.spec.gateway_class_name) == Verdict::Ours);
    let mut gateways: Vec<_> =
        ours.map(|(name, object)| plan_one(snapshot, name, object)).collect();
    gateways
        .sort_by_cached_key(|gateway| (gateway.object.metadata.created, gateway.name.to_string()));
    let strays = listener_set::plan(snapshot, &mut gateways);
    address::assign(snapshot, &mut gateways);
    conflict::share(&mut gateways);
    (gateways, strays)
}

fn plan_one(snapshot: &Snapshot, name: &Name, object: &Arc<Gateway>) -> Planned {
    let frontend = Frontend::plan(snapshot, name, &object.spec.tls.frontend);
    let proxies = Proxies::of(object);
    let owner = Owner { kind: Kind::Gateway, name, frontend: &frontend, proxies: &proxies };
    let specs = object.spec.listeners.iter().enumerate();
    let mut listeners: Vec<_> =
        specs.map(|(index, spec)| listener::plan(snapshot, owner, spec, index)).collect();
    conflict::among_siblings(&mut listeners);
    let (client_certificate, unresolved) = client_certificate(snapshot, name, object);
    Planned {
        object: Arc::clone(object),
        name: name.clone(),
        site: Site::At(Vec::new()),
        shown: Vec::new(),
        fault: unsupported(object),
        lacking: Vec::new(),
        unassigned: None,
        frontend,
        proxies,
        client_certificate,
        unresolved,
        listeners,
        sets: Vec::new(),
    }
}

fn unsupported(object: &Gateway) -> Option<Fault> {
    object.spec.infrastructure.parameters_ref.as_ref()?;
    let message = "spec.infrastructure.parametersRef is not supported: remove it";
    let field = "spec.infrastructure.parametersRef";
    Some(Fault::new(Reason::InvalidParameters, field, message))
}

/// What the Gateway shows to backends, and what is wrong with the reference. A Secret that turned bad
/// keeps its last good certificate.
fn client_certificate(
    snapshot: &Snapshot,
    name: &Name,
    object: &Gateway,
) -> (Option<Arc<ir::Certificate>>, Option<Fault>) {
    let Some(reference) = &object.spec.tls.backend.client_certificate_ref else {
        return (None, None);
    };
    let kind = Kind::Gateway;
    let (certificate, fault) = listener::certificate(snapshot, kind, &name.namespace, reference);
    let fault = fault.map(|(reason, message)| {
        let reason = match reason {
            Reason::InvalidCertificateRef => Reason::InvalidClientCertificateRef,
            other => other,
        };
        Fault::new(reason, "spec.tls.backend.clientCertificateRef.name", message)
    });
    (certificate, fault)
}

/// What the Gateway asks for in vain, though it is served: fields that are not supported and that no
/// condition speaks of.
pub(super) fn ignored(object: &Gateway) -> Vec<Fault> {
    let spec = &object.spec;
    let scope = spec.default_scope.as_deref().filter(|scope| *scope != "None").map(|_| {
        let field = "spec.defaultScope";
        let message = format!("{field} is not supported: let routes name the Gateway");
        Fault::new(Reason::UnsupportedValue, field, message)
    });
    let is_set = |value: &Option<serde_json::Value>| match value {
        Some(serde_json::Value::Object(options)) => !options.is_empty(),
        Some(_) | None => false,
    };
    let with_options =
        |listener: &api::Listener| listener.tls.as_ref().is_some_and(|tls| is_set(&tls.options));
    let listeners = spec.listeners.iter().enumerate().filter(|(_, one)| with_options(one));
    let options = listeners.map(|(index, _)| {
        let field = format!("spec.listeners[{index}].tls.options");
        let message = format!("{field} are not supported and have no effect: remove them");
        Fault::new(Reason::UnsupportedValue, field, message)
    });
    scope.into_iter().chain(options).collect()
}

/// Orders the listeners of one port.
pub(super) fn listener_order(left: &ir::Listener, right: &ir::Listener) -> std::cmp::Ordering {
    hostname::by_specificity(left.hostname.as_ref(), right.hostname.as_ref())
        .then_with(|| left.name.cmp(&right.name))
}
