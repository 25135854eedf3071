//! `bench compare`: Ringway against other gateways, in turn, on one core, doing the same work.
//!
//! Called by `main`. Invariant: every figure is measured on every entry within one round, and
//! ratios are taken within rounds, so that a slow phase of the machine hits both sides.

mod report;
mod scenario;
pub(crate) mod stats;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum as _};
use serde::Serialize;

use self::report::Report;
use self::scenario::{Scenario, load_arguments};
use crate::outcome::Outcome;
use crate::peers::{self, Certificate, Kind, Setup};
use crate::process::{self, Process, TempDir, cpu, netns};

/// `bench compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// How often every gateway is measured; intervals need at least 5
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Client connections [default: 64; 32 for 64k and tls; 8 for 1m, HTTP/2 and gRPC]
    #[arg(long)]
    connections: Option<usize>,
    /// Requests at once on each [default: 1; 100 for HTTP/2 and gRPC, 4 for UDP]
    #[arg(long)]
    streams: Option<usize>,
    /// Bytes of a gRPC, TCP or UDP message
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    message: usize,
    /// What is asked of the gateways
    #[arg(long, value_enum, default_value = "small")]
    scenario: Scenario,
    /// The gateways to compare with
    #[arg(long, value_delimiter = ',', default_value = "haproxy,nginx,envoy")]
    peers: Vec<String>,
    /// The ringway runtimes to compare
    #[arg(long, value_delimiter = ',', default_value = "monoio,epoll")]
    runtimes: Vec<String>,
    /// The ringway binary
    #[arg(long, default_value = "target/release/ringway", value_name = "PATH")]
    ringway: PathBuf,
    /// Requests a second for latency at a fixed rate [default: 60 % of the slowest]
    #[arg(long, value_delimiter = ',')]
    rates: Vec<f64>,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 1.5, value_name = "S")]
    seconds: f64,
    /// The core of the gateway under test
    #[arg(long, default_value_t = 0)]
    gateway_core: usize,
    /// The core of the load generator and the backend
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Write compare-SCENARIO.json and .md into this directory
    #[arg(long, short, default_value = "target/bench", value_name = "DIR")]
    output: PathBuf,
}

/// One measurement of one gateway.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) entry: &'static str,
    pub(crate) round: usize,
    /// Requests a second asked for; 0 is saturation.
    pub(crate) rate: f64,
    pub(crate) cpu_us: f64,
    pub(crate) requests_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) failed: u64,
    /// Datagrams that never came back: UDP promises no more.
    pub(crate) lost: u64,
    pub(crate) valid: bool,
    /// The hypervisor's share of the machine meanwhile.
    pub(crate) steal: f64,
}

/// Runs the comparison.
pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    ensure!((1..=1_000).contains(&args.rounds), "--rounds must be 1 to 1000");
    ensure!((0.2..=600.0).contains(&args.seconds), "--seconds must be 0.2 to 600");
    let cores = std::thread::available_parallelism()?.get();
    ensure!(
        args.gateway_core != args.load_core && args.gateway_core.max(args.load_core) < cores,
        "the gateway and the load need a core each: --gateway-core and --load-core must differ and be below {cores}"
    );
    let network = netns::enter();
    process::catch_interrupts()?;
    process::raise_file_limit();
    let kinds = entries(args)?;
    let directory = TempDir::new("compare")?;
    let mut stand = Stand::start(args, &kinds, directory.path())?;
    let mut samples = stand.saturate(args)?;
    let rates =
        if args.rates.is_empty() { vec![rate_for(&samples, &kinds)?] } else { args.rates.clone() };
    for rate in rates {
        samples.extend(stand.at_rate(args, rate)?);
    }
    drop(stand);
    let report = Report::new(args, network, &kinds, samples);
    print!("{}", report.markdown());
    write(args, &report)?;
    Ok(ExitCode::SUCCESS)
}

fn write(args: &CompareArgs, report: &Report) -> anyhow::Result<()> {
    fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot create {}", args.output.display()))?;
    let name =
        args.scenario.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
    let base = args.output.join(format!("compare-{name}"));
    fs::write(base.with_extension("json"), serde_json::to_vec_pretty(report)?)?;
    fs::write(base.with_extension("md"), report.markdown())?;
    println!("\nwrote {} and .md", base.with_extension("json").display());
    Ok(())
}

