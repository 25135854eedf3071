//! The control loop: source → translate → compile → publish → reports → status.
//!
//! It owns no sockets and no shards: configuration comes from a [`Source`], epochs go to an
//! [`EpochSink`], reports come from an [`Inbox`], signals are [`Order`]s. `main.rs` gives it the real
//! ones, tests give it scripted ones. Invariants: epoch numbers grow by one; an IR equal to the
//! published one makes no epoch; statuses are shown only once every shard runs their epoch.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use proxy::epoch::{Epoch, Settings};
use proxy::ir::Ir;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::access_log::AccessLog;
use crate::complaints::Complaints;
use crate::listening;
use crate::pace::Pace;
use crate::report::{Phase, Report};
use crate::source::{Built, Source};
use crate::state::{Life, Shared, Socket};
use crate::translate::Statuses;

/// How long after the drain limit a shard may still say that it ended.
pub const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// Problems that are logged one by one per build; the rest only as a number.
pub const PROBLEMS_LOGGED_MAX: usize = 20;
/// Characters of a problem that are logged; /status has all.
const LOGGED_CHARS_MAX: usize = 1000;
/// Statuses of different epochs that wait at once; the last one gives way to a newer.
const PENDING_MAX: usize = 4;
const TICK: Duration = Duration::from_secs(1);
/// How long after the last build its garbage is given back: not between the builds of a burst.
const TRIM_AFTER: Duration = Duration::from_secs(1);

/// Where epochs go.
pub trait EpochSink {
    /// Gives `epoch` to every shard.
    fn publish(&self, epoch: Arc<Epoch>);
}

/// Where reports come from.
pub trait Inbox {
    /// The next report. May be dropped and called again without losing one.
    fn next(&mut self) -> impl Future<Output = Report>;
}

/// What the operator wants, as signals say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Drain; the second time: end at once.
    Drain,
    /// Read everything again and reopen the access log.
    Reread,
}

/// Waits for a change, but not before `earliest`: until then changes gather.
async fn changed<S: Source>(source: &mut S, earliest: Option<Instant>) {
    if let Some(earliest) = earliest.filter(|at| *at > Instant::now()) {
        tokio::time::sleep_until(earliest.into()).await;
    }
    source.changed().await;
}

/// How an epoch is made of an IR; [`Epoch::compile`] outside tests.
pub type Compile = fn(u64, &Ir, Settings, Option<&Epoch>) -> Epoch;

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every shard ended by itself.
    Drained,
    /// The drain limit passed while a shard did not end.
    TimedOut,
    /// A second signal.
    Interrupted,
    /// A shard ended although nobody asked it to.
    ShardLost(usize),
}

/// What the loop works with.
#[derive(Debug)]
pub struct Parts<S, E, I> {
    /// Configuration.
    pub source: S,
    /// Epochs.
    pub sink: E,
    /// Reports.
    pub inbox: I,
    /// Signals.
    pub orders: UnboundedReceiver<Order>,
    /// The state that admin pages show.
    pub state: Shared,
    /// Settings of every epoch.
    pub settings: Settings,
    /// The limit of a drain.
    pub drain_timeout: Duration,
    /// Where access log lines go.
    pub access_log: AccessLog,
    /// How epochs are made.
    pub compile: Compile,
    /// Told the statuses whose epoch every shard runs; nobody need listen.
    pub installed: watch::Sender<Arc<Statuses>>,
}

/// The loop and what it remembers.
#[derive(Debug)]
pub struct Controller<S, E, I> {
    parts: Parts<S, E, I>,
    ir: Ir,
    epoch: Option<Arc<Epoch>>,
    /// Statuses that wait for their epoch to be installed everywhere, oldest first.
    pending: VecDeque<(u64, Arc<Statuses>)>,
    /// Statuses were shown.
    has_shown: bool,
    complaints: Complaints,
    pace: Pace,
    /// When the last build ended, until its garbage is given back.
    littered: Option<Instant>,
    next_tick: tokio::time::Instant,
}

enum Event {
    Report(Box<Report>),
    Changed,
    Order(Order),
    Tick,
}

