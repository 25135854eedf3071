//! One listener's routes compiled for lookup.
//!
//! Called by `exchange` once per request. Pure and allocation-free; regular expressions run with
//! caches that the shard owns ([`crate::balance::Local`]). Invariant: the answer equals a naive scan
//! over all matches in the API's precedence order (tested).

mod build;
mod conditions;
mod host;
pub(crate) mod hosts;
mod index;
mod part;
pub mod regex;
pub(crate) mod route;

use std::sync::Arc;

use self::hosts::Hosts;
use self::part::Part;
use self::regex::RegexCaches;
use self::route::CompiledRoute;
use crate::auth::Auth;
use crate::http::RequestHead;
use crate::ir::{Filter, Hostname, Retry, Route, Timeouts};

pub(crate) use self::build::Fresh;

/// A compiled set of routes.
#[derive(Debug, Default)]
pub struct Table {
    /// Shared by all epochs in which the listener's routes are equal.
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    hosts: Hosts<Part>,
    /// What this was compiled from, in order of precedence: the next epoch compares with it.
    attached: Box<[Arc<Attached>]>,
}

#[derive(Debug)]
struct Attached {
    route: Arc<CompiledRoute>,
    hostnames: Box<[Hostname]>,
}

/// What a lookup found.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'t> {
    /// The winning rule.
    pub rule: &'t Rule,
    /// Length of the matched path prefix without trailing slash (for `ReplacePrefixMatch`);
    /// the whole path's length for other path matches.
    pub prefix: usize,
}

/// A compiled rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `namespace/name` of the route.
    pub route: Arc<str>,
    /// Position in its route.
    pub index: usize,
    /// Of a GRPCRoute: what we answer ourselves is a gRPC status.
    pub grpc: bool,
    /// Filters in order.
    pub filters: Vec<Filter>,
    /// Weighted backends of weight > 0, in order.
    pub backends: Vec<WeightedBackend>,
    /// Slot of this rule's weighted round-robin cursor; stable by route name and index. 0 is shared
    /// by all rules with fewer than two backends, which need none.
    pub cursor: u32,
    /// What few rules ask for beyond being forwarded once: kept apart from the rest, so that all
    /// others pay one look for it.
    pub policy: Option<Box<Policy>>,
}

/// Timeouts, retry, mirrors and authorization of a rule that has any of them, itself or for one of its
/// backends.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Time limits.
    pub timeouts: Timeouts,
    /// When to try again.
    pub retry: Option<Retry>,
    /// Mirrors of the rule, whichever backend is picked.
    pub mirrors: Vec<Mirror>,
    /// Who must allow a request, one after the other.
    pub auth: Vec<Auth>,
}

/// A compiled `RequestMirror` that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Slot in [`crate::epoch::Epoch::backends`].
    pub slot: u32,
    /// The share of requests that is mirrored is `numerator / denominator`.
    pub numerator: u32,
    /// Never 0.
    pub denominator: u32,
}

/// One backend of a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct WeightedBackend {
    /// Slot in [`crate::epoch::Epoch::backends`]; `None` answers 500.
    pub slot: Option<u32>,
    /// Share, > 0.
    pub weight: u32,
    /// Filters of this backend.
    pub filters: Vec<Filter>,
    /// Mirrors of this backend only.
    pub mirrors: Vec<Mirror>,
}

impl Table {
    /// The winning rule for `head`, if any: hostname (exact, then longest wildcard), path (exact,
    /// longest prefix, regular expression), method, number of headers, number of query parameters,
    /// oldest route, namespace/name, rule order. Where no rule of a hostname matches, less specific
    /// hostnames are asked.
    #[must_use]
    pub fn find(&self, head: &RequestHead, caches: &mut RegexCaches) -> Option<Hit<'_>> {
        let host = head.host.of(&head.arena);
        self.inner.hosts.find(host, |part| part.find(head, caches))
    }

    /// Whether both are the same compilation.
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether both answer for `hostname` by the same compiled part (`None`: every host), which is
    /// how a test sees that an edit elsewhere did not touch it.
    #[must_use]
    pub fn shares_host_with(&self, other: &Self, hostname: Option<&Hostname>) -> bool {
        let parts = (self.inner.hosts.get(hostname), other.inner.hosts.get(hostname));
        matches!(parts, (Some(a), Some(b)) if a.is_shared_with(b))
    }
}

impl Inner {
    fn source(&self, at: usize) -> Option<&Route> {
        self.attached.get(at).map(|attached| attached.route.source())
    }

    fn hostnames(&self, at: usize) -> &[Hostname] {
        &self.attached[at].hostnames
    }
}
