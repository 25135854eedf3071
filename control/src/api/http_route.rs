//! HTTPRoute. Its lists are boxed slices: routes are many, and a vector keeps room to grow.

use std::sync::Arc;

use serde::Deserialize;

use super::{BackendRef, Filter, Meta, ParentReference};

/// An HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRoute {
    pub metadata: Meta,
    pub spec: HttpRouteSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpRouteSpec {
    pub parent_refs: Box<[ParentReference]>,
    pub hostnames: Box<[Arc<str>]>,
    /// Absent rules mean one empty rule: everything, answered 500.
    pub rules: Option<Box<[Rule]>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    pub name: Option<Arc<str>>,
    pub matches: Box<[Match]>,
    pub filters: Box<[Filter]>,
    pub backend_refs: Box<[BackendRef]>,
    pub timeouts: Timeouts,
    pub retry: Option<Retry>,
    /// Not supported yet; kept so that it is refused and never ignored.
    pub session_persistence: Option<serde_json::Value>,
}

/// Durations as GEP-2257 writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Timeouts {
    pub request: Option<Arc<str>>,
    pub backend_request: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Retry {
    pub codes: Vec<i64>,
    /// Tries after the first one.
    pub attempts: i64,
    pub backoff: Option<Arc<str>>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { codes: Vec::new(), attempts: 1, backoff: None }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Match {
    pub path: PathMatch,
    pub headers: Box<[HeaderMatch]>,
    pub query_params: Box<[QueryMatch]>,
    pub method: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PathMatch {
    #[serde(rename = "type")]
    pub kind: PathMatchType,
    pub value: Arc<str>,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self { kind: PathMatchType::PathPrefix, value: "/".into() }
    }
}

open_enum! {
    /// How a path is compared.
    PathMatchType {
        Exact = "Exact",
        PathPrefix = "PathPrefix",
        RegularExpression = "RegularExpression",
    } default PathPrefix
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeaderMatch {
    #[serde(rename = "type")]
    pub kind: ValueMatchType,
    pub name: Arc<str>,
    pub value: Arc<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryMatch {
    #[serde(rename = "type")]
    pub kind: ValueMatchType,
    pub name: Arc<str>,
    pub value: Arc<str>,
}

open_enum! {
    /// How a header or query parameter is compared.
    ValueMatchType {
        Exact = "Exact",
        RegularExpression = "RegularExpression",
    } default Exact
}
