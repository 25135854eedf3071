//! Sockets that do not listen: each is told once, with the owner of its port, and again once healed.
//!
//! Called by the control loop with every report, before the state takes it in. Invariant: the owner
//! is searched once per error of an address, not once per report, since the search reads all of /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use runtime::socket::owner_of;

use crate::report::{Report, Transport};

/// What is complained of now.
#[derive(Debug, Default)]
pub(crate) struct Complaints(BTreeMap<(Transport, SocketAddr), Complaint>);

#[derive(Debug)]
struct Complaint {
    /// As the shard said it.
    error: String,
    /// The error and who holds the port.
    told: String,
    /// Shards that still fail.
    shards: BTreeSet<usize>,
}

impl Complaints {
    /// Takes in what a report says of sockets and adds the owner of the port to its errors; says
    /// whether anything is new.
    pub(crate) fn hear(&mut self, report: &mut Report) -> bool {
        let before = self.count();
        let mut told = false;
        let shard = report.shard;
        for listener in &mut report.listeners {
            let address = (listener.transport, listener.address);
            match listener.error.take() {
                Some(error) => {
                    told |= self.0.get(&address).is_none_or(|known| known.error != error);
                    listener.error = Some(self.fails(address, shard, error));
                }
                None => self.works(address, shard),
            }
        }
        self.0.retain(|address, complaint| {
            let asked = report
                .listeners
                .iter()
                .any(|listener| (listener.transport, listener.address) == *address);
            if !asked {
                complaint.shards.remove(&shard);
            }
            !complaint.shards.is_empty()
        });
        told || self.count() != before
    }

    /// Sockets of shards that fail.
    fn count(&self) -> usize {
        self.0.values().map(|complaint| complaint.shards.len()).sum()
    }

    fn fails(&mut self, address: (Transport, SocketAddr), shard: usize, error: String) -> String {
        if let Some(known) = self.0.get_mut(&address).filter(|known| known.error == error) {
            known.shards.insert(shard);
            return known.told.clone();
        }
        let told = match owner_of(address.0, address.1.port()) {
            Some(owner) => format!("{error}; the port is held by {owner}"),
            None => error.clone(),
        };
        tracing::warn!("cannot listen on {} {}: {told}", address.0.name(), address.1);
        let complaint = Complaint { error, told: told.clone(), shards: BTreeSet::from([shard]) };
        self.0.insert(address, complaint);
        told
    }

    fn works(&mut self, address: (Transport, SocketAddr), shard: usize) {
        let Some(complaint) = self.0.get_mut(&address) else { return };
        if complaint.shards.remove(&shard) && complaint.shards.is_empty() {
            self.0.remove(&address);
            tracing::info!("listening on {} {} now", address.0.name(), address.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::report::{Activity, ListenState, Phase};

    fn report(shard: usize, address: SocketAddr, error: Option<&str>) -> Report {
        Report {
            shard,
            installed: 1,
            install_lag: Duration::ZERO,
            phase: Phase::Serving,
            listeners: vec![ListenState {
                transport: Transport::Tcp,
                address,
                error: error.map(str::to_owned),
            }],
            connections: 0,
            udp_sessions: 0,
            upstream_idle: 0,
            activity: Activity::default(),
        }
    }

    #[test]
    fn the_owner_of_the_port_is_named() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut report = report(0, held.local_addr().unwrap(), Some("in use"));
        Complaints::default().hear(&mut report);
        let told = report.listeners[0].error.clone().unwrap();
        assert!(told.contains(&format!("(pid {})", std::process::id())), "{told}");
    }

    #[test]
    fn a_socket_is_healed_when_the_last_shard_listens() {
        let address = ([127, 0, 0, 1], 1).into();
        let mut complaints = Complaints::default();
        complaints.hear(&mut report(0, address, Some("in use")));
        complaints.hear(&mut report(1, address, Some("in use")));
        complaints.hear(&mut report(0, address, None));
        assert_eq!(complaints.0[&(Transport::Tcp, address)].shards, BTreeSet::from([1]));
        complaints.hear(&mut report(1, address, None));
        assert!(complaints.0.is_empty());
    }

    #[test]
    fn a_socket_that_is_no_longer_wanted_is_forgotten() {
        let address = ([127, 0, 0, 1], 1).into();
        let mut complaints = Complaints::default();
        complaints.hear(&mut report(0, address, Some("in use")));
        let mut without = report(0, address, None);
        without.listeners.clear();
        complaints.hear(&mut without);
        assert!(complaints.0.is_empty());
    }
}
