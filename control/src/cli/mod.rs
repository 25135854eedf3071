//! The command line: what can be asked, in which words, with which defaults.
//!
//! It parses and explains; nothing runs here. `main.rs` acts on what it gives. Flags, environment
//! variables and exit statuses are stable: scripts depend on them. Invariant: every flag of `run`
//! can also be given as `RINGWAY_…` in the environment.

pub mod client;
pub mod logging;
pub mod placement;
pub mod run;
pub mod suggest;
pub mod value;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::run::{RunArgs, ServeArgs};

/// Fast Kubernetes Gateway API gateway: one pinned shard per core, on io_uring.
#[derive(Debug, Parser)]
#[command(
    name = "ringway",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ringway demo                        try it: a gateway, its backends and lines to paste
  ringway check k8s/                  find every mistake in a directory of YAML, offline
  ringway run k8s/                    serve it; edited files take effect at once
  ringway run k8s/ --cores 2-5        four shards, pinned to cores 2, 3, 4 and 5
  ringway status                      what the running gateway does now
  ringway doctor                      what holds this machine back, each with the remedy

Exit status:
  0 drained or fine   1 bad input   2 usage   3 could not start (the message says what to do)";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the Gateway API objects of YAML files and directories
    #[command(after_help = run::EXAMPLES)]
    Run(Box<RunArgs>),
    /// Serve the quickstart with backends of its own, and print lines to try
    #[command(after_help = "Ctrl-C drains and prints the latency of every shard.")]
    Demo(Box<ServeArgs>),
    /// Validate YAML offline: every mistake, with file, line, column and what is allowed
    #[command(after_help = "Exit status is 1 if there is any mistake.")]
    Check(CheckArgs),
    /// Print every limit, what happens beyond it, and which flag changes it
    Limits,
    /// Examine this machine: kernel, io_uring, limits, cores; each finding with its remedy
    #[command(after_help = "Exit status is 1 if something keeps Ringway from starting.")]
    Doctor(DoctorArgs),
    /// Show what a running gateway does, from its admin port
    Status(StatusArgs),
    /// Fetch latency histograms by shard and stage from the admin port of a running gateway
    Histograms(HistogramsArgs),
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// YAML files, or directories with *.yaml and *.yml files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The GatewayClass that `run` will serve
    #[arg(
        long,
        env = "RINGWAY_CLASS",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "ringway"
    )]
    pub class: String,
}

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The admin address whose port shall be free
    #[arg(
        long,
        env = "RINGWAY_ADMIN",
        hide_env_values = true,
        value_name = "ADDR|off",
        default_value = value::ADMIN_DEFAULT
    )]
    pub admin: value::Admin,
}

/// Which running gateway to ask.
#[derive(Args, Debug)]
pub struct TargetArgs {
    /// Admin address of the running gateway
    #[arg(
        long,
        env = "RINGWAY_ADMIN",
        hide_env_values = true,
        value_name = "ADDR",
        default_value = value::ADMIN_DEFAULT
    )]
    pub admin: value::Admin,
}

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Print the JSON document as it is
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `histograms`.
#[derive(Args, Debug)]
pub struct HistogramsArgs {
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Write the interval log (.hlog) to this file instead of printing it
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print percentiles per shard and stage instead of the interval log
    #[arg(long, conflicts_with = "output")]
    pub table: bool,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Drained (also when the drain's limit or a second signal cut it short), or did what was asked.
    Done = 0,
    /// Bad input.
    BadInput = 1,
    /// Wrong usage.
    Usage = 2,
    /// Could not start, or lost a shard.
    CouldNotStart = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_run_has_its_environment_variable() {
        let cli = Cli::command();
        let run = cli.find_subcommand("run").unwrap();
        for arg in run.get_arguments() {
            let Some(long) = arg.get_long().filter(|long| *long != "help") else { continue };
            let expected = format!("RINGWAY_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|e| e.to_str()), Some(&*expected), "--{long}");
        }
    }
}
