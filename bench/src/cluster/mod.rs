//! `bench cluster`: controllers of the Gateway API on one cluster, measured one after the other.
//!
//! Called by `main`. Each file here measures one thing on a [`Stage`]: one controller, its Gateway
//! and our backends. Invariant: what was made in the cluster is deleted when a stage ends, and no
//! loop waits longer than its limit.

mod api;
mod burst;
mod edits;
mod objects;
mod quiet;
mod report;
mod restart;
mod served;
mod stage;
mod switches;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use self::api::Api;
use self::report::{Figures, Report};
use self::stage::Stage;
use crate::process::{self, cpu};

/// `bench cluster`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// What to measure: its name here, its GatewayClass (made if missing), the class's controllerName,
    /// and the command that runs it in the foreground; without a command it runs already (see --pid)
    #[arg(long = "controller", required = true, value_name = "NAME,CLASS,CONTROLLER[,COMMAND]")]
    controllers: Vec<Controller>,
    /// The process of a controller that runs already, for its CPU and memory
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::value_variants().to_vec())]
    parts: Vec<Part>,
    /// Numbers of other routes that single edits are timed with
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 5_000])]
    routes: Vec<usize>,
    /// Edits that are timed with each
    #[arg(long, default_value_t = 100)]
    edits: usize,
    /// Routes of the burst
    #[arg(long, default_value_t = 5_000)]
    burst: usize,
    /// Switches of one route under load
    #[arg(long, default_value_t = 1_200)]
    switches: usize,
    /// Requests a second of that load
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// Changes a second of objects that no gateway is interested in
    #[arg(long, default_value_t = 20)]
    unrelated_rate: u32,
    /// Seconds that a quiet cluster, and one with unrelated changes, are watched
    #[arg(long, default_value_t = 60, value_name = "S")]
    quiet: u64,
    /// Port of the Gateway's listener
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// Address of this process that gateways reach [default: the first Node's InternalIP]
    #[arg(long)]
    backend_address: Option<IpAddr>,
    /// Seconds that anything may take before the run fails
    #[arg(long, default_value_t = 300, value_name = "S")]
    limit: u64,
    /// Write the figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Many routes at once, until all are served and accepted
    Burst,
    /// From the write of one route to its effect
    Edits,
    /// Resident memory with the routes of the burst
    Memory,
    /// From the start of the process to right answers, with the routes of the burst
    Restart,
    /// Writes and CPU when nothing changes
    Quiet,
    /// Writes and CPU when only unrelated objects change, with the middle number of routes
    Unrelated,
    /// One route that changes under load
    Switches,
}

/// One controller on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Controller {
    name: String,
    class: String,
    controller: String,
    command: Option<String>,
}

impl std::str::FromStr for Controller {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.splitn(4, ',').map(|word| word.trim().to_owned());
        let mut next = || words.next().filter(|word| !word.is_empty());
        let (Some(name), Some(class), Some(controller)) = (next(), next(), next()) else {
            return Err("expected NAME,CLASS,CONTROLLER[,COMMAND]");
        };
        Ok(Self { name, class, controller, command: next() })
    }
}

impl ClusterArgs {
    fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.limit)
    }
}

/// Measures all controllers.
pub(crate) fn run(args: &ClusterArgs) -> anyhow::Result<ExitCode> {
    ensure!((1..=100_000).contains(&args.burst), "--burst must be 1 to 100000");
    ensure!(args.routes.iter().all(|n| *n <= 100_000), "--routes must be at most 100000 each");
    ensure!((1..=1_000).contains(&args.unrelated_rate), "--unrelated-rate must be 1 to 1000");
    ensure!((1..=3_600).contains(&args.limit), "--limit must be 1 to 3600");
    ensure!((1..=240).contains(&args.quiet), "--quiet must be 1 to 240");
    ensure!(
        args.pid.is_none() || args.controllers.len() == 1,
        "--pid goes with one --controller, which has no command"
    );
    process::catch_interrupts()?;
    process::raise_file_limit();
    let api = Api::connect()?;
    let mut report = Report::new(cpu::machine());
    for controller in &args.controllers {
        eprintln!("== {}", controller.name);
        let figures = measure(args, &api, controller)
            .with_context(|| format!("measuring {}", controller.name))?;
        report.push(&controller.name, figures);
    }
    print!("{}", report.table());
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures one controller: first with all routes, then with fewer and fewer.
fn measure(args: &ClusterArgs, api: &Api, controller: &Controller) -> anyhow::Result<Figures> {
    let mut stage = Stage::set_up(args, api, controller)?;
    let mut figures = Figures::default();
    if args.wants(Part::Burst) {
        figures.burst = Some(burst::measure(&mut stage)?);
    }
    if args.wants(Part::Memory) || args.wants(Part::Restart) {
        stage.have_others(args.burst)?;
    }
    if args.wants(Part::Memory) {
        figures.memory = stage.memory(args.burst)?;
    }
    if args.wants(Part::Restart) {
        figures.restart = restart::measure(&mut stage)?;
    }
    let mut numbers = args.routes.clone();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let middle = numbers.get(numbers.len() / 2).copied();
    for number in &numbers {
        if args.wants(Part::Edits) {
            stage.have_others(*number)?;
            figures.edits.push(edits::measure(&mut stage)?);
        }
        if Some(*number) == middle && args.wants(Part::Unrelated) {
            stage.have_others(*number)?;
            figures.unrelated = Some(quiet::measure(&stage, Some(args.unrelated_rate))?);
        }
    }
    if args.wants(Part::Quiet) {
        figures.quiet = Some(quiet::measure(&stage, None)?);
    }
    if args.wants(Part::Switches) {
        stage.have_others(numbers.last().copied().unwrap_or(0))?;
        figures.switches = Some(switches::measure(&mut stage)?);
    }
    stage.tear_down()?;
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_hold_commas() {
        let one: Controller = "a,b,c/d,run --x 1,2".parse().unwrap();
        assert_eq!(one.command.as_deref(), Some("run --x 1,2"));
        let other: Controller = "a,b,c/d".parse().unwrap();
        assert_eq!(other.command, None);
        assert!("a,b".parse::<Controller>().is_err());
        assert!("a,,c".parse::<Controller>().is_err());
    }
}
