//! ClusterIPs as addresses of Gateways: those of the Service that each Gateway has in every mode.
//!
//! Pure: a ClusterIP is observed at the Service, never chosen here, so that it is of the cluster's
//! range; one that is asked for by value is asked of the cluster when the Service is made. Called by
//! the modes' common part. Invariants: an entry that asks for a routability never gets an address of
//! another; a Gateway that asks for ClusterIPs alone takes no address of the mode and listens behind
//! its Service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Site, Wish, own_service, shown};
use crate::api::Routability;
use crate::store::Snapshot;
use crate::translate::gateway::Planned;
use crate::translate::infrastructure;
use crate::translate::status::Reason;
use crate::translate::{Fault, address};

/// What a status says of a ClusterIP.
const CLUSTER: &str = "Cluster";
/// A value of the conformance suite, which promises nothing.
pub(super) const SENTINEL: &str = "testing.x-k8s.io/sentinel";

/// An entry that asks for what is not known here.
pub(super) fn unsupported(entry: &str, asked: &str) -> Fault {
    let field = format!("{entry}.routability");
    let message = format!("{field}: {asked} is not supported: ask for Cluster, or leave it empty");
    Fault::new(Reason::AddressNotAssigned, field, message)
}

/// Shows the ClusterIPs that a Gateway asks for.
pub(super) fn add(snapshot: &Snapshot, gateway: &mut Planned, wish: &Wish) {
    if wish.cluster.is_empty() {
        return;
    }
    let service = own_service(snapshot, gateway);
    let all = service.map(|one| one.spec.cluster_addresses()).unwrap_or_default();
    let mut free = all.clone();
    let (named, any): (Vec<_>, Vec<_>) = wish.cluster.iter().partition(|(_, ip)| ip.is_some());
    for (entry, asked) in named.into_iter().chain(any) {
        let at = match asked {
            Some(asked) => free.iter().position(|ip| ip == asked),
            None => (!free.is_empty()).then_some(0),
        };
        match at {
            Some(at) => gateway.shown.push(shown(free.remove(at), CLUSTER)),
            None => {
                let message = lack(snapshot, gateway, *asked, &all);
                let field = format!("{entry}.routability");
                let message = format!("{field}: {message}");
                gateway.lacking.push(Fault::new(Reason::AddressNotAssigned, field, message));
            }
        }
    }
    let is_awaited = all.is_empty() && snapshot.is_cluster;
    if gateway.site.is_nowhere() && (is_awaited || free.len() < all.len()) {
        gateway.site = Site::Mapped(BTreeMap::new());
    }
}

/// Why there is no ClusterIP for an entry.
fn lack(snapshot: &Snapshot, gateway: &Planned, asked: Option<IpAddr>, all: &[IpAddr]) -> String {
    let name = infrastructure::service_name(&gateway.name);
    match asked {
        _ if all.is_empty() && !snapshot.is_cluster => {
            "only in a cluster a Gateway has a Service with a ClusterIP".to_owned()
        }
        _ if all.is_empty() => format!("Service {name} has no ClusterIP yet"),
        Some(asked) => format!(
            "{asked} is not a ClusterIP of Service {name}: it is taken, outside of the cluster's range, or was asked for after the Service was made, which then has to be deleted"
        ),
        None => format!("Service {name} has no further ClusterIP"),
    }
}

/// Whether a Gateway asks for an address that is not its Service's ClusterIP.
pub(in crate::translate) fn asks_for_others(gateway: &Planned) -> bool {
    let all = &gateway.object.spec.addresses;
    let is_other = |one: &Routability| matches!(one, Routability::Default | Routability::Sentinel);
    all.is_empty() || all.iter().any(|one| is_other(&one.routability))
}

/// The ClusterIP that a Gateway's Service should ask for, unless it already has another.
pub(in crate::translate) fn asked_for(snapshot: &Snapshot, gateway: &Planned) -> Option<IpAddr> {
    let all = gateway.object.spec.addresses.iter();
    let mut asked = all
        .filter(|one| one.routability == Routability::Cluster)
        .filter_map(|one| address::value(one)?.parse().ok());
    let ip = asked.next()?;
    let there = own_service(snapshot, gateway).map(|one| one.spec.cluster_addresses());
    there.is_none_or(|there| there.is_empty() || there.contains(&ip)).then_some(ip)
}
