//! Keeps the statuses in the API server equal to those that every shard runs.
//!
//! One task on the control thread: it hears of new statuses, of changes in the API server and of who
//! leads, compares object by object, and writes what differs, a bounded number at a time, the most
//! important first. It reads nothing before it writes: the version that the watch showed guards each
//! write, and only a conflict costs a reading. Invariants: nothing is written unless we lead and the
//! server's side is known; never two writes of one object at once; equal statuses cost no request;
//! while the server is away nothing spins.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::contest::{self, Contests};
use super::desired::{self, Desired};
use super::merge::{self, Merge};
use super::pace::{Pace, backoff};
use super::parts::Parts;
use super::request::{self, Fault};
use super::shape;
use crate::api::{Kind, Name};
use crate::kube::Observed;
use crate::translate::{CONTROLLER_NAME, Statuses};

/// Conflicts of one object that are answered at once; the next ones wait a little.
pub const CONFLICTS_MAX: u32 = 5;
/// Objects that are compared before others get their turn on the thread.
const COMPARED_MAX: usize = 64;
/// The first wait after the server refused a status, and the longest.
const REFUSED_WAIT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// Objects of one kind about whose failures a line is logged before one of the kind is written again.
const TOLD_MAX: u32 = 10;
/// The first wait after one object failed while the server answers, and the longest.
const FAILED_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The first wait after too many conflicts, and the longest.
const CONFLICT_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How often a status is written whose only news is how many routes are attached.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

type Target = (Kind, Name);

/// The writer.
#[derive(Debug)]
pub(super) struct Writer {
    parts: Parts,
    statuses: Option<Arc<Statuses>>,
    /// What is to be compared, most important first.
    queue: BTreeSet<(u8, Kind, Name)>,
    /// What is to be compared later.
    later: BTreeSet<(Instant, Kind, Name)>,
    /// Objects that are being written, or were and may not be settled.
    open: HashMap<Target, Open>,
    /// When statuses that count routes were written last, as far as it is not long ago.
    counted: HashMap<Target, Instant>,
    running: JoinSet<(Target, Result<Done, Fault>)>,
    pace: Pace,
    /// Kinds of which objects failed while the server answers.
    troubled: BTreeMap<Kind, Trouble>,
    contests: Contests,
}

/// What a kind suffers from.
#[derive(Debug, Default)]
struct Trouble {
    pace: Pace,
    /// Objects that were told of.
    told: u32,
}

/// What is known of an object beyond what the watch showed.
#[derive(Debug, Default)]
struct Open {
    is_running: bool,
    /// It was queued again while it was being written.
    again: bool,
    /// What the server answered last, until the watch shows as much.
    answered: Option<Arc<Observed>>,
    conflicts: u32,
    refusals: u32,
    /// Why it was refused last.
    refused: Option<String>,
    /// When it is to be compared later: its one entry among those.
    due: Option<Instant>,
}

#[derive(Debug)]
enum Done {
    Written(Observed),
    Read(Observed),
}

/// What comes of comparing one object.
enum Plan {
    Settled,
    Write(Write),
    /// Not before this time.
    Later(Instant),
}

/// One write.
struct Write {
    /// The object as it is.
    seen: Arc<Observed>,
    patch: Value,
    /// What the status shall be, as a number.
    digest: u64,
}

