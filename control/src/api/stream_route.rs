//! TCPRoute, TLSRoute and UDPRoute, which are of one shape.

use std::sync::Arc;

use serde::Deserialize;

use super::{BackendRef, Meta, ParentReference};

/// A TCPRoute, a TLSRoute or a UDPRoute.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StreamRoute {
    pub metadata: Meta,
    pub spec: StreamRouteSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StreamRouteSpec {
    pub parent_refs: Box<[ParentReference]>,
    /// Matched against SNI; of TLSRoutes only.
    pub hostnames: Box<[Arc<str>]>,
    /// One; versions before v1 took several.
    pub rules: Box<[StreamRule]>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StreamRule {
    pub name: Option<Arc<str>>,
    pub backend_refs: Box<[BackendRef]>,
}
