//! `bench run`: one load on any server of HTTP, gRPC, TCP or UDP.
//!
//! Called by `main`, by people and, as a child process, by the other commands. Invariant: exit
//! status 4 means that the figures must not be used.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use runtime::cores::CoreId;
use runtime::{Monoio, Options, Runtime as _};

use crate::load::schedule::Arrival;
use crate::load::target::{Target, Wish};
use crate::load::{self, Expected, Plan};
use crate::outcome::{self, Outcome, Settings};
use crate::protocol::Protocol;

/// `bench run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// http://HOST:PORT/PATH, https, grpc, grpcs, tcp, tls or udp; with =WEIGHT to mix several
    #[arg(required = true, value_name = "URL[=WEIGHT]")]
    urls: Vec<String>,
    /// Requests a second, whatever the answers do (open loop)
    #[arg(long, short, conflicts_with = "closed", required_unless_present = "closed")]
    rate: Option<f64>,
    /// How requests are spaced in the open loop
    #[arg(long, value_enum, default_value_t)]
    arrival: Arrival,
    /// Every connection sends as soon as it is answered (saturation; latency says little)
    #[arg(long)]
    closed: bool,
    /// Connections
    #[arg(long, short, default_value_t = 64)]
    connections: usize,
    /// Requests at once on each connection: streams of HTTP/2, calls of gRPC, datagrams of UDP
    #[arg(long, short, default_value_t = 1)]
    streams: usize,
    /// HTTP/2 for http (prior knowledge) and https (ALPN) URLs
    #[arg(long)]
    http2: bool,
    /// Bytes of a gRPC, TCP or UDP message; TCP and UDP servers must echo it
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    message: usize,
    /// Resume TLS sessions on new connections [default: every handshake is a full one]
    #[arg(long)]
    resume: bool,
    /// Seconds that are measured
    #[arg(long, short, default_value_t = 10.0, value_name = "S")]
    duration: f64,
    /// Seconds before that, not measured
    #[arg(long, default_value_t = 1.0, value_name = "S")]
    warmup: f64,
    /// Seconds that one request may take
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    timeout: f64,
    /// A request header, may be given several times; Host also sets the SNI name
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Open a connection for every request
    #[arg(long)]
    new_connection_per_request: bool,
    /// The right status [default: any 2xx]
    #[arg(long, value_name = "STATUS")]
    expect_status: Option<u16>,
    /// Statuses that are not right but are counted apart, as `502,503`
    #[arg(long, value_delimiter = ',', value_name = "STATUS")]
    tolerate_status: Vec<u16>,
    /// The right body length [default: that of the URL's first right answer]
    #[arg(long, value_name = "BYTES")]
    expect_bytes: Option<u64>,
    /// Two response headers that must be present and equal, as `a,b`
    #[arg(long, value_name = "NAME,NAME")]
    equal_headers: Option<String>,
    /// Needed for URLs with TLS: certificates are NOT verified, whoever answers is measured
    #[arg(long)]
    insecure: bool,
    /// The run is invalid when the generator itself is later than this at p99
    #[arg(long, default_value_t = 1_000.0, value_name = "US")]
    max_lag: f64,
    /// Pin to this core
    #[arg(long)]
    core: Option<usize>,
    /// The same seed gives the same schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Use the epoll backend instead of io_uring
    #[arg(long)]
    epoll: bool,
    /// Write latency.hlog, latency.hgrm, result.json and index.html into this directory
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Write result.json to this file, and no table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What exits with 4 is invalid, with 1 had errors.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let plan = plan(args)?;
    let options = Options { core: args.core.map(CoreId), ..Options::default() };
    let (record, runtime) = if args.epoll {
        (load::run::<runtime::Epoll>(&plan, &options)?, runtime::Epoll::NAME)
    } else {
        (load::run::<Monoio>(&plan, &options)?, Monoio::NAME)
    };
    let outcome = Outcome::of(&plan, &record, settings(args, &plan, runtime));
    if let Some(directory) = &args.output {
        outcome::write_all(directory, &outcome, &record)?;
    }
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec(&outcome)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    } else {
        print!("{}", outcome.table());
    }
    if let (Some(directory), None) = (&args.output, &args.json) {
        println!("wrote {}", directory.join("index.html").display());
    }
    Ok(match (outcome.valid, outcome.failed()) {
        (false, _) => ExitCode::from(4),
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::FAILURE,
    })
}

