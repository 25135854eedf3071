//! The endpoints that a shard knows: in-flight counts, passive health, and identity by address.
//!
//! Used by [`super::Local`] only. Endpoints that several backends share are one entry, so they share
//! health and load. Invariant: an entry is freed, and its place given to another address under a new
//! generation, only when no backend wants it and nothing is in flight to it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use super::{EndpointId, Outcome};

/// Consecutive failures after which an endpoint is ejected.
pub const FAILURES_MAX: u32 = 3;
/// First ejection; each failed probe doubles it.
pub const EJECTION_MIN: Duration = Duration::from_secs(1);
/// Longest ejection.
pub const EJECTION_MAX: Duration = Duration::from_secs(30);

/// All endpoints of a shard.
#[derive(Debug)]
pub(super) struct Endpoints {
    list: Vec<Endpoint>,
    /// Looked up when an epoch is installed, never per request.
    by_address: HashMap<SocketAddr, u32, FixedState>,
    free: Vec<u32>,
    ejected: usize,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) in_flight: u32,
    generation: u32,
    /// Backends that name it.
    wanted: u32,
    health: Health,
}

#[derive(Debug, Default)]
struct Health {
    /// Failures in a row.
    failures: u32,
    /// Ejections in a row.
    ejections: u32,
    ejected_until: Option<Instant>,
    /// An exchange began since it was ejected and has not ended.
    probed: bool,
}

impl Health {
    fn is_available(&self, now: Instant) -> bool {
        self.ejected_until.is_none_or(|until| until <= now && !self.probed)
    }

    fn failed(&mut self, now: Instant) {
        match self.ejected_until {
            // Exchanges from before the ejection tell nothing new.
            Some(until) if now < until => self.probed = false,
            Some(_) => self.eject(now),
            None => {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    self.eject(now);
                }
            }
        }
    }

    fn eject(&mut self, now: Instant) {
        let time = EJECTION_MIN * (1 << self.ejections.min(8));
        self.ejections += 1;
        self.ejected_until = Some(now + time.min(EJECTION_MAX));
        self.probed = false;
    }
}

impl Endpoints {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            list: Vec::new(),
            by_address: HashMap::with_hasher(FixedState::with_seed(seed)),
            free: Vec::new(),
            ejected: 0,
        }
    }

    /// One more backend names `address`.
    pub(super) fn want(&mut self, address: SocketAddr) -> u32 {
        let index = match self.by_address.get(&address) {
            Some(&index) => index,
            None => self.insert(address),
        };
        self.list[index as usize].wanted += 1;
        index
    }

    fn insert(&mut self, address: SocketAddr) -> u32 {
        let index = self.free.pop().unwrap_or(self.list.len() as u32);
        let generation = self.list.get(index as usize).map_or(0, |free| free.generation);
        let health = Health::default();
        let new = Endpoint { address, in_flight: 0, generation, wanted: 0, health };
        match self.list.get_mut(index as usize) {
            Some(free) => *free = new,
            None => self.list.push(new),
        }
        self.by_address.insert(address, index);
        index
    }

    /// One backend less names it.
    pub(super) fn unwant(&mut self, index: u32) {
        self.list[index as usize].wanted -= 1;
        self.free_if_unused(index);
    }

    fn free_if_unused(&mut self, index: u32) {
        let endpoint = &mut self.list[index as usize];
        if endpoint.wanted == 0 && endpoint.in_flight == 0 {
            endpoint.generation = endpoint.generation.wrapping_add(1);
            self.ejected -= usize::from(endpoint.health.ejected_until.take().is_some());
            self.by_address.remove(&endpoint.address);
            self.free.push(index);
        }
    }

    /// The endpoint with this id, unless it is gone.
    pub(super) fn get(&self, id: EndpointId) -> Option<&Endpoint> {
        self.list.get(id.index()).filter(|endpoint| {
            endpoint.generation == id.generation() && endpoint.wanted + endpoint.in_flight > 0
        })
    }

    pub(super) fn find(&self, address: SocketAddr) -> Option<EndpointId> {
        self.by_address.get(&address).map(|&index| self.id(index))
    }

    pub(super) fn at(&self, index: u32) -> &Endpoint {
        &self.list[index as usize]
    }

    pub(super) fn id(&self, index: u32) -> EndpointId {
        EndpointId::new(index, self.list[index as usize].generation)
    }

    pub(super) fn is_wanted(&self, id: EndpointId) -> bool {
        self.get(id).is_some_and(|endpoint| endpoint.wanted > 0)
    }

    /// Whether traffic may go there: not ejected, or due for a probe and none is out.
    #[inline]
    pub(super) fn is_available(&self, index: u32, now: Instant) -> bool {
        self.ejected == 0 || self.list[index as usize].health.is_available(now)
    }

    /// The one with fewer exchanges in flight; the first, if equal.
    #[inline]
    pub(super) fn less_loaded(&self, first: u32, second: u32) -> u32 {
        if self.at(second).in_flight < self.at(first).in_flight { second } else { first }
    }

    pub(super) fn begin(&mut self, id: EndpointId) {
        if self.get(id).is_some() {
            let endpoint = &mut self.list[id.index()];
            endpoint.in_flight += 1;
            endpoint.health.probed = endpoint.health.ejected_until.is_some();
        }
    }

    pub(super) fn answered(&mut self, id: EndpointId) {
        if self.get(id).is_some() {
            let health = std::mem::take(&mut self.list[id.index()].health);
            self.ejected -= usize::from(health.ejected_until.is_some());
        }
    }

    pub(super) fn end(&mut self, id: EndpointId, outcome: Outcome, now: Instant) {
        if self.get(id).is_none_or(|endpoint| endpoint.in_flight == 0) {
            return;
        }
        match outcome {
            Outcome::Answered => self.answered(id),
            Outcome::Failed => self.failed(id, now),
            Outcome::Unknown => self.list[id.index()].health.probed = false,
        }
        self.list[id.index()].in_flight -= 1;
        self.free_if_unused(id.index() as u32);
    }

    fn failed(&mut self, id: EndpointId, now: Instant) {
        let health = &mut self.list[id.index()].health;
        let before = health.ejected_until.is_some();
        health.failed(now);
        self.ejected += usize::from(health.ejected_until.is_some() && !before);
    }
}
