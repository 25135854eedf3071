//! The objects that stand for a Gateway in its namespace: a Service without selector, and the
//! EndpointSlices behind it.
//!
//! Pure: it says what they should be; [`crate::status`] writes them while we lead. A Gateway that is
//! refused gets none. Invariants: names and label values are valid and at most [`LABEL_MAX`] long
//! however long the Gateway's name is, and two Gateways never share one; every object is owned by its
//! Gateway, so that it goes with it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::address::{self, Addressing, Site};
use super::gateway::Planned;
use crate::api::{Endpoint, GATEWAY_GROUP, Name, Routability};
use crate::report::Transport;
use crate::store::Snapshot;

/// The longest name of a Service, and the longest value of a label.
pub const LABEL_MAX: usize = 63;
/// The label that names the Gateway an object was made for.
pub const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
/// The label that says who made an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// What [`MANAGED_BY_LABEL`] says of objects of ours.
pub const MANAGED_BY: &str = "ringway";
/// What comes before the Gateway's name in the names of its objects.
const PREFIX: &str = "ringway-";
/// Digits of a hash in a name.
const HASH_DIGITS: usize = 10;
/// Addresses that one EndpointSlice takes.
const ENDPOINTS_MAX: usize = 1000;

/// What should exist for one Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Infrastructure {
    /// Identity of the Gateway that owns it all.
    pub uid: Arc<str>,
    /// The Service, as it is applied.
    pub service: Value,
    /// One EndpointSlice for each family of addresses, as they are applied.
    pub slices: Vec<Value>,
}

/// The ports of a Gateway.
type Ports = BTreeSet<(u16, Transport)>;

/// What should exist for every Gateway that is not refused.
pub(super) fn plan(
    snapshot: &Snapshot,
    gateways: &[Planned],
) -> BTreeMap<Name, Arc<Infrastructure>> {
    let real = gateways
        .iter()
        .filter(|gateway| gateway.fault.is_none() && !gateway.object.metadata.uid.is_empty());
    real.filter_map(|gateway| Some((gateway.name.clone(), Arc::new(plan_one(snapshot, gateway)?))))
        .collect()
}

fn plan_one(snapshot: &Snapshot, gateway: &Planned) -> Option<Infrastructure> {
    let ports = gateway.ports();
    if ports.is_empty() {
        return None;
    }
    let addresses = match &gateway.site {
        Site::At(addresses) if !addresses.contains(&None) => gateway.site.addresses().collect(),
        Site::At(_) | Site::Mapped(_) => replicas(snapshot),
    };
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    // Where there is no address at all, an empty slice says so.
    let none = v6.is_empty();
    let slices = [("IPv4", v4, none), ("IPv6", v6, false)].into_iter();
    let slices = slices.filter(|(_, all, always)| *always || !all.is_empty());
    Some(Infrastructure {
        uid: Arc::clone(&gateway.object.metadata.uid),
        service: service(snapshot, gateway, &ports),
        slices: slices.map(|(family, all, _)| slice(gateway, &ports, family, &all)).collect(),
    })
}

/// The addresses of our replicas: those behind our own Service, or only ours where there is none.
pub(super) fn replicas(snapshot: &Snapshot) -> Vec<IpAddr> {
    let own = snapshot.replicas.as_ref().into_iter().flat_map(|service| {
        let slices = snapshot.endpoint_slices.iter();
        slices
            .filter(|(name, _)| name.namespace == service.namespace)
            .filter(|(_, slice)| slice.service() == Some(&service.name))
            .flat_map(|(_, slice)| slice.endpoints.iter().filter(|one| is_ready(one)))
            .flat_map(|endpoint| endpoint.addresses.iter().filter_map(|ip| ip.parse().ok()))
    });
    let found: BTreeSet<IpAddr> = own.collect();
    if found.is_empty() {
        snapshot.host_addresses.iter().copied().filter(|ip| !ip.is_loopback()).collect()
    } else {
        found.into_iter().collect()
    }
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.ready != Some(false)
}