/// What is there of what was asked for; the rest is said.
fn entries(args: &CompareArgs) -> anyhow::Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    for runtime in &args.runtimes {
        kinds.push(match runtime.as_str() {
            "monoio" => Kind::Ringway,
            "epoll" => Kind::RingwayEpoll,
            "" => continue,
            other => bail!("`{other}` is no runtime to compare; choose among monoio, epoll"),
        });
    }
    for peer in args.peers.iter().filter(|peer| !peer.is_empty()) {
        kinds.push(Kind::peer(peer)?);
    }
    let mut said = Vec::new();
    kinds.retain(|kind| match peers::missing(*kind, args.scenario.protocol(), &args.ringway) {
        None => true,
        Some(text) => {
            if !said.contains(&text) {
                eprintln!("note: left out: {text}");
                said.push(text);
            }
            false
        }
    });
    ensure!(!kinds.is_empty(), "nothing to compare");
    Ok(kinds)
}

/// 60 % of what the slowest can do.
fn rate_for(samples: &[Sample], kinds: &[Kind]) -> anyhow::Result<f64> {
    let slowest = kinds
        .iter()
        .filter_map(|kind| {
            let of = samples.iter().filter(|sample| sample.entry == kind.name());
            stats::median(&of.map(|sample| sample.requests_per_s).collect::<Vec<_>>())
        })
        .min_by(f64::total_cmp)
        .context("nothing was measured")?;
    ensure!(slowest > 1.0, "a gateway answered nothing: see the errors above");
    Ok((slowest * 0.6).round())
}

/// Everything that runs during a comparison.
struct Stand {
    backend: Process,
    gateways: Vec<(Kind, u16, Process)>,
    directory: PathBuf,
}

/// The `bench` program itself.
pub(crate) fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the bench program itself")
}

/// Starts `bench backend` with more arguments.
pub(crate) fn start_backend(
    port: u16,
    core: Option<usize>,
    more: &[&str],
    directory: &Path,
) -> anyhow::Result<Process> {
    let mut arguments = vec!["backend".to_owned(), "--port".to_owned(), port.to_string()];
    arguments.extend(more.iter().map(|&word| word.to_owned()));
    let mut backend = Process::start("backend", &own_program()?, &arguments, core, directory)?;
    backend.wait_ready_line(Duration::from_secs(10))?;
    Ok(backend)
}

impl Stand {
    fn start(args: &CompareArgs, kinds: &[Kind], directory: &Path) -> anyhow::Result<Self> {
        let [port] = process::free_ports()?;
        let backend = start_backend(
            port,
            Some(args.load_core),
            &["--protocol", args.scenario.backend()],
            directory,
        )?;
        let certificate = match args.scenario.is_tls() {
            true => Some(Certificate::new()?),
            false => None,
        };
        let mut gateways = Vec::new();
        for &kind in kinds {
            let [own] = process::free_ports()?;
            let setup = Setup {
                directory: directory.join(kind.name()),
                protocol: args.scenario.protocol(),
                port: own,
                upstream: SocketAddr::from(([127, 0, 0, 1], port)),
                certificate: certificate.clone(),
                core: Some(args.gateway_core),
                ringway: args.ringway.clone(),
            };
            gateways.push((kind, own, peers::start(kind, &setup)?));
        }
        Ok(Self { backend, gateways, directory: directory.to_path_buf() })
    }

    fn saturate(&mut self, args: &CompareArgs) -> anyhow::Result<Vec<Sample>> {
        eprintln!("saturation, {} rounds of {} gateways", args.rounds, self.gateways.len());
        self.rounds(args, 0.0)
    }

    fn at_rate(&mut self, args: &CompareArgs, rate: f64) -> anyhow::Result<Vec<Sample>> {
        eprintln!(
            "{rate:.0} requests/s, {} rounds of {} gateways",
            args.rounds,
            self.gateways.len()
        );
        self.rounds(args, rate)
    }

