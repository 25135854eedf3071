//! One listener of a Gateway or a ListenerSet: protocol, certificates, allowed routes, conditions.

use std::sync::Arc;

use proxy::ir;

use super::frontend::Frontend;
use super::grant::{self, Reference};
use super::proxy_protocol::Proxies;
use super::scope::Scope;
use super::status::{Condition, ConditionType, Reason};
use super::{Fault, hostname, listener_filter};
use crate::api::{self, CertificateRef, GATEWAY_GROUP, Kind, Name, Protocol, RouteKind, TlsMode};
use crate::report::{Transport, transport};
use crate::store::{Snapshot, TLS_SECRET_TYPE};

/// The object that a listener belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'o> {
    /// Gateway or ListenerSet.
    pub kind: Kind,
    /// Its name.
    pub name: &'o Name,
    /// What the Gateway asks of clients under TLS.
    pub frontend: &'o Frontend,
    /// Who speaks the PROXY protocol to the Gateway.
    pub proxies: &'o Proxies,
}

impl Owner<'_> {
    /// A fault of the Gateway as this owner is told of it: a ListenerSet has no such field.
    fn told(self, fault: Fault, listener: usize) -> Fault {
        let field = match self.kind {
            Kind::Gateway => fault.field,
            _ => format!("spec.listeners[{listener}].protocol"),
        };
        Fault { field, ..fault }
    }

    /// The listener's name in metrics and logs.
    fn full_name(self, listener: &str) -> String {
        match self.kind {
            Kind::ListenerSet => {
                format!("{}/listenerset/{}/{listener}", self.name.namespace, self.name.name)
            }
            _ => format!("{}/{listener}", self.name),
        }
    }
}

/// A listener as planned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listener {
    /// Position in its owner's spec.
    pub index: usize,
    /// Section name.
    pub name: Arc<str>,
    /// `namespace/gateway/listener` or `namespace/listenerset/name/listener`.
    pub full_name: Arc<str>,
    /// TCP or UDP port.
    pub port: u16,
    /// What it shall speak.
    pub declared: Protocol,
    /// What it speaks, if supported.
    pub protocol: Option<ir::Protocol>,
    /// The hostname it claims; none with a protocol that knows no hostnames.
    pub hostname: Option<ir::Hostname>,
    /// Who begins connections with a PROXY protocol header.
    pub proxies: Option<Arc<ir::ProxySources>>,
    /// Whether it ends TLS, so that it cannot serve without a certificate.
    pub terminates: bool,
    /// Certificates that can be used.
    pub tls: Option<Arc<ir::Tls>>,
    /// Filters before routing.
    pub filters: Vec<ir::Filter>,
    /// Which namespaces' routes may attach.
    pub scope: Scope,
    /// Supported kinds among the allowed ones.
    pub kinds: Vec<Kind>,
    /// Why it is not accepted.
    pub refusal: Option<Fault>,
    /// With whom it conflicts.
    pub conflict: Option<Fault>,
    /// What in its references is wrong.
    pub unresolved: Vec<Fault>,
    /// Which sibling's hostname overlaps under TLS.
    pub overlap: Option<String>,
}

impl Listener {
    /// Neither refused nor in conflict.
    pub(super) fn accepts(&self) -> bool {
        self.refusal.is_none() && self.conflict.is_none()
    }

    /// Takes traffic: accepted, with something that can attach and, where it ends TLS, a certificate.
    pub(super) fn is_programmed(&self) -> bool {
        let certified = !self.terminates || self.tls.is_some();
        self.accepts() && certified && !self.kinds.is_empty()
    }

    /// What it does with connections.
    pub(super) fn kind(&self) -> ir::ListenerKind {
        match self.declared {
            Protocol::Http | Protocol::Https | Protocol::Unknown(_) => ir::ListenerKind::Http,
            Protocol::Tcp | Protocol::Tls | Protocol::Udp => ir::ListenerKind::Stream,
        }
    }

    /// Its port among the TCP or the UDP ports, if its protocol is supported.
    pub(super) fn socket(&self) -> Option<(u16, Transport)> {
        Some((self.port, transport(self.protocol?)))
    }

    /// The path of a field of this listener.
    pub(super) fn field(&self, field: &str) -> String {
        format!("spec.listeners[{}].{field}", self.index)
    }

