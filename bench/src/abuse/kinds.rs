//! The kinds of abuse: one table, and what a row says.
//!
//! Data and pure functions; `life` carries it out. Called by `abuse`. Invariant: what a connection
//! sends is bounded by the budget of its row.

use std::time::Duration;

use super::{h1, h2, tls};

/// Which port is abused, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http2,
    Http1,
    Tls,
    Tcp,
    Udp,
}

impl Protocol {
    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http2 => "HTTP/2",
            Self::Http1 => "HTTP/1",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// What one connection does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    /// Sends bytes that are known beforehand, then holds the connection.
    Bytes(Bytes),
    /// Sends a ClientHello, waits for the server's first bytes and resets the connection.
    AbortHandshake,
    /// Completes a TLS handshake, asks for so many key updates, then holds the connection.
    KeyUpdates(u32),
    /// Connects and resets.
    Churn,
    /// Sends one datagram each from so many ports.
    Sessions(u32),
}

/// Bytes that are known beforehand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    /// Sent at once.
    pub(super) opening: fn() -> Vec<u8>,
    /// What follows, block by block, until there is none or the budget is spent.
    pub(super) block: fn(u32) -> Option<Vec<u8>>,
    /// Between two blocks.
    pub(super) every: Duration,
    /// Whether it takes what the gateway sends.
    pub(super) reads: bool,
    /// Whether what the gateway holds for it is mostly the answers of backends.
    pub(super) answers: bool,
    /// Bytes that one connection sends at most.
    pub(super) budget: usize,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// What is sent, in one line.
    pub(super) about: &'static str,
    /// Where.
    pub(super) protocol: Protocol,
    /// By what.
    pub(super) script: Script,
}

const KIB: usize = 1024;
/// What a connection sends at most, unless its row says otherwise.
const BUDGET: usize = 64 * KIB;
/// Between the bytes of what drips.
const DRIP: Duration = Duration::from_millis(10);

/// Sends one thing and holds the connection.
const fn hold(opening: fn() -> Vec<u8>) -> Script {
    fn nothing(_: u32) -> Option<Vec<u8>> {
        None
    }
    Script::Bytes(Bytes {
        opening,
        block: nothing,
        every: DRIP,
        reads: true,
        answers: false,
        budget: BUDGET,
    })
}

/// Sends blocks as fast as they are taken.
const fn flood(opening: fn() -> Vec<u8>, block: fn(u32) -> Option<Vec<u8>>) -> Script {
    Script::Bytes(Bytes {
        opening,
        block,
        every: Duration::ZERO,
        reads: true,
        answers: false,
        budget: BUDGET,
    })
}

/// Sends a block now and then.
const fn slowly(opening: fn() -> Vec<u8>, block: fn(u32) -> Option<Vec<u8>>) -> Script {
    Script::Bytes(Bytes {
        opening,
        block,
        every: DRIP,
        reads: true,
        answers: false,
        budget: BUDGET,
    })
}

const fn with_budget(script: Script, budget: usize) -> Script {
    match script {
        Script::Bytes(bytes) => Script::Bytes(Bytes { budget, ..bytes }),
        other => other,
    }
}

const fn for_answers(script: Script) -> Script {
    match script {
        Script::Bytes(bytes) => Script::Bytes(Bytes { answers: true, ..bytes }),
        other => other,
    }
}

const fn unread(script: Script) -> Script {
    match script {
        Script::Bytes(bytes) => Script::Bytes(Bytes { reads: false, ..bytes }),
        other => other,
    }
}

fn nothing() -> Vec<u8> {
    Vec::new()
}

const fn http2(name: &'static str, script: Script, about: &'static str) -> Kind {
    Kind { name, about, protocol: Protocol::Http2, script }
}

const fn http1(name: &'static str, script: Script, about: &'static str) -> Kind {
    Kind { name, about, protocol: Protocol::Http1, script }
}

const fn on_tls(name: &'static str, script: Script, about: &'static str) -> Kind {
    Kind { name, about, protocol: Protocol::Tls, script }
}

