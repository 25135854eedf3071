//! Where each Gateway listens, and which addresses its status shows.
//!
//! Pure: which addresses there are comes with the snapshot ([`Addressing`]), and what a Gateway
//! already has is read from its own status (mode `pool`) or its Service (mode `service`), so that
//! every replica, the next leader and the next process come to the same answer. Called once per
//! translation, with the Gateways oldest first. Invariants: no address of a pool and no port of our
//! own choosing is given to two Gateways; an address that a Gateway has stays its own for as long as
//! it asks for nothing else.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::gateway::Planned;
use super::infrastructure;
use super::status::{Address, Reason};
use super::{Fault, pool::Pool};
use crate::api::{AddressType, Gateway, GatewayAddress, Name, Service, TargetPort};
use crate::store::Snapshot;

/// The ports that mode `service` binds, one for each port of each Gateway.
pub const SERVICE_PORTS: RangeInclusive<u16> = 20_000..=29_999;

/// Where the addresses of Gateways come from (`--addresses`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// The host's own.
    #[default]
    Host,
    /// A pool, from which every Gateway has its own.
    Pool(Pool),
    /// A Service of type LoadBalancer for every Gateway.
    Service,
}

/// Where a Gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// On these addresses, with the ports it names; `None` is every address.
    At(Vec<Option<IpAddr>>),
    /// On every address, with a port of our own choosing for each port it names.
    Mapped(BTreeMap<u16, u16>),
}

impl Site {
    /// The sockets of a port of the Gateway.
    pub(super) fn sockets(&self, port: u16) -> Vec<(Option<IpAddr>, u16)> {
        match self {
            Self::At(addresses) => addresses.iter().map(|address| (*address, port)).collect(),
            Self::Mapped(ports) => ports.get(&port).map(|port| (None, *port)).into_iter().collect(),
        }
    }

    /// The addresses it names.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = match self {
            Self::At(addresses) => &addresses[..],
            Self::Mapped(_) => &[],
        };
        addresses.iter().copied().flatten()
    }

    /// Whether it listens nowhere.
    pub(super) fn is_nowhere(&self) -> bool {
        match self {
            Self::At(addresses) => addresses.is_empty(),
            Self::Mapped(ports) => ports.is_empty(),
        }
    }
}

/// What a Gateway asks for in `spec.addresses`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    /// Addresses by value, with the position of each in the spec.
    named: Vec<(usize, IpAddr)>,
    /// How many more of any value.
    any: usize,
}

/// Gives every Gateway that is not refused its place; refuses those that ask for what cannot be.
pub(super) fn assign(snapshot: &Snapshot, gateways: &mut [Planned]) {
    let wishes: Vec<Wish> = gateways
        .iter_mut()
        .map(|gateway| match wish(&gateway.object) {
            Ok(wish) => wish,
            Err(fault) => {
                gateway.fault.get_or_insert(fault);
                Wish::default()
            }
        })
        .collect();
    match &snapshot.addressing {
        Addressing::Host => {
            for (gateway, wish) in gateways.iter_mut().zip(wishes) {
                on_host(snapshot, gateway, &wish);
            }
        }
        Addressing::Pool(pool) => from_pool(pool, gateways, wishes),
        Addressing::Service => behind_services(snapshot, gateways, &wishes),
    }
}

fn wish(object: &Gateway) -> Result<Wish, Fault> {
    let mut found = Wish::default();
    for (index, address) in object.spec.addresses.iter().enumerate() {
        let field = format!("spec.addresses[{index}]");
        if address.kind != AddressType::IpAddress {
            let message =
                format!("{field}.type is {}: only IPAddress is supported", address.kind.as_str());
            return Err(Fault::new(Reason::UnsupportedAddress, format!("{field}.type"), message));
        }
        match value(address).map(str::parse) {
            None => found.any += 1,
            Some(Ok(ip)) if found.named.iter().any(|(_, known)| *known == ip) => {}
            Some(Ok(ip)) => found.named.push((index, ip)),
            Some(Err(_)) => {
                let message = format!("{field}.value is not an IP address");
                let field = format!("{field}.value");
                return Err(Fault::new(Reason::UnsupportedAddress, field, message));
            }
        }
    }
    if found.named.is_empty() {
        found.any = found.any.max(1);
    }
    Ok(found)
}

