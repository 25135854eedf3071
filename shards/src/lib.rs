//! The data plane: one pinned thread per core, each with its own sockets, pools, timers and metrics.
//!
//! [`Shards`] is the only `Send` surface: it starts the threads, passes each new epoch down and hands
//! out the [`Report`]s that come up. Everything below it is `!Send` and generic over the runtime.
//! `control`'s `main.rs` is the only caller. Invariant: no shard reads or writes another's state.
#![forbid(unsafe_code)]

mod accept;
mod access_log;
mod arrival;
mod capture;
mod cut;
mod deadline;
mod downstream;
mod framed;
mod h2;
mod input;
mod install;
mod race;
mod recorder;
mod relay;
pub mod report;
mod scratch;
mod shard;
mod spare;
mod stream;
mod trace;
mod transport;
mod udp;
mod upstream;
mod watch;

#[expect(clippy::disallowed_types, reason = "the immutable epoch is all that shards share")]
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use proxy::epoch::Epoch;
use runtime::cores::CoreId;
use runtime::mailbox::{self, Sender};
use runtime::{Runtime, StartError};

use self::access_log::Clock;
use self::shard::Start;

pub use self::report::{Report, Reports};

/// How to start the data plane.
#[derive(Clone, Debug)]
pub struct Options {
    /// One shard per entry, pinned to that core if one is named.
    pub cores: Vec<Option<CoreId>>,
    /// Which runtime every shard uses.
    pub backend: Backend,
    /// Seed of the shards' choices (phase shifts, power of two choices).
    pub seed: u64,
    /// Secret from which TLS ticket keys are derived.
    pub ticket_seed: [u8; 32],
    /// DER certificates of the authorities that the machine trusts.
    pub system_roots: Vec<Vec<u8>>,
    /// Client connections per shard; more are refused at once.
    pub connections_max: u64,
    /// Sessions of UDP clients per listener; each shard takes its share of them.
    pub udp_sessions_max: usize,
    /// Sessions of UDP clients per shard, over all listeners: each takes a descriptor.
    pub udp_sessions_shard_max: usize,
}

/// Which runtime drives the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// monoio on io_uring.
    Monoio,
    /// monoio's readiness driver.
    Epoll,
    /// glommio.
    Glommio,
}

/// The running shards.
#[derive(Debug)]
pub struct Shards {
    epochs: Vec<Sender<Published>>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// The message down: an epoch, and when it was published.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    #[expect(clippy::disallowed_types, reason = "the immutable epoch is all that shards share")]
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) at: Instant,
}

impl Shards {
    /// Starts one thread per entry of [`Options::cores`] and returns once all of them run.
    /// Nothing listens before the first epoch.
    ///
    /// # Errors
    /// The first shard that could not start, with the remedy; the others are stopped.
    pub fn start(options: &Options) -> Result<(Self, Reports), StartError> {
        let (report_sender, reports) = mailbox::mailbox().map_err(no_mailbox)?;
        let mut shards = Self { epochs: Vec::new(), threads: Vec::new() };
        let clock = wall_clock();
        let mut started = Vec::new();
        for (index, core) in options.cores.iter().enumerate() {
            let (sender, epochs) = mailbox::mailbox().map_err(no_mailbox)?;
            let start = Start {
                index,
                seed: options.seed,
                ticket_seed: options.ticket_seed,
                system_roots: options.system_roots.clone(),
                connections_max: options.connections_max,
                udp: udp::Limits {
                    port: options.udp_sessions_max.div_ceil(options.cores.len()).max(1),
                    shard: options.udp_sessions_shard_max.max(1),
                },
                clock,
                epochs,
                reports: report_sender.clone(),
            };
            let (tell, told) = std::sync::mpsc::channel();
            let machine = runtime::Options { core: *core, ..runtime::Options::default() };
            let backend = options.backend;
            let thread = thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || run_backend(backend, &machine, start, &tell))
                .map_err(no_mailbox)?;
            shards.threads.push(thread);
            shards.epochs.push(sender);
            started.push(told);
        }
        for told in started {
            let result = told.recv().unwrap_or_else(|_| {
                Err(StartError::Backend {
                    backend: "shard",
                    cause: "its thread ended".to_owned(),
                    remedy: "see the messages above",
                })
            });
            if let Err(error) = result {
                shards.stop();
                return Err(error);
            }
        }
        Ok((shards, Reports(reports)))
    }

    /// Gives every shard `epoch`; one that is still busy with an older one skips to the newest.
    #[expect(clippy::disallowed_types, reason = "the immutable epoch is all that shards share")]
    pub fn publish(&self, epoch: Arc<Epoch>) {
        let at = wall_clock().monotonic;
        for sender in &self.epochs {
            sender.send(Published { epoch: epoch.clone(), at });
        }
    }

    /// Waits until every shard has ended (after an epoch with `settings.drain`).
    pub fn join(self) {
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Ends the shards that did start: an empty epoch that drains at once.
    fn stop(self) {
        let mut epoch = Epoch::empty();
        epoch.settings.drain = Some(std::time::Duration::ZERO);
        self.publish(epoch.into());
        self.join();
    }
}

fn run_backend(
    backend: Backend,
    machine: &runtime::Options,
    start: Start,
    tell: &std::sync::mpsc::Sender<Result<(), StartError>>,
) {
    match backend {
        Backend::Monoio => run_on::<runtime::Monoio>(machine, start, tell),
        Backend::Epoll => run_on::<runtime::Epoll>(machine, start, tell),
        Backend::Glommio => run_on::<runtime::Glommio>(machine, start, tell),
    }
}

fn run_on<R: Runtime>(
    machine: &runtime::Options,
    start: Start,
    tell: &std::sync::mpsc::Sender<Result<(), StartError>>,
) {
    let running = tell.clone();
    let result = R::block_on(machine, || {
        // The starter may have given up on another shard already.
        running.send(Ok(())).ok();
        shard::run::<R>(start)
    });
    if let Err(error) = result {
        tell.send(Err(error)).ok();
    }
}

fn no_mailbox(error: std::io::Error) -> StartError {
    StartError::Backend {
        backend: "shard",
        cause: error.to_string(),
        remedy: "raise the limits on open files and processes (ulimit -n, -u)",
    }
}

#[expect(clippy::disallowed_methods, reason = "wall-clock time is read once, for the access log")]
fn wall_clock() -> Clock {
    let now = std::time::SystemTime::now();
    Clock {
        monotonic: Instant::now(),
        since_unix_epoch: now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default(),
    }
}

#[expect(clippy::disallowed_types, reason = "the immutable epoch is all that shards share")]
fn empty_epoch() -> Arc<Epoch> {
    Epoch::empty().into()
}

/// Sets the random seeds of neighbouring shards apart.
const SEED_STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;
