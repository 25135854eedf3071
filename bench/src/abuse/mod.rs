//! `bench abuse`: whether a rude connection hurts a polite one, and what rudeness costs in memory.
//!
//! Called by `main`. Invariant: every kind meets a gateway of its own that has served the honest
//! client before, so that growth is the abuse's.

mod ending;
mod h1;
mod h2;
mod kinds;
mod life;
mod report;
mod stage;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use clap::builder::PossibleValue;

use self::kinds::{KINDS, Kind, Protocol, Script};
use self::life::{Life, Meter};
use self::report::{Honest, Memory, Report, Row, SESSION_BYTES_MAX};
use self::stage::{Backends, HONEST_HOST, SMALL, Stage};
use crate::compare::{Load, start_load};
use crate::peers::{self, Certificate};
use crate::process::{self, TempDir, cpu, netns};

/// `bench abuse`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AbuseArgs {
    /// The kinds of abuse [default: all]
    #[arg(long, value_delimiter = ',', value_parser = names(), hide_possible_values = false)]
    kinds: Vec<String>,
    /// Abusive connections at once
    #[arg(long, short, default_value_t = 50)]
    connections: usize,
    /// Seconds of every kind
    #[arg(long, default_value_t = 3.0, value_name = "S")]
    seconds: f64,
    /// Requests a second of the honest client
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// The honest client speaks HTTP/2 [default: HTTP/1]
    #[arg(long)]
    http2: bool,
    /// The ringway binary
    #[arg(long, default_value = "target/release/ringway", value_name = "PATH")]
    ringway: PathBuf,
    /// The runtime of ringway: monoio, epoll
    #[arg(long, default_value = "monoio")]
    runtime: String,
    /// Write abuse.json and .md into this directory
    #[arg(long, short, default_value = "target/bench", value_name = "DIR")]
    output: PathBuf,
}

fn names() -> Vec<PossibleValue> {
    KINDS.iter().map(|kind| PossibleValue::new(kind.name).help(kind.about)).collect()
}

/// Idle connections that show what one costs.
const IDLE_CONNECTIONS: usize = 1000;
/// How long these are held.
const IDLE_HELD: Duration = Duration::from_millis(1500);
/// The honest client without the abuse is measured for no longer than this.
const ALONE_MAX: Duration = Duration::from_secs(5);
/// Connections of the honest client.
const HONEST_CONNECTIONS: usize = 16;
/// The honest client has been at work for so long when the abuse begins.
const LEAD: Duration = Duration::from_millis(500);
/// Between two looks at the gateway's memory.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// Runs every kind.
pub(crate) fn run(args: &AbuseArgs) -> anyhow::Result<ExitCode> {
    ensure!((1..=5_000).contains(&args.connections), "--connections must be 1 to 5000");
    ensure!((0.5..=600.0).contains(&args.seconds), "--seconds must be 0.5 to 600");
    ensure!((1.0..=1e6).contains(&args.rate), "--rate must be 1 to 1000000");
    if let Some(text) = peers::missing(peers::Kind::Ringway, peers::Protocol::Http1, &args.ringway)
    {
        bail!(text);
    }
    let network = netns::enter();
    process::catch_interrupts()?;
    process::raise_file_limit();
    let directory = TempDir::new("abuse")?;
    let bench = Bench {
        args,
        backends: Backends::start(directory.path())?,
        certificate: Certificate::new()?,
        directory: directory.path(),
    };
    let kinds: Vec<Kind> = KINDS.into_iter().filter(|kind| asked_for(args, kind)).collect();
    let idle_bytes = bench.idle(&kinds)?;
    let mut rows = Vec::new();
    for (n, kind) in kinds.iter().enumerate() {
        let idle_each = idle_bytes.get(kind.protocol.name()).copied();
        let row = bench.measure(*kind, idle_each.unwrap_or(SESSION_BYTES_MAX))?;
        let verdict = if row.faults.is_empty() { "pass".into() } else { row.faults.join("; ") };
        eprintln!("  {}/{} {}: {verdict}", n + 1, kinds.len(), kind.name);
        rows.push(row);
    }
    let report = Report {
        version: peers::version(peers::Kind::Ringway, &args.ringway),
        machine: cpu::machine(),
        network,
        connections: args.connections,
        seconds: args.seconds,
        rate: args.rate,
        honest: if args.http2 { "HTTP/2" } else { "HTTP/1" },
        idle_bytes,
        rows,
    };
    print!("{}", report.markdown());
    write(&args.output, &report)?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn asked_for(args: &AbuseArgs, kind: &Kind) -> bool {
    args.kinds.is_empty() || args.kinds.iter().any(|name| name == kind.name)
}

fn write(output: &Path, report: &Report) -> anyhow::Result<()> {
    fs::create_dir_all(output).with_context(|| format!("cannot create {}", output.display()))?;
    let base = output.join("abuse");
    fs::write(base.with_extension("json"), serde_json::to_vec_pretty(report)?)?;
    fs::write(base.with_extension("md"), report.markdown())?;
    println!("\nwrote {} and .md", base.with_extension("json").display());
    Ok(())
}

/// What all kinds share.
struct Bench<'a> {
    args: &'a AbuseArgs,
    backends: Backends,
    certificate: Certificate,
    directory: &'a Path,
}

