//! Where each Gateway listens, and which addresses its status shows.
//!
//! Pure: which addresses there are comes with the snapshot ([`Addressing`]), and what a Gateway
//! already has is read from its own status (mode `pool`) or its Service (mode `service`), so that
//! every replica, the next leader and the next process come to the same answer. Called once per
//! translation, with the Gateways oldest first. Invariants: no address of a pool and no port of our
//! own choosing is given to two Gateways; an address that a Gateway has stays its own for as long as
//! it asks for nothing else; a status shows one address for each entry of the spec that is satisfied
//! and no other.

mod cluster;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::gateway::Planned;
use super::infrastructure;
use super::status::{Address, Reason};
use super::{Fault, pool::Pool};
use crate::api::{
    AddressType, Gateway, GatewayAddress, Ingress, Name, Routability, Service, TargetPort,
};
use crate::store::Snapshot;
pub(super) use cluster::{asked_for, asks_for_others};

/// The ports that are bound behind Services, one for each port of each Gateway: in mode `service`, and
/// of Gateways that ask for a ClusterIP alone.
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

/// What a status says of an address that is no ClusterIP.
const DEFAULT: &str = "";

/// An entry of `spec.addresses` that a mode has to satisfy.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// Its path.
    field: String,
    /// What the status says of its address.
    routability: &'static str,
}

/// What a Gateway asks for in `spec.addresses`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    /// Addresses by value.
    named: Vec<(Entry, IpAddr)>,
    /// Addresses of any value; one if the spec names none.
    any: Vec<Entry>,
    /// How many of those are still to be found.
    missing: usize,
    /// Its Service's ClusterIPs, by value or not: the paths of the entries.
    cluster: Vec<(String, Option<IpAddr>)>,
    /// What cannot be had in any mode.
    vain: Vec<Fault>,
}

impl Wish {
    /// Whether it asks for anything but ClusterIPs.
    fn is_of_mode(&self) -> bool {
        !self.named.is_empty() || !self.any.is_empty()
    }

    /// What a status says of an address that it names.
    fn of_named(&self, ip: IpAddr) -> Option<&'static str> {
        let found = self.named.iter().find(|(_, named)| *named == ip);
        found.map(|(entry, _)| entry.routability)
    }
}

/// Gives every Gateway that is not refused its place; refuses those that ask for what cannot be.
pub(super) fn assign(snapshot: &Snapshot, gateways: &mut [Planned]) {
    let mut wishes: Vec<Wish> = gateways
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
        Addressing::Host => each(gateways, &wishes, |one, wish| on_host(snapshot, one, wish)),
        Addressing::Pool(pool) => from_pool(pool, gateways, &mut wishes),
        Addressing::Service => {
            each(gateways, &wishes, |one, wish| behind_service(snapshot, one, wish));
        }
    }
    each(gateways, &wishes, |one, wish| cluster::add(snapshot, one, wish));
    choose_ports(snapshot, gateways);
    each(gateways, &wishes, |one, wish| finish(snapshot, one, wish));
}

/// Each Gateway that is not refused.
fn each(gateways: &mut [Planned], wishes: &[Wish], mut visit: impl FnMut(&mut Planned, &Wish)) {
    let served = gateways.iter_mut().zip(wishes).filter(|(gateway, _)| gateway.fault.is_none());
    served.for_each(|(gateway, wish)| visit(gateway, wish));
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
        let ip: Option<IpAddr> = value(address).map(str::parse).transpose().map_err(|_| {
            let message = format!("{field}.value is not an IP address");
            Fault::new(Reason::UnsupportedAddress, format!("{field}.value"), message)
        })?;
        let routability = match &address.routability {
            Routability::Default => DEFAULT,
            Routability::Sentinel => cluster::SENTINEL,
            Routability::Cluster => {
                found.cluster.push((field, ip));
                continue;
            }
            Routability::Unknown(other) => {
                found.vain.push(cluster::unsupported(&field, other));
                continue;
            }
        };
        match ip {
            None => found.any.push(Entry { field, routability }),
            Some(ip) if found.of_named(ip).is_some() => {}
            Some(ip) => found.named.push((Entry { field, routability }, ip)),
        }
    }
    if object.spec.addresses.is_empty() {
        found.any.push(Entry { field: "spec.addresses".to_owned(), routability: DEFAULT });
    }
    found.missing = found.any.len();
    Ok(found)
}

