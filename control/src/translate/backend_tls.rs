//! BackendTLSPolicies: which of them applies to a port of a Service, and what is told of each.
//!
//! Of several for one target the oldest applies, a policy for one port before one for the whole
//! Service. Called before routes are translated, and once more when it is known which Gateways lead to
//! which Services. Invariant: a policy that cannot be obeyed still applies, so that nothing is sent in
//! the clear for its sake.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use proxy::ir;

use super::gateway::Planned;
use super::status::{
    Condition, ConditionType, PolicyAncestorStatus, PolicyStatus, Problem, Reason,
};
use super::trust::{self, Referrer};
use super::{CONTROLLER_NAME, Fault, hostname};
use crate::api::{
    BackendTlsPolicy, BackendValidation, GATEWAY_GROUP, Kind, Name, ParentReference, PolicyTarget,
    Service, SubjectAltName, SubjectAltNameType,
};
use crate::store::Snapshot;

/// All policies.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// Those that apply, by Service.
    applied: BTreeMap<Name, Vec<Applied>>,
    planned: Vec<Policy>,
}

/// A policy as it applies to a Service or one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    policy: Name,
    section: Option<Arc<str>>,
    /// What to speak, or why nothing may be said.
    pub tls: Result<Arc<ir::BackendTls>, Arc<str>>,
}

/// A policy with everything that is said about it.
#[derive(Debug)]
struct Policy {
    name: Name,
    object: Arc<BackendTlsPolicy>,
    /// Why it is not accepted.
    refusal: Option<Fault>,
    /// What in its references is wrong.
    unresolved: Vec<Fault>,
}

/// A port of a Service that an attached route leads to, and the listener that the route is attached
/// to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use<'u> {
    /// The Service, which may not exist.
    pub service: &'u Name,
    /// Its port, if the route names one.
    pub port: Option<u16>,
    /// The number of the listener.
    pub listener: usize,
}

/// Plans every policy, oldest first, then by `namespace/name`: who comes first wins a target.
pub(super) fn plan(snapshot: &Snapshot) -> Policies {
    let mut all: Vec<_> = snapshot.backend_tls_policies.iter().collect();
    all.sort_by_cached_key(|(name, object)| (object.metadata.created, name.to_string()));
    let mut policies = Policies::default();
    for (name, object) in all {
        policies.add(snapshot, name, object);
    }
    policies
}

impl Policies {
    fn add(&mut self, snapshot: &Snapshot, name: &Name, object: &Arc<BackendTlsPolicy>) {
        let (validation, unresolved) = validate(snapshot, name, &object.spec.validation);
        let tls = validation.as_ref().map(Arc::clone).map_err(|fault| {
            format!("BackendTLSPolicy {name} cannot be obeyed: {}", fault.message).into()
        });
        let mut conflict = None;
        for (index, target) in object.spec.target_refs.iter().enumerate() {
            if !is_service(target) {
                continue;
            }
            let service = service_of(name, target);
            let section = section(target).cloned();
            let applied = self.applied.entry(service.clone()).or_default();
            if let Some(winner) = applied.iter().find(|known| known.section == section) {
                let winner = &winner.policy;
                let part = section.map_or(String::new(), |name| format!("port {name} of "));
                let message = format!(
                    "BackendTLSPolicy {winner} applies to {part}Service {service} already: delete one of them"
                );
                let field = format!("spec.targetRefs[{index}]");
                conflict.get_or_insert_with(|| Fault::new(Reason::Conflicted, field, message));
            } else {
                applied.push(Applied { policy: name.clone(), section, tls: tls.clone() });
            }
        }
        let refusal =
            conflict.or_else(|| missing(snapshot, name, object)).or_else(|| validation.err());
        let (name, object) = (name.clone(), Arc::clone(object));
        self.planned.push(Policy { name, object, refusal, unresolved });
    }

    /// The policy for a port of a Service. Of a Service without ports any is, since nobody knows which
    /// one is meant.
    pub(super) fn of(&self, service: &Name, port: Option<&str>) -> Option<&Applied> {
        let all = self.applied.get(service)?;
        let whole = || all.iter().find(|applied| applied.section.is_none());
        match port {
            Some(port) => {
                let own = all.iter().find(|applied| applied.section.as_deref() == Some(port));
                own.or_else(whole)
            }
            None => whole().or_else(|| all.first()),
        }
    }

    /// Whether both say the same of a Service.
    pub(super) fn agree(&self, other: &Self, service: &Name) -> bool {
        self.applied.get(service) == other.applied.get(service)
    }

