//! Writes what became of our objects into the API server: statuses, and the objects of Gateways.
//!
//! [`start`] is called once with the cluster's client; from then on everything here runs as tasks on
//! the control thread and talks to the rest through what it is given. Nothing here decides what a
//! status says ([`crate::translate`]) or whether it may be shown already ([`crate::controller`]).

mod contest;
mod desired;
#[cfg(test)]
pub(crate) mod fake;
pub mod merge;
mod objects;
mod pace;
mod parts;
mod request;
pub mod shape;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;

pub use self::contest::REPEATS_MAX;
use self::objects::Objects;
pub use self::objects::RESYNC_EVERY;
pub use self::pace::{IN_FLIGHT_MAX, PAUSE_MAX};
use self::parts::Parts;
pub use self::writer::CONFLICTS_MAX;
use self::writer::Writer;
use crate::kube::ObservedStatuses;
use crate::lease::Lease;
use crate::state::Shared;
use crate::translate::Statuses;

/// What writing needs.
#[expect(missing_debug_implementations, reason = "a client has none")]
pub struct Options {
    /// The API server.
    pub client: Client,
    /// What it shows.
    pub observed: ObservedStatuses,
    /// What it should show: statuses whose epoch every shard runs.
    pub installed: watch::Receiver<Arc<Statuses>>,
    /// Where the Lease is.
    pub namespace: String,
    /// Who we are among the replicas.
    pub identity: String,
}

/// Takes part in the election and writes while it leads. When `stop` is ready it ends, and gives the
/// Lease back if it holds it; the task that is returned is then done. Writes are counted in `state`.
pub fn start(
    options: Options,
    state: Shared,
    stop: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let Options { client, observed, installed, namespace, identity } = options;
    let (lease, leads) = Lease::new(client.clone(), &namespace, &identity);
    let parts = Parts { client, observed, statuses: installed, leads, state };
    tokio::spawn(Objects::new(parts.clone()).run());
    tokio::spawn(Writer::new(parts).run());
    tokio::spawn(lease.keep(stop))
}
