//! `ringway run`: brings everything up in order, runs the loop, brings everything down.
//!
//! Order: bad input first, then the admin port, then the shards; whatever fails says what to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use control::access_log::{AccessLog, Target};
use control::admin::Admin as AdminServer;
use control::api::Name;
use control::cli::run::{ClusterArgs, Runtime, ServeArgs, Snapshot};
use control::cli::value::Admin;
use control::cli::{Exit, logging, placement};
use control::controller::{Controller, Order, Outcome, Parts};
use control::kube::{self, KubeSource, Watches};
use control::source::{FileSource, Source};
use control::state::{About, Shared, State};
use control::status;
use control::translate::{Addressing, Statuses};
use proxy::epoch::Epoch;
use proxy::ir::Ir;
use runtime::cores::{self, CoreId};
use runtime::probe;
use shards::{Backend, Options, Shards};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use crate::data_plane::{ReportInbox, Sink};

/// The share of descriptors that sessions on UDP listeners may take, all together.
const UDP_DESCRIPTORS_SHARE: u64 = 4;
/// Descriptors that are not for clients: listeners, files, the admin pages.
const DESCRIPTORS_RESERVED: u64 = 512;
/// How long after the drain the Lease may take to be given back.
const LEASE_GRACE: Duration = Duration::from_secs(1);
/// What Linux gives a process where nothing else is set.
const NOFILE_DEFAULT: u64 = 1024;

/// Why a command failed, and with which status.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// Bad input: 1.
    #[error("{0}")]
    Input(String),
    /// Wrong usage: 2.
    #[error("{0}")]
    Usage(String),
    /// Could not start: 3.
    #[error("{0}")]
    Start(String),
}

impl Failure {
    pub(crate) fn start(error: impl std::fmt::Display) -> Self {
        Self::Start(error.to_string())
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Input(_) => Exit::BadInput,
            Self::Usage(_) => Exit::Usage,
            Self::Start(_) => Exit::CouldNotStart,
        }
    }
}

/// Serves files until drained; `ready` is told the admin address once the first epoch is everywhere.
pub(crate) fn run(
    paths: &[PathBuf],
    args: &ServeArgs,
    ready: impl FnOnce(Option<SocketAddr>),
) -> Result<Exit, Failure> {
    block_on(args, async {
        if args.addresses == Addressing::Service {
            let advice = "--addresses service needs a cluster: add --kube, or use host or pool";
            return Err(Failure::Usage(advice.to_owned()));
        }
        let source = FileSource::open(paths, &args.class, args.addresses.clone());
        let source = source.map_err(|error| Failure::Input(error.to_string()))?;
        start(source, args, watch::Sender::default(), None, ready).await
    })
}

/// Serves what the Kubernetes API holds until drained.
pub(crate) fn run_kube(cluster: &ClusterArgs, args: &ServeArgs) -> Result<Exit, Failure> {
    block_on(args, async {
        let access = kube::Access {
            kubeconfig: cluster.kubeconfig.clone(),
            context: cluster.context.clone(),
        };
        let client = kube::connect(&access).await.map_err(Failure::start)?;
        let secret_namespaces = cluster.secret_namespaces.iter().map(|name| name.as_str().into());
        let namespace =
            cluster.pod_namespace.as_deref().unwrap_or_else(|| client.default_namespace());
        let replicas = cluster.replica_service.as_ref();
        let options = kube::Options {
            keep: keep(cluster)?,
            secret_namespaces: secret_namespaces.collect(),
            addressing: args.addresses.clone(),
            replicas: replicas.map(|service| Name::new(namespace, service)),
            own_addresses: cluster.pod_ips.clone(),
            ..kube::Options::default()
        };
        let source = KubeSource::start(&client, options);
        let watches = source.watches();
        let installed = watch::Sender::default();
        let writing = status::Options {
            observed: source.statuses(),
            installed: installed.subscribe(),
            namespace: namespace.to_owned(),
            identity: identity(cluster).map_err(Failure::start)?,
            client,
        };
        start(source, args, installed, Some((writing, watches)), |_| ()).await
    })
}