    /// All its faults.
    pub(super) fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.conflict.iter().chain(&self.refusal).chain(&self.unresolved)
    }

    /// Its conditions.
    pub(super) fn conditions(&self, programmed: bool, generation: i64) -> Vec<Condition> {
        let refused = self.conflict.as_ref().or(self.refusal.as_ref());
        let accepted = Condition::unless(
            refused,
            ConditionType::Accepted,
            Reason::Accepted,
            "The listener is accepted",
            generation,
        );
        let conflicted = match &self.conflict {
            None => Condition::fails(
                ConditionType::Conflicted,
                Reason::NoConflicts,
                "No other listener claims the same",
                generation,
            ),
            Some(fault) => Condition::holds(
                ConditionType::Conflicted,
                fault.reason,
                fault.message.clone(),
                generation,
            ),
        };
        let resolved = Condition::unless(
            self.unresolved.first(),
            ConditionType::ResolvedRefs,
            Reason::ResolvedRefs,
            "All references are resolved",
            generation,
        );
        let programmed = self.programmed_condition(programmed, generation);
        let overlapping = self.overlap.as_ref().map(|message| {
            let kind = ConditionType::OverlappingTlsConfig;
            let reason = Reason::OverlappingHostnames;
            Condition::holds(kind, reason, message.clone(), generation)
        });
        [accepted, conflicted, programmed, resolved].into_iter().chain(overlapping).collect()
    }

    fn programmed_condition(&self, programmed: bool, generation: i64) -> Condition {
        let kind = ConditionType::Programmed;
        if programmed {
            let message = "The listener takes traffic";
            return Condition::holds(kind, Reason::Programmed, message, generation);
        }
        let reason = self.conflict.as_ref().map_or(Reason::Invalid, |fault| fault.reason);
        let message = self.faults().next().map_or(
            std::borrow::Cow::Borrowed("The Gateway cannot serve, see its conditions"),
            |fault| std::borrow::Cow::Owned(fault.message.clone()),
        );
        Condition::fails(kind, reason, message, generation)
    }
}

/// Plans the listener at `index` of its owner, apart from its siblings.
pub(super) fn plan(
    snapshot: &Snapshot,
    owner: Owner<'_>,
    spec: &api::Listener,
    index: usize,
) -> Listener {
    let protocol = match spec.protocol {
        Protocol::Http => Some(ir::Protocol::Http),
        Protocol::Https | Protocol::Tls => Some(ir::Protocol::Tls),
        Protocol::Tcp => Some(ir::Protocol::Tcp),
        Protocol::Udp => Some(ir::Protocol::Udp),
        Protocol::Unknown(_) => None,
    };
    let claim = spec.hostname.as_deref().filter(|_| protocol.is_some_and(has_hostnames));
    let namespaces = &spec.allowed_routes.namespaces;
    let mut listener = Listener {
        index,
        name: Arc::clone(&spec.name),
        full_name: owner.full_name(&spec.name).into(),
        port: spec.port,
        declared: spec.protocol.clone(),
        protocol,
        hostname: claim.and_then(hostname::parse),
        terminates: protocol == Some(ir::Protocol::Tls) && mode(spec) != &TlsMode::Passthrough,
        proxies: None,
        tls: None,
        filters: Vec::new(),
        scope: Scope::of(&namespaces.from, namespaces.selector.as_ref(), &owner.name.namespace),
        kinds: Vec::new(),
        refusal: None,
        conflict: None,
        unresolved: Vec::new(),
        overlap: None,
    };
    listener.refusal = refusal(spec, &listener);
    read_kinds(spec, &mut listener);
    read_proxies(owner, &mut listener);
    if listener.terminates && listener.refusal.is_none() {
        read_certificates(snapshot, owner, spec, &mut listener);
        // "All Listeners handling HTTPS traffic": TLS listeners ask nobody.
        if spec.protocol == Protocol::Https {
            read_clients(owner, &mut listener);
        }
    }
    listener
}

/// Whether connections of a protocol name a host.
fn has_hostnames(protocol: ir::Protocol) -> bool {
    matches!(protocol, ir::Protocol::Http | ir::Protocol::Tls)
}

