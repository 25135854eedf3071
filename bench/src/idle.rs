//! `bench idle`: what an idle keep-alive connection costs a gateway in memory.
//!
//! Called by `main`. Invariant: every connection has had one right answer and is still open when
//! the memory is read.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::compare::start_backend;
use crate::peers::{self, Kind, Setup};
use crate::probe;
use crate::process::{self, TempDir, cpu, netns};
use crate::protocol::Protocol;

/// `bench idle`.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdleArgs {
    /// Idle connections to hold
    #[arg(long, short, default_value_t = 10_000)]
    connections: usize,
    /// Also measure these: haproxy, nginx
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
        if let Some(text) = peers::missing(kind, Protocol::Http1, &args.ringway) {
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
        protocol: Protocol::Http1,
        port,
        upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, backend_port)),
        certificate: None,
        core: None,
        ringway: args.ringway.clone(),
    };
    let gateway = peers::start(kind, &setup)?;
    let warm = open(port, 0..WARM)?;
    process::pause(Duration::from_millis(500))?;
    let before = cpu::resident(gateway.pid())?;
    let mut held = open(port, WARM..WARM + args.connections)?;
    process::pause(Duration::from_millis(500))?;
    let with = cpu::resident(gateway.pid())?;
    let last = held.last_mut().context("no connection was opened")?;
    let still =
        probe::ask(last, "h0.example.com", "/api/v1/s").context("an idle connection is dead")?;
    ensure!(still.status == 200, "an idle connection answered {}", still.status);
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

/// Opens connections, each with one request; several loopback addresses when ports run short.
fn open(port: u16, range: std::ops::Range<usize>) -> anyhow::Result<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(range.len());
    for n in range {
        process::check_interrupt()?;
        let address = Ipv4Addr::new(127, 0, 0, 1 + (n / PER_ADDRESS) as u8);
        let mut stream = probe::connect(SocketAddr::from((address, port)))
            .with_context(|| format!("connection {n} was refused"))?;
        let answer = probe::ask(&mut stream, "h0.example.com", "/api/v1/s")
            .with_context(|| format!("connection {n} got no answer"))?;
        ensure!(answer.status == 200, "connection {n} got status {}", answer.status);
        held.push(stream);
    }
    Ok(held)
}