    /// Every gateway once a round, each round beginning with another.
    fn rounds(&mut self, args: &CompareArgs, rate: f64) -> anyhow::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let count = self.gateways.len();
        for round in 0..args.rounds {
            for turn in 0..count {
                let sample = self.measure(args, (round + turn) % count, round, rate)?;
                eprintln!(
                    "  round {}: {:<14} {:>7.2} us CPU/request {:>8.0} requests/s, p50 {:.0} p99 {:.0} us{}",
                    round + 1,
                    sample.entry,
                    sample.cpu_us,
                    sample.requests_per_s,
                    sample.p50_us,
                    sample.p99_us,
                    if sample.failed > 0 {
                        ", WITH ERRORS"
                    } else if sample.valid {
                        ""
                    } else {
                        ", not valid"
                    }
                );
                samples.push(sample);
            }
        }
        Ok(samples)
    }

    fn measure(
        &mut self,
        args: &CompareArgs,
        at: usize,
        round: usize,
        rate: f64,
    ) -> anyhow::Result<Sample> {
        ensure!(self.backend.is_running(), "the backend died:\n{}", self.backend.output());
        let (kind, port, gateway) = &mut self.gateways[at];
        ensure!(gateway.is_running(), "{} died:\n{}", kind.name(), gateway.output());
        let before = (cpu::cpu_ns(gateway.pid())?, cpu::machine_ticks());
        let outcome =
            load(&load_arguments(args, *port, round, rate), args.load_core, &self.directory)?;
        let after = (cpu::cpu_ns(gateway.pid())?, cpu::machine_ticks());
        if round == 0 && !args.scenario.may_lose() {
            for sample in &outcome.error_samples {
                eprintln!("  {}: {sample}", kind.name());
            }
        }
        let requests = (outcome.completed_total + outcome.failed()).max(1);
        let lost = if args.scenario.may_lose() { outcome.timed_out() } else { 0 };
        let ticks = (after.1.0 - before.1.0).max(1);
        Ok(Sample {
            entry: kind.name(),
            round,
            rate,
            cpu_us: after.0.saturating_sub(before.0) as f64 / 1e3 / requests as f64,
            requests_per_s: outcome.requests_per_s,
            p50_us: outcome.latency_us.p50,
            p99_us: outcome.latency_us.p99,
            failed: outcome.failed() - lost,
            lost,
            valid: outcome.valid,
            steal: (after.1.1 - before.1.1) as f64 / ticks as f64,
        })
    }
}

/// Runs `bench run` as a child and reads its figures, valid or not.
pub(crate) fn load(arguments: &[String], core: usize, directory: &Path) -> anyhow::Result<Outcome> {
    let mut load = start_load("load", arguments, Some(core), directory)?;
    load.finish()
}

/// A `bench run` under way.
pub(crate) struct Load {
    process: Process,
    file: PathBuf,
}

/// Starts an open load on `url` with this Host, whose answers must be 200 and carry the same value in
/// both fields of `equal` (`A,B`): one that changes are made under.
pub(crate) fn start_changed_load(
    (url, host): (&str, &str),
    rate: f64,
    seconds: f64,
    equal: &str,
    directory: &Path,
) -> anyhow::Result<Load> {
    let arguments = [
        "run",
        url,
        "--header",
        &format!("Host: {host}"),
        "--rate",
        &rate.to_string(),
        "--duration",
        &seconds.to_string(),
        "--warmup",
        "0.5",
        "--expect-status",
        "200",
        "--equal-headers",
        equal,
    ];
    start_load("load", &arguments.map(str::to_owned), None, directory)
}

/// Starts `bench run`.
pub(crate) fn start_load(
    name: &str,
    arguments: &[String],
    core: Option<usize>,
    directory: &Path,
) -> anyhow::Result<Load> {
    let file = directory.join(format!("{name}.json"));
    drop(fs::remove_file(&file));
    let mut arguments = arguments.to_vec();
    arguments.extend(["--json".to_owned(), file.display().to_string()]);
    let process = Process::start(name, &own_program()?, &arguments, core, directory)?;
    Ok(Load { process, file })
}

impl Load {
    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Its end, and its figures.
    pub(crate) fn finish(&mut self) -> anyhow::Result<Outcome> {
        let status = self.process.wait(Duration::from_secs(24 * 3600))?;
        let bytes = fs::read(&self.file).with_context(|| {
            format!(
                "the load generator wrote no result ({status}); it said:\n{}",
                self.process.output()
            )
        })?;
        serde_json::from_slice(&bytes).context("the load generator's result cannot be read")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: CompareArgs,
    }

    pub(super) fn args(words: &[&str]) -> CompareArgs {
        Line::parse_from([&["compare"], words].concat()).args
    }

    pub(super) fn sample(entry: &'static str, round: usize, rate: f64, cpu_us: f64) -> Sample {
        Sample {
            entry,
            round,
            rate,
            cpu_us,
            requests_per_s: 1e6 / cpu_us,
            p50_us: 100.0,
            p99_us: 200.0,
            failed: 0,
            lost: 0,
            valid: true,
            steal: 0.0,
        }
    }

    #[test]
    fn the_fixed_rate_is_60_per_cent_of_the_slowest_median() {
        let samples = [
            sample("haproxy", 0, 0.0, 20.0),
            sample("haproxy", 1, 0.0, 40.0),
            sample("haproxy", 2, 0.0, 25.0),
            sample("nginx", 0, 0.0, 10.0),
        ];
        assert_eq!(rate_for(&samples, &[Kind::Haproxy, Kind::Nginx]).unwrap(), 24_000.0);
    }
}
