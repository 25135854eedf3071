//! The load generator: an open or closed loop on one thread of one `runtime` backend.
//!
//! Called by `bench run` and, in this process, by nothing else: other commands start it as a child,
//! so that its CPU time and its core are its own. Invariant: a run always ends, at the latest when
//! the request time-out has passed after the last due request.

mod answer;
mod client;
mod datagram;
mod echo;
mod engine;
mod http1;
mod http2;
mod kept;
pub(crate) mod link;
pub(crate) mod record;
pub(crate) mod schedule;
pub(crate) mod target;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use runtime::{Options, Runtime};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

pub(crate) use self::answer::Expected;
use self::client::{Client, Exchange, Orders, Run};
use self::datagram::{Datagrams, Hub};
use self::echo::Echo;
use self::engine::Engine;
use self::http1::Http1;
use self::http2::{Channel, Stream};
pub(crate) use self::link::client_config;
use self::record::Record;
use self::schedule::{Arrival, Schedule};
use self::target::Target;
use crate::protocol::Protocol;

/// A run as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// The URLs.
    pub(crate) targets: Vec<Target>,
    /// Requests a second and their spacing; unset is the closed loop.
    pub(crate) open: Option<(f64, Arrival)>,
    /// Connections.
    pub(crate) connections: usize,
    /// Requests at once on each.
    pub(crate) streams: usize,
    /// TLS sessions are resumed.
    pub(crate) resume: bool,
    /// Not measured, at the start.
    pub(crate) warmup: Duration,
    /// Measured.
    pub(crate) duration: Duration,
    /// A request may take so long from its send.
    pub(crate) timeout: Duration,
    /// A new connection for every request.
    pub(crate) new_connection: bool,
    /// What a right answer is.
    pub(crate) expected: Expected,
    /// Of the schedule.
    pub(crate) seed: u64,
    /// Keep every second's histogram.
    pub(crate) keep_intervals: bool,
}

/// Runs `plan` to its end on backend `R`.
pub(crate) fn run<R: Runtime>(plan: &Plan, options: &Options) -> anyhow::Result<Record> {
    let tls = match plan.targets.iter().any(|target| target.tls.is_some()) {
        true => Some(client_config(plan.protocol, plan.resume)?),
        false => None,
    };
    let orders = Rc::new(Orders {
        protocol: plan.protocol,
        targets: plan.targets.clone(),
        tls,
        expected: plan.expected.clone(),
        new_connection: plan.new_connection,
    });
    let engine = Rc::new(RefCell::new(prepare(plan)));
    let run = Run { orders, engine: Rc::clone(&engine) };
    R::block_on(options, || conduct::<R>(plan, run))??;
    let blank = Record::new((0, 0), false);
    let record = std::mem::replace(&mut engine.borrow_mut().record, blank);
    Ok(record)
}

fn prepare(plan: &Plan) -> Engine {
    let warmup = plan.warmup.as_nanos() as u64;
    let end = (plan.warmup + plan.duration).as_nanos() as u64;
    let schedule = plan.open.map(|(rate, arrival)| Schedule::new(rate, arrival, end, plan.seed));
    let record = Record::new((warmup, end), plan.keep_intervals);
    Engine::new(schedule, &plan.targets, plan.slots(), end, record)
}

/// Clients may take so long to connect before the start.
const SETTLE_MAX: Duration = Duration::from_secs(10);

async fn conduct<R: Runtime>(plan: &Plan, run: Run) -> anyhow::Result<()> {
    start::<R>(plan, &run)?;
    let engine = run.engine;
    let limit = R::now() + SETTLE_MAX;
    while engine.borrow().settled < plan.slots() && R::now() < limit {
        R::sleep_until(R::now() + Duration::from_millis(2)).await;
    }
    engine.borrow_mut().begin();
    R::spawn(watch::<R>(Rc::clone(&engine), plan.timeout));
    if plan.open.is_some() {
        dispatch::<R>(&engine).await?;
    } else {
        R::sleep_until(R::now() + plan.warmup + plan.duration).await;
    }
    drain::<R>(&engine, plan.timeout).await;
    let mut engine = engine.borrow_mut();
    let now = engine.now();
    engine.record.turn(now);
    Ok(())
}

