//! `/metrics`: what the state says, in the text format of Prometheus, through a custom collector.
//!
//! It keeps no numbers of its own: every scrape is a view of [`State`]. The admin server is the only
//! caller. Invariants: every family that is collected stands in [`catalog::ALL`] with the same type
//! and labels, and up to eight shards give at most [`SERIES_MAX`] series.

pub mod catalog;
pub mod process;

use std::time::UNIX_EPOCH;

use hdrhistogram::Histogram;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as Buckets, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Registry, TextEncoder};

use self::catalog::{Entry, Kind};
use self::process::Process;
use crate::report::{AuthEnd, Direction, Dropped, MirrorEnd, Stage};
use crate::state::{Life, ShardState, Shared, State};

/// Series of one scrape with up to eight shards and any number of listeners and routes.
pub const SERIES_MAX: usize = 640;

/// Upper bounds of the duration buckets (seconds).
pub const BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Names of the classes of `ListenerRequests::by_class`.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// Everything a scrape shows.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

#[derive(Debug)]
struct View {
    state: Shared,
    descriptions: Vec<Desc>,
}

impl Metrics {
    /// Metrics of `state`.
    #[must_use]
    pub fn new(state: Shared) -> Self {
        let registry = Registry::new();
        let descriptions = catalog::ALL.iter().map(Entry::describe).collect();
        registry
            .register(Box::new(View { state, descriptions }))
            .expect("the catalog names every metric once");
        Self { registry }
    }

    /// One scrape, in the text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        TextEncoder::new()
            .encode_utf8(&self.registry.gather(), &mut out)
            .expect("families without metrics are never gathered");
        out
    }
}

impl Collector for View {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let process = Process::read();
        let state = self.state.lock();
        catalog::ALL
            .iter()
            .filter_map(|entry| {
                let metrics = samples(entry, &state, &process);
                (!metrics.is_empty()).then(|| family(entry, metrics))
            })
            .collect()
    }
}

