//! `ringway limits`: every public limit with its value, what happens beyond it, and its flag.
//!
//! The values are the constants themselves, so the table cannot disagree with the code. Called by
//! the command line and by the documentation.

use std::fmt::Write as _;
use std::time::Duration;

use proxy::limits as l;

use crate::{access_log, admin, histograms, kube, metrics, state};

/// One limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its constant's name.
    pub name: &'static str,
    /// Its value.
    pub value: Value,
    /// What happens beyond.
    pub beyond: &'static str,
    /// The flag that changes it, if any.
    pub flag: Option<&'static str>,
}

/// A value with its unit.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// Bytes.
    Bytes(u64),
    /// Bytes a second.
    Rate(u64),
    /// A time.
    Time(Duration),
    /// A plain number of the named things.
    Count(u64, &'static str),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Bytes(n) if n >= 1 << 40 && n % (1 << 40) == 0 => write!(f, "{} TiB", n >> 40),
            Self::Bytes(n) if n >= 1024 && n % 1024 == 0 => write!(f, "{} KiB", n >> 10),
            Self::Bytes(n) => write!(f, "{n} B"),
            Self::Rate(n) => write!(f, "{n} B/s"),
            Self::Time(time) => write!(f, "{} s", time.as_secs_f64()),
            Self::Count(n, of) => write!(f, "{n} {of}"),
        }
    }
}

const fn limit(name: &'static str, value: Value, beyond: &'static str) -> Limit {
    Limit { name, value, beyond, flag: None }
}

const fn changed_by(mut limit: Limit, flag: &'static str) -> Limit {
    limit.flag = Some(flag);
    limit
}

/// Every limit, those of requests first.
#[must_use]
pub fn all() -> Vec<Limit> {
    let mut all = sizes();
    all.extend(shared());
    all.extend(h2());
    all.extend(attempts());
    all.extend(times());
    all.extend(operation());
    all.extend(cluster());
    all
}

fn sizes() -> Vec<Limit> {
    use Value::{Bytes, Count};
    vec![
        limit(
            "REQUEST_TARGET_BYTES_MAX",
            Bytes(l::REQUEST_TARGET_BYTES_MAX as u64),
            "414, the connection is closed",
        ),
        limit("HEAD_BYTES_MAX", Bytes(l::HEAD_BYTES_MAX as u64), "431, the connection is closed"),
        limit(
            "HEAD_FIELDS_MAX",
            Count(l::HEAD_FIELDS_MAX as u64, "fields"),
            "431, the connection is closed",
        ),
        limit(
            "METHOD_BYTES_MAX",
            Bytes(l::METHOD_BYTES_MAX as u64),
            "431, the connection is closed",
        ),
        limit("HOST_BYTES_MAX", Bytes(l::HOST_BYTES_MAX as u64), "400, the connection is closed"),
        limit(
            "CONNECTION_OPTIONS_MAX",
            Count(l::CONNECTION_OPTIONS_MAX as u64, "options"),
            "400, the connection is closed",
        ),
        limit(
            "INTERIM_RESPONSES_MAX",
            Count(l::INTERIM_RESPONSES_MAX.into(), "1xx responses"),
            "502, the backend connection is closed",
        ),
        limit(
            "CHUNK_EXTENSION_BYTES_MAX",
            Bytes(l::CHUNK_EXTENSION_BYTES_MAX as u64),
            "the message is refused",
        ),
        limit(
            "CHUNK_EXTENSIONS_BYTES_MAX",
            Bytes(l::CHUNK_EXTENSIONS_BYTES_MAX as u64),
            "the message is refused",
        ),
        limit(
            "CHUNK_SIZE_DIGITS_MAX",
            Count(l::CHUNK_SIZE_DIGITS_MAX as u64, "hex digits"),
            "the message is refused",
        ),
        limit("CHUNK_BYTES_MAX", Bytes(l::CHUNK_BYTES_MAX), "the message is refused"),
        limit("TRAILER_BYTES_MAX", Bytes(l::TRAILER_BYTES_MAX as u64), "the message is refused"),
        limit(
            "RELAY_BYTES_MAX",
            Bytes(l::RELAY_BYTES_MAX as u64),
            "reading pauses until the other side has taken some",
        ),
    ]
}

