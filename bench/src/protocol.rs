//! What a load, a gateway and a backend speak.
//!
//! Called by `load`, `backend`, `peers` and `compare`. Invariant: whether TLS is below it is said
//! elsewhere.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A protocol that clients speak.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// HTTP/1.1
    #[default]
    Http1,
    /// HTTP/2, without TLS by prior knowledge
    Http2,
    /// Unary gRPC calls over HTTP/2
    Grpc,
    /// Messages on a byte stream, each echoed
    Tcp,
    /// Datagrams, each echoed
    Udp,
}

impl Protocol {
    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// Its name in ALPN; none for what is no HTTP.
    pub(crate) fn alpn(self) -> Option<&'static str> {
        match self {
            Self::Http1 => Some("http/1.1"),
            Self::Http2 | Self::Grpc => Some("h2"),
            Self::Tcp | Self::Udp => None,
        }
    }

    /// Whether one connection carries several requests at once.
    pub(crate) fn is_multiplexed(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::Udp)
    }
}
