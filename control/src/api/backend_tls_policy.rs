//! BackendTLSPolicy: only its targets, since a Service that wants TLS must not be spoken to without.

use std::sync::Arc;

use serde::Deserialize;

use super::Meta;

/// A BackendTLSPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BackendTlsPolicy {
    pub metadata: Meta,
    pub spec: BackendTlsPolicySpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    pub target_refs: Vec<PolicyTarget>,
}

/// What a policy applies to, in its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyTarget {
    pub group: Arc<str>,
    pub kind: Arc<str>,
    pub name: Arc<str>,
    /// A port of the Service by its name; all of them without it.
    pub section_name: Option<Arc<str>>,
}
