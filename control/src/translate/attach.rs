//! Which routes attach to which listeners, and what each `parentRef` is told.
//!
//! The only stage whose cost grows with the number of routes, so it remembers each route's answer
//! and uses it again while everything the answer was made from is the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proxy::ir::Hostname;

use super::backend::{Referrer, Target};
use super::backend_tls::{Policies, Use};
use super::gateway::Planned;
use super::parent::{Door, Found, Parent, Parents};
use super::route::{self, Body};
use super::status::{Condition, ConditionType, Problem, Reason, RouteParentStatus, RouteStatus};
use super::{CONTROLLER_NAME, Fault, backend_tls, hostname, same};
use crate::api::{HttpRoute, Kind, Name, Namespace, ParentReference, ReferenceGrant, Service};
use crate::store::Snapshot;

/// All routes, oldest first, then by `namespace/name`.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The routes.
    pub planned: Vec<(Name, Arc<PlannedRoute>)>,
}

/// One route with everything that is said about it.
#[derive(Debug)]
pub(super) struct PlannedRoute {
    object: Arc<HttpRoute>,
    /// Its rules.
    pub body: Arc<Body>,
    /// Where it is attached: the listener's number (all Gateways' listeners counted in order) and
    /// the hostnames they share.
    pub attached: Vec<(usize, Vec<Hostname>)>,
    /// Its status, if it names a Gateway of ours.
    pub status: Option<Arc<RouteStatus>>,
    /// What is refused.
    pub problems: Vec<Problem>,
}

/// Routes of the last translation with what they were made from.
#[derive(Debug, Default)]
pub(super) struct RouteCache {
    routes: HashMap<Name, Arc<PlannedRoute>>,
    services: Arc<BTreeMap<Name, Arc<Service>>>,
    grants: Arc<BTreeMap<Name, Arc<ReferenceGrant>>>,
    namespaces: Arc<BTreeMap<Name, Arc<Namespace>>>,
    policies: Policies,
    parents: Parents,
}

impl RouteCache {
    /// The parents of the last translation.
    pub(super) fn parents(&self) -> &Parents {
        &self.parents
    }

    /// The BackendTLSPolicies of the last translation.
    pub(super) fn policies(&self) -> &Policies {
        &self.policies
    }
}

impl Routes {
    /// Every Service port that an attached route leads to; may repeat.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        let attached = self.planned.iter().filter(|(_, route)| !route.attached.is_empty());
        attached.flat_map(|(_, route)| &route.body.backends)
    }

    /// The same from every listener, with what leads nowhere; may repeat.
    pub(super) fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        self.planned.iter().flat_map(|(_, route)| {
            let listeners = route.attached.iter().map(|(listener, _)| *listener);
            listeners.flat_map(|listener| {
                let named = route.body.services.iter();
                named.map(move |known| Use { service: &known.name, port: known.port, listener })
            })
        })
    }
}

/// Plans every route.
pub(super) fn plan(snapshot: &Snapshot, gateways: &[Planned], cache: &mut RouteCache) -> Routes {
    let parents = Parents::new(snapshot, gateways);
    let services = same(&cache.services, &snapshot.services);
    let policies = backend_tls::plan(snapshot);
    let grants = same(&cache.grants, &snapshot.reference_grants);
    let agree = |body: &Body| {
        body.services.iter().all(|known| policies.agree(&cache.policies, &known.name))
    };
    let outside = parents == cache.parents && same(&cache.namespaces, &snapshot.namespaces);
    let mut planned = Vec::with_capacity(snapshot.http_routes.len());
    for (name, object) in snapshot.http_routes.iter() {
        let known = cache.routes.get(name).filter(|known| same(&known.object, object));
        let body = known
            .map(|known| &known.body)
            .filter(|body| grants && (services || services_unchanged(snapshot, body)))
            .filter(|body| agree(body));
        let route = match (known, body) {
            (Some(known), Some(_)) if outside => Arc::clone(known),
            (_, body) => {
                let fresh = || {
                    let kind = Kind::HttpRoute;
                    let referrer = Referrer { snapshot, policies: &policies, kind, route: name };
                    Arc::new(route::http(referrer, object))
                };
                let body = body.map_or_else(fresh, Arc::clone);
                Arc::new(attach(snapshot, name, object, body, &parents))
            }
        };
        planned.push((name.clone(), route));
    }
    cache.routes = planned.iter().map(|(name, route)| (name.clone(), Arc::clone(route))).collect();
    cache.services = Arc::clone(&snapshot.services);
    cache.grants = Arc::clone(&snapshot.reference_grants);
    cache.policies = policies;
    cache.namespaces = Arc::clone(&snapshot.namespaces);
    cache.parents = parents;
    planned.sort_by(|(_, left), (_, right)| {
        let (left, right) = (&left.body.route, &right.body.route);
        (left.created, &left.name).cmp(&(right.created, &right.name))
    });
    Routes { planned }
}

fn services_unchanged(snapshot: &Snapshot, body: &Body) -> bool {
    body.services.iter().all(|known| match (&known.service, snapshot.services.get(&known.name)) {
        (None, None) => true,
        (Some(before), Some(now)) => same(before, now),
        _ => false,
    })
}

