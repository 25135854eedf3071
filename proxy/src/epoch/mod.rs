//! One numbered, immutable configuration, compiled for lookup and shared by all shards.
//!
//! Made on the control thread by [`Epoch::compile`], published to every shard behind one `Arc`,
//! read by `exchange`. It has no interior mutability: all state that changes with traffic lives in
//! [`crate::balance::Local`], which each shard owns and which is indexed by the slots given here.
//! Invariant: a slot keeps its meaning from one epoch to the next for as long as what it names stays.

mod compile;
pub(crate) mod slots;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
use crate::ir::{self, Hostname, Protocol};
use crate::table::Table;
use crate::table::hosts::Hosts;

pub use self::stream::StreamRoute;

/// An immutable configuration.
#[derive(Debug)]
pub struct Epoch {
    /// Number; grows by one per published epoch. 0 is the empty configuration.
    pub id: u64,
    /// Compiled ports, in the order of the IR.
    pub ports: Vec<Arc<Port>>,
    /// Backends by slot; a free slot is `None`.
    pub backends: Vec<Option<Arc<Backend>>>,
    /// Behaviour of the whole data plane.
    pub settings: Settings,
    /// What the next epoch continues.
    ledger: compile::Ledger,
}

/// Data-plane behaviour that travels with the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Shards say `Connection: close`, finish what is there and end; at the latest after this time.
    pub drain: Option<Duration>,
    /// Write an access log line per exchange.
    pub access_log: bool,
    /// Name the reason of every answer of our own in the `x-ringway-reason` response field.
    pub debug_header: bool,
    /// Trust this many hops of `X-Forwarded-*` before the client; 0 replaces them.
    pub trusted_hops: u8,
    /// Times of the public policy.
    pub timeouts: Timeouts,
}

/// The times of the public policy that a user may change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is documented at its default in `limits`")]
pub struct Timeouts {
    pub header: Duration,
    pub tls_handshake: Duration,
    pub client_idle: Duration,
    pub body_rate_window: Duration,
    pub response_stall: Duration,
    pub connect: Duration,
    pub upstream_idle: Duration,
    pub h2_settings: Duration,
    pub udp_idle: Duration,
    pub stream_idle: Duration,
}

/// One listening socket's listeners, compiled.
#[derive(Debug)]
pub struct Port {
    /// Local address; `None` is every address.
    pub address: Option<IpAddr>,
    /// Whether it need not be one of this host; see [`ir::Port::is_anywhere`].
    pub is_anywhere: bool,
    /// TCP or UDP port.
    pub port: u16,
    /// What every connection begins with.
    pub protocol: Protocol,
    /// Who speaks the PROXY protocol; see [`ir::Port::proxy_protocol`].
    pub proxy_protocol: Option<Arc<ir::ProxySources>>,
    /// Listeners, most specific hostname first.
    pub listeners: Vec<Listener>,
    /// Positions in `listeners` by hostname.
    claims: Hosts<u32>,
}

/// One Gateway listener, compiled.
#[derive(Debug)]
pub struct Listener {
    /// `namespace/gateway/listener`.
    pub name: Arc<str>,
    /// Slot of this listener's counters, stable by name.
    pub slot: u32,
    /// The port that clients name; see [`ir::Listener::port`].
    pub port: u16,
    /// What it does with connections.
    pub kind: ir::ListenerKind,
    /// Claimed hostname.
    pub hostname: Option<Hostname>,
    /// Certificates.
    pub tls: Option<Arc<ir::Tls>>,
    /// What backends that are spoken to by TLS are shown.
    pub client_certificate: Option<Arc<ir::Certificate>>,
    /// Who must allow a request before it is routed, one after the other.
    pub auth: Vec<Auth>,
    /// What that was compiled from.
    filters: Vec<ir::Filter>,
    /// Its routes, compiled.
    pub table: Table,
    /// Its TLSRoutes, TCPRoutes or UDPRoutes, compiled.
    streams: Arc<stream::Streams>,
    /// Keeps the slot.
    lease: Arc<slots::Lease>,
    /// Keep the slots in `auth`.
    _auth_leases: Vec<Arc<slots::Lease>>,
}

