//! From the IR to an [`Epoch`], sharing with the previous epoch whatever is equal to it.
//!
//! Called by the control thread once per published change. Cost: the edit itself and one light pass
//! over ports, routes and backends that compares addresses of shared parts first, contents second.
//! Invariant: the epoch behaves as one that was compiled from nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::slots::{Lease, Leases, Slots};
use super::stream::{FreshStreams, Streams};
use super::{Backend, Epoch, Listener, Port, Settings};
use crate::ir::{self, Ir, Protocol};
use crate::table::hosts::Hosts;
use crate::table::regex::Pattern;
use crate::table::route::{CursorKey, RouteSlots, auth_of};
use crate::table::{Fresh, Table};

/// What an epoch leaves to the next.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    backends: Arc<Slots<Arc<str>, Lease>>,
    cursors: Arc<Slots<CursorKey, Lease>>,
    patterns: Arc<Slots<Arc<str>, Pattern>>,
    listeners: Arc<Slots<Arc<str>, Lease>>,
    /// In the order of the IR.
    sources: Arc<[BackendSource]>,
}

/// A backend as the IR had it, and what became of it.
#[derive(Debug)]
struct BackendSource {
    name: Arc<str>,
    source: Arc<ir::Backend>,
    lease: Arc<Lease>,
    compiled: Arc<Backend>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            backends: Arc::new(Slots::from(0)),
            // Cursor 0 belongs to all rules that need none.
            cursors: Arc::new(Slots::from(1)),
            patterns: Arc::new(Slots::from(0)),
            listeners: Arc::new(Slots::from(0)),
            sources: Arc::new([]),
        }
    }
}

impl Ledger {
    pub(super) fn cursors(&self) -> usize {
        self.cursors.len()
    }

    pub(super) fn listeners(&self) -> usize {
        self.listeners.len()
    }
}

impl Epoch {
    /// The configuration before any: listens nowhere.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            id: 0,
            ports: Vec::new(),
            backends: Vec::new(),
            settings: Settings::default(),
            ledger: Ledger::default(),
        }
    }

    /// Compiles `ir` as epoch `id`. What is equal to its counterpart in `previous` is shared with it
    /// by `Arc` (hosts, backends), so the cost of an edit follows the edit. Total: an expression that
    /// does not compile (which `translate` reports) never matches.
    ///
    /// `previous` must be the newest epoch compiled so far: slots continue from it.
    #[must_use]
    pub fn compile(id: u64, ir: &Ir, settings: Settings, previous: Option<&Self>) -> Self {
        let nothing = Self::empty();
        let previous = previous.unwrap_or(&nothing);
        let mut compiler = Compiler::new(previous);
        let sources = compiler.backends(ir);
        let ports = compiler.ports(ir);
        let ledger = compiler.finish(sources);
        let mut backends = vec![None; ledger.backends.len()];
        for backend in &*ledger.sources {
            backends[backend.lease.0 as usize] = Some(Arc::clone(&backend.compiled));
        }
        Self { id, ports, backends, settings, ledger }
    }
}

/// One compilation.
struct Compiler<'p> {
    previous: &'p Epoch,
    slots: RouteSlots,
    listeners: Leases<Arc<str>, Lease>,
    fresh: Fresh,
    fresh_streams: FreshStreams,
}

impl<'p> Compiler<'p> {
    fn new(previous: &'p Epoch) -> Self {
        let ledger = &previous.ledger;
        Self {
            previous,
            slots: RouteSlots {
                backends: Leases::continuing(&ledger.backends),
                cursors: Leases::continuing(&ledger.cursors),
                patterns: Leases::continuing(&ledger.patterns),
            },
            listeners: Leases::continuing(&ledger.listeners),
            fresh: Fresh::default(),
            fresh_streams: FreshStreams::default(),
        }
    }

    fn finish(self, sources: Arc<[BackendSource]>) -> Ledger {
        Ledger {
            backends: self.slots.backends.finish(),
            cursors: self.slots.cursors.finish(),
            patterns: self.slots.patterns.finish(),
            listeners: self.listeners.finish(),
            sources,
        }
    }

