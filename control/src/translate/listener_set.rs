//! ListenerSets: which are allowed to add listeners to a Gateway of ours, and their status.

use std::collections::HashMap;
use std::sync::Arc;

use super::Fault;
use super::gateway::Planned;
use super::listener::{self, Listener, Owner};
use super::scope::Scope;
use super::status::{Condition, ConditionType, Problem, Reason};
use crate::api::{GATEWAY_GROUP, Kind, ListenerSet, Name};
use crate::store::Snapshot;

/// A ListenerSet that names a Gateway of ours.
#[derive(Debug)]
pub(super) struct PlannedSet {
    /// The object.
    pub object: Arc<ListenerSet>,
    /// Its name.
    pub name: Name,
    /// Why the Gateway does not take it, if it does not.
    pub fault: Option<Fault>,
    /// Its listeners in the order of the spec; none if the Gateway does not take it.
    pub listeners: Vec<Listener>,
}

/// Gives every Gateway its ListenerSets, oldest first, then by `namespace/name`. What is returned
/// names Gateways that do not exist.
pub(super) fn plan(snapshot: &Snapshot, gateways: &mut [Planned]) -> Vec<Problem> {
    let positions: HashMap<Name, usize> =
        gateways.iter().enumerate().map(|(at, gateway)| (gateway.name.clone(), at)).collect();
    let mut strays = Vec::new();
    for (name, object) in snapshot.listener_sets.iter() {
        let Some(parent) = parent(name, object) else { continue };
        if let Some(&at) = positions.get(&parent) {
            let set = plan_one(snapshot, name, object, &gateways[at]);
            gateways[at].sets.push(set);
        } else if !snapshot.gateways.contains_key(&parent) {
            let field = "spec.parentRef.name";
            let message = format!("Gateway {parent} does not exist: create it or correct {field}");
            let fault = Fault::new(Reason::NoMatchingParent, field, message);
            strays.push(Problem::of(Kind::ListenerSet, name, &fault));
        }
    }
    for gateway in gateways {
        gateway.sets.sort_by_cached_key(PlannedSet::precedence);
    }
    strays
}

/// The Gateway that a ListenerSet names, if it is one.
pub(super) fn parent(name: &Name, object: &ListenerSet) -> Option<Name> {
    let parent = &object.spec.parent_ref;
    let namespace = parent.namespace.as_ref().unwrap_or(&name.namespace);
    (&*parent.group == GATEWAY_GROUP && &*parent.kind == "Gateway")
        .then(|| Name { namespace: Arc::clone(namespace), name: Arc::clone(&parent.name) })
}

fn plan_one(
    snapshot: &Snapshot,
    name: &Name,
    object: &Arc<ListenerSet>,
    gateway: &Planned,
) -> PlannedSet {
    let allowed = &gateway.object.spec.allowed_listeners.namespaces;
    let selector = allowed.selector.as_ref();
    let scope = Scope::of(&allowed.from, selector, &gateway.name.namespace);
    let mut set = PlannedSet {
        object: Arc::clone(object),
        name: name.clone(),
        fault: None,
        listeners: Vec::new(),
    };
    if scope.admits(snapshot, &name.namespace) {
        let frontend = &gateway.frontend;
        let owner = Owner { kind: Kind::ListenerSet, name, frontend, proxies: &gateway.proxies };
        let specs = object.spec.listeners.iter().enumerate();
        set.listeners =
            specs.map(|(index, spec)| listener::plan(snapshot, owner, spec, index)).collect();
    } else {
        let message = format!(
            "Gateway {} does not allow ListenerSets of namespace {}: change spec.allowedListeners of the Gateway",
            gateway.name, name.namespace
        );
        set.fault = Some(Fault::new(Reason::NotAllowed, "spec.parentRef", message));
    }
    set
}

impl PlannedSet {
    /// Who comes first wins a conflict.
    pub(super) fn precedence(&self) -> (i64, String) {
        (self.object.metadata.created, self.name.to_string())
    }

    /// Whether it is attached to its Gateway.
    pub(super) fn is_accepted(&self, gateway: &Planned) -> bool {
        self.refusal(gateway).is_none()
    }

    /// Why it is not accepted, and why it is not programmed.
    fn refusal(&self, gateway: &Planned) -> Option<(Reason, Reason, String)> {
        if let Some(fault) = &self.fault {
            return Some((fault.reason, fault.reason, fault.message.clone()));
        }
        if !gateway.is_accepted() {
            let message = format!("Gateway {} is not accepted, see its conditions", gateway.name);
            return Some((Reason::ParentNotAccepted, Reason::ParentNotProgrammed, message));
        }
        if !self.listeners.iter().any(Listener::is_programmed) {
            let message = "No listener can serve, see their conditions".to_owned();
            return Some((Reason::ListenersNotValid, Reason::ListenersNotValid, message));
        }
        None
    }

    /// Its conditions.
    pub(super) fn conditions(&self, gateway: &Planned) -> Vec<Condition> {
        let generation = self.object.metadata.generation;
        let (accepted, programmed) = (ConditionType::Accepted, ConditionType::Programmed);
        if let Some((reason, unprogrammed, message)) = self.refusal(gateway) {
            return vec![
                Condition::fails(accepted, reason, message.clone(), generation),
                Condition::fails(programmed, unprogrammed, message, generation),
            ];
        }
        let bad: Vec<&str> = self
            .listeners
            .iter()
            .filter(|listener| !listener.is_programmed())
            .map(|listener| &*listener.name)
            .collect();
        let acceptance = if bad.is_empty() {
            let message = "The ListenerSet is accepted";
            Condition::holds(accepted, Reason::Accepted, message, generation)
        } else {
            let bad = bad.join(", ");
            let message = format!("These listeners cannot serve, see their conditions: {bad}");
            Condition::holds(accepted, Reason::ListenersNotValid, message, generation)
        };
        let programmed = if gateway.unassigned.is_some() || gateway.site.is_nowhere() {
            let message = format!("Gateway {} is not programmed, see its conditions", gateway.name);
            Condition::fails(programmed, Reason::ParentNotProgrammed, message, generation)
        } else {
            let message = "The ListenerSet takes traffic";
            Condition::holds(programmed, Reason::Programmed, message, generation)
        };
        vec![acceptance, programmed]
    }

    /// All its faults.
    pub(super) fn faults(&self) -> impl Iterator<Item = &Fault> {
        let listeners = self.listeners.iter().flat_map(Listener::faults);
        let follows = |fault: &&Fault| fault.reason == Reason::NoValidCACertificate;
        self.fault.iter().chain(listeners.filter(move |fault| !follows(fault)))
    }
}