fn mode(spec: &api::Listener) -> &TlsMode {
    spec.tls.as_ref().map_or(&TlsMode::Terminate, |tls| &tls.mode)
}

fn refusal(spec: &api::Listener, listener: &Listener) -> Option<Fault> {
    let refuse = |field: &str, message: String| {
        Some(Fault::new(Reason::UnsupportedValue, listener.field(field), message))
    };
    let name = &spec.name;
    if listener.protocol.is_none() {
        let protocol = spec.protocol.as_str();
        let message = format!(
            "protocol {protocol} of listener {name} is not supported: use HTTP, HTTPS, TLS, TCP or UDP"
        );
        let field = listener.field("protocol");
        return Some(Fault::new(Reason::UnsupportedProtocol, field, message));
    }
    if spec.port == 0 {
        return refuse("port", format!("port 0 of listener {name} is none: use 1 to 65535"));
    }
    let claim = spec.hostname.as_deref().filter(|claim| !claim.is_empty());
    let claim = claim.filter(|_| listener.protocol.is_some_and(has_hostnames));
    if claim.is_some_and(|claim| !hostname::is_claim(claim)) {
        let message =
            format!("hostname of listener {name} is not a DNS name, which may begin with \"*.\"");
        return refuse("hostname", message);
    }
    if let Some(fault) = listener_filter::refusal(spec, listener) {
        return Some(fault);
    }
    let modes: &[TlsMode] = match spec.protocol {
        Protocol::Https => &[TlsMode::Terminate],
        Protocol::Tls => &[TlsMode::Terminate, TlsMode::Passthrough],
        Protocol::Http | Protocol::Tcp | Protocol::Udp | Protocol::Unknown(_) => return None,
    };
    if !modes.contains(mode(spec)) {
        let modes: Vec<_> = modes.iter().map(TlsMode::as_str).collect();
        let message = format!(
            "tls.mode {} of {} listener {name} is not supported: use {}",
            mode(spec).as_str(),
            spec.protocol.as_str(),
            modes.join(" or ")
        );
        return refuse("tls.mode", message);
    }
    None
}

/// Who speaks the PROXY protocol to the listener; only TCP carries it.
fn read_proxies(owner: Owner<'_>, listener: &mut Listener) {
    let Some((port, Transport::Tcp)) = listener.socket() else { return };
    match owner.proxies.at(port) {
        Ok(proxies) => listener.proxies = proxies,
        Err(fault) => {
            let index = listener.index;
            listener.refusal.get_or_insert_with(|| owner.told(fault, index));
        }
    }
}

/// The kinds of routes that a protocol takes.
fn kinds_of(protocol: &Protocol) -> &'static [Kind] {
    match protocol {
        Protocol::Http | Protocol::Https => &[Kind::HttpRoute, Kind::GrpcRoute],
        Protocol::Tcp => &[Kind::TcpRoute],
        Protocol::Tls => &[Kind::TlsRoute],
        Protocol::Udp => &[Kind::UdpRoute],
        Protocol::Unknown(_) => &[],
    }
}

/// The kinds of routes that may attach: those that are allowed and that the protocol takes.
fn read_kinds(spec: &api::Listener, listener: &mut Listener) {
    let taken = kinds_of(&spec.protocol);
    let allowed = &spec.allowed_routes.kinds;
    let is = |allowed: &RouteKind, kind: Kind| {
        &*allowed.group == GATEWAY_GROUP && &*allowed.kind == kind.as_str()
    };
    let is_taken = |allowed: &RouteKind| taken.iter().any(|kind| is(allowed, *kind));
    if let Some(position) = allowed.iter().position(|kind| !is_taken(kind)) {
        let RouteKind { group, kind } = &allowed[position];
        let protocol = spec.protocol.as_str();
        let advice = match taken {
            [] => "remove it".to_owned(),
            taken => {
                let names: Vec<_> = taken.iter().map(|kind| kind.as_str()).collect();
                format!("use {}", names.join(" or "))
            }
        };
        let message = format!(
            "allowedRoutes.kinds of listener {} names {kind} of group {group:?}, which is not supported with protocol {protocol}: {advice}",
            listener.name
        );
        let field = listener.field(&format!("allowedRoutes.kinds[{position}].kind"));
        listener.unresolved.push(Fault::new(Reason::InvalidRouteKinds, field, message));
    }
    let is_allowed =
        |kind: &Kind| allowed.is_empty() || allowed.iter().any(|allowed| is(allowed, *kind));
    listener.kinds = taken.iter().copied().filter(is_allowed).collect();
}