/// Who we are among the replicas.
fn identity(cluster: &ClusterArgs) -> std::io::Result<String> {
    if let Some(name) = &cluster.pod_name {
        return Ok(name.clone());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let (random, _) = secrets()?;
    Ok(format!("{}-{:08x}", host.trim(), random & 0xffff_ffff))
}

/// Ready when somebody asks for the end.
fn ending() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn block_on(
    args: &ServeArgs,
    serving: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    logging::start(args.log_level);
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tokio = tokio.map_err(Failure::start)?;
    let exit = tokio.block_on(serving);
    // A write to disk or a DNS answer that hangs holds up no end.
    tokio.shutdown_background();
    exit
}

/// Where the snapshot of the cluster is kept.
fn keep(cluster: &ClusterArgs) -> Result<Option<kube::Keep>, Failure> {
    let keep = |directory| kube::Keep { directory, secrets: cluster.snapshot_secrets };
    match &cluster.snapshot {
        Some(Snapshot::Off) => Ok(None),
        Some(Snapshot::In(directory)) => {
            let keep = keep(directory.clone());
            keep.prepare().map_err(|error| {
                Failure::Start(format!(
                    "the snapshot directory {} cannot be written: {error}; name another with --snapshot DIR, or --snapshot off",
                    directory.display()
                ))
            })?;
            Ok(Some(keep))
        }
        None => {
            let keep = keep(kube::DIRECTORY_DEFAULT.into());
            let usable = keep.prepare().inspect_err(|error| {
                tracing::info!("no snapshot is kept: {}: {error}", kube::DIRECTORY_DEFAULT);
            });
            Ok(usable.is_ok().then_some(keep))
        }
    }
}

async fn start<S: Source>(
    source: S,
    args: &ServeArgs,
    installed: watch::Sender<Arc<Statuses>>,
    cluster: Option<(status::Options, Watches)>,
    ready: impl FnOnce(Option<SocketAddr>),
) -> Result<Exit, Failure> {
    let orders = orders().map_err(Failure::start)?;
    let access_log = AccessLog::start(&args.access_log).map_err(Failure::start)?;
    let admin = match args.admin {
        Admin::Off => None,
        Admin::At(address) => Some(AdminServer::bind(address).map_err(Failure::start)?),
    };
    let address = admin.as_ref().and_then(|admin| admin.address().ok());
    let (about, options) = plan(args, address)?;
    let state = Shared::new(State::new(about));
    let (shards, reports) = Shards::start(&options).map_err(Failure::start)?;
    if let Some(admin) = admin {
        tokio::spawn(admin.serve(state.clone()));
    }
    let inbox = ReportInbox::new(reports).map_err(Failure::start)?;
    let parts = Parts {
        source,
        sink: Sink(&shards),
        inbox,
        orders,
        state: state.clone(),
        settings: args.settings(),
        drain_timeout: args.timeouts.drain_timeout,
        access_log,
        compile: Epoch::compile,
        installed,
    };
    let writer = match cluster {
        Some((writing, watches)) => {
            state.lock().watches = watches;
            let ending = ending().map_err(Failure::start)?;
            Some(status::start(writing, state.clone(), ending))
        }
        None => None,
    };
    let outcome = serve(parts, &state, ready).await;
    if let (Some(writer), Outcome::Drained | Outcome::TimedOut) = (writer, outcome) {
        // Since the signal it had the whole drain to give the Lease back.
        let _ = tokio::time::timeout(LEASE_GRACE, writer).await;
    }
    let exit = end(outcome, shards);
    let table = state.lock().histograms.table();
    match args.access_log {
        Target::Stdout => eprint!("{table}"),
        Target::Off | Target::File(_) => print!("{table}"),
    }
    exit
}

async fn serve<S: Source>(
    parts: Parts<S, Sink<'_>, ReportInbox>,
    state: &Shared,
    ready: impl FnOnce(Option<SocketAddr>),
) -> Outcome {
    let controller = Controller::new(parts);
    controller
        .run(|ir| {
            let about = state.lock().about.clone();
            eprintln!("{}", ready_line(ir, &about));
            ready(about.admin);
        })
        .await
}

/// The shards of a clean end are joined; those of any other end die with the process.
fn end(outcome: Outcome, shards: Shards) -> Result<Exit, Failure> {
    match outcome {
        Outcome::Drained => {
            shards.join();
            Ok(Exit::Done)
        }
        Outcome::TimedOut => {
            tracing::warn!("the drain limit passed; open connections are cut");
            Ok(Exit::Done)
        }
        Outcome::Interrupted => {
            tracing::warn!("a second signal: open connections are cut");
            Ok(Exit::Done)
        }
        Outcome::ShardLost(shard) => Err(Failure::Start(format!(
            "shard {shard} ended although it should serve; see the messages above, then start again"
        ))),
    }
}

fn ready_line(ir: &Ir, about: &About) -> String {
    let is_http = |listener: &proxy::ir::Listener| listener.kind == proxy::ir::ListenerKind::Http;
    let listeners: Vec<String> = ir
        .ports
        .iter()
        .map(|port| {
            let host = port.address.map_or_else(|| "*".to_owned(), |ip| ip.to_string());
            let scheme = match port.protocol {
                proxy::ir::Protocol::Http => "http",
                proxy::ir::Protocol::Tls if port.listeners.iter().any(is_http) => "https",
                proxy::ir::Protocol::Tls => "tls",
                proxy::ir::Protocol::Tcp => "tcp",
                proxy::ir::Protocol::Udp => "udp",
            };
            format!("{scheme}://{host}:{}", port.port)
        })
        .collect();
    let listeners = if listeners.is_empty() {
        "no listener (no valid Gateway yet)".to_owned()
    } else {
        listeners.join(", ")
    };
    let cores: Vec<CoreId> = about.cores.iter().copied().flatten().collect();
    let cores = if cores.is_empty() { "any".to_owned() } else { placement::list(&cores) };
    let admin = about.admin.map_or_else(|| "off".to_owned(), |address| address.to_string());
    format!(
        "ready: {listeners}; shards {} on cores {cores}; runtime {}; admin {admin}",
        about.cores.len(),
        about.runtime
    )
}

fn plan(args: &ServeArgs, admin: Option<SocketAddr>) -> Result<(About, Options), Failure> {
    let usable = cores::usable().map_err(Failure::start)?;
    let wanted = args.cores.as_ref().map(|cores| cores.0.as_slice());
    let cores = placement::place(args.shards.map(usize::from), wanted, &usable)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let (backend, runtime, runtime_reason) = choose(args.runtime);
    if args.runtime == Runtime::Auto {
        tracing::info!("runtime {runtime}: {runtime_reason}");
    }
    let (seed, ticket_seed) = secrets().map_err(Failure::start)?;
    let nofile = runtime::socket::raise_nofile().unwrap_or_else(|error| {
        tracing::warn!("the limit of open files stays as it is: {error}");
        probe::Facts::read().nofile.map_or(NOFILE_DEFAULT, |(soft, _)| soft)
    });
    // Each client connection may need one to a backend.
    let udp = nofile.saturating_sub(DESCRIPTORS_RESERVED) / UDP_DESCRIPTORS_SHARE;
    let clients = (nofile.saturating_sub(DESCRIPTORS_RESERVED) / 2).max(64);
    let options = Options {
        cores: cores.clone(),
        backend,
        seed,
        ticket_seed,
        system_roots: system_roots(),
        connections_max: (clients / cores.len() as u64).max(1),
        udp_sessions_max: proxy::limits::UDP_SESSIONS_MAX,
        udp_sessions_shard_max: usize::try_from(udp / cores.len() as u64).unwrap_or(usize::MAX),
    };
    let started = SystemTime::now();
    Ok((About { runtime, runtime_reason, cores, admin, started }, options))
}

fn choose(runtime: Runtime) -> (Backend, &'static str, String) {
    let asked = "asked for with --runtime".to_owned();
    match runtime {
        Runtime::Monoio => (Backend::Monoio, "monoio", asked),
        Runtime::Epoll => (Backend::Epoll, "epoll", asked),
        Runtime::Glommio => (Backend::Glommio, "glommio", asked),
        Runtime::Auto => match probe::uring() {
            Ok(_) => (Backend::Monoio, "monoio", "io_uring is usable".to_owned()),
            Err(why) => (Backend::Epoll, "epoll", why.to_string()),
        },
    }
}

/// The authorities of the machine, as its administrator keeps them. A machine may have none: then
/// policies that ask for them trust nobody.
fn system_roots() -> Vec<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("an authority of the machine is left out: {error}");
    }
    found.certs.iter().map(|certificate| certificate.to_vec()).collect()
}

fn secrets() -> std::io::Result<(u64, [u8; 32])> {
    use std::io::Read as _;
    let mut random = [0; 40];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let (seed, ticket) = random.split_at(8);
    let seed = u64::from_le_bytes(seed.try_into().expect("eight bytes"));
    Ok((seed, ticket.try_into().expect("thirty-two bytes")))
}

/// Signals, as orders.
fn orders() -> std::io::Result<UnboundedReceiver<Order>> {
    let (sender, orders) = unbounded_channel();
    for (kind, order) in [
        (SignalKind::terminate(), Order::Drain),
        (SignalKind::interrupt(), Order::Drain),
        (SignalKind::hangup(), Order::Reread),
    ] {
        let (mut signal, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            while signal.recv().await.is_some() && sender.send(order).is_ok() {}
        });
    }
    Ok(orders)
}
