//! What a table keeps of one hostname: its [`Host`], or the only path that it has.
//!
//! Made by `build`, asked by [`super::Table::find`], shared between epochs. Invariant: both forms find
//! what a [`Host`] finds. The short form lies in the table itself, so that of a hundred thousand hosts
//! with one path each a lookup reads no memory but names and the rule.

use std::sync::Arc;

use super::host::Host;
use super::route::{CompiledRoute, MatchView};
use super::{Hit, Rule};
use crate::http::RequestHead;
use crate::ir::PathMatch;
use crate::table::regex::RegexCaches;

/// One hostname's routes.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// One match, with no condition but its path.
    One(Only),
    /// Any number of matches.
    Many(Arc<Host>),
}

/// The only match of a hostname.
#[derive(Clone, Debug)]
pub(super) struct Only {
    rule: Arc<Rule>,
    /// As in the route.
    path: Arc<str>,
    /// How much of it counts: a prefix has no slash at its end.
    length: u32,
    exact: bool,
}

impl Part {
    /// Compiles the routes of one hostname, given in order of precedence.
    pub(super) fn new<'r>(routes: impl Iterator<Item = &'r CompiledRoute> + Clone) -> Self {
        let mut matches = routes.clone().flat_map(CompiledRoute::matches);
        if let (Some(only), None) = (matches.next(), matches.next())
            && let Some(only) = Only::new(&only)
        {
            return Self::One(only);
        }
        Self::Many(Arc::new(Host::new(routes)))
    }

    /// Whether both are the same compilation.
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(a), Self::One(b)) => Arc::ptr_eq(&a.rule, &b.rule),
            (Self::Many(a), Self::Many(b)) => Arc::ptr_eq(a, b),
            (Self::One(_), Self::Many(_)) | (Self::Many(_), Self::One(_)) => false,
        }
    }

    /// The winning rule for `head` on this hostname.
    #[inline]
    pub(super) fn find(&self, head: &RequestHead, caches: &mut RegexCaches) -> Option<Hit<'_>> {
        match self {
            Self::One(only) => only.find(head.path.of(&head.arena)),
            Self::Many(host) => host.find(head, caches),
        }
    }
}

impl Only {
    fn new(from: &MatchView<'_>) -> Option<Self> {
        let (path, counts, exact) = match from.path {
            PathMatch::Exact(path) => (path, &**path, true),
            PathMatch::Prefix(path) => (path, path.trim_end_matches('/'), false),
            PathMatch::Regex(_) => return None,
        };
        let usual = counts.is_empty() || counts.starts_with('/');
        let length = u32::try_from(counts.len()).ok()?;
        (usual && from.conditions.is_none()).then(|| Self {
            rule: Arc::clone(from.rule),
            path: Arc::clone(path),
            length,
            exact,
        })
    }

    #[inline]
    fn find(&self, path: &[u8]) -> Option<Hit<'_>> {
        let prefix = self.length as usize;
        let rest = path.strip_prefix(&self.path.as_bytes()[..prefix])?;
        let ends = match rest.first() {
            None => true,
            Some(&next) => !self.exact && (next == b'/' || prefix == 0),
        };
        ends.then_some(Hit { rule: &self.rule, prefix })
    }
}
