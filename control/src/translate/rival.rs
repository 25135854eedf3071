//! HTTPRoutes and GRPCRoutes that claim the same hosts of a listener.
//!
//! "If a Route (A) of type HTTPRoute or GRPCRoute is attached to a Listener and that listener already
//! has another Route (B) of the other type attached and the intersection of the hostnames of A and B is
//! non-empty", one of them goes: the older stays, then the first by namespace/name. Their requests are
//! told apart by nothing else, so a table of both would surprise either. Called by `attach` once all
//! routes are planned; what it says is never remembered with a route.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use proxy::ir::Hostname;

use super::Fault;
use super::attach::{Lost, PlannedRoute, Planner, Route, Routes};
use super::status::Reason;
use crate::api::Kind;

/// Takes from each route the listeners where an older one of the other kind has its hosts.
pub(super) fn settle(planner: &Planner<'_>, routes: &mut Routes) {
    if routes.grpc.is_empty() || routes.http.is_empty() {
        return;
    }
    let (mut grpc, mut http) = (Claims::default(), Claims::default());
    let mut losers: [BTreeMap<usize, Lost>; 2] = Default::default();
    let (mut left, mut right) = (0, 0);
    while left < routes.grpc.len() || right < routes.http.len() {
        let grpc_next = match (routes.grpc.get(left), routes.http.get(right)) {
            (Some(grpc), Some(http)) => grpc.precedence() <= http.precedence(),
            (one, _) => one.is_some(),
        };
        if grpc_next {
            note(&routes.grpc[left], left, &mut grpc, &http, Kind::HttpRoute, &mut losers[0]);
            left += 1;
        } else {
            note(&routes.http[right], right, &mut http, &grpc, Kind::GrpcRoute, &mut losers[1]);
            right += 1;
        }
    }
    let [grpc, http] = losers;
    for (at, lost) in grpc {
        routes.grpc[at] = Arc::new(planner.without(Kind::GrpcRoute, &routes.grpc[at], &lost));
    }
    for (at, lost) in http {
        routes.http[at] = Arc::new(planner.without(Kind::HttpRoute, &routes.http[at], &lost));
    }
}

/// Claims the hosts of a route, or notes where it comes too late.
fn note<O: Route>(
    route: &PlannedRoute<O>,
    at: usize,
    own: &mut Claims,
    rivals: &Claims,
    kind: Kind,
    losers: &mut BTreeMap<usize, Lost>,
) {
    for (listener, hostnames) in &route.attached {
        if rivals.of(*listener).is_some_and(|claimed| claimed.meets(hostnames)) {
            let message = format!(
                "an older {} has the same hostnames on the listener: give them hostnames of their own",
                kind.as_str()
            );
            let fault = Fault::new(Reason::HostnameConflict, "spec.hostnames", message);
            losers.entry(at).or_default().insert(*listener, fault);
        } else {
            own.listeners.entry(*listener).or_default().add(hostnames);
        }
    }
}

/// The hosts that routes of one kind claim, by listener.
#[derive(Debug, Default)]
struct Claims {
    listeners: HashMap<usize, Claimed>,
}

impl Claims {
    fn of(&self, listener: usize) -> Option<&Claimed> {
        self.listeners.get(&listener)
    }
}

/// The hosts that are claimed of one listener.
#[derive(Debug, Default)]
struct Claimed {
    all: bool,
    exact: HashSet<Arc<str>>,
    /// As [`Hostname::Wildcard`] has them.
    wildcards: HashSet<Arc<str>>,
}

impl Claimed {
    fn add(&mut self, hostnames: &[Hostname]) {
        self.all |= hostnames.is_empty();
        for hostname in hostnames {
            match hostname {
                Hostname::Exact(name) => self.exact.insert(Arc::clone(name)),
                Hostname::Wildcard(suffix) => self.wildcards.insert(Arc::clone(suffix)),
            };
        }
    }

    /// Whether some host is among both.
    fn meets(&self, hostnames: &[Hostname]) -> bool {
        let any = self.all || !self.exact.is_empty() || !self.wildcards.is_empty();
        any && (self.all || hostnames.is_empty() || hostnames.iter().any(|one| self.meets_one(one)))
    }

    fn meets_one(&self, hostname: &Hostname) -> bool {
        let below = |name: &str| parents(name).any(|parent| self.wildcards.contains(parent));
        match hostname {
            Hostname::Exact(name) => self.exact.contains(name) || below(name),
            Hostname::Wildcard(suffix) => {
                let covered = |name: &Arc<str>| hostname.covers(name);
                self.wildcards.contains(suffix)
                    || below(suffix)
                    || self.exact.iter().chain(&self.wildcards).any(covered)
            }
        }
    }
}

/// The domains that a name is below of.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(dot, _)| &name[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostnames(names: &[&str]) -> Vec<Hostname> {
        let parse = |name: &&str| match name.strip_prefix("*.") {
            Some(suffix) => Hostname::Wildcard(suffix.into()),
            None => Hostname::Exact((*name).into()),
        };
        names.iter().map(parse).collect()
    }

    #[test]
    fn hostnames_meet_where_some_host_is_among_both() {
        for (left, right, meet) in [
            (&["a.b"][..], &["a.b"][..], true),
            (&["a.b"], &["c.b"], false),
            (&["a.b"], &["*.b"], true),
            (&["x.a.b"], &["*.b"], true),
            (&["b"], &["*.b"], false),
            (&["*.a.b"], &["*.b"], true),
            (&["*.a.b"], &["*.c.b"], false),
            (&[], &["a.b"], true),
            (&["a.b", "c.d"], &["c.d"], true),
        ] {
            for (one, other) in [(left, right), (right, left)] {
                let mut claimed = Claimed::default();
                claimed.add(&hostnames(one));
                assert_eq!(claimed.meets(&hostnames(other)), meet, "{one:?} {other:?}");
            }
        }
    }
}
