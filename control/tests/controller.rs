//! The control loop with a scripted source, a recording sink and scripted reports.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control::access_log::{AccessLog, Target};
use control::api::Name;
use control::controller::{Controller, EpochSink, Inbox, Order, Outcome, Parts};
use control::report::{Phase, Report};
use control::source::{Built, Source};
use control::state::Shared;
use control::translate::Statuses;
use control::translate::status::GatewayStatus;
use proxy::epoch::{Epoch, Settings};
use proxy::ir::{Ir, Port, Protocol};
use support::{report, state};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

struct Script {
    changes: UnboundedReceiver<u16>,
    port: u16,
    rereads: Arc<Mutex<u32>>,
}

impl Source for Script {
    async fn changed(&mut self) {
        match self.changes.recv().await {
            Some(port) => self.port = port,
            None => std::future::pending().await,
        }
    }

    fn reread(&mut self) {
        *self.rereads.lock().unwrap() += 1;
    }

    fn build(&mut self) -> Option<Built> {
        let port = Port {
            address: None,
            is_anywhere: false,
            port: self.port,
            protocol: Protocol::Http,
            proxy_protocol: None,
            listeners: vec![],
        };
        let ports = if self.port == 0 { vec![] } else { vec![port] };
        Some(Built {
            ir: Ir { ports, ..Ir::default() },
            statuses: statuses(self.port),
            problems: vec![],
            gateways: 1,
        })
    }
}

/// Statuses that tell which port they belong to.
fn statuses(port: u16) -> Arc<Statuses> {
    let gateway = GatewayStatus {
        addresses: vec![],
        attached_listener_sets: 0,
        conditions: vec![],
        listeners: vec![],
    };
    let gateways = [(Name::new("", &port.to_string()), gateway)].into();
    Arc::new(Statuses { gateways, ..Statuses::default() })
}

#[derive(Clone, Default)]
struct Published(Arc<Mutex<Vec<Arc<Epoch>>>>);

impl EpochSink for Published {
    fn publish(&self, epoch: Arc<Epoch>) {
        self.0.lock().unwrap().push(epoch);
    }
}

struct Reports(UnboundedReceiver<Report>);

impl Inbox for Reports {
    async fn next(&mut self) -> Report {
        match self.0.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }
}

struct Bench {
    changes: UnboundedSender<u16>,
    reports: UnboundedSender<Report>,
    orders: UnboundedSender<Order>,
    published: Published,
    state: Shared,
    rereads: Arc<Mutex<u32>>,
    ready: Arc<Mutex<u32>>,
    running: JoinHandle<Outcome>,
}

fn start(local: &tokio::task::LocalSet, shards: usize, drain: Duration) -> Bench {
    let (changes, changed) = unbounded_channel();
    let (reports, reported) = unbounded_channel();
    let (orders, ordered) = unbounded_channel();
    let published = Published::default();
    let (rereads, ready): (Arc<Mutex<u32>>, Arc<Mutex<u32>>) = Default::default();
    let state = state(shards);
    let controller = Controller::new(Parts {
        source: Script { changes: changed, port: 80, rereads: Arc::clone(&rereads) },
        sink: published.clone(),
        inbox: Reports(reported),
        orders: ordered,
        state: state.clone(),
        settings: Settings::default(),
        drain_timeout: drain,
        access_log: AccessLog::start(&Target::Off).unwrap(),
        compile: Epoch::compile,
        installed: tokio::sync::watch::Sender::default(),
    });
    let told = Arc::clone(&ready);
    let running = local.spawn_local(controller.run(move |_| *told.lock().unwrap() += 1));
    Bench { changes, reports, orders, published, state, rereads, ready, running }
}

/// Lets the loop take in everything that was sent.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

impl Bench {
    fn ids(&self) -> Vec<u64> {
        self.published.0.lock().unwrap().iter().map(|epoch| epoch.id).collect()
    }

    async fn report(&self, shard: usize, installed: u64, phase: Phase) {
        self.reports.send(Report { phase, ..report(shard, installed) }).unwrap();
        settle().await;
    }
}

