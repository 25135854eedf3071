//! One shard: all that its thread owns, its tick, and its main loop.
//!
//! Tasks on the thread share a shard by `Rc`; nothing in it is `Send`. Invariant: a borrow of a
//! `RefCell` here never lives across an await.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use proxy::balance::Local;
use proxy::tls::Identities;
use runtime::Runtime;
use runtime::mailbox::{Receiver, Sender};

use crate::access_log::Clock;
use crate::deadline::Deadlines;
use crate::downstream::Workers;
use crate::h2::listed::Listed;
use crate::install::{self, Installed, PortKey, Socket};
use crate::race::race;
use crate::recorder::Recorder;
use crate::report::{Phase, Report};
use crate::scratch::Scratches;
use crate::udp;
use crate::upstream::h2::pool::Connections;
use crate::upstream::pool::Pool;
use crate::watch::Watches;
use crate::{Published, SEED_STRIDE};

/// Everything one shard owns.
pub(crate) struct Shard<R: Runtime> {
    index: usize,
    installed: RefCell<Rc<Installed>>,
    pub(crate) local: RefCell<Local>,
    pub(crate) identities: RefCell<Identities>,
    pub(crate) pool: Pool<R>,
    /// Backend connections of HTTP/2.
    pub(crate) multiplexed: Connections,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) watches: Watches,
    /// Client connections of HTTP/2.
    pub(crate) streams: Listed,
    /// Tasks for streams of HTTP/2.
    pub(crate) workers: Workers,
    pub(crate) scratches: Scratches,
    pub(crate) recorder: Recorder,
    pub(crate) sockets: RefCell<HashMap<PortKey, Socket, RandomState>>,
    /// Copies of requests on their way to mirrors.
    pub(crate) mirrors: Cell<u32>,
    pub(crate) udp: udp::Workplace,
    /// Requests that wait for an authorization server.
    pub(crate) questions: Cell<u32>,
    connections: Cell<u64>,
    connections_max: u64,
    draining_since: Cell<Option<Instant>>,
    install_lag: Cell<Duration>,
    ticket_seed: [u8; 32],
    reports: Sender<Report>,
}

/// What a shard's thread is started with.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) seed: u64,
    pub(crate) ticket_seed: [u8; 32],
    pub(crate) system_roots: Vec<Vec<u8>>,
    pub(crate) connections_max: u64,
    pub(crate) udp: udp::Limits,
    pub(crate) clock: Clock,
    pub(crate) epochs: Receiver<Published>,
    pub(crate) reports: Sender<Report>,
}

/// The life of a shard: installs each epoch until a drain has ended.
pub(crate) async fn run<R: Runtime>(start: Start) {
    let epochs = start.epochs;
    let shard = Rc::new(Shard::<R> {
        index: start.index,
        installed: RefCell::new(Rc::new(Installed::new(
            crate::empty_epoch(),
            &start.ticket_seed,
            None,
        ))),
        local: RefCell::new(Local::new(
            start.index,
            start.seed.wrapping_add((start.index as u64).wrapping_mul(SEED_STRIDE)),
        )),
        identities: RefCell::new(Identities::new(&start.system_roots)),
        pool: Pool::new(),
        multiplexed: Connections::default(),
        deadlines: Deadlines::new(R::now()),
        watches: Watches::default(),
        streams: Listed::default(),
        workers: Workers::default(),
        scratches: Scratches::default(),
        recorder: Recorder::new(start.index, start.clock),
        sockets: RefCell::default(),
        mirrors: Cell::new(0),
        udp: udp::Workplace::new(start.udp),
        questions: Cell::new(0),
        connections: Cell::new(0),
        connections_max: start.connections_max,
        draining_since: Cell::new(None),
        install_lag: Cell::new(Duration::ZERO),
        ticket_seed: start.ticket_seed,
        reports: start.reports,
    });
    race(pin!(install_each(&shard, &epochs)), pin!(tick(&shard))).await;
    shard.deadlines.abort_all();
    shard.report(Phase::Ended);
}

/// Installs the newest epoch whenever there is one.
async fn install_each<R: Runtime>(shard: &Rc<Shard<R>>, epochs: &Receiver<Published>) {
    loop {
        if let Some(published) = epochs.try_latest() {
            shard.install(published);
        }
        if epochs.wait::<R>().await.is_err() {
            return;
        }
    }
}

