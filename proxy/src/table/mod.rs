//! One listener's routes compiled for lookup.
//!
//! Called by `exchange` once per request. Pure and allocation-free; regular expressions run with
//! caches that the shard owns ([`crate::balance::Local`]). Invariant: the answer equals a naive scan
//! over all matches in the API's precedence order (tested).

use std::sync::Arc;

use crate::balance::RegexCaches;
use crate::http::RequestHead;
use crate::ir::Filter;

/// A compiled set of routes.
#[derive(Debug, Default)]
pub struct Table {}

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
    /// Filters in order.
    pub filters: Vec<Filter>,
    /// Weighted backends of weight > 0, in order.
    pub backends: Vec<WeightedBackend>,
    /// Slot of this rule's weighted round-robin cursor; stable by route name and index. 0 is shared
    /// by all rules with fewer than two backends, which need none.
    pub cursor: u32,
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
}

impl Table {
    /// The winning rule for `head`, if any: hostname (exact, then longest wildcard), path (exact,
    /// longest prefix, regular expression), method, number of headers, number of query parameters,
    /// oldest route, namespace/name, rule order.
    #[must_use]
    pub fn find(&self, head: &RequestHead, caches: &mut RegexCaches) -> Option<Hit<'_>> {
        let _ = (head, caches);
        todo!()
    }
}
