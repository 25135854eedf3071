//! GatewayClasses: which are ours, and which of those are accepted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::status::{Condition, ConditionType, Feature, GatewayClassStatus, Reason};
use super::{CONTROLLER_NAME, Fault, features};
use crate::api::{GatewayClass, Name};
use crate::store::Snapshot;

/// The classes whose Gateways are ours.
#[derive(Debug, Default)]
pub(super) struct Classes {
    objects: BTreeMap<Arc<str>, (Arc<GatewayClass>, Option<Fault>)>,
    implicit: Option<Arc<str>>,
    bundle_version: Option<Arc<str>>,
    lacks_trust_bundles: bool,
    lacks_routability: bool,
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
    Classes {
        objects: objects.collect(),
        implicit,
        bundle_version: snapshot.bundle_version.clone(),
        lacks_trust_bundles: snapshot.lacks_trust_bundles,
        lacks_routability: snapshot.lacks_routability,
    }
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
            let version = self.version_condition(class.metadata.generation);
            let status = GatewayClassStatus {
                conditions: vec![accepted, version],
                supported_features: self.features().map(|name| Feature { name }).collect(),
            };
            (class.metadata.full_name(), status)
        };
        self.objects.values().map(status).collect()
    }

    /// What is claimed; of a kind or a field that the cluster does not have nothing is.
    fn features(&self) -> impl Iterator<Item = &'static str> {
        let is_lacked = |name: &str| match name {
            "ClusterTrustBundle" => self.lacks_trust_bundles,
            _ => self.lacks_routability && name.starts_with("GatewayAddressRoutability"),
        };
        features::ALL.iter().copied().filter(move |name| !is_lacked(name))
    }

    /// A version that is not known, as in files, is taken for a supported one.
    fn version_condition(&self, generation: i64) -> Condition {
        let kind = ConditionType::SupportedVersion;
        match &self.bundle_version {
            Some(version) if !is_supported(version) => {
                let message = format!(
                    "Gateway API {version} is installed; {} are supported, others served as far as they are alike",
                    VERSIONS.join(", ")
                );
                Condition::fails(kind, Reason::UnsupportedVersion, message, generation)
            }
            _ => {
                let message = "The installed Gateway API is supported";
                Condition::holds(kind, Reason::SupportedVersion, message, generation)
            }
        }
    }
}

fn is_supported(version: &str) -> bool {
    let minor = |known: &str| {
        let rest = version.strip_prefix(known.trim_end_matches('x'));
        rest.is_some_and(|rest| rest.bytes().next().is_some_and(|b| b.is_ascii_digit()))
    };
    VERSIONS.iter().any(|known| minor(known))
}

/// Versions of the Gateway API's definitions that are supported.
const VERSIONS: [&str; 3] = ["v1.5.x", "v1.6.x", "v1.7.x"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_installed_definitions_lack_is_not_claimed() {
        let claimed = |lacks_trust_bundles, lacks_routability| {
            let classes = Classes { lacks_trust_bundles, lacks_routability, ..Classes::default() };
            classes.features().collect::<Vec<_>>()
        };
        assert_eq!(claimed(false, false), features::ALL);
        let lacked = |claimed: Vec<&str>| -> Vec<&str> {
            features::ALL.iter().copied().filter(|name| !claimed.contains(name)).collect()
        };
        assert_eq!(lacked(claimed(true, false)), ["ClusterTrustBundle"]);
        let routability = ["GatewayAddressRoutability", "GatewayAddressRoutabilityCluster"];
        assert_eq!(lacked(claimed(false, true)), routability);
    }

    #[test]
    fn versions_are_told_apart_by_their_minor_number() {
        for good in ["v1.5.0", "v1.7.0", "v1.7.12", "v1.6.1-rc.1"] {
            assert!(is_supported(good), "{good}");
        }
        for bad in ["", "v1.7", "v1.4.0", "v1.70.0", "v2.7.0", "1.7.0", "main"] {
            assert!(!is_supported(bad), "{bad}");
        }
    }
}
