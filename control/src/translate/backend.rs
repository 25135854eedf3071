//! Backends: what a `backendRef` names, and the endpoints behind it.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use proxy::ir;

use super::backend_tls::Policies;
use super::grant::{self, Reference};
use super::proxy_protocol::{self, TO_ANNOTATION};
use super::reach::Reach;
use super::status::{Problem, Reason};
use super::{Fault, same};
use crate::api::{
    BackendRef, EndpointPort, EndpointSlice, Kind, Name, Service, ServicePort, TargetPort,
};
use crate::report::Transport;
use crate::resolve;
use crate::store::Snapshot;

/// A Service port that a route leads to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// `namespace/service:port`, with `+h2` where it is spoken to in HTTP/2, and `/udp` for a UDP port.
    pub key: Arc<str>,
    /// The Service.
    pub service: Arc<Service>,
    /// The port of the Service.
    pub port: u16,
    /// TCP and UDP ports of one number are two.
    pub transport: Transport,
    /// What HTTP requests are sent in.
    pub protocol: ir::BackendProtocol,
    /// How TLS is spoken, if it is.
    pub tls: Option<Arc<ir::BackendTls>>,
}

/// The object that refers, and what it has to obey.
#[derive(Clone, Copy, Debug)]
pub(super) struct Referrer<'r> {
    /// All objects.
    pub snapshot: &'r Snapshot,
    /// Who wants TLS.
    pub policies: &'r Policies,
    /// What kind it is of.
    pub kind: Kind,
    /// The object.
    pub route: &'r Name,
    /// What it speaks where a port does not say.
    pub speaks: ir::BackendProtocol,
}

impl<'r> Referrer<'r> {
    /// A route.
    pub(super) fn of_route(
        snapshot: &'r Snapshot,
        policies: &'r Policies,
        kind: Kind,
        route: &'r Name,
    ) -> Self {
        let speaks = match kind {
            Kind::GrpcRoute => ir::BackendProtocol::Http2,
            _ => ir::BackendProtocol::Http1,
        };
        Self { snapshot, policies, kind, route, speaks }
    }

    fn transport(self) -> Transport {
        if self.kind == Kind::UdpRoute { Transport::Udp } else { Transport::Tcp }
    }
}

/// A Service that was looked up, there or not.
#[derive(Debug)]
pub(super) struct LookedUp {
    /// Its name.
    pub name: Name,
    /// The Service as it was.
    pub service: Option<Arc<Service>>,
    /// The port that was named.
    pub port: Option<u16>,
}

/// Why a reference leads nowhere.
#[derive(Debug)]
pub(super) enum Barrier {
    /// It cannot be resolved, which the route is told.
    Unresolved(Fault),
    /// The BackendTLSPolicy that applies cannot be obeyed, which the policy is told.
    Policy(Arc<str>),
}

impl From<Fault> for Barrier {
    fn from(fault: Fault) -> Self {
        Self::Unresolved(fault)
    }
}

/// Finds what a reference at `field` leads to and how it is spoken to. Notes the Service it looked up.
pub(super) fn resolve(
    referrer: Referrer<'_>,
    reference: &BackendRef,
    field: &str,
    looked_up: &mut Vec<LookedUp>,
) -> Result<Target, Barrier> {
    let (service, port) = find(referrer, reference, field, looked_up)?;
    let name = service.metadata.full_name();
    let transport = referrer.transport();
    let spec = find_port(&service, port, transport);
    let by_tls = transport == Transport::Tcp;
    let policy = referrer.policies.of(&name, spec.map(|spec| &*spec.name)).filter(|_| by_tls);
    let protocol = spoken(referrer, spec, policy.is_some()).map_err(|what| {
        let message = format!("port {port} of Service {name} {what}");
        Fault::new(Reason::UnsupportedProtocol, format!("{field}.port"), message)
    })?;
    if transport == Transport::Tcp
        && let Err(why) = proxy_protocol::version(&service.metadata)
    {
        let message = format!("annotation {TO_ANNOTATION} of Service {name}: {why}");
        let field = format!("{field}.name");
        return Err(Fault::new(Reason::UnsupportedProtocol, field, message).into());
    }
    let tls = match policy.map(|policy| policy.tls.clone()) {
        // A listener that passes TLS through speaks none itself, whatever the policy; one that
        // terminates it trusts nobody.
        Some(Err(_)) if referrer.kind == Kind::TlsRoute => Some(trusting_nobody()),
        tls => tls.transpose().map_err(Barrier::Policy)?,
    };
    let suffix = match (transport, protocol) {
        (Transport::Udp, _) => "/udp",
        (Transport::Tcp, ir::BackendProtocol::Http1) => "",
        (Transport::Tcp, ir::BackendProtocol::Http2) => "+h2",
    };
    let key = format!("{name}:{port}{suffix}").into();
    Ok(Target { key, service, port, transport, protocol, tls })
}

/// TLS for whoever must not be spoken to without it, and cannot be trusted.
fn trusting_nobody() -> Arc<ir::BackendTls> {
    let roots = ir::Roots::Certificates(Arc::default());
    Arc::new(ir::BackendTls { server_name: "policy.invalid".into(), sans: Vec::new(), roots })
}

/// Whether a kind of route relays bytes and never reads them.
fn is_stream(route: Kind) -> bool {
    matches!(route, Kind::TcpRoute | Kind::TlsRoute | Kind::UdpRoute)
}

