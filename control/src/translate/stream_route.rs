//! The rule of a TCPRoute, TLSRoute or UDPRoute, apart from the Gateways it attaches to.

use std::sync::Arc;

use proxy::ir;

use super::Fault;
use super::attach::{Route, as_the_api_has_it};
use super::backend::Referrer;
use super::route::{Body, bad_hostname};
use super::status::Reason;
use crate::api::StreamRoute;

impl Route for StreamRoute {
    as_the_api_has_it!(ir::StreamRoute);

    fn translate(&self, referrer: Referrer<'_>) -> Body<ir::StreamRoute> {
        let mut body = Body::new(ir::StreamRoute::default());
        let rules = self.spec.rules.iter().enumerate();
        let references = rules.flat_map(|(rule, spec)| {
            let field = format!("spec.rules[{rule}].backendRefs");
            let references = spec.backend_refs.iter().enumerate();
            references.map(move |(index, reference)| (format!("{field}[{index}]"), reference))
        });
        let mut backends = Vec::new();
        for (field, reference) in references {
            let target = match body.follow(referrer, reference, &field) {
                Ok(target) => {
                    let key = Arc::clone(&target.key);
                    body.lead_to([target]);
                    ir::Target::Backend(key)
                }
                Err(message) => ir::Target::Invalid(message),
            };
            let weight = reference.weight;
            backends.push(ir::BackendRef { target, weight, filters: Vec::new() });
        }
        body.refusal = bad_hostname(&self.spec.hostnames).or_else(|| several(self, referrer));
        let (name, created) = (referrer.route.to_string().into(), self.metadata.created);
        body.rules = Arc::new(ir::StreamRoute { name, created, backends });
        body
    }
}

/// Versions before v1 allowed several rules without a word on which of them applies.
fn several(route: &StreamRoute, referrer: Referrer<'_>) -> Option<Fault> {
    (route.spec.rules.len() > 1).then(|| {
        let message = format!("spec.rules: a {} has one rule: keep one", referrer.kind.as_str());
        Fault::new(Reason::UnsupportedValue, "spec.rules[1]", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, Name, StreamRule};
    use crate::store::Snapshot;
    use crate::translate::backend_tls::Policies;

    /// A route of an older version may hold what files and version 1 refuse.
    #[test]
    fn a_route_with_several_rules_is_refused_and_one_without_backends_leads_nowhere() {
        let mut route = StreamRoute::default();
        let (snapshot, name) = (Snapshot::default(), Name::new("ns", "r"));
        let policies = Policies::default();
        let kind = Kind::TcpRoute;
        let referrer = Referrer::of_route(&snapshot, &policies, kind, &name);
        for (rules, refused) in [(0, false), (1, false), (2, true)] {
            route.spec.rules = vec![StreamRule::default(); rules].into();
            let body = route.translate(referrer);
            let field = body.refusal.map(|fault| (fault.reason, fault.field));
            let expected = (Reason::UnsupportedValue, "spec.rules[1]".to_owned());
            assert_eq!(field, refused.then_some(expected), "{rules}");
            assert_eq!(body.rules.backends, []);
        }
    }
}
