//! Fuzz targets: one function each, which takes any bytes and panics when an invariant breaks.
//!
//! `fuzz_targets` hands them to libFuzzer, `proxy/tests/fuzz_corpus` replays `corpus/` with them; see
//! README.md. They know neither of both. Invariant: the same bytes do the same, every time.

pub mod auth;
pub mod h1;
pub mod h2;
pub mod hpack;
pub mod proxy_protocol;
pub mod tls;

#[path = "../../proxy/tests/vectors/mod.rs"]
mod vectors;

/// Takes the input of a fuzzer.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 11] = [
    ("auth_answer", auth::answer),
    ("client_hello", tls::client_hello),
    ("h1_chunked", h1::chunked),
    ("h1_request", h1::request),
    ("h1_response", h1::response),
    ("h2_client", h2::client),
    ("h2_frame", h2::frames),
    ("h2_pair", h2::pair::operations),
    ("h2_server", h2::server),
    ("hpack", hpack::blocks),
    ("proxy_protocol", proxy_protocol::header),
];

/// The first byte, which says how the rest is meant; 0 where there is none.
fn split(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(&first, rest)| (first, rest))
}

/// Sizes of the pieces in which an input arrives, besides as a whole: byte by byte while that is
/// cheap, and one that depends on the input.
fn piece_sizes(input: &[u8]) -> impl Iterator<Item = usize> {
    const SINGLE_BYTES_MAX: usize = 2048;
    let sum =
        input.iter().fold(0_usize, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let single = (input.len() <= SINGLE_BYTES_MAX).then_some(1);
    single.into_iter().chain([2 + sum % 61])
}

/// Some instant: an engine's time begins when it is told one.
#[allow(clippy::disallowed_methods, reason = "nothing but differences of instants counts")]
fn start() -> std::time::Instant {
    std::time::Instant::now()
}