fn service(snapshot: &Snapshot, gateway: &Planned, ports: &Ports) -> Value {
    let ports: Vec<Value> = ports
        .iter()
        .map(|&(port, transport)| {
            json!({"name": port_name(port, transport), "port": port,
                   "protocol": transport.name(), "targetPort": bound(gateway, port)})
        })
        .collect();
    let mut spec = json!({"ports": ports, "type": "ClusterIP"});
    if let Some(ip) = address::asked_for(snapshot, gateway) {
        spec["clusterIP"] = json!(ip);
    }
    if snapshot.addressing == Addressing::Service && address::asks_for_others(gateway) {
        spec["type"] = json!("LoadBalancer");
        let all = gateway.object.spec.addresses.iter();
        let mut others = all.filter(|one| one.routability != Routability::Cluster);
        let named = others.find_map(|one| one.value.as_ref());
        if let Some(address) = named.filter(|address| !address.is_empty()) {
            spec["loadBalancerIP"] = json!(address);
        }
    }
    let name = service_name(&gateway.name).name;
    json!({"apiVersion": "v1", "kind": "Service",
           "metadata": metadata(gateway, &name, &[]), "spec": spec})
}

fn slice(gateway: &Planned, ports: &Ports, family: &str, all: &[IpAddr]) -> Value {
    let service = service_name(&gateway.name).name;
    let name = format!("{service}-{}", family.to_lowercase());
    let labels = [
        ("kubernetes.io/service-name", &*service),
        ("endpointslice.kubernetes.io/managed-by", super::CONTROLLER_NAME_LABEL),
    ];
    let ports: Vec<Value> = ports
        .iter()
        .map(|&(port, transport)| {
            json!({"name": port_name(port, transport), "port": bound(gateway, port),
                   "protocol": transport.name()})
        })
        .collect();
    let endpoints: Vec<Value> = all
        .iter()
        .take(ENDPOINTS_MAX)
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
           "metadata": metadata(gateway, &name, &labels),
           "addressType": family, "endpoints": endpoints, "ports": ports})
}

/// The port that a socket of ours has for a port of the Gateway.
fn bound(gateway: &Planned, port: u16) -> u16 {
    gateway.site.sockets(port).first().map_or(port, |(_, own)| *own)
}

fn port_name(port: u16, transport: Transport) -> String {
    match transport {
        Transport::Tcp => format!("port-{port}"),
        Transport::Udp => format!("port-{port}-udp"),
    }
}

fn metadata(gateway: &Planned, name: &str, more: &[(&str, &str)]) -> Value {
    let asked = &gateway.object.spec.infrastructure;
    let gateway_label = label_value(&gateway.name.name);
    let ours = [(GATEWAY_LABEL, &*gateway_label), (MANAGED_BY_LABEL, MANAGED_BY)];
    let mut labels: BTreeMap<&str, &str> =
        asked.labels.iter().map(|(key, value)| (&**key, &**value)).collect();
    labels.extend(ours.iter().chain(more).copied());
    json!({
        "name": name,
        "namespace": gateway.name.namespace,
        "labels": labels,
        "annotations": asked.annotations,
        "ownerReferences": [{
            "apiVersion": format!("{GATEWAY_GROUP}/v1"), "kind": "Gateway",
            "name": gateway.name.name, "uid": gateway.object.metadata.uid, "controller": true,
        }],
    })
}

/// The name of a Gateway's Service.
#[must_use]
pub fn service_name(gateway: &Name) -> Name {
    // Suffixes of slices must fit too.
    let room = LABEL_MAX - PREFIX.len() - "-ipv4".len();
    let valid =
        gateway.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let name = if valid && gateway.name.len() <= room {
        format!("{PREFIX}{}", gateway.name)
    } else {
        format!("{PREFIX}{}", shorten(&gateway.name.replace('.', "-"), &gateway.name, room))
    };
    Name { namespace: Arc::clone(&gateway.namespace), name: name.into() }
}

/// A Gateway's name as the value of a label.
#[must_use]
pub fn label_value(name: &str) -> String {
    if name.len() <= LABEL_MAX { name.to_owned() } else { shorten(name, name, LABEL_MAX) }
}

/// The start of `text` and a hash of `whole`, at most `room` long.
fn shorten(text: &str, whole: &str, room: usize) -> String {
    let end = text.floor_char_boundary(text.len().min(room - HASH_DIGITS - 1));
    let start = text[..end].trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let digits = format!("{:016x}", hash(whole));
    format!("{start}-{}", &digits[..HASH_DIGITS])
}

/// Whether labels are those of an object that we made for `gateway`.
#[must_use]
pub fn is_ours(labels: &BTreeMap<Arc<str>, Arc<str>>, gateway: &Name) -> bool {
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| &**found == value);
    is(MANAGED_BY_LABEL, MANAGED_BY) && is(GATEWAY_LABEL, &label_value(&gateway.name))
}

/// FNV-1a: the same in every process and release, since names and ports come of it.
#[must_use]
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