fn read_certificates(
    snapshot: &Snapshot,
    owner: Owner<'_>,
    spec: &api::Listener,
    listener: &mut Listener,
) {
    let refs = spec.tls.as_ref().map_or(&[][..], |tls| &tls.certificate_refs);
    if refs.is_empty() {
        let message = format!(
            "{} listener {} has no certificate: name a Secret in tls.certificateRefs",
            spec.protocol.as_str(),
            listener.name
        );
        let field = listener.field("tls.certificateRefs");
        listener.unresolved.push(Fault::new(Reason::InvalidCertificateRef, field, message));
    }
    let mut certificates = Vec::new();
    for (position, reference) in refs.iter().enumerate() {
        let (kind, namespace) = (owner.kind, &owner.name.namespace);
        let (certificate, fault) = certificate(snapshot, kind, namespace, reference);
        certificates.extend(certificate.map(|certificate| (*certificate).clone()));
        if let Some((reason, message)) = fault {
            let field = listener.field(&format!("tls.certificateRefs[{position}].name"));
            listener.unresolved.push(Fault::new(reason, field, message));
        }
    }
    if !certificates.is_empty() {
        listener.tls = Some(Arc::new(ir::Tls { certificates, clients: None }));
    }
}

/// What the Gateway asks of clients. To a ListenerSet its fields are foreign, so what is wrong with them
/// is told at the listener that needs them.
fn read_clients(owner: Owner<'_>, listener: &mut Listener) {
    let clients = owner.frontend.of(listener.port);
    let index = listener.index;
    let own = |fault: &Fault| owner.told(fault.clone(), index);
    listener.unresolved.extend(clients.unresolved.iter().map(own));
    listener.refusal = clients.refusal.as_ref().map(own);
    if let Some(tls) = &mut listener.tls {
        Arc::make_mut(tls).clients.clone_from(&clients.validation);
    }
}

/// A certificate and what is wrong with it.
pub(super) type Finding = (Option<Arc<ir::Certificate>>, Option<(Reason, String)>);

/// The certificate that a reference of an object in namespace `own` leads to. A Secret that turned bad gives both its last good
/// certificate and what is wrong with it.
pub(super) fn certificate(
    snapshot: &Snapshot,
    from: Kind,
    own: &Arc<str>,
    reference: &CertificateRef,
) -> Finding {
    let refuse = |reason, message| (None, Some((reason, message)));
    if !reference.group.is_empty() || &*reference.kind != "Secret" {
        let message = format!(
            "certificateRef {} is a {} of group {:?}: only Secret of the core group is supported",
            reference.name, reference.kind, reference.group
        );
        return refuse(Reason::InvalidCertificateRef, message);
    }
    let namespace = reference.namespace.as_ref().unwrap_or(own);
    let name = Name { namespace: Arc::clone(namespace), name: Arc::clone(&reference.name) };
    let reach =
        Reference { from_kind: from.as_str(), from_namespace: own, to_kind: "Secret", to: &name };
    if !grant::permits(snapshot, reach) {
        return refuse(Reason::RefNotPermitted, grant::advice(reach));
    }
    match (snapshot.secrets.get(&name), snapshot.certificates.get(&name)) {
        (None, _) => refuse(
            Reason::InvalidCertificateRef,
            format!("Secret {name} does not exist: create it"),
        ),
        (Some(secret), None) => {
            let message =
                format!("Secret {name} is of type {:?}: use type {TLS_SECRET_TYPE}", secret.kind);
            refuse(Reason::InvalidCertificateRef, message)
        }
        (Some(_), Some(entry)) => {
            let fault = entry.fault.as_ref().map(|fault| {
                let kept =
                    entry.usable.as_ref().map_or("", |_| " (its last good one keeps serving)");
                let message =
                    format!("the certificate in Secret {name} cannot be used: {fault}{kept}");
                (Reason::InvalidCertificateRef, message)
            });
            (entry.usable.clone(), fault)
        }
    }
}
