//! BackendTLSPolicy: how the gateway speaks TLS to a Service, and whom it believes there.

use std::sync::Arc;

use serde::Deserialize;

use super::{CaCertificateRef, Meta};

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
    pub validation: BackendValidation,
    /// Other implementations' settings; not supported, kept so that it is told.
    pub options: Option<serde_json::Value>,
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

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BackendValidation {
    pub ca_certificate_refs: Vec<CaCertificateRef>,
    #[serde(rename = "wellKnownCACertificates")]
    pub well_known: Option<Arc<str>>,
    pub hostname: Arc<str>,
    pub subject_alt_names: Vec<SubjectAltName>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SubjectAltName {
    #[serde(rename = "type")]
    pub kind: SubjectAltNameType,
    pub hostname: Arc<str>,
    pub uri: Arc<str>,
}

open_enum! {
    /// What a subject alternative name is.
    SubjectAltNameType {
        Hostname = "Hostname",
        Uri = "URI",
    } default Hostname
}