    /// The status of each policy that matters to a Gateway of ours, and what is refused.
    pub(super) fn statuses<'u>(
        &self,
        snapshot: &Snapshot,
        gateways: &[Planned],
        uses: impl Iterator<Item = Use<'u>>,
    ) -> (BTreeMap<Name, Arc<PolicyStatus>>, Vec<Problem>) {
        if self.planned.is_empty() {
            return (BTreeMap::new(), Vec::new());
        }
        let users = self.users(gateways, uses);
        let (mut statuses, mut problems) = (BTreeMap::new(), Vec::new());
        for policy in &self.planned {
            let ancestors = policy.ancestors(snapshot, &users);
            // Whom nothing of ours uses may be another controller's, which files know none of.
            if ancestors.is_empty() && snapshot.is_cluster {
                continue;
            }
            let told = policy
                .faults()
                .map(|fault| Problem::of(Kind::BackendTlsPolicy, &policy.name, fault));
            problems.extend(told);
            problems.extend(policy.ignored());
            if !ancestors.is_empty() {
                let status = policy.status(ancestors.iter().map(|at| &gateways[*at].name));
                statuses.insert(policy.name.clone(), Arc::new(status));
            }
        }
        (statuses, problems)
    }

    /// Which Gateways lead to the Services that policies apply to, and to which of their ports.
    fn users<'u>(&self, gateways: &[Planned], uses: impl Iterator<Item = Use<'u>>) -> Users {
        let owners: Vec<usize> = gateways
            .iter()
            .enumerate()
            .flat_map(|(at, gateway)| gateway.all_listeners().map(move |_| at))
            .collect();
        let mut users = Users::new();
        for Use { service, port, listener } in uses {
            if self.applied.contains_key(service) {
                users.entry(service.clone()).or_default().insert((owners[listener], port));
            }
        }
        users
    }
}

/// By Service: Gateways as they are numbered, and the port that each leads to.
type Users = BTreeMap<Name, BTreeSet<(usize, Option<u16>)>>;

impl Policy {
    /// The Gateways that lead to what it targets, oldest first.
    fn ancestors(&self, snapshot: &Snapshot, users: &Users) -> BTreeSet<usize> {
        let targets = self.object.spec.target_refs.iter().filter(|target| is_service(target));
        let mut ancestors = BTreeSet::new();
        for target in targets {
            let name = service_of(&self.name, target);
            let number = section(target).and_then(|section| {
                port_of(snapshot.services.get(&name)?, section).map(|port| port.port)
            });
            let all = users.get(&name).into_iter().flatten();
            let meant = all.filter(|(_, port)| number.is_none() || *port == number);
            ancestors.extend(meant.map(|(gateway, _)| *gateway));
        }
        ancestors.into_iter().take(ANCESTORS_MAX).collect()
    }

    fn status<'n>(&self, gateways: impl Iterator<Item = &'n Name>) -> PolicyStatus {
        let generation = self.object.metadata.generation;
        let accepted = Condition::unless(
            self.refusal.as_ref(),
            ConditionType::Accepted,
            Reason::Accepted,
            "The policy is accepted",
            generation,
        );
        let resolved = Condition::unless(
            self.unresolved.first(),
            ConditionType::ResolvedRefs,
            Reason::ResolvedRefs,
            "All references are resolved",
            generation,
        );
        let ancestors = gateways.map(|gateway| PolicyAncestorStatus {
            ancestor_ref: ParentReference {
                group: GATEWAY_GROUP.into(),
                kind: Kind::Gateway.as_str().into(),
                namespace: Some(Arc::clone(&gateway.namespace)),
                name: Arc::clone(&gateway.name),
                section_name: None,
                port: None,
            },
            controller_name: CONTROLLER_NAME,
            conditions: vec![accepted.clone(), resolved.clone()],
        });
        PolicyStatus { ancestors: ancestors.collect() }
    }

    /// What is wrong with it; that no authority is left follows from what is wrong with each.
    fn faults(&self) -> impl Iterator<Item = &Fault> {
        let follows = |fault: &&Fault| {
            fault.reason == Reason::NoValidCACertificate && !self.unresolved.is_empty()
        };
        self.refusal.iter().filter(move |fault| !follows(fault)).chain(&self.unresolved)
    }

    /// What it asks for in vain, though it is obeyed.
    fn ignored(&self) -> Vec<Problem> {
        let spec = &self.object.spec;
        let others = spec.target_refs.iter().enumerate().filter(|(_, one)| !is_service(one));
        let others = others.map(|(index, target)| {
            let field = format!("spec.targetRefs[{index}].kind");
            let what = format!("{} of group {:?}", target.kind, target.group);
            (field, format!("names a {what}: only Service of the core group is supported"))
        });
        let is_set = |value: &serde_json::Value| {
            value.as_object().is_some_and(|options| !options.is_empty())
        };
        let options = spec.options.as_ref().filter(|options| is_set(options)).map(|_| {
            ("spec.options".to_owned(), "are not supported and have no effect: remove them".into())
        });
        let all = others.chain(options).map(|(field, what)| {
            let message = format!("{field} {what}");
            let fault = Fault::new(Reason::UnsupportedValue, field, message);
            Problem::of(Kind::BackendTlsPolicy, &self.name, &fault)
        });
        all.collect()
    }
}

fn is_service(target: &PolicyTarget) -> bool {
    target.group.is_empty() && &*target.kind == "Service"
}