    /// Both lists are sorted by name, so one pass pairs them.
    fn backends(&mut self, ir: &Ir) -> Arc<[BackendSource]> {
        let old = &self.previous.ledger.sources;
        let equal = |old: &BackendSource, name: &Arc<str>, new: &Arc<ir::Backend>| {
            same(&old.name, name) && (Arc::ptr_eq(&old.source, new) || old.source == *new)
        };
        if old.len() == ir.backends.len()
            && old.iter().zip(&ir.backends).all(|(old, (name, new))| equal(old, name, new))
        {
            return Arc::clone(old);
        }
        let mut old = old.iter().peekable();
        let mut sources = Vec::with_capacity(ir.backends.len());
        for (name, new) in &ir.backends {
            while old.next_if(|old| !same(&old.name, name) && old.name < *name).is_some() {}
            let known = old.next_if(|old| same(&old.name, name));
            let lease = match known {
                Some(known) => Arc::clone(&known.lease),
                None => self.slots.backends.lease(name, Lease),
            };
            let compiled = match known.filter(|known| equal(known, name, new)) {
                Some(known) => Arc::clone(&known.compiled),
                None => Arc::new(Backend {
                    name: Arc::clone(name),
                    websocket: new.websocket,
                    protocol: new.protocol,
                    tls: new.tls.clone(),
                    proxy_protocol: new.proxy_protocol,
                    endpoints: new.endpoints.clone(),
                }),
            };
            let (name, source) = (Arc::clone(name), Arc::clone(new));
            sources.push(BackendSource { name, source, lease, compiled });
        }
        sources.into()
    }

    fn ports(&mut self, ir: &Ir) -> Vec<Arc<Port>> {
        type Key = (Option<IpAddr>, u16, Protocol);
        let key = |port: &Arc<Port>| -> Key { (port.address, port.port, port.protocol) };
        let old: HashMap<Key, &'p Arc<Port>> =
            self.previous.ports.iter().map(|port| (key(port), port)).collect();
        let ports = ir.ports.iter();
        ports
            .map(|new| self.port(new, old.get(&(new.address, new.port, new.protocol)).copied()))
            .collect()
    }

    fn port(&mut self, new: &ir::Port, old: Option<&Arc<Port>>) -> Arc<Port> {
        let by_name: HashMap<&str, &Listener> = old
            .into_iter()
            .flat_map(|port| port.listeners.iter().map(|listener| (&*listener.name, listener)))
            .collect();
        let listeners: Vec<Listener> = new
            .listeners
            .iter()
            .map(|listener| {
                self.listener(listener, new.protocol, by_name.get(&*listener.name).copied())
            })
            .collect();
        if let Some(old) = old
            && old.is_anywhere == new.is_anywhere
            && old.proxy_protocol == new.proxy_protocol
            && old.listeners.len() == listeners.len()
            && old.listeners.iter().zip(&listeners).all(|(old, new)| old.is_shared_with(new))
        {
            return Arc::clone(old);
        }
        let names = listeners.iter().map(|listener| listener.hostname.clone());
        let claims = Hosts::new(names.zip(0..));
        let ir::Port { address, is_anywhere, port, protocol, .. } = *new;
        let proxy_protocol = new.proxy_protocol.clone();
        Arc::new(Port { address, is_anywhere, port, protocol, proxy_protocol, listeners, claims })
    }

    fn listener(
        &mut self,
        new: &ir::Listener,
        protocol: Protocol,
        old: Option<&Listener>,
    ) -> Listener {
        let lease = match old {
            Some(old) => Arc::clone(&old.lease),
            None => self.listeners.lease(&new.name, Lease),
        };
        let previous = old.map(|old| &old.table);
        let tls = match (old.and_then(|old| old.tls.as_ref()), &new.tls) {
            (Some(old), Some(new)) if old == new => Some(Arc::clone(old)),
            (_, new) => new.clone(),
        };
        let mut auth_leases = Vec::new();
        let auth = auth_of(&new.filters, |key| {
            let lease = self.slots.backends.lease(key, Lease);
            let slot = lease.0;
            auth_leases.push(lease);
            slot
        });
        Listener {
            name: Arc::clone(&new.name),
            slot: lease.0,
            port: new.port,
            kind: new.kind,
            hostname: new.hostname.clone(),
            tls,
            client_certificate: new.client_certificate.clone(),
            auth,
            filters: new.filters.clone(),
            table: Table::compile(previous, &new.routes, &mut self.fresh, &mut self.slots),
            streams: Streams::compile(
                old.map(|old| &old.streams),
                &new.streams,
                protocol,
                &mut self.fresh_streams,
                &mut self.slots,
            ),
            lease,
            _auth_leases: auth_leases,
        }
    }
}

impl Listener {
    fn is_shared_with(&self, other: &Self) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (Some(_), None) | (None, Some(_)) => false,
        };
        tls && self.name == other.name
            && self.port == other.port
            && self.kind == other.kind
            && self.hostname == other.hostname
            && self.client_certificate == other.client_certificate
            && self.filters == other.filters
            && self.table.is_shared_with(&other.table)
            && Arc::ptr_eq(&self.streams, &other.streams)
    }
}

/// Equal, looking at the text only when it is not the same allocation.
fn same(a: &Arc<str>, b: &Arc<str>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}
