//! The public limits and times: one named constant each, with its unit, shown by `ringway limits`.
//!
//! Everything that bounds a queue, loop or buffer in the data plane obeys a constant of this file.
//! It is data only; the engines and drivers enforce it.

use std::time::Duration;

/// Request target longer than this answers 414 (bytes).
pub const REQUEST_TARGET_BYTES_MAX: usize = 16 * 1024;
/// A head (start line and fields) larger than this answers 431 (bytes).
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A head with more fields than this answers 431.
pub const HEAD_FIELDS_MAX: usize = 128;
/// A method longer than this is refused like an oversized head (bytes).
pub const METHOD_BYTES_MAX: usize = 64;
/// A host is at most this long (bytes): the longest DNS name with its trailing dot.
pub const HOST_BYTES_MAX: usize = 254;
/// More options than this in the `Connection` lines of one message are refused.
pub const CONNECTION_OPTIONS_MAX: usize = 64;
/// Interim (1xx) responses passed on per response.
pub const INTERIM_RESPONSES_MAX: u32 = 100;
/// One chunk extension (bytes).
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 256;
/// All chunk extensions of one message (bytes).
pub const CHUNK_EXTENSIONS_BYTES_MAX: usize = 4 * 1024;
/// Hex digits of a chunk size.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;
/// One chunk (bytes).
pub const CHUNK_BYTES_MAX: u64 = 1 << 40;
/// Trailer section (bytes).
pub const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// Bytes held per direction of one exchange while relaying.
pub const RELAY_BYTES_MAX: usize = 64 * 1024;
/// A request body up to this size that arrived with its head travels with it (bytes).
pub const BODY_WITH_HEAD_BYTES_MAX: usize = 16 * 1024;

/// A longer request body is neither sent again by a rule's retry nor mirrored (bytes).
pub const CAPTURE_BYTES_MAX: usize = 64 * 1024;
/// Copies of requests in flight to mirrors, per shard.
pub const MIRRORS_IN_FLIGHT_MAX: u32 = 256;
/// A copy of a request must be answered whole within this time.
pub const MIRROR_TIMEOUT: Duration = Duration::from_secs(15);
/// Sessions of UDP clients per listener: one more ends the one that was idle for longest.
pub const UDP_SESSIONS_MAX: usize = 16_384;
/// Bytes of a request's body that an authorization server may be shown; a filter may ask for less.
pub const AUTH_BODY_BYTES_MAX: usize = 256 * 1024;
/// A longer answer of an authorization server is not understood (bytes of its body).
pub const AUTH_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Requests waiting for the answer of an authorization server, per shard.
pub const AUTH_IN_FLIGHT_MAX: u32 = 1024;
/// An authorization server must answer whole within this time.
pub const AUTH_TIMEOUT: Duration = Duration::from_secs(5);
/// A rule's retry asks for no more tries after the first one: each is work for this gateway, which
/// serves other routes too.
pub const RETRY_ATTEMPTS_MAX: u32 = 100;
/// The wait before a retry grows no further than to this, or to the rule's `backoff` where longer.
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A request head must arrive whole within this time.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A TLS handshake must finish within this time.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A kept client connection without a request is closed after this time.
pub const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A body or a response that moves fewer bytes a second than this is cut.
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 240;
/// Bytes that must move within `window`.
#[must_use]
pub fn body_bytes_min(window: Duration) -> u64 {
    let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    BODY_BYTES_PER_SECOND_MIN.saturating_mul(millis) / 1000
}

/// Over this time a request body must keep the least rate.
pub const BODY_RATE_WINDOW: Duration = Duration::from_secs(10);
/// Over this time a client must take a response at the least rate.
pub const RESPONSE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Connecting to an endpoint.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A pooled upstream connection is closed after this time without use.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A UDP session ends when nothing moves in it for this time, in neither direction.
pub const UDP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A TCP or TLS stream is reset when nothing moves for this time, in neither direction.
pub const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Endpoints that one TCP or TLS stream is tried at.
pub const STREAM_ATTEMPTS_MAX: u16 = 3;
/// A PROXY protocol header of version 1 (bytes), as the protocol bounds it.
pub const PROXY_LINE_BYTES_MAX: usize = 107;
/// A PROXY protocol header of version 2 with all its fields (bytes).
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * 1024;
/// A drain ends after this time.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// HTTP/2: streams that a peer may have open at once.
pub const H2_STREAMS_MAX: u32 = 100;
/// HTTP/2: window of one stream (bytes).
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// HTTP/2: what a client may have one connection hold: heads, bodies on their way, output (bytes).
pub const H2_CLIENT_BYTES_MAX: usize = 1024 * 1024;
/// HTTP/2: window of a connection (bytes). Its heads and its output have the rest of
/// [`H2_CLIENT_BYTES_MAX`].
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// HTTP/2: window of a connection to a backend, which many clients share (bytes): all its streams'.
pub const H2_BACKEND_WINDOW_BYTES: u32 = H2_STREAMS_MAX * H2_STREAM_WINDOW_BYTES;
/// HTTP/2: CONTINUATION frames of one field block.
pub const H2_CONTINUATIONS_MAX: u32 = 8;
/// HTTP/2: frames in a row that cost work and bring nothing: pings, settings, resets and the like.
pub const H2_BUDGET: u32 = 1000;
/// HTTP/2: such frames a second in the long run.
pub const H2_BUDGET_PER_SECOND: u32 = 33;
/// HTTP/2: frames of the budget that a head above the limits costs: decoding it may take a thousand
/// times what sending it did.
pub const H2_TOO_LARGE_COST: u32 = 50;
/// HTTP/2: our SETTINGS must be acknowledged within this time; a slow peer gets longer while it still
/// sends what it may have sent before it read them.
pub const H2_SETTINGS_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2: output of one connection that waits to be written (bytes).
pub const H2_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// HTTP/2: decoded request heads of a connection's open streams (bytes).
pub const H2_HEADS_BYTES_MAX: usize = 384 * 1024;
/// HTTP/2: ended streams of a connection that late frames are told apart by.
pub const H2_CLOSED_STREAMS_MAX: usize = 128;