/// Deadlines, idle connections, listeners that could not open, reports, and the end of a drain.
async fn tick<R: Runtime>(shard: &Rc<Shard<R>>) {
    let mut count: u64 = 0;
    let mut quiet_ticks = 0;
    loop {
        R::sleep_until(R::now() + TICK).await;
        let now = R::now();
        count += 1;
        shard.deadlines.expire(now);
        shard.watches.tick();
        shard.tick_datagrams(now);
        let moved = shard.udp.moved();
        if count.is_multiple_of(TICKS_PER_SWEEP) {
            shard.sweep(now);
        }
        if count.is_multiple_of(TICKS_PER_REPORT) && shard.recorder.is_dirty() {
            shard.report(shard.phase());
        }
        if let Some(since) = shard.draining_since.get() {
            let limit = shard.installed().epoch.settings.drain.unwrap_or_default();
            let quiet = shard.connections.get() == 0 && !moved;
            quiet_ticks = if quiet { quiet_ticks + 1 } else { 0 };
            if quiet_ticks >= DRAIN_QUIET_TICKS || now.saturating_duration_since(since) >= limit {
                return;
            }
        }
    }
}

impl<R: Runtime> Shard<R> {
    /// The newest epoch; an exchange holds on to the one it began with.
    pub(crate) fn installed(&self) -> Rc<Installed> {
        Rc::clone(&self.installed.borrow())
    }

    /// Whether a drain has begun: no connection may be kept, whatever epoch its exchange began with.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining_since.get().is_some()
    }

    /// Counts a new client connection in; false when the shard is full.
    pub(crate) fn admit(&self) -> bool {
        let full = self.connections.get() >= self.connections_max;
        if !full {
            self.connections.set(self.connections.get() + 1);
            self.recorder.accepted();
        }
        !full
    }

    /// Counts a client connection out.
    pub(crate) fn connection_closed(&self) {
        self.connections.set(self.connections.get() - 1);
        self.recorder.touch();
    }

    fn install(self: &Rc<Self>, published: Published) {
        if self.recorder.is_dirty() {
            self.report(self.phase()); // Under the names that the old epoch gives.
        }
        let before = self.installed();
        let installed = Installed::new(published.epoch, &self.ticket_seed, Some(&before));
        self.local.borrow_mut().install(&installed.epoch);
        self.identities.borrow_mut().install(&installed.epoch);
        let since = self.draining_since.get().unwrap_or_else(R::now);
        self.draining_since.set(installed.epoch.settings.drain.map(|_| since));
        *self.installed.borrow_mut() = Rc::new(installed);
        install::sync_listeners(self);
        if self.is_draining() {
            self.streams.drain();
        }
        self.install_lag.set(R::now().saturating_duration_since(published.at));
        self.report(self.phase());
    }

    /// Ends UDP sessions that nothing moved in, and counts.
    fn tick_datagrams(&self, now: Instant) {
        let idle_max = self.installed().epoch.settings.timeouts.udp_idle;
        for socket in self.sockets.borrow().values() {
            if let Socket::Open { udp: Some(port), .. } = socket {
                port.tick(self, now, idle_max);
            }
        }
    }

    fn sweep(self: &Rc<Self>, now: Instant) {
        let installed = self.installed();
        let idle_max = installed.epoch.settings.timeouts.upstream_idle;
        {
            let local = self.local.borrow();
            let wanted =
                |address| local.endpoint(address).is_some_and(|endpoint| local.is_wanted(endpoint));
            let closed = self.pool.sweep(now, idle_max, wanted);
            self.multiplexed.sweep(wanted);
            self.workers.sweep();
            if closed {
                self.recorder.touch();
            }
        }
        let failed = self.sockets.borrow().values().any(|s| matches!(s, Socket::Failed(_)));
        if failed {
            install::sync_listeners(self);
            let healed = !self.sockets.borrow().values().any(|s| matches!(s, Socket::Failed(_)));
            if healed {
                self.report(self.phase());
            }
        }
    }

    fn phase(&self) -> Phase {
        if self.draining_since.get().is_some() { Phase::Draining } else { Phase::Serving }
    }

    fn report(&self, phase: Phase) {
        let installed = self.installed();
        self.reports.send(Report {
            shard: self.index,
            installed: installed.epoch.id,
            install_lag: self.install_lag.get(),
            phase,
            listeners: install::listen_states(self),
            connections: self.connections.get(),
            udp_sessions: self.udp.sessions() as u64,
            upstream_idle: self.pool.len(),
            activity: self.recorder.take(&installed),
        });
    }
}

const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_SWEEP: u64 = 10;
const TICKS_PER_REPORT: u64 = 3;
/// A draining shard ends after this many ticks without a connection and without a datagram.
const DRAIN_QUIET_TICKS: u32 = 2;
