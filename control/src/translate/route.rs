//! The rules of an HTTPRoute, apart from the Gateways it attaches to.

use std::sync::Arc;

use proxy::ir;

use super::backend::{self, Target};
use super::status::Reason;
use super::{Fault, filter, matching};
use crate::api::{FilterType, HttpRoute, Name, Rule, Service};
use crate::store::Snapshot;

/// What a route's rules mean.
#[derive(Debug)]
pub(super) struct Body {
    /// The rules.
    pub route: Arc<ir::Route>,
    /// The backends they lead to.
    pub backends: Vec<Target>,
    /// The Services that were looked up, as they were.
    pub services: Vec<(Name, Option<Arc<Service>>)>,
    /// Why the whole route is refused.
    pub refusal: Option<Fault>,
    /// Why some rules were left out.
    pub partial: Option<Fault>,
    /// What is wrong with its backends; the first one's reason stands in the condition.
    pub unresolved: Vec<Fault>,
}

/// Translates the rules.
pub(super) fn translate(snapshot: &Snapshot, name: &Name, route: &HttpRoute) -> Body {
    let empty = [Rule::default()];
    let rules = route.spec.rules.as_deref().unwrap_or(&empty);
    let mut ir = ir::Route {
        name: name.to_string().into(),
        created: route.metadata.created,
        rules: Vec::with_capacity(rules.len()),
    };
    let mut body = Body {
        route: Arc::new(ir.clone()),
        backends: Vec::new(),
        services: Vec::new(),
        refusal: None,
        partial: None,
        unresolved: Vec::new(),
    };
    let mut dropped = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        match translate_rule(snapshot, name, rule, &field, &mut body) {
            Ok(rule) => ir.rules.push(rule),
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
    body.route = Arc::new(ir);
    body
}

/// How far a refusal reaches.
enum Refusal {
    /// Only this rule is left out.
    Rule(Fault),
    /// The whole route is not accepted.
    Route(Fault),
}

fn translate_rule(
    snapshot: &Snapshot,
    name: &Name,
    rule: &Rule,
    field: &str,
    body: &mut Body,
) -> Result<ir::Rule, Refusal> {
    unsupported(rule, field).map_or(Ok(()), |fault| Err(Refusal::Route(fault)))?;
    let filters =
        filter::translate(&rule.filters, &format!("{field}.filters")).map_err(Refusal::Route)?;
    let matches =
        matching::translate(&rule.matches, &format!("{field}.matches")).map_err(Refusal::Rule)?;
    let mut backends = Vec::with_capacity(rule.backend_refs.len());
    for (index, reference) in rule.backend_refs.iter().enumerate() {
        let field = format!("{field}.backendRefs[{index}]");
        if let Some(position) =
            reference.filters.iter().position(|filter| filter.kind == FilterType::RequestRedirect)
        {
            let field = format!("{field}.filters[{position}].type");
            let message = format!(
                "{field}: RequestRedirect is not supported on a backend: move it to the rule"
            );
            return Err(Refusal::Route(Fault::new(Reason::UnsupportedValue, field, message)));
        }
        let filters = filter::translate(&reference.filters, &format!("{field}.filters"))
            .map_err(Refusal::Route)?;
        let target = match backend::resolve(snapshot, name, reference, &field, &mut body.services) {
            Ok(target) => {
                let key = Arc::clone(&target.key);
                if !body.backends.iter().any(|known| known.key == key) {
                    body.backends.push(target);
                }
                ir::Target::Backend(key)
            }
            Err(fault) => {
                let message = fault.message.as_str().into();
                body.unresolved.push(fault);
                ir::Target::Invalid(message)
            }
        };
        backends.push(ir::BackendRef { target, weight: reference.weight, filters });
    }
    Ok(ir::Rule {
        name: rule.name.clone(),
        matches,
        filters,
        backends,
        timeouts: ir::Timeouts::default(),
        retry: None,
    })
}

fn unsupported(rule: &Rule, field: &str) -> Option<Fault> {
    let fields = [
        ("timeouts", rule.timeouts.is_some()),
        ("retry", rule.retry.is_some()),
        ("sessionPersistence", rule.session_persistence.is_some()),
    ];
    let (name, _) = fields.into_iter().find(|(_, set)| *set)?;
    let field = format!("{field}.{name}");
    let message = format!("{field} is not supported yet: remove it");
    Some(Fault::new(Reason::UnsupportedValue, field, message))
}
