//! The result of a comparison: for machines as JSON, for people as Markdown.
//!
//! Called by `compare`. Invariant: every table says on which machine, kernel, network and versions
//! it was measured, and figures with errors in them are marked.

use std::fmt::Write as _;

use serde::Serialize;

use super::stats::{Ratio, median, ratio};
use super::{CompareArgs, Sample, Scenario};
use crate::peers::{self, Kind};
use crate::process::cpu;

/// A figure that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Figure {
    CpuPerRequest,
    RequestsPerSecond,
    P50,
    P99,
}

impl Figure {
    const ALL: [Self; 4] = [Self::CpuPerRequest, Self::RequestsPerSecond, Self::P50, Self::P99];

    fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::CpuPerRequest => sample.cpu_us,
            Self::RequestsPerSecond => sample.requests_per_s,
            Self::P50 => sample.p50_us,
            Self::P99 => sample.p99_us,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::CpuPerRequest => "CPU per request",
            Self::RequestsPerSecond => "requests/s",
            Self::P50 => "p50",
            Self::P99 => "p99",
        }
    }
}

/// One paired ratio.
#[derive(Clone, Debug, Serialize)]
struct Pair {
    entry: &'static str,
    against: &'static str,
    /// 0 is saturation.
    rate: f64,
    figure: Figure,
    ratio: Ratio,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    scenario: Scenario,
    machine: String,
    network: String,
    cores: String,
    connections: usize,
    streams: usize,
    seconds: f64,
    rounds: usize,
    versions: Vec<(&'static str, String)>,
    pairs: Vec<Pair>,
    samples: Vec<Sample>,
}

impl Report {
    /// Pairs the samples up.
    pub(crate) fn new(
        args: &CompareArgs,
        network: String,
        kinds: &[Kind],
        samples: Vec<Sample>,
    ) -> Self {
        Self {
            scenario: args.scenario,
            machine: cpu::machine(),
            network,
            cores: format!(
                "gateway on core {}, load and backend on core {}",
                args.gateway_core, args.load_core
            ),
            connections: args.connections.unwrap_or_else(|| args.scenario.connections()),
            streams: args.streams.unwrap_or_else(|| args.scenario.streams()),
            seconds: args.seconds,
            rounds: args.rounds,
            versions: kinds
                .iter()
                .map(|kind| (kind.name(), peers::version(*kind, &args.ringway)))
                .collect(),
            pairs: pairs(kinds, &samples),
            samples,
        }
    }

    /// The tables.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}; {}; {}. {} connections × {}, {} rounds of {} s, every gateway once a round.\n",
            self.machine,
            self.network,
            self.cores,
            self.connections,
            self.streams,
            self.rounds,
            self.seconds
        );
        for (name, version) in &self.versions {
            let _ = writeln!(out, "- {name}: {version}");
        }
        for rate in rates(&self.samples) {
            self.absolute(&mut out, rate);
            self.relative(&mut out, rate);
        }
        self.remarks(&mut out);
        out
    }

    fn absolute(&self, out: &mut String, rate: f64) {
        let name = if rate == 0.0 {
            "At saturation".to_owned()
        } else {
            format!("At {rate:.0} requests/s")
        };
        let _ = writeln!(
            out,
            "\n**{name}** (medians)\n\n| | CPU us/request | requests/s | p50 us | p99 us |\n|---|---|---|---|---|"
        );
        for (entry, _) in &self.versions {
            let of =
                |figure| median(&values(&self.samples, entry, rate, figure)).unwrap_or(f64::NAN);
            let _ = writeln!(
                out,
                "| {entry} | {:.2} | {:.0} | {:.0} | {:.0} |",
                of(Figure::CpuPerRequest),
                of(Figure::RequestsPerSecond),
                of(Figure::P50),
                of(Figure::P99)
            );
        }
    }

    fn relative(&self, out: &mut String, rate: f64) {
        let pairs: Vec<_> = self.pairs.iter().filter(|pair| pair.rate == rate).collect();
        if pairs.is_empty() {
            return;
        }
        let _ = writeln!(out, "\n| paired ratio | {} |", Figure::ALL.map(Figure::name).join(" | "));
        let _ = writeln!(out, "|---|---|---|---|---|");
        for chunk in pairs.chunks(Figure::ALL.len()) {
            let Some(first) = chunk.first() else { continue };
            let _ = write!(out, "| {} / {} |", first.entry, first.against);
            for pair in chunk {
                let Ratio { median, low, high, .. } = pair.ratio;
                let _ = write!(out, " {median:.2} ({low:.2}–{high:.2}) |");
            }
            out.push('\n');
        }
    }

    fn remarks(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\nRatios are medians over rounds with a 95 % bootstrap interval; below 1 is better for \
             CPU and latency, above 1 for requests/s."
        );
        for sample in self.samples.iter().filter(|sample| sample.failed > 0) {
            let _ = writeln!(
                out,
                "- WRONG ANSWERS: {} of {}, round {}: its figures do not count",
                sample.failed,
                sample.entry,
                sample.round + 1
            );
        }
        for (entry, _) in &self.versions {
            let of = self.samples.iter().filter(|sample| sample.entry == *entry);
            let lost = of.map(|sample| sample.lost).sum::<u64>();
            if lost > 0 {
                let _ = writeln!(out, "- {entry} lost {lost} datagrams in all measurements");
            }
        }
        let invalid = self.samples.iter().filter(|sample| !sample.valid).count();
        if invalid > 0 {
            let _ = writeln!(
                out,
                "- {invalid} of {} measurements did not keep their schedule: read their latencies as lower bounds",
                self.samples.len()
            );
        }
        let steal = self.samples.iter().map(|sample| sample.steal).fold(0.0, f64::max);
        if steal > 0.01 {
            let _ = writeln!(
                out,
                "- the hypervisor took up to {:.1} % of the machine during a measurement",
                steal * 100.0
            );
        }
    }
}

