//! `bench soak`: minutes of load with everything that goes wrong in production.
//!
//! Called by `main`. Invariant: only a 502, 503 or 504 from the backend that dies on purpose is
//! tolerated; every other answer that is not right counts as wrong.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::compare::stats::slope;
use crate::compare::{Load, start_backend, start_load};
use crate::peers::{self, Kind, ringway};
use crate::probe;
use crate::process::{self, Process, TempDir, cpu, netns};
use crate::protocol::Protocol;

/// `bench soak`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SoakArgs {
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Requests a second in all [default: 60 % of what it can do]
    #[arg(long)]
    rate: Option<f64>,
    /// Milliseconds between edits
    #[arg(long, default_value_t = 200, value_name = "MS")]
    edit_every: u64,
    /// Seconds that the dying backend lives, and then is away
    #[arg(long, default_value_t = 4.0, value_name = "S")]
    backend_every: f64,
    /// Shards
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// The runtime of ringway
    #[arg(long, default_value = "monoio")]
    runtime: String,
    /// The ringway binary
    #[arg(long, default_value = "target/release/ringway", value_name = "PATH")]
    ringway: PathBuf,
}

const HOST: &str = "soak.example.com";
/// Slow readers, and as many slow writers.
const SLOW: usize = 4;
/// The share of the whole rate that goes to the dying backend, and on new connections.
const DYING_SHARE: f64 = 0.15;
const CHURN_SHARE: f64 = 0.05;

/// Where everything is.
struct Place {
    base: PathBuf,
    objects: PathBuf,
    gateway: SocketAddr,
    stable: u16,
    dying: u16,
}

/// Runs it all.
pub(crate) fn run(args: &SoakArgs) -> anyhow::Result<ExitCode> {
    ensure!((0.1..=1_440.0).contains(&args.minutes), "--minutes must be 0.1 to 1440");
    ensure!((0.2..=600.0).contains(&args.backend_every), "--backend-every must be 0.2 to 600");
    if let Some(text) = peers::missing(Kind::Ringway, Protocol::Http1, &args.ringway) {
        anyhow::bail!(text);
    }
    netns::enter();
    process::catch_interrupts()?;
    process::raise_file_limit();
    let directory = TempDir::new("soak")?;
    let [gateway_port, stable, dying] = process::free_ports()?;
    let place = Place {
        base: directory.path().to_path_buf(),
        objects: directory.path().join("objects"),
        gateway: SocketAddr::from(([127, 0, 0, 1], gateway_port)),
        stable,
        dying,
    };
    let echo = ["--echo", ringway::VERSION_TO_BACKEND];
    let _backend = start_backend(stable, None, &echo, &place.base)?;
    let mut gateway = start(args, &place)?;
    let rate = match args.rate {
        Some(rate) => rate,
        None => capacity(&place)? * 0.6,
    };
    ensure!(rate >= 20.0, "a rate below 20/s shows nothing");
    soak(args, &place, &mut gateway, rate)
}

fn start(args: &SoakArgs, place: &Place) -> anyhow::Result<Process> {
    fs::create_dir_all(&place.objects)?;
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let frame = ringway::frame(place.gateway.port(), None)
        + &ringway::service("stable", local(place.stable))
        + &ringway::service("dying", local(place.dying))
        + &ringway::versioned_route(("dying", HOST, "/dying"), "dying", 0);
    fs::write(place.objects.join("frame.yaml"), frame)?;
    edit(place, 0)?;
    let objects = place.objects.display().to_string();
    let shards = args.shards.to_string();
    let arguments =
        ["run", &objects, "--shards", &shards, "--runtime", &args.runtime, "--admin", "off"]
            .map(str::to_owned);
    let mut gateway = Process::start("ringway", &args.ringway, &arguments, None, &place.base)?;
    gateway.wait_ready_line(Duration::from_secs(20))?;
    Ok(gateway)
}

fn edit(place: &Place, version: u64) -> anyhow::Result<()> {
    let spare = place.base.join("spare.yaml");
    fs::write(&spare, ringway::versioned_route(("stable", HOST, "/"), "stable", version))?;
    fs::rename(spare, place.objects.join("stable.yaml")).context("cannot replace a route")
}