/// The port of this transport, or else one of this number.
fn find_port(service: &Service, port: u16, transport: Transport) -> Option<&ServicePort> {
    let ports = service.spec.ports.iter().filter(|spec| spec.port == port);
    let is_it = |spec: &&ServicePort| is_of(transport, spec.protocol.as_deref());
    ports.clone().find(is_it).or_else(|| ports.clone().next())
}

/// Whether a port of a Service or an EndpointSlice is of this transport.
fn is_of(transport: Transport, protocol: Option<&str>) -> bool {
    protocol.unwrap_or("TCP") == transport.name()
}

/// The Service that a reference names, and its port.
fn find(
    referrer: Referrer<'_>,
    reference: &BackendRef,
    field: &str,
    looked_up: &mut Vec<LookedUp>,
) -> Result<(Arc<Service>, u16), Fault> {
    let Referrer { snapshot, kind, route, .. } = referrer;
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
        from_kind: kind.as_str(),
        from_namespace: &route.namespace,
        to_kind: "Service",
        to: &name,
    };
    if !grant::permits(snapshot, reach) {
        let field = format!("{field}.namespace");
        return Err(Fault::new(Reason::RefNotPermitted, field, grant::advice(reach)));
    }
    let service = snapshot.services.get(&name);
    let (known, port) = (service.cloned(), reference.port);
    looked_up.push(LookedUp { name: name.clone(), service: known, port });
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
    Ok((Arc::clone(service), port))
}

fn has_own_endpoints(service: &Service) -> bool {
    &*service.spec.kind == "ExternalName"
        || service.metadata.annotations.contains_key(resolve::ENDPOINTS_ANNOTATION)
}

/// What a route's requests to a port are sent in (GEP-1911), or why they cannot be sent. A protocol over
/// TLS needs a policy: nobody else says whose certificate to expect.
fn spoken(
    referrer: Referrer<'_>,
    port: Option<&ServicePort>,
    by_tls: bool,
) -> Result<ir::BackendProtocol, String> {
    use ir::BackendProtocol::{Http1, Http2};
    let (route, transport) = (referrer.kind, referrer.transport());
    let given = port.map(|port| port.protocol.as_deref().unwrap_or("TCP"));
    if let Some(other) = given.filter(|given| !is_of(transport, Some(given))) {
        let (kind, wanted) = (route.as_str(), transport.name());
        return Err(format!("speaks {other}, but a {kind} leads to {wanted}"));
    }
    if is_stream(route) {
        return Ok(Http1);
    }
    let own = referrer.speaks;
    let Some(application) = port.and_then(|port| port.app_protocol.as_deref()) else {
        return Ok(own);
    };
    let lower = application.to_ascii_lowercase();
    let protocol = match (&*lower, own) {
        ("http" | "https", own) => own,
        ("kubernetes.io/ws" | "kubernetes.io/wss", Http1) => Http1,
        ("kubernetes.io/h2c", _) | ("grpc", Http2) => Http2,
        (_, Http1) => {
            return Err(format!(
                "speaks {application}, which is not supported: use http, https, kubernetes.io/h2c, kubernetes.io/ws or kubernetes.io/wss"
            ));
        }
        (_, Http2) => {
            return Err(format!(
                "speaks {application}, which carries no gRPC: use grpc, http, https or kubernetes.io/h2c"
            ));
        }
    };
    if matches!(&*lower, "https" | "kubernetes.io/wss") && !by_tls {
        return Err(format!(
            "speaks {application}, but no BackendTLSPolicy says whose certificate to expect: create one"
        ));
    }
    Ok(protocol)
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

/// Every backend that routes and filters lead to, and those whose endpoints are not all reached.
pub(super) fn plan<'t>(
    snapshot: &Snapshot,
    targets: impl Iterator<Item = &'t Target>,
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
    for target in targets {
        if planned.contains_key(&target.key) {
            continue;
        }
        let known = cache.backends.get(&target.key);
        let now = match known {
            Some(known)
                if unchanged
                    && same(&known.service, &target.service)
                    && known.backend.tls == target.tls =>
            {
                known.clone()
            }
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
    let port = find_port(service, target.port, target.transport);
    let annotation = service.metadata.annotations.get(resolve::ENDPOINTS_ANNOTATION);
    let mut endpoints = if let Some(text) = annotation {
        annotated(snapshot, text)
    } else if &*service.spec.kind == "ExternalName" {
        external(snapshot, service, target.port, port)
    } else {
        let slices =
            cache.by_service.get(&service.metadata.full_name()).map_or(&[][..], Vec::as_slice);
        sliced(slices, port.map_or("", |port| &*port.name), target.transport)
    };
    let all = endpoints.len();
    endpoints.retain(|endpoint| cache.reach.permits(target.transport, *endpoint));
    let is_barred = endpoints.len() < all;
    endpoints.sort();
    endpoints.dedup();
    let protocol = target.protocol;
    let websocket = protocol == ir::BackendProtocol::Http1;
    let tls = target.tls.clone();
    let proxy_protocol = match target.transport {
        Transport::Tcp => proxy_protocol::version(&service.metadata).unwrap_or_default(),
        Transport::Udp => None,
    };
    (ir::Backend { websocket, protocol, tls, proxy_protocol, endpoints }, is_barred)
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
fn sliced(slices: &[Arc<EndpointSlice>], port_name: &str, transport: Transport) -> Vec<SocketAddr> {
    let (mut ready, mut leaving) = (Vec::new(), Vec::new());
    for slice in slices {
        let is_it = |port: &&EndpointPort| {
            &*port.name == port_name && is_of(transport, port.protocol.as_deref())
        };
        let port = slice.ports.iter().find(is_it);
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