fn value(address: &GatewayAddress) -> Option<&str> {
    address.value.as_deref().filter(|value| !value.is_empty())
}

fn shown(ip: IpAddr, routability: &'static str) -> Address {
    Address { kind: "IPAddress", value: ip.to_string(), routability: Some(routability) }
}

/// An entry whose value cannot be had, which keeps the Gateway from counting as programmed.
fn unusable(gateway: &mut Planned, entry: &Entry, message: &str) {
    let field = format!("{}.value", entry.field);
    let fault = Fault::new(Reason::AddressNotUsable, &*field, format!("{field}: {message}"));
    gateway.lacking.push(fault.clone());
    gateway.unassigned.get_or_insert(fault);
}

/// An entry for which there is no address.
fn unassigned(entry: &Entry, message: &str) -> Fault {
    let field = &*entry.field;
    Fault::new(Reason::AddressNotAssigned, field, format!("{field}: {message}"))
}

/// What all modes end with: a Gateway that has nothing is not programmed.
fn finish(snapshot: &Snapshot, gateway: &mut Planned, wish: &Wish) {
    gateway.lacking.extend(wish.vain.iter().cloned());
    if gateway.shown.is_empty() {
        gateway.lacking.iter_mut().for_each(|fault| fault.reason = Reason::AddressNotAssigned);
        if let Some(fault) = gateway.lacking.first() {
            gateway.unassigned = Some(fault.clone());
        }
    }
    if snapshot.lacks_routability {
        gateway.shown.iter_mut().for_each(|address| address.routability = None);
    }
}

