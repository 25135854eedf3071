//! Conflicts between listeners: among siblings nobody wins, between objects who comes first wins.
//!
//! Every Gateway comes before every ListenerSet; Gateways and ListenerSets go by age, then by
//! `namespace/name`. Only listeners of one Gateway, or of Gateways that share a socket, can conflict.

use std::collections::HashMap;
use std::net::IpAddr;

use proxy::ir::{self, Hostname};

use super::address::Site;
use super::gateway::Planned;
use super::listener::Listener;
use super::status::Reason;
use super::{Fault, hostname};
use crate::api::{Kind, Name, Protocol};

/// Refuses all listeners of one object that claim the same port with different protocols, or the
/// same port and hostname: among siblings no conflicting listener wins.
pub(super) fn among_siblings(listeners: &mut [Listener]) {
    let mut ports: HashMap<u16, Vec<usize>> = HashMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        if listener.refusal.is_none() {
            ports.entry(listener.port).or_default().push(index);
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
    if listener.protocol != other.protocol {
        let message = format!(
            "listener {} uses port {} with another protocol: change one of the ports",
            other.name, listener.port
        );
        return Some(Fault::new(Reason::ProtocolConflict, listener.field("port"), message));
    }
    (listener.hostname == other.hostname).then(|| {
        let message = format!(
            "listener {} has the same port {} and hostname {}: change one of them",
            other.name,
            listener.port,
            hostname_text(listener)
        );
        Fault::new(Reason::HostnameConflict, listener.field("hostname"), message)
    })
}

/// Where listeners meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Socket {
    /// A port of one Gateway, wherever it listens.
    Gateway(usize, u16),
    /// A port of an address.
    Address(Option<IpAddr>, u16),
}

/// Who claimed a socket first, with which protocol, and who claimed which hostnames on it.
struct Claim {
    protocol: ir::Protocol,
    owner: Owner,
    hostnames: HashMap<Option<Hostname>, Owner>,
}

/// The object that a listener belongs to.
type Owner = (Kind, Name);

/// Lets the listeners of all Gateways and their ListenerSets share sockets; `gateways` stand in the
/// order in which they win.
pub(super) fn share(gateways: &mut [Planned]) {
    let mut claims: HashMap<Socket, Claim> = HashMap::new();
    for (at, gateway) in gateways.iter_mut().enumerate() {
        if gateway.fault.is_some() {
            continue;
        }
        let owner = (Kind::Gateway, gateway.name.clone());
        let Planned { site, listeners, .. } = gateway;
        for listener in listeners.iter_mut() {
            claim(&mut claims, &sockets(at, listener.port, site), &owner, listener);
        }
    }
    let mut sets: Vec<_> = gateways
        .iter()
        .enumerate()
        .filter(|(_, gateway)| gateway.is_accepted())
        .flat_map(|(at, gateway)| {
            let sets = gateway.sets.iter().enumerate();
            sets.map(move |(set, planned)| (planned.precedence(), at, set))
        })
        .collect();
    sets.sort();
    for (_, at, set) in sets {
        let Planned { site, sets, .. } = &mut gateways[at];
        let owner = (Kind::ListenerSet, sets[set].name.clone());
        for listener in &mut sets[set].listeners {
            claim(&mut claims, &sockets(at, listener.port, site), &owner, listener);
        }
    }
    for gateway in gateways {
        find_overlaps(gateway);
    }
}

fn sockets(gateway: usize, port: u16, site: &Site) -> Vec<Socket> {
    let shared = site.sockets(port).into_iter();
    let shared = shared.map(|(address, port)| Socket::Address(address, port));
    std::iter::once(Socket::Gateway(gateway, port)).chain(shared).collect()
}

/// Takes the sockets for the listener, or says who has them.
fn claim(
    claims: &mut HashMap<Socket, Claim>,
    sockets: &[Socket],
    owner: &Owner,
    listener: &mut Listener,
) {
    let mut known = sockets.iter().filter_map(|socket| claims.get(socket));
    if !listener.accepts() {
        // What is not served takes nothing, but a ListenerSet is told that its port is taken: there
        // the conflict would stay if the protocol were served.
        if owner.0 == Kind::ListenerSet && listener.conflict.is_none() {
            listener.conflict = known.find_map(|claim| of_protocol(claim, owner, listener));
        }
        return;
    }
    if let Some(fault) = known.find_map(|claim| of_claim(claim, owner, listener)) {
        listener.conflict = Some(fault);
        return;
    }
    let Some(protocol) = listener.protocol else { return };
    for socket in sockets {
        let claim = claims.entry(*socket).or_insert_with(|| Claim {
            protocol,
            owner: owner.clone(),
            hostnames: HashMap::new(),
        });
        claim.hostnames.insert(listener.hostname.clone(), owner.clone());
    }
}

fn of_claim(claim: &Claim, own: &Owner, listener: &Listener) -> Option<Fault> {
    if let Some(fault) = of_protocol(claim, own, listener) {
        return Some(fault);
    }
    let owner = claim.hostnames.get(&listener.hostname).filter(|owner| *owner != own)?;
    let message = format!(
        "hostname {} on port {} is used by {}, which goes before it ({}): change the hostname or the port",
        hostname_text(listener),
        listener.port,
        told(owner, own),
        precedence(owner, own)
    );
    Some(Fault::new(Reason::HostnameConflict, listener.field("hostname"), message))
}

/// A conflict of protocols. TCP shares its port with nobody; TLS may stand beside HTTPS.
fn of_protocol(claim: &Claim, own: &Owner, listener: &Listener) -> Option<Fault> {
    let conflicts = match (&listener.declared, claim.protocol) {
        (Protocol::Http, protocol) => protocol != ir::Protocol::Http,
        (Protocol::Https, protocol) => protocol != ir::Protocol::Tls,
        (Protocol::Tls, protocol) => protocol == ir::Protocol::Http,
        (Protocol::Tcp, _) => true,
        (Protocol::Udp | Protocol::Unknown(_), _) => false,
    };
    let owner = &claim.owner;
    conflicts.then(|| {
        let message = format!(
            "port {} is used with another protocol by {}, which goes before it ({}): change the port",
            listener.port,
            told(owner, own),
            precedence(owner, own)
        );
        Fault::new(Reason::ProtocolConflict, listener.field("port"), message)
    })
}

/// How one owner is called towards another: a ListenerSet of another namespace has no name there.
fn told((kind, name): &Owner, (own_kind, own): &Owner) -> String {
    if (kind, own_kind) == (&Kind::ListenerSet, &Kind::ListenerSet)
        && name.namespace != own.namespace
    {
        return "a ListenerSet of another namespace".to_owned();
    }
    format!("{} {name}", kind.as_str())
}

fn precedence((kind, _): &Owner, (own, _): &Owner) -> &'static str {
    if kind == own { "age, then name" } else { "Gateways go before ListenerSets" }
}

fn hostname_text(listener: &Listener) -> String {
    listener.hostname.as_ref().map_or_else(|| "(any)".to_owned(), ToString::to_string)
}

/// Notes HTTPS listeners of one Gateway and port whose hostnames overlap: a browser that reuses a
/// connection for both names would be answered 421.
fn find_overlaps(gateway: &mut Planned) {
    let https =
        |listener: &Listener| listener.protocol == Some(ir::Protocol::Tls) && listener.accepts();
    let all: Vec<&Listener> = gateway.all_listeners().filter(|listener| https(listener)).collect();
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
    for listener in own.filter(|listener| https(listener)) {
        listener.overlap = messages.next().flatten();
    }
}
