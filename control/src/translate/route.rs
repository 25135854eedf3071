//! The rules of an HTTPRoute or a GRPCRoute, apart from the Gateways it attaches to.

use std::sync::Arc;

use proxy::ir;

use super::attach::{Route, as_the_api_has_it};
use super::backend::{self, Barrier, LookedUp, Referrer, Target};
use super::status::Reason;
use super::{Fault, duration, filter, grpc, hostname, matching};
use crate::api::{
    BackendRef, Filter, FilterType, GrpcRoute, GrpcRule, HttpRoute, Match, PathMatchType,
    PathModifierType, Rule,
};

/// What a route's rules mean.
#[derive(Debug)]
pub(super) struct Body<R> {
    /// The rules.
    pub rules: Arc<R>,
    /// The backends they lead to.
    pub backends: Vec<Target>,
    /// The Services that were looked up, as they were.
    pub services: Vec<LookedUp>,
    /// Why the whole route is refused.
    pub refusal: Option<Fault>,
    /// Why some rules were left out.
    pub partial: Option<Fault>,
    /// What is wrong with its backends; the first one's reason stands in the condition.
    pub unresolved: Vec<Fault>,
}

impl<R> Body<R> {
    /// Of a route that leads nowhere yet.
    pub(super) fn new(rules: R) -> Self {
        Self {
            rules: Arc::new(rules),
            backends: Vec::new(),
            services: Vec::new(),
            refusal: None,
            partial: None,
            unresolved: Vec::new(),
        }
    }

    /// What a reference at `field` leads to, or why it must not be followed, which is noted.
    pub(super) fn follow(
        &mut self,
        referrer: Referrer<'_>,
        reference: &BackendRef,
        field: &str,
    ) -> Result<Target, Arc<str>> {
        backend::resolve(referrer, reference, field, &mut self.services).map_err(|barrier| {
            match barrier {
                Barrier::Policy(message) => message,
                Barrier::Unresolved(fault) => {
                    let message = fault.message.as_str().into();
                    self.unresolved.push(fault);
                    message
                }
            }
        })
    }

    /// Notes that the route leads to these.
    pub(super) fn lead_to(&mut self, targets: impl IntoIterator<Item = Target>) {
        for target in targets {
            if !self.backends.iter().any(|known| known.key == target.key) {
                self.backends.push(target);
            }
        }
    }
}

impl Route for HttpRoute {
    as_the_api_has_it!(ir::Route);

    fn translate(&self, referrer: Referrer<'_>) -> Body<ir::Route> {
        let empty = [Rule::default()];
        let rules = self.spec.rules.as_deref().unwrap_or(&empty);
        let refusal = bad_hostname(&self.spec.hostnames);
        let ir = ir::Route { created: self.metadata.created, ..ir::Route::default() };
        translate(referrer, (ir, refusal), rules, http_rule)
    }
}

impl Route for GrpcRoute {
    as_the_api_has_it!(ir::Route);

    fn translate(&self, referrer: Referrer<'_>) -> Body<ir::Route> {
        let empty = [GrpcRule::default()];
        let rules = self.spec.rules.as_deref().unwrap_or(&empty);
        let refusal = bad_hostname(&self.spec.hostnames);
        let ir = ir::Route { created: self.metadata.created, grpc: true, ..ir::Route::default() };
        translate(referrer, (ir, refusal), rules, grpc_rule)
    }
}

/// Puts a route together from its translated rules.
fn translate<R>(
    referrer: Referrer<'_>,
    (route, refusal): (ir::Route, Option<Fault>),
    rules: &[R],
    mut rule: impl FnMut(&R, &str, &mut Followed<'_>) -> Result<ir::Rule, Refusal>,
) -> Body<ir::Route> {
    let rules_of = Vec::with_capacity(rules.len());
    let mut ir = ir::Route { name: referrer.route.to_string().into(), rules: rules_of, ..route };
    let mut body = Body { refusal, ..Body::new(ir::Route::default()) };
    let mut dropped = Vec::new();
    for (index, spec) in rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        let mut followed = Followed { referrer, body: &mut body, backends: Vec::new() };
        let outcome = rule(spec, &field, &mut followed);
        let backends = followed.backends;
        match outcome {
            Ok(rule) => {
                ir.rules.push(rule);
                body.lead_to(backends);
            }
            Err(Refusal::Rule(fault)) => dropped.push(fault),
            Err(Refusal::Route(fault)) => body.refusal = body.refusal.or(Some(fault)),
        }
    }
    if let Some(first) = dropped.into_iter().next() {
        if ir.rules.is_empty() {
            body.refusal = body.refusal.or(Some(first));
        } else {
            let message = format!("Dropped Rule: {}", first.message);
            body.partial = Some(Fault { message, ..first });
        }
    }
    body.rules = Arc::new(ir);
    body
}

