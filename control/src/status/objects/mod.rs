//! Keeps the Service and EndpointSlices of every Gateway as they should be, while we lead.
//!
//! A second task beside the statuses' [writer](super::writer), driven by the same statuses: it applies
//! what changed, and lists what there is when it begins to lead and every [`RESYNC_EVERY`], so that
//! what somebody deleted or edited comes back. It never deletes: the garbage collector does, with the
//! Gateway. Invariants: an object that the Gateway does not own is never written; an object that is as
//! it should be is not written.

mod apply;
mod compare;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::apply::{Applied, Listing};
use super::desired;
use super::pace::Pace;
use super::parts::Parts;
use super::request::Fault;
use crate::api::Name;
use crate::translate::Statuses;
use crate::translate::infrastructure::Infrastructure;

/// How often everything is listed and compared.
pub const RESYNC_EVERY: Duration = Duration::from_secs(60);
/// A list that failed is not repeated sooner.
const LIST_AGAIN: Duration = Duration::from_secs(1);
/// Gateways whose objects are applied at once.
const GATEWAYS_IN_FLIGHT_MAX: usize = 8;

/// The task.
#[derive(Debug)]
pub(super) struct Objects {
    parts: Parts,
    statuses: Option<Arc<Statuses>>,
    queue: BTreeSet<Name>,
    running: JoinSet<Done>,
    pace: Pace,
    /// When everything is listed next; `None` while we do not lead.
    list_at: Option<Instant>,
    /// What was complained about, so that it is said once.
    told: BTreeMap<Name, String>,
}

#[derive(Debug)]
enum Done {
    Applied(Name, Result<Applied, Fault>),
    Listed(Result<Listing, Fault>),
}

