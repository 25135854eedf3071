//! Latency as the shards measured it, by shard and stage: since the start, and by interval.
//!
//! The controller adds increments; `/histograms`, `/metrics` and the table at the end read. Values
//! are microseconds. Closed intervals are kept as finished lines of an HdrHistogram interval log,
//! the newest [`INTERVALS_MAX`] of them. Invariant: the sum of what was added is the cumulative
//! histogram; no value is lost, those beyond the range count as the largest.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::report::Stage;

/// Closed intervals that are kept; older ones are dropped.
pub const INTERVALS_MAX: usize = 90;
/// Length of an interval.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Largest value that is told apart (microseconds): one hour.
pub const VALUE_MAX: u64 = 3_600_000_000;
const DIGITS: u8 = 3;
const STAGES: usize = Stage::ALL.len();
const PERCENTILES: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 100.0];

/// Latency histograms of all shards.
#[derive(Debug)]
pub struct Histograms {
    started: SystemTime,
    interval_start: SystemTime,
    shards: Vec<[Pair; STAGES]>,
    /// Interval log lines, one string per closed interval that had any value.
    closed: VecDeque<String>,
}

#[derive(Debug)]
struct Pair {
    total: Histogram<u64>,
    interval: Histogram<u64>,
}

impl Histograms {
    /// Empty histograms for `shards` shards.
    #[must_use]
    pub fn new(shards: usize, started: SystemTime) -> Self {
        let pairs = || std::array::from_fn(|_| Pair { total: empty(), interval: empty() });
        Self {
            started,
            interval_start: started,
            shards: (0..shards).map(|_| pairs()).collect(),
            closed: VecDeque::new(),
        }
    }

    /// Adds one report's increments.
    pub fn add(&mut self, shard: usize, stages: &[Histogram<u32>; STAGES]) {
        let Some(pairs) = self.shards.get_mut(shard) else { return };
        for (pair, increment) in pairs.iter_mut().zip(stages) {
            for value in increment.iter_recorded() {
                let at = value.value_iterated_to().min(VALUE_MAX);
                pair.total.saturating_record_n(at, value.count_at_value().into());
                pair.interval.saturating_record_n(at, value.count_at_value().into());
            }
        }
    }

    /// Closes the running interval if it is over at `now`.
    pub fn tick(&mut self, now: SystemTime) {
        let elapsed = now.duration_since(self.interval_start).unwrap_or_default();
        if elapsed < INTERVAL {
            return;
        }
        let lines = self.interval_lines(elapsed);
        for pair in self.shards.iter_mut().flatten() {
            pair.interval.reset();
        }
        self.interval_start = now;
        if !lines.is_empty() {
            self.closed.push_back(lines);
        }
        while self.closed.len() > INTERVALS_MAX {
            self.closed.pop_front();
        }
    }

    /// The cumulative histogram of a shard's stage (microseconds).
    #[must_use]
    pub fn total(&self, shard: usize, stage: Stage) -> Option<&Histogram<u64>> {
        self.shards.get(shard).map(|pairs| &pairs[stage as usize].total)
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The V2 interval log: the closed intervals and the running one, tagged `s<shard>.<stage>`.
    #[must_use]
    pub fn interval_log(&self, now: SystemTime) -> String {
        let mut out = String::new();
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let _ = writeln!(out, "#[Logged with ringway {}]", env!("CARGO_PKG_VERSION"));
        out.push_str("#[Histogram log format version 1.3]\n");
        out.push_str("#[values are microseconds; tags are s<shard>.<stage>]\n");
        let _ = writeln!(out, "#[StartTime: {:.3} (seconds since epoch)]", {
            seconds(self.started).as_secs_f64()
        });
        out.push_str(
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
             \"Interval_Compressed_Histogram\"\n",
        );
        out.extend(self.closed.iter().map(String::as_str));
        out.push_str(
            &self.interval_lines(now.duration_since(self.interval_start).unwrap_or_default()),
        );
        out
    }

    /// Lines of the running interval; stages without a value are left out.
    fn interval_lines(&self, duration: Duration) -> String {
        let start = self.interval_start.duration_since(self.started).unwrap_or_default();
        let mut out = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let Ok(mut log) = IntervalLogWriterBuilder::new().begin_log_with(&mut out, &mut serializer)
        else {
            return String::new();
        };
        for (shard, pairs) in self.shards.iter().enumerate() {
            for (stage, pair) in Stage::ALL.iter().zip(pairs) {
                let tag = format!("s{shard}.{}", stage.name());
                if !pair.interval.is_empty()
                    && let Err(error) =
                        log.write_histogram(&pair.interval, start, duration, Tag::new(&tag))
                {
                    tracing::warn!("histogram {tag} could not be written: {error}");
                }
            }
        }
        String::from_utf8(out).expect("an interval log is ASCII")
    }

    /// Percentiles per shard and stage since the start, as a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::from("latency since start (ms)\nshard  stage            count");
        for percentile in PERCENTILES {
            let name = if percentile < 100.0 { format!("p{percentile}") } else { "max".into() };
            let _ = write!(out, "{name:>11}");
        }
        out.push('\n');
        for (shard, pairs) in self.shards.iter().enumerate() {
            for (stage, pair) in Stage::ALL.iter().zip(pairs) {
                row(&mut out, &shard.to_string(), stage.name(), &pair.total);
            }
        }
        if self.shards.len() > 1 {
            for stage in Stage::ALL {
                row(&mut out, "all", stage.name(), &self.merged(stage));
            }
        }
        out
    }