fn on_host(snapshot: &Snapshot, gateway: &mut Planned, wish: &Wish) {
    let mut named: Vec<IpAddr> = wish.named.iter().map(|(_, ip)| *ip).collect();
    named.sort_unstable();
    let of_named = |ip: IpAddr| shown(ip, wish.of_named(ip).unwrap_or(DEFAULT));
    gateway.shown = named.iter().copied().map(of_named).collect();
    if wish.any.is_empty() {
        gateway.site = Site::At(named.into_iter().map(Some).collect());
        return;
    }
    gateway.site = Site::At(vec![None]);
    let own = snapshot.host_addresses.iter().copied();
    let mut own = own.filter(|ip| !named.contains(ip));
    if gateway.object.spec.addresses.is_empty() {
        gateway.shown.extend(own.map(|ip| shown(ip, DEFAULT)));
    } else if !snapshot.host_addresses.is_empty() {
        for entry in &wish.any {
            match own.next() {
                Some(ip) => gateway.shown.push(shown(ip, entry.routability)),
                None => gateway.lacking.push(unassigned(entry, "the host has no further address")),
            }
        }
    }
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
fn from_pool(pool: &Pool, gateways: &mut [Planned], wishes: &mut [Wish]) {
    let mut taken = Taken::default();
    let mut given: Vec<Vec<IpAddr>> = vec![Vec::new(); gateways.len()];
    let served = |gateway: &Planned| gateway.fault.is_none();
    for ((gateway, wish), given) in gateways.iter().zip(&mut *wishes).zip(&mut given) {
        if served(gateway) {
            keep(pool, gateway, wish, given, &mut taken);
        }
    }
    for ((gateway, wish), given) in gateways.iter_mut().zip(&*wishes).zip(&mut given) {
        if served(gateway) {
            take_named(pool, gateway, wish, given, &mut taken);
        }
    }
    let mut free = pool.addresses();
    for ((gateway, wish), mut given) in gateways.iter_mut().zip(&*wishes).zip(given) {
        if served(gateway) {
            given.extend(free.by_ref().filter(|ip| !taken.0.contains_key(ip)).take(wish.missing));
            show_given(pool, gateway, wish, &given);
        }
        gateway.site = Site::At(given.into_iter().map(Some).collect());
    }
}

fn show_given(pool: &Pool, gateway: &mut Planned, wish: &Wish, given: &[IpAddr]) {
    let mut any = wish.any.iter();
    let addresses = given.iter().map(|ip| {
        let routability = wish.of_named(*ip).or_else(|| Some(any.next()?.routability));
        shown(*ip, routability.unwrap_or(DEFAULT))
    });
    gateway.shown = addresses.collect();
    gateway.lacking.extend(any.map(|entry| unassigned(entry, &exhausted(pool))));
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
        let is_named = wish.of_named(ip).is_some();
        if given.contains(&ip) || !(is_named || wish.missing > 0) || !taken.take(ip, &gateway.name)
        {
            continue;
        }
        given.push(ip);
        if !is_named {
            wish.missing -= 1;
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
    for (entry, ip) in &wish.named {
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
        unusable(gateway, entry, &message);
    }
}

fn exhausted(pool: &Pool) -> String {
    format!("all addresses of the pool {pool} are taken: widen --addresses or delete a Gateway")
}

/// A Gateway behind a Service of its own, whose address is the Gateway's.
fn behind_service(snapshot: &Snapshot, gateway: &mut Planned, wish: &Wish) {
    if !wish.is_of_mode() {
        return;
    }
    gateway.site = Site::Mapped(BTreeMap::new());
    let name = infrastructure::service_name(&gateway.name);
    let service = own_service(snapshot, gateway);
    let ingress = service.map_or(&[][..], |one| &one.status.load_balancer.ingress[..]);
    let waits = || {
        format!(
            "Service {name} has no address yet: something in the cluster must serve Services of type LoadBalancer"
        )
    };
    if gateway.object.spec.addresses.is_empty() {
        gateway.shown = ingress.iter().filter_map(of_ingress).collect();
        if gateway.shown.is_empty() {
            gateway.lacking.extend(wish.any.iter().map(|entry| unassigned(entry, &waits())));
        }
        return;
    }
    let mut free: Vec<IpAddr> =
        ingress.iter().filter_map(|one| one.ip.as_ref()?.parse().ok()).collect();
    let is_waiting = free.is_empty();
    for (entry, ip) in &wish.named {
        if let Some(at) = free.iter().position(|one| one == ip) {
            gateway.shown.push(shown(free.remove(at), entry.routability));
        } else if is_waiting {
            gateway.lacking.push(unassigned(entry, &waits()));
        } else {
            let message =
                format!("Service {name} was not given {ip}: choose another address or none");
            unusable(gateway, entry, &message);
        }
    }
    let mut free = free.into_iter();
    for entry in &wish.any {
        match free.next() {
            Some(ip) => gateway.shown.push(shown(ip, entry.routability)),
            None if is_waiting => gateway.lacking.push(unassigned(entry, &waits())),
            None => {
                let message = format!("Service {name} has no further address");
                gateway.lacking.push(unassigned(entry, &message));
            }
        }
    }
}

fn of_ingress(one: &Ingress) -> Option<Address> {
    let ip = one.ip.as_ref().and_then(|ip| ip.parse().ok());
    ip.map(|ip| shown(ip, DEFAULT)).or_else(|| {
        let value = one.hostname.as_ref()?.to_string();
        Some(Address { kind: "Hostname", value, routability: Some(DEFAULT) })
    })
}

/// The Service that we made for a Gateway.
fn own_service<'a>(snapshot: &'a Snapshot, gateway: &Planned) -> Option<&'a Service> {
    let name = infrastructure::service_name(&gateway.name);
    let service = snapshot.services.get(&name)?;
    infrastructure::is_ours(&service.metadata.labels, &gateway.name).then_some(service)
}

/// The port that we bind for each port of each Gateway behind a Service, TCP and UDP alike: first those
/// that Services already lead to. Other Gateways' ports are theirs.
fn choose_ports(snapshot: &Snapshot, gateways: &mut [Planned]) {
    let is_mapped = |gateway: &Planned| matches!(gateway.site, Site::Mapped(_));
    let others =
        gateways.iter().filter(|gateway| !is_mapped(gateway) && !gateway.site.is_nowhere());
    let mut taken: HashSet<u16> = others.flat_map(Planned::ports).map(|(port, _)| port).collect();
    for gateway in gateways.iter_mut().filter(|gateway| is_mapped(gateway)) {
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
    for gateway in gateways.iter_mut() {
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