/// What holds for more than one message.
fn shared() -> Vec<Limit> {
    use Value::{Bytes, Count};
    vec![
        limit(
            "BODY_WITH_HEAD_BYTES_MAX",
            Bytes(l::BODY_WITH_HEAD_BYTES_MAX as u64),
            "a longer request body is sent on behind its head, not with it",
        ),
        limit(
            "CAPTURE_BYTES_MAX",
            Bytes(l::CAPTURE_BYTES_MAX as u64),
            "a longer request body is neither sent again by a rule's retry nor mirrored",
        ),
        limit(
            "UDP_SESSIONS_MAX",
            Count(l::UDP_SESSIONS_MAX as u64, "sessions a listener"),
            "the longest idle session makes room; each shard has its share",
        ),
        limit(
            "AUTH_BODY_BYTES_MAX",
            Bytes(l::AUTH_BODY_BYTES_MAX as u64),
            "an ExternalAuth filter whose forwardBody.maxSize asks for more is refused; a larger body is answered 413",
        ),
        limit(
            "AUTH_ANSWER_BYTES_MAX",
            Bytes(l::AUTH_ANSWER_BYTES_MAX as u64),
            "503: nothing passes by an answer that is not whole",
        ),
        limit("AUTH_IN_FLIGHT_MAX", Count(l::AUTH_IN_FLIGHT_MAX.into(), "requests a shard"), "503"),
    ]
}

fn h2() -> Vec<Limit> {
    use Value::{Bytes, Count, Time};
    let count = |n: u32, of| Count(n.into(), of);
    vec![
        limit(
            "H2_STREAMS_MAX",
            count(l::H2_STREAMS_MAX, "streams"),
            "REFUSED_STREAM; more requests to a backend take another connection",
        ),
        limit(
            "H2_STREAM_WINDOW_BYTES",
            Bytes(l::H2_STREAM_WINDOW_BYTES.into()),
            "the peer waits until the other side has taken some",
        ),
        limit(
            "H2_CLIENT_BYTES_MAX",
            Bytes(l::H2_CLIENT_BYTES_MAX as u64),
            "what heads, bodies and output of a client's connection add up to; the exchanges themselves take about 8 KiB a stream besides",
        ),
        limit(
            "H2_CONNECTION_WINDOW_BYTES",
            Bytes(l::H2_CONNECTION_WINDOW_BYTES.into()),
            "the peer waits until the other side has taken some",
        ),
        limit(
            "H2_BACKEND_WINDOW_BYTES",
            Bytes(l::H2_BACKEND_WINDOW_BYTES.into()),
            "the backend waits until clients have taken some",
        ),
        limit(
            "H2_CONTINUATIONS_MAX",
            count(l::H2_CONTINUATIONS_MAX, "frames a head"),
            "GOAWAY with ENHANCE_YOUR_CALM",
        ),
        limit(
            "H2_BUDGET",
            count(l::H2_BUDGET, "resets, pings, settings and empty frames"),
            "GOAWAY with ENHANCE_YOUR_CALM",
        ),
        limit(
            "H2_BUDGET_PER_SECOND",
            count(l::H2_BUDGET_PER_SECOND, "of these a second"),
            "more than this uses up the budget",
        ),
        limit(
            "H2_TOO_LARGE_COST",
            count(l::H2_TOO_LARGE_COST, "of these a head"),
            "what a head that is answered 431 costs of the budget",
        ),
        limit("H2_SETTINGS_TIMEOUT", Time(l::H2_SETTINGS_TIMEOUT), "GOAWAY with SETTINGS_TIMEOUT"),
        limit(
            "H2_OUTPUT_BYTES_MAX",
            Bytes(l::H2_OUTPUT_BYTES_MAX as u64),
            "reading pauses until the peer has taken some",
        ),
        limit(
            "H2_HEADS_BYTES_MAX",
            Bytes(l::H2_HEADS_BYTES_MAX as u64),
            "REFUSED_STREAM until others have ended",
        ),
        limit(
            "H2_CLOSED_STREAMS_MAX",
            Count(l::H2_CLOSED_STREAMS_MAX as u64, "ended streams"),
            "a frame on an earlier one is an error",
        ),
    ]
}

