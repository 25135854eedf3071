//! Conflicts between listeners: among siblings nobody wins, between objects who comes first wins.
//!
//! Every Gateway comes before every ListenerSet; Gateways and ListenerSets go by age, then by
//! `namespace/name`. Siblings of a ListenerSet that lost to another object conflict with nobody. Only listeners of one Gateway, or of Gateways that share a socket, can conflict.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use proxy::ir::{self, Hostname};

use super::address::Site;
use super::gateway::Planned;
use super::listener::Listener;
use super::proxy_protocol::FROM_ANNOTATION;
use super::status::Reason;
use super::{Fault, hostname};
use crate::api::{Kind, Name, Protocol};
use crate::report::Transport;

/// Refuses all listeners of one object that claim the same port with different protocols, or the
/// same port and hostname: among siblings no conflicting listener wins.
pub(super) fn among_siblings(listeners: &mut [Listener]) {
    let mut ports: HashMap<(u16, Transport), Vec<usize>> = HashMap::new();
    for (index, listener) in listeners.iter().enumerate().filter(|(_, one)| one.accepts()) {
        if let Some(socket) = listener.socket() {
            ports.entry(socket).or_default().push(index);
        }
    }
    for sharing in ports.values() {
        for &index in sharing {
            let fault = sharing
                .iter()
                .filter(|&&other| other != index)
                .find_map(|&other| of_sibling(&listeners[index], &listeners[other]));
            listeners[index].conflict = fault;
        }
    }
}

fn of_sibling(listener: &Listener, other: &Listener) -> Option<Fault> {
    let (port, name) = (listener.port, &other.name);
    if let Some((alone, how)) = port_conflict(listener, other.protocol?) {
        let message =
            format!("listener {name} uses port {port}{alone}{how}: change one of the ports");
        return Some(Fault::new(Reason::ProtocolConflict, listener.field("port"), message));
    }
    (listener.hostname == other.hostname).then(|| {
        let (reason, with) = hostname_conflict(listener, &other.declared);
        let message = format!(
            "listener {name} has the same port {port} and hostname {}{with}: change one of them",
            hostname_text(listener)
        );
        Fault::new(reason, listener.field("hostname"), message)
    })
}

/// Why a listener conflicts with another protocol on its port, if it does: what is said after the port,
/// and after "used". TCP and UDP share a port with nobody.
fn port_conflict(listener: &Listener, other: ir::Protocol) -> Option<(&'static str, &'static str)> {
    match (listener.protocol?, other) {
        (ir::Protocol::Tcp, ir::Protocol::Tcp) => Some((" (which TCP shares with nobody)", "")),
        (ir::Protocol::Udp, ir::Protocol::Udp) => Some((" (which UDP shares with nobody)", "")),
        (own, other) => (own != other).then_some(("", " with another protocol")),
    }
}

/// Why two listeners of one hostname conflict. HTTPS and TLS share a port, but no hostname.
fn hostname_conflict(listener: &Listener, other: &Protocol) -> (Reason, String) {
    if listener.declared == *other {
        (Reason::HostnameConflict, String::new())
    } else {
        (Reason::ProtocolConflict, format!(" with protocol {}", other.as_str()))
    }
}

/// Where listeners meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Socket {
    /// A port of one Gateway, wherever it listens.
    Gateway(usize, u16, Transport),
    /// A port of an address.
    Address(Option<IpAddr>, u16, Transport),
}

/// Who claimed a socket first, with which protocol, and who claimed which hostnames on it.
struct Claim {
    protocol: ir::Protocol,
    proxies: Option<Arc<ir::ProxySources>>,
    owner: Owner,
    hostnames: HashMap<Option<Hostname>, (Protocol, Owner)>,
}

/// The object that a listener belongs to.
type Owner = (Kind, Name);

type Claims = HashMap<Socket, Claim>;

/// Lets the listeners of all Gateways and their ListenerSets share sockets; `gateways` stand in the
/// order in which they win.
pub(super) fn share(gateways: &mut [Planned]) {
    let mut claims = Claims::new();
    for (at, gateway) in gateways.iter_mut().enumerate() {
        if gateway.fault.is_some() {
            continue;
        }
        let owner = (Kind::Gateway, gateway.name.clone());
        let Planned { site, listeners, .. } = gateway;
        settle(&mut claims, at, site, &owner, listeners);
    }
    let mut sets = Vec::new();
    for (at, gateway) in gateways.iter_mut().enumerate() {
        if gateway.is_accepted() {
            let all = gateway.sets.iter().enumerate();
            sets.extend(all.map(|(set, planned)| (planned.precedence(), at, set)));
        } else {
            gateway.sets.iter_mut().for_each(|set| among_siblings(&mut set.listeners));
        }
    }
    sets.sort();
    for (_, at, set) in sets {
        let Planned { site, sets, .. } = &mut gateways[at];
        let owner = (Kind::ListenerSet, sets[set].name.clone());
        settle(&mut claims, at, site, &owner, &mut sets[set].listeners);
    }
    for gateway in gateways {
        find_overlaps(gateway);
    }
}

