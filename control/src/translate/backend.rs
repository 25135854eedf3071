//! Backends: what a `backendRef` names, and the endpoints behind it.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proxy::ir;

use super::attach::Routes;
use super::grant::{self, Reference};
use super::reach::Reach;
use super::status::{Problem, Reason};
use super::{Fault, same};
use crate::api::{
    BackendRef, EndpointSlice, Kind, Name, PolicyTarget, Service, ServicePort, TargetPort,
};
use crate::resolve;
use crate::store::Snapshot;

/// A Service port that a route leads to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// `namespace/service:port`.
    pub key: Arc<str>,
    /// The Service.
    pub service: Arc<Service>,
    /// The port of the Service.
    pub port: u16,
}

/// Finds what a reference at `field` leads to. Notes the Service it looked up, there or not.
pub(super) fn resolve(
    snapshot: &Snapshot,
    route: &Name,
    reference: &BackendRef,
    field: &str,
    looked_up: &mut Vec<(Name, Option<Arc<Service>>)>,
) -> Result<Target, Fault> {
    if !reference.group.is_empty() || &*reference.kind != "Service" {
        let message = format!(
            "{field} names {} {} of group {:?}: only Service of the core group is supported",
            reference.kind, reference.name, reference.group
        );
        return Err(Fault::new(Reason::InvalidKind, format!("{field}.kind"), message));
    }
    let namespace = reference.namespace.as_ref().unwrap_or(&route.namespace);
    let name = Name { namespace: Arc::clone(namespace), name: Arc::clone(&reference.name) };
    let reach = Reference {
        from_kind: "HTTPRoute",
        from_namespace: &route.namespace,
        to_kind: "Service",
        to: &name,
    };
    if !grant::permits(snapshot, reach) {
        let field = format!("{field}.namespace");
        return Err(Fault::new(Reason::RefNotPermitted, field, grant::advice(reach)));
    }
    let service = snapshot.services.get(&name);
    looked_up.push((name.clone(), service.cloned()));
    let not_found =
        |field: String, message| Err(Fault::new(Reason::BackendNotFound, field, message));
    let Some(service) = service else {
        let message = format!("Service {name} does not exist: create it or correct {field}.name");
        return not_found(format!("{field}.name"), message);
    };
    let Some(port) = reference.port else {
        let message = format!("{field}.port is missing: name a port of Service {name}");
        return not_found(format!("{field}.port"), message);
    };
    let ports = &service.spec.ports;
    let spec = ports.iter().find(|spec| spec.port == port);
    if spec.is_none() && !(ports.is_empty() && has_own_endpoints(service)) {
        let known: Vec<_> = ports.iter().map(|spec| spec.port.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("Service {name} has no port {port}; its ports: {known}");
        return not_found(format!("{field}.port"), message);
    }
    let wants = spec.and_then(unsupported_protocol).map_or_else(
        || {
            let policy = tls_policy(snapshot, &name, spec.map(|spec| &*spec.name))?;
            Some(format!("TLS (BackendTLSPolicy {policy})"))
        },
        |protocol| Some(protocol.to_owned()),
    );
    if let Some(protocol) = wants {
        let message = format!(
            "port {port} of Service {name} speaks {protocol}, which is not supported: backends speak HTTP/1.1"
        );
        let field = format!("{field}.port");
        return Err(Fault::new(Reason::UnsupportedProtocol, field, message));
    }
    let key = format!("{name}:{port}").into();
    Ok(Target { key, service: Arc::clone(service), port })
}

fn has_own_endpoints(service: &Service) -> bool {
    &*service.spec.kind == "ExternalName"
        || service.metadata.annotations.contains_key(resolve::ENDPOINTS_ANNOTATION)
}

/// The protocol of a port that the data plane cannot speak, if so.
fn unsupported_protocol(port: &ServicePort) -> Option<&str> {
    let transport = port.protocol.as_deref().filter(|protocol| *protocol != "TCP");
    transport.or_else(|| {
        let application = port.app_protocol.as_deref()?;
        (!speaks_http1(application)).then_some(application)
    })
}

/// Whether the application protocol is HTTP/1.1, with or without WebSocket.
fn speaks_http1(application: &str) -> bool {
    application == "kubernetes.io/ws" || application.eq_ignore_ascii_case("http")
}

/// The BackendTLSPolicy that applies to a port of a Service. What it protects is never spoken to in
/// the clear.
fn tls_policy(snapshot: &Snapshot, service: &Name, port: Option<&str>) -> Option<Name> {
    let first = Name { namespace: Arc::clone(&service.namespace), name: "".into() };
    let policies = snapshot.backend_tls_policies.range(first..);
    let mut own = policies.take_while(|(name, _)| name.namespace == service.namespace);
    let applies = |target: &PolicyTarget| {
        target.group.is_empty()
            && &*target.kind == "Service"
            && target.name == service.name
            && target
                .section_name
                .as_deref()
                .is_none_or(|section| port.is_none_or(|p| p == section))
    };
    own.find(|(_, policy)| policy.spec.target_refs.iter().any(applies))
        .map(|(name, _)| name.clone())
}

/// Backends of the last translation with what they were made from.
#[derive(Debug, Default)]
pub(super) struct BackendCache {
    slices: Arc<BTreeMap<Name, Arc<EndpointSlice>>>,
    resolved: Arc<HashMap<Arc<str>, Vec<IpAddr>>>,
    reach: Reach,
    by_service: HashMap<Name, Vec<Arc<EndpointSlice>>>,
    backends: HashMap<Arc<str>, Known>,
}

/// A backend, and whether some of its endpoints may not be reached.
#[derive(Clone, Debug)]
struct Known {
    service: Arc<Service>,
    backend: Arc<ir::Backend>,
    is_barred: bool,
}

/// Every backend that the routes lead to, and those whose endpoints are not all reached.
pub(super) fn plan(
    snapshot: &Snapshot,
    routes: &Routes,
    reach: Reach,
    cache: &mut BackendCache,
) -> (BTreeMap<Arc<str>, Arc<ir::Backend>>, Vec<Problem>) {
    let unchanged = same(&cache.slices, &snapshot.endpoint_slices)
        && same(&cache.resolved, &snapshot.resolved)
        && cache.reach == reach;
    if !unchanged {
        cache.by_service = by_service(snapshot);
        cache.slices = Arc::clone(&snapshot.endpoint_slices);
        cache.resolved = Arc::clone(&snapshot.resolved);
        cache.reach = reach;
    }
    let mut planned = HashMap::with_capacity(cache.backends.len());
    for target in routes.targets() {
        if planned.contains_key(&target.key) {
            continue;
        }
        let known = cache.backends.get(&target.key);
        let now = match known {
            Some(known) if unchanged && same(&known.service, &target.service) => known.clone(),
            _ => {
                let (made, is_barred) = translate(snapshot, target, cache);
                let equal = known.map(|known| &known.backend).filter(|backend| ***backend == made);
                let backend = equal.map_or_else(|| Arc::new(made), Arc::clone);
                Known { service: Arc::clone(&target.service), backend, is_barred }
            }
        };
        planned.insert(Arc::clone(&target.key), now);
    }
    cache.backends = planned;
    let backends = cache.backends.iter();
    let barred = cache.backends.values().filter(|known| known.is_barred);
    let mut problems: Vec<_> = barred.map(|known| barred_problem(&known.service)).collect();
    problems.sort_by(|left, right| left.object.cmp(&right.object));
    problems.dedup();
    (backends.map(|(key, known)| (Arc::clone(key), Arc::clone(&known.backend))).collect(), problems)
}

fn barred_problem(service: &Service) -> Problem {
    let message = "some endpoints are left out: in a cluster no Service leads to loopback, link-local or multicast addresses, or to the gateway's own listeners";
    let fault = Fault::new(Reason::UnsupportedValue, "spec", message);
    Problem::of(Kind::Service, &service.metadata.full_name(), &fault)
}

fn by_service(snapshot: &Snapshot) -> HashMap<Name, Vec<Arc<EndpointSlice>>> {
    let mut index: HashMap<Name, Vec<_>> = HashMap::new();
    for (name, slice) in snapshot.endpoint_slices.iter() {
        if let Some(service) = slice.service() {
            let service =
                Name { namespace: Arc::clone(&name.namespace), name: Arc::clone(service) };
            index.entry(service).or_default().push(Arc::clone(slice));
        }
    }
    index
}

fn translate(snapshot: &Snapshot, target: &Target, cache: &BackendCache) -> (ir::Backend, bool) {
    let service = &target.service;
    let port = service.spec.ports.iter().find(|port| port.port == target.port);
    let annotation = service.metadata.annotations.get(resolve::ENDPOINTS_ANNOTATION);
    let mut endpoints = if let Some(text) = annotation {
        annotated(snapshot, text)
    } else if &*service.spec.kind == "ExternalName" {
        external(snapshot, service, target.port, port)
    } else {
        let slices =
            cache.by_service.get(&service.metadata.full_name()).map_or(&[][..], Vec::as_slice);
        sliced(slices, port.map_or("", |port| &*port.name))
    };
    let all = endpoints.len();
    endpoints.retain(|endpoint| cache.reach.permits(*endpoint));
    let is_barred = endpoints.len() < all;
    endpoints.sort();
    endpoints.dedup();
    let application = port.and_then(|port| port.app_protocol.as_deref());
    let websocket = application.is_none_or(speaks_http1);
    (ir::Backend { websocket, endpoints, ..ir::Backend::default() }, is_barred)
}

/// Entries that cannot be read are left out here; reading the file refuses them.
fn annotated(snapshot: &Snapshot, text: &str) -> Vec<SocketAddr> {
    let entries = resolve::entries(text).filter_map(Result::ok);
    entries
        .flat_map(|(host, port)| {
            resolve::addresses(snapshot, host).into_iter().map(move |ip| SocketAddr::new(ip, port))
        })
        .collect()
}

fn external(
    snapshot: &Snapshot,
    service: &Service,
    number: u16,
    port: Option<&ServicePort>,
) -> Vec<SocketAddr> {
    let number = match port.and_then(|port| port.target_port.as_ref()) {
        Some(TargetPort::Number(number)) => *number,
        Some(TargetPort::Named(_)) | None => number,
    };
    let host = service.spec.external_name.as_deref().unwrap_or_default();
    let addresses = resolve::addresses(snapshot, host).into_iter();
    addresses.map(|ip| SocketAddr::new(ip, number)).collect()
}

/// Ready endpoints; those that terminate but still serve only if nothing else is ready.
fn sliced(slices: &[Arc<EndpointSlice>], port_name: &str) -> Vec<SocketAddr> {
    let (mut ready, mut leaving) = (Vec::new(), Vec::new());
    for slice in slices {
        let tcp = |protocol: &Option<Arc<str>>| matches!(protocol.as_deref(), None | Some("TCP"));
        let port = slice.ports.iter().find(|port| &*port.name == port_name && tcp(&port.protocol));
        let Some(port) = port.and_then(|port| port.port) else { continue };
        for endpoint in &slice.endpoints {
            let conditions = &endpoint.conditions;
            let is_ready = conditions.ready.unwrap_or(true);
            let terminating = conditions.terminating.unwrap_or(false);
            let list = match (terminating, conditions.serving.unwrap_or(is_ready)) {
                (false, _) if is_ready => &mut ready,
                (true, true) => &mut leaving,
                _ => continue,
            };
            let addresses = endpoint.addresses.iter().filter_map(|text| text.parse().ok());
            list.extend(addresses.map(|ip: IpAddr| SocketAddr::new(ip, port)));
        }
    }
    if ready.is_empty() { leaving } else { ready }
}
