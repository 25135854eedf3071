//! v1 ConfigMap.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Meta;

/// A ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigMap {
    pub metadata: Meta,
    pub data: BTreeMap<Arc<str>, Arc<str>>,
}
