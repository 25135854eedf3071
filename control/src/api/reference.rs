//! References from routes: to the Gateways they attach to and the backends they lead to; and those to
//! trust bundles.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Filter, GATEWAY_GROUP};

/// A `parentRef`. Serialised as it stands in `status.parents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    #[serde(default = "gateway_group")]
    pub group: Arc<str>,
    #[serde(default = "gateway_kind")]
    pub kind: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    #[serde(default)]
    pub name: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// An `HTTPBackendRef`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    #[serde(default)]
    pub group: Arc<str>,
    #[serde(default = "service_kind")]
    pub kind: Arc<str>,
    #[serde(default)]
    pub name: Arc<str>,
    #[serde(default)]
    pub namespace: Option<Arc<str>>,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default = "one")]
    pub weight: u32,
    #[serde(default)]
    pub filters: Vec<Filter>,
}

/// A `caCertificateRef`, of a policy or of a Gateway; only the latter may name a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CaCertificateRef {
    pub group: Arc<str>,
    pub kind: Arc<str>,
    pub name: Arc<str>,
    pub namespace: Option<Arc<str>>,
}

fn gateway_group() -> Arc<str> {
    GATEWAY_GROUP.into()
}

fn gateway_kind() -> Arc<str> {
    "Gateway".into()
}

fn service_kind() -> Arc<str> {
    "Service".into()
}

fn one() -> u32 {
    1
}
