//! One route compiled: its rules, and its matches ready to be put under hostnames.
//!
//! Made by `build` when a route is new or changed, shared between hosts, listeners and epochs while
//! the route stays equal. Invariant: it holds the leases of all slots that its rules name, so they
//! keep their meaning for as long as any epoch has the route.

use std::sync::Arc;

use super::conditions::{Conditions, Rank};
use super::regex::Pattern;
use super::{Mirror, Policy, Rule, WeightedBackend};
use crate::auth::Auth;
use crate::epoch::slots::{Lease, Leases};
use crate::filter::header;
use crate::ir::{self, Filter, PathMatch, Target};

/// A route in its compiled form.
#[derive(Debug)]
pub(crate) struct CompiledRoute {
    source: Arc<ir::Route>,
    rules: Box<[Arc<Rule>]>,
    matches: Box<[CompiledMatch]>,
    _leases: Box<[Arc<Lease>]>,
}

#[derive(Debug)]
struct CompiledMatch {
    rule: u32,
    /// As in the source, which is some steps away.
    path: PathMatch,
    rank: Rank,
    conditions: Option<Arc<Conditions>>,
    pattern: Option<Arc<Pattern>>,
}

/// A match with its path and rule.
pub(super) struct MatchView<'r> {
    pub(super) path: &'r PathMatch,
    pub(super) rank: Rank,
    pub(super) pattern: Option<&'r Arc<Pattern>>,
    pub(super) conditions: Option<&'r Arc<Conditions>>,
    pub(super) rule: &'r Arc<Rule>,
}

/// The slots that compiling a route may need.
#[derive(Debug)]
pub(crate) struct RouteSlots {
    /// By backend key.
    pub(crate) backends: Leases<Arc<str>, Lease>,
    /// By rule.
    pub(crate) cursors: Leases<CursorKey, Lease>,
    /// By expression.
    pub(crate) patterns: Leases<Arc<str>, Pattern>,
}

/// What a cursor belongs to. Routes of different kinds may have the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CursorKey {
    pub(crate) family: Family,
    /// `namespace/name`.
    pub(crate) route: Arc<str>,
    /// Position of the rule in the route.
    pub(crate) rule: usize,
}

/// The kinds of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    Http,
    Grpc,
    Tls,
    Tcp,
    Udp,
}

impl RouteSlots {
    fn pattern(&mut self, text: &Arc<str>) -> Arc<Pattern> {
        self.patterns.lease(text, |slot| Pattern::new(slot, text))
    }
}

impl CompiledRoute {
    /// Compiles `source`.
    pub(crate) fn new(source: &Arc<ir::Route>, slots: &mut RouteSlots) -> Self {
        let mut leases = Vec::new();
        let mut rules = Vec::with_capacity(source.rules.len());
        let mut matches = Vec::with_capacity(source.rules.len());
        for (index, rule) in source.rules.iter().enumerate() {
            rules.push(Arc::new(compile_rule(source, index, slots, &mut leases)));
            for found in &rule.matches {
                matches.push(compile_match(found, index as u32, slots));
            }
        }
        Self {
            source: Arc::clone(source),
            rules: rules.into(),
            matches: matches.into(),
            _leases: leases.into(),
        }
    }

    /// Whether this is what compiling `route` would give.
    pub(crate) fn is_of(&self, route: &Arc<ir::Route>) -> bool {
        Arc::ptr_eq(&self.source, route) || self.source == *route
    }

    /// The route it was compiled from.
    pub(crate) fn source(&self) -> &ir::Route {
        &self.source
    }

    /// Its matches in order of rules, then matches.
    pub(super) fn matches(&self) -> impl Iterator<Item = MatchView<'_>> {
        self.matches.iter().map(|found| MatchView {
            path: &found.path,
            rank: found.rank,
            pattern: found.pattern.as_ref(),
            conditions: found.conditions.as_ref(),
            rule: &self.rules[found.rule as usize],
        })
    }
}

