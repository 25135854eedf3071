//! `bench scale`: start-up, memory and the way of an edit with many routes.
//!
//! Called by `main`. Invariant: an edit counts as served when 20 fresh connections in a row say
//! so, which leaves one chance in 500,000 that one of two shards was not asked.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::compare::{start_backend, start_changed_load};
use crate::http;
use crate::load::record::histogram;
use crate::outcome::{Outcome, Points};
use crate::peers::{self, Kind, ringway};
use crate::probe;
use crate::process::{self, Process, TempDir, cpu, netns};
use crate::protocol::Protocol;

/// `bench scale`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ScaleArgs {
    /// HTTPRoutes
    #[arg(long, default_value_t = 10_000)]
    routes: usize,
    /// Files that they are spread over
    #[arg(long, default_value_t = 100)]
    files: usize,
    /// Shards
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// Edits whose way is timed
    #[arg(long, default_value_t = 100)]
    edits: usize,
    /// Also make 1,000 edits under load, and count wrong and half-changed answers
    #[arg(long)]
    edits_under_load: bool,
    /// Requests a second of that load
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// The runtime of ringway
    #[arg(long, default_value = "monoio")]
    runtime: String,
    /// The ringway binary
    #[arg(long, default_value = "target/release/ringway", value_name = "PATH")]
    ringway: PathBuf,
}

/// Paths of one host.
const PATHS: usize = 10;
/// So many answers in a row must agree.
const AGREEING: usize = 20;
/// Edits under load.
const LOADED_EDITS: u64 = 1_000;

/// Where the objects are.
#[derive(Debug)]
struct Objects {
    directory: PathBuf,
    spare: PathBuf,
    routes: usize,
    per_file: usize,
}

impl Objects {
    fn name(route: usize) -> (String, String, String) {
        (
            format!("r{route}"),
            format!("h{}.example.com", route / PATHS),
            format!("/p{}", route % PATHS),
        )
    }

    fn file_text(&self, file: usize, edited: Option<(usize, u64)>) -> String {
        let first = file * self.per_file;
        let mut out = String::new();
        for route in first..(first + self.per_file).min(self.routes) {
            let version = edited.filter(|(at, _)| *at == route).map_or(0, |(_, version)| version);
            let (name, host, path) = Self::name(route);
            out.push_str(&ringway::versioned_route((&name, &host, &path), "up", version));
        }
        out
    }

    /// Replaces a file as editors do: written beside, then renamed over.
    fn write(&self, file: usize, edited: Option<(usize, u64)>) -> anyhow::Result<()> {
        fs::write(&self.spare, self.file_text(file, edited))?;
        fs::rename(&self.spare, self.directory.join(format!("routes-{file:04}.yaml")))
            .context("cannot replace a file of routes")
    }

    /// Sets the version of one route; its file's other routes go back to 0.
    fn edit(&self, route: usize, version: u64) -> anyhow::Result<()> {
        self.write(route / self.per_file, Some((route, version)))
    }
}

