//! Trust bundles: what a `caCertificateRef` of a policy or a Gateway leads to.
//!
//! Only what is good now is trusted: unlike a certificate that we show, a bundle that turned bad or
//! went is not remembered, for whoever took it away meant it.

use std::sync::Arc;

use super::Fault;
use super::grant::{self, Reference};
use super::status::Reason;
use crate::api::{CaCertificateRef, ClusterTrustBundle, Kind, Name};
use crate::store::Snapshot;

/// DER certificates of authorities.
pub(super) type Roots = Arc<Vec<Vec<u8>>>;

/// Who refers, and by which reason it is told that a kind holds no bundle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Referrer<'r> {
    /// Gateway or BackendTLSPolicy.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: &'r Arc<str>,
    /// The reason for a reference to something that is no bundle.
    pub wrong_kind: Reason,
}

/// All that the references at `field` lead to, and what is wrong with the others.
pub(super) fn follow(
    snapshot: &Snapshot,
    referrer: Referrer<'_>,
    references: &[CaCertificateRef],
    field: &str,
) -> (Option<Roots>, Vec<Fault>) {
    let (mut bundles, mut faults) = (Vec::new(), Vec::new());
    for (index, reference) in references.iter().enumerate() {
        match bundle(snapshot, referrer, reference, &format!("{field}[{index}]")) {
            Ok(bundle) => bundles.push(bundle),
            Err(fault) => faults.push(fault),
        }
    }
    (joined(bundles), faults)
}

/// One bundle is shared, several are put together.
fn joined(mut bundles: Vec<Roots>) -> Option<Roots> {
    if bundles.len() < 2 {
        return bundles.pop();
    }
    let mut all: Vec<Vec<u8>> = bundles.iter().flat_map(|bundle| bundle.iter().cloned()).collect();
    all.sort_unstable();
    all.dedup();
    Some(Arc::new(all))
}

fn bundle(
    snapshot: &Snapshot,
    referrer: Referrer<'_>,
    reference: &CaCertificateRef,
    field: &str,
) -> Result<Roots, Fault> {
    let (kind, name) = target(snapshot, referrer, reference, field)?;
    let reach = Reference {
        from_kind: referrer.kind.as_str(),
        from_namespace: referrer.namespace,
        to_kind: kind.as_str(),
        to: &name,
    };
    if kind.is_namespaced() && !grant::permits(snapshot, reach) {
        let field = format!("{field}.namespace");
        return Err(Fault::new(Reason::RefNotPermitted, field, grant::advice(reach)));
    }
    let what = format!("{} {name}", kind.as_str());
    let message = match snapshot.bundles.get(&(kind, name)) {
        Some(Ok(roots)) => return Ok(Arc::clone(roots)),
        Some(Err(why)) => format!("{what} holds no trust bundle: {why}"),
        None => format!("{what} does not exist: create it"),
    };
    Err(Fault::new(Reason::InvalidCACertificateRef, format!("{field}.name"), message))
}

/// The object that a reference names, if it may hold a bundle.
fn target(
    snapshot: &Snapshot,
    referrer: Referrer<'_>,
    reference: &CaCertificateRef,
    field: &str,
) -> Result<(Kind, Name), Fault> {
    match (&*reference.group, &*reference.kind) {
        ("", "ConfigMap") => {
            let namespace = reference.namespace.as_ref().unwrap_or(referrer.namespace);
            let name = Arc::clone(&reference.name);
            Ok((Kind::ConfigMap, Name { namespace: Arc::clone(namespace), name }))
        }
        (ClusterTrustBundle::GROUP, "ClusterTrustBundle") if snapshot.lacks_trust_bundles => {
            let message = format!(
                "{field} names a ClusterTrustBundle, a kind that this cluster does not have: use a ConfigMap"
            );
            Err(Fault::new(referrer.wrong_kind, format!("{field}.kind"), message))
        }
        (ClusterTrustBundle::GROUP, "ClusterTrustBundle") if reference.namespace.is_some() => {
            let message = format!(
                "{field} names a namespace, but a ClusterTrustBundle is in none: remove it"
            );
            let field = format!("{field}.namespace");
            Err(Fault::new(Reason::InvalidCACertificateRef, field, message))
        }
        (ClusterTrustBundle::GROUP, "ClusterTrustBundle") => {
            Ok((Kind::ClusterTrustBundle, Name::new("", &reference.name)))
        }
        (group, kind) => {
            let message = format!(
                "{field} names a {kind} of group {group:?}: only ConfigMap and ClusterTrustBundle are supported"
            );
            Err(Fault::new(referrer.wrong_kind, format!("{field}.kind"), message))
        }
    }
}