fn value(address: &GatewayAddress) -> Option<&str> {
    address.value.as_deref().filter(|value| !value.is_empty())
}

fn shown(ip: IpAddr) -> Address {
    Address { kind: "IPAddress", value: ip.to_string() }
}

fn on_host(snapshot: &Snapshot, gateway: &mut Planned, wish: &Wish) {
    let mut named: Vec<IpAddr> = wish.named.iter().map(|(_, ip)| *ip).collect();
    named.sort_unstable();
    let (addresses, visible) = if wish.any > 0 {
        (vec![None], snapshot.host_addresses.to_vec())
    } else {
        (named.iter().copied().map(Some).collect(), named)
    };
    gateway.site = Site::At(addresses);
    gateway.shown = visible.into_iter().map(shown).collect();
}

/// Who has which address of the pool.
#[derive(Debug, Default)]
struct Taken(BTreeMap<IpAddr, Name>);

impl Taken {
    fn take(&mut self, ip: IpAddr, name: &Name) -> bool {
        let owner = self.0.entry(ip).or_insert_with(|| name.clone());
        owner == name
    }
}

/// First what Gateways already have, then what they name, then what is free; each time oldest first.
fn from_pool(pool: &Pool, gateways: &mut [Planned], mut wishes: Vec<Wish>) {
    let mut taken = Taken::default();
    let mut given: Vec<Vec<IpAddr>> = vec![Vec::new(); gateways.len()];
    let served = |gateway: &Planned| gateway.fault.is_none();
    for ((gateway, wish), given) in gateways.iter().zip(&mut wishes).zip(&mut given) {
        if served(gateway) {
            keep(pool, gateway, wish, given, &mut taken);
        }
    }
    for ((gateway, wish), given) in gateways.iter_mut().zip(&wishes).zip(&mut given) {
        if served(gateway) {
            take_named(pool, gateway, wish, given, &mut taken);
        }
    }
    let mut free = pool.addresses();
    for ((gateway, wish), mut given) in gateways.iter_mut().zip(&wishes).zip(given) {
        if served(gateway) {
            let more = free.by_ref().filter(|ip| !taken.0.contains_key(ip)).take(wish.any);
            let before = given.len();
            given.extend(more);
            if given.len() - before < wish.any {
                gateway.unassigned.get_or_insert_with(|| exhausted(pool));
            }
        }
        gateway.shown = given.iter().copied().map(shown).collect();
        gateway.site = Site::At(given.into_iter().map(Some).collect());
    }
}

/// Gives a Gateway what its status shows, as far as it still asks for it.
fn keep(
    pool: &Pool,
    gateway: &Planned,
    wish: &mut Wish,
    given: &mut Vec<IpAddr>,
    taken: &mut Taken,
) {
    let had = gateway.object.status.addresses.iter().filter_map(|one| value(one)?.parse().ok());
    for ip in had.filter(|ip| pool.contains(*ip)) {
        let is_named = wish.named.iter().any(|(_, named)| *named == ip);
        if given.contains(&ip) || !(is_named || wish.any > 0) || !taken.take(ip, &gateway.name) {
            continue;
        }
        given.push(ip);
        if !is_named {
            wish.any -= 1;
        }
    }
}

fn take_named(
    pool: &Pool,
    gateway: &mut Planned,
    wish: &Wish,
    given: &mut Vec<IpAddr>,
    taken: &mut Taken,
) {
    for (index, ip) in &wish.named {
        let message = if !pool.contains(*ip) {
            format!("{ip} is not an address of the pool {pool}: choose one of them")
        } else if taken.take(*ip, &gateway.name) {
            if !given.contains(ip) {
                given.push(*ip);
            }
            continue;
        } else {
            format!("{ip} belongs to Gateway {}: choose another address", taken.0[ip])
        };
        let field = format!("spec.addresses[{index}].value");
        let message = format!("{field}: {message}");
        let fault = Fault::new(Reason::AddressNotUsable, field, message);
        gateway.unassigned.get_or_insert(fault);
    }
}

fn exhausted(pool: &Pool) -> Fault {
    let message = format!(
        "all addresses of the pool {pool} are taken: widen --addresses or delete a Gateway"
    );
    Fault::new(Reason::AddressNotAssigned, "spec.addresses", message)
}

