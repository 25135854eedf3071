//! One listener of a Gateway: protocol, certificates, allowed routes, and conflicts with its siblings.

use std::collections::HashMap;
use std::sync::Arc;

use proxy::ir;

use super::grant::{self, Reference};
use super::status::{Condition, ConditionType, Reason};
use super::{Fault, gateway, hostname};
use crate::api::{
    CertificateRef, FromNamespaces, GATEWAY_GROUP, Gateway, LabelSelector, Name, Protocol,
    RouteKind, TlsMode,
};
use crate::store::{Snapshot, TLS_SECRET_TYPE};

/// A listener as planned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listener {
    /// Position in the Gateway's spec.
    pub index: usize,
    /// Section name.
    pub name: Arc<str>,
    /// `namespace/gateway/listener`.
    pub full_name: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// What it speaks, if supported.
    pub protocol: Option<ir::Protocol>,
    /// The hostname it claims.
    pub hostname: Option<ir::Hostname>,
    /// Certificates that can be used.
    pub tls: Option<Arc<ir::Tls>>,
    /// Which namespaces' routes may attach.
    pub scope: Scope,
    /// Supported kinds among the allowed ones.
    pub kinds: Vec<RouteKind>,
    /// Why it is not accepted.
    pub refusal: Option<Fault>,
    /// With whom it conflicts.
    pub conflict: Option<Fault>,
    /// What in its references is wrong.
    pub unresolved: Vec<Fault>,
    /// Which sibling's hostname overlaps under TLS.
    pub overlap: Option<String>,
}

/// Which namespaces' routes may attach.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scope {
    /// All.
    All,
    /// None.
    None,
    /// One.
    Only(Arc<str>),
    /// Those whose labels match.
    Selected(LabelSelector),
}

impl Listener {
    /// Neither refused nor in conflict.
    pub(super) fn accepts(&self) -> bool {
        self.refusal.is_none() && self.conflict.is_none()
    }

    /// Takes traffic: accepted, with something that can attach and, for HTTPS, a certificate.
    pub(super) fn is_programmed(&self) -> bool {
        let certified = self.protocol != Some(ir::Protocol::Https) || self.tls.is_some();
        self.accepts() && certified && !self.kinds.is_empty()
    }

    /// The path of a field of this listener.
    pub(super) fn field(&self, field: &str) -> String {
        format!("spec.listeners[{}].{field}", self.index)
    }

    /// All its faults.
    pub(super) fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.refusal.iter().chain(&self.conflict).chain(&self.unresolved)
    }

    /// Its conditions.
    pub(super) fn conditions(&self, programmed: bool, generation: i64) -> Vec<Condition> {
        let refused = self.refusal.as_ref().or(self.conflict.as_ref());
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
        let message = self
            .faults()
            .next()
            .map_or(std::borrow::Cow::Borrowed("The Gateway is not accepted"), |fault| {
                std::borrow::Cow::Owned(fault.message.clone())
            });
        Condition::fails(kind, reason, message, generation)
    }
}

/// Plans the listener at `index`, apart from its siblings.
pub(super) fn plan(
    snapshot: &Snapshot,
    gateway: &Name,
    object: &Gateway,
    index: usize,
) -> Listener {
    let spec = &object.spec.listeners[index];
    let protocol = match spec.protocol {
        Protocol::Http => Some(ir::Protocol::Http),
        Protocol::Https => Some(ir::Protocol::Https),
        Protocol::Unknown(_) => None,
    };
    let mut listener = Listener {
        index,
        name: Arc::clone(&spec.name),
        full_name: format!("{gateway}/{}", spec.name).into(),
        port: spec.port,
        protocol,
        hostname: spec.hostname.as_deref().and_then(hostname::parse),
        tls: None,
        scope: scope(object, index),
        kinds: Vec::new(),
        refusal: None,
        conflict: None,
        unresolved: Vec::new(),
        overlap: None,
    };
    listener.refusal = refusal(object, &listener);
    if protocol.is_some() {
        read_kinds(object, &mut listener);
    }
    if protocol == Some(ir::Protocol::Https) && listener.refusal.is_none() {
        read_certificates(snapshot, gateway, object, &mut listener);
    }
    listener
}

fn refusal(object: &Gateway, listener: &Listener) -> Option<Fault> {
    let spec = &object.spec.listeners[listener.index];
    if listener.protocol.is_none() {
        let message = format!(
            "protocol {} of listener {} is not supported: use HTTP or HTTPS",
            spec.protocol.as_str(),
            spec.name
        );
        let field = listener.field("protocol");
        return Some(Fault::new(Reason::UnsupportedProtocol, field, message));
    }
    if spec.filters.is_some() {
        let message =
            format!("filters of listener {} are not supported yet: remove them", spec.name);
        return Some(Fault::new(Reason::UnsupportedValue, listener.field("filters"), message));
    }
    let mode = &spec.tls.as_ref().filter(|_| spec.protocol == Protocol::Https)?.mode;
    (*mode != TlsMode::Terminate).then(|| {
        let message = format!(
            "tls.mode {} of HTTPS listener {} is not supported: use Terminate",
            mode.as_str(),
            spec.name
        );
        Fault::new(Reason::UnsupportedValue, listener.field("tls.mode"), message)
    })
}

