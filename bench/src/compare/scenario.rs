//! What is asked of the gateways in a comparison: protocol, size, connections.
//!
//! Pure. Called by `compare`. Invariant: a measurement depends on the arguments, the gateway's port
//! and the round alone.

use clap::ValueEnum;
use serde::Serialize;

use super::CompareArgs;
use crate::peers::HOSTS;
use crate::protocol::Protocol;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// 128-byte answers on kept connections of HTTP/1.1
    Small,
    /// 64 KiB answers
    #[value(name = "64k")]
    #[serde(rename = "64k")]
    Bodies64k,
    /// 1 MiB answers
    #[value(name = "1m")]
    #[serde(rename = "1m")]
    Bodies1m,
    /// A new client connection for every small request
    Churn,
    /// A full TLS 1.3 handshake for every small request
    Tls,
    /// 1 MiB answers over TLS 1.3 on kept connections
    #[value(name = "tls-1m")]
    #[serde(rename = "tls-1m")]
    TlsBodies1m,
    /// 128-byte answers over HTTP/2 without TLS, backends of HTTP/1.1
    H2,
    /// The same over TLS 1.3
    #[value(name = "h2-tls")]
    #[serde(rename = "h2-tls")]
    H2Tls,
    /// Unary gRPC calls, HTTP/2 on both sides
    Grpc,
    /// Small messages on connections of TCP, echoed
    Tcp,
    /// Datagrams of UDP, echoed
    Udp,
}

impl Scenario {
    /// What clients speak.
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Small
            | Self::Bodies64k
            | Self::Bodies1m
            | Self::Churn
            | Self::Tls
            | Self::TlsBodies1m => Protocol::Http1,
            Self::H2 | Self::H2Tls => Protocol::Http2,
            Self::Grpc => Protocol::Grpc,
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
        }
    }

    /// The backend's protocol as `bench backend` takes it.
    pub(super) fn backend(self) -> &'static str {
        match self.protocol() {
            Protocol::Http1 | Protocol::Http2 => "http1",
            Protocol::Grpc => "grpc",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// Whether clients use TLS.
    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsBodies1m | Self::H2Tls)
    }

    /// Whether what is asked may get lost without anybody being at fault.
    pub(super) fn may_lose(self) -> bool {
        self.protocol() == Protocol::Udp
    }

    fn file(self) -> &'static str {
        match self {
            Self::Bodies64k => "64k",
            Self::Bodies1m | Self::TlsBodies1m => "1m",
            Self::Small
            | Self::Churn
            | Self::Tls
            | Self::H2
            | Self::H2Tls
            | Self::Grpc
            | Self::Tcp
            | Self::Udp => "s",
        }
    }

    /// Client connections, unless said otherwise.
    pub(super) fn connections(self) -> usize {
        match self {
            Self::Small | Self::Churn | Self::Tcp | Self::Udp => 64,
            Self::Bodies64k | Self::Tls => 32,
            Self::Bodies1m | Self::TlsBodies1m | Self::H2 | Self::H2Tls | Self::Grpc => 8,
        }
    }

    /// Requests at once on each, unless said otherwise.
    pub(super) fn streams(self) -> usize {
        match self.protocol() {
            Protocol::Http2 | Protocol::Grpc => 100,
            Protocol::Udp => 4,
            Protocol::Http1 | Protocol::Tcp => 1,
        }
    }

    fn url(self, port: u16, round: usize) -> String {
        let at = format!("127.0.0.1:{port}");
        let tls = if self.is_tls() { "s" } else { "" };
        let prefixes = self.protocol().prefixes();
        let prefix = prefixes.get(round % prefixes.len().max(1)).map_or("", String::as_str);
        match self.protocol() {
            Protocol::Http1 | Protocol::Http2 => {
                format!("http{tls}://{at}{prefix}{}", self.file())
            }
            Protocol::Grpc => format!("grpc{tls}://{at}{prefix}Get"),
            Protocol::Tcp => format!("tcp://{at}"),
            Protocol::Udp => format!("udp://{at}"),
        }
    }
}

/// The arguments of one measurement's `bench run`.
pub(super) fn load_arguments(
    args: &CompareArgs,
    port: u16,
    round: usize,
    rate: f64,
) -> Vec<String> {
    let scenario = args.scenario;
    let mut out: Vec<String> =
        ["run", "--warmup", "0.3", "--timeout", "5"].map(str::to_owned).into();
    let mut option = |words: &[&str]| out.extend(words.iter().map(|&word| word.to_owned()));
    option(&[&scenario.url(port, round)]);
    let connections = args.connections.unwrap_or_else(|| scenario.connections());
    option(&["--connections", &connections.to_string()]);
    let streams = args.streams.unwrap_or_else(|| scenario.streams());
    option(&["--streams", &streams.to_string(), "--message", &args.message.to_string()]);
    option(&["--duration", &args.seconds.to_string()]);
    if !matches!(scenario.protocol(), Protocol::Tcp | Protocol::Udp) {
        for header in [
            &format!("Host: h{}.example.com", round % HOSTS),
            "User-Agent: bench",
            "Accept: */*",
            "Accept-Language: en-GB,en;q=0.8",
            "X-Request-Id: 7b0c6f1e-2f1b-4c58-9d0a-5a1f3f9f6c11",
            "Cookie: session=0123456789abcdef0123456789abcdef",
        ] {
            option(&["--header", header]);
        }
    }
    if matches!(scenario, Scenario::Churn | Scenario::Tls) {
        option(&["--new-connection-per-request"]);
    }
    if scenario.protocol() == Protocol::Http2 {
        option(&["--http2"]);
    }
    if scenario.is_tls() {
        option(&["--insecure"]);
    }
    if rate > 0.0 {
        option(&["--rate", &rate.to_string(), "--seed", &(round + 1).to_string()]);
    } else {
        option(&["--closed"]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    #[test]
    fn a_measurement_is_a_run_with_these_arguments() {
        let small = load_arguments(&args(&[]), 8080, 5, 1_000.0).join(" ");
        assert!(small.contains("http://127.0.0.1:8080/api/v2/s --connections 64"), "{small}");
        assert!(small.contains("Host: h5.example.com") && small.ends_with("--rate 1000 --seed 6"));
        let tls = load_arguments(&args(&["--scenario", "tls"]), 8443, 0, 0.0).join(" ");
        assert!(
            tls.contains("https://") && tls.contains("--insecure") && tls.ends_with("--closed")
        );
        assert!(tls.contains("--new-connection-per-request"));
    }

    #[test]
    fn every_protocol_has_its_scheme_and_what_it_carries_at_once() {
        for (scenario, wanted) in [
            ("tls-1m", "https://127.0.0.1:1/api/v1/1m --connections 8 --streams 1 "),
            ("h2", "http://127.0.0.1:1/api/v1/s --connections 8 --streams 100 "),
            ("h2-tls", "https://127.0.0.1:1/api/v1/s --connections 8 --streams 100 "),
            ("grpc", "grpc://127.0.0.1:1/bench.v1.Api/Get --connections 8 --streams 100 "),
            ("tcp", "tcp://127.0.0.1:1 --connections 64 --streams 1 --message 64 "),
            ("udp", "udp://127.0.0.1:1 --connections 64 --streams 4 --message 64 "),
        ] {
            let words = load_arguments(&args(&["--scenario", scenario]), 1, 0, 0.0).join(" ");
            assert!(words.contains(wanted), "{scenario}: {words}");
            assert_eq!(words.contains("--http2"), scenario.starts_with("h2"), "{words}");
        }
    }
}
