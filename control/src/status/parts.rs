//! What both tasks that write to the API server work with.
//!
//! Made once by [`super::start`], cloned for each task. It decides nothing.

use std::fmt;
use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;

use crate::kube::ObservedStatuses;
use crate::state::Shared;
use crate::translate::Statuses;

/// What a task works with.
#[derive(Clone)]
pub(super) struct Parts {
    /// The API server.
    pub client: Client,
    /// What it shows.
    pub observed: ObservedStatuses,
    /// What it should show.
    pub statuses: watch::Receiver<Arc<Statuses>>,
    /// Whether we lead.
    pub leads: watch::Receiver<bool>,
    /// Where writes are counted.
    pub state: Shared,
}

impl Parts {
    /// Whether we lead now.
    pub(super) fn leads(&self) -> bool {
        *self.leads.borrow()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("leads", &self.leads).finish_non_exhaustive()
    }
}