/// How often something is done, and what stands in front of a connection.
fn attempts() -> Vec<Limit> {
    use Value::{Bytes, Count};
    vec![
        limit(
            "MIRRORS_IN_FLIGHT_MAX",
            Count(l::MIRRORS_IN_FLIGHT_MAX.into(), "copies a shard"),
            "more are left out and counted in ringway_mirrors_total",
        ),
        limit(
            "RETRY_ATTEMPTS_MAX",
            Count(l::RETRY_ATTEMPTS_MAX.into(), "retries a request"),
            "a rule whose retry asks for more is refused",
        ),
        limit(
            "PROXY_LINE_BYTES_MAX",
            Bytes(l::PROXY_LINE_BYTES_MAX as u64),
            "a longer PROXY protocol header of version 1 is refused",
        ),
        limit(
            "PROXY_HEADER_BYTES_MAX",
            Bytes(l::PROXY_HEADER_BYTES_MAX as u64),
            "a longer PROXY protocol header of version 2 is refused",
        ),
        limit(
            "STREAM_ATTEMPTS_MAX",
            Count(l::STREAM_ATTEMPTS_MAX.into(), "endpoints"),
            "a TCP or TLS stream that none of them accepts is reset",
        ),
    ]
}

fn times() -> Vec<Limit> {
    use Value::{Rate, Time};
    let time = |name, value, beyond, flag| changed_by(limit(name, Time(value), beyond), flag);
    vec![
        time("HEADER_TIMEOUT", l::HEADER_TIMEOUT, "408, closed", "--timeout-header"),
        time(
            "TLS_HANDSHAKE_TIMEOUT",
            l::TLS_HANDSHAKE_TIMEOUT,
            "the connection is closed",
            "--timeout-tls-handshake",
        ),
        time(
            "CLIENT_IDLE_TIMEOUT",
            l::CLIENT_IDLE_TIMEOUT,
            "the connection is closed",
            "--timeout-client-idle",
        ),
        limit(
            "BODY_BYTES_PER_SECOND_MIN",
            Rate(l::BODY_BYTES_PER_SECOND_MIN),
            "a slower request body ends with 408, a slower reader is cut",
        ),
        time(
            "BODY_RATE_WINDOW",
            l::BODY_RATE_WINDOW,
            "the least rate of a request body is measured over this time",
            "--timeout-body-window",
        ),
        time(
            "RESPONSE_STALL_TIMEOUT",
            l::RESPONSE_STALL_TIMEOUT,
            "a client that takes its response slower than the least rate for so long is cut",
            "--timeout-response-stall",
        ),
        time("CONNECT_TIMEOUT", l::CONNECT_TIMEOUT, "next endpoint, then 504", "--timeout-connect"),
        limit(
            "MIRROR_TIMEOUT",
            Time(l::MIRROR_TIMEOUT),
            "the copy is given up and counted in ringway_mirrors_total",
        ),
        limit("AUTH_TIMEOUT", Time(l::AUTH_TIMEOUT), "504"),
        limit(
            "RETRY_BACKOFF_MAX",
            Time(l::RETRY_BACKOFF_MAX),
            "waits between a rule's retries grow no further, unless its backoff is longer",
        ),
        time(
            "UPSTREAM_IDLE_TIMEOUT",
            l::UPSTREAM_IDLE_TIMEOUT,
            "the pooled connection is closed",
            "--timeout-upstream-idle",
        ),
        time("UDP_IDLE_TIMEOUT", l::UDP_IDLE_TIMEOUT, "the session ends", "--timeout-udp-idle"),
        time(
            "STREAM_IDLE_TIMEOUT",
            l::STREAM_IDLE_TIMEOUT,
            "a TCP or TLS stream on which nothing moves is reset",
            "--timeout-stream-idle",
        ),
        time(
            "DRAIN_TIMEOUT",
            l::DRAIN_TIMEOUT,
            "what is still open is cut and the process ends",
            "--drain-timeout",
        ),
    ]
}

