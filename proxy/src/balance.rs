//! Which backend, which endpoint: the only routing state that changes with traffic.
//!
//! One [`Local`] per shard, passed in by `&mut`; never shared. Weighted rule → backend by smooth
//! weighted round-robin (phase-shifted per shard), backend → endpoint by power of two choices on
//! exchanges in flight, with passive health per endpoint address. Invariant: every [`Local::begin`]
//! is paired with one [`Local::end`], so in-flight counts return to zero.

use std::net::SocketAddr;
use std::time::Instant;

use crate::epoch::Epoch;
use crate::table::Rule;

/// All routing state of one shard.
#[derive(Debug)]
pub struct Local {
    /// Caches of regular expressions, apart so that a lookup can borrow them alone.
    pub caches: RegexCaches,
}

/// Caches of compiled regular expressions, one per expression and shard.
#[derive(Debug, Default)]
pub struct RegexCaches {}

/// An endpoint known to this shard: stable by address, over all epochs, until unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(pub u32);

/// How an exchange with an endpoint went, for passive health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Answered,
    /// Connecting failed or timed out, or it reset or answered garbage.
    Failed,
    /// Says nothing about the endpoint (the client left).
    Unknown,
}

impl Local {
    /// State of shard `shard` of `shards`, with a seed for choices.
    #[must_use]
    pub fn new(shard: usize, seed: u64) -> Self {
        let _ = (shard, seed);
        todo!()
    }

    /// Adopts `epoch`: keeps cursors, health and in-flight counts of what stays.
    pub fn install(&mut self, epoch: &Epoch) {
        let _ = epoch;
        todo!()
    }

    /// The next backend of `rule` (index into [`Rule::backends`]); `None` if it has none.
    pub fn pick_backend(&mut self, rule: &Rule) -> Option<usize> {
        let _ = rule;
        todo!()
    }

    /// An endpoint of the backend in `slot`, avoiding `not` (the one that just failed) and ejected
    /// ones where others exist. `None` when the backend has no endpoint.
    pub fn pick_endpoint(
        &mut self,
        slot: u32,
        not: Option<EndpointId>,
        now: Instant,
    ) -> Option<(EndpointId, SocketAddr)> {
        let _ = (slot, not, now);
        todo!()
    }

    /// Whether `address` still belongs to any backend of the installed epoch (else pooled
    /// connections to it close).
    #[must_use]
    pub fn is_wanted(&self, endpoint: EndpointId) -> bool {
        let _ = endpoint;
        todo!()
    }

    /// The endpoint with this address, if it is known.
    #[must_use]
    pub fn endpoint(&self, address: SocketAddr) -> Option<EndpointId> {
        let _ = address;
        todo!()
    }

    /// An exchange with `endpoint` starts.
    pub fn begin(&mut self, endpoint: EndpointId) {
        let _ = endpoint;
        todo!()
    }

    /// It ended.
    pub fn end(&mut self, endpoint: EndpointId, outcome: Outcome, now: Instant) {
        let _ = (endpoint, outcome, now);
        todo!()
    }
}
