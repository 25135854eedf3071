//! What the control thread knows of the running process: the one thing that metrics, `/status`,
//! readiness and the histograms are views of.
//!
//! It decides nothing: the controller writes it, the admin pages read it, both on the control
//! thread, so the lock around it is never contended. Invariant: counters only grow.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use proxy::ir::Ir;
use runtime::cores::CoreId;

use crate::histograms::Histograms;
use crate::kube::Watches;
use crate::report::{
    Activity, AuthEnd, Datagrams, Http2Counts, ListenState, MirrorEnd, Phase, Report, StreamCounts,
    Transport, transport,
};
use crate::translate::Statuses;

/// Listeners that have a label of their own in metrics; the rest are counted as `other`.
pub const LISTENER_LABELS_MAX: usize = 12;
/// The label of listeners beyond [`LISTENER_LABELS_MAX`].
pub const LISTENER_OTHER: &str = "other";

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Runtime of the shards: `monoio`, `epoll` or `glommio`.
    pub runtime: &'static str,
    /// Why it was chosen.
    pub runtime_reason: String,
    /// Core of each shard; `None` where it is not pinned.
    pub cores: Vec<Option<CoreId>>,
    /// Where the admin pages are, if anywhere.
    pub admin: Option<SocketAddr>,
    /// When the process started.
    pub started: SystemTime,
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Before the first epoch is installed everywhere.
    Starting,
    /// Serves.
    Ready,
    /// Finishes what is there.
    Draining,
}

/// The last word of one shard.
#[derive(Clone, Debug)]
pub struct ShardState {
    /// Epoch it runs; 0 before the first.
    pub installed: u64,
    /// How long its last install took from publication.
    pub install_lag: Duration,
    /// Serving, draining or ended.
    pub phase: Phase,
    /// Sockets.
    pub listeners: Vec<ListenState>,
    /// Open client connections.
    pub connections: u64,
    /// Clients' sessions on UDP ports.
    pub udp_sessions: u64,
    /// Idle pooled upstream connections.
    pub upstream_idle: u64,
    /// Sums of its activity.
    pub counts: Counts,
}

/// Sums over all reports of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the sum of the same field of `Activity`")]
pub struct Counts {
    pub accepted: u64,
    pub refused: u64,
    pub upstream_opened: u64,
    pub upstream_reused: u64,
    pub retries: u64,
    pub mirrors: [u64; MirrorEnd::ALL.len()],
    /// Requests that authorization servers were asked about, in the order of [`AuthEnd::ALL`].
    pub auth: [u64; AuthEnd::ALL.len()],
    pub tls_completed: u64,
    pub tls_failed: u64,
    pub http2: Http2Counts,
    pub datagrams: Datagrams,
    pub access_log_dropped: u64,
}

/// Requests that should change a status or an object of a Gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Obeyed.
    pub written: u64,
    /// The object had changed; tried again.
    pub conflicts: u64,
    /// Not obeyed for another reason.
    pub failed: u64,
}

/// A socket that the configuration asks for, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Of which ports.
    pub transport: Transport,
    /// Where; `None` is every address.
    pub address: Option<IpAddr>,
    /// TCP or UDP port.
    pub port: u16,
    /// Full names of the listeners that share it.
    pub listeners: Vec<Arc<str>>,
}

impl Socket {
    /// The sockets of `ir`.
    #[must_use]
    pub fn all(ir: &Ir) -> Vec<Self> {
        let ports = ir.ports.iter().map(|port| Self {
            transport: transport(port.protocol),
            address: port.address,
            port: port.port,
            listeners: port.listeners.iter().map(|one| Arc::clone(&one.name)).collect(),
        });
        ports.collect()
    }

    /// Whether a shard means this socket by `state`.
    #[must_use]
    pub fn is(&self, state: &ListenState) -> bool {
        let at = state.address;
        let same = self.address.map_or_else(|| at.ip().is_unspecified(), |ip| ip == at.ip());
        same && self.port == at.port() && self.transport == state.transport
    }
}

/// Everything the control thread knows.
#[derive(Debug)]
pub struct State {
    /// Fixed facts.
    pub about: About,
    /// Readiness.
    pub life: Life,
    /// Number of the newest published epoch; 0 before the first.
    pub published: u64,
    /// When it was published.
    pub published_at: Option<Instant>,
    /// One entry per shard.
    pub shards: Vec<ShardState>,
    /// Requests by listener label and status class.
    pub requests: BTreeMap<Arc<str>, [u64; 6]>,
    /// TCP and TLS streams by listener, labelled alike.
    pub streams: BTreeMap<Arc<str>, StreamCounts>,
    /// Answers and ends of our own, by reason code.
    pub faults: BTreeMap<&'static str, u64>,
    /// Access log lines dropped by the writer, beyond those that shards dropped.
    pub access_log_dropped: u64,
    /// Latencies.
    pub histograms: Histograms,
    /// Conditions of the objects as installed everywhere.
    pub statuses: Arc<Statuses>,
    /// The listeners (`namespace/gateway/listener`) of each socket of the newest build.
    pub sockets: Vec<Socket>,
    /// What is wrong with the configuration, one line each.
    pub problems: Vec<String>,
    /// Valid Gateways in the newest build.
    pub gateways: usize,
    /// Writes to the API server.
    pub status_writes: Writes,
    /// How the watches of the API server are.
    pub watches: Watches,
    /// What the source still waits for before the first build.
    pub awaited: Option<String>,
}