fn rates(samples: &[Sample]) -> Vec<f64> {
    let mut found = Vec::new();
    for sample in samples {
        if !found.contains(&sample.rate) {
            found.push(sample.rate);
        }
    }
    found
}

fn values(samples: &[Sample], entry: &str, rate: f64, figure: Figure) -> Vec<f64> {
    samples
        .iter()
        .filter(|sample| sample.entry == entry && sample.rate == rate)
        .map(|sample| figure.of(sample))
        .collect()
}

/// Ours against every peer; without ours, the first against the others.
fn pairs(kinds: &[Kind], samples: &[Sample]) -> Vec<Pair> {
    let ours: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.is_ringway()).collect();
    let (above, below): (Vec<Kind>, Vec<Kind>) = if ours.is_empty() {
        (kinds[..1].to_vec(), kinds[1..].to_vec())
    } else {
        (ours, kinds.iter().copied().filter(|kind| !kind.is_ringway()).collect())
    };
    let mut out = Vec::new();
    for rate in rates(samples) {
        for entry in &above {
            for against in &below {
                for figure in Figure::ALL {
                    let pairs = paired(samples, (entry.name(), against.name()), rate, figure);
                    out.extend(ratio(&pairs).map(|ratio| Pair {
                        entry: entry.name(),
                        against: against.name(),
                        rate,
                        figure,
                        ratio,
                    }));
                }
            }
        }
    }
    out
}

/// The figure of both in every round in which both answered rightly.
fn paired(samples: &[Sample], names: (&str, &str), rate: f64, figure: Figure) -> Vec<(f64, f64)> {
    let of = |name: &str, round: usize| {
        samples.iter().find(|sample| {
            (sample.entry, sample.round) == (name, round)
                && sample.rate == rate
                && sample.failed == 0
        })
    };
    let rounds = samples.iter().map(|sample| sample.round + 1).max().unwrap_or(0);
    (0..rounds)
        .filter_map(|round| Some((of(names.0, round)?, of(names.1, round)?)))
        .map(|(one, other)| (figure.of(one), figure.of(other)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn ratios_are_taken_within_rounds_and_wrong_answers_do_not_count() {
        let mut samples = Vec::new();
        for (round, slow) in [1.0, 3.0, 1.4].into_iter().enumerate() {
            samples.push(sample("ringway", round, 0.0, 10.0 * slow));
            samples.push(sample("haproxy", round, 0.0, 20.0 * slow));
        }
        samples.push(Sample { failed: 1, ..sample("ringway", 3, 0.0, 1.0) });
        samples.push(sample("haproxy", 3, 0.0, 20.0));
        let found = pairs(&[Kind::Ringway, Kind::Haproxy], &samples);
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].ratio, Ratio { median: 0.5, low: 0.5, high: 0.5, rounds: 3 });
        assert_eq!(found[1].ratio.median, 2.0);
    }

    #[test]
    fn without_ringway_the_first_is_compared_with_the_others() {
        let samples = [sample("haproxy", 0, 0.0, 10.0), sample("nginx", 0, 0.0, 20.0)];
        let found = pairs(&[Kind::Haproxy, Kind::Nginx], &samples);
        assert_eq!((found[0].entry, found[0].against), ("haproxy", "nginx"));
    }
}