/// The arguments of a load on `path`.
fn arguments(place: &Place, path: &str, more: &[&str]) -> Vec<String> {
    let url = format!("http://{}{path}", place.gateway);
    let host = format!("Host: {HOST}");
    let fixed = ["run", &url, "--header", &host, "--expect-status", "200"];
    fixed.iter().chain(more).map(|&word| word.to_owned()).collect()
}

/// Requests a second at saturation.
fn capacity(place: &Place) -> anyhow::Result<f64> {
    let more = ["--closed", "--duration", "2", "--warmup", "0.5"];
    let load =
        start_load("capacity", &arguments(place, "/s", &more), None, &place.base)?.finish()?;
    Ok(load.requests_per_s)
}

fn start_loads(
    place: &Place,
    rate: f64,
    seconds: f64,
) -> anyhow::Result<Vec<(&'static str, Load)>> {
    let seconds = seconds.to_string();
    let equal = format!("{}-echo,{}", ringway::VERSION_TO_BACKEND, ringway::VERSION_TO_CLIENT);
    let base = ["--duration", &seconds, "--warmup", "0", "--rate"];
    let mut loads = Vec::new();
    let mut begin = |name, path, share: f64, more: &[&str]| -> anyhow::Result<()> {
        let rate = (rate * share).to_string();
        let all = [&base[..], &[&rate], more].concat();
        loads.push((name, start_load(name, &arguments(place, path, &all), None, &place.base)?));
        Ok(())
    };
    begin("steady", "/s", 1.0 - DYING_SHARE - CHURN_SHARE, &["--equal-headers", &equal])?;
    begin("dying", "/dying/s", DYING_SHARE, &["--tolerate-status", "502,503,504", "-c", "16"])?;
    begin("churn", "/s", CHURN_SHARE, &["--new-connection-per-request", "-c", "16"])?;
    Ok(loads)
}

/// Counts of the slow clients.
#[derive(Debug, Default)]
struct Slow {
    stop: AtomicBool,
    right: AtomicU64,
    wrong: AtomicU64,
    sample: Mutex<Option<String>>,
}

/// Slow readers and writers, each on a thread of its own, stopped and joined when dropped.
struct SlowClients {
    shared: Arc<Slow>,
    threads: Vec<JoinHandle<()>>,
}

impl SlowClients {
    fn start(gateway: SocketAddr) -> Self {
        let shared = Arc::new(Slow::default());
        let threads = (0..2 * SLOW)
            .map(|n| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || slow_client(gateway, n < SLOW, &shared))
            })
            .collect();
        Self { shared, threads }
    }
}

impl Drop for SlowClients {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of a slow client is already on standard error.
            drop(thread.join());
        }
    }
}

fn slow_client(gateway: SocketAddr, reads: bool, shared: &Slow) {
    while !shared.stop.load(Ordering::Relaxed) {
        let (outcome, size) =
            if reads { (read_slowly(gateway), 1 << 20) } else { (write_slowly(gateway), 128) };
        match outcome {
            Ok(answer) if (answer.status, answer.bytes) == (200, size) => {
                shared.right.fetch_add(1, Ordering::Relaxed);
            }
            other => {
                shared.wrong.fetch_add(1, Ordering::Relaxed);
                let text = match other {
                    Ok(answer) => format!("status {}, {} bytes", answer.status, answer.bytes),
                    Err(error) => error.to_string(),
                };
                if let Ok(mut sample) = shared.sample.lock() {
                    sample.get_or_insert(text);
                }
            }
        }
    }
}

