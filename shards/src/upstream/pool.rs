//! Idle HTTP/1 connections of this shard, by origin; the last used is taken first.
//!
//! Nobody reads from an idle connection. Before one is used again it is looked at: stray bytes would
//! be the next client's response, and a close would cost a request that may not be repeated. Only a
//! request that may be repeated takes a connection unseen, and only one that rested for less than a
//! moment: there a look could not tell more. Bounded per endpoint and by age.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use runtime::Runtime;

use super::h1::Connection;
use super::origin::Key;

/// The idle connections.
pub(crate) struct Pool<R: Runtime> {
    idle: RefCell<HashMap<Key, Vec<Idle<R>>, RandomState>>,
    count: Cell<u64>,
}

struct Idle<R: Runtime> {
    upstream: Box<Connection<R>>,
    since: Instant,
}

impl<R: Runtime> Pool<R> {
    pub(crate) fn new() -> Self {
        Self { idle: RefCell::new(HashMap::default()), count: Cell::new(0) }
    }

    /// Idle connections now.
    pub(crate) fn len(&self) -> u64 {
        self.count.get()
    }

    /// The connection that was used last; `repeatable` as the request is.
    pub(crate) fn checkout(
        &self,
        origin: Key,
        repeatable: bool,
        now: Instant,
    ) -> Option<Box<Connection<R>>> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&origin)?;
        while let Some(Idle { upstream, since }) = list.pop() {
            self.count.set(self.count.get() - 1);
            let unseen = repeatable && now.saturating_duration_since(since) <= UNSEEN_MAX;
            if unseen || !upstream.is_stale() {
                return Some(upstream);
            }
        }
        None
    }

    pub(crate) fn checkin(&self, origin: Key, upstream: Box<Connection<R>>, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let list = idle.entry(origin).or_default();
        if list.len() < IDLE_PER_ENDPOINT_MAX {
            list.push(Idle { upstream, since: now });
            self.count.set(self.count.get() + 1);
        }
    }

    /// Closes the idle connections to an endpoint that has just dropped one of them.
    pub(crate) fn forget(&self, address: SocketAddr) {
        let mut dropped = 0;
        self.idle.borrow_mut().retain(|origin, list| {
            let other = origin.address != address;
            dropped += if other { 0 } else { list.len() as u64 };
            other
        });
        self.count.set(self.count.get() - dropped);
    }

    /// Closes what rested too long, was closed by the backend, or is not wanted any more.
    /// Returns whether it closed any.
    pub(crate) fn sweep(
        &self,
        now: Instant,
        idle_max: Duration,
        wanted: impl Fn(SocketAddr) -> bool,
    ) -> bool {
        let mut count = 0;
        self.idle.borrow_mut().retain(|origin, list| {
            if !wanted(origin.address) {
                return false;
            }
            list.retain(|idle| {
                now.saturating_duration_since(idle.since) < idle_max
                    && idle.upstream.is_wanted()
                    && !idle.upstream.is_stale()
            });
            count += list.len() as u64;
            !list.is_empty()
        });
        self.count.replace(count) != count
    }
}

/// A connection that rested no longer may be used without a look.
const UNSEEN_MAX: Duration = Duration::from_millis(1);
/// Idle connections kept per endpoint.
const IDLE_PER_ENDPOINT_MAX: usize = 1024;
