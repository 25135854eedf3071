//! The data plane: one pinned thread per core, each with its own sockets, pools, timers and metrics.
//!
//! [`Shards`] is the only `Send` surface: it starts the threads, passes each new epoch down and hands
//! out the [`Report`]s that come up. Everything below it is `!Send` and generic over the runtime.
//! `control`'s `main.rs` is the only caller. Invariant: no shard reads or writes another's state.
#![forbid(unsafe_code)]

pub mod report;

use std::sync::Arc;

use proxy::epoch::Epoch;
use runtime::StartError;
use runtime::cores::CoreId;

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
pub struct Shards {}

impl Shards {
    /// Starts one thread per entry of [`Options::cores`] and returns once all of them run.
    /// Nothing listens before the first epoch.
    ///
    /// # Errors
    /// The first shard that could not start, with the remedy; the others are stopped.
    pub fn start(options: &Options) -> Result<(Self, Reports), StartError> {
        let _ = options;
        todo!()
    }

    /// Gives every shard `epoch`; one that is still busy with an older one skips to the newest.
    pub fn publish(&self, epoch: Arc<Epoch>) {
        let _ = epoch;
        todo!()
    }

    /// Waits until every shard has ended (after an epoch with `settings.drain`).
    pub fn join(self) {
        todo!()
    }
}