/// 1 MiB at about 1.3 MB/s, in small reads.
fn read_slowly(gateway: SocketAddr) -> std::io::Result<probe::Answered> {
    let mut stream = probe::connect(gateway)?;
    stream.write_all(format!("GET /1m HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())?;
    probe::read_answer(&mut stream, 4096, Duration::from_millis(3))
}

/// A head in pieces and a body in drips, at about 1 kB/s.
fn write_slowly(gateway: SocketAddr) -> std::io::Result<probe::Answered> {
    let mut stream = probe::connect(gateway)?;
    let body = vec![b'x'; 2_000];
    let head =
        format!("POST /s HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", body.len());
    for piece in head.as_bytes().chunks(16).chain(body.chunks(100)) {
        stream.write_all(piece)?;
        thread::sleep(Duration::from_millis(80));
    }
    probe::read_answer(&mut stream, 4096, Duration::ZERO)
}

/// Memory and descriptors over time.
#[derive(Debug, Default)]
struct Trend {
    memory: Vec<(f64, f64)>,
    files: Vec<(f64, f64)>,
}

impl Trend {
    fn sample(&mut self, minutes: f64, pid: u32) -> anyhow::Result<()> {
        self.memory.push((minutes, cpu::resident(pid)? as f64));
        self.files.push((minutes, cpu::descriptors(pid) as f64));
        Ok(())
    }

    /// The first fifth is warm-up and does not count.
    fn print(&self) {
        let from = self.memory.len() / 5;
        println!(
            "memory: {:.1} MiB at the end, slope {:+.1} KiB/min; descriptors: {:.0} at the end, slope {:+.2}/min",
            self.memory.last().map_or(0.0, |point| point.1) / 1_048_576.0,
            slope(&self.memory[from..]) / 1024.0,
            self.files.last().map_or(0.0, |point| point.1),
            slope(&self.files[from..])
        );
    }
}

fn soak(
    args: &SoakArgs,
    place: &Place,
    gateway: &mut Process,
    rate: f64,
) -> anyhow::Result<ExitCode> {
    let length = Duration::from_secs_f64(args.minutes * 60.0);
    println!("{:.1} minutes at {rate:.0} requests/s in all", args.minutes);
    let mut loads = start_loads(place, rate, length.as_secs_f64())?;
    let slow = SlowClients::start(place.gateway);
    let (begun, mut edits, mut deaths) = (Instant::now(), 0_u64, 0_u64);
    let mut dying = Some(start_backend(place.dying, None, &[], &place.base)?);
    let backend_every = Duration::from_secs_f64(args.backend_every);
    let mut turn_at = begun + backend_every;
    let mut sample_at = begun;
    let sample_every = (length / 60).max(Duration::from_secs(1));
    let mut trend = Trend::default();
    while begun.elapsed() < length {
        ensure!(gateway.is_running(), "ringway died:\n{}", gateway.output());
        edits += 1;
        edit(place, edits)?;
        if Instant::now() >= turn_at {
            turn_at += backend_every;
            dying = match dying.take() {
                Some(_) => None,
                None => Some(start_backend(place.dying, None, &[], &place.base)?),
            };
            deaths += u64::from(dying.is_none());
        }
        if Instant::now() >= sample_at {
            sample_at += sample_every;
            trend.sample(begun.elapsed().as_secs_f64() / 60.0, gateway.pid())?;
        }
        process::pause(Duration::from_millis(args.edit_every))?;
    }
    println!("{edits} edits, {deaths} deaths of a backend");
    let shared = Arc::clone(&slow.shared);
    drop(slow);
    let wrong = conclude(&mut loads, &shared)?;
    trend.print();
    println!("{wrong} wrong answers");
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints every load's result; returns the wrong answers of all.
fn conclude(loads: &mut [(&'static str, Load)], slow: &Slow) -> anyhow::Result<u64> {
    let mut wrong = slow.wrong.load(Ordering::Relaxed);
    for (name, load) in loads {
        let outcome = load.finish()?;
        println!(
            "{name}: {} right, {} tolerated, {} wrong; p50 {:.0} us, p99 {:.0} us{}",
            outcome.completed_total,
            outcome.tolerated(),
            outcome.failed(),
            outcome.latency_us.p50,
            outcome.latency_us.p99,
            if outcome.valid { "" } else { " (did not keep its schedule)" }
        );
        for sample in &outcome.error_samples {
            println!("  e.g. {sample}");
        }
        wrong += outcome.failed();
    }
    println!(
        "slow clients: {} right, {} wrong",
        slow.right.load(Ordering::Relaxed),
        slow.wrong.load(Ordering::Relaxed)
    );
    if let Some(text) = slow.sample.lock().ok().and_then(|mut sample| sample.take()) {
        println!("  e.g. {text}");
    }
    Ok(wrong)
}
