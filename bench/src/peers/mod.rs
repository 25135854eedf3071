//! The gateways that are compared, each with a configuration that does the same work.
//!
//! 16 hosts × 4 path prefixes, all to one upstream address; one request header and one response
//! header set; keep-alive on both sides; no access log; one worker. Called by `compare`, `idle` and
//! `soak`. Invariant: what a generated configuration says depends on its [`Setup`] alone.

mod haproxy;
mod nginx;
pub(crate) mod ringway;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::process::{Process, find_program};

/// Hosts of the configuration.
pub(crate) const HOSTS: usize = 16;
/// Path prefixes of each host.
pub(crate) const PREFIXES: [&str; 4] = ["/api/v1/", "/api/v2/", "/static/", "/images/"];
/// The request header that every gateway sets.
const REQUEST_HEADER: &str = "X-Gateway";
/// The response header that every gateway sets.
const RESPONSE_HEADER: &str = "X-Served-By";
const HEADER_VALUE: &str = "bench";

/// A gateway under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ringway on io_uring.
    Ringway,
    /// Ringway on epoll.
    RingwayEpoll,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
}

impl Kind {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ringway => "ringway",
            Self::RingwayEpoll => "ringway-epoll",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Ours.
    pub(crate) fn is_ringway(self) -> bool {
        matches!(self, Self::Ringway | Self::RingwayEpoll)
    }

    /// The peer of this name.
    pub(crate) fn peer(name: &str) -> anyhow::Result<Self> {
        match name {
            "haproxy" => Ok(Self::Haproxy),
            "nginx" => Ok(Self::Nginx),
            _ => bail!("`{name}` is no peer that `bench` knows; choose among haproxy, nginx"),
        }
    }
}

/// What clients speak to the gateway; inside TLS when the [`Setup`] has a certificate.
///
/// The upstream speaks HTTP/1.1 for [`Self::Http1`] and [`Self::Http2`], cleartext HTTP/2 for
/// [`Self::Grpc`], and what the client speaks for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2; without TLS from the first byte on
    Http2,
    /// gRPC: HTTP/2 on both sides
    Grpc,
    /// Bytes of TCP
    Tcp,
    /// Datagrams of UDP
    Udp,
}

/// A self-signed certificate for all hosts.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    /// A new one: ECDSA P-256.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let names = vec!["*.example.com".to_owned()];
        let made =
            rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
        Ok(Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }
}

/// What a gateway is set up with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// An empty directory of its own.
    pub(crate) directory: PathBuf,
    /// What clients speak.
    pub(crate) protocol: Protocol,
    /// The port to listen on.
    pub(crate) port: u16,
    /// The one upstream.
    pub(crate) upstream: SocketAddr,
    /// Listen with TLS.
    pub(crate) certificate: Option<Certificate>,
    /// The core for all of it.
    pub(crate) core: Option<usize>,
    /// The ringway binary.
    pub(crate) ringway: PathBuf,
}

impl Setup {
    fn file(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Writes the configuration of `kind` and starts it; returns when it accepts connections.
pub(crate) fn start(kind: Kind, setup: &Setup) -> anyhow::Result<Process> {
    fs::create_dir_all(&setup.directory)?;
    let (program, arguments) = match kind {
        Kind::Ringway => (setup.ringway.clone(), ringway::prepare(setup, "monoio")?),
        Kind::RingwayEpoll => (setup.ringway.clone(), ringway::prepare(setup, "epoll")?),
        Kind::Haproxy => (installed("haproxy")?, haproxy::prepare(setup)?),
        Kind::Nginx => (installed("nginx")?, nginx::prepare(setup)?),
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

/// Whether a socket of this network namespace has this UDP port.
fn udp_is_bound(port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    fs::read_to_string("/proc/thread-self/net/udp").is_ok_and(|table| {
        let mut local = table.lines().filter_map(|line| line.split_whitespace().nth(1));
        local.any(|address| address.ends_with(&wanted))
    })
}

fn installed(name: &str) -> anyhow::Result<PathBuf> {
    find_program(name).with_context(|| format!("{name} is not installed: apt-get install {name}"))
}

/// Why `kind` cannot serve `protocol` here, and what to do about it.
pub(crate) fn missing(kind: Kind, protocol: Protocol, ringway: &Path) -> Option<String> {
    match kind {
        Kind::Haproxy if protocol == Protocol::Udp => Some("HAProxy relays no UDP".to_owned()),
        Kind::Ringway | Kind::RingwayEpoll if !ringway.is_file() => Some(format!(
            "no ringway binary at {}: cargo build --release, or --ringway PATH",
            ringway.display()
        )),
        Kind::Haproxy if find_program("haproxy").is_none() => {
            Some("no haproxy on the PATH: apt-get install haproxy nginx".to_owned())
        }
        Kind::Nginx if find_program("nginx").is_none() => {
            Some("no nginx on the PATH: apt-get install haproxy nginx".to_owned())
        }
        _ => None,
    }
}

/// The version line of a gateway.
pub(crate) fn version(kind: Kind, ringway: &Path) -> String {
    let (program, flag) = match kind {
        Kind::Ringway | Kind::RingwayEpoll => (Some(ringway.to_path_buf()), "--version"),
        Kind::Haproxy => (find_program("haproxy"), "-v"),
        Kind::Nginx => (find_program("nginx"), "-v"),
    };
    let output = program.and_then(|program| Command::new(program).arg(flag).output().ok());
    let text = output.map_or_else(String::new, |output| {
        let both = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&both).lines().next().unwrap_or_default().to_owned()
    });
    if text.is_empty() { "unknown version".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn setup(tls: bool) -> Setup {
        Setup {
            directory: PathBuf::from("/tmp/DIR"),
            protocol: Protocol::Http1,
            port: 8080,
            upstream: "127.0.0.1:9000".parse().unwrap(),
            certificate: tls
                .then(|| Certificate { certificate: "CERT\n".to_owned(), key: "KEY\n".to_owned() }),
            core: Some(0),
            ringway: PathBuf::from("ringway"),
        }
    }

    #[test]
    fn the_generated_configurations_are_these() {
        let same = |found: &str, wanted: &str| assert_eq!(found.trim(), wanted.trim());
        same(&haproxy::config(&setup(false)), include_str!("expected/haproxy.cfg"));
        same(&haproxy::config(&setup(true)), include_str!("expected/haproxy-tls.cfg"));
        same(&haproxy::map(), include_str!("expected/haproxy.map"));
        same(&nginx::config(&setup(false)), include_str!("expected/nginx.conf"));
        same(&nginx::config(&setup(true)), include_str!("expected/nginx-tls.conf"));
        same(&ringway::config(&setup(false)), include_str!("expected/ringway.yaml"));
        same(&ringway::config(&setup(true)), include_str!("expected/ringway-tls.yaml"));
    }

    #[test]
    fn haproxy_is_left_out_where_datagrams_are_relayed() {
        let text = missing(Kind::Haproxy, Protocol::Udp, Path::new("ringway")).unwrap();
        assert!(text.contains("no UDP"), "{text}");
    }

    #[test]
    fn a_bound_udp_port_is_seen() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(udp_is_bound(port));
    }

    #[test]
    fn a_certificate_is_made_of_two_pem_blocks() {
        let made = Certificate::new().unwrap();
        assert!(made.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(made.key.contains("PRIVATE KEY"));
    }

    #[test]
    fn an_unknown_peer_is_refused_with_the_choices() {
        let error = Kind::peer("envoy").unwrap_err().to_string();
        assert!(error.contains("haproxy, nginx"), "{error}");
    }
}
