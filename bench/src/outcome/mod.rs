//! What a run came to: figures, their validity, and the files that hold them.
//!
//! Called by `run` after the generator has ended, and by the other commands to read its JSON.
//! Invariant: a run that did not keep its schedule is marked as invalid in every output.

mod files;
mod page;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

pub(crate) use self::files::write_all;
use crate::load::Plan;
use crate::load::record::{Failure, Record};
use crate::protocol::Protocol;

/// A run must achieve this share of its schedule.
const ACHIEVED_MIN: f64 = 0.99;

/// How the run was asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Settings {
    /// The URLs, with weights.
    pub(crate) urls: Vec<String>,
    /// `open, poisson, 1000/s` or `closed`.
    pub(crate) loop_kind: String,
    /// What was spoken.
    pub(crate) protocol: Protocol,
    /// Connections.
    pub(crate) connections: usize,
    /// Requests at once on each.
    pub(crate) streams: usize,
    /// Whether every request opened a connection.
    pub(crate) new_connection_per_request: bool,
    /// Seconds not measured.
    pub(crate) warmup_s: f64,
    /// Seconds measured.
    pub(crate) duration_s: f64,
    /// The generator's backend.
    pub(crate) runtime: String,
    /// The bound on the generator's own lag.
    pub(crate) max_lag_us: f64,
}

/// Points of a distribution, in microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Points {
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p75: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

impl Points {
    /// Of a histogram of nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |q| histogram.value_at_quantile(q) as f64 / 1e3;
        Self {
            mean: histogram.mean() / 1e3,
            min: if histogram.is_empty() { 0.0 } else { histogram.min() as f64 / 1e3 },
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: histogram.max() as f64 / 1e3,
        }
    }

    fn rows(&self) -> [(&'static str, f64); 9] {
        [
            ("min", self.min),
            ("mean", self.mean),
            ("50%", self.p50),
            ("75%", self.p75),
            ("90%", self.p90),
            ("99%", self.p99),
            ("99.9%", self.p99_9),
            ("99.99%", self.p99_99),
            ("max", self.max),
        ]
    }
}

/// The figures of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Outcome {
    /// Whether the figures mean what they say.
    pub(crate) valid: bool,
    /// Why not.
    pub(crate) invalid_because: Vec<String>,
    /// How it was asked for.
    pub(crate) settings: Settings,
    /// Requests due in the measured window.
    pub(crate) scheduled: u64,
    /// Of these, answered correctly.
    pub(crate) completed: u64,
    /// Correct answers, the warm-up included.
    pub(crate) completed_total: u64,
    /// Correct answers a second in the measured window.
    pub(crate) requests_per_s: f64,
    /// Body bytes a second in the measured window.
    pub(crate) bytes_per_s: f64,
    /// Connections opened.
    pub(crate) connections_opened: u64,
    /// Failures by kind, the warm-up included.
    pub(crate) errors: BTreeMap<String, u64>,
    /// A few of them in words.
    pub(crate) error_samples: Vec<String>,
    /// From the intended send time to the complete answer, correct answers only.
    pub(crate) latency_us: Points,
    /// The generator's own lateness.
    pub(crate) lag_us: Points,
}

impl Outcome {
    /// Judges a record.
    pub(crate) fn of(plan: &Plan, record: &Record, settings: Settings) -> Self {
        let seconds = plan.duration.as_secs_f64();
        let invalid_because = faults(plan, record, settings.max_lag_us);
        Self {
            valid: invalid_because.is_empty(),
            invalid_because,
            settings,
            scheduled: record.scheduled,
            completed: record.completed,
            completed_total: record.completed_total,
            requests_per_s: record.in_window as f64 / seconds,
            bytes_per_s: record.bytes as f64 / seconds,
            connections_opened: record.connections,
            errors: record.errors().map(|(kind, n)| (kind.name().to_owned(), n)).collect(),
            error_samples: record.samples.clone(),
            latency_us: Points::of(&record.latency),
            lag_us: Points::of(&record.lag),
        }
    }