impl<S: Source, E: EpochSink, I: Inbox> Controller<S, E, I> {
    /// A loop that has published nothing yet.
    #[must_use]
    pub fn new(parts: Parts<S, E, I>) -> Self {
        Self {
            parts,
            ir: Ir::default(),
            epoch: None,
            pending: VecDeque::new(),
            has_shown: false,
            complaints: Complaints::default(),
            pace: Pace::default(),
            littered: None,
            next_tick: tokio::time::Instant::now() + TICK,
        }
    }

    /// Serves until a drain is over. `ready` is called once, when every shard runs the first epoch.
    pub async fn run(mut self, ready: impl FnOnce(&Ir)) -> Outcome {
        let mut ready = Some(ready);
        self.rebuild();
        loop {
            match self.event().await {
                Event::Changed => self.rebuild(),
                Event::Tick => self.tick(),
                Event::Report(report) => {
                    let (shard, phase) = (report.shard, report.phase);
                    self.take(*report);
                    if phase == Phase::Ended {
                        return Outcome::ShardLost(shard);
                    }
                    if self.became_ready()
                        && let Some(ready) = ready.take()
                    {
                        ready(&self.ir);
                    }
                }
                Event::Order(Order::Reread) => {
                    tracing::info!("reading everything again");
                    self.parts.access_log.reopen();
                    self.parts.source.reread();
                    self.rebuild();
                }
                Event::Order(Order::Drain) => return self.drain().await,
            }
        }
    }

    async fn event(&mut self) -> Event {
        let parts = &mut self.parts;
        tokio::select! {
            order = parts.orders.recv() => match order {
                Some(order) => Event::Order(order),
                // Nobody can ask for anything any more: wait for the rest.
                None => std::future::pending().await,
            },
            report = parts.inbox.next() => Event::Report(Box::new(report)),
            () = changed(&mut parts.source, self.pace.next()) => Event::Changed,
            () = tokio::time::sleep_until(self.next_tick) => Event::Tick,
        }
    }

    /// Builds from the source and adopts what came of it.
    fn rebuild(&mut self) {
        let started = Instant::now();
        let Some(built) = self.parts.source.build() else {
            tracing::debug!("the configuration is not complete yet");
            self.parts.state.lock().awaited = self.parts.source.awaits();
            return;
        };
        self.adopt(built, started);
        self.pace.built(started, Instant::now());
    }