/// Every kind.
#[rustfmt::skip]
pub(super) const KINDS: [Kind; 32] = [
    http2("rapid-reset", flood(h2::preface, h2::rapid_reset), "requests that are cancelled at once (CVE-2023-44487)"),
    http2("made-you-reset", flood(h2::preface, h2::made_you_reset), "requests that make the server reset them (CVE-2025-8671)"),
    http2("continuation-flood", flood(h2::continuation_open, h2::continuation), "a field block of CONTINUATION frames that never ends"),
    http2("hpack-bomb", flood(h2::preface, h2::hpack_bomb), "fields of one byte that stand for 4 kB each"),
    http2("cookie-crumbs", flood(h2::preface, h2::cookie_crumbs), "1000 cookie crumbs of one byte that stand for 4 kB each"),
    http2("settings-flood", flood(h2::preface, h2::settings), "SETTINGS that want an acknowledgement each"),
    http2("ping-flood", flood(h2::preface, h2::ping), "PINGs that want an answer each"),
    http2("empty-data-flood", flood(h2::upload_open, h2::empty_data), "DATA frames without content"),
    http2("priority-flood", flood(h2::preface, h2::priority), "PRIORITY of ever other streams"),
    http2("window-update-flood", flood(h2::preface, h2::window_update), "WINDOW_UPDATE by one byte"),
    http2("zero-window", for_answers(hold(h2::zero_window)), "100 requests for 128 KiB, and no window for the answers"),
    http2("window-drip", for_answers(slowly(h2::zero_window, h2::window_drip)), "the same, and window byte by byte"),
    http2("half-bodies", hold(h2::half_bodies), "100 streams with half a body"),
    http2("stuck-bodies", with_budget(flood(h2::preface, h2::stuck_bodies), 512 * KIB), "100 streams with bodies for a backend that does not accept"),
    http2("garbage-frames", flood(h2::preface, h2::garbage_frames), "random bytes after the preface"),
    http2("unknown-frames", flood(h2::preface, h2::unknown), "frames of an unknown type"),
    http1("slow-head", slowly(h1::head_open, h1::drip), "a request head byte by byte (slowloris)"),
    http1("large-head", hold(h1::large_head), "a head of almost 64 KiB without its end"),
    http1("slow-body", slowly(h1::body_open, h1::drip), "a request body byte by byte"),
    http1("stalled-response", for_answers(unread(hold(h1::ask_huge))), "asks for 4 MiB and reads nothing"),
    http1("pipeline", for_answers(hold(h1::pipeline)), "1000 requests at once"),
    http1("chunk-extensions", flood(h1::chunks_open, h1::chunk_extension), "chunks of one byte with 200 bytes of extension"),
    http1("garbage", flood(nothing, h1::garbage_bytes), "random bytes"),
    on_tls("tls-silent", hold(nothing), "connections without a ClientHello"),
    on_tls("tls-slow-hello", slowly(nothing, tls::hello_byte), "a ClientHello byte by byte"),
    on_tls("tls-garbage", flood(nothing, h1::garbage_bytes), "random bytes instead of TLS"),
    on_tls("tls-plain-http", hold(h1::idle), "HTTP without TLS"),
    on_tls("tls-aborted", Script::AbortHandshake, "handshakes that are given up after the ServerHello"),
    on_tls("tls-key-updates", Script::KeyUpdates(4000), "key updates without data"),
    Kind { name: "tcp-hold", about: "connections on which nothing is sent", protocol: Protocol::Tcp, script: hold(nothing) },
    Kind { name: "tcp-churn", about: "connections that are reset at once", protocol: Protocol::Tcp, script: Script::Churn },
    Kind { name: "udp-sessions", about: "datagrams from more ports than there may be sessions", protocol: Protocol::Udp, script: Script::Sessions(400) },
];

/// What the abuse of a protocol is compared with: a connection that does nothing bad. None where
/// there are no connections.
pub(super) fn idle(protocol: Protocol) -> Option<Kind> {
    let (name, script) = match protocol {
        Protocol::Http2 => ("idle-http2", hold(h2::idle)),
        Protocol::Http1 => ("idle-http1", hold(h1::idle)),
        Protocol::Tls => ("idle-tls", Script::KeyUpdates(0)),
        Protocol::Tcp => ("idle-tcp", hold(nothing)),
        Protocol::Udp => return None,
    };
    Some(Kind { name, about: "nothing bad", protocol, script })
}

/// Random bytes that are the same every time.
pub(super) fn garbage(n: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_is_documented() {
        let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
        let docs = include_str!("../../../docs/benchmarks.md");
        for kind in KINDS {
            assert!(docs.contains(&format!("`{}`", kind.name)), "{}", kind.name);
        }
    }

    #[test]
    fn no_block_is_larger_than_the_budget_and_floods_spend_it() {
        for kind in KINDS {
            let Script::Bytes(bytes) = kind.script else { continue };
            let opening = (bytes.opening)().len();
            assert!(opening <= bytes.budget, "{}", kind.name);
            let blocks = (0..2_000_000).map_while(bytes.block);
            let lengths = blocks.map(|block| block.len());
            let spent = lengths.scan(opening, |sum, length| {
                assert!(length > 0 && length <= bytes.budget);
                *sum += length;
                Some(*sum)
            });
            let most = spent.take_while(|sum| *sum <= bytes.budget).last();
            let flood = bytes.every.is_zero();
            assert!(!flood || most.is_some_and(|sum| sum > bytes.budget / 2), "{}", kind.name);
        }
    }
}
