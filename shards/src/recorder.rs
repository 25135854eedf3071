//! What a shard counts, without atomics: taken by the shard's tick as the increments of a report.
//!
//! Compiled out by `--no-default-features` (feature `metrics`), to measure what it costs.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use proxy::fault::Fault;
use proxy::http::RequestHead;

use crate::access_log::{self, Clock};
use crate::install::Installed;
use crate::report::{
    Activity, AuthEnd, Datagrams, Dropped, Http2Counts, ListenerRequests, ListenerStreams,
    MirrorEnd, Stage, StreamCounts,
};
use crate::stream::Record;
use crate::trace::Trace;
use crate::udp::Ended;

/// Counters and histograms since the last report.
#[derive(Debug)]
pub(crate) struct Recorder {
    shard: usize,
    clock: Clock,
    stages: RefCell<Box<Stages>>,
    /// By listener slot + 1; 0 counts requests that belong to no listener.
    requests: RefCell<Vec<[u64; 6]>>,
    /// By listener slot.
    streams: RefCell<Vec<StreamCounts>>,
    faults: RefCell<[u64; Fault::ALL.len()]>,
    accepted: Cell<u64>,
    refused: Cell<u64>,
    upstream_opened: Cell<u64>,
    upstream_reused: Cell<u64>,
    retries: Cell<u64>,
    mirrors: Cell<[u64; MirrorEnd::ALL.len()]>,
    auth: Cell<[u64; AuthEnd::ALL.len()]>,
    handshakes: Cell<(u64, u64)>,
    http2: Cell<Http2Counts>,
    datagrams: Cell<Datagrams>,
    access_log: RefCell<Vec<u8>>,
    access_log_dropped: Cell<u64>,
    dirty: Cell<bool>,
}

type Stages = [Histogram<u32>; Stage::ALL.len()];

impl Recorder {
    pub(crate) fn new(shard: usize, clock: Clock) -> Self {
        Self {
            shard,
            clock,
            stages: RefCell::new(empty_stages()),
            requests: RefCell::default(),
            streams: RefCell::default(),
            faults: RefCell::new([0; Fault::ALL.len()]),
            accepted: Cell::new(0),
            refused: Cell::new(0),
            upstream_opened: Cell::new(0),
            upstream_reused: Cell::new(0),
            retries: Cell::new(0),
            mirrors: Cell::default(),
            auth: Cell::default(),
            handshakes: Cell::new((0, 0)),
            http2: Cell::default(),
            datagrams: Cell::default(),
            access_log: RefCell::default(),
            access_log_dropped: Cell::new(0),
            dirty: Cell::new(false),
        }
    }

    /// One exchange is over.
    pub(crate) fn exchange(
        &self,
        trace: &Trace<'_>,
        now: Instant,
        head: &RequestHead,
        client: &str,
        installed: &Installed,
    ) {
        if !METRICS {
            return;
        }
        self.dirty.set(true);
        self.record_stages(trace, now);
        self.record_request(trace);
        if let Some(fault) = trace.fault {
            self.fault(fault);
        }
        let (shard, epoch) = (self.shard, installed.epoch.id);
        self.log(installed, |log| {
            let line = access_log::Line { shard, epoch, client, head };
            line.write(trace, self.clock, now, log);
        });
    }

    /// One stream is over.
    pub(crate) fn stream(&self, record: &Record, now: Instant, installed: &Installed) {
        if !METRICS {
            return;
        }
        self.dirty.set(true);
        if let Some(labels) = &record.labels {
            self.stream_counts(labels.slot, |counts| {
                counts.ended += 1;
                counts.lasted += now.saturating_duration_since(record.received);
            });
        }
        if let Some(fault) = record.fault {
            self.fault(fault);
        }
        let (shard, epoch) = (self.shard, installed.epoch.id);
        self.log(installed, |log| {
            access_log::write_stream(record, (shard, epoch), self.clock, now, log);
        });
    }

    /// One UDP session is over.
    pub(crate) fn session(&self, session: &Ended<'_>, now: Instant, installed: &Installed) {
        let (shard, epoch) = (self.shard, installed.epoch.id);
        self.log(installed, |log| {
            access_log::write_session(session, (shard, epoch), self.clock, now, log);
        });
    }

