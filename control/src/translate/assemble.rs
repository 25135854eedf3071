//! Puts the planned parts together: the IR, and the statuses that need to know what was attached.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use proxy::ir::{self, AttachedRoute, AttachedStream, Hostname, Ir};

use super::address::Addressing;
use super::attach::{PlannedRoute, Route, Routes};
use super::class::Classes;
use super::frontend;
use super::gateway::{self, Planned};
use super::infrastructure;
use super::listener::Listener;
use super::status::{
    Condition, ConditionType, GatewayStatus, ListenerSetStatus, ListenerStatus, PolicyStatus,
    Problem, Reason, RouteStatus, Statuses,
};
use super::{Fault, Translation};
use crate::api::{GATEWAY_GROUP, Kind, Name, RouteKind};
use crate::report::{Transport, transport};
use crate::store::Snapshot;

/// What was planned of each kind.
pub(super) struct Parts {
    /// Classes of ours.
    pub classes: Classes,
    /// Their Gateways with ListenerSets.
    pub gateways: Vec<Planned>,
    /// ListenerSets that name no Gateway.
    pub strays: Vec<Problem>,
    /// All routes.
    pub routes: Routes,
    /// BackendTLSPolicies.
    pub policies: (BTreeMap<Name, Arc<PolicyStatus>>, Vec<Problem>),
}

/// Assembles the translation.
pub(super) fn assemble(
    snapshot: &Snapshot,
    parts: Parts,
    backends: BTreeMap<Arc<str>, Arc<ir::Backend>>,
) -> Translation {
    let Parts { classes, gateways, strays, routes, policies } = parts;
    let attached = attached(&gateways, &routes);
    let counts: Vec<usize> =
        attached.iter().map(|all| all.routes.len() + all.streams.len()).collect();
    let (gateway_statuses, listener_sets) = parent_statuses(&gateways, &counts);
    let problems = problems(&classes, &gateways, strays, &routes, policies.1);
    let statuses = Statuses {
        gateway_classes: classes.statuses(),
        gateways: gateway_statuses,
        grpc_routes: route_statuses(&routes.grpc),
        http_routes: route_statuses(&routes.http),
        listener_sets,
        tcp_routes: route_statuses(&routes.tcp),
        tls_routes: route_statuses(&routes.tls),
        udp_routes: route_statuses(&routes.udp),
        backend_tls_policies: policies.0,
        infrastructure: infrastructure::plan(snapshot, &gateways),
    };
    let is_anywhere = matches!(snapshot.addressing, Addressing::Pool(_));
    let ports = ports(&gateways, attached, is_anywhere);
    Translation { ir: Ir { ports, backends }, statuses, problems }
}

fn route_statuses<O: Route>(routes: &[Arc<PlannedRoute<O>>]) -> BTreeMap<Name, Arc<RouteStatus>> {
    let told = |route: &Arc<PlannedRoute<O>>| Some((route.name.clone(), route.status.clone()?));
    routes.iter().filter_map(told).collect()
}

/// The routes of one listener, in precedence order.
#[derive(Clone, Default)]
struct Attached {
    routes: Vec<AttachedRoute>,
    streams: Vec<AttachedStream>,
}

/// The routes of each listener, as they are numbered.
fn attached(gateways: &[Planned], routes: &Routes) -> Vec<Attached> {
    let count = gateways.iter().map(|gateway| gateway.all_listeners().count()).sum();
    let mut all = vec![Attached::default(); count];
    each(&routes.http, |listener, hostnames, route| {
        all[listener].routes.push(AttachedRoute { hostnames, route });
    });
    if !routes.grpc.is_empty() {
        each(&routes.grpc, |listener, hostnames, route| {
            all[listener].routes.push(AttachedRoute { hostnames, route });
        });
        for attached in &mut all {
            attached.routes.sort_by(|left, right| {
                let (left, right) = (&left.route, &right.route);
                (left.created, &left.name).cmp(&(right.created, &right.name))
            });
        }
    }
    for streams in [&routes.tcp, &routes.tls, &routes.udp] {
        each(streams, |listener, hostnames, route| {
            all[listener].streams.push(AttachedStream { hostnames, route });
        });
    }
    all
}

/// Each place that a route is attached to.
fn each<O: Route>(
    routes: &[Arc<PlannedRoute<O>>],
    mut attach: impl FnMut(usize, Vec<Hostname>, Arc<O::Rules>),
) {
    for route in routes {
        for (listener, hostnames) in &route.attached {
            attach(*listener, hostnames.clone(), Arc::clone(&route.body.rules));
        }
    }
}

