//! Which routes attach to which listeners, and what each `parentRef` is told.
//!
//! The same for every kind of route; what its rules mean is up to the kind ([`Route`]). The only stage
//! whose cost grows with the number of routes, so it remembers each route's answer and uses it again
//! while everything the answer was made from is the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proxy::ir::Hostname;

use super::backend::{LookedUp, Referrer, Target};
use super::backend_tls::{Policies, Use};
use super::gateway::Planned;
use super::parent::{Door, Found, Parent, Parents};
use super::route::Body;
use super::status::{Condition, ConditionType, Problem, Reason, RouteParentStatus, RouteStatus};
use super::{CONTROLLER_NAME, Fault, hostname, rival, same};
use crate::api::{
    GrpcRoute, HttpRoute, Kind, Meta, Name, Namespace, ParentReference, ReferenceGrant, Service,
    StreamRoute,
};
use crate::store::Snapshot;

/// An object that attaches to listeners.
pub(super) trait Route: Sized {
    /// What its rules become.
    type Rules;

    /// Its metadata.
    fn metadata(&self) -> &Meta;
    /// What it attaches to.
    fn parent_refs(&self) -> &[ParentReference];
    /// The hostnames that it claims.
    fn hostnames(&self) -> &[Arc<str>];
    /// `namespace/name`, by which routes of one age are ordered.
    fn full_name(rules: &Self::Rules) -> &str;
    /// Its rules, apart from what it attaches to.
    fn translate(&self, referrer: Referrer<'_>) -> Body<Self::Rules>;
}

/// What of [`Route`] is the same for all objects of the API, given what their rules become.
macro_rules! as_the_api_has_it {
    ($rules:ty) => {
        type Rules = $rules;

        fn metadata(&self) -> &crate::api::Meta {
            &self.metadata
        }

        fn parent_refs(&self) -> &[crate::api::ParentReference] {
            &self.spec.parent_refs
        }

        fn hostnames(&self) -> &[std::sync::Arc<str>] {
            &self.spec.hostnames
        }

        fn full_name(rules: &$rules) -> &str {
            &rules.name
        }
    };
}
pub(super) use as_the_api_has_it;

/// All routes, each kind oldest first, then by `namespace/name`.
#[derive(Debug)]
pub(super) struct Routes {
    /// GRPCRoutes.
    pub grpc: Vec<Arc<PlannedRoute<GrpcRoute>>>,
    /// HTTPRoutes.
    pub http: Vec<Arc<PlannedRoute<HttpRoute>>>,
    /// TCPRoutes.
    pub tcp: Vec<Arc<PlannedRoute<StreamRoute>>>,
    /// TLSRoutes.
    pub tls: Vec<Arc<PlannedRoute<StreamRoute>>>,
    /// UDPRoutes.
    pub udp: Vec<Arc<PlannedRoute<StreamRoute>>>,
}

/// One route with everything that is said about it.
#[derive(Debug)]
pub(super) struct PlannedRoute<O: Route> {
    object: Arc<O>,
    /// Its name.
    pub name: Name,
    /// Its rules.
    pub body: Arc<Body<O::Rules>>,
    /// Where it is attached: the listener's number (all Gateways' listeners counted in order) and
    /// the hostnames they share.
    pub attached: Vec<(usize, Vec<Hostname>)>,
    /// Its status, if it names a Gateway of ours.
    pub status: Option<Arc<RouteStatus>>,
    /// What is refused.
    pub problems: Vec<Problem>,
}

/// The last translation, with what it was made from.
#[derive(Debug, Default)]
pub(super) struct RouteCache {
    grpc: HashMap<Name, Arc<PlannedRoute<GrpcRoute>>>,
    http: HashMap<Name, Arc<PlannedRoute<HttpRoute>>>,
    tcp: HashMap<Name, Arc<PlannedRoute<StreamRoute>>>,
    tls: HashMap<Name, Arc<PlannedRoute<StreamRoute>>>,
    udp: HashMap<Name, Arc<PlannedRoute<StreamRoute>>>,
    services: Arc<BTreeMap<Name, Arc<Service>>>,
    grants: Arc<BTreeMap<Name, Arc<ReferenceGrant>>>,
    namespaces: Arc<BTreeMap<Name, Arc<Namespace>>>,
    policies: Policies,
    parents: Parents,
}

impl RouteCache {
    /// The BackendTLSPolicies of the last translation.
    pub(super) fn policies(&self) -> &Policies {
        &self.policies
    }
}

impl Routes {
    /// Every Service port that an attached route leads to; may repeat.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        let streams = [&self.tcp, &self.tls, &self.udp].into_iter().flatten();
        let streams = streams.flat_map(|route| route.targets());
        let http = self.http.iter().flat_map(|route| route.targets());
        self.grpc.iter().flat_map(|route| route.targets()).chain(http).chain(streams)
    }