fn attach(
    snapshot: &Snapshot,
    name: &Name,
    object: &Arc<HttpRoute>,
    body: Arc<Body>,
    parents: &Parents,
) -> PlannedRoute {
    let hostnames: Vec<_> =
        object.spec.hostnames.iter().filter_map(|text| hostname::parse(text)).collect();
    let visitor = Visitor { snapshot, namespace: &name.namespace, hostnames: &hostnames };
    let mut attached: BTreeMap<usize, Vec<Hostname>> = BTreeMap::new();
    let mut statuses = Vec::new();
    let mut faults: Vec<Fault> = Vec::new();
    for (index, reference) in object.spec.parent_refs.iter().enumerate() {
        let field = format!("spec.parentRefs[{index}]");
        let parent = match parents.find(reference, &name.namespace) {
            Found::Ours(parent) => parent,
            Found::Foreign => continue,
            Found::Missing(kind, parent) => {
                let kind = kind.as_str();
                let message =
                    format!("{kind} {parent} does not exist: create it or correct {field}");
                let field = format!("{field}.name");
                faults.push(Fault::new(Reason::NoMatchingParent, field, message));
                continue;
            }
        };
        let outcome = visitor.knock(parent, reference, &field);
        let refusal = match outcome {
            Ok(doors) if body.refusal.is_none() => {
                attached.extend(doors);
                None
            }
            Ok(_) => body.refusal.clone(),
            Err(fault) => {
                faults.push(fault.clone());
                Some(fault)
            }
        };
        statuses.push(parent_status(object, reference, refusal.as_ref(), &body));
    }
    faults.extend(body.refusal.iter().chain(&body.partial).chain(&body.unresolved).cloned());
    let problems = faults.iter().map(|fault| Problem::of(Kind::HttpRoute, name, fault)).collect();
    let status = (!statuses.is_empty()).then(|| {
        statuses.shrink_to_fit();
        Arc::new(RouteStatus { parents: statuses })
    });
    let attached = attached.into_iter().collect();
    PlannedRoute { object: Arc::clone(object), body, attached, status, problems }
}

/// A route at the doors of its parents.
struct Visitor<'v> {
    snapshot: &'v Snapshot,
    namespace: &'v Arc<str>,
    hostnames: &'v [Hostname],
}

impl Visitor<'_> {
    /// The listeners that let the route in, with the hostnames they share.
    fn knock(
        &self,
        parent: &Parent,
        reference: &ParentReference,
        field: &str,
    ) -> Result<Vec<(usize, Vec<Hostname>)>, Fault> {
        let doors = parent.named(reference, field)?;
        let may_enter = |door: &Door| {
            door.takes_http_routes && door.scope.admits(self.snapshot, self.namespace)
        };
        let open: Vec<_> = doors.into_iter().filter(|(_, door)| may_enter(door)).collect();
        if open.is_empty() {
            let message = format!(
                "no listener of {parent} that {field} names allows HTTPRoutes from namespace {}: change allowedRoutes of the listener",
                self.namespace
            );
            return Err(Fault::new(
                Reason::NotAllowedByListeners,
                format!("{field}.name"),
                message,
            ));
        }
        let shared: Vec<_> = open
            .iter()
            .filter_map(|(number, door)| {
                let shared = hostname::intersect(door.hostname.as_ref(), self.hostnames)?;
                Some((*number, shared))
            })
            .collect();
        if shared.is_empty() {
            let claimed: Vec<_> = open
                .iter()
                .filter_map(|(_, door)| door.hostname.as_ref())
                .map(ToString::to_string)
                .collect();
            let message = format!(
                "no hostname of the route is among those of the listeners of {parent}: {}",
                claimed.join(", ")
            );
            return Err(Fault::new(Reason::NoMatchingListenerHostname, "spec.hostnames", message));
        }
        Ok(shared)
    }
}

fn parent_status(
    object: &HttpRoute,
    reference: &ParentReference,
    refusal: Option<&Fault>,
    body: &Body,
) -> RouteParentStatus {
    let generation = object.metadata.generation;
    let accepted = Condition::unless(
        refusal,
        ConditionType::Accepted,
        Reason::Accepted,
        "The route is accepted",
        generation,
    );
    let resolved = match body.unresolved.as_slice() {
        [] => Condition::holds(
            ConditionType::ResolvedRefs,
            Reason::ResolvedRefs,
            "All references are resolved",
            generation,
        ),
        [first, ..] => {
            let messages: Vec<_> = body
                .unresolved
                .iter()
                .take(MESSAGES_MAX)
                .map(|fault| fault.message.as_str())
                .collect();
            let (kind, reason) = (ConditionType::ResolvedRefs, first.reason);
            Condition::fails(kind, reason, messages.join("; "), generation)
        }
    };
    let partial = body.partial.as_ref().filter(|_| refusal.is_none()).map(|fault| {
        let kind = ConditionType::PartiallyInvalid;
        Condition::holds(kind, fault.reason, fault.message.clone(), generation)
    });
    RouteParentStatus {
        parent_ref: reference.clone(),
        controller_name: CONTROLLER_NAME,
        conditions: [accepted, resolved].into_iter().chain(partial).collect(),
    }
}

/// Faults told in one condition; the API bounds a message at 32 KiB.
const MESSAGES_MAX: usize = 8;
