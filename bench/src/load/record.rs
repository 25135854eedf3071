//! What a run counts: latency, its own lag, errors by kind.
//!
//! Called by `load::engine` on the generator's one thread. Invariant: recording a request touches
//! two histograms and allocates nothing; warm-up requests count only in `completed_total`.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize};

/// The longest latency that is told apart.
const LATENCY_MAX: Duration = Duration::from_secs(120);

/// Three digits from 64 ns up.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, LATENCY_MAX.as_nanos() as u64, 3)
        .expect("the bounds and digits are valid")
}

/// How a request failed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The connection ended before the answer was complete.
    Closed,
    /// The answer is not HTTP.
    Malformed,
    /// Another status than expected.
    Status,
    /// Another body length than expected.
    Length,
    /// Two fields that one configuration sets disagree.
    HalfChanged,
    /// No complete answer in time.
    Timeout,
    /// Never sent: too many were waiting.
    Unsent,
    /// A status that the run was told to expect now and then.
    Tolerated,
}

impl Failure {
    /// Every kind, in display order.
    pub(crate) const ALL: [Self; 10] = [
        Self::Connect,
        Self::Tls,
        Self::Closed,
        Self::Malformed,
        Self::Status,
        Self::Length,
        Self::HalfChanged,
        Self::Timeout,
        Self::Unsent,
        Self::Tolerated,
    ];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::Status => "status",
            Self::Length => "length",
            Self::HalfChanged => "half-changed",
            Self::Timeout => "timeout",
            Self::Unsent => "unsent",
            Self::Tolerated => "tolerated",
        }
    }
}

/// One second of a run, serialised for the interval log.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// Since the start of the run.
    pub(crate) start: Duration,
    /// How long.
    pub(crate) length: Duration,
    /// Its longest latency, in nanoseconds.
    pub(crate) max: u64,
    /// V2, not compressed.
    pub(crate) bytes: Vec<u8>,
}

/// The counters of a run.
#[derive(Debug)]
pub(crate) struct Record {
    /// From the intended send time to the last byte of the answer.
    pub(crate) latency: Histogram<u64>,
    /// From the intended send time to the send, when a connection was free: the generator's fault.
    pub(crate) lag: Histogram<u64>,
    interval: Histogram<u64>,
    interval_start: u64,
    keep_intervals: bool,
    /// The seconds of the run.
    pub(crate) intervals: Vec<Interval>,
    /// Correct answers to requests that were due in the measured window.
    pub(crate) completed: u64,
    /// Correct answers that arrived within the measured window.
    pub(crate) in_window: u64,
    /// Failures within the measured window.
    pub(crate) failed_in_window: u64,
    /// Correct answers, the warm-up included.
    pub(crate) completed_total: u64,
    /// Requests that were due in the measured window.
    pub(crate) scheduled: u64,
    /// Body bytes in the measured window.
    pub(crate) bytes: u64,
    /// Connections opened.
    pub(crate) connections: u64,
    errors: [u64; Failure::ALL.len()],
    /// The first few failures in words.
    pub(crate) samples: Vec<String>,
    /// The measured window, in nanoseconds since the start.
    window: (u64, u64),
}

/// How many failures are kept in words.
const SAMPLES_MAX: usize = 5;

impl Record {
    /// Counts what is due in `window` (nanoseconds since the start).
    pub(crate) fn new(window: (u64, u64), keep_intervals: bool) -> Self {
        Self {
            latency: histogram(),
            lag: histogram(),
            interval: histogram(),
            interval_start: window.0,
            keep_intervals,
            intervals: Vec::new(),
            completed: 0,
            in_window: 0,
            failed_in_window: 0,
            completed_total: 0,
            scheduled: 0,
            bytes: 0,
            connections: 0,
            errors: [0; Failure::ALL.len()],
            samples: Vec::new(),
            window,
        }
    }

    fn is_measured(&self, intended: u64) -> bool {
        (self.window.0..self.window.1).contains(&intended)
    }

    /// A request became due.
    pub(crate) fn due(&mut self, intended: u64) {
        self.scheduled += u64::from(self.is_measured(intended));
    }

    /// A request goes out on a connection that was free when it became due.
    pub(crate) fn sent(&mut self, intended: u64, now: u64) {
        if self.is_measured(intended) {
            self.lag.saturating_record(now - intended);
        }
    }

    /// A correct answer is complete.
    pub(crate) fn answered(&mut self, intended: u64, now: u64, bytes: u64) {
        self.completed_total += 1;
        if self.is_measured(now) {
            self.in_window += 1;
            self.bytes += bytes;
        }
        if self.is_measured(intended) {
            self.completed += 1;
            self.interval.saturating_record(now - intended);
        }
    }

    /// A request failed at `now`.
    pub(crate) fn failed(&mut self, now: u64, failure: Failure, detail: impl FnOnce() -> String) {
        self.errors[failure as usize] += 1;
        self.failed_in_window += u64::from(self.is_measured(now));
        if failure != Failure::Tolerated && self.samples.len() < SAMPLES_MAX {
            self.samples.push(format!("{}: {}", failure.name(), detail()));
        }
    }

    /// Failures by kind, those that did not happen left out.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL.into_iter().zip(self.errors).filter(|(_, count)| *count > 0)
    }

    /// Ends an interval: once a second, and at the end of the run.
    pub(crate) fn turn(&mut self, now: u64) {
        if now <= self.interval_start {
            return;
        }
        if self.keep_intervals {
            let mut bytes = Vec::new();
            V2Serializer::new()
                .serialize(&self.interval, &mut bytes)
                .expect("a histogram of this size is written to memory");
            self.intervals.push(Interval {
                start: Duration::from_nanos(self.interval_start),
                length: Duration::from_nanos(now - self.interval_start),
                max: self.interval.max(),
                bytes,
            });
        }
        self.latency.add(&self.interval).expect("both have the same bounds");
        self.interval.reset();
        self.interval_start = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_due_in_the_window_are_measured() {
        let mut record = Record::new((100, 200), true);
        for intended in [50, 100, 199, 200] {
            record.due(intended);
            record.sent(intended, intended + 5);
            record.answered(intended, intended + 1_000, 10);
        }
        record.turn(1_200);
        assert_eq!((record.scheduled, record.completed, record.completed_total), (2, 2, 4));
        assert_eq!((record.latency.len(), record.lag.len(), record.intervals.len()), (2, 2, 1));
    }

    #[test]
    fn failures_are_counted_by_kind_and_a_few_kept_in_words() {
        let mut record = Record::new((0, 1), false);
        for _ in 0..9 {
            record.failed(0, Failure::Status, || "503 of /x".to_owned());
        }
        assert_eq!(record.errors().collect::<Vec<_>>(), [(Failure::Status, 9)]);
        assert_eq!(record.samples.len(), SAMPLES_MAX);
        for (at, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, at);
        }
    }
}
