//! Gateways: which are served, on which addresses, and what their listeners may do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use proxy::ir;

use super::address::{self, Site};
use super::class::{Classes, Verdict};
use super::listener::{self, Listener};
use super::status::{Address, Reason};
use super::{Fault, hostname};
use crate::api::{Gateway, Name};
use crate::store::Snapshot;

/// A Gateway of ours.
#[derive(Debug)]
pub(super) struct Planned {
    /// The object.
    pub object: Arc<Gateway>,
    /// Its name.
    pub name: Name,
    /// Where it listens.
    pub site: Site,
    /// The addresses that its status shows.
    pub shown: Vec<Address>,
    /// Why it is refused, if it is.
    pub fault: Option<Fault>,
    /// Why it lacks an address that it should have, if so.
    pub unassigned: Option<Fault>,
    /// Its listeners in the order of the spec.
    pub listeners: Vec<Listener>,
}

impl Planned {
    /// Whether the listener takes traffic.
    pub(super) fn serves(&self, listener: &Listener) -> bool {
        self.fault.is_none() && !self.site.is_nowhere() && listener.is_programmed()
    }

    /// The ports that its listeners name.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.listeners.iter().filter(|listener| listener.protocol.is_some()).map(|one| one.port)
    }
}

/// Plans every Gateway of ours, oldest first: who comes first wins a port.
pub(super) fn plan(snapshot: &Snapshot, classes: &Classes) -> Vec<Planned> {
    let ours = snapshot
        .gateways
        .iter()
        .filter(|(_, object)| classes.verdict(&object.spec.gateway_class_name) == Verdict::Ours);
    let mut gateways: Vec<_> =
        ours.map(|(name, object)| plan_one(snapshot, name, object)).collect();
    gateways
        .sort_by_cached_key(|gateway| (gateway.object.metadata.created, gateway.name.to_string()));
    address::assign(snapshot, &mut gateways);
    share_ports(&mut gateways);
    gateways
}

fn plan_one(snapshot: &Snapshot, name: &Name, object: &Arc<Gateway>) -> Planned {
    let mut listeners: Vec<_> = (0..object.spec.listeners.len())
        .map(|index| listener::plan(snapshot, name, object, index))
        .collect();
    listener::find_conflicts(&mut listeners);
    listener::find_overlaps(&mut listeners);
    Planned {
        object: Arc::clone(object),
        name: name.clone(),
        site: Site::At(Vec::new()),
        shown: Vec::new(),
        fault: unsupported(object),
        unassigned: None,
        listeners,
    }
}

fn unsupported(object: &Gateway) -> Option<Fault> {
    if object.spec.infrastructure.parameters_ref.is_some() {
        let message = "spec.infrastructure.parametersRef is not supported: remove it";
        let field = "spec.infrastructure.parametersRef";
        return Some(Fault::new(Reason::InvalidParameters, field, message));
    }
    object.spec.tls.as_ref().map(|_| {
        let message = "spec.tls (client certificates) is not supported yet: remove it";
        Fault::new(Reason::Invalid, "spec.tls", message)
    })
}

type Socket = (Option<IpAddr>, u16);

/// Who claimed a socket first, with which protocol, and who claimed which hostnames on it.
struct Claim {
    protocol: ir::Protocol,
    owner: Name,
    hostnames: HashMap<Option<ir::Hostname>, Name>,
}

/// Lets listeners of several Gateways share ports; the older Gateway wins a conflict.
fn share_ports(gateways: &mut [Planned]) {
    let mut claims: HashMap<Socket, Claim> = HashMap::new();
    for gateway in gateways.iter_mut().filter(|gateway| gateway.fault.is_none()) {
        let Planned { name, site, listeners, .. } = gateway;
        for listener in listeners.iter_mut().filter(|listener| listener.accepts()) {
            let sockets: Vec<Socket> = site.sockets(listener.port);
            let lost = sockets.iter().find_map(|socket| {
                claims.get(socket).and_then(|claim| conflict(claim, name, listener))
            });
            if let Some(fault) = lost {
                listener.conflict = Some(fault);
                continue;
            }
            for socket in sockets {
                let claim = claims.entry(socket).or_insert_with(|| Claim {
                    protocol: listener.protocol.expect("an accepted listener has a protocol"),
                    owner: name.clone(),
                    hostnames: HashMap::new(),
                });
                claim.hostnames.insert(listener.hostname.clone(), name.clone());
            }
        }
    }
}

fn conflict(claim: &Claim, name: &Name, listener: &Listener) -> Option<Fault> {
    let field = listener.field("port");
    if Some(claim.protocol) != listener.protocol {
        let message = format!(
            "port {} is used with another protocol by Gateway {}, which goes before it (age, then name): change the port",
            listener.port, claim.owner
        );
        return Some(Fault::new(Reason::ProtocolConflict, field, message));
    }
    let owner = claim.hostnames.get(&listener.hostname).filter(|owner| *owner != name)?;
    let message = format!(
        "hostname {} on port {} is used by Gateway {owner}, which goes before it (age, then name): change the hostname or the port",
        hostname_text(listener),
        listener.port
    );
    Some(Fault::new(Reason::HostnameConflict, listener.field("hostname"), message))
}

pub(super) fn hostname_text(listener: &Listener) -> String {
    listener.hostname.as_ref().map_or_else(|| "(any)".to_owned(), ToString::to_string)
}

/// Orders the listeners of one port.
pub(super) fn listener_order(left: &ir::Listener, right: &ir::Listener) -> std::cmp::Ordering {
    hostname::by_specificity(left.hostname.as_ref(), right.hostname.as_ref())
        .then_with(|| left.name.cmp(&right.name))
}
