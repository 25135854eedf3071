//! Routes of the kinds that this release does not serve: those that name a parent of ours are told so.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::parent::{Found, Parents};
use super::status::{Condition, ConditionType, Problem, Reason, RouteParentStatus, RouteStatus};
use super::{CONTROLLER_NAME, Fault};
use crate::api::{Kind, Name, OtherRoute};
use crate::store::Snapshot;

/// Statuses by kind.
pub(super) type Statuses = BTreeMap<Kind, BTreeMap<Name, Arc<RouteStatus>>>;

/// The statuses of all such routes, and what is said of each.
pub(super) fn plan(snapshot: &Snapshot, parents: &Parents) -> (Statuses, Vec<Problem>) {
    let mut statuses = Statuses::new();
    let mut problems = Vec::new();
    for ((kind, name), route) in snapshot.other_routes.iter() {
        let message = format!("{}s are not served by this release", kind.as_str());
        let fault = Fault::new(Reason::NotAllowedByListeners, "spec.parentRefs", message);
        let told = status(name, route, parents, &fault);
        if !told.is_empty() {
            problems.push(Problem::of(*kind, name, &fault));
            let of_kind = statuses.entry(*kind).or_default();
            of_kind.insert(name.clone(), Arc::new(RouteStatus { parents: told }));
        }
    }
    (statuses, problems)
}

fn status(
    name: &Name,
    route: &OtherRoute,
    parents: &Parents,
    fault: &Fault,
) -> Vec<RouteParentStatus> {
    let generation = route.metadata.generation;
    let ours = route
        .spec
        .parent_refs
        .iter()
        .filter(|reference| matches!(parents.find(reference, &name.namespace), Found::Ours(_)));
    ours.map(|reference| RouteParentStatus {
        parent_ref: reference.clone(),
        controller_name: CONTROLLER_NAME,
        conditions: vec![Condition::fails(
            ConditionType::Accepted,
            fault.reason,
            fault.message.clone(),
            generation,
        )],
    })
    .collect()
}
