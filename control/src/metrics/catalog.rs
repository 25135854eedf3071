//! Every metric once: name, type, labels, meaning, and where its value comes from.
//!
//! The collector and the documentation are both made from this list. It is data only.
//! Invariant: names are unique and follow the Prometheus conventions.

use crate::kube::Watch;
use crate::metrics::count;
use crate::report::{Datagrams, Direction, StreamCounts};
use crate::state::ShardState;

/// One metric.
#[derive(Debug)]
pub struct Entry {
    /// Full name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Meaning, one sentence.
    pub help: &'static str,
    pub(super) what: What,
}

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// A value of now.
    Gauge,
    /// Cumulative buckets.
    Histogram,
}

/// Where the value comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    BuildInfo,
    RuntimeInfo,
    Ready,
    Problems,
    Gateways,
    EpochPublished,
    StatusWrites,
    Watches(fn(&Watch) -> f64),
    Shard(fn(&ShardState) -> f64),
    TlsHandshakes,
    Datagrams(fn(&Datagrams, Direction) -> u64),
    DatagramsDropped,
    Mirrors,
    Auth,
    AccessLogDropped,
    Requests,
    Streams(fn(&StreamCounts) -> f64),
    StreamBytes,
    Faults,
    UpstreamFailures,
    RequestDuration,
    StageDuration,
    ProcessCpu,
    ProcessResident,
    ProcessFds,
    ProcessFdsMax,
    ProcessStart,
}

