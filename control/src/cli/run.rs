//! Flags of `run`, and those that it shares with `demo`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use proxy::epoch::{Settings, Timeouts};

use super::value::{self, Admin, Cores};
use crate::access_log::Target;
use crate::translate::Addressing;

pub(super) const EXAMPLES: &str = "\
Examples:
  ringway run gateway.yaml routes/                   a file and a directory, both watched
  ringway run k8s/ --shards 2 --access-log access.json
  ringway run --kube                                 from the Kubernetes API
  ringway run k8s/ --runtime epoll                   where io_uring is not allowed
  RINGWAY_ADMIN=off ringway run k8s/                 every flag can stand in the environment

Signals:
  SIGTERM, SIGINT  drain and end; a second one ends at once
  SIGHUP           read everything again and reopen the access log";

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// YAML files, or directories with *.yaml and *.yml files; watched for changes
    #[arg(value_name = "PATH", required_unless_present = "kube")]
    pub paths: Vec<PathBuf>,
    /// Read from the Kubernetes API instead of files
    #[arg(
        long,
        env = "RINGWAY_KUBE",
        hide_env_values = true,
        value_parser = clap::builder::BoolishValueParser::new(),
        conflicts_with = "paths",
        help_heading = SOURCE
    )]
    pub kube: bool,
    /// How the Kubernetes API is read.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Everything else.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Flags that only mean something with `--kube`.
#[derive(Args, Debug)]
#[command(next_help_heading = CLUSTER)]
pub struct ClusterArgs {
    /// A kubeconfig [default: those that KUBECONFIG names, else the pod's ServiceAccount]
    #[arg(
        long,
        env = "RINGWAY_KUBECONFIG",
        hide_env_values = true,
        value_name = "FILE",
        conflicts_with = "paths"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(
        long,
        env = "RINGWAY_CONTEXT",
        hide_env_values = true,
        value_name = "NAME",
        conflicts_with = "paths"
    )]
    pub context: Option<String>,
    /// Where the last configuration is kept for a start while the API server is away
    /// [default: /var/lib/ringway where it can be written, else off]
    #[arg(
        long,
        env = "RINGWAY_SNAPSHOT",
        hide_env_values = true,
        value_name = "DIR|off",
        conflicts_with = "paths"
    )]
    pub snapshot: Option<Snapshot>,
    /// Keep certificates and their keys in it too, readable by this user only
    #[arg(long, env = "RINGWAY_SNAPSHOT_SECRETS", hide_env_values = true,
          value_parser = clap::builder::BoolishValueParser::new(), conflicts_with = "paths")]
    pub snapshot_secrets: bool,
    /// Read Secrets of these namespaces only, for rights that allow no more [default: all]
    #[arg(
        long,
        env = "RINGWAY_SECRET_NAMESPACES",
        hide_env_values = true,
        value_name = "NAME,…",
        value_delimiter = ',',
        conflicts_with = "paths"
    )]
    pub secret_namespaces: Vec<String>,
    /// Name of this replica in the Lease that says who writes statuses [default: the host's name and
    /// a random part]
    #[arg(
        long,
        env = "RINGWAY_POD_NAME",
        hide_env_values = true,
        value_name = "NAME",
        requires = "kube"
    )]
    pub pod_name: Option<String>,
    /// Namespace of the Lease and of our own Service [default: the kubeconfig's or ServiceAccount's]
    #[arg(
        long,
        env = "RINGWAY_POD_NAMESPACE",
        hide_env_values = true,
        value_name = "NAME",
        requires = "kube"
    )]
    pub pod_namespace: Option<String>,
    /// Addresses of this replica [default: the one this host would use towards others]
    #[arg(
        long,
        env = "RINGWAY_POD_IPS",
        hide_env_values = true,
        value_name = "IP,…",
        value_delimiter = ',',
        requires = "kube"
    )]
    pub pod_ips: Vec<std::net::IpAddr>,
    /// The Service there that selects our replicas; where Gateways have no addresses of their own,
    /// their Services lead to these [default: this replica's address only]
    #[arg(
        long,
        env = "RINGWAY_REPLICA_SERVICE",
        hide_env_values = true,
        value_name = "NAME",
        requires = "kube"
    )]
    pub replica_service: Option<String>,
}

/// `--snapshot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// None.
    Off,
    /// In a directory.
    In(PathBuf),
}

