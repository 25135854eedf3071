//! Where backends may lead: not to this machine's own addresses, and not back to our own listeners.
//!
//! Whoever may write a Service or an EndpointSlice in a cluster chooses addresses that we connect to.
//! Files are the operator's own and lead anywhere. Called for each endpoint of each backend.
//! Invariant: in a cluster no endpoint is of loopback, of the link, or a socket of ours.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::gateway::Planned;
use super::infrastructure;
use crate::report::Transport;
use crate::store::Snapshot;

/// What must not be led to; nothing where objects are files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    own: Option<BTreeSet<(Transport, SocketAddr)>>,
}

impl Reach {
    /// Of a snapshot with these Gateways.
    pub(super) fn new(snapshot: &Snapshot, gateways: &[Planned]) -> Self {
        if !snapshot.is_cluster {
            return Self::default();
        }
        let mut everywhere = infrastructure::replicas(snapshot);
        everywhere.extend(snapshot.host_addresses.iter());
        let mut own = BTreeSet::new();
        for gateway in gateways {
            let sockets = gateway.ports().into_iter().flat_map(|(port, transport)| {
                gateway.site.sockets(port).into_iter().map(move |socket| (transport, socket))
            });
            for (transport, (address, port)) in sockets {
                let at = |ip| (transport, SocketAddr::new(ip, port));
                match address {
                    Some(ip) => {
                        own.insert(at(ip));
                    }
                    None => own.extend(everywhere.iter().copied().map(at)),
                }
            }
        }
        Self { own: Some(own) }
    }

    /// Whether a backend may have this endpoint.
    pub(super) fn permits(&self, transport: Transport, endpoint: SocketAddr) -> bool {
        let Some(own) = &self.own else { return true };
        let ip = endpoint.ip().to_canonical();
        !is_local(ip) && !own.contains(&(transport, SocketAddr::new(ip, endpoint.port())))
    }
}

/// Whether an address means this machine or its link whoever uses it, or many machines at once.
fn is_local(ip: IpAddr) -> bool {
    let is_of_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_of_link
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(own: &[&str]) -> Reach {
        let own = own.iter().map(|one| (Transport::Tcp, one.parse().unwrap()));
        Reach { own: Some(own.collect()) }
    }

    fn permits(reach: &Reach, endpoint: &str) -> bool {
        reach.permits(Transport::Tcp, endpoint.parse().unwrap())
    }

    #[test]
    fn in_a_cluster_nothing_leads_to_this_machine_or_its_link() {
        for bad in [
            "127.0.0.1:19000",
            "127.8.8.8:80",
            "0.0.0.0:80",
            "169.254.169.254:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[::1]:80",
            "[::]:80",
            "[fe80::1]:80",
            "[ff02::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[::ffff:169.254.169.254]:80",
        ] {
            assert!(!permits(&reach(&[]), bad), "{bad}");
            assert!(permits(&Reach::default(), bad), "{bad} in a file");
        }
        assert!(permits(&reach(&[]), "10.0.0.1:80"));
    }

    #[test]
    fn nothing_leads_back_to_a_socket_of_ours() {
        let reach = reach(&["10.0.0.1:80"]);
        assert!(!permits(&reach, "10.0.0.1:80"));
        assert!(!permits(&reach, "[::ffff:10.0.0.1]:80"));
        assert!(permits(&reach, "10.0.0.1:81"));
        assert!(reach.permits(Transport::Udp, "10.0.0.1:80".parse().unwrap()));
    }
}
