//! `bench idle`: what an idle kept connection costs a gateway in memory.
//!
//! Called by `main`. Invariant: every connection has had one right answer and is still open when
//! the memory is read.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use rustls::ClientConfig;

use crate::compare::start_backend;
use crate::held::Held;
use crate::load::client_config;
use crate::peers::{self, Certificate, Kind, Setup};
use crate::process::{self, TempDir, cpu, netns};
use crate::protocol::Protocol;

/// `bench idle`.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdleArgs {
    /// Idle connections to hold
    #[arg(long, short, default_value_t = 10_000)]
    connections: usize,
    /// Clients speak HTTP/2 instead of HTTP/1.1
    #[arg(long)]
    http2: bool,
    /// Clients use TLS
    #[arg(long)]
    tls: bool,
    /// Also measure these: haproxy, nginx, envoy
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// The ringway runtimes to measure: monoio, epoll
    #[arg(long, value_delimiter = ',', default_value = "monoio")]
    runtimes: Vec<String>,
    /// The ringway binary
    #[arg(long, default_value = "target/release/ringway", value_name = "PATH")]
    ringway: PathBuf,
}

/// Connections to one address, so that ports suffice.
const PER_ADDRESS: usize = 10_000;
/// Connections opened before the first reading, so that pools and buffers exist.
const WARM: usize = 64;

/// Measures one gateway after the other.
pub(crate) fn run(args: &IdleArgs) -> anyhow::Result<ExitCode> {
    netns::enter();
    process::catch_interrupts()?;
    let files = process::raise_file_limit();
    ensure!(
        (args.connections + 256) as u64 <= files,
        "{} connections need as many open files here, and the hard limit is {files}: raise it (ulimit -Hn) or lower --connections",
        args.connections
    );
    let mut kinds = Vec::new();
    for runtime in &args.runtimes {
        kinds.push(if runtime == "epoll" { Kind::RingwayEpoll } else { Kind::Ringway });
    }
    for peer in args.peers.iter().filter(|peer| !peer.is_empty()) {
        kinds.push(Kind::peer(peer)?);
    }
    let directory = TempDir::new("idle")?;
    println!(
        "{:<14} {:>12} {:>14} {:>14} {:>16}",
        "", "connections", "before KiB", "with KiB", "bytes each"
    );
    let mut measured = 0;
    for kind in kinds {
        if let Some(text) = peers::missing(kind, args.protocol(), &args.ringway) {
            eprintln!("note: left out: {text}");
            continue;
        }
        measure(kind, args, directory.path())?;
        measured += 1;
    }
    ensure!(measured > 0, "nothing to measure");
    Ok(ExitCode::SUCCESS)
}

fn measure(kind: Kind, args: &IdleArgs, directory: &Path) -> anyhow::Result<()> {
    let [backend_port, port] = process::free_ports()?;
    let _backend = start_backend(backend_port, None, &[], directory)?;
    let setup = Setup {
        directory: directory.join(kind.name()),
        protocol: args.protocol(),
        port,
        upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, backend_port)),
        certificate: args.tls.then(Certificate::new).transpose()?,
        core: None,
        ringway: args.ringway.clone(),
    };
    let gateway = peers::start(kind, &setup)?;
    let clients = Clients::new(args, port)?;
    let warm = clients.open(0..WARM)?;
    process::pause(Duration::from_millis(500))?;
    let before = cpu::resident(gateway.pid())?;
    let mut held = clients.open(WARM..WARM + args.connections)?;
    process::pause(Duration::from_millis(500))?;
    let with = cpu::resident(gateway.pid())?;
    let last = held.last_mut().context("no connection was opened")?;
    last.ask().context("an idle connection is dead")?;
    println!(
        "{:<14} {:>12} {:>14} {:>14} {:>16.0}",
        kind.name(),
        held.len(),
        before / 1024,
        with / 1024,
        with.saturating_sub(before) as f64 / held.len() as f64
    );
    drop(warm);
    Ok(())
}

impl IdleArgs {
    fn protocol(&self) -> Protocol {
        if self.http2 { Protocol::Http2 } else { Protocol::Http1 }
    }
}

/// How connections are opened.
struct Clients {
    port: u16,
    http2: bool,
    tls: Option<Arc<ClientConfig>>,
}

impl Clients {
    fn new(args: &IdleArgs, port: u16) -> anyhow::Result<Self> {
        let tls = args.tls.then(|| client_config(args.protocol(), false)).transpose()?;
        Ok(Self { port, http2: args.http2, tls })
    }

    /// Opens connections, each with one request; several loopback addresses when ports run short.
    fn open(&self, range: std::ops::Range<usize>) -> anyhow::Result<Vec<Held>> {
        let mut held = Vec::with_capacity(range.len());
        for n in range {
            process::check_interrupt()?;
            let address = Ipv4Addr::new(127, 0, 0, 1 + (n / PER_ADDRESS) as u8);
            let address = SocketAddr::from((address, self.port));
            let mut one = Held::connect(address, self.tls.as_ref(), self.http2)
                .with_context(|| format!("connection {n} was refused"))?;
            one.ask().with_context(|| format!("connection {n} got no right answer"))?;
            held.push(one);
        }
        Ok(held)
    }
}