impl std::str::FromStr for Snapshot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "" => Err("name a directory, or off".to_owned()),
            directory => Ok(Self::In(directory.into())),
        }
    }
}

const SOURCE: &str = "Configuration";
const CLUSTER: &str = "Kubernetes (with --kube)";
const MACHINE: &str = "Machine";
const OPERATION: &str = "Operation";
const TIMES: &str = "Times (such as 500ms, 10s, 2m)";

/// Flags of everything that serves.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Serve Gateways of this GatewayClass; with --kube all classes of our controllerName are served
    #[arg(
        long,
        env = "RINGWAY_CLASS",
        hide_env_values = true,
        value_name = "NAME",
        default_value = "ringway",
        help_heading = SOURCE
    )]
    pub class: String,
    /// Where Gateways listen: `host` (addresses of this host), `pool:10.0.0.0/24` (an address of
    /// its own each; several networks with commas) or `service` (behind a LoadBalancer Service each)
    #[arg(
        long,
        env = "RINGWAY_ADDRESSES",
        hide_env_values = true,
        value_name = "host|pool:CIDR|service",
        default_value = "host",
        help_heading = SOURCE
    )]
    pub addresses: Addressing,
    /// Proxies in front of this gateway whose X-Forwarded-* fields are believed
    #[arg(
        long,
        env = "RINGWAY_TRUSTED_HOPS",
        hide_env_values = true,
        value_name = "N",
        default_value_t = 0,
        help_heading = SOURCE
    )]
    pub trusted_hops: u8,

    /// Threads that serve [default: one per usable core, one less from 4 cores on]
    #[arg(
        long,
        env = "RINGWAY_SHARDS",
        hide_env_values = true,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=i64::from(value::SHARDS_MAX)),
        help_heading = MACHINE
    )]
    pub shards: Option<u16>,
    /// Cores to use, such as 2-5,8; shard i is pinned to the i-th [default: the usable ones]
    #[arg(
        long,
        env = "RINGWAY_CORES",
        hide_env_values = true,
        value_name = "LIST",
        help_heading = MACHINE
    )]
    pub cores: Option<Cores>,
    /// What drives the shards
    #[arg(
        long,
        env = "RINGWAY_RUNTIME",
        hide_env_values = true,
        value_name = "RUNTIME",
        default_value = "auto",
        help_heading = MACHINE
    )]
    pub runtime: Runtime,

    /// Where /metrics, /status, /readyz and the other admin pages are
    #[arg(
        long,
        env = "RINGWAY_ADMIN",
        hide_env_values = true,
        value_name = "ADDR|off",
        default_value = value::ADMIN_DEFAULT,
        help_heading = OPERATION
    )]
    pub admin: Admin,
    /// Write a JSON line per request, stream and UDP session: `-` to standard output, or append to a file
    #[arg(
        long,
        env = "RINGWAY_ACCESS_LOG",
        hide_env_values = true,
        value_name = "-|FILE|off",
        default_value = "off",
        allow_hyphen_values = true,
        help_heading = OPERATION
    )]
    pub access_log: Target,
    /// What is logged to standard error
    #[arg(
        long,
        env = "RINGWAY_LOG_LEVEL",
        hide_env_values = true,
        value_name = "LEVEL",
        default_value = "info",
        help_heading = OPERATION
    )]
    pub log_level: LogLevel,
    /// Name the reason of every answer of the gateway's own in x-ringway-reason
    #[arg(
        long,
        env = "RINGWAY_DEBUG_HEADER",
        hide_env_values = true,
        value_parser = clap::builder::BoolishValueParser::new(),
        help_heading = OPERATION
    )]
    pub debug_header: bool,

    /// Times of the public policy.
    #[command(flatten)]
    pub timeouts: TimeoutArgs,
}