fn family(entry: &Entry, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(entry.name.to_owned());
    family.set_help(entry.help.to_owned());
    family.set_field_type(match entry.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(metrics);
    family
}

/// The samples of one entry.
fn samples(entry: &Entry, state: &State, process: &Process) -> Vec<Metric> {
    use catalog::What as W;
    let one = |value: f64| vec![entry.sample(&[], value)];
    match entry.what {
        W::BuildInfo => vec![entry.sample(&[env!("CARGO_PKG_VERSION")], 1.0)],
        W::RuntimeInfo => {
            let about = &state.about;
            vec![entry.sample(&[about.runtime, &about.runtime_reason], 1.0)]
        }
        W::Ready => one(if state.life == Life::Ready { 1.0 } else { 0.0 }),
        W::Problems => one(count(state.problems.len() as u64)),
        W::Gateways => one(count(state.gateways as u64)),
        W::EpochPublished => one(count(state.published)),
        W::StatusWrites => {
            let writes = state.status_writes;
            vec![
                entry.sample(&["written"], count(writes.written)),
                entry.sample(&["conflict"], count(writes.conflicts)),
                entry.sample(&["failed"], count(writes.failed)),
            ]
        }
        W::Watches(read) => {
            let watches = state.watches.all().into_iter();
            watches.map(|(kind, watch)| entry.sample(&[kind.as_str()], read(&watch))).collect()
        }
        W::Shard(read) => per_shard(entry, state, read),
        W::TlsHandshakes => tls(entry, state),
        W::Datagrams(read) => {
            let sum = |direction| sum(state, |s| read(&s.counts.datagrams, direction));
            let all = Direction::ALL.into_iter();
            all.map(|direction| entry.sample(&[direction.name()], sum(direction))).collect()
        }
        W::DatagramsDropped => datagrams_dropped(entry, state),
        W::Mirrors => mirrors(entry, state),
        W::Auth => auth(entry, state),
        W::AccessLogDropped => one(count(
            state.access_log_dropped
                + state.shards.iter().map(|s| s.counts.access_log_dropped).sum::<u64>(),
        )),
        W::Requests => requests(entry, state),
        W::Streams(read) => {
            let streams = state.streams.iter();
            streams.map(|(listener, counts)| entry.sample(&[listener], read(counts))).collect()
        }
        W::StreamBytes => stream_bytes(entry, state),
        W::Faults => faults(entry, state, |_| true),
        W::UpstreamFailures => faults(entry, state, catalog::is_upstream_failure),
        W::RequestDuration => (0..state.shards.len())
            .filter_map(|shard| {
                let histogram = state.histograms.total(shard, Stage::Total)?;
                Some(entry.histogram(&[&shard.to_string()], histogram))
            })
            .collect(),
        W::StageDuration => Stage::ALL
            .into_iter()
            .filter(|stage| *stage != Stage::Total)
            .map(|stage| entry.histogram(&[stage.name()], &state.histograms.merged(stage)))
            .collect(),
        W::ProcessCpu => one(process.cpu_seconds),
        W::ProcessResident => one(count(process.resident_bytes)),
        W::ProcessFds => one(count(process.open_fds)),
        W::ProcessFdsMax => one(count(process.max_fds)),
        W::ProcessStart => {
            one(state.about.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
        }
    }
}

fn per_shard(entry: &Entry, state: &State, read: fn(&ShardState) -> f64) -> Vec<Metric> {
    let shards = state.shards.iter().enumerate();
    shards.map(|(i, shard)| entry.sample(&[&i.to_string()], read(shard))).collect()
}

fn sum(state: &State, read: impl Fn(&ShardState) -> u64) -> f64 {
    count(state.shards.iter().map(read).sum())
}

fn tls(entry: &Entry, state: &State) -> Vec<Metric> {
    let sum = |read: fn(&ShardState) -> u64| count(state.shards.iter().map(read).sum());
    vec![
        entry.sample(&["completed"], sum(|s| s.counts.tls_completed)),
        entry.sample(&["failed"], sum(|s| s.counts.tls_failed)),
    ]
}

fn datagrams_dropped(entry: &Entry, state: &State) -> Vec<Metric> {
    let sum = |why| sum(state, |s| s.counts.datagrams.dropped[why as usize]);
    let all = Dropped::ALL.into_iter();
    all.map(|why| entry.sample(&[why.name()], sum(why))).collect()
}

fn auth(entry: &Entry, state: &State) -> Vec<Metric> {
    let sum = |end: AuthEnd| state.shards.iter().map(|s| s.counts.auth[end as usize]).sum();
    let one = |end: AuthEnd| entry.sample(&[end.name()], count(sum(end)));
    AuthEnd::ALL.into_iter().map(one).collect()
}

fn mirrors(entry: &Entry, state: &State) -> Vec<Metric> {
    let sum = |end: MirrorEnd| state.shards.iter().map(|s| s.counts.mirrors[end as usize]).sum();
    let one = |end: MirrorEnd| entry.sample(&[end.name()], count(sum(end)));
    MirrorEnd::ALL.into_iter().map(one).collect()
}

fn requests(entry: &Entry, state: &State) -> Vec<Metric> {
    let mut out = Vec::new();
    for (listener, by_class) in &state.requests {
        for (class, n) in CLASSES.iter().zip(by_class) {
            // A class that never happened would only cost a series.
            if *n > 0 {
                out.push(entry.sample(&[listener, class], count(*n)));
            }
        }
    }
    out
}

fn stream_bytes(entry: &Entry, state: &State) -> Vec<Metric> {
    let directions = state.streams.iter().flat_map(|(listener, counts)| {
        [(listener, "in", counts.bytes_in), (listener, "out", counts.bytes_out)]
    });
    directions
        .map(|(listener, direction, n)| entry.sample(&[listener, direction], count(n)))
        .collect()
}

fn faults(entry: &Entry, state: &State, keep: fn(&str) -> bool) -> Vec<Metric> {
    let faults = state.faults.iter().filter(|(code, _)| keep(code));
    faults.map(|(code, n)| entry.sample(&[code], count(*n))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
pub(crate) fn count(n: u64) -> f64 {
    n as f64
}

impl Entry {
    fn describe(&self) -> Desc {
        let labels = self.labels.iter().map(|&label| label.to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, Default::default())
            .expect("the catalog holds valid names")
    }

    fn metric(&self, labels: &[&str]) -> Metric {
        debug_assert_eq!(labels.len(), self.labels.len(), "{}", self.name);
        let pairs = self.labels.iter().zip(labels);
        Metric::from_label(
            pairs
                .map(|(name, value)| {
                    let mut pair = LabelPair::default();
                    pair.set_name((*name).to_owned());
                    pair.set_value((*value).to_owned());
                    pair
                })
                .collect(),
        )
    }

    fn sample(&self, labels: &[&str], value: f64) -> Metric {
        let mut metric = self.metric(labels);
        match self.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        metric
    }

    fn histogram(&self, labels: &[&str], micros: &Histogram<u64>) -> Metric {
        let mut metric = self.metric(labels);
        metric.set_histogram(buckets(micros));
        metric
    }
}

/// Fixed buckets of an HDR histogram of microseconds. A value counts where its HDR bucket begins, so
/// the error is at most one in a thousand; the sum has the same precision.
fn buckets(micros: &Histogram<u64>) -> Buckets {
    let mut cumulative = [0; BUCKETS.len()];
    let mut sum = 0.0;
    for value in micros.iter_recorded() {
        let seconds = count(value.value_iterated_to()) / 1e6;
        sum += seconds * count(value.count_at_value());
        let at = BUCKETS.partition_point(|bound| *bound < seconds);
        if let Some(slot) = cumulative.get_mut(at) {
            *slot += value.count_at_value();
        }
    }
    let mut below = 0;
    let mut out = Vec::with_capacity(BUCKETS.len());
    for (bound, here) in BUCKETS.into_iter().zip(cumulative) {
        below += here;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(below);
        out.push(bucket);
    }
    let mut buckets = Buckets::default();
    buckets.set_bucket(out);
    buckets.set_sample_count(micros.len());
    buckets.set_sample_sum(sum);
    buckets
}
