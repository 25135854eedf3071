//! From which namespaces routes, or ListenerSets, may attach.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::{FromNamespaces, LabelSelector, Name};
use crate::store::Snapshot;

/// Which namespaces may attach.
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

impl Scope {
    /// Reads a scope of an object in namespace `own`.
    pub(super) fn of(
        from: &FromNamespaces,
        selector: Option<&LabelSelector>,
        own: &Arc<str>,
    ) -> Self {
        match (from, selector) {
            (FromNamespaces::All, _) => Self::All,
            (FromNamespaces::Same, _) => Self::Only(Arc::clone(own)),
            (FromNamespaces::Selector, Some(selector)) => Self::Selected(selector.clone()),
            (FromNamespaces::Selector, None) | (FromNamespaces::None, _) => Self::None,
            (FromNamespaces::Unknown(_), _) => Self::None,
        }
    }

    /// Whether objects of `namespace` may attach.
    pub(super) fn admits(&self, snapshot: &Snapshot, namespace: &Arc<str>) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(only) => only == namespace,
            Self::Selected(selector) => selector.selects(&labels(snapshot, namespace)),
        }
    }
}

/// The labels of a namespace. Kubernetes gives each its name as a label; a namespace without an
/// object, as files may have, has that label alone.
fn labels(snapshot: &Snapshot, namespace: &Arc<str>) -> BTreeMap<Arc<str>, Arc<str>> {
    let object = snapshot.namespaces.get(&Name::new("", namespace));
    let mut labels = object.map(|object| object.metadata.labels.clone()).unwrap_or_default();
    labels.entry("kubernetes.io/metadata.name".into()).or_insert_with(|| Arc::clone(namespace));
    labels
}