fn scope(object: &Gateway, index: usize) -> Scope {
    let namespaces = &object.spec.listeners[index].allowed_routes.namespaces;
    match (&namespaces.from, &namespaces.selector) {
        (FromNamespaces::All, _) => Scope::All,
        (FromNamespaces::Same, _) => Scope::Only(Arc::clone(&object.metadata.namespace)),
        (FromNamespaces::Selector, Some(selector)) => Scope::Selected(selector.clone()),
        (FromNamespaces::Selector, None) | (FromNamespaces::None, _) => Scope::None,
        (FromNamespaces::Unknown(_), _) => Scope::None,
    }
}

fn read_kinds(object: &Gateway, listener: &mut Listener) {
    let ours = RouteKind { group: GATEWAY_GROUP.into(), kind: "HTTPRoute".into() };
    let allowed = &object.spec.listeners[listener.index].allowed_routes.kinds;
    if allowed.is_empty() || allowed.contains(&ours) {
        listener.kinds.push(ours.clone());
    }
    if let Some(position) = allowed.iter().position(|kind| *kind != ours) {
        let kind = &allowed[position];
        let message = format!(
            "allowedRoutes.kinds of listener {} names {} of group {:?}, which is not supported: use HTTPRoute",
            listener.name, kind.kind, kind.group
        );
        let field = listener.field(&format!("allowedRoutes.kinds[{position}].kind"));
        listener.unresolved.push(Fault::new(Reason::InvalidRouteKinds, field, message));
    }
}

fn read_certificates(
    snapshot: &Snapshot,
    gateway: &Name,
    object: &Gateway,
    listener: &mut Listener,
) {
    let refs = object.spec.listeners[listener.index]
        .tls
        .as_ref()
        .map_or(&[][..], |tls| &tls.certificate_refs);
    if refs.is_empty() {
        let message = format!(
            "HTTPS listener {} has no certificate: name a Secret in tls.certificateRefs",
            listener.name
        );
        let field = listener.field("tls.certificateRefs");
        listener.unresolved.push(Fault::new(Reason::InvalidCertificateRef, field, message));
    }
    let mut certificates = Vec::new();
    for (position, reference) in refs.iter().enumerate() {
        let (certificate, fault) = certificate(snapshot, gateway, reference);
        certificates.extend(certificate.map(|certificate| (*certificate).clone()));
        if let Some((reason, message)) = fault {
            let field = listener.field(&format!("tls.certificateRefs[{position}].name"));
            listener.unresolved.push(Fault::new(reason, field, message));
        }
    }
    if !certificates.is_empty() {
        listener.tls = Some(Arc::new(ir::Tls { certificates }));
    }
}

type Finding = (Option<Arc<ir::Certificate>>, Option<(Reason, String)>);

/// The certificate that a reference leads to. A Secret that turned bad gives both its last good
/// certificate and what is wrong with it.
fn certificate(snapshot: &Snapshot, gateway: &Name, reference: &CertificateRef) -> Finding {
    let refuse = |reason, message| (None, Some((reason, message)));
    if !reference.group.is_empty() || &*reference.kind != "Secret" {
        let message = format!(
            "certificateRef {} is a {} of group {:?}: only Secret of the core group is supported",
            reference.name, reference.kind, reference.group
        );
        return refuse(Reason::InvalidCertificateRef, message);
    }
    let namespace = reference.namespace.as_ref().unwrap_or(&gateway.namespace);
    let name = Name { namespace: Arc::clone(namespace), name: Arc::clone(&reference.name) };
    let reach = Reference {
        from_kind: "Gateway",
        from_namespace: &gateway.namespace,
        to_kind: "Secret",
        to: &name,
    };
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

/// Refuses all listeners of one Gateway that claim the same port with different protocols, or the
/// same port and hostname: within a Gateway no conflicting listener wins.
pub(super) fn find_conflicts(listeners: &mut [Listener]) {
    let mut ports: HashMap<u16, Vec<usize>> = HashMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        if listener.refusal.is_none() {
            ports.entry(listener.port).or_default().push(index);
        }
    }
    for sharing in ports.values() {
        for &index in sharing {
            let fault = sharing
                .iter()
                .filter(|&&other| other != index)
                .find_map(|&other| sibling_conflict(&listeners[index], &listeners[other]));
            listeners[index].conflict = fault;
        }
    }
}

fn sibling_conflict(listener: &Listener, other: &Listener) -> Option<Fault> {
    if listener.protocol != other.protocol {
        let message = format!(
            "listener {} uses port {} with another protocol: change one of the ports",
            other.name, listener.port
        );
        return Some(Fault::new(Reason::ProtocolConflict, listener.field("port"), message));
    }
    (listener.hostname == other.hostname).then(|| {
        let message = format!(
            "listener {} has the same port {} and hostname {}: change one of them",
            other.name,
            listener.port,
            gateway::hostname_text(listener)
        );
        Fault::new(Reason::HostnameConflict, listener.field("hostname"), message)
    })
}

/// Notes HTTPS listeners of one port whose hostnames overlap: a browser that reuses a connection
/// for both names would be answered 421.
pub(super) fn find_overlaps(listeners: &mut [Listener]) {
    let https =
        |listener: &Listener| listener.protocol == Some(ir::Protocol::Https) && listener.accepts();
    for index in 0..listeners.len() {
        let listener = &listeners[index];
        let message = listeners
            .iter()
            .enumerate()
            .filter(|(other, sibling)| *other != index && https(sibling) && https(listener))
            .find(|(_, sibling)| {
                sibling.port == listener.port
                    && hostname::overlap(listener.hostname.as_ref(), sibling.hostname.as_ref())
            })
            .map(|(_, sibling)| {
                format!("The hostname overlaps with that of listener {}", sibling.name)
            });
        listeners[index].overlap = message;
    }
}
