//! GatewayClasses: which are ours, and which of those are accepted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::status::{Condition, ConditionType, GatewayClassStatus, Reason};
use super::{CONTROLLER_NAME, Fault};
use crate::api::{GatewayClass, Name};
use crate::store::Snapshot;

/// The classes whose Gateways are ours.
#[derive(Debug, Default)]
pub(super) struct Classes {
    objects: BTreeMap<Arc<str>, (Arc<GatewayClass>, Option<Fault>)>,
    implicit: Option<Arc<str>>,
}

/// Whether a Gateway of some class is served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is ours.
    Ours,
    /// It would be ours, but its class is refused.
    Refused,
    /// It belongs to another controller, or its class does not exist.
    Foreign,
}

/// Finds our classes. The implicit class needs no object, but an object of its name goes first.
pub(super) fn plan(snapshot: &Snapshot) -> Classes {
    let ours = |class: &&Arc<GatewayClass>| &*class.spec.controller_name == CONTROLLER_NAME;
    let objects = snapshot.gateway_classes.values().filter(ours).map(|class| {
        (Arc::clone(&class.metadata.name), (Arc::clone(class), parameters_fault(class)))
    });
    let implicit = snapshot
        .implicit_class
        .clone()
        .filter(|name| !snapshot.gateway_classes.contains_key(&Name::new("", name)));
    Classes { objects: objects.collect(), implicit }
}

fn parameters_fault(class: &GatewayClass) -> Option<Fault> {
    class.spec.parameters_ref.as_ref().map(|_| {
        let message = "spec.parametersRef is not supported: remove it";
        Fault::new(Reason::InvalidParameters, "spec.parametersRef", message)
    })
}

impl Classes {
    /// What becomes of a Gateway of class `name`.
    pub(super) fn verdict(&self, name: &str) -> Verdict {
        match self.objects.get(name) {
            Some((_, None)) => Verdict::Ours,
            Some((_, Some(_))) => Verdict::Refused,
            None if self.implicit.as_deref() == Some(name) => Verdict::Ours,
            None => Verdict::Foreign,
        }
    }

    /// The faults of refused classes.
    pub(super) fn faults(&self) -> impl Iterator<Item = (Name, &Fault)> {
        self.objects.values().filter_map(|(class, fault)| {
            fault.as_ref().map(|fault| (class.metadata.full_name(), fault))
        })
    }

    /// The status of every class of ours.
    pub(super) fn statuses(&self) -> BTreeMap<Name, GatewayClassStatus> {
        let status = |(class, fault): &(Arc<GatewayClass>, Option<Fault>)| {
            let accepted = Condition::unless(
                fault.as_ref(),
                ConditionType::Accepted,
                Reason::Accepted,
                "Gateways of this class are served",
                class.metadata.generation,
            );
            (class.metadata.full_name(), GatewayClassStatus { conditions: vec![accepted] })
        };
        self.objects.values().map(status).collect()
    }
}
