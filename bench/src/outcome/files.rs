//! The files of a run: `.hlog`, `.hgrm`, `result.json` and the page.
//!
//! Called by `run`. Invariant: each file alone says what was measured, and whether it is valid.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;

use super::{Outcome, page};
use crate::load::record::{Interval, Record};

/// Writes every file of a run into `directory`.
pub(crate) fn write_all(
    directory: &Path,
    outcome: &Outcome,
    record: &Record,
) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let mut log = Vec::new();
    interval_log(&mut log, &record.intervals, outcome)?;
    write("latency.hlog", &log)?;
    write("latency.hgrm", percentiles(&record.latency, outcome).as_bytes())?;
    write("result.json", serde_json::to_string_pretty(outcome)?.as_bytes())?;
    write("index.html", page::html(outcome, &record.latency, &record.lag).as_bytes())?;
    Ok(())
}

/// The interval log, version 1.3: one line a second, each a V2 histogram in base64; values are
/// nanoseconds, the column of maxima milliseconds.
fn interval_log(
    out: &mut impl Write,
    intervals: &[Interval],
    outcome: &Outcome,
) -> anyhow::Result<()> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let length: Duration = intervals.iter().map(|interval| interval.length).sum();
    let base = since_epoch.saturating_sub(length);
    writeln!(out, "#[{}; valid: {}]", outcome.settings.loop_kind, outcome.valid)?;
    writeln!(out, "#[Histogram log format version 1.3]")?;
    writeln!(out, "#[StartTime: {:.3} (seconds since epoch)]", base.as_secs_f64())?;
    writeln!(out, "#[MaxValueDivisor: 1000000.0]")?;
    writeln!(
        out,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )?;
    let first = intervals.first().map_or(Duration::ZERO, |interval| interval.start);
    for interval in intervals {
        writeln!(
            out,
            "{:.3},{:.3},{:.3},{}",
            (interval.start - first).as_secs_f64(),
            interval.length.as_secs_f64(),
            interval.max as f64 / 1e6,
            STANDARD.encode(&interval.bytes)
        )?;
    }
    Ok(())
}

/// Points for each halving of the distance to 1.
const TICKS: u32 = 5;

/// The percentile text that HDR plotters read; values in milliseconds.
fn percentiles(histogram: &Histogram<u64>, outcome: &Outcome) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for point in histogram.iter_quantiles(TICKS) {
        count += point.count_since_last_iteration();
        let value = point.value_iterated_to() as f64 / 1e6;
        let quantile = point.quantile_iterated_to();
        if quantile < 1.0 {
            let _ = writeln!(
                out,
                "{value:>12.6} {quantile:>14.12} {count:>10} {:>14.2}",
                1.0 / (1.0 - quantile)
            );
        } else {
            let _ = writeln!(out, "{value:>12.6} {quantile:>14.12} {count:>10}");
        }
    }
    let (mean, deviation) = (histogram.mean() / 1e6, histogram.stdev() / 1e6);
    let _ = writeln!(out, "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]");
    let max = histogram.max() as f64 / 1e6;
    let _ = writeln!(out, "#[Max     = {max:>12.6}, Total count    = {:>12}]", histogram.len());
    let _ = writeln!(out, "#[Valid   = {}]", outcome.valid);
    out
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::load::record::histogram;
    use crate::outcome::tests::{plan, record, settings};

    #[test]
    fn the_interval_log_parses_back_to_the_same_histogram() {
        let record = record(1_000, 5_000);
        let outcome = Outcome::of(&plan(1e3), &record, settings());
        let mut log = Vec::new();
        interval_log(&mut log, &record.intervals, &outcome).unwrap();
        let mut sum = histogram();
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
                let part: Histogram<u64> =
                    Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
                assert!((interval.max() - part.max() as f64 / 1e6).abs() < 0.001);
                sum.add(part).unwrap();
            }
        }
        assert_eq!(sum, record.latency);
    }

    #[test]
    fn the_percentile_text_counts_every_value_and_ends_at_the_maximum() {
        let record = record(1_000, 5_000);
        let outcome = Outcome::of(&plan(1e3), &record, settings());
        let text = percentiles(&record.latency, &outcome);
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        let columns: Vec<f64> = last.split_whitespace().map(|word| word.parse().unwrap()).collect();
        assert_eq!((columns[1], columns[2]), (1.0, 1_000.0));
        assert!((columns[0] - 1.099).abs() < 0.01, "{last}");
    }

    #[test]
    fn all_files_of_a_run_are_written() {
        let directory = std::env::temp_dir().join(format!("bench-files-{}", std::process::id()));
        let record = record(10, 5_000);
        let outcome = Outcome::of(&plan(1e3), &record, settings());
        write_all(&directory, &outcome, &record).unwrap();
        let json = fs::read(directory.join("result.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Outcome>(&json).unwrap(), outcome);
        for name in ["latency.hlog", "latency.hgrm", "index.html"] {
            assert!(fs::metadata(directory.join(name)).unwrap().len() > 100, "{name}");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