fn service_of(policy: &Name, target: &PolicyTarget) -> Name {
    Name { namespace: Arc::clone(&policy.namespace), name: Arc::clone(&target.name) }
}

fn section(target: &PolicyTarget) -> Option<&Arc<str>> {
    target.section_name.as_ref().filter(|name| !name.is_empty())
}

fn port_of<'s>(service: &'s Service, section: &str) -> Option<&'s crate::api::ServicePort> {
    service.spec.ports.iter().find(|port| &*port.name == section)
}

/// Why none of a policy's targets exists, if so. A Service without ports has any.
fn missing(snapshot: &Snapshot, name: &Name, object: &BackendTlsPolicy) -> Option<Fault> {
    let mut first = None;
    for (index, target) in object.spec.target_refs.iter().enumerate() {
        if !is_service(target) {
            continue;
        }
        let service = service_of(name, target);
        let field = format!("spec.targetRefs[{index}]");
        let (field, message) = match (snapshot.services.get(&service), section(target)) {
            (None, _) => {
                (format!("{field}.name"), format!("Service {service} does not exist: create it"))
            }
            (Some(found), Some(section))
                if !found.spec.ports.is_empty() && port_of(found, section).is_none() =>
            {
                let message = format!("Service {service} has no port named {section}");
                (format!("{field}.sectionName"), message)
            }
            (Some(_), _) => return None,
        };
        first.get_or_insert_with(|| Fault::new(Reason::TargetNotFound, field, message));
    }
    first
}

/// What a policy asks for, or why it cannot be obeyed; beside it what its references lack.
type Validation = (Result<Arc<ir::BackendTls>, Fault>, Vec<Fault>);

fn validate(snapshot: &Snapshot, name: &Name, spec: &BackendValidation) -> Validation {
    let field = "spec.validation.caCertificateRefs";
    let referrer = Referrer {
        kind: Kind::BackendTlsPolicy,
        namespace: &name.namespace,
        wrong_kind: Reason::InvalidKind,
    };
    let (found, unresolved) = trust::follow(snapshot, referrer, &spec.ca_certificate_refs, field);
    let tls = names(spec).and_then(|(server_name, sans)| {
        let roots = match (well_known(spec)?, found) {
            (true, _) => ir::Roots::System,
            (false, Some(roots)) => ir::Roots::Certificates(roots),
            (false, None) => {
                let why = unresolved.first().map_or(field, |fault| &fault.message);
                let message = format!("no authority is left to trust: {why}");
                return Err(Fault::new(Reason::NoValidCACertificate, field, message));
            }
        };
        Ok(Arc::new(ir::BackendTls { server_name, sans, roots }))
    });
    (tls, unresolved)
}

fn invalid(field: &str, what: &str) -> Fault {
    let field = format!("spec.validation.{field}");
    let message = format!("{field} {what}");
    Fault::new(Reason::Invalid, field, message)
}

/// Whether the authorities of the machine are asked for; one of the two kinds of trust must be.
fn well_known(spec: &BackendValidation) -> Result<bool, Fault> {
    let field = "wellKnownCACertificates";
    let set = spec.well_known.as_deref().filter(|set| !set.is_empty());
    match (set, spec.ca_certificate_refs.is_empty()) {
        (None, false) => Ok(false),
        (None, true) => Err(invalid("caCertificateRefs", "is empty: name a ConfigMap")),
        (Some(_), false) => Err(invalid(field, "stands beside caCertificateRefs: keep one")),
        (Some("System"), true) => Ok(true),
        (Some(other), true) => {
            Err(invalid(field, &format!("{other} is not supported: use System")))
        }
    }
}

type Names = (Arc<str>, Vec<ir::SubjectAltName>);

fn names(spec: &BackendValidation) -> Result<Names, Fault> {
    let is_name = hostname::is_name(&spec.hostname) && spec.hostname.parse::<IpAddr>().is_err();
    if !is_name {
        return Err(invalid("hostname", "is not a DNS name without wildcard"));
    }
    let sans = spec.subject_alt_names.iter().enumerate().map(|(index, san)| {
        subject_alt_name(san).ok_or_else(|| {
            let field = format!("subjectAltNames[{index}]");
            invalid(&field, "is not a Hostname or a URI with its value")
        })
    });
    Ok((Arc::clone(&spec.hostname), sans.collect::<Result<_, _>>()?))
}

fn subject_alt_name(san: &SubjectAltName) -> Option<ir::SubjectAltName> {
    match san.kind {
        SubjectAltNameType::Hostname => {
            let name = Some(&*san.hostname).filter(|name| hostname::is_claim(name));
            name.and_then(hostname::parse).map(ir::SubjectAltName::Hostname)
        }
        SubjectAltNameType::Uri => {
            (san.uri.contains(':')).then(|| ir::SubjectAltName::Uri(Arc::clone(&san.uri)))
        }
        SubjectAltNameType::Unknown(_) => None,
    }
}

/// Ancestors that one status can hold.
pub(super) const ANCESTORS_MAX: usize = 16;
