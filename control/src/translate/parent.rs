//! Gateways and ListenerSets as routes see them: parents with doors.

use std::collections::HashSet;
use std::sync::Arc;

use proxy::ir::Hostname;

use super::Fault;
use super::gateway::Planned;
use super::listener::Listener;
use super::scope::Scope;
use super::status::Reason;
use crate::api::{GATEWAY_GROUP, Kind, Name, ParentReference};
use crate::store::Snapshot;

/// All parents, sorted for lookup.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parents(Vec<Parent>);

/// A Gateway or a ListenerSet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parent {
    /// Which of both.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Whether its Gateway is of a class of ours.
    pub ours: bool,
    /// Its own listeners in order; none if it is a ListenerSet that its Gateway does not take.
    pub doors: Vec<Door>,
    /// The number of its first listener, all listeners of all Gateways counted in order.
    pub first: usize,
}

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Door {
    /// Section name.
    pub name: Arc<str>,
    /// Port.
    pub port: u16,
    /// The hostname it claims.
    pub hostname: Option<Hostname>,
    /// Which namespaces' routes may attach.
    pub scope: Scope,
    /// Which kinds of routes may.
    pub kinds: Vec<Kind>,
}

/// What a reference names.
pub(super) enum Found<'p> {
    /// A parent of ours.
    Ours(&'p Parent),
    /// Something of another controller's, or of a kind that is no parent here.
    Foreign,
    /// A Gateway or ListenerSet that does not exist.
    Missing(Kind, Name),
}

impl Parents {
    /// Every Gateway and ListenerSet.
    pub(super) fn new(snapshot: &Snapshot, gateways: &[Planned]) -> Self {
        let mut parents = Vec::new();
        let mut first = 0;
        let mut ours: HashSet<(Kind, &Name)> = HashSet::new();
        for gateway in gateways {
            let sets = gateway.sets.iter();
            let sets = sets.map(|set| (Kind::ListenerSet, &set.name, &set.listeners));
            let own = (Kind::Gateway, &gateway.name, &gateway.listeners);
            for (kind, name, listeners) in std::iter::once(own).chain(sets) {
                let doors: Vec<_> = listeners.iter().map(Door::new).collect();
                let count = doors.len();
                ours.insert((kind, name));
                parents.push(Parent { kind, name: name.clone(), ours: true, doors, first });
                first += count;
            }
        }
        let gateways = snapshot.gateways.keys().map(|name| (Kind::Gateway, name));
        let sets = snapshot.listener_sets.keys().map(|name| (Kind::ListenerSet, name));
        for (kind, name) in gateways.chain(sets).filter(|id| !ours.contains(id)) {
            let doors = Vec::new();
            parents.push(Parent { kind, name: name.clone(), ours: false, doors, first });
        }
        parents.sort_by(|left, right| (left.kind, &left.name).cmp(&(right.kind, &right.name)));
        Self(parents)
    }

    /// What a `parentRef` of a route in `namespace` names.
    pub(super) fn find(&self, reference: &ParentReference, namespace: &Arc<str>) -> Found<'_> {
        let kind = match &*reference.kind {
            "Gateway" => Kind::Gateway,
            "ListenerSet" => Kind::ListenerSet,
            _ => return Found::Foreign,
        };
        if &*reference.group != GATEWAY_GROUP {
            return Found::Foreign;
        }
        let namespace = reference.namespace.as_ref().unwrap_or(namespace);
        let name = Name { namespace: Arc::clone(namespace), name: Arc::clone(&reference.name) };
        let position =
            self.0.binary_search_by(|parent| (parent.kind, &parent.name).cmp(&(kind, &name)));
        match position.map(|at| &self.0[at]) {
            Ok(parent) if parent.ours => Found::Ours(parent),
            Ok(_) => Found::Foreign,
            Err(_) => Found::Missing(kind, name),
        }
    }
}

impl Parent {
    /// The doors that a reference at `field` names, with their numbers.
    pub(super) fn named<'p>(
        &'p self,
        reference: &ParentReference,
        field: &str,
    ) -> Result<Vec<(usize, &'p Door)>, Fault> {
        let named = |door: &Door| {
            reference.section_name.as_ref().is_none_or(|name| *name == door.name)
                && reference.port.is_none_or(|port| port == door.port)
        };
        let numbered = self.doors.iter().enumerate();
        let doors: Vec<_> = numbered
            .filter(|(_, door)| named(door))
            .map(|(index, door)| (self.first + index, door))
            .collect();
        if doors.is_empty() { Err(self.no_door(reference, field)) } else { Ok(doors) }
    }

    fn no_door(&self, reference: &ParentReference, field: &str) -> Fault {
        if self.doors.is_empty() {
            let message = format!("{self} is not attached to its Gateway, see its conditions");
            return Fault::new(Reason::NoMatchingParent, format!("{field}.name"), message);
        }
        let wanted = match (&reference.section_name, reference.port) {
            (Some(name), Some(port)) => format!("named {name} on port {port}"),
            (Some(name), None) => format!("named {name}"),
            (None, Some(port)) => format!("on port {port}"),
            (None, None) => "at all".to_owned(),
        };
        let known: Vec<_> =
            self.doors.iter().map(|door| format!("{} (port {})", door.name, door.port)).collect();
        let message =
            format!("{self} has no listener {wanted}; its listeners: {}", known.join(", "));
        let last = if reference.section_name.is_some() { "sectionName" } else { "port" };
        Fault::new(Reason::NoMatchingParent, format!("{field}.{last}"), message)
    }
}

impl std::fmt::Display for Parent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

impl Door {
    fn new(listener: &Listener) -> Self {
        Self {
            name: Arc::clone(&listener.name),
            port: listener.port,
            hostname: listener.hostname.clone(),
            scope: listener.scope.clone(),
            kinds: listener.kinds.clone(),
        }
    }
}
