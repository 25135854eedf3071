//! Which backend, which endpoint: the only routing state that changes with traffic.
//!
//! One [`Local`] per shard, passed in by `&mut`; never shared. Weighted rule → backend by smooth
//! weighted round-robin (phase-shifted per shard), backend → endpoint by power of two choices on
//! exchanges in flight, with passive health per endpoint address. Invariant: every [`Local::begin`]
//! is paired with one [`Local::end`], so in-flight counts return to zero.
//!
//! An epoch's rules may be given to `pick_backend` and `pick_endpoint` for as long as the caller
//! holds that epoch, also after a newer one was installed: slots are not reused before.

mod endpoint;
mod share;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::endpoint::Endpoints;
pub use self::endpoint::{EJECTION_MAX, EJECTION_MIN, FAILURES_MAX};
use self::share::Cursor;
use crate::epoch::{Backend, Epoch};
pub use crate::table::regex::RegexCaches;
use crate::table::{Rule, WeightedBackend};

/// All routing state of one shard.
#[derive(Debug)]
pub struct Local {
    /// Caches of regular expressions, apart so that a lookup can borrow them alone.
    pub caches: RegexCaches,
    /// By cursor slot.
    cursors: Vec<Cursor>,
    /// Where in its cycle a cursor of this shard starts, in 2^-32.
    phase: u32,
    /// By backend slot, as installed.
    backends: Vec<Option<Installed>>,
    endpoints: Endpoints,
    random: Random,
}

/// A backend with its endpoints resolved to positions.
#[derive(Debug)]
struct Installed {
    backend: Arc<Backend>,
    endpoints: Box<[u32]>,
}

/// An endpoint known to this shard: stable by address, over all epochs, until unused. The lower half
/// is a position that another endpoint may have later, the upper half tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(pub u64);

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

/// SplitMix64: enough to spread load and waits, and nothing else may use it.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Two different numbers below `end` (the same one twice if there is only one).
    fn two_below(&mut self, end: usize) -> (usize, usize) {
        let bits = self.next();
        let scale = |half: u64, end: usize| (((half & 0xffff_ffff) * end as u64) >> 32) as usize;
        let first = scale(bits, end);
        let second = scale(bits >> 32, end - 1);
        (first, if end > 1 && second >= first { second + 1 } else { second })
    }
}