    /// Bytes of a stream moved, from the client or to it.
    pub(crate) fn stream_moved(&self, slot: u32, from_client: bool, length: usize) {
        if METRICS {
            self.dirty.set(true);
            self.stream_counts(slot, |counts| {
                let bytes = if from_client { &mut counts.bytes_in } else { &mut counts.bytes_out };
                *bytes += length as u64;
            });
        }
    }

    fn stream_counts(&self, slot: u32, change: impl FnOnce(&mut StreamCounts)) {
        let slot = slot as usize;
        let mut streams = self.streams.borrow_mut();
        if streams.len() <= slot {
            streams.resize(slot + 1, StreamCounts::default());
        }
        change(&mut streams[slot]);
    }

    fn log(&self, installed: &Installed, write: impl FnOnce(&mut Vec<u8>)) {
        if installed.epoch.settings.access_log {
            let mut log = self.access_log.borrow_mut();
            if log.len() < ACCESS_LOG_BYTES_MAX {
                write(&mut log);
            } else {
                bump(&self.access_log_dropped);
            }
        }
    }

    fn record_stages(&self, trace: &Trace<'_>, now: Instant) {
        let mut stages = self.stages.borrow_mut();
        let mut put = |stage: Stage, from: Option<Instant>, to: Option<Instant>| {
            if let (Some(from), Some(to)) = (from, to) {
                stages[stage as usize].saturating_record(micros(to - from));
            }
        };
        put(Stage::Connect, trace.routed, trace.connected);
        put(Stage::FirstByte, trace.connected, trace.first_byte);
        put(Stage::Relay, trace.first_byte, Some(now));
        put(Stage::Total, Some(trace.received), Some(now));
        for (stage, time) in [(Stage::Route, trace.routing()), (Stage::Auth, trace.auth)] {
            if let Some(time) = time {
                stages[stage as usize].saturating_record(micros(time));
            }
        }
    }

    fn record_request(&self, trace: &Trace<'_>) {
        let slot = trace.listener.map_or(0, |listener| listener.slot as usize + 1);
        let class = match trace.status / 100 {
            class @ 1..=5 => usize::from(class) - 1,
            _ => 5,
        };
        let mut requests = self.requests.borrow_mut();
        if requests.len() <= slot {
            requests.resize(slot + 1, [0; 6]);
        }
        requests[slot][class] += 1;
    }

    /// An end of our own making.
    pub(crate) fn fault(&self, fault: Fault) {
        let kind = std::mem::discriminant(&fault);
        let index = Fault::ALL.iter().position(|known| std::mem::discriminant(known) == kind);
        if let Some(index) = index {
            self.faults.borrow_mut()[index] += 1;
        }
        self.dirty.set(true);
    }

    pub(crate) fn accepted(&self) {
        self.count(&self.accepted);
    }

    pub(crate) fn refused(&self) {
        self.count(&self.refused);
    }

    pub(crate) fn upstream_opened(&self) {
        self.count(&self.upstream_opened);
    }

    pub(crate) fn upstream_reused(&self) {
        self.count(&self.upstream_reused);
    }

    pub(crate) fn retry(&self) {
        self.count(&self.retries);
    }

    /// What became of one copy of a request.
    pub(crate) fn mirror(&self, end: MirrorEnd) {
        let mut counts = self.mirrors.get();
        counts[end as usize] += 1;
        self.mirrors.set(counts);
        self.dirty.set(true);
    }

    /// How the filters of a rule or listener ended for one request.
    pub(crate) fn auth(&self, end: AuthEnd) {
        let mut counts = self.auth.get();
        counts[end as usize] += 1;
        self.auth.set(counts);
        self.dirty.set(true);
    }

    /// What came of some input on a connection of HTTP/2.
    pub(crate) fn http2(&self, more: &Http2Counts) {
        if METRICS && *more != Http2Counts::default() {
            let mut counts = self.http2.get();
            counts.add(more);
            self.http2.set(counts);
            self.dirty.set(true);
        }
    }