fn ports(gateways: &[Planned], attached: Vec<Attached>, is_anywhere: bool) -> Vec<ir::Port> {
    let mut ports: BTreeMap<(u16, Option<IpAddr>, Transport), ir::Port> = BTreeMap::new();
    let listeners = gateways
        .iter()
        .flat_map(|gateway| gateway.all_listeners().map(move |listener| (gateway, listener)));
    for ((gateway, listener), attached) in listeners.zip(attached) {
        let sockets = gateway.site.sockets(listener.port);
        let Some(protocol) = listener.protocol.filter(|_| gateway.serves(listener)) else {
            continue;
        };
        let proxies = &listener.proxies;
        let listener = ir::Listener {
            name: Arc::clone(&listener.full_name),
            port: listener.port,
            kind: listener.kind(),
            hostname: listener.hostname.clone(),
            tls: listener.tls.clone(),
            client_certificate: gateway.client_certificate.clone(),
            filters: listener.filters.clone(),
            routes: attached.routes,
            streams: attached.streams,
        };
        for (address, port) in sockets {
            let entry =
                ports.entry((port, address, transport(protocol))).or_insert_with(|| ir::Port {
                    address,
                    is_anywhere,
                    port,
                    protocol,
                    proxy_protocol: proxies.clone(),
                    listeners: Vec::new(),
                });
            entry.listeners.push(listener.clone());
        }
    }
    let mut ports: Vec<_> = ports.into_values().collect();
    for port in &mut ports {
        port.listeners.sort_by(gateway::listener_order);
    }
    ports
}

type ParentStatuses = (BTreeMap<Name, GatewayStatus>, BTreeMap<Name, ListenerSetStatus>);

/// `counts` says of each listener, as they are numbered, how many routes are attached.
fn parent_statuses(gateways: &[Planned], counts: &[usize]) -> ParentStatuses {
    let mut counts = counts.iter().copied();
    let (mut statuses, mut sets) = (BTreeMap::new(), BTreeMap::new());
    for gateway in gateways {
        let generation = gateway.object.metadata.generation;
        let own = listener_statuses(gateway, &gateway.listeners, generation, &mut counts);
        let accepted_sets = gateway.sets.iter().filter(|set| set.is_accepted(gateway));
        let status = GatewayStatus {
            addresses: gateway.shown.clone(),
            attached_listener_sets: accepted_sets.count(),
            conditions: [
                accepted(gateway),
                assigned(gateway),
                programmed(gateway),
                resolved(gateway),
            ]
            .into_iter()
            .chain(insecure(gateway))
            .collect(),
            listeners: own,
        };
        statuses.insert(gateway.name.clone(), status);
        for set in &gateway.sets {
            let generation = set.object.metadata.generation;
            let status = ListenerSetStatus {
                conditions: set.conditions(gateway),
                listeners: listener_statuses(gateway, &set.listeners, generation, &mut counts),
            };
            sets.insert(set.name.clone(), status);
        }
    }
    (statuses, sets)
}

fn listener_statuses(
    gateway: &Planned,
    listeners: &[Listener],
    generation: i64,
    counts: &mut impl Iterator<Item = usize>,
) -> Vec<ListenerStatus> {
    let each = listeners.iter().zip(counts).map(|(listener, count)| ListenerStatus {
        name: Arc::clone(&listener.name),
        supported_kinds: listener.kinds.iter().copied().map(route_kind).collect(),
        attached_routes: count,
        conditions: listener.conditions(gateway.serves(listener), generation),
    });
    each.collect()
}

fn route_kind(kind: Kind) -> RouteKind {
    RouteKind { group: GATEWAY_GROUP.into(), kind: kind.as_str().into() }
}

/// Accepted as long as one listener is; a listener that is not, or that cannot serve, is named.
fn accepted(gateway: &Planned) -> Condition {
    let generation = gateway.object.metadata.generation;
    let kind = ConditionType::Accepted;
    if let Some(fault) = &gateway.fault {
        return Condition::fails(kind, fault.reason, fault.message.clone(), generation);
    }
    let bad: Vec<&str> = gateway
        .listeners
        .iter()
        .filter(|listener| !listener.is_programmed())
        .map(|listener| &*listener.name)
        .collect();
    if bad.is_empty() {
        let message = "The Gateway is accepted";
        return Condition::holds(kind, Reason::Accepted, message, generation);
    }
    let message = format!("These listeners cannot serve, see their conditions: {}", bad.join(", "));
    if gateway.listeners.iter().any(Listener::accepts) {
        Condition::holds(kind, Reason::ListenersNotValid, message, generation)
    } else {
        Condition::fails(kind, Reason::ListenersNotValid, message, generation)
    }
}

