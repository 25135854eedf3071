//! What is abused: one gateway with a listener of every protocol, and its backends.
//!
//! Called by `abuse`, once per kind, so that no kind inherits another's memory. Invariant: the
//! gateway has one shard, so that the honest client shares everything with the abusers.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::kinds::Protocol;
use crate::compare::start_backend;
use crate::peers::{Certificate, ringway};
use crate::process::{self, Process};

/// The host of the honest client, which has a backend of its own.
pub(super) const HONEST_HOST: &str = "honest.example.com";
/// The host of the abusers.
pub(super) const HOST: &str = "abuse.example.com";
/// A path whose answer is small.
pub(super) const SMALL: &str = "/s";
/// A path whose answer is twice what the gateway holds of one.
pub(super) const LARGE: &str = "/?size=131072";
/// A path whose backend never accepts.
pub(super) const HANG: &str = "/hang";

/// Ports of the gateway.
#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    https: u16,
    tcp: u16,
    udp: u16,
}

/// Backends that serve all gateways, one after the other.
pub(super) struct Backends {
    port: u16,
    _answering: Process,
    /// Full from the beginning.
    silent: TcpListener,
    _queued: Vec<TcpStream>,
    /// Takes datagrams and answers none.
    datagrams: UdpSocket,
}

/// A running gateway, and the backend of its abusers.
pub(super) struct Stage {
    gateway: Process,
    _abused: Process,
    ports: Ports,
}

impl Backends {
    pub(super) fn start(directory: &Path) -> anyhow::Result<Self> {
        let [port] = process::free_ports()?;
        let answering = start_backend(port, None, &[], directory)?;
        let (silent, queued) = full_listener().context("cannot make a backend that is stuck")?;
        let datagrams = UdpSocket::bind(("127.0.0.1", 0))?;
        Ok(Self { port, _answering: answering, silent, _queued: queued, datagrams })
    }
}

/// A listener whose queue is full: connecting to it takes until the connector gives up.
fn full_listener() -> anyhow::Result<(TcpListener, Vec<TcpStream>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    rustix::net::listen(&listener, 0)?;
    let address = listener.local_addr()?;
    let mut queued = Vec::new();
    // Linux queues one more than it was told.
    while queued.len() < 4 {
        match TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
            Ok(stream) => queued.push(stream),
            Err(_) => break,
        }
    }
    Ok((listener, queued))
}

impl Stage {
    pub(super) fn start(
        (ringway, runtime): (&Path, &str),
        backends: &Backends,
        certificate: &Certificate,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let [http, https, tcp, udp, abused_port] = process::free_ports()?;
        let ports = Ports { http, https, tcp, udp };
        let objects: PathBuf = directory.join("objects");
        fs::create_dir_all(&objects)?;
        let abused = start_backend(abused_port, None, &[], directory)?;
        let up = [
            SocketAddr::from(([127, 0, 0, 1], backends.port)),
            SocketAddr::from(([127, 0, 0, 1], abused_port)),
            backends.silent.local_addr()?,
            backends.datagrams.local_addr()?,
        ];
        fs::write(objects.join("abuse.yaml"), config(ports, up, certificate))?;
        let objects = objects.display().to_string();
        let arguments = ["run", &objects, "--shards", "1", "--runtime", runtime, "--admin", "off"]
            .map(str::to_owned);
        let mut gateway = Process::start("ringway", ringway, &arguments, None, directory)?;
        gateway.wait_ready_line(Duration::from_secs(20))?;
        gateway.wait_listening(SocketAddr::from(([127, 0, 0, 1], http)))?;
        Ok(Self { gateway, _abused: abused, ports })
    }

    /// Where a protocol is served.
    pub(super) fn address(&self, protocol: Protocol) -> SocketAddr {
        let port = match protocol {
            Protocol::Http1 | Protocol::Http2 => self.ports.http,
            Protocol::Tls => self.ports.https,
            Protocol::Tcp => self.ports.tcp,
            Protocol::Udp => self.ports.udp,
        };
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Its process.
    pub(super) fn gateway(&mut self) -> &mut Process {
        &mut self.gateway
    }
}

fn config(ports: Ports, up: [SocketAddr; 4], certificate: &Certificate) -> String {
    let [honest, abused, silent, datagrams] = up;
    let mut out = ringway::frame(ports.https, Some(certificate));
    out.push_str(&ringway::service("honest", honest));
    out.push_str(&ringway::service("abused", abused));
    out.push_str(&ringway::service("silent", silent));
    out.push_str(&ringway::service_of("datagrams", datagrams, "port: 80, protocol: UDP"));
    let Ports { http, tcp, udp, .. } = ports;
    let _ = write!(
        out,
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: abuse, namespace: bench }}
spec:
  gatewayClassName: ringway
  listeners:
  - {{ name: http, port: {http}, protocol: HTTP }}
  - {{ name: tcp, port: {tcp}, protocol: TCP }}
  - {{ name: udp, port: {udp}, protocol: UDP }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: honest, namespace: bench }}
spec:
  parentRefs: [{{ name: bench }}, {{ name: abuse }}]
  hostnames: [{HONEST_HOST}]
  rules: [{{ backendRefs: [{{ name: honest, port: 80 }}] }}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: abused, namespace: bench }}
spec:
  parentRefs: [{{ name: bench }}, {{ name: abuse }}]
  hostnames: [{HOST}]
  rules:
  - backendRefs: [{{ name: abused, port: 80 }}]
  - matches: [{{ path: {{ type: PathPrefix, value: {HANG} }} }}]
    backendRefs: [{{ name: silent, port: 80 }}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{ name: tcp, namespace: bench }}
spec:
  parentRefs: [{{ name: abuse, sectionName: tcp }}]
  rules: [{{ backendRefs: [{{ name: abused, port: 80 }}] }}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {{ name: udp, namespace: bench }}
spec:
  parentRefs: [{{ name: abuse, sectionName: udp }}]
  rules: [{{ backendRefs: [{{ name: datagrams, port: 80 }}] }}]
"
    );
    out
}