    pub(crate) fn handshake(&self, done: bool) {
        let (good, bad) = self.handshakes.get();
        self.handshakes.set(if done { (good + 1, bad) } else { (good, bad + 1) });
        self.dirty.set(true);
    }

    /// Whether anything happened since the last report.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.get()
    }

    /// A gauge moved, so that there is something to report.
    pub(crate) fn touch(&self) {
        self.dirty.set(true);
    }

    /// Takes everything, leaving zeros. Listener names come from `installed`.
    pub(crate) fn take(&self, installed: &Installed) -> Activity {
        self.dirty.set(false);
        let active = !self.stages.borrow()[Stage::Total as usize].is_empty();
        Activity {
            stages: active.then(|| self.stages.replace(empty_stages())),
            requests: self.take_requests(installed),
            streams: self.take_streams(installed),
            faults: self.take_faults(),
            accepted: self.accepted.take(),
            refused: self.refused.take(),
            upstream_opened: self.upstream_opened.take(),
            upstream_reused: self.upstream_reused.take(),
            retries: self.retries.take(),
            mirrors: self.mirrors.take(),
            auth: self.auth.take(),
            tls_handshakes: self.handshakes.take(),
            http2: self.http2.take(),
            datagrams: self.datagrams.take(),
            access_log: self.access_log.take(),
            access_log_dropped: self.access_log_dropped.take(),
        }
    }

    fn take_requests(&self, installed: &Installed) -> Vec<ListenerRequests> {
        let mut counts = self.requests.borrow_mut();
        let mut out = Vec::new();
        let mut take = |slot: usize, name: &str| {
            if let Some(by_class) = counts.get_mut(slot).filter(|by_class| **by_class != [0; 6]) {
                let by_class = std::mem::take(by_class);
                out.push(ListenerRequests { listener: name.into(), by_class });
            }
        };
        take(0, "-");
        for listener in installed.epoch.ports.iter().flat_map(|port| &port.listeners) {
            take(listener.slot as usize + 1, &listener.name);
        }
        out
    }

    /// What a listener did that is gone by now is nobody's.
    fn take_streams(&self, installed: &Installed) -> Vec<ListenerStreams> {
        let mut all = self.streams.borrow_mut();
        let mut out = Vec::new();
        for listener in installed.epoch.ports.iter().flat_map(|port| &port.listeners) {
            let counts = all.get_mut(listener.slot as usize).map(std::mem::take);
            if let Some(counts) = counts.filter(|counts| *counts != StreamCounts::default()) {
                let listener = listener.name.clone();
                out.push(ListenerStreams { listener, counts });
            }
        }
        all.fill(StreamCounts::default());
        out
    }

    fn take_faults(&self) -> Vec<(&'static str, u64)> {
        let counts = self.faults.replace([0; Fault::ALL.len()]);
        let named = Fault::ALL.iter().zip(counts).filter(|(_, count)| *count > 0);
        named.map(|(fault, count)| (fault.code(), count)).collect()
    }

    /// The kernel had no room for so many datagrams.
    pub(crate) fn overrun(&self, count: u32) {
        if count > 0 {
            let mut counts = Datagrams::default();
            counts.dropped[Dropped::Overrun as usize] = count.into();
            self.datagrams(&counts);
        }
    }

    /// A UDP port moved datagrams.
    pub(crate) fn datagrams(&self, counts: &Datagrams) {
        if METRICS {
            let mut sums = self.datagrams.get();
            sums.add(counts);
            self.datagrams.set(sums);
            self.dirty.set(true);
        }
    }

    fn count(&self, counter: &Cell<u64>) {
        if METRICS {
            bump(counter);
            self.dirty.set(true);
        }
    }
}

fn bump(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn empty_stages() -> Box<Stages> {
    let histogram = Histogram::new_with_bounds(1, STAGE_MICROS_MAX, 3)
        .expect("the bounds are constants in range");
    Box::new(std::array::from_fn(|_| histogram.clone()))
}

const METRICS: bool = cfg!(feature = "metrics");
/// Longer stages count as this long (60 s).
const STAGE_MICROS_MAX: u64 = 60_000_000;
const ACCESS_LOG_BYTES_MAX: usize = 4 * 1024 * 1024;