    /// One stage over all shards.
    #[must_use]
    pub fn merged(&self, stage: Stage) -> Histogram<u64> {
        let mut sum = empty();
        for pairs in &self.shards {
            sum.add(&pairs[stage as usize].total).expect("all have one range");
        }
        sum
    }
}

fn row(out: &mut String, shard: &str, stage: &str, histogram: &Histogram<u64>) {
    let _ = write!(out, "{shard:>5}  {stage:<12}{:>10}", histogram.len());
    for percentile in PERCENTILES {
        if histogram.is_empty() {
            let _ = write!(out, "{:>11}", "-");
        } else {
            let micros = histogram.value_at_percentile(percentile);
            let millis = Duration::from_micros(micros).as_secs_f64() * 1e3;
            let _ = write!(out, "{millis:>11.3}");
        }
    }
    out.push('\n');
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, VALUE_MAX, DIGITS).expect("constant bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increments(values: &[u64]) -> [Histogram<u32>; STAGES] {
        std::array::from_fn(|_| {
            let mut h = Histogram::<u32>::new_with_bounds(1, 60_000_000, 3).unwrap();
            for &value in values {
                h.record(value).unwrap();
            }
            h
        })
    }

    #[test]
    fn cumulative_is_the_sum_and_intervals_start_anew() {
        let start = UNIX_EPOCH + Duration::from_secs(1_000);
        let mut all = Histograms::new(2, start);
        all.add(0, &increments(&[100, 200]));
        all.tick(start + INTERVAL);
        all.add(0, &increments(&[300]));
        all.add(7, &increments(&[300]));
        assert_eq!(all.total(0, Stage::Total).unwrap().len(), 3);
        assert_eq!(all.total(1, Stage::Total).unwrap().len(), 0);
        assert_eq!(all.shards[0][0].interval.len(), 1);
        assert_eq!(all.merged(Stage::Route).len(), 3);
    }

    #[test]
    fn old_intervals_make_room() {
        let start = UNIX_EPOCH + Duration::from_secs(1_000);
        let mut all = Histograms::new(1, start);
        for i in 1..=u32::try_from(INTERVALS_MAX).unwrap() + 5 {
            all.add(0, &increments(&[10]));
            all.tick(start + INTERVAL * i);
        }
        assert_eq!(all.closed.len(), INTERVALS_MAX);
    }

    #[test]
    fn the_table_has_a_row_per_shard_and_stage_and_says_dash_for_nothing() {
        let mut all = Histograms::new(2, UNIX_EPOCH);
        all.add(1, &increments(&[1_000]));
        let table = all.table();
        assert_eq!(table.lines().count(), 2 + 2 * STAGES + STAGES);
        assert!(table.contains("    0  route                0          -"), "{table}");
        assert!(table.contains("    1  total                1      1.000"), "{table}");
    }
}