impl Bench<'_> {
    fn stage(&self, name: &str) -> anyhow::Result<Stage> {
        let directory = self.directory.join(name);
        let program = (self.args.ringway.as_path(), self.args.runtime.as_str());
        Stage::start(program, &self.backends, &self.certificate, &directory)
    }

    /// What an idle connection costs, for the protocols of `kinds`.
    fn idle(&self, kinds: &[Kind]) -> anyhow::Result<BTreeMap<&'static str, u64>> {
        let mut found = BTreeMap::new();
        for protocol in kinds.iter().map(|kind| kind.protocol) {
            let Some(kind) = kinds::idle(protocol) else { continue };
            if found.contains_key(protocol.name()) {
                continue;
            }
            let mut stage = self.stage(kind.name)?;
            self.load(&stage, protocol, Duration::from_secs(1))?.finish()?;
            let abused = abuse(kind, IDLE_CONNECTIONS, &mut stage, IDLE_HELD)?;
            let held = abused.lives.iter().filter(|life| life.end.ends_with("open at the end"));
            let held = held.count();
            ensure!(
                held == IDLE_CONNECTIONS,
                "only {held} of {IDLE_CONNECTIONS} idle {} connections stayed open: {:?}",
                protocol.name(),
                report::endings(&abused.lives)
            );
            found.insert(protocol.name(), abused.memory.each());
        }
        Ok(found)
    }

    /// The honest client, for `length` and what goes before.
    fn load(&self, stage: &Stage, protocol: Protocol, length: Duration) -> anyhow::Result<Load> {
        let (scheme, served) = match protocol {
            Protocol::Tls => ("https", Protocol::Tls),
            Protocol::Http2 | Protocol::Http1 | Protocol::Tcp | Protocol::Udp => {
                ("http", Protocol::Http1)
            }
        };
        let arguments = [
            "run",
            &format!("{scheme}://{}{SMALL}", stage.address(served)),
            "--header",
            &format!("Host: {HONEST_HOST}"),
            "--insecure",
            "--rate",
            &self.args.rate.to_string(),
            "--connections",
            &HONEST_CONNECTIONS.to_string(),
            "--warmup",
            &LEAD.as_secs_f64().to_string(),
            "--duration",
            &length.as_secs_f64().to_string(),
            "--expect-status",
            "200",
            "--expect-bytes",
            "128",
        ];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        if self.args.http2 {
            arguments.push("--http2".to_owned());
        }
        start_load("honest", &arguments, None, self.directory)
    }

    fn measure(&self, kind: Kind, idle_each: u64) -> anyhow::Result<Row> {
        let mut stage = self.stage(kind.name)?;
        let length = Duration::from_secs_f64(self.args.seconds);
        let pid = stage.gateway().pid();
        let clock = Clock::start(pid);
        let without = self.load(&stage, kind.protocol, length.min(ALONE_MAX))?.finish()?;
        let without = Honest::of(&without, clock.busy());
        let clock = Clock::start(pid);
        let mut load = self.load(&stage, kind.protocol, length)?;
        process::pause(LEAD)?;
        let abused = abuse(kind, self.args.connections, &mut stage, length)?;
        let with = load.finish()?;
        let with = Honest::of(&with, clock.busy());
        let running = stage.gateway().is_running();
        let faults = if running {
            Vec::new()
        } else {
            vec![format!("the gateway died: {}", stage.gateway().output())]
        };
        let row = Row {
            kind: kind.name,
            protocol: kind.protocol.name(),
            about: kind.about,
            without,
            with,
            memory: Memory { idle_each, ..abused.memory },
            endings: report::endings(&abused.lives),
            faults,
        };
        Ok(row.judge())
    }
}

/// What share of a core a process uses.
struct Clock {
    pid: u32,
    since: Instant,
    cpu_ns: u64,
}

impl Clock {
    fn start(pid: u32) -> Self {
        Self { pid, since: Instant::now(), cpu_ns: cpu::cpu_ns(pid).unwrap_or(0) }
    }

    /// 0 when it has died.
    fn busy(&self) -> f64 {
        let used = cpu::cpu_ns(self.pid).unwrap_or(0).saturating_sub(self.cpu_ns);
        used as f64 / self.since.elapsed().as_nanos() as f64
    }
}

/// What was seen of an abuse.
struct Abused {
    lives: Vec<Life>,
    memory: Memory,
}

/// Abuses the gateway and looks at its memory meanwhile.
fn abuse(
    kind: Kind,
    connections: usize,
    stage: &mut Stage,
    length: Duration,
) -> anyhow::Result<Abused> {
    let at = stage.address(kind.protocol);
    let pid = stage.gateway().pid();
    let before = cpu::resident(pid)?;
    let mut memory = Memory { before, peak: before, ..Memory::default() };
    let meter = Arc::new(Meter::default());
    let seen = Arc::clone(&meter);
    let abusers = thread::spawn(move || life::run(kind, connections, at, length, &seen));
    while !abusers.is_finished() {
        // One that has died is found by the caller.
        memory.peak = memory.peak.max(cpu::resident(pid).unwrap_or(0));
        memory.live = memory.live.max(meter.live.load(Ordering::Relaxed));
        thread::sleep(LOOK_EVERY);
    }
    let lives = abusers.join().ok().context("the abusers panicked")??;
    memory.sent = meter.sent.load(Ordering::Relaxed);
    memory.units = match kind.script {
        Script::Sessions(_) => lives.len(),
        _ => connections,
    } as u64;
    memory.answers = matches!(kind.script, Script::Bytes(bytes) if bytes.answers);
    process::check_interrupt()?;
    Ok(Abused { lives, memory })
}