/// The state as the controller and the admin pages share it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// Shares `state`.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// The state. Never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The state before the first epoch.
    #[must_use]
    pub fn new(about: About) -> Self {
        let shards = about.cores.len();
        let histograms = Histograms::new(shards, about.started);
        Self {
            about,
            life: Life::Starting,
            published: 0,
            published_at: None,
            shards: (0..shards).map(|_| ShardState::new()).collect(),
            requests: BTreeMap::new(),
            streams: BTreeMap::new(),
            faults: BTreeMap::new(),
            access_log_dropped: 0,
            histograms,
            statuses: Arc::default(),
            sockets: Vec::new(),
            problems: Vec::new(),
            gateways: 0,
            status_writes: Writes::default(),
            watches: Watches::default(),
            awaited: None,
        }
    }

    /// Takes in one report. A report of a shard that does not exist is ignored.
    pub fn add(&mut self, report: &Report) {
        let Some(shard) = self.shards.get_mut(report.shard) else { return };
        if report.installed != shard.installed {
            shard.installed = report.installed;
            shard.install_lag = report.install_lag;
        }
        shard.phase = report.phase;
        shard.listeners.clone_from(&report.listeners);
        shard.connections = report.connections;
        shard.udp_sessions = report.udp_sessions;
        shard.upstream_idle = report.upstream_idle;
        shard.counts.add(&report.activity);
        if let Some(stages) = &report.activity.stages {
            self.histograms.add(report.shard, stages);
        }
        for (code, count) in &report.activity.faults {
            *self.faults.entry(code).or_default() += count;
        }
        self.add_requests(&report.activity);
        self.add_streams(&report.activity);
    }

    fn add_requests(&mut self, activity: &Activity) {
        let mut requests: Vec<_> = activity.requests.iter().collect();
        requests.sort_by(|a, b| a.listener.cmp(&b.listener));
        for one in requests {
            let sums = labelled(&mut self.requests, &one.listener);
            for (sum, count) in sums.iter_mut().zip(one.by_class) {
                *sum += count;
            }
        }
    }

    fn add_streams(&mut self, activity: &Activity) {
        let mut streams: Vec<_> = activity.streams.iter().collect();
        streams.sort_by(|a, b| a.listener.cmp(&b.listener));
        for one in streams {
            let (sums, counts) = (labelled(&mut self.streams, &one.listener), one.counts);
            sums.ended += counts.ended;
            sums.lasted += counts.lasted;
            sums.bytes_in += counts.bytes_in;
            sums.bytes_out += counts.bytes_out;
        }
    }

    /// The newest epoch that every shard runs.
    #[must_use]
    pub fn installed(&self) -> u64 {
        self.shards.iter().map(|shard| shard.installed).min().unwrap_or(0)
    }

    /// Whether every shard has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.shards.iter().all(|shard| shard.phase == Phase::Ended)
    }

    /// Whether traffic may be sent here; the error says why not.
    ///
    /// # Errors
    /// Before the first epoch is installed everywhere, and while draining.
    pub fn ready(&self) -> Result<(), String> {
        match self.life {
            Life::Ready => Ok(()),
            Life::Draining => Err("draining".to_owned()),
            Life::Starting if self.published == 0 => {
                Err(self.awaited.clone().unwrap_or_else(|| "no epoch published yet".to_owned()))
            }
            Life::Starting => {
                let behind: Vec<String> = (0..self.shards.len())
                    .filter(|&i| self.shards[i].installed < self.published)
                    .map(|i| i.to_string())
                    .collect();
                Err(format!(
                    "epoch {} not yet installed on shard {}",
                    self.published,
                    behind.join(", ")
                ))
            }
        }
    }
}

/// The sums of `listener`. A label once given stays given, so that no counter ever falls.
fn labelled<'s, T: Default>(sums: &'s mut BTreeMap<Arc<str>, T>, listener: &Arc<str>) -> &'s mut T {
    let known = sums.contains_key(listener);
    let labels = sums.len() - usize::from(sums.contains_key(LISTENER_OTHER));
    let label = if known || labels < LISTENER_LABELS_MAX {
        Arc::clone(listener)
    } else {
        Arc::from(LISTENER_OTHER)
    };
    sums.entry(label).or_default()
}

impl ShardState {
    fn new() -> Self {
        Self {
            installed: 0,
            install_lag: Duration::ZERO,
            phase: Phase::Serving,
            listeners: Vec::new(),
            connections: 0,
            udp_sessions: 0,
            upstream_idle: 0,
            counts: Counts::default(),
        }
    }
}

impl Counts {
    fn add(&mut self, activity: &Activity) {
        self.accepted += activity.accepted;
        self.refused += activity.refused;
        self.upstream_opened += activity.upstream_opened;
        self.upstream_reused += activity.upstream_reused;
        self.retries += activity.retries;
        for (sum, more) in self.mirrors.iter_mut().zip(activity.mirrors) {
            *sum += more;
        }
        for (sum, more) in self.auth.iter_mut().zip(activity.auth) {
            *sum += more;
        }
        self.tls_completed += activity.tls_handshakes.0;
        self.tls_failed += activity.tls_handshakes.1;
        self.http2.add(&activity.http2);
        self.datagrams.add(&activity.datagrams);
        self.access_log_dropped += activity.access_log_dropped;
    }
}