impl Plan {
    /// Requests that may be under way at once.
    fn slots(&self) -> usize {
        self.connections * self.streams
    }
}

/// Starts a client for every slot.
fn start<R: Runtime>(plan: &Plan, run: &Run) -> anyhow::Result<()> {
    match plan.protocol {
        Protocol::Http1 => {
            clients::<R, _>(plan, run, |index| Http1::<R>::new(index, run.clone()));
        }
        Protocol::Tcp => clients::<R, _>(plan, run, |index| Echo::<R>::new(index, run.clone())),
        Protocol::Http2 | Protocol::Grpc => {
            let channels: Vec<_> =
                (0..plan.connections).map(|_| Channel::new(run.clone())).collect();
            for channel in &channels {
                R::spawn(Rc::clone(channel).keep::<R>());
            }
            clients::<R, _>(plan, run, |index| {
                Stream::<R>::new(index, Rc::clone(&channels[index % plan.connections]))
            });
        }
        Protocol::Udp => {
            let hub = Hub::new(run.clone(), plan.connections, plan.slots())
                .context("cannot open UDP sockets")?;
            let receiver = Rc::clone(&hub);
            R::spawn(async move {
                if let Err(error) = receiver.receive::<R>().await {
                    eprintln!("error: receiving datagrams: {error:#}");
                }
            });
            clients::<R, _>(plan, run, |index| {
                Datagrams::new(index, Rc::clone(&hub), index % plan.connections)
            });
        }
    }
    Ok(())
}

fn clients<R: Runtime, X: Exchange + 'static>(
    plan: &Plan,
    run: &Run,
    exchange: impl Fn(usize) -> X,
) {
    for index in 0..plan.slots() {
        R::spawn(Client { index, run: run.clone(), exchange: exchange(index) }.run());
    }
}

/// Hands out requests as they become due, woken by a timerfd to the microsecond.
async fn dispatch<R: Runtime>(engine: &RefCell<Engine>) -> anyhow::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)
        .context("cannot create a timer")?;
    loop {
        let wait = {
            let mut engine = engine.borrow_mut();
            let now = engine.now();
            match engine.pump(now) {
                Some(next) => next.saturating_sub(engine.now()).max(1),
                None => return Ok(()),
            }
        };
        let value = Timespec {
            tv_sec: (wait / 1_000_000_000).cast_signed(),
            tv_nsec: (wait % 1_000_000_000).cast_signed(),
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
        R::readable(std::os::fd::AsFd::as_fd(&timer)).await?;
        // Setting it again clears it: no read needed.
    }
}

/// Waits for what is under way, at most `timeout`; the rest is given up.
async fn drain<R: Runtime>(engine: &RefCell<Engine>, timeout: Duration) {
    engine.borrow_mut().finish();
    let limit = R::now() + timeout;
    while engine.borrow().active > 0 && R::now() < limit {
        R::sleep_until(R::now() + Duration::from_millis(2)).await;
    }
    engine.borrow_mut().abandon();
    let limit = R::now() + Duration::from_millis(500);
    while engine.borrow().active > 0 && R::now() < limit {
        R::sleep_until(R::now() + Duration::from_millis(2)).await;
    }
}

/// Ends requests that take too long, and the seconds of the interval log.
async fn watch<R: Runtime>(engine: Rc<RefCell<Engine>>, timeout: Duration) {
    const TICK: Duration = Duration::from_millis(50);
    let timeout = timeout.as_nanos() as u64;
    let mut turned = 0;
    loop {
        R::sleep_until(R::now() + TICK).await;
        let mut engine = engine.borrow_mut();
        let now = engine.now();
        if now - turned >= 1_000_000_000 {
            engine.record.turn(now);
            turned = now;
        }
        engine.give_up(now.saturating_sub(timeout));
    }
}
