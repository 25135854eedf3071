//! The one message a shard sends up: which epoch it runs, and what happened since the last report.
//!
//! Sent after every install, when a listener or drain changes state, and about four times a second
//! while there is something to say. Counters and histograms are increments: control adds them up.
//! Everything is recorded without atomics by its shard.

use std::net::SocketAddr;
#[expect(clippy::disallowed_types, reason = "listener names leave the shard with the report")]
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use proxy::ir::Protocol;

pub use crate::udp::counts::{Datagrams, Direction, Dropped};
pub use runtime::socket::Transport;

/// What a shard says.
#[derive(Debug)]
pub struct Report {
    /// Which shard.
    pub shard: usize,
    /// The epoch that it runs now.
    pub installed: u64,
    /// From the epoch's publication to its installation (only meaningful right after an install).
    pub install_lag: Duration,
    /// Whether it serves, drains or has ended.
    pub phase: Phase,
    /// Every socket that should listen, with the error where it does not.
    pub listeners: Vec<ListenState>,
    /// Client connections open now.
    pub connections: u64,
    /// Clients' sessions on UDP ports now.
    pub udp_sessions: u64,
    /// Pooled idle upstream connections now.
    pub upstream_idle: u64,
    /// Increments since the last report.
    pub activity: Activity,
}

/// Life cycle of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serves.
    Serving,
    /// Finishes what is there.
    Draining,
    /// Has no connection left, or reached the drain limit: the thread ends.
    Ended,
}

/// One listening socket of a shard.
#[derive(Clone, Debug)]
pub struct ListenState {
    /// Of which ports: those of TCP and of UDP are apart.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// Why it does not listen; `None` when it does.
    pub error: Option<String>,
}

/// Which sockets a port of this protocol has.
#[must_use]
pub fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Http | Protocol::Tls | Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}

/// Increments since the last report.
#[derive(Debug, Default)]
pub struct Activity {
    /// Stage latencies in microseconds, in the order of [`Stage::ALL`]; `None` if nothing happened.
    pub stages: Option<Box<[Histogram<u32>; Stage::ALL.len()]>>,
    /// Requests by listener.
    pub requests: Vec<ListenerRequests>,
    /// TCP and TLS streams by listener.
    pub streams: Vec<ListenerStreams>,
    /// Answers and ends of our own making, by reason code (`fault::Fault::code`).
    pub faults: Vec<(&'static str, u64)>,
    /// Client connections accepted.
    pub accepted: u64,
    /// Client connections refused at once (out of descriptors, over the limit).
    pub refused: u64,
    /// Upstream connections opened.
    pub upstream_opened: u64,
    /// Upstream connections reused.
    pub upstream_reused: u64,
    /// Requests sent again, to another endpoint or the same.
    pub retries: u64,
    /// Copies of requests for mirrors, in the order of [`MirrorEnd::ALL`].
    pub mirrors: [u64; MirrorEnd::ALL.len()],
    /// Requests for whom authorization servers were asked, in the order of [`AuthEnd::ALL`].
    pub auth: [u64; AuthEnd::ALL.len()],
    /// TLS handshakes completed and failed.
    pub tls_handshakes: (u64, u64),
    /// What clients did on connections of HTTP/2.
    pub http2: Http2Counts,
    /// What UDP ports did.
    pub datagrams: Datagrams,
    /// Access log lines, whole, newline-terminated.
    pub access_log: Vec<u8>,
    /// Access log lines dropped because the buffer was full.
    pub access_log_dropped: u64,
}

/// Requests of one listener.
#[derive(Clone, Debug)]
pub struct ListenerRequests {
    /// `namespace/gateway/listener`; `-` when none was found.
    #[expect(clippy::disallowed_types, reason = "listener names leave the shard with the report")]
    pub listener: Arc<str>,
    /// By status class: 1xx to 5xx, then exchanges without any status (the client left).
    pub by_class: [u64; 6],
}

/// TCP and TLS streams of one listener.
#[derive(Clone, Debug)]
pub struct ListenerStreams {
    /// `namespace/gateway/listener`.
    #[expect(clippy::disallowed_types, reason = "listener names leave the shard with the report")]
    pub listener: Arc<str>,
    /// What they did.
    pub counts: StreamCounts,
}

/// What streams did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Streams that ended, or never began.
    pub ended: u64,
    /// From accepted to ended, all of them together.
    pub lasted: Duration,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// What clients did on connections of HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http2Counts {
    /// Connections that spoke it.
    pub connections: u64,
    /// Requests on them.
    pub streams: u64,
    /// Streams that the client reset.
    pub reset: u64,
    /// Streams that we reset before they became requests: malformed, or beyond the limit.
    pub rejected: u64,
    /// Connections ended because the client broke the protocol.
    pub broken: u64,
    /// Connections ended because the client spent its abuse budget.
    pub abusive: u64,
}

impl Http2Counts {
    /// Adds what happened since.
    pub fn add(&mut self, more: &Self) {
        self.connections += more.connections;
        self.streams += more.streams;
        self.reset += more.reset;
        self.rejected += more.rejected;
        self.broken += more.broken;
        self.abusive += more.abusive;
    }
}

/// A stage of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Head received → routed, without [`Stage::Auth`].
    Route,
    /// Authorization servers asked, the request's body received for them → answered.
    Auth,
    /// Routed → upstream connection in hand.
    Connect,
    /// Request sent → first byte of the response.
    FirstByte,
    /// First byte → done.
    Relay,
    /// Head received → done.
    Total,
}

/// What became of a copy of a request that a mirror was to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorEnd {
    /// Sent and answered.
    Delivered,
    /// Not sent: the mirror has no ready endpoint.
    NoEndpoint,
    /// Not sent: the request's body is longer than what is kept.
    TooLarge,
    /// Not sent: too many copies are in flight.
    Busy,
    /// Not sent: a WebSocket, or a request whose body waits for `100 Continue`.
    Unfit,
    /// The mirror could not be reached, or gave no whole answer.
    Failed,
    /// The mirror took too long.
    TimedOut,
}

/// What became of a request that authorization servers were asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthEnd {
    /// All of them allowed it.
    Allowed,
    /// One denied it.
    Denied,
    /// One could not be asked, or its answer was not understood in time.
    Failed,
}

/// Where reports arrive: readable without blocking, with a descriptor to wait on.
#[derive(Debug)]
pub struct Reports(pub(crate) runtime::mailbox::Receiver<Report>);

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 6] =
        [Self::Route, Self::Auth, Self::Connect, Self::FirstByte, Self::Relay, Self::Total];

    /// Its name in metrics, logs and `.hlog` tags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Auth => "auth",
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::Relay => "relay",
            Self::Total => "total",
        }
    }
}

impl AuthEnd {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Allowed, Self::Denied, Self::Failed];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl MirrorEnd {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Delivered,
        Self::NoEndpoint,
        Self::TooLarge,
        Self::Busy,
        Self::Unfit,
        Self::Failed,
        Self::TimedOut,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NoEndpoint => "no_endpoint",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Unfit => "unfit",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

impl Reports {
    /// The next report, if one is there.
    #[must_use]
    pub fn try_next(&self) -> Option<Report> {
        self.0.try_recv()
    }

    /// Takes the wake-ups so far; call it after the descriptor became readable, before `try_next`.
    pub fn clear_wake(&self) {
        self.0.clear_wake();
    }
}

impl std::os::fd::AsFd for Reports {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