    /// Failures of any kind, the tolerated left out.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum::<u64>() - self.tolerated()
    }

    /// Answers with a status that was to be expected now and then.
    pub(crate) fn tolerated(&self) -> u64 {
        self.errors.get(Failure::Tolerated.name()).copied().unwrap_or(0)
    }

    /// Requests without an answer in time.
    pub(crate) fn timed_out(&self) -> u64 {
        self.errors.get(Failure::Timeout.name()).copied().unwrap_or(0)
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let settings = &self.settings;
        let per = match (settings.new_connection_per_request, settings.streams) {
            (true, _) => ", one request each".to_owned(),
            (false, 1) => String::new(),
            (false, streams) => format!(" with {streams} requests at once on each"),
        };
        let _ = writeln!(
            out,
            "{}, {} on {} connections{per}, {} s after {} s warm-up, {}",
            settings.protocol.name(),
            settings.loop_kind,
            settings.connections,
            settings.duration_s,
            settings.warmup_s,
            settings.runtime
        );
        let _ = writeln!(out, "\n{:>10} {:>14} {:>14}", "", "latency us", "own lag us");
        for ((name, latency), (_, lag)) in self.latency_us.rows().iter().zip(self.lag_us.rows()) {
            let _ = writeln!(out, "{name:>10} {latency:>14.1} {lag:>14.1}");
        }
        let _ = writeln!(
            out,
            "\n{} due, {} answered correctly, {:.0} requests/s, {:.1} MB/s, {} connections opened",
            self.scheduled,
            self.completed,
            self.requests_per_s,
            self.bytes_per_s / 1e6,
            self.connections_opened
        );
        if self.errors.is_empty() {
            let _ = writeln!(out, "no errors");
        }
        for (kind, count) in &self.errors {
            let _ = writeln!(out, "errors: {count} {kind}");
        }
        for sample in &self.error_samples {
            let _ = writeln!(out, "  e.g. {sample}");
        }
        for reason in &self.invalid_because {
            let _ = writeln!(out, "INVALID: {reason}");
        }
        out
    }
}

/// Why the figures of a run do not mean what they say.
fn faults(plan: &Plan, record: &Record, max_lag_us: f64) -> Vec<String> {
    let mut found = Vec::new();
    if record.completed_total == 0 {
        found.push("no request was answered correctly".to_owned());
    }
    if plan.open.is_none() {
        return found;
    }
    let achieved = (record.in_window + record.failed_in_window) as f64;
    let share = achieved / record.scheduled.max(1) as f64;
    if share < ACHIEVED_MIN {
        found.push(format!(
            "{:.1} % of the schedule was achieved, less than 99 %: the latencies describe a growing \
             queue; lower --rate, or raise --connections",
            share * 100.0
        ));
    }
    let lag = Points::of(&record.lag).p99;
    if lag > max_lag_us {
        found.push(format!(
            "the generator's own lag was {lag:.0} us at p99, above {max_lag_us:.0} us: it is part of \
             every latency above; give it a core of its own (--core), or lower --rate"
        ));
    }
    found
}

/// Seconds as a number.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::Expected;
    use crate::load::schedule::Arrival;

    pub(crate) fn plan(rate: f64) -> Plan {
        Plan {
            protocol: Protocol::Http1,
            targets: Vec::new(),
            open: Some((rate, Arrival::Poisson)),
            connections: 4,
            streams: 1,
            resume: false,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            new_connection: false,
            expected: Expected::default(),
            seed: 1,
            keep_intervals: true,
        }
    }

    pub(crate) fn settings() -> Settings {
        Settings {
            urls: vec!["http://127.0.0.1/<s>&".to_owned()],
            loop_kind: "open, poisson, 1000/s".to_owned(),
            protocol: Protocol::Http1,
            connections: 4,
            streams: 1,
            new_connection_per_request: false,
            warmup_s: 0.0,
            duration_s: 1.0,
            runtime: "monoio".to_owned(),
            max_lag_us: 1_000.0,
        }
    }

    /// A thousand requests due, `answered` of them in 100 to 1,099 us, each sent `lag` ns late.
    pub(crate) fn record(answered: u64, lag: u64) -> Record {
        let mut record = Record::new((0, 1_000_000_000), true);
        for n in 0..1_000 {
            let intended = n * 900_000;
            record.due(intended);
            record.sent(intended, intended + lag);
            if n < answered {
                record.answered(intended, intended + 100_000 + n * 1_000, 128);
            }
        }
        record.turn(1_000_000_000);
        record
    }

    #[test]
    fn a_run_that_kept_its_schedule_is_valid() {
        let outcome = Outcome::of(&plan(1e3), &record(1_000, 5_000), settings());
        assert!(outcome.valid, "{:?}", outcome.invalid_because);
        assert!((outcome.latency_us.p50 - 600.0).abs() < 1.0, "{:?}", outcome.latency_us);
        assert_eq!(outcome.requests_per_s, 1_000.0);
        assert!(outcome.table().contains("no errors"));
    }

    #[test]
    fn a_run_that_fell_behind_or_lagged_is_invalid_and_says_why() {
        let behind = Outcome::of(&plan(1e3), &record(980, 5_000), settings());
        assert!(!behind.valid && behind.table().contains("INVALID: 98.0 % of the schedule"));
        let late = Outcome::of(&plan(1e3), &record(1_000, 3_000_000), settings());
        assert!(!late.valid && late.table().contains("INVALID: the generator's own lag"));
        let closed = Plan { open: None, ..plan(1e3) };
        assert!(Outcome::of(&closed, &record(980, 3_000_000), settings()).valid);
        assert!(!Outcome::of(&closed, &Record::new((0, 1), false), settings()).valid);
    }
}