fn test<F: Future>(body: impl FnOnce(&tokio::task::LocalSet) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let body = body(&local);
    runtime.block_on(local.run_until(body));
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn ready_once_every_shard_runs_the_first_epoch_and_statuses_follow_then() {
    test(|local| {
        let bench = start(local, 2, LONG);
        async move {
            settle().await;
            assert_eq!(bench.ids(), [1]);
            bench.report(0, 1, Phase::Serving).await;
            let why = bench.state.lock().ready().unwrap_err();
            assert!(why.contains("shard 1"), "{why}");
            assert_eq!(bench.state.lock().statuses, Arc::default());
            bench.report(1, 1, Phase::Serving).await;
            assert_eq!(bench.state.lock().ready(), Ok(()));
            assert_eq!(bench.state.lock().statuses, statuses(80));
            bench.changes.send(81).unwrap();
            settle().await;
            assert_eq!(bench.ids(), [1, 2]);
            assert_eq!(bench.state.lock().statuses, statuses(80));
            bench.report(0, 2, Phase::Serving).await;
            bench.report(1, 2, Phase::Serving).await;
            assert_eq!(bench.state.lock().statuses, statuses(81));
            assert_eq!(*bench.ready.lock().unwrap(), 1);
        }
    });
}

#[test]
fn an_equal_configuration_makes_no_epoch_and_sighup_looks_again() {
    test(|local| {
        let bench = start(local, 1, LONG);
        async move {
            bench.changes.send(80).unwrap();
            bench.orders.send(Order::Reread).unwrap();
            settle().await;
            assert_eq!(bench.ids(), [1]);
            assert_eq!(*bench.rereads.lock().unwrap(), 1);
        }
    });
}

#[test]
fn an_empty_configuration_is_published_too() {
    test(|local| {
        let bench = start(local, 1, LONG);
        async move {
            bench.changes.send(0).unwrap();
            settle().await;
            assert_eq!(bench.ids(), [1, 2]);
            assert!(bench.published.0.lock().unwrap()[1].ports.is_empty());
        }
    });
}

#[test]
fn a_drain_is_published_fails_readiness_and_ends_with_the_last_shard() {
    test(|local| {
        let bench = start(local, 2, LONG);
        async move {
            settle().await;
            bench.report(0, 1, Phase::Serving).await;
            bench.report(1, 1, Phase::Serving).await;
            bench.orders.send(Order::Drain).unwrap();
            settle().await;
            assert_eq!(bench.published.0.lock().unwrap()[1].settings.drain, Some(LONG));
            assert_eq!(bench.state.lock().ready(), Err("draining".to_owned()));
            bench.report(0, 2, Phase::Ended).await;
            assert!(!bench.running.is_finished());
            bench.report(1, 2, Phase::Ended).await;
            assert_eq!(bench.running.await.unwrap(), Outcome::Drained);
        }
    });
}

#[test]
fn a_second_signal_ends_at_once() {
    test(|local| {
        let bench = start(local, 1, LONG);
        async move {
            bench.orders.send(Order::Drain).unwrap();
            bench.orders.send(Order::Drain).unwrap();
            assert_eq!(bench.running.await.unwrap(), Outcome::Interrupted);
        }
    });
}

#[test]
fn a_drain_that_a_shard_does_not_finish_ends_at_the_limit() {
    test(|local| {
        let bench = start(local, 1, Duration::from_millis(1));
        async move {
            bench.orders.send(Order::Drain).unwrap();
            assert_eq!(bench.running.await.unwrap(), Outcome::TimedOut);
        }
    });
}

#[test]
fn a_shard_that_ends_unasked_ends_the_loop() {
    test(|local| {
        let bench = start(local, 2, LONG);
        async move {
            settle().await;
            bench.report(1, 1, Phase::Ended).await;
            assert_eq!(bench.running.await.unwrap(), Outcome::ShardLost(1));
        }
    });
}