/// Runs it all.
pub(crate) fn run(args: &ScaleArgs) -> anyhow::Result<ExitCode> {
    ensure!((1..=1_000_000).contains(&args.routes), "--routes must be 1 to 1000000");
    ensure!((1..=args.routes).contains(&args.files), "--files must be 1 to the number of routes");
    if let Some(text) = peers::missing(Kind::Ringway, Protocol::Http1, &args.ringway) {
        anyhow::bail!(text);
    }
    netns::enter();
    process::catch_interrupts()?;
    process::raise_file_limit();
    let directory = TempDir::new("scale")?;
    let [backend_port, port] = process::free_ports()?;
    let echo = ["--echo", ringway::VERSION_TO_BACKEND, "--delay", "2"];
    let _backend = start_backend(backend_port, None, &echo, directory.path())?;
    let objects = lay_out(args, directory.path(), port, backend_port)?;
    let gateway = start(args, &objects, directory.path())?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    time_edits(args, &objects, address)?;
    println!("resident after the edits: {:.1} MiB", mib(cpu::resident(gateway.pid())?));
    if !args.edits_under_load {
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = edits_under_load(args, &objects, address, directory.path())?;
    Ok(if outcome.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn lay_out(args: &ScaleArgs, base: &Path, port: u16, backend: u16) -> anyhow::Result<Objects> {
    let objects = Objects {
        directory: base.join("objects"),
        spare: base.join("spare.yaml"),
        routes: args.routes,
        per_file: args.routes.div_ceil(args.files),
    };
    fs::create_dir_all(&objects.directory)?;
    let upstream = SocketAddr::from(([127, 0, 0, 1], backend));
    let frame = ringway::frame(port, None) + &ringway::service("up", upstream);
    fs::write(objects.directory.join("gateway.yaml"), frame)?;
    for file in 0..args.routes.div_ceil(objects.per_file) {
        objects.write(file, None)?;
    }
    Ok(objects)
}

fn start(args: &ScaleArgs, objects: &Objects, base: &Path) -> anyhow::Result<Process> {
    let arguments: Vec<String> = [
        "run",
        &objects.directory.display().to_string(),
        "--shards",
        &args.shards.to_string(),
        "--runtime",
        &args.runtime,
        "--admin",
        "off",
    ]
    .map(str::to_owned)
    .into();
    let begun = Instant::now();
    let mut gateway = Process::start("ringway", &args.ringway, &arguments, None, base)?;
    gateway.wait_ready_line(Duration::from_secs(120))?;
    println!(
        "{} routes in {} files, {} shards: ready after {:.0} ms, resident {:.1} MiB",
        args.routes,
        args.files,
        args.shards,
        begun.elapsed().as_secs_f64() * 1e3,
        mib(cpu::resident(gateway.pid())?)
    );
    Ok(gateway)
}

/// Written, then served by every shard: how long.
fn time_edits(args: &ScaleArgs, objects: &Objects, address: SocketAddr) -> anyhow::Result<()> {
    let mut times = histogram();
    for n in 0..args.edits {
        let route = (n * 7_919) % args.routes;
        objects.edit(route, n as u64 + 1)?;
        let took = served(address, route, n as u64 + 1, Instant::now())?;
        times.saturating_record(took.as_nanos() as u64);
        process::pause(Duration::from_millis(5))?;
    }
    let points = Points::of(&times);
    println!(
        "{} edits of one route, written -> served by every shard: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        args.edits,
        points.p50 / 1e3,
        points.p99 / 1e3,
        points.max / 1e3
    );
    Ok(())
}

/// The time from `written` to the first of many answers in a row with `version`.
fn served(
    address: SocketAddr,
    route: usize,
    version: u64,
    written: Instant,
) -> anyhow::Result<Duration> {
    let (_, host, path) = Objects::name(route);
    let wanted = version.to_string();
    let mut since = None;
    let mut agreeing = 0;
    while agreeing < AGREEING {
        process::check_interrupt()?;
        let waited = written.elapsed();
        ensure!(waited < Duration::from_secs(30), "an edit was not served after 30 s");
        let answer = probe::ask_once(address, &host, &path).context("a route is not served")?;
        ensure!(answer.status == 200, "route {route} answered {}", answer.status);
        if http::field(&answer.head, ringway::VERSION_TO_CLIENT) == Some(wanted.as_bytes()) {
            since = since.or_else(|| Some(written.elapsed()));
            agreeing += 1;
        } else {
            (since, agreeing) = (None, 0);
        }
    }
    since.context("no answer agreed")
}

/// Many edits of the very route that is under load.
fn edits_under_load(
    args: &ScaleArgs,
    objects: &Objects,
    address: SocketAddr,
    base: &Path,
) -> anyhow::Result<Outcome> {
    const BETWEEN: Duration = Duration::from_millis(20);
    let seconds = BETWEEN.as_secs_f64() * LOADED_EDITS as f64 * 1.2 + 2.0;
    let (_, host, path) = Objects::name(0);
    let equal = format!("{}-echo,{}", ringway::VERSION_TO_BACKEND, ringway::VERSION_TO_CLIENT);
    let url = format!("http://{address}{path}");
    let mut load = start_changed_load((&url, &host), args.rate, seconds, &equal, base)?;
    process::pause(Duration::from_secs(1))?;
    for n in 1..=LOADED_EDITS {
        objects.edit(0, 1_000_000 + n)?;
        process::pause(BETWEEN)?;
    }
    let all_under_load = load.is_running();
    served(address, 0, 1_000_000 + LOADED_EDITS, Instant::now())?;
    let outcome = load.finish()?;
    println!("\n{LOADED_EDITS} edits under load:");
    print!("{}", outcome.table());
    println!(
        "{} failed or half-changed answers{}",
        outcome.failed(),
        if all_under_load {
            ""
        } else {
            " (the load ended before the edits: not all were under load)"
        }
    );
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_changes_one_route_of_one_file_and_nothing_else() {
        let objects =
            Objects { directory: PathBuf::new(), spare: PathBuf::new(), routes: 25, per_file: 10 };
        let (before, after) = (objects.file_text(1, None), objects.file_text(1, Some((13, 77))));
        let changed: Vec<_> =
            before.lines().zip(after.lines()).filter(|(one, other)| one != other).collect();
        assert_eq!(changed.len(), 2);
        assert!(changed.iter().all(|(_, line)| line.contains("value: \"77\"")));
        assert_eq!(objects.file_text(2, None).matches("kind: HTTPRoute").count(), 5);
        assert_eq!(Objects::name(13).1, "h1.example.com");
    }
}
