//! One TCP connection, TLS session or UDP flow through the gateway, as values: where it goes.
//!
//! `shards` finds the listener (by SNI on a TLS port) and its route
//! ([`crate::epoch::Listener::stream`]), then calls [`start`]. It is what `exchange` is for requests,
//! without any of HTTP. Invariant: every decision comes from the one epoch it was started with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::balance::{EndpointId, Local};
use crate::epoch::slots::Lease;
use crate::epoch::{Backend, Epoch, Listener, StreamRoute};
use crate::fault::Fault;

/// Where a connection or flow goes.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'e> {
    /// The backend that was picked.
    pub backend: &'e Backend,
    /// The endpoint that was picked.
    pub endpoint: EndpointId,
    /// Its address.
    pub address: SocketAddr,
    slot: u32,
}

/// What a stream keeps of the epoch that it began with. It may last for days: whole epochs would pile
/// up behind such streams.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Slot of the listener's counters.
    pub slot: u32,
    /// Name of the route that took it, if one did.
    pub route: Option<Arc<str>>,
    /// Name of the backend that was picked, if one was.
    pub backend: Option<Arc<str>>,
    /// Keeps the slot.
    _lease: Arc<Lease>,
}

/// Picks a backend of `route` by weight, and an endpoint of it.
///
/// # Errors
/// [`Fault::BackendInvalid`]: the share of a reference that may not be followed, or a route without
/// backends. [`Fault::NoEndpoints`]: the backend has none that is ready.
pub fn start<'e>(
    route: &StreamRoute,
    epoch: &'e Epoch,
    local: &mut Local,
    now: Instant,
) -> Result<Pick<'e>, Fault> {
    let choice = local.pick_weighted(&route.backends, route.cursor);
    let slot = choice.and_then(|index| route.backends.get(index)?.slot);
    let backend =
        slot.and_then(|slot| Some((slot, epoch.backends.get(slot as usize)?.as_deref()?)));
    let (slot, backend) = backend.ok_or(Fault::BackendInvalid)?;
    let (endpoint, address) = local.pick_endpoint(slot, None, now).ok_or(Fault::NoEndpoints)?;
    Ok(Pick { backend, endpoint, address, slot })
}

impl Pick<'_> {
    /// Another endpoint of the same backend, after connecting to this one failed. `None` when there
    /// is no other.
    #[must_use]
    pub fn elsewhere(&self, local: &mut Local, now: Instant) -> Option<Self> {
        let (endpoint, address) = local.pick_endpoint(self.slot, Some(self.endpoint), now)?;
        (endpoint != self.endpoint).then_some(Self { endpoint, address, ..*self })
    }
}

impl Labels {
    /// The names of what was decided so far.
    #[must_use]
    pub fn new(listener: &Listener, route: Option<&StreamRoute>, pick: Option<&Pick<'_>>) -> Self {
        Self {
            listener: Arc::clone(&listener.name),
            slot: listener.slot,
            route: route.map(|route| Arc::clone(&route.name)),
            backend: pick.map(|pick| Arc::clone(&pick.backend.name)),
            _lease: Arc::clone(listener.lease()),
        }
    }
}