/// One backend, compiled.
#[derive(Debug)]
pub struct Backend {
    /// `namespace/service:port`.
    pub name: Arc<str>,
    /// Whether WebSocket upgrades may go here.
    pub websocket: bool,
    /// What HTTP requests are sent in.
    pub protocol: ir::BackendProtocol,
    /// TLS towards the endpoints.
    pub tls: Option<Arc<ir::BackendTls>>,
    /// Connections begin with a PROXY protocol header.
    pub proxy_protocol: Option<ir::ProxyVersion>,
    /// Ready endpoints.
    pub endpoints: Vec<SocketAddr>,
}

/// Which listener a request belongs to.
#[derive(Debug)]
pub enum Claim<'e> {
    /// This one.
    Listener(&'e Listener),
    /// Another HTTPS listener than the connection's SNI chose claims the host: 421.
    Misdirected,
    /// No listener claims the host: 404.
    Unclaimed,
}

impl Epoch {
    /// One more than the largest [`crate::table::Rule::cursor`].
    #[must_use]
    pub fn cursors(&self) -> usize {
        self.ledger.cursors()
    }

    /// One more than the largest [`Listener::slot`].
    #[must_use]
    pub fn listener_slots(&self) -> usize {
        self.ledger.listeners()
    }
}

impl Port {
    /// The listener for `host`, given the SNI name that the TLS session chose its listener by
    /// (`None` on plain ports and for clients without SNI); both lower case without trailing dot.
    /// Most specific hostname wins; on HTTPS a host that another listener claims more specifically
    /// than the session's is misdirected. A session without SNI is the hostname-less listener's; on
    /// a port that has none, the host decides alone.
    #[must_use]
    pub fn claim(&self, host: &str, sni: Option<&str>) -> Claim<'_> {
        let Some(claimed) = self.covering(host) else { return Claim::Unclaimed };
        let session = match (self.protocol, sni) {
            (Protocol::Http | Protocol::Tcp | Protocol::Udp, _) => Some(claimed),
            (Protocol::Tls, Some(name)) => self.covering(name),
            (Protocol::Tls, None) => Some(self.claims.get(None).copied().unwrap_or(claimed)),
        };
        if session == Some(claimed) {
            Claim::Listener(&self.listeners[claimed as usize])
        } else {
            Claim::Misdirected
        }
    }

    /// The listener whose certificates a session with this SNI gets, by the same rule as
    /// [`Port::claim`]; `None` when no listener covers it.
    #[must_use]
    pub fn listener_of_sni(&self, sni: Option<&str>) -> Option<&Listener> {
        let at = match sni {
            Some(name) => self.covering(name),
            None => self.claims.get(None).copied(),
        };
        at.map(|at| &self.listeners[at as usize])
    }

    /// The position of the listener that covers `name` most specifically. One look tells the whole
    /// claim: the session's listener may answer exactly if nothing is more specific than it.
    #[inline]
    fn covering(&self, name: &str) -> Option<u32> {
        self.claims.find(name.as_bytes(), |&at| Some(at))
    }
}

impl Listener {
    /// The route that takes a connection or flow: by SNI on a [`Protocol::Tls`] port (exact hostname,
    /// then the longest wildcard, then routes without hostname), elsewhere the one there is; the
    /// oldest of several. `sni` is lower case without trailing dot.
    #[must_use]
    pub fn stream(&self, sni: Option<&str>) -> Option<&StreamRoute> {
        self.streams.find(sni)
    }

    pub(crate) fn lease(&self) -> &Arc<slots::Lease> {
        &self.lease
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        use crate::limits as l;
        Self {
            header: l::HEADER_TIMEOUT,
            tls_handshake: l::TLS_HANDSHAKE_TIMEOUT,
            client_idle: l::CLIENT_IDLE_TIMEOUT,
            body_rate_window: l::BODY_RATE_WINDOW,
            response_stall: l::RESPONSE_STALL_TIMEOUT,
            connect: l::CONNECT_TIMEOUT,
            upstream_idle: l::UPSTREAM_IDLE_TIMEOUT,
            h2_settings: l::H2_SETTINGS_TIMEOUT,
            udp_idle: l::UDP_IDLE_TIMEOUT,
            stream_idle: l::STREAM_IDLE_TIMEOUT,
        }
    }
}