fn plan(args: &RunArgs) -> anyhow::Result<Plan> {
    let targets = targets(args)?;
    let protocol = targets.first().map_or_else(Protocol::default, |target| target.protocol);
    ensure!(
        targets.iter().all(|target| target.protocol == protocol),
        "all URLs of a run must speak one protocol"
    );
    let shared = targets.iter().all(|target| target.address == targets[0].address);
    ensure!(
        shared || !protocol.is_multiplexed(),
        "URLs of HTTP/2, gRPC and UDP must share one address"
    );
    ensure!(
        args.streams == 1 || protocol.is_multiplexed(),
        "--streams is for HTTP/2 (--http2), gRPC and UDP: other connections carry one request at a time"
    );
    ensure!((1..=100).contains(&args.streams), "--streams must be 1 to 100");
    ensure!(
        !args.new_connection_per_request || !protocol.is_multiplexed(),
        "--new-connection-per-request is for HTTP/1.1 and TCP"
    );
    ensure!(
        args.message <= if protocol == Protocol::Udp { 65_507 } else { 16 << 20 },
        "--message is too large: at most 65507 for UDP, 16777216 else"
    );
    ensure!((1..=60_000).contains(&args.connections), "--connections must be 1 to 60000");
    let rate = args.rate.map(|rate| (rate, args.arrival));
    ensure!(
        rate.is_none_or(|(rate, _)| rate > 0.0 && rate <= 1e7),
        "--rate must be above 0 and at most 10000000"
    );
    Ok(Plan {
        protocol,
        targets,
        open: rate,
        connections: args.connections,
        streams: args.streams,
        resume: args.resume,
        warmup: span("--warmup", args.warmup, true)?,
        duration: span("--duration", args.duration, false)?,
        timeout: span("--timeout", args.timeout, false)?,
        new_connection: args.new_connection_per_request,
        expected: Expected {
            status: args.expect_status,
            tolerated: args.tolerate_status.clone(),
            bytes: args.expect_bytes,
            equal_fields: args.equal_headers.as_deref().map(pair).transpose()?,
        },
        seed: args.seed,
        keep_intervals: args.output.is_some(),
    })
}

fn targets(args: &RunArgs) -> anyhow::Result<Vec<Target>> {
    let wish = Wish {
        headers: args.headers.clone(),
        http2: args.http2,
        close: args.new_connection_per_request,
        message: args.message,
    };
    let mut targets = Vec::new();
    for url in &args.urls {
        let target = Target::parse(url, &wish)?;
        if target.tls.is_some() && !args.insecure {
            bail!(
                "{url}: `bench` cannot verify certificates; add --insecure if whoever answers there may be measured"
            );
        }
        targets.push(target.named(&args.headers));
    }
    Ok(targets)
}

fn span(name: &str, seconds: f64, zero: bool) -> anyhow::Result<Duration> {
    let low = if zero { 0.0 } else { 0.001 };
    ensure!((low..=86_400.0).contains(&seconds), "{name} must be {low} to 86400 seconds");
    Ok(Duration::from_secs_f64(seconds))
}

fn pair(text: &str) -> anyhow::Result<(String, String)> {
    let (one, other) = text.split_once(',').context("--equal-headers takes two names: a,b")?;
    Ok((one.trim().to_owned(), other.trim().to_owned()))
}

fn settings(args: &RunArgs, plan: &Plan, runtime: &str) -> Settings {
    let loop_kind = match plan.open {
        Some((rate, Arrival::Poisson)) => format!("open loop, poisson, {rate:.0}/s"),
        Some((rate, Arrival::Constant)) => format!("open loop, constant, {rate:.0}/s"),
        None => "closed loop".to_owned(),
    };
    Settings {
        urls: args.urls.clone(),
        loop_kind,
        protocol: plan.protocol,
        connections: plan.connections,
        streams: plan.streams,
        new_connection_per_request: plan.new_connection,
        warmup_s: outcome::seconds(plan.warmup),
        duration_s: outcome::seconds(plan.duration),
        runtime: runtime.to_owned(),
        max_lag_us: args.max_lag,
    }
}