impl Kind {
    /// Its name in the text format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Whether the reason code says that a backend failed.
#[must_use]
pub fn is_upstream_failure(code: &str) -> bool {
    code.starts_with("upstream_") || code.starts_with("connect_")
}

const fn entry(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    what: What,
) -> Entry {
    Entry { name, kind, labels, help, what }
}

const SHARD: &[&str] = &["shard"];
const KIND: &[&str] = &["kind"];

/// Every metric, in the order of the documentation.
pub static ALL: &[Entry] = &[
    entry(
        "ringway_requests_total",
        Kind::Counter,
        &["listener", "class"],
        "Requests by listener (namespace/gateway/listener, the first 12 seen, then other; - when none was found) and status class (none: the exchange ended without a status).",
        What::Requests,
    ),
    entry(
        "ringway_request_duration_seconds",
        Kind::Histogram,
        SHARD,
        "Request head received to exchange done, by shard.",
        What::RequestDuration,
    ),
    entry(
        "ringway_stage_duration_seconds",
        Kind::Histogram,
        &["stage"],
        "The stages of an exchange over all shards: route (head received to routed, without auth), auth (authorization servers asked to answered), connect (routed to upstream connection in hand), first_byte (request sent to first byte of the response), relay (first byte to done).",
        What::StageDuration,
    ),
    entry(
        "ringway_streams_total",
        Kind::Counter,
        &["listener"],
        "TCP and TLS streams that ended or could not be relayed, by listener (labelled like ringway_requests_total).",
        What::Streams(|streams| count(streams.ended)),
    ),
    entry(
        "ringway_stream_seconds_total",
        Kind::Counter,
        &["listener"],
        "From accepted to ended, summed over the streams of ringway_streams_total.",
        What::Streams(|streams| streams.lasted.as_secs_f64()),
    ),
    entry(
        "ringway_stream_bytes_total",
        Kind::Counter,
        &["listener", "direction"],
        "Bytes that TCP and TLS streams moved, counted as they move: in (from clients) or out (to clients).",
        What::StreamBytes,
    ),
    entry(
        "ringway_faults_total",
        Kind::Counter,
        &["reason"],
        "Answers and ends of the gateway's own making, by reason code.",
        What::Faults,
    ),
    entry(
        "ringway_upstream_failures_total",
        Kind::Counter,
        &["reason"],
        "Exchanges that failed because of a backend, by reason code.",
        What::UpstreamFailures,
    ),
    entry(
        "ringway_retries_total",
        Kind::Counter,
        SHARD,
        "Requests sent again, to another endpoint or the same.",
        What::Shard(|s| count(s.counts.retries)),
    ),
    entry(
        "ringway_mirrors_total",
        Kind::Counter,
        &["result"],
        "Copies of requests for RequestMirror filters: delivered (the mirror answered), failed, timed_out, or not sent because of no_endpoint, too_large, busy (too many in flight) or unfit (a WebSocket, or a body that waits for 100 Continue).",
        What::Mirrors,
    ),
    entry(
        "ringway_auth_total",
        Kind::Counter,
        &["result"],
        "Requests that authorization servers were asked about, by what came of it: allowed, denied, or failed (not asked, or no answer that says so; the reason codes auth_... tell why). A request that a listener and a rule have allowed counts twice.",
        What::Auth,
    ),
    entry(
        "ringway_connections",
        Kind::Gauge,
        SHARD,
        "Client connections open now.",
        What::Shard(|s| count(s.connections)),
    ),
    entry(
        "ringway_connections_accepted_total",
        Kind::Counter,
        SHARD,
        "Client connections accepted.",
        What::Shard(|s| count(s.counts.accepted)),
    ),
    entry(
        "ringway_connections_refused_total",
        Kind::Counter,
        SHARD,
        "Client connections refused at once: out of descriptors or over the limit.",
        What::Shard(|s| count(s.counts.refused)),
    ),
    entry(
        "ringway_tls_handshakes_total",
        Kind::Counter,
        &["result"],
        "TLS handshakes with clients: completed or failed.",
        What::TlsHandshakes,
    ),
    entry(
        "ringway_http2_connections_total",
        Kind::Counter,
        SHARD,
        "Client connections that spoke HTTP/2.",
        What::Shard(|s| count(s.counts.http2.connections)),
    ),
    entry(
        "ringway_http2_streams_total",
        Kind::Counter,
        SHARD,
        "Requests on client connections of HTTP/2.",
        What::Shard(|s| count(s.counts.http2.streams)),
    ),
    entry(
        "ringway_http2_streams_reset_total",
        Kind::Counter,
        SHARD,
        "HTTP/2 streams that the client reset.",
        What::Shard(|s| count(s.counts.http2.reset)),
    ),
    entry(
        "ringway_http2_streams_rejected_total",
        Kind::Counter,
        SHARD,
        "HTTP/2 streams that the gateway reset before they became requests: malformed, or beyond the limit of concurrent streams.",
        What::Shard(|s| count(s.counts.http2.rejected)),
    ),
    entry(
        "ringway_http2_connections_broken_total",
        Kind::Counter,
        SHARD,
        "Client connections of HTTP/2 ended because the client broke the protocol.",
        What::Shard(|s| count(s.counts.http2.broken)),
    ),
    entry(
        "ringway_http2_connections_abusive_total",
        Kind::Counter,
        SHARD,
        "Client connections of HTTP/2 ended because the client spent its abuse budget (resets, pings, settings and the like).",
        What::Shard(|s| count(s.counts.http2.abusive)),
    ),
    entry(
        "ringway_udp_sessions",
        Kind::Gauge,
        SHARD,
        "Sessions of clients on UDP listeners now.",
        What::Shard(|s| count(s.udp_sessions)),
    ),
    entry(
        "ringway_udp_sessions_opened_total",
        Kind::Counter,
        SHARD,
        "Sessions that began on UDP listeners.",
        What::Shard(|s| count(s.counts.datagrams.opened)),
    ),
    entry(
        "ringway_udp_sessions_evicted_total",
        Kind::Counter,
        SHARD,
        "UDP sessions that ended to make room for others: at the limit, or out of descriptors.",
        What::Shard(|s| count(s.counts.datagrams.evicted)),
    ),
    entry(
        "ringway_udp_sessions_failed_total",
        Kind::Counter,
        SHARD,
        "UDP sessions that ended because their endpoint was found gone (an ICMP error).",
        What::Shard(|s| count(s.counts.datagrams.failed)),
    ),
    entry(
        "ringway_udp_datagrams_total",
        Kind::Counter,
        &["direction"],
        "Datagrams sent on: to_backend or to_client.",
        What::Datagrams(|datagrams, direction| datagrams.datagrams[direction as usize]),
    ),
    entry(
        "ringway_udp_bytes_total",
        Kind::Counter,
        &["direction"],
        "Bytes in the datagrams sent on: to_backend or to_client.",
        What::Datagrams(|datagrams, direction| datagrams.bytes[direction as usize]),
    ),
    entry(
        "ringway_udp_dropped_total",
        Kind::Counter,
        &["reason"],
        "Datagrams dropped: no_route, backend_invalid, no_endpoints, connect_failed (the endpoint cannot be reached), full (no room for another session), loop (from or to a UDP listener of this gateway), source_port (it was 0), overrun (the gateway was behind, its buffers full), unsent (the kernel's buffers are full, or it is too long for the way).",
        What::DatagramsDropped,
    ),
    entry(
        "ringway_upstream_connections_idle",
        Kind::Gauge,
        SHARD,
        "Pooled upstream connections without a request now.",
        What::Shard(|s| count(s.upstream_idle)),
    ),
    entry(
        "ringway_upstream_connections_opened_total",
        Kind::Counter,
        SHARD,
        "Upstream connections opened.",
        What::Shard(|s| count(s.counts.upstream_opened)),
    ),
    entry(
        "ringway_upstream_connections_reused_total",
        Kind::Counter,
        SHARD,
        "Requests that found a pooled upstream connection.",
        What::Shard(|s| count(s.counts.upstream_reused)),
    ),
    entry(
        "ringway_status_writes_total",
        Kind::Counter,
        &["result"],
        "Writes of statuses and of Gateways' objects to the API server, by result (written, conflict: tried again with the newest version, failed).",
        What::StatusWrites,
    ),
    entry(
        "ringway_kube_connected",
        Kind::Gauge,
        KIND,
        "1 while the API server answers for the kind, else 0; what is known keeps serving.",
        What::Watches(|watch| f64::from(u8::from(watch.is_heard))),
    ),
    entry(
        "ringway_kube_events_total",
        Kind::Counter,
        KIND,
        "Changes of single objects that the API server told.",
        What::Watches(|watch| count(watch.events)),
    ),
    entry(
        "ringway_kube_lists_total",
        Kind::Counter,
        KIND,
        "Whole lists that the API server gave.",
        What::Watches(|watch| count(watch.lists)),
    ),
    entry(
        "ringway_epoch_published",
        Kind::Gauge,
        &[],
        "Number of the newest published epoch.",
        What::EpochPublished,
    ),
    entry(
        "ringway_epoch_installed",
        Kind::Gauge,
        SHARD,
        "Number of the epoch that the shard runs.",
        What::Shard(|s| count(s.installed)),
    ),
    entry(
        "ringway_install_lag_seconds",
        Kind::Gauge,
        SHARD,
        "From publication to installation of the shard's last installed epoch.",
        What::Shard(|s| s.install_lag.as_secs_f64()),
    ),
    entry(
        "ringway_ready",
        Kind::Gauge,
        &[],
        "1 when traffic may be sent here, else 0.",
        What::Ready,
    ),
    entry(
        "ringway_gateways",
        Kind::Gauge,
        &[],
        "Valid Gateways in the configuration.",
        What::Gateways,
    ),
    entry(
        "ringway_configuration_problems",
        Kind::Gauge,
        &[],
        "Mistakes in the configuration now; /status lists them.",
        What::Problems,
    ),
    entry(
        "ringway_access_log_dropped_total",
        Kind::Counter,
        &[],
        "Access log lines dropped because their writer was behind.",
        What::AccessLogDropped,
    ),
    entry(
        "ringway_runtime_info",
        Kind::Gauge,
        &["runtime", "reason"],
        "Always 1; which runtime drives the shards, and why.",
        What::RuntimeInfo,
    ),
    entry(
        "ringway_build_info",
        Kind::Gauge,
        &["version"],
        "Always 1; the version of this program.",
        What::BuildInfo,
    ),
    entry(
        "process_cpu_seconds_total",
        Kind::Counter,
        &[],
        "User and system time of the process.",
        What::ProcessCpu,
    ),
    entry(
        "process_resident_memory_bytes",
        Kind::Gauge,
        &[],
        "Resident memory.",
        What::ProcessResident,
    ),
    entry("process_open_fds", Kind::Gauge, &[], "Open file descriptors.", What::ProcessFds),
    entry(
        "process_max_fds",
        Kind::Gauge,
        &[],
        "Limit of open file descriptors.",
        What::ProcessFdsMax,
    ),
    entry(
        "process_start_time_seconds",
        Kind::Gauge,
        &[],
        "When the process started, in seconds since the Unix epoch.",
        What::ProcessStart,
    ),
];