fn compile_match(from: &ir::Match, rule: u32, slots: &mut RouteSlots) -> CompiledMatch {
    let conditions = Conditions::new(from, |text| slots.pattern(text));
    CompiledMatch {
        rule,
        path: from.path.clone(),
        rank: conditions.rank(),
        conditions: (!conditions.is_empty()).then(|| Arc::new(conditions)),
        pattern: match &from.path {
            PathMatch::Regex(text) => Some(slots.pattern(text)),
            PathMatch::Exact(_) | PathMatch::Prefix(_) => None,
        },
    }
}

fn compile_rule(
    route: &ir::Route,
    index: usize,
    slots: &mut RouteSlots,
    leases: &mut Vec<Arc<Lease>>,
) -> Rule {
    let rule = &route.rules[index];
    let mut keep = |lease: Arc<Lease>| {
        let slot = lease.0;
        leases.push(lease);
        slot
    };
    let mut backends = Vec::with_capacity(rule.backends.len());
    for backend in rule.backends.iter().filter(|backend| backend.weight > 0) {
        let slot = match &backend.target {
            Target::Backend(key) => Some(keep(slots.backends.lease(key, Lease))),
            Target::Invalid(_) => None,
        };
        let filters = compiled(&backend.filters);
        let mirrors = mirrors_of(&filters, |key| keep(slots.backends.lease(key, Lease)));
        backends.push(WeightedBackend { slot, weight: backend.weight, filters, mirrors });
    }
    let cursor = match backends.len() {
        0 | 1 => 0,
        _ => {
            let family = if route.grpc { Family::Grpc } else { Family::Http };
            let key = CursorKey { family, route: Arc::clone(&route.name), rule: index };
            keep(slots.cursors.lease(&key, Lease))
        }
    };
    let mirrors = mirrors_of(&rule.filters, |key| keep(slots.backends.lease(key, Lease)));
    let auth = auth_of(&rule.filters, |key| keep(slots.backends.lease(key, Lease)));
    let policy = compile_policy(rule, mirrors, auth, &backends);
    let (name, filters) = (Arc::clone(&route.name), compiled(&rule.filters));
    Rule { route: name, index, grpc: route.grpc, filters, backends, cursor, policy }
}

/// `None` for the many rules that ask for nothing of it.
fn compile_policy(
    rule: &ir::Rule,
    mirrors: Vec<Mirror>,
    auth: Vec<Auth>,
    backends: &[WeightedBackend],
) -> Option<Box<Policy>> {
    let policy = Policy { timeouts: rule.timeouts, retry: rule.retry.clone(), mirrors, auth };
    let any = policy != Policy::default() || backends.iter().any(|one| !one.mirrors.is_empty());
    any.then(|| Box::new(policy))
}

/// `filters` as they are applied.
fn compiled(filters: &[Filter]) -> Vec<Filter> {
    let compile = |filter: &Filter| match filter {
        Filter::RequestHeaderModifier(modifier) => {
            Filter::RequestHeaderModifier(header::writable(modifier))
        }
        Filter::ResponseHeaderModifier(modifier) => {
            Filter::ResponseHeaderModifier(header::writable(modifier))
        }
        other => other.clone(),
    };
    filters.iter().map(compile).collect()
}

/// The authorization that `filters` ask for.
pub(crate) fn auth_of(filters: &[Filter], mut slot: impl FnMut(&Arc<str>) -> u32) -> Vec<Auth> {
    let mut all = Vec::new();
    for filter in filters {
        if let Filter::ExternalAuth(spec) = filter {
            all.push(Auth::new(spec, &mut slot));
        }
    }
    all
}

/// The mirrors among `filters` that can be followed and take any share.
fn mirrors_of(filters: &[Filter], mut slot: impl FnMut(&Arc<str>) -> u32) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    for filter in filters {
        if let Filter::RequestMirror(mirror) = filter
            && let Target::Backend(key) = &mirror.target
            && mirror.numerator > 0
        {
            let (numerator, denominator) = (mirror.numerator, mirror.denominator);
            mirrors.push(Mirror { slot: slot(key), numerator, denominator });
        }
    }
    mirrors
}