impl EndpointId {
    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    /// A position for dense tables by endpoint. It is reused, so keep the id beside what you keep.
    #[must_use]
    pub fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Local {
    /// State of shard `shard`, with a seed for choices.
    #[must_use]
    pub fn new(shard: usize, seed: u64) -> Self {
        // Multiples of the golden ratio: any number of shards is spread evenly over the cycle.
        let phase = ((shard as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
        Self {
            caches: RegexCaches::default(),
            cursors: Vec::new(),
            phase,
            backends: Vec::new(),
            endpoints: Endpoints::new(seed),
            random: Random(seed ^ u64::from(phase)),
        }
    }

    /// Adopts `epoch`: keeps cursors, health and in-flight counts of what stays.
    pub fn install(&mut self, epoch: &Epoch) {
        if self.cursors.len() < epoch.cursors() {
            self.cursors.resize_with(epoch.cursors(), Cursor::default);
        }
        let slots = self.backends.len().max(epoch.backends.len());
        self.backends.resize_with(slots, || None);
        let mut left = Vec::new();
        for (slot, installed) in self.backends.iter_mut().enumerate() {
            let new = epoch.backends.get(slot).and_then(Option::as_ref);
            let same = match (&*installed, new) {
                (Some(old), Some(new)) => Arc::ptr_eq(&old.backend, new),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same {
                let next = new.map(|backend| resolve(backend, &mut self.endpoints));
                left.extend(std::mem::replace(installed, next));
            }
        }
        // After all are wanted that stay, so that an endpoint which moves keeps its state.
        for index in left.iter().flat_map(|old| &old.endpoints) {
            self.endpoints.unwant(*index);
        }
        self.caches.prune();
    }

    /// The next backend of `rule` (index into [`Rule::backends`]); `None` if it has none.
    pub fn pick_backend(&mut self, rule: &Rule) -> Option<usize> {
        self.pick_weighted(&rule.backends, rule.cursor)
    }

    /// The next of `backends`, whose cycle stands at `cursor`; `None` if there are none.
    pub fn pick_weighted(&mut self, backends: &[WeightedBackend], cursor: u32) -> Option<usize> {
        if backends.len() < 2 {
            return (!backends.is_empty()).then_some(0);
        }
        let at = cursor as usize;
        if at >= self.cursors.len() {
            self.cursors.resize_with(at + 1, Cursor::default);
        }
        Some(self.cursors[at].next(backends, self.phase))
    }

    /// An endpoint of the backend in `slot`, avoiding `not` (the one that just failed) and ejected
    /// ones where others exist. `None` when the backend has no endpoint.
    ///
    /// When more than half of the backend's endpoints are ejected, all are used: then the fault is
    /// more likely not theirs. `not` is the last choice. Call [`Local::begin`] before the next pick.
    pub fn pick_endpoint(
        &mut self,
        slot: u32,
        not: Option<EndpointId>,
        now: Instant,
    ) -> Option<(EndpointId, SocketAddr)> {
        let members = &*self.backends.get(slot as usize)?.as_ref()?.endpoints;
        if members.is_empty() {
            return None;
        }
        let endpoints = &self.endpoints;
        let not = not.filter(|&id| endpoints.get(id).is_some()).map(|id| id.index() as u32);
        let usable = |index: u32| Some(index) != not && endpoints.is_available(index, now);
        let (first, second) = self.random.two_below(members.len());
        let (first, second) = (members[first], members[second]);
        let index = if usable(first) && usable(second) {
            endpoints.less_loaded(first, second)
        } else {
            choose(members, endpoints, not, now, &mut self.random)
        };
        Some((endpoints.id(index), endpoints.at(index).address))
    }

    /// Whether this time is among the `numerator` of `denominator` times; drawn anew each time.
    pub fn draw(&mut self, numerator: u32, denominator: u32) -> bool {
        let random = self.random.next() >> 32;
        (random * u64::from(denominator)) >> 32 < u64::from(numerator)
    }

    /// A wait of at least `least` and less than half as much again, so that many who wait for the
    /// same thing do not come back at once.
    pub fn jitter(&mut self, least: Duration) -> Duration {
        let micros = u64::try_from(least.as_micros() / 2).unwrap_or(u64::MAX);
        let random = u128::from(self.random.next() >> 32);
        let extra = (u128::from(micros) * random) >> 32;
        least.saturating_add(Duration::from_micros(u64::try_from(extra).unwrap_or(u64::MAX)))
    }

    /// Whether `address` still belongs to any backend of the installed epoch (else pooled
    /// connections to it close).
    #[must_use]
    pub fn is_wanted(&self, endpoint: EndpointId) -> bool {
        self.endpoints.is_wanted(endpoint)
    }

    /// Its address, until it is neither wanted nor in flight.
    #[must_use]
    pub fn address(&self, endpoint: EndpointId) -> Option<SocketAddr> {
        self.endpoints.get(endpoint).map(|endpoint| endpoint.address)
    }

    /// The id of `address`, if it is known.
    #[must_use]
    pub fn endpoint(&self, address: SocketAddr) -> Option<EndpointId> {
        self.endpoints.find(address)
    }

    /// Exchanges in flight to it from this shard.
    #[must_use]
    pub fn in_flight(&self, endpoint: EndpointId) -> u32 {
        self.endpoints.get(endpoint).map_or(0, |endpoint| endpoint.in_flight)
    }

    /// An exchange with `endpoint` starts.
    pub fn begin(&mut self, endpoint: EndpointId) {
        self.endpoints.begin(endpoint);
    }

    /// Its response head arrived, however long the exchange still lasts: ends an ejection at once.
    /// Without this the answer counts when the exchange ends, which a WebSocket may not do for hours.
    pub fn answered(&mut self, endpoint: EndpointId) {
        self.endpoints.answered(endpoint);
    }

    /// It ended. An answer proves that the endpoint lives and ends an ejection.
    pub fn end(&mut self, endpoint: EndpointId, outcome: Outcome, now: Instant) {
        self.endpoints.end(endpoint, outcome, now);
    }
}

fn resolve(backend: &Arc<Backend>, endpoints: &mut Endpoints) -> Installed {
    let indices = backend.endpoints.iter().map(|&address| endpoints.want(address)).collect();
    Installed { backend: Arc::clone(backend), endpoints: indices }
}

/// The choice when a sampled endpoint must be avoided: a scan, so it costs O(endpoints).
fn choose(
    members: &[u32],
    endpoints: &Endpoints,
    not: Option<u32>,
    now: Instant,
    random: &mut Random,
) -> u32 {
    let available = |&&index: &&u32| endpoints.is_available(index, now);
    let panic = members.iter().filter(available).count() * 2 < members.len();
    let good = |index: u32| Some(index) != not && (panic || endpoints.is_available(index, now));
    let other = |index: u32| Some(index) != not;
    two_of(members, good, endpoints, random)
        .or_else(|| two_of(members, other, endpoints, random))
        .unwrap_or(members[0])
}

/// The less loaded of two random `members` that `allowed` admits.
fn two_of(
    members: &[u32],
    allowed: impl Fn(u32) -> bool,
    endpoints: &Endpoints,
    random: &mut Random,
) -> Option<u32> {
    let admitted = || members.iter().copied().filter(|&index| allowed(index));
    let count = admitted().count();
    if count == 0 {
        return None;
    }
    let (first, second) = random.two_below(count);
    Some(endpoints.less_loaded(admitted().nth(first)?, admitted().nth(second)?))
}
