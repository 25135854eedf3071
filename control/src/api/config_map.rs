//! v1 ConfigMap, of which only a trust bundle is ever kept.

use std::sync::Arc;

use serde::Deserialize;

use super::Meta;

/// A ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConfigMap {
    pub metadata: Meta,
    pub data: ConfigMapData,
}

/// The one key that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConfigMapData {
    #[serde(rename = "ca.crt")]
    pub ca: Option<Arc<str>>,
}
