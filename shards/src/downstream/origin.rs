//! Where a client connection comes from and arrived: what all its requests share.

use crate::arrival::Peer;
use crate::install::PortKey;

/// Facts of one client connection.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) peer: Peer,
    /// The peer's address as text, for `X-Forwarded-For` and logs.
    pub(crate) address: String,
    /// The port that it arrived on.
    pub(crate) port: PortKey,
    /// Whether TLS ended here.
    pub(crate) is_tls: bool,
    /// SNI name of its TLS session.
    pub(crate) sni: Option<String>,
}