/// The first hostname that is none.
pub(super) fn bad_hostname(hostnames: &[Arc<str>]) -> Option<Fault> {
    let bad = |name: &Arc<str>| !hostname::is_claim(name);
    let index = hostnames.iter().position(bad)?;
    let field = format!("spec.hostnames[{index}]");
    let message = format!("{field} is not a DNS name, which may begin with \"*.\"");
    Some(Fault::new(Reason::UnsupportedValue, field, message))
}

/// How far a refusal reaches.
enum Refusal {
    /// Only this rule is left out.
    Rule(Fault),
    /// The whole route is not accepted.
    Route(Fault),
}

/// Where the references of one rule lead.
struct Followed<'f> {
    referrer: Referrer<'f>,
    body: &'f mut Body<ir::Route>,
    backends: Vec<Target>,
}

impl Followed<'_> {
    /// `speaks` is what the reference is for, where that is not the route's to say.
    fn follow(
        &mut self,
        reference: &BackendRef,
        field: &str,
        speaks: Option<ir::BackendProtocol>,
    ) -> ir::Target {
        let speaks = speaks.unwrap_or(self.referrer.speaks);
        let referrer = Referrer { speaks, ..self.referrer };
        match self.body.follow(referrer, reference, field) {
            Ok(target) => {
                let key = Arc::clone(&target.key);
                self.backends.push(target);
                ir::Target::Backend(key)
            }
            Err(message) => ir::Target::Invalid(message),
        }
    }
}

/// Every reference is followed before anything is refused: `ResolvedRefs` speaks of refused rules too.
fn http_rule(rule: &Rule, field: &str, followed: &mut Followed<'_>) -> Result<ir::Rule, Refusal> {
    let backends = backends(&rule.backend_refs, field, followed);
    let filters = filters(&rule.filters, &format!("{field}.filters"), followed);
    let persistence = unsupported(rule.session_persistence.as_ref(), field);
    if let Some(fault) = persistence.or_else(|| prefixless(rule, field)) {
        return Err(Refusal::Route(fault));
    }
    let (filters, backends) = (filters.map_err(Refusal::Route)?, backends.map_err(Refusal::Route)?);
    let timeouts = duration::timeouts(&rule.timeouts, &format!("{field}.timeouts"));
    let timeouts = timeouts.map_err(Refusal::Route)?;
    let retry = rule.retry.as_ref().map(|retry| duration::retry(retry, &format!("{field}.retry")));
    let retry = retry.transpose().map_err(Refusal::Route)?;
    let matches =
        matching::translate(&rule.matches, &format!("{field}.matches")).map_err(Refusal::Rule)?;
    Ok(ir::Rule { name: rule.name.clone(), matches, filters, backends, timeouts, retry })
}

fn grpc_rule(
    rule: &GrpcRule,
    field: &str,
    followed: &mut Followed<'_>,
) -> Result<ir::Rule, Refusal> {
    let backends = backends(&rule.backend_refs, field, followed);
    let filters = filters(&rule.filters, &format!("{field}.filters"), followed);
    let persistence = unsupported(rule.session_persistence.as_ref(), field);
    if let Some(fault) = persistence.or_else(|| foreign_filter(rule, field)) {
        return Err(Refusal::Route(fault));
    }
    let (filters, backends) = (filters.map_err(Refusal::Route)?, backends.map_err(Refusal::Route)?);
    let matches = grpc::matches(&rule.matches, &format!("{field}.matches"));
    let matches = matches.map_err(Refusal::Rule)?;
    Ok(ir::Rule { name: rule.name.clone(), matches, filters, backends, ..ir::Rule::default() })
}