    /// Publishes what was built since `started`, if it differs from what is published.
    fn adopt(&mut self, built: Built, started: Instant) {
        let Built { ir, statuses, problems, gateways } = built;
        self.tell(&problems, gateways);
        {
            let mut state = self.parts.state.lock();
            state.problems = problems;
            state.gateways = gateways;
            state.sockets = Socket::all(&ir);
        }
        if self.epoch.is_some() && ir == self.ir {
            tracing::debug!("nothing changed for the shards");
            match self.pending.back_mut() {
                Some((_, pending)) => *pending = statuses,
                None => self.show(statuses),
            }
            return;
        }
        self.ir = ir;
        self.littered = Some(Instant::now());
        let id = self.publish(self.parts.settings.clone());
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_back();
        }
        self.pending.push_back((id, statuses));
        tracing::info!(
            "epoch {id} published: {} ports, {} backends, built in {:.1} ms",
            self.ir.ports.len(),
            self.ir.backends.len(),
            started.elapsed().as_secs_f64() * 1e3
        );
    }

    /// Compiles the current IR with `settings` and gives it to the shards.
    fn publish(&mut self, settings: Settings) -> u64 {
        let id = self.epoch.as_ref().map_or(1, |epoch| epoch.id + 1);
        let epoch = (self.parts.compile)(id, &self.ir, settings, self.epoch.as_deref());
        let epoch = Arc::new(epoch);
        self.epoch = Some(Arc::clone(&epoch));
        {
            let mut state = self.parts.state.lock();
            state.published = id;
            state.published_at = Some(Instant::now());
        }
        self.parts.sink.publish(epoch);
        id
    }

    /// Logs what is new since the last build.
    fn tell(&self, problems: &[String], gateways: usize) {
        let state = self.parts.state.lock();
        let known: HashSet<&String> = state.problems.iter().collect();
        let new: Vec<_> = problems.iter().filter(|problem| !known.contains(problem)).collect();
        for problem in new.iter().take(PROBLEMS_LOGGED_MAX) {
            tracing::warn!("{}", one_line(problem));
        }
        if let Some(more) = new.len().checked_sub(PROBLEMS_LOGGED_MAX).filter(|more| *more > 0) {
            tracing::warn!("and {more} more problems; /status lists them");
        }
        if problems.is_empty() && !state.problems.is_empty() {
            tracing::info!("all problems of the configuration are solved");
        }
        if gateways == 0 && (self.epoch.is_none() || state.gateways > 0) {
            tracing::warn!("no valid Gateway: listening nowhere until there is one");
        }
    }

    fn take(&mut self, mut report: Report) {
        self.parts.access_log.write(std::mem::take(&mut report.activity.access_log));
        let is_news = self.complaints.hear(&mut report);
        let mut state = self.parts.state.lock();
        let before = state.installed();
        state.add(&report);
        state.access_log_dropped = self.parts.access_log.dropped();
        let installed = state.installed();
        if installed != before {
            let lag = state.published_at.map_or(Duration::ZERO, |at| at.elapsed());
            tracing::info!(
                "epoch {installed} installed on all shards after {:.1} ms",
                lag.as_secs_f64() * 1e3
            );
        }
        drop(state);
        let mut true_now = None;
        while self.pending.front().is_some_and(|(id, _)| installed >= *id) {
            true_now = self.pending.pop_front();
        }
        if let Some((_, statuses)) = true_now {
            self.show(statuses);
        } else if is_news && self.has_shown {
            let statuses = Arc::clone(&self.parts.state.lock().statuses);
            self.show(statuses);
        }
    }

    /// Shows statuses whose epoch every shard runs.
    fn show(&mut self, statuses: Arc<Statuses>) {
        let mut state = self.parts.state.lock();
        state.statuses = statuses;
        let statuses = listening::corrected(&state);
        drop(state);
        self.parts.installed.send_replace(statuses);
        self.has_shown = true;
    }

    fn became_ready(&self) -> bool {
        let mut state = self.parts.state.lock();
        let now = state.life == Life::Starting
            && state.published > 0
            && state.installed() >= state.published;
        if now {
            state.life = Life::Ready;
        }
        now
    }

    fn tick(&mut self) {
        self.next_tick = tokio::time::Instant::now() + TICK;
        if self.littered.take_if(|at| at.elapsed() >= TRIM_AFTER).is_some() {
            runtime::memory::trim();
        }
        let mut state = self.parts.state.lock();
        state.histograms.tick(SystemTime::now());
        state.access_log_dropped = self.parts.access_log.dropped();
    }

    /// Tells the shards to drain and waits for them.
    async fn drain(&mut self) -> Outcome {
        let limit = self.parts.drain_timeout;
        self.parts.state.lock().life = Life::Draining;
        let settings = Settings { drain: Some(limit), ..self.parts.settings.clone() };
        let id = self.publish(settings);
        tracing::info!(
            "draining for at most {} s (epoch {id}); a second signal ends at once",
            limit.as_secs_f64()
        );
        tokio::select! {
            outcome = self.until_ended() => outcome,
            () = tokio::time::sleep(limit + DRAIN_GRACE) => Outcome::TimedOut,
        }
    }

    async fn until_ended(&mut self) -> Outcome {
        loop {
            match self.event().await {
                Event::Report(report) => {
                    self.take(*report);
                    if self.parts.state.lock().ended() {
                        return Outcome::Drained;
                    }
                }
                Event::Order(Order::Drain) => return Outcome::Interrupted,
                Event::Order(Order::Reread) => self.parts.access_log.reopen(),
                Event::Tick => self.tick(),
                Event::Changed => tracing::debug!("a change while draining is ignored"),
            }
        }
    }
}

/// A text that others had a hand in, as it may stand in a log: one line, without control characters.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (at, character) in text.chars().enumerate() {
        match character {
            _ if at == LOGGED_CHARS_MAX => return line + "…",
            character if character.is_control() => line.extend(character.escape_default()),
            character => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_of_the_log_and_not_without_end() {
        assert_eq!(one_line("é: \"a\"\n\u{1b}[2JWARN"), "é: \"a\"\\n\\u{1b}[2JWARN");
        assert_eq!(one_line(&"é".repeat(5000)).chars().count(), LOGGED_CHARS_MAX + 1);
    }
}
