//! Measures gateways: an open-loop load generator, a backend for it, and comparisons.
//!
//! Never part of a gateway. The binary `bench` calls [`main`]. Invariant: everything that a command
//! starts has ended when the command ends.

mod abuse;
mod backend;
mod cluster;
mod compare;
mod frames;
mod held;
mod http;
mod idle;
mod load;
mod outcome;
mod peers;
mod probe;
mod process;
mod protocol;
mod run;
mod scale;
mod soak;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures gateways: latency that counts from when a request was due, CPU per request, and
/// fair comparisons.
#[derive(Debug, Parser)]
#[command(name = "bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve fixed bodies: the thing behind a gateway under test
    ///
    /// Example: bench backend --port 9000, then curl localhost:9000/64k
    Backend(backend::BackendArgs),
    /// Put load on URLs and print the latency by percentile
    ///
    /// Open loop (--rate): requests are due at times fixed beforehand, and latency counts from then,
    /// so a server that stalls cannot hide it. Closed loop (--closed): how much it can do at most.
    /// Exit status: 0 fine, 1 some answers were wrong, 2 usage, 4 INVALID (the schedule was not kept).
    ///
    /// The URL's scheme says what is spoken: http, https (HTTP/2 with --http2), grpc, grpcs, tcp, tls, udp.
    ///
    /// Example: bench run http://127.0.0.1:8080/s --rate 5000 --header 'Host: a.example.com'
    ///
    /// Example: bench run grpc://127.0.0.1:8080/demo.Echo/Say --closed -c 8 --streams 100 --message 64
    Run(run::RunArgs),
    /// Compare ringway with HAProxy, nginx and Envoy, on one core, doing the same work
    ///
    /// Starts each with an equivalent configuration (16 hosts x 4 paths, one worker, keep-alive, no
    /// access log), runs in a network namespace of its own where permitted, measures every gateway
    /// once a round, and prints CPU per request, requests/s and latency as ratios within rounds.
    ///
    /// Example: bench compare --scenario small --rounds 10
    Compare(compare::CompareArgs),
    /// Start-up, memory and edits with many routes
    ///
    /// Example: bench scale --routes 10000 --edits-under-load
    Scale(scale::ScaleArgs),
    /// Controllers of the Gateway API on a Kubernetes cluster: from a write to its effect
    ///
    /// Runs where the gateway's addresses can be reached (inside the node's network) with KUBECONFIG
    /// set. Every controller named is started, measured alone and stopped, one after the other.
    ///
    /// Example: bench cluster --controller 'ringway,ringway,ringway.dev/gateway-controller,ringway
    /// run --kube --addresses pool:10.245.0.0/25'
    Cluster(cluster::ClusterArgs),
    /// Memory of idle kept connections: HTTP/1.1 or HTTP/2, with TLS or without
    ///
    /// Example: bench idle --connections 10000 --http2 --tls --peers haproxy,nginx
    Idle(idle::IdleArgs),
    /// Load with everything that goes wrong in production, for minutes
    ///
    /// Continuous edits, slow clients, a backend that dies and comes back, connection churn; ends
    /// with the number of wrong answers and the slope of memory and descriptors.
    ///
    /// Example: bench soak --minutes 10
    Soak(soak::SoakArgs),
    /// Abusive connections beside an honest client: who is hurt, and what it costs in memory
    ///
    /// Every kind of abuse meets a ringway of its own, with one shard. The honest client is measured
    /// without the abuse and during it; printed are its failures and latency, how much memory the
    /// gateway took for what was sent, and how it ended the connections.
    /// Exit status: 1 when an honest request failed, or when the gateway took more than 4 bytes for a
    /// byte sent beyond what an idle connection costs, or more than 1 MiB a connection. Latency is
    /// never judged. To see slow connections end, give them longer than the gateway's time limits.
    ///
    /// Example: bench abuse --kinds rapid-reset,hpack-bomb --connections 100
    ///
    /// Example: bench abuse --kinds zero-window,slow-head,slow-body --seconds 70
    Abuse(abuse::AbuseArgs),
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Backend(args) => backend::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Run(args) => run::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Idle(args) => idle::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Abuse(args) => abuse::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(3)
    })
}