/// A filter that only HTTPRoutes have.
fn foreign_filter(rule: &GrpcRule, field: &str) -> Option<Fault> {
    let own = rule.filters.iter().enumerate().map(|at| (format!("{field}.filters"), at));
    let backends = rule.backend_refs.iter().enumerate();
    let mut all = own.chain(backends.flat_map(|(index, backend)| {
        let field = format!("{field}.backendRefs[{index}].filters");
        backend.filters.iter().enumerate().map(move |at| (field.clone(), at))
    }));
    all.find_map(|(field, (index, filter))| match filter.kind {
        FilterType::RequestHeaderModifier
        | FilterType::ResponseHeaderModifier
        | FilterType::RequestMirror
        | FilterType::Unknown(_) => None,
        FilterType::RequestRedirect
        | FilterType::UrlRewrite
        | FilterType::Cors
        | FilterType::ExternalAuth => {
            let kind = filter.kind.as_str();
            let message = format!("{field}[{index}]: a GRPCRoute has no filter {kind}: remove it");
            Some(Fault::new(Reason::UnsupportedValue, format!("{field}[{index}].type"), message))
        }
    })
}

fn backends(
    references: &[BackendRef],
    field: &str,
    followed: &mut Followed<'_>,
) -> Result<Vec<ir::BackendRef>, Fault> {
    let each = references.iter().enumerate().map(|(index, reference)| {
        backend(reference, &format!("{field}.backendRefs[{index}]"), followed)
    });
    let all: Vec<_> = each.collect();
    all.into_iter().collect()
}

fn filters(
    specs: &[Filter],
    field: &str,
    followed: &mut Followed<'_>,
) -> Result<Vec<ir::Filter>, Fault> {
    filter::translate(specs, field, &mut |reference, field, speaks| {
        followed.follow(reference, field, speaks)
    })
}

fn backend(
    reference: &BackendRef,
    field: &str,
    followed: &mut Followed<'_>,
) -> Result<ir::BackendRef, Fault> {
    let target = followed.follow(reference, field, None);
    let filters = filters(&reference.filters, &format!("{field}.filters"), followed)?;
    let of_rules = |filter: &Filter| {
        use FilterType::{Cors, ExternalAuth, RequestRedirect};
        matches!(filter.kind, RequestRedirect | Cors | ExternalAuth)
    };
    if let Some(position) = reference.filters.iter().position(of_rules) {
        let kind = reference.filters[position].kind.as_str();
        let field = format!("{field}.filters[{position}].type");
        let message = format!("{field}: {kind} is not supported on a backend: move it to the rule");
        return Err(Fault::new(Reason::UnsupportedValue, field, message));
    }
    Ok(ir::BackendRef { target, weight: reference.weight, filters })
}

fn unsupported(persistence: Option<&serde_json::Value>, field: &str) -> Option<Fault> {
    persistence?;
    let field = format!("{field}.sessionPersistence");
    let message = format!("{field} is not supported yet: remove it");
    Some(Fault::new(Reason::UnsupportedValue, field, message))
}

/// "ReplacePrefixMatch is only compatible with a PathPrefix HTTPRouteMatch."
fn prefixless(rule: &Rule, field: &str) -> Option<Fault> {
    let prefix = |spec: &Match| spec.path.kind == PathMatchType::PathPrefix;
    if rule.matches.iter().all(prefix) {
        return None;
    }
    let own = rule.filters.iter().enumerate().map(|at| (format!("{field}.filters"), at));
    let backends = rule.backend_refs.iter().enumerate();
    let all = own.chain(backends.flat_map(|(index, backend)| {
        let field = format!("{field}.backendRefs[{index}].filters");
        backend.filters.iter().enumerate().map(move |at| (field.clone(), at))
    }));
    all.into_iter().find_map(|(field, (index, filter))| {
        let redirect = filter.request_redirect.as_ref().and_then(|spec| spec.path.as_ref());
        let rewrite = filter.url_rewrite.as_ref().and_then(|spec| spec.path.as_ref());
        let path = redirect.or(rewrite)?;
        (path.kind == PathModifierType::ReplacePrefixMatch).then(|| {
            let field = format!("{field}[{index}]");
            let message = format!(
                "{field} replaces a prefix, but the rule has a match without one: use PathPrefix in all matches"
            );
            Fault::new(Reason::UnsupportedValue, field, message)
        })
    })
}
