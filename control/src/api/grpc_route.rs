//! GRPCRoute. Its lists are boxed slices, as HTTPRoute's.

use std::sync::Arc;

use serde::Deserialize;

use super::{BackendRef, Filter, HeaderMatch, Meta, ParentReference};

/// A GRPCRoute.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcRoute {
    pub metadata: Meta,
    pub spec: GrpcRouteSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcRouteSpec {
    pub parent_refs: Box<[ParentReference]>,
    pub hostnames: Box<[Arc<str>]>,
    /// Absent rules mean one empty rule: every call, answered UNAVAILABLE.
    pub rules: Option<Box<[GrpcRule]>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcRule {
    pub name: Option<Arc<str>>,
    pub matches: Box<[GrpcMatch]>,
    pub filters: Box<[Filter]>,
    pub backend_refs: Box<[BackendRef]>,
    /// Not supported yet; kept so that it is refused and never ignored.
    pub session_persistence: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GrpcMatch {
    /// Absent matches every method.
    pub method: Option<MethodMatch>,
    pub headers: Box<[HeaderMatch]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MethodMatch {
    #[serde(rename = "type")]
    pub kind: MethodMatchType,
    /// Absent or empty matches every service.
    pub service: Option<Arc<str>>,
    /// Absent or empty matches every method.
    pub method: Option<Arc<str>>,
}

open_enum! {
    /// How a service and a method are compared.
    MethodMatchType {
        Exact = "Exact",
        RegularExpression = "RegularExpression",
    } default Exact
}
