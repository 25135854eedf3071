//! The gateways that are compared, each with a configuration that does the same work.
//!
//! 16 hosts × 4 path prefixes, all to one upstream address; one request header and one response
//! header set; keep-alive on both sides; no access log; one worker. Of gRPC, the prefixes are four
//! services; TCP and UDP have one listener and one upstream. Called by `compare`, `idle` and `soak`.
//! Invariant: what a generated configuration says depends on its [`Setup`] alone.

mod envoy;
#[cfg(test)]
mod expected;
mod haproxy;
mod kind;
mod nginx;
pub(crate) mod ringway;
mod setup;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

pub(crate) use self::kind::Kind;
pub(crate) use self::setup::{Certificate, Setup};
use crate::process::{Process, find_program};
pub(crate) use crate::protocol::Protocol;

/// Hosts of the configuration.
pub(crate) const HOSTS: usize = 16;
/// Path prefixes of each host.
pub(crate) const PREFIXES: [&str; 4] = ["/api/v1/", "/api/v2/", "/static/", "/images/"];
/// The gRPC services that stand in for them.
pub(crate) const SERVICES: [&str; 4] =
    ["bench.v1.Api", "bench.v2.Api", "bench.Static", "bench.Images"];
/// The request header that every gateway sets.
const REQUEST_HEADER: &str = "X-Gateway";
/// The response header that every gateway sets.
const RESPONSE_HEADER: &str = "X-Served-By";
const HEADER_VALUE: &str = "bench";

/// Writes the configuration of `kind` and starts it; returns when it accepts connections.
pub(crate) fn start(kind: Kind, setup: &Setup) -> anyhow::Result<Process> {
    fs::create_dir_all(&setup.directory)?;
    let (program, arguments) = match kind {
        Kind::Ringway => (setup.ringway.clone(), ringway::prepare(setup, "monoio")?),
        Kind::RingwayEpoll => (setup.ringway.clone(), ringway::prepare(setup, "epoll")?),
        Kind::Haproxy => (installed(kind)?, haproxy::prepare(setup)?),
        Kind::Nginx => (installed(kind)?, nginx::prepare(setup)?),
        Kind::Envoy => (installed(kind)?, envoy::prepare(setup)?),
    };
    let mut process =
        Process::start(kind.name(), &program, &arguments, setup.core, &setup.directory)?;
    if kind.is_ringway() {
        process.wait_ready_line(Duration::from_secs(20))?;
    }
    match setup.protocol {
        Protocol::Udp => {
            process.wait_until(Duration::from_secs(10), |_| udp_is_bound(setup.port))?;
        }
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc | Protocol::Tcp => {
            process.wait_listening(SocketAddr::from(([127, 0, 0, 1], setup.port)))?;
        }
    }
    Ok(process)
}

/// Whether a socket of this network namespace has this UDP port, alone or for both IP versions.
fn udp_is_bound(port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"].iter().any(|file| {
        fs::read_to_string(file).is_ok_and(|table| {
            let mut local = table.lines().filter_map(|line| line.split_whitespace().nth(1));
            local.any(|address| address.ends_with(&wanted))
        })
    })
}

fn installed(kind: Kind) -> anyhow::Result<PathBuf> {
    let name = kind.name();
    find_program(name).with_context(|| format!("no {name} on the PATH: {}", kind.remedy()))
}

/// Why `kind` cannot serve `protocol` here, and what to do about it.
pub(crate) fn missing(kind: Kind, protocol: Protocol, ringway: &Path) -> Option<String> {
    let streams = matches!(protocol, Protocol::Tcp | Protocol::Udp);
    match kind {
        Kind::Ringway | Kind::RingwayEpoll => (!ringway.is_file()).then(|| {
            let path = ringway.display();
            format!("no ringway binary at {path}: cargo build --release, or --ringway PATH")
        }),
        Kind::Haproxy if protocol == Protocol::Udp => Some(haproxy::NO_UDP.to_owned()),
        Kind::Haproxy | Kind::Nginx | Kind::Envoy => {
            installed(kind).err().map(|error| error.to_string()).or_else(|| {
                let lacks = kind == Kind::Nginx && streams && !Path::new(nginx::STREAM).is_file();
                lacks.then(|| {
                    let module = nginx::STREAM;
                    format!("nginx has no {module}: apt-get install libnginx-mod-stream")
                })
            })
        }
    }
}

/// The version line of a gateway.
pub(crate) fn version(kind: Kind, ringway: &Path) -> String {
    let (program, flag) = match kind {
        Kind::Ringway | Kind::RingwayEpoll => (Some(ringway.to_path_buf()), "--version"),
        Kind::Haproxy | Kind::Nginx => (find_program(kind.name()), "-v"),
        Kind::Envoy => (find_program(kind.name()), "--version"),
    };
    let output = program.and_then(|program| Command::new(program).arg(flag).output().ok());
    let text = output.map_or_else(String::new, |output| {
        let both = [output.stdout, output.stderr].concat();
        version_line(kind, &String::from_utf8_lossy(&both)).to_owned()
    });
    if text.is_empty() { "unknown version".to_owned() } else { text }
}

/// The first line that says something; of Envoy's, what comes after the path of its program.
fn version_line(kind: Kind, output: &str) -> &str {
    let line = output.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    match line.split_once("version: ") {
        Some((_, version)) if kind == Kind::Envoy => version,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haproxy_is_left_out_where_datagrams_are_relayed() {
        let text = missing(Kind::Haproxy, Protocol::Udp, Path::new("ringway")).unwrap();
        assert_eq!(text, "HAProxy relays no UDP");
    }

    #[test]
    fn a_bound_udp_port_is_seen() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let socket = std::net::UdpSocket::bind(address).unwrap();
            let port = socket.local_addr().unwrap().port();
            assert!(udp_is_bound(port), "{address}");
        }
    }

    #[test]
    fn the_version_of_envoy_is_without_the_path_of_its_program() {
        let said = "\n/opt/envoy  version: 0a1b/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(version_line(Kind::Envoy, said), "0a1b/1.40.0/Clean/RELEASE/BoringSSL");
        assert_eq!(
            version_line(Kind::Nginx, "nginx version: nginx/1.2\n"),
            "nginx version: nginx/1.2"
        );
    }
}