impl Objects {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            statuses: None,
            queue: BTreeSet::new(),
            running: JoinSet::new(),
            pace: Pace::default(),
            list_at: None,
            told: BTreeMap::new(),
        }
    }

    /// Works for as long as the rest of the process runs.
    pub(super) async fn run(mut self) {
        loop {
            self.start();
            let wake = self.wake();
            tokio::select! {
                changed = self.parts.leads.changed() => match changed {
                    Ok(()) => self.lead(),
                    Err(_) => return,
                },
                changed = self.parts.statuses.changed() => match changed {
                    Ok(()) => self.take_statuses(),
                    Err(_) => return,
                },
                Some(done) = self.running.join_next() => match done {
                    Ok(Done::Applied(gateway, outcome)) => self.applied(gateway, outcome),
                    Ok(Done::Listed(outcome)) => self.listed(outcome),
                    // The next listing finds what a task that was cancelled left.
                    Err(_) => {}
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Whether anything may be written: never from a snapshot of another day.
    fn may_write(&self) -> bool {
        self.parts.leads() && self.statuses.is_some() && self.parts.observed.is_live()
    }

    /// When something waiting becomes due.
    fn wake(&self) -> Option<Instant> {
        if !self.may_write() {
            return None;
        }
        let now = Instant::now();
        let pause = self.pace.until().filter(|until| *until > now);
        let list = self.list_at.filter(|_| self.running.is_empty());
        let list = list.map(|at| pause.map_or(at, |until| until.max(at)));
        let queue = pause.filter(|_| !self.queue.is_empty());
        list.into_iter().chain(queue).min()
    }

    fn lead(&mut self) {
        self.running.abort_all();
        self.running = JoinSet::new();
        self.queue.clear();
        self.told.clear();
        self.list_at = self.parts.leads().then(Instant::now);
    }

    fn take_statuses(&mut self) {
        let new = Arc::clone(&self.parts.statuses.borrow_and_update());
        if let Some(old) = self.statuses.replace(Arc::clone(&new)).filter(|_| self.parts.leads()) {
            let queue = &mut self.queue;
            let same = |a: &Arc<_>, b: &Arc<_>| Arc::ptr_eq(a, b) || a == b;
            desired::differing(&old.infrastructure, &new.infrastructure, same, |gateway| {
                queue.insert(gateway.clone());
            });
        }
    }

    fn start(&mut self) {
        let Some(statuses) = self.statuses.clone().filter(|_| self.may_write()) else { return };
        let now = Instant::now();
        let limit = self.pace.limit(now).min(GATEWAYS_IN_FLIGHT_MAX);
        if self.list_at.is_some_and(|at| at <= now) && self.running.is_empty() && limit > 0 {
            self.list_at = Some(now + RESYNC_EVERY);
            let client = self.parts.client.clone();
            self.running.spawn(async move { Done::Listed(apply::list(client).await) });
        }
        while self.running.len() < limit {
            let Some(gateway) = self.queue.pop_first() else { return };
            // What a Gateway leaves behind goes with it.
            let Some(wanted) = statuses.infrastructure.get(&gateway).cloned() else { continue };
            let client = self.parts.client.clone();
            self.running.spawn(async move {
                let outcome = apply::all(client, &wanted).await;
                Done::Applied(gateway, outcome)
            });
        }
    }

    fn listed(&mut self, outcome: Result<Listing, Fault>) {
        match outcome {
            Ok(listing) => {
                self.pace.succeeded();
                let Some(statuses) = &self.statuses else { return };
                for (gateway, wanted) in &statuses.infrastructure {
                    if objects(wanted).any(|object| !listing.holds(object, &wanted.uid)) {
                        self.queue.insert(gateway.clone());
                    }
                }
            }
            Err(fault) => {
                self.failed(&fault);
                // The pause, if there is one, comes first.
                self.list_at = self.list_at.map(|_| Instant::now() + LIST_AGAIN);
            }
        }
    }

    fn applied(&mut self, gateway: Name, outcome: Result<Applied, Fault>) {
        let counts = match &outcome {
            Ok(applied) => (applied.written, 0, 0),
            Err(Fault::Conflict) => (0, 1, 0),
            Err(_) => (0, 0, 1),
        };
        self.count(counts);
        match outcome {
            Ok(applied) => {
                self.pace.succeeded();
                match applied.foreign {
                    Some(foreign) => {
                        self.tell(gateway, format!(
                            "{foreign} exists and does not belong to the Gateway: it is left alone; rename or delete it"
                        ));
                    }
                    None => drop(self.told.remove(&gateway)),
                }
            }
            // Somebody else wrote at the same time: look again.
            Err(Fault::Conflict) => drop(self.queue.insert(gateway)),
            // The namespace is on its way out.
            Err(Fault::Gone) => {}
            Err(Fault::Refused(why)) => {
                self.tell(gateway, format!("refused: {why}"));
            }
            // The next listing finds it missing; until then it holds up no other.
            Err(fault @ (Fault::Denied(_) | Fault::Broken(_))) => {
                let (Fault::Denied(why) | Fault::Broken(why)) = &fault else { return };
                if self.tell(gateway, format!("cannot be written: {why}")) {
                    self.pace.failed(Instant::now(), None);
                }
            }
            Err(fault @ Fault::Busy(..)) => {
                self.failed(&fault);
                self.queue.insert(gateway);
            }
        }
    }

    fn failed(&mut self, fault: &Fault) {
        let (why, again) = match fault {
            Fault::Busy(why, again) => (why, *again),
            Fault::Denied(why) | Fault::Refused(why) | Fault::Broken(why) => (why, None),
            Fault::Conflict | Fault::Gone => return,
        };
        if self.pace.failed(Instant::now(), again) {
            tracing::warn!("Services of Gateways wait for the API server: {why}");
        }
    }

    /// Says what is wrong with a Gateway's objects, once; whether that was news.
    fn tell(&mut self, gateway: Name, what: String) -> bool {
        let is_news = self.told.get(&gateway) != Some(&what);
        if is_news {
            tracing::warn!("objects of Gateway {gateway}: {what}");
            self.told.insert(gateway, what);
        }
        is_news
    }

    fn count(&self, (written, conflicts, failed): (u64, u64, u64)) {
        let mut state = self.parts.state.lock();
        state.status_writes.written += written;
        state.status_writes.conflicts += conflicts;
        state.status_writes.failed += failed;
    }
}

/// Everything that should exist for a Gateway.
fn objects(wanted: &Infrastructure) -> impl Iterator<Item = &Value> {
    std::iter::once(&wanted.service).chain(&wanted.slices)
}
