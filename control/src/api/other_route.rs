//! GRPCRoute, which this release does not serve: only whom it names, so that its status can say so.

use serde::Deserialize;

use super::{Meta, ParentReference};

/// A route of a kind that is not served.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct OtherRoute {
    pub metadata: Meta,
    pub spec: OtherRouteSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OtherRouteSpec {
    pub parent_refs: Vec<ParentReference>,
}
