//! What each object's status should be, and which objects a new set of statuses concerns.
//!
//! Reads [`Statuses`] only. Called by the [writer](super::writer) for one object at a time, so that
//! thousands of statuses never stand side by side as JSON. Invariant: kinds about which the statuses
//! say nothing are never touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{Kind, Name};
use crate::translate::Statuses;
use crate::translate::status::RouteStatus;

/// What the status of an object should be.
#[derive(Debug, PartialEq)]
pub(super) enum Desired {
    /// This.
    Status(Value),
    /// Without any entry of ours.
    Nothing,
    /// As it is: the kind is none that we write.
    Untouched,
}

/// What the status of `kind` `name` should be.
pub(super) fn of(statuses: &Statuses, kind: Kind, name: &Name) -> Desired {
    match kind {
        Kind::GatewayClass => entry(&statuses.gateway_classes, name),
        Kind::Gateway => entry(&statuses.gateways, name),
        Kind::ListenerSet => entry(&statuses.listener_sets, name),
        Kind::BackendTlsPolicy => entry(&statuses.backend_tls_policies, name),
        kind => match statuses.routes(kind) {
            Some(routes) => entry(routes, name),
            None => Desired::Untouched,
        },
    }
}

fn entry<T: Serialize>(all: &BTreeMap<Name, T>, name: &Name) -> Desired {
    match all.get(name).map(serde_json::to_value) {
        Some(Ok(status)) => Desired::Status(status),
        // A status is plain data, so this does not happen; if it did, nothing would be written.
        Some(Err(_)) => Desired::Untouched,
        None => Desired::Nothing,
    }
}

/// Says in `status` that the newest version of the spec, of `generation`, could not be read. The rest
/// of the status speaks of the last good version, which keeps serving.
pub(super) fn blame(kind: Kind, status: &mut Value, fault: &str, generation: i64) {
    let reason = match kind {
        Kind::GatewayClass => "Unsupported",
        Kind::BackendTlsPolicy | Kind::Gateway => "Invalid",
        _ => "UnsupportedValue",
    };
    let message = format!("The spec cannot be read, its last good version keeps serving: {fault}");
    let blame = |holder: &mut Value| {
        let conditions = holder.get_mut("conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            condition["observedGeneration"] = json!(generation);
            if condition["type"] == "Accepted" {
                condition["status"] = json!("False");
                condition["reason"] = json!(reason);
                condition["message"] = json!(message);
            }
        }
    };
    let list = if kind == Kind::BackendTlsPolicy { "ancestors" } else { "parents" };
    match status.get_mut(list).and_then(Value::as_array_mut) {
        Some(entries) => entries.iter_mut().for_each(blame),
        None => blame(status),
    }
}

/// Every object whose status differs between the two.
pub(super) fn changes(old: &Statuses, new: &Statuses, mut note: impl FnMut(Kind, &Name)) {
    let kind = Kind::GatewayClass;
    differing(&old.gateway_classes, &new.gateway_classes, |a, b| a == b, |name| note(kind, name));
    let kind = Kind::Gateway;
    differing(&old.gateways, &new.gateways, |a, b| a == b, |name| note(kind, name));
    let kind = Kind::ListenerSet;
    differing(&old.listener_sets, &new.listener_sets, |a, b| a == b, |name| note(kind, name));
    let kind = Kind::BackendTlsPolicy;
    let (before, after) = (&old.backend_tls_policies, &new.backend_tls_policies);
    differing(before, after, |a, b| Arc::ptr_eq(a, b) || a == b, |name| note(kind, name));
    let same = |a: &Arc<RouteStatus>, b: &Arc<RouteStatus>| Arc::ptr_eq(a, b) || a == b;
    for kind in Kind::ALL {
        if let (Some(old), Some(new)) = (old.routes(kind), new.routes(kind)) {
            differing(old, new, same, |name| note(kind, name));
        }
    }
}

/// The keys whose values differ, by one walk over both maps.
pub(super) fn differing<T>(
    old: &BTreeMap<Name, T>,
    new: &BTreeMap<Name, T>,
    same: impl Fn(&T, &T) -> bool,
    mut note: impl FnMut(&Name),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek().copied(), new.peek().copied()) {
            (None, None) => return,
            (Some((name, before)), Some((other, after))) if name == other => {
                if !same(before, after) {
                    note(name);
                }
                old.next();
                new.next();
            }
            (Some((name, _)), Some((other, _))) if name < other => {
                note(name);
                old.next();
            }
            (Some((name, _)), None) => {
                note(name);
                old.next();
            }
            (_, Some((name, _))) => {
                note(name);
                new.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_cannot_be_read_is_said_once_per_parent_and_generation() {
        let good = json!({"type": "Accepted", "status": "True", "reason": "Accepted",
                          "message": "", "observedGeneration": 3});
        let other = json!({"type": "ResolvedRefs", "status": "True", "observedGeneration": 3});
        let entry = json!({"parentRef": {"name": "gw"}, "conditions": [good, other]});
        let mut status = json!({"parents": [entry, entry]});
        blame(Kind::HttpRoute, &mut status, "spec.rules: a string", 4);
        for parent in status["parents"].as_array().unwrap() {
            let [accepted, other] = &parent["conditions"].as_array().unwrap()[..] else { panic!() };
            assert_eq!(
                (&accepted["status"], &accepted["reason"]),
                (&json!("False"), &json!("UnsupportedValue"))
            );
            assert!(accepted["message"].as_str().unwrap().ends_with("spec.rules: a string"));
            assert_eq!(
                (&accepted["observedGeneration"], &other["observedGeneration"]),
                (&json!(4), &json!(4))
            );
            assert_eq!(other["status"], "True");
        }
        let mut status = json!({"ancestors": [{"conditions": [good]}]});
        blame(Kind::BackendTlsPolicy, &mut status, "why", 5);
        assert_eq!(status["ancestors"][0]["conditions"][0]["reason"], "Invalid");
        let mut status = json!({"conditions": [good], "listeners": []});
        blame(Kind::Gateway, &mut status, "why", 5);
        assert_eq!(status["conditions"][0]["reason"], "Invalid");
    }

    #[test]
    fn changed_new_and_gone_keys_are_found_and_equal_ones_are_not() {
        let map = |text: &str| {
            let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
            pairs.map(|(key, value)| (Name::new("", key), value.to_owned())).collect()
        };
        for (old, new, expected) in [
            ("", "", ""),
            ("a=1 b=2 c=3", "a=1 b=2 c=3", ""),
            ("a=1 b=2", "b=3 c=4", "a b c"),
            ("b=1 d=1", "a=1 b=1 c=1 d=1 e=1", "a c e"),
            ("a=1 b=1 c=1", "b=1", "a c"),
            ("a=1", "", "a"),
        ] {
            let (old, new): (BTreeMap<_, String>, BTreeMap<_, _>) = (map(old), map(new));
            let mut found = Vec::new();
            differing(&old, &new, |a, b| a == b, |name| found.push(name.to_string()));
            assert_eq!(found.join(" "), expected);
        }
    }
}
