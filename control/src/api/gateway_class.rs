//! GatewayClass.

use std::sync::Arc;

use serde::Deserialize;

use super::Meta;

/// A GatewayClass.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewayClass {
    pub metadata: Meta,
    pub spec: GatewayClassSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewayClassSpec {
    pub controller_name: Arc<str>,
    pub parameters_ref: Option<serde_json::Value>,
}