    /// The same from every listener, with what leads nowhere; may repeat. UDP knows no TLS.
    pub(super) fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        let streams = [&self.tcp, &self.tls].into_iter().flatten();
        let streams = streams.flat_map(|route| route.uses());
        let http = self.http.iter().flat_map(|route| route.uses());
        self.grpc.iter().flat_map(|route| route.uses()).chain(http).chain(streams)
    }

    /// Everything in them that is refused.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let streams = [&self.tcp, &self.tls, &self.udp].into_iter().flatten();
        let grpc = self.grpc.iter().flat_map(|route| &route.problems);
        let http = self.http.iter().flat_map(|route| &route.problems);
        grpc.chain(http).chain(streams.flat_map(|route| &route.problems))
    }
}

impl<O: Route> PlannedRoute<O> {
    /// Who comes first goes first.
    pub(super) fn precedence(&self) -> (i64, &str) {
        (self.object.metadata().created, O::full_name(&self.body.rules))
    }

    fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        self.attached.iter().flat_map(|&(listener, _)| {
            let named = self.body.services.iter();
            named.map(move |known| Use { service: &known.name, port: known.port, listener })
        })
    }

    fn targets(&self) -> &[Target] {
        if self.attached.is_empty() { &[] } else { &self.body.backends }
    }
}

/// Plans every route.
pub(super) fn plan(
    snapshot: &Snapshot,
    gateways: &[Planned],
    policies: Policies,
    cache: &mut RouteCache,
) -> Routes {
    let parents = Parents::new(snapshot, gateways);
    let planner = Planner {
        snapshot,
        parents: &parents,
        policies: (&cache.policies, &policies),
        services: same(&cache.services, &snapshot.services),
        grants: same(&cache.grants, &snapshot.reference_grants),
        outside: parents == cache.parents && same(&cache.namespaces, &snapshot.namespaces),
    };
    let mut routes = Routes {
        grpc: planner.plan(Kind::GrpcRoute, &snapshot.grpc_routes, &mut cache.grpc),
        http: planner.plan(Kind::HttpRoute, &snapshot.http_routes, &mut cache.http),
        tcp: planner.plan(Kind::TcpRoute, &snapshot.tcp_routes, &mut cache.tcp),
        tls: planner.plan(Kind::TlsRoute, &snapshot.tls_routes, &mut cache.tls),
        udp: planner.plan(Kind::UdpRoute, &snapshot.udp_routes, &mut cache.udp),
    };
    rival::settle(&planner, &mut routes);
    cache.services = Arc::clone(&snapshot.services);
    cache.grants = Arc::clone(&snapshot.reference_grants);
    cache.policies = policies;
    cache.namespaces = Arc::clone(&snapshot.namespaces);
    cache.parents = parents;
    routes
}

/// What all routes are planned against, and which of it is as it was.
pub(super) struct Planner<'p> {
    snapshot: &'p Snapshot,
    parents: &'p Parents,
    /// The last and the present ones.
    policies: (&'p Policies, &'p Policies),
    services: bool,
    grants: bool,
    outside: bool,
}

