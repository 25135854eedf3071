//! ReferenceGrants: whether an object may refer into another namespace.

use crate::api::{GATEWAY_GROUP, Name};
use crate::store::Snapshot;

/// One end of a reference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference<'r> {
    /// Kind of the referring object (of the Gateway API group).
    pub from_kind: &'r str,
    /// Its namespace.
    pub from_namespace: &'r str,
    /// Kind of the object referred to (of the core group).
    pub to_kind: &'r str,
    /// The object referred to.
    pub to: &'r Name,
}

/// Whether the reference stays in its namespace or a grant in the other namespace permits it.
pub(super) fn permits(snapshot: &Snapshot, reference: Reference<'_>) -> bool {
    let Reference { from_kind, from_namespace, to_kind, to } = reference;
    if *from_namespace == *to.namespace {
        return true;
    }
    let first = Name { namespace: to.namespace.clone(), name: "".into() };
    let grants = snapshot.reference_grants.range(first..);
    grants.take_while(|(name, _)| name.namespace == to.namespace).any(|(_, grant)| {
        let from = grant.spec.from.iter().any(|from| {
            &*from.group == GATEWAY_GROUP
                && &*from.kind == from_kind
                && &*from.namespace == from_namespace
        });
        from && grant.spec.to.iter().any(|target| {
            let named =
                target.name.as_deref().is_none_or(|name| name.is_empty() || *name == *to.name);
            target.group.is_empty() && &*target.kind == to_kind && named
        })
    })
}

/// How to permit the reference, for messages.
pub(super) fn advice(reference: Reference<'_>) -> String {
    let Reference { from_kind, from_namespace, to_kind, to } = reference;
    format!(
        "no ReferenceGrant in namespace {} permits {from_kind} in namespace {from_namespace} to refer to {to_kind} {}: create one",
        to.namespace, to.name
    )
}
