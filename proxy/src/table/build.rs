//! From a listener's attached routes to its [`Table`], reusing what the previous epoch compiled.
//!
//! Called by `epoch::compile` once per listener. One pass pairs the routes of both epochs in order;
//! only the hostnames of routes that have no equal counterpart are compiled again. Invariant: the
//! result finds what a compilation from scratch finds.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::hosts::Hosts;
use super::part::Part;
use super::route::{CompiledRoute, RouteSlots};
use super::{Attached, Inner, Table};
use crate::ir::{AttachedRoute, Hostname, Route};

/// Routes that were compiled for this epoch, by the address of the source, which the IR keeps.
#[derive(Debug, Default)]
pub(crate) struct Fresh(HashMap<usize, Arc<CompiledRoute>, FixedState>);

/// A hostname to compile again, with the positions of its routes; `None` is every host.
#[derive(Default)]
struct Affected<'a> {
    numbers: HashMap<Option<&'a Hostname>, usize, FixedState>,
    /// In the order of routes, so that what is compiled one after the other lies close in memory.
    hosts: Vec<(Option<&'a Hostname>, Members)>,
}

/// Positions of a host's routes.
type Members = SmallVec<[u32; 4]>;

impl<'a> Affected<'a> {
    fn insert(&mut self, name: Option<&'a Hostname>) {
        let next = self.hosts.len();
        if *self.numbers.entry(name).or_insert(next) == next {
            self.hosts.push((name, Members::new()));
        }
    }

    fn members(&self, name: Option<&Hostname>) -> Option<&[u32]> {
        self.numbers.get(&name).map(|&at| &*self.hosts[at].1)
    }

    fn members_mut(&mut self, name: Option<&Hostname>) -> Option<&mut Members> {
        self.numbers.get(&name).map(|&at| &mut self.hosts[at].1)
    }
}

impl Fresh {
    fn compile(&mut self, route: &Arc<Route>, slots: &mut RouteSlots) -> Arc<CompiledRoute> {
        let entry = self.0.entry(Arc::as_ptr(route).addr());
        Arc::clone(entry.or_insert_with(|| Arc::new(CompiledRoute::new(route, slots))))
    }
}

impl Table {
    /// Compiles `routes`, sharing with `previous` what is equal; all of it when nothing changed.
    pub(crate) fn compile(
        previous: Option<&Self>,
        routes: &[AttachedRoute],
        fresh: &mut Fresh,
        slots: &mut RouteSlots,
    ) -> Self {
        let empty = Self::default();
        let previous = previous.unwrap_or(&empty);
        let old = &*previous.inner;
        let mut affected = Affected::default();
        let compiled = pair(old, routes, &mut affected, fresh, slots);
        if affected.hosts.is_empty() {
            return Self { inner: Arc::clone(&previous.inner) };
        }
        collect(routes, &mut affected);
        let hosts = rebuild(&old.hosts, &affected, &compiled);
        Self { inner: Arc::new(Inner { hosts, attached: compiled.into() }) }
    }
}

/// The compiled routes in order. Both lists are in the API's order, so one pass pairs them; where
/// that order does not hold, routes are compiled again that need not be, and nothing else goes wrong.
fn pair<'a>(
    old: &'a Inner,
    routes: &'a [AttachedRoute],
    affected: &mut Affected<'a>,
    fresh: &mut Fresh,
    slots: &mut RouteSlots,
) -> Vec<Arc<Attached>> {
    let mut compiled = Vec::with_capacity(routes.len());
    let mut at = 0;
    for new in routes {
        while old.source(at).is_some_and(|source| precedes(source, &new.route)) {
            affect(affected, old.hostnames(at));
            at += 1;
        }
        let same_name = old.source(at).is_some_and(|source| source.name == new.route.name);
        if same_name
            && *old.hostnames(at) == *new.hostnames
            && old.attached[at].route.is_of(&new.route)
        {
            compiled.push(Arc::clone(&old.attached[at]));
        } else {
            if same_name {
                affect(affected, old.hostnames(at));
            }
            affect(affected, &new.hostnames);
            let route = fresh.compile(&new.route, slots);
            let hostnames = new.hostnames.as_slice().into();
            compiled.push(Arc::new(Attached { route, hostnames }));
        }
        at += usize::from(same_name);
    }
    for gone in at..old.attached.len() {
        affect(affected, old.hostnames(gone));
    }
    compiled
}

fn precedes(old: &Route, new: &Route) -> bool {
    old.name != new.name && (old.created, &old.name) < (new.created, &new.name)
}

fn affect<'a>(affected: &mut Affected<'a>, hostnames: &'a [Hostname]) {
    for name in names(hostnames) {
        affected.insert(name);
    }
}

/// No hostname means every host.
fn names(hostnames: &[Hostname]) -> impl Iterator<Item = Option<&Hostname>> {
    let any = hostnames.is_empty().then_some(None);
    hostnames.iter().map(Some).chain(any)
}

/// Fills in which routes each affected hostname has now.
fn collect<'a>(routes: &'a [AttachedRoute], affected: &mut Affected<'a>) {
    for (at, route) in routes.iter().enumerate() {
        for name in names(&route.hostnames) {
            if let Some(members) = affected.members_mut(name)
                && members.last() != Some(&(at as u32))
            {
                members.push(at as u32);
            }
        }
    }
}

fn rebuild(old: &Hosts<Part>, affected: &Affected<'_>, compiled: &[Arc<Attached>]) -> Hosts<Part> {
    let host = |members: &[u32]| Part::new(members.iter().map(|&at| &*compiled[at as usize].route));
    let known = |name: Option<&Hostname>| old.get(name).is_some();
    let mut hosts = affected.hosts.iter();
    let same_names = hosts.all(|(name, members)| known(*name) && !members.is_empty());
    if same_names {
        return old.with(affected.hosts.iter().map(|(name, members)| (*name, host(members))));
    }
    let mut entries = Vec::new();
    for (name, part) in old.iter().filter(|(name, _)| affected.members(*name).is_none()) {
        entries.push((name.cloned(), part.clone()));
    }
    for (name, members) in affected.hosts.iter().filter(|(_, members)| !members.is_empty()) {
        entries.push((name.cloned(), host(members)));
    }
    Hosts::new(entries)
}