fn operation() -> Vec<Limit> {
    use Value::{Bytes, Count, Time};
    vec![
        limit(
            "ADMIN_CONNECTIONS_MAX",
            Count(admin::CONNECTIONS_MAX as u64, "connections"),
            "more wait until one ends",
        ),
        limit("ADMIN_HEAD_BYTES_MAX", Bytes(admin::HEAD_BYTES_MAX as u64), "431, closed"),
        limit("ADMIN_HEADER_TIMEOUT", Time(admin::HEADER_TIMEOUT), "the connection is closed"),
        limit(
            "ADMIN_CONNECTION_TIMEOUT",
            Time(admin::CONNECTION_TIMEOUT),
            "the connection is closed",
        ),
        limit(
            "ACCESS_LOG_BLOCKS_MAX",
            Count(access_log::BLOCKS_MAX as u64, "blocks"),
            "lines are dropped and counted in ringway_access_log_dropped_total",
        ),
        limit(
            "LISTENER_LABELS_MAX",
            Count(state::LISTENER_LABELS_MAX as u64, "listeners"),
            "the rest are counted under listener=\"other\"",
        ),
        limit(
            "SERIES_MAX",
            Count(metrics::SERIES_MAX as u64, "series"),
            "never exceeded with up to 8 shards",
        ),
        limit(
            "INTERVALS_MAX",
            Count(histograms::INTERVALS_MAX as u64, "intervals of 10 s"),
            "the oldest interval of /histograms is dropped",
        ),
        limit(
            "VALUE_MAX",
            Time(Duration::from_micros(histograms::VALUE_MAX)),
            "longer exchanges are recorded as this long",
        ),
    ]
}

fn cluster() -> Vec<Limit> {
    use Value::{Bytes, Count, Time};
    vec![
        limit("START_INTERVAL", Time(kube::START_INTERVAL), "a list or watch of the kind waits"),
        limit("RETRY_MAX", Time(kube::RETRY_MAX), "a list or watch that fails is tried again"),
        limit("SILENCE_MAX", Time(kube::SILENCE_MAX), "the watch is replaced"),
        limit("ANSWER_TIMEOUT", Time(kube::ANSWER_TIMEOUT), "the request is given up"),
        limit(
            "LOSS_BELIEVED_MAX",
            Count(kube::LOSS_BELIEVED_MAX as u64, "objects"),
            "a list that lacks more, and over half, is repeated before it is believed",
        ),
        limit("WATCH_LINE_BYTES_MAX", Bytes(kube::LINE_BYTES_MAX as u64), "listed again"),
        limit("LIST_PAGE_BYTES_MAX", Bytes(kube::PAGE_BYTES_MAX as u64), "listed again"),
        limit(
            "UPDATES_MAX",
            Count(kube::UPDATES_MAX as u64, "updates"),
            "reading from the API server pauses",
        ),
        limit("SNAPSHOT_WRITE_INTERVAL", Time(kube::WRITE_INTERVAL), "the write waits"),
    ]
}

/// The table as `ringway limits` prints it.
#[must_use]
pub fn text() -> String {
    let rows: Vec<_> = all().into_iter().map(|limit| (limit, limit.value.to_string())).collect();
    let mut out = format!("{:<27}{:>20}  {:<25} BEYOND\n", "LIMIT", "VALUE", "FLAG");
    for (limit, value) in rows {
        let flag = limit.flag.unwrap_or("-");
        let _ = writeln!(out, "{:<27}{value:>20}  {flag:<25} {}", limit.name, limit.beyond);
    }
    out
}
