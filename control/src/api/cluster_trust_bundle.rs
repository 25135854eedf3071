//! certificates.k8s.io/v1 ClusterTrustBundle: authorities for the whole cluster.

use std::sync::Arc;

use serde::Deserialize;

use super::Meta;

/// A ClusterTrustBundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClusterTrustBundle {
    pub metadata: Meta,
    pub spec: ClusterTrustBundleSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterTrustBundleSpec {
    /// PEM.
    pub trust_bundle: Arc<str>,
}

impl ClusterTrustBundle {
    /// Its group.
    pub const GROUP: &str = "certificates.k8s.io";
}