impl Writer {
    /// A writer that has heard of nothing yet.
    #[must_use]
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            statuses: None,
            queue: BTreeSet::new(),
            later: BTreeSet::new(),
            open: HashMap::new(),
            counted: HashMap::new(),
            running: JoinSet::new(),
            pace: Pace::default(),
            troubled: BTreeMap::new(),
            contests: Contests::default(),
        }
    }

    /// Writes for as long as the rest of the process runs.
    pub(super) async fn run(mut self) {
        loop {
            let more = self.start();
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
                () = self.parts.observed.changed() => self.take_observed(),
                Some(done) = self.running.join_next() => {
                    // A task that was cancelled or panicked leaves its object to the next change.
                    if let Ok((target, outcome)) = done {
                        self.finish(target, outcome);
                    }
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                () = tokio::task::yield_now(), if more => {}
            }
            self.ripen();
        }
    }

    /// When something waiting becomes due.
    fn wake(&self) -> Option<Instant> {
        if !self.parts.leads() {
            return None;
        }
        let later = self.later.first().map(|(at, ..)| *at);
        let pause =
            self.pace.until().filter(|until| *until > Instant::now() && !self.queue.is_empty());
        later.into_iter().chain(pause).min()
    }

    /// Moves what is due to the queue.
    fn ripen(&mut self) {
        let now = Instant::now();
        while let Some((_, kind, name)) = self.later.pop_first_if(now) {
            if let Some(open) = self.open.get_mut(&(kind, name.clone())) {
                open.due = None;
            }
            self.queue(kind, name);
        }
        if self.queue.is_empty() && self.running.is_empty() {
            self.counted.retain(|_, at| now < *at + COUNT_INTERVAL);
        }
    }

    /// Leaves an object for later.
    fn postpone(&mut self, target: Target, until: Instant) {
        let open = self.open.entry(target.clone()).or_default();
        let before = open.due.replace(until);
        let (kind, name) = target;
        if let Some(before) = before {
            self.later.remove(&(before, kind, name.clone()));
        }
        self.later.insert((until, kind, name));
    }

    fn queue(&mut self, kind: Kind, name: Name) {
        self.queue.insert((shape::priority(kind), kind, name));
    }

    /// Whoever begins to lead compares everything once; whoever no longer leads stops at once.
    fn lead(&mut self) {
        self.running.abort_all();
        self.running = JoinSet::new();
        self.queue.clear();
        self.later.clear();
        self.open.clear();
        self.troubled.clear();
        self.contests.clear();
        self.counted.clear();
        if self.parts.leads() {
            self.queue_all();
        }
    }

    fn queue_all(&mut self) {
        for kind in Kind::ALL.into_iter().filter(|kind| shape::of(*kind).is_some()) {
            for name in self.parts.observed.names(kind) {
                self.queue(kind, name);
            }
        }
    }

    fn take_statuses(&mut self) {
        let new = Arc::clone(&self.parts.statuses.borrow_and_update());
        let old = self.statuses.replace(Arc::clone(&new));
        if !self.parts.leads() {
            return;
        }
        match old {
            None => self.queue_all(),
            Some(old) => {
                let mut found = Vec::new();
                desired::changes(&old, &new, |kind, name| found.push((kind, name.clone())));
                found.into_iter().for_each(|(kind, name)| self.queue(kind, name));
            }
        }
    }

    fn take_observed(&mut self) {
        let noted = self.parts.observed.take_noted();
        if !self.parts.leads() {
            return;
        }
        for (kind, name) in noted {
            self.queue(kind, name);
        }
    }

    /// Compares what is queued and starts as many writes as may run; says whether there is more to
    /// compare right now.
    fn start(&mut self) -> bool {
        let Some(statuses) = self.statuses.clone() else { return false };
        if !self.parts.leads() || !self.parts.observed.is_live() {
            return false;
        }
        let (now, date) = (Instant::now(), jiff::Timestamp::now());
        let date = date.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for _ in 0..COMPARED_MAX {
            if self.running.len() >= self.pace.limit(now) {
                return false;
            }
            let Some((_, kind, name)) = self.queue.pop_first() else { return false };
            let target = (kind, name);
            if let Some(open) = self.open.get_mut(&target).filter(|open| open.is_running) {
                open.again = true;
                continue;
            }
            match self.plan(&statuses, &target, &date) {
                Plan::Settled => self.settle(&target),
                Plan::Later(at) => self.postpone(target, at),
                Plan::Write(write) => match self.pause(&target, write.digest, now) {
                    Some(until) => self.postpone(target, until),
                    None => self.write(target, write),
                },
            }
        }
        true
    }

    /// Until when an object has to wait though the server answers.
    fn pause(&self, target: &Target, digest: u64, now: Instant) -> Option<Instant> {
        let troubled = self.troubled.get(&target.0).and_then(|trouble| trouble.pace.until());
        let contested = self.contests.wait(target, digest, now);
        troubled.filter(|until| *until > now).into_iter().chain(contested).max()
    }

    fn plan(&self, statuses: &Statuses, target: &Target, now: &str) -> Plan {
        let (kind, name) = target;
        let (Some(shape), Some(seen)) = (shape::of(*kind), self.seen(*kind, name)) else {
            return Plan::Settled;
        };
        let text = seen.status.as_ref().map(|status| status.get());
        let desired = match desired::of(statuses, *kind, name) {
            Desired::Status(status) => self.blamed(*kind, name, status),
            Desired::Untouched => return Plan::Settled,
            Desired::Nothing if !text.is_some_and(|text| text.contains(CONTROLLER_NAME)) => {
                return Plan::Settled;
            }
            Desired::Nothing => json!({}),
        };
        let observed: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
        let is_empty = desired.as_object().is_some_and(serde_json::Map::is_empty);
        let ours = |status| merge::has_entries(shape, status, CONTROLLER_NAME);
        if is_empty && !observed.as_ref().is_some_and(ours) {
            return Plan::Settled;
        }
        let merge = Merge { shape, namespace: &name.namespace, controller: CONTROLLER_NAME, now };
        match merge.patch(observed.as_ref(), &desired) {
            Some(patch) => match self.counted.get(target).map(|at| *at + COUNT_INTERVAL) {
                Some(at)
                    if Instant::now() < at && merge::only_counts(observed.as_ref(), &patch) =>
                {
                    Plan::Later(at)
                }
                _ => {
                    let digest = contest::digest(&seen.uid, &desired);
                    Plan::Write(Write { seen, patch, digest })
                }
            },
            None => Plan::Settled,
        }
    }

    /// `status`, which speaks of the last good version, with the word that the newest one is not.
    fn blamed(&self, kind: Kind, name: &Name, mut status: Value) -> Value {
        let watched = self.parts.observed.get(kind, name);
        if let Some(watched) = watched
            && let Some(fault) = &watched.fault
        {
            desired::blame(kind, &mut status, fault, watched.generation);
        }
        status
    }

    /// The newest that is known of an object: what the watch showed, or a later answer.
    fn seen(&self, kind: Kind, name: &Name) -> Option<Arc<Observed>> {
        let watched = self.parts.observed.get(kind, name)?;
        let answered = self.open.get(&(kind, name.clone())).and_then(|open| open.answered.clone());
        Some(answered.filter(|answered| is_later(answered, &watched)).unwrap_or(watched))
    }

    /// Forgets an object that is as it should be, once the watch shows it too.
    fn settle(&mut self, target: &Target) {
        let watched = self.parts.observed.get(target.0, &target.1);
        if let Some(open) = self.open.get_mut(target) {
            open.conflicts = 0;
            open.refusals = 0;
            let ahead = watched.zip(open.answered.as_ref());
            if !ahead.is_some_and(|(watched, answered)| is_later(answered, &watched)) {
                self.open.remove(target);
            }
        }
    }

    fn write(&mut self, target: Target, Write { seen, patch, digest }: Write) {
        let Some(path) = self.path(&target) else { return };
        if self.contests.written(&target, digest, Instant::now()) {
            let (kind, name) = &target;
            tracing::warn!(
                "the status of {} {name} is changed back by somebody else again and again: is there a second installation with controllerName {CONTROLLER_NAME}?",
                kind.as_str()
            );
        }
        self.open.entry(target.clone()).or_default().is_running = true;
        if patch.get("listeners").is_some() {
            self.counted.insert(target.clone(), Instant::now());
        }
        let client = self.parts.client.clone();
        self.running.spawn(async move {
            let outcome = request::patch(client, path, target.1.clone(), seen, patch).await;
            (target, outcome.map(Done::Written))
        });
    }

    fn read(&mut self, target: Target) {
        let Some(path) = self.path(&target) else { return };
        self.open.entry(target.clone()).or_default().is_running = true;
        let client = self.parts.client.clone();
        self.running.spawn(async move {
            let outcome = request::get(client, path, target.1.clone()).await;
            (target, outcome.map(Done::Read))
        });
    }

    fn path(&self, (kind, name): &Target) -> Option<String> {
        let version = self.parts.observed.version(*kind)?;
        Some(kind.path(version, Some(&name.namespace)))
    }

    fn finish(&mut self, target: Target, outcome: Result<Done, Fault>) {
        self.count(&outcome);
        let now = Instant::now();
        let open = self.open.entry(target.clone()).or_default();
        open.is_running = false;
        let again = std::mem::take(&mut open.again);
        match outcome {
            Ok(done) => {
                let (observed, is_read) = match done {
                    Done::Written(observed) => (observed, false),
                    Done::Read(observed) => (observed, true),
                };
                if !is_read {
                    open.conflicts = 0;
                    open.refusals = 0;
                }
                open.answered = Some(Arc::new(observed));
                if self.pace.succeeded() {
                    tracing::info!("the API server takes statuses again");
                }
                if !is_read {
                    self.relieve(target.0);
                }
                if again || is_read {
                    self.queue(target.0, target.1);
                }
            }
            Err(Fault::Conflict) => {
                self.pace.succeeded();
                open.conflicts += 1;
                let conflicts = open.conflicts;
                if conflicts <= CONFLICTS_MAX {
                    self.read(target);
                } else {
                    let wait = backoff(CONFLICT_WAIT.0, conflicts - CONFLICTS_MAX, CONFLICT_WAIT.1);
                    open.answered = None;
                    self.postpone(target, now + wait);
                }
            }
            Err(Fault::Gone) => {
                self.pace.succeeded();
                self.open.remove(&target);
            }
            Err(Fault::Refused(why)) => {
                open.refusals += 1;
                let refusals = open.refusals;
                let wait = backoff(REFUSED_WAIT.0, refusals, REFUSED_WAIT.1);
                if open.refused.as_deref() != Some(&*why) {
                    let (kind, name) = (target.0.as_str(), &target.1);
                    tracing::warn!("the status of {kind} {name} was refused: {why}");
                    open.refused = Some(why);
                }
                self.postpone(target, now + wait);
            }
            Err(Fault::Busy(why, again)) => {
                if self.pace.failed(now, again) {
                    tracing::warn!("statuses wait for the API server: {why}");
                }
                self.queue(target.0, target.1);
            }
            Err(Fault::Denied(why)) => {
                let why = format!("may not be written, see the chart's ClusterRole: {why}");
                self.trouble(target, &why);
            }
            Err(Fault::Broken(why)) => self.trouble(target, &format!("cannot be written: {why}")),
        }
    }

    /// An object failed while the server answers: it waits by itself. When it fails for the first
    /// time the others of its kind wait a little too, for they may all fare the same.
    fn trouble(&mut self, target: Target, why: &str) {
        let now = Instant::now();
        self.pace.succeeded();
        let open = self.open.entry(target.clone()).or_default();
        open.refusals += 1;
        let refusals = open.refusals;
        if refusals == 1 {
            let trouble = self.troubled.entry(target.0).or_default();
            trouble.pace.failed(now, None);
            trouble.told += 1;
            if trouble.told <= TOLD_MAX {
                let (kind, name) = (target.0.as_str(), &target.1);
                tracing::warn!("the status of {kind} {name} {why}");
            }
        }
        let wait = backoff(FAILED_WAIT.0, refusals, FAILED_WAIT.1);
        self.postpone(target, now + wait);
    }

    /// A status of the kind was written: whatever of it waits is tried again.
    fn relieve(&mut self, kind: Kind) {
        if self.troubled.remove(&kind).is_some() {
            let now = Instant::now();
            let waiting = self.later.iter().filter(|(_, one, _)| *one == kind);
            let waiting: Vec<_> = waiting.map(|(_, kind, name)| (*kind, name.clone())).collect();
            waiting.into_iter().for_each(|target| self.postpone(target, now));
        }
    }

    fn count(&self, outcome: &Result<Done, Fault>) {
        let mut state = self.parts.state.lock();
        let counts = &mut state.status_writes;
        match outcome {
            Ok(Done::Read(_)) => {}
            Ok(Done::Written(_)) => counts.written += 1,
            Err(Fault::Conflict) => counts.conflicts += 1,
            Err(_) => counts.failed += 1,
        }
    }
}

/// Whether an answer is newer than what the watch showed. Versions that cannot be compared are not.
fn is_later(answered: &Observed, watched: &Observed) -> bool {
    let number = |observed: &Observed| observed.resource_version.parse::<u64>().ok();
    answered.uid == watched.uid
        && number(answered)
            .zip(number(watched))
            .is_some_and(|(answered, watched)| answered > watched)
}

trait PopDue {
    fn pop_first_if(&mut self, now: Instant) -> Option<(Instant, Kind, Name)>;
}

impl PopDue for BTreeSet<(Instant, Kind, Name)> {
    fn pop_first_if(&mut self, now: Instant) -> Option<(Instant, Kind, Name)> {
        let is_due = self.first().is_some_and(|(at, ..)| *at <= now);
        is_due.then(|| self.pop_first()).flatten()
    }
}