impl Planner<'_> {
    /// Plans the routes of one kind.
    fn plan<O: Route>(
        &self,
        kind: Kind,
        objects: &BTreeMap<Name, Arc<O>>,
        cache: &mut HashMap<Name, Arc<PlannedRoute<O>>>,
    ) -> Vec<Arc<PlannedRoute<O>>> {
        let mut planned = Vec::with_capacity(objects.len());
        for (name, object) in objects {
            let known = cache.get(name).filter(|known| same(&known.object, object));
            planned.push(self.plan_one(
                Referrer::of_route(self.snapshot, self.policies.1, kind, name),
                object,
                known,
            ));
        }
        *cache = planned.iter().map(|route| (route.name.clone(), Arc::clone(route))).collect();
        planned.sort_by(|left, right| left.precedence().cmp(&right.precedence()));
        planned
    }

    /// The route without the listeners that it lost.
    pub(super) fn without<O: Route>(
        &self,
        kind: Kind,
        route: &PlannedRoute<O>,
        lost: &Lost,
    ) -> PlannedRoute<O> {
        let Self { snapshot, parents, policies: (_, policies), .. } = *self;
        let referrer = Referrer::of_route(snapshot, policies, kind, &route.name);
        attach(referrer, &route.object, Arc::clone(&route.body), parents, lost)
    }

    fn plan_one<O: Route>(
        &self,
        referrer: Referrer<'_>,
        object: &Arc<O>,
        known: Option<&Arc<PlannedRoute<O>>>,
    ) -> Arc<PlannedRoute<O>> {
        let body = known.map(|known| &known.body).filter(|body| {
            let (before, now) = self.policies;
            let agree = |known: &LookedUp| now.agree(before, &known.name);
            self.grants
                && (self.services || services_unchanged(self.snapshot, body))
                && body.services.iter().all(agree)
        });
        match (known, body) {
            (Some(known), Some(_)) if self.outside => Arc::clone(known),
            (_, body) => {
                let body = body.map_or_else(|| Arc::new(object.translate(referrer)), Arc::clone);
                Arc::new(attach(referrer, object, body, self.parents, &Lost::new()))
            }
        }
    }
}

/// Listeners that a route may not have, by number, and why.
pub(super) type Lost = BTreeMap<usize, Fault>;

fn services_unchanged<R>(snapshot: &Snapshot, body: &Body<R>) -> bool {
    body.services.iter().all(|known| match (&known.service, snapshot.services.get(&known.name)) {
        (None, None) => true,
        (Some(before), Some(now)) => same(before, now),
        _ => false,
    })
}

fn attach<O: Route>(
    referrer: Referrer<'_>,
    object: &Arc<O>,
    body: Arc<Body<O::Rules>>,
    parents: &Parents,
    lost: &Lost,
) -> PlannedRoute<O> {
    let name = referrer.route;
    let hostnames: Vec<_> =
        object.hostnames().iter().filter_map(|text| hostname::parse(text)).collect();
    let visitor = Visitor { route: referrer, hostnames: &hostnames };
    let mut attached: BTreeMap<usize, Vec<Hostname>> = BTreeMap::new();
    let mut statuses = Vec::new();
    let mut faults: Vec<Fault> = Vec::new();
    for (index, reference) in object.parent_refs().iter().enumerate() {
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
            Ok(mut doors) if body.refusal.is_none() => {
                let fault = doors.iter().find_map(|(number, _)| lost.get(number)).cloned();
                faults.extend(fault.clone());
                doors.retain(|(number, _)| !lost.contains_key(number));
                let refusal = fault.filter(|_| doors.is_empty());
                attached.extend(doors);
                refusal
            }
            Ok(_) => body.refusal.clone(),
            Err(fault) => {
                faults.push(fault.clone());
                Some(fault)
            }
        };
        statuses.push(parent_status(
            object.metadata().generation,
            reference,
            refusal.as_ref(),
            &body,
        ));
    }
    faults.extend(body.refusal.iter().chain(&body.partial).chain(&body.unresolved).cloned());
    let problems = faults.iter().map(|fault| Problem::of(referrer.kind, name, fault)).collect();
    let status = (!statuses.is_empty()).then(|| {
        statuses.shrink_to_fit();
        Arc::new(RouteStatus { parents: statuses })
    });
    let attached = attached.into_iter().collect();
    let object = Arc::clone(object);
    PlannedRoute { object, name: name.clone(), body, attached, status, problems }
}

/// A route at the doors of its parents.
struct Visitor<'v> {
    route: Referrer<'v>,
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
        let Referrer { snapshot, kind, route: name, .. } = self.route;
        let may_enter = |door: &Door| {
            door.kinds.contains(&kind) && door.scope.admits(snapshot, &name.namespace)
        };
        let takes_kind = doors.iter().any(|(_, door)| door.kinds.contains(&kind));
        let open: Vec<_> = doors.into_iter().filter(|(_, door)| may_enter(door)).collect();
        if open.is_empty() {
            let kind = kind.as_str();
            let message = if takes_kind {
                format!(
                    "no listener of {parent} that {field} names allows {kind}s from namespace {}: change allowedRoutes of the listener",
                    name.namespace
                )
            } else {
                format!(
                    "no listener of {parent} that {field} names takes {kind}s: see its protocol and allowedRoutes.kinds"
                )
            };
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

fn parent_status<R>(
    generation: i64,
    reference: &ParentReference,
    refusal: Option<&Fault>,
    body: &Body<R>,
) -> RouteParentStatus {
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