/// Settles who of one object loses to others and to its siblings; the rest takes its sockets.
fn settle(
    claims: &mut Claims,
    gateway: usize,
    site: &Site,
    owner: &Owner,
    listeners: &mut [Listener],
) {
    for listener in listeners.iter_mut().filter(|listener| listener.accepts()) {
        let sockets = sockets(gateway, site, listener);
        let mut known = sockets.iter().filter_map(|socket| claims.get(socket));
        listener.conflict = known.find_map(|claim| of_claim(claim, owner, listener));
    }
    among_siblings(listeners);
    for listener in listeners.iter().filter(|listener| listener.accepts()) {
        let Some(protocol) = listener.protocol else { continue };
        for socket in sockets(gateway, site, listener) {
            let claim = claims.entry(socket).or_insert_with(|| Claim {
                protocol,
                proxies: listener.proxies.clone(),
                owner: owner.clone(),
                hostnames: HashMap::new(),
            });
            let holder = (listener.declared.clone(), owner.clone());
            claim.hostnames.insert(listener.hostname.clone(), holder);
        }
    }
}

fn sockets(gateway: usize, site: &Site, listener: &Listener) -> Vec<Socket> {
    let Some((port, transport)) = listener.socket() else { return Vec::new() };
    let shared = site.sockets(port).into_iter();
    let shared = shared.map(|(address, port)| Socket::Address(address, port, transport));
    std::iter::once(Socket::Gateway(gateway, port, transport)).chain(shared).collect()
}

fn of_claim(claim: &Claim, own: &Owner, listener: &Listener) -> Option<Fault> {
    let port = listener.port;
    if let Some((alone, how)) = port_conflict(listener, claim.protocol) {
        let by = told(&claim.owner, own);
        let message = format!("port {port}{alone} is used{how} by {by}: change the port");
        return Some(Fault::new(Reason::ProtocolConflict, listener.field("port"), message));
    }
    if claim.proxies != listener.proxies {
        let by = told(&claim.owner, own);
        let message = format!(
            "port {port} is used with another {FROM_ANNOTATION} by {by}: change the port or the annotation"
        );
        return Some(Fault::new(Reason::ProtocolConflict, listener.field("port"), message));
    }
    let (declared, owner) = claim.hostnames.get(&listener.hostname)?;
    let (reason, with) = hostname_conflict(listener, declared);
    let message = format!(
        "hostname {} on port {port} is used{with} by {}: change the hostname or the port",
        hostname_text(listener),
        told(owner, own)
    );
    Some(Fault::new(reason, listener.field("hostname"), message))
}

/// How one owner is called towards another that it goes before: a ListenerSet of another namespace
/// has no name there.
fn told((kind, name): &Owner, (own_kind, own): &Owner) -> String {
    let is_hidden = (kind, own_kind) == (&Kind::ListenerSet, &Kind::ListenerSet)
        && name.namespace != own.namespace;
    let who = if is_hidden {
        "a ListenerSet of another namespace".to_owned()
    } else {
        format!("{} {name}", kind.as_str())
    };
    let why = if kind == own_kind { "age, then name" } else { "Gateways go before ListenerSets" };
    format!("{who}, which goes before it ({why})")
}

fn hostname_text(listener: &Listener) -> String {
    listener.hostname.as_ref().map_or_else(|| "(any)".to_owned(), ToString::to_string)
}

/// Notes HTTPS and TLS listeners of one Gateway and port whose hostnames overlap: a browser that reuses
/// a connection for both names would be answered 421.
fn find_overlaps(gateway: &mut Planned) {
    let is_tls =
        |listener: &Listener| listener.protocol == Some(ir::Protocol::Tls) && listener.accepts();
    let all: Vec<&Listener> = gateway.all_listeners().filter(|listener| is_tls(listener)).collect();
    let known: HashMap<(u16, Option<&Hostname>), usize> = all
        .iter()
        .enumerate()
        .map(|(at, listener)| ((listener.port, listener.hostname.as_ref()), at))
        .collect();
    let mut partners: Vec<Option<usize>> = vec![None; all.len()];
    for (at, listener) in all.iter().enumerate() {
        let Some(own) = &listener.hostname else { continue };
        let wider = hostname::wider(own);
        let wider = wider.iter().map(Some).chain([None]);
        for other in wider.filter_map(|name| known.get(&(listener.port, name))) {
            partners[at].get_or_insert(*other);
            partners[*other].get_or_insert(at);
        }
    }
    let message =
        |at: usize| format!("The hostname overlaps with that of listener {}", all[at].name);
    let messages: Vec<_> = partners.into_iter().map(|other| other.map(message)).collect();
    let mut messages = messages.into_iter();
    let Planned { listeners, sets, .. } = gateway;
    let own = listeners.iter_mut().chain(sets.iter_mut().flat_map(|set| &mut set.listeners));
    for listener in own.filter(|listener| is_tls(listener)) {
        listener.overlap = messages.next().flatten();
    }
}