/// Whether it has every address that it asks for.
fn assigned(gateway: &Planned) -> Condition {
    let generation = gateway.object.metadata.generation;
    let kind = ConditionType::AddressesAssigned;
    if let Some(fault) = &gateway.fault {
        let message = format!("The Gateway is not accepted: {}", fault.message);
        return Condition::fails(kind, Reason::NotAssigned, message, generation);
    }
    if gateway.lacking.is_empty() {
        let message = "All addresses are assigned";
        return Condition::holds(kind, Reason::AddressesAssigned, message, generation);
    }
    let messages: Vec<&str> = gateway.lacking.iter().map(|fault| &*fault.message).collect();
    let none = gateway.shown.is_empty();
    let reason = if none { Reason::NotAssigned } else { Reason::PartiallyAssigned };
    Condition::fails(kind, reason, messages.join("; "), generation)
}

fn programmed(gateway: &Planned) -> Condition {
    let generation = gateway.object.metadata.generation;
    let kind = ConditionType::Programmed;
    if let Some(fault) = gateway.unassigned.as_ref().filter(|_| gateway.fault.is_none()) {
        return Condition::fails(kind, fault.reason, fault.message.clone(), generation);
    }
    if gateway.all_listeners().any(|listener| gateway.serves(listener)) {
        let message = "The Gateway takes traffic";
        Condition::holds(kind, Reason::Programmed, message, generation)
    } else {
        let message = "No listener can serve";
        Condition::fails(kind, Reason::Invalid, message, generation)
    }
}

/// Whether the Gateway's own references are followed, and a summary of its listeners'.
fn resolved(gateway: &Planned) -> Condition {
    let generation = gateway.object.metadata.generation;
    let kind = ConditionType::ResolvedRefs;
    if let Some(fault) = &gateway.unresolved {
        return Condition::fails(kind, fault.reason, fault.message.clone(), generation);
    }
    let bad: Vec<&str> = gateway
        .listeners
        .iter()
        .filter(|listener| !listener.unresolved.is_empty())
        .map(|listener| &*listener.name)
        .collect();
    if bad.is_empty() {
        let message = "All references are resolved";
        return Condition::holds(kind, Reason::ResolvedRefs, message, generation);
    }
    let bad = bad.join(", ");
    let message =
        format!("These listeners have unresolved references, see their conditions: {bad}");
    Condition::fails(kind, Reason::ListenersNotResolved, message, generation)
}

/// Whether clients without a valid certificate are served somewhere. Only told where they are.
fn insecure(gateway: &Planned) -> Option<Condition> {
    let generation = gateway.object.metadata.generation;
    frontend::is_insecure(&gateway.object.spec.tls.frontend).then(|| {
        let kind = ConditionType::InsecureFrontendValidationMode;
        let message =
            "Clients without a valid certificate are served: the mode is AllowInsecureFallback";
        Condition::holds(kind, Reason::ConfigurationChanged, message, generation)
    })
}

/// What is wrong with a listener; that no authority is left follows from what is wrong with each.
fn listener_faults(listener: &Listener) -> impl Iterator<Item = &Fault> {
    listener.faults().filter(|fault| fault.reason != Reason::NoValidCACertificate)
}

fn problems(
    classes: &Classes,
    gateways: &[Planned],
    strays: Vec<Problem>,
    routes: &Routes,
    rest: Vec<Problem>,
) -> Vec<Problem> {
    let classes =
        classes.faults().map(|(name, fault)| Problem::of(Kind::GatewayClass, &name, fault));
    let parents = gateways.iter().flat_map(|gateway| {
        let listeners = gateway.listeners.iter().flat_map(listener_faults);
        let faults = gateway.fault.iter().chain(&gateway.unassigned).chain(&gateway.lacking);
        let faults = faults.chain(&gateway.unresolved).chain(listeners);
        let own = faults.map(|fault| Problem::of(Kind::Gateway, &gateway.name, fault));
        let strays = gateway.proxies.strays.iter().cloned();
        let told = gateway::ignored(&gateway.object).into_iter().chain(strays);
        let told = told.map(|fault| Problem::of(Kind::Gateway, &gateway.name, &fault));
        let sets = gateway.sets.iter().flat_map(|set| {
            set.faults().map(|fault| Problem::of(Kind::ListenerSet, &set.name, fault))
        });
        // Several listeners may suffer from one setting of the Gateway.
        let mut seen = HashSet::new();
        own.chain(told).chain(sets).filter(move |problem| seen.insert(problem.clone()))
    });
    let routes = routes.problems().cloned();
    classes.chain(parents).chain(strays).chain(routes).chain(rest).collect()
}