/// `--timeout-…` and `--drain-timeout`.
#[derive(Args, Debug)]
#[command(next_help_heading = TIMES)]
pub struct TimeoutArgs {
    /// A request head must arrive whole within this time
    #[arg(long, env = "RINGWAY_TIMEOUT_HEADER", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "10s")]
    pub timeout_header: Duration,
    /// A TLS handshake must be complete within this time
    #[arg(long, env = "RINGWAY_TIMEOUT_TLS_HANDSHAKE", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "10s")]
    pub timeout_tls_handshake: Duration,
    /// A kept client connection without a request is closed after this time
    #[arg(long, env = "RINGWAY_TIMEOUT_CLIENT_IDLE", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "75s")]
    pub timeout_client_idle: Duration,
    /// A request body must keep 240 B/s over this time
    #[arg(long, env = "RINGWAY_TIMEOUT_BODY_WINDOW", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "10s")]
    pub timeout_body_window: Duration,
    /// A client that takes its response slower than 240 B/s for this time is cut
    #[arg(long, env = "RINGWAY_TIMEOUT_RESPONSE_STALL", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "30s")]
    pub timeout_response_stall: Duration,
    /// Connecting to an endpoint
    #[arg(long, env = "RINGWAY_TIMEOUT_CONNECT", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "5s")]
    pub timeout_connect: Duration,
    /// An unused connection to an endpoint is closed after this time
    #[arg(long, env = "RINGWAY_TIMEOUT_UPSTREAM_IDLE", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "60s")]
    pub timeout_upstream_idle: Duration,
    /// A UDP session ends when nothing moves in it for this time
    #[arg(long, env = "RINGWAY_TIMEOUT_UDP_IDLE", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "60s")]
    pub timeout_udp_idle: Duration,
    /// A TCP or TLS stream on which nothing moves is reset after this time
    #[arg(long, env = "RINGWAY_TIMEOUT_STREAM_IDLE", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "1h")]
    pub timeout_stream_idle: Duration,
    /// After SIGTERM what is still open is cut after this time
    #[arg(long, env = "RINGWAY_DRAIN_TIMEOUT", hide_env_values = true, value_name = "TIME",
          value_parser = value::duration, default_value = "30s")]
    pub drain_timeout: Duration,
}

/// `--runtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// io_uring if this machine allows it, else epoll
    Auto,
    /// io_uring, by monoio
    Monoio,
    /// readiness, for where io_uring is not allowed
    Epoll,
    /// io_uring, by glommio
    Glommio,
}

/// `--log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the words are their own meaning")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl ServeArgs {
    /// The settings of every epoch.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let times = &self.timeouts;
        Settings {
            drain: None,
            access_log: self.access_log != Target::Off,
            debug_header: self.debug_header,
            trusted_hops: self.trusted_hops,
            timeouts: Timeouts {
                header: times.timeout_header,
                tls_handshake: times.timeout_tls_handshake,
                client_idle: times.timeout_client_idle,
                body_rate_window: times.timeout_body_window,
                response_stall: times.timeout_response_stall,
                connect: times.timeout_connect,
                upstream_idle: times.timeout_upstream_idle,
                udp_idle: times.timeout_udp_idle,
                stream_idle: times.timeout_stream_idle,
                ..Timeouts::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn run(args: &[&str]) -> RunArgs {
        let cli = Cli::try_parse_from([&["ringway", "run", "x.yaml"], args].concat()).unwrap();
        let Command::Run(run) = cli.command else { panic!("run was asked for") };
        *run
    }

    #[test]
    fn the_defaults_are_the_public_policy() {
        let args = run(&[]);
        assert_eq!(args.serve.settings(), Settings::default());
        assert_eq!(args.serve.timeouts.drain_timeout, proxy::limits::DRAIN_TIMEOUT);
    }

    #[test]
    fn each_time_flag_changes_its_own_time() {
        let flags = [
            "--timeout-header=1s",
            "--timeout-tls-handshake=2s",
            "--timeout-client-idle=3s",
            "--timeout-body-window=4s",
            "--timeout-response-stall=5s",
            "--timeout-connect=6s",
            "--timeout-upstream-idle=7s",
            "--timeout-udp-idle=8s",
        ];
        let times = run(&flags).serve.settings().timeouts;
        let all = [
            times.header,
            times.tls_handshake,
            times.client_idle,
            times.body_rate_window,
            times.response_stall,
            times.connect,
            times.upstream_idle,
            times.udp_idle,
        ];
        assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8].map(Duration::from_secs));
    }

    #[test]
    fn flags_of_a_cluster_need_kube() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["ringway", "run"], args].concat());
        assert!(parse(&["x.yaml", "--snapshot", "off"]).is_err());
        let Command::Run(args) = parse(&["--kube", "--snapshot", "off"]).unwrap().command else {
            panic!("run was asked for")
        };
        assert_eq!(args.cluster.snapshot, Some(Snapshot::Off));
    }

    #[test]
    fn a_dash_is_standard_output() {
        assert_eq!(run(&["--access-log", "-"]).serve.access_log, Target::Stdout);
    }
}
