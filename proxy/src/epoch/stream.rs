//! One listener's TLSRoutes, TCPRoutes or UDPRoutes, compiled.
//!
//! Made by `compile`, read by [`crate::stream`] once per connection or flow. A route that did not
//! change is shared with the epoch before and between listeners. Invariant: a route holds the leases
//! of all slots that it names, so they keep their meaning for as long as any epoch has it.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::slots::Lease;
use crate::ir::{AttachedStream, Protocol, StreamRoute as Source, Target};
use crate::table::WeightedBackend;
use crate::table::hosts::Hosts;
use crate::table::route::{CursorKey, Family, RouteSlots};

/// A route, compiled: all connections or flows of one go to its backends by weight.
#[derive(Debug)]
pub struct StreamRoute {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Weighted backends of weight > 0, in order.
    pub backends: Vec<WeightedBackend>,
    /// Slot of its weighted round-robin cursor; see [`crate::table::Rule::cursor`].
    pub cursor: u32,
    source: Arc<Source>,
    _leases: Box<[Arc<Lease>]>,
}

/// The routes of one listener, by the SNI name that they are found by.
#[derive(Debug, Default)]
pub(super) struct Streams {
    hosts: Hosts<Arc<StreamRoute>>,
    attached: Box<[AttachedStream]>,
}

/// Routes compiled for this epoch, by address of their source, so that listeners share them.
#[derive(Debug, Default)]
pub(super) struct FreshStreams(HashMap<usize, Arc<StreamRoute>, FixedState>);

impl Streams {
    /// Compiles `attached`, which are in order of precedence. Shares with `previous` what is equal.
    pub(super) fn compile(
        previous: Option<&Arc<Self>>,
        attached: &[AttachedStream],
        protocol: Protocol,
        fresh: &mut FreshStreams,
        slots: &mut RouteSlots,
    ) -> Arc<Self> {
        if let Some(previous) = previous.filter(|previous| *previous.attached == *attached) {
            return Arc::clone(previous);
        }
        let known: HashMap<&str, &Arc<StreamRoute>, FixedState> = previous
            .into_iter()
            .flat_map(|previous| previous.hosts.iter())
            .map(|(_, route)| (&*route.name, route))
            .collect();
        let family = match protocol {
            Protocol::Http | Protocol::Tcp => Family::Tcp,
            Protocol::Tls => Family::Tls,
            Protocol::Udp => Family::Udp,
        };
        let mut entries = Vec::with_capacity(attached.len());
        for AttachedStream { hostnames, route: source } in attached {
            let known = known.get(&*source.name).filter(|known| known.is_of(source));
            let route = match known {
                Some(known) => Arc::clone(known),
                None => fresh.route(source, family, slots),
            };
            if hostnames.is_empty() || protocol != Protocol::Tls {
                entries.push((None, route));
            } else {
                let named = hostnames.iter().map(|name| (Some(name.clone()), Arc::clone(&route)));
                entries.extend(named);
            }
        }
        Arc::new(Self { hosts: Hosts::new(entries), attached: attached.into() })
    }

    /// The route of the most specific hostname that covers `sni`; of equal ones, the oldest.
    pub(super) fn find(&self, sni: Option<&str>) -> Option<&StreamRoute> {
        match sni {
            Some(name) => self.hosts.find(name.as_bytes(), |route| Some(&**route)),
            None => self.hosts.get(None).map(|route| &**route),
        }
    }
}

impl FreshStreams {
    fn route(
        &mut self,
        source: &Arc<Source>,
        family: Family,
        slots: &mut RouteSlots,
    ) -> Arc<StreamRoute> {
        let key = Arc::as_ptr(source).addr();
        let route = self.0.entry(key);
        Arc::clone(route.or_insert_with(|| Arc::new(StreamRoute::new(source, family, slots))))
    }
}

impl StreamRoute {
    fn new(source: &Arc<Source>, family: Family, slots: &mut RouteSlots) -> Self {
        let mut leases = Vec::new();
        let mut backends = Vec::with_capacity(source.backends.len());
        for backend in source.backends.iter().filter(|backend| backend.weight > 0) {
            let slot = match &backend.target {
                Target::Backend(key) => {
                    let lease = slots.backends.lease(key, Lease);
                    let slot = lease.0;
                    leases.push(lease);
                    Some(slot)
                }
                Target::Invalid(_) => None,
            };
            let (filters, mirrors) = (Vec::new(), Vec::new());
            backends.push(WeightedBackend { slot, weight: backend.weight, filters, mirrors });
        }
        let mut cursor = 0;
        if backends.len() > 1 {
            let key = CursorKey { family, route: Arc::clone(&source.name), rule: 0 };
            let lease = slots.cursors.lease(&key, Lease);
            cursor = lease.0;
            leases.push(lease);
        }
        Self {
            name: Arc::clone(&source.name),
            backends,
            cursor,
            source: Arc::clone(source),
            _leases: leases.into(),
        }
    }

    fn is_of(&self, source: &Arc<Source>) -> bool {
        Arc::ptr_eq(&self.source, source) || self.source == *source
    }
}