/// Every Gateway behind a Service of its own; the Service's address is the Gateway's.
fn behind_services(snapshot: &Snapshot, gateways: &mut [Planned], wishes: &[Wish]) {
    choose_ports(snapshot, gateways);
    for (gateway, wish) in gateways.iter_mut().zip(wishes).filter(|(one, _)| one.fault.is_none()) {
        let name = infrastructure::service_name(&gateway.name);
        let service = own_service(snapshot, gateway);
        let ingress = service.map_or(&[][..], |one| &one.status.load_balancer.ingress[..]);
        gateway.shown = ingress
            .iter()
            .filter_map(|one| {
                let hostname = |host: &std::sync::Arc<str>| Address {
                    kind: "Hostname",
                    value: host.to_string(),
                };
                let ip = one.ip.as_ref().and_then(|ip| ip.parse().ok()).map(shown);
                ip.or_else(|| one.hostname.as_ref().map(hostname))
            })
            .collect();
        let other = wish
            .named
            .iter()
            .find(|(_, ip)| !gateway.shown.iter().any(|one| one.value == ip.to_string()));
        let fault = if gateway.shown.is_empty() {
            let message = format!(
                "Service {name} has no address yet: something in the cluster must serve Services of type LoadBalancer"
            );
            Some(Fault::new(Reason::AddressNotAssigned, "spec.addresses", message))
        } else {
            other.map(|(index, ip)| {
                let field = format!("spec.addresses[{index}].value");
                let message = format!(
                    "{field}: Service {name} was not given {ip}: choose another address or none"
                );
                Fault::new(Reason::AddressNotUsable, field, message)
            })
        };
        if let Some(fault) = fault {
            gateway.unassigned.get_or_insert(fault);
        }
    }
}

/// The Service that we made for a Gateway.
fn own_service<'a>(snapshot: &'a Snapshot, gateway: &Planned) -> Option<&'a Service> {
    let name = infrastructure::service_name(&gateway.name);
    let service = snapshot.services.get(&name)?;
    infrastructure::is_ours(&service.metadata.labels, &gateway.name).then_some(service)
}

/// The port that we bind for each port of each Gateway, TCP and UDP alike: first those that Services
/// already lead to.
fn choose_ports(snapshot: &Snapshot, gateways: &mut [Planned]) {
    let mut taken: HashSet<u16> = HashSet::new();
    for gateway in gateways.iter_mut().filter(|gateway| gateway.fault.is_none()) {
        let wanted: BTreeSet<u16> = gateway.ports().into_iter().map(|(port, _)| port).collect();
        let ports =
            own_service(snapshot, gateway).map_or(&[][..], |service| &service.spec.ports[..]);
        let known = ports.iter().filter_map(|spec| match spec.target_port {
            Some(TargetPort::Number(port)) if SERVICE_PORTS.contains(&port) => {
                Some((spec.port, port))
            }
            _ => None,
        });
        let kept = known.filter(|(port, own)| wanted.contains(port) && taken.insert(*own));
        gateway.site = Site::Mapped(kept.collect());
    }
    for gateway in gateways.iter_mut().filter(|gateway| gateway.fault.is_none()) {
        let wanted: BTreeSet<u16> = gateway.ports().into_iter().map(|(port, _)| port).collect();
        let Site::Mapped(map) = &mut gateway.site else { continue };
        for port in wanted {
            if map.contains_key(&port) {
                continue;
            }
            let Some(own) = free_port(&gateway.name, port, &mut taken) else {
                gateway.unassigned.get_or_insert_with(ports_exhausted);
                break;
            };
            map.insert(port, own);
        }
    }
}

/// A port that depends on the Gateway alone, or the next free one after it.
fn free_port(gateway: &Name, port: u16, taken: &mut HashSet<u16>) -> Option<u16> {
    let (first, last) = (*SERVICE_PORTS.start(), *SERVICE_PORTS.end());
    let count = u64::from(last - first) + 1;
    let start = infrastructure::hash(&format!("{gateway}:{port}")) % count;
    let candidates = (0..count).map(|step| {
        let offset = u16::try_from((start + step) % count).expect("less than the range is long");
        first + offset
    });
    candidates.into_iter().find(|port| taken.insert(*port))
}

fn ports_exhausted() -> Fault {
    let message = format!(
        "all ports from {} to {} are taken by other Gateways: delete one",
        SERVICE_PORTS.start(),
        SERVICE_PORTS.end()
    );
    Fault::new(Reason::NoResources, "spec.listeners", message)
}
