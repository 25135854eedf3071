//! What the abuse came to: rows, their verdicts, and the table.
//!
//! Called by `abuse`. Invariant: timing is shown and never judged; honest failures and memory are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::life::Life;
use crate::outcome::Outcome;

/// Resident bytes per byte that a live connection has sent, beyond what an idle one costs.
pub(super) const BYTES_PER_WIRE_BYTE_MAX: u64 = 4;
/// Resident bytes of one abusive connection.
pub(super) const CONNECTION_BYTES_MAX: u64 = 1 << 20;
/// What a UDP session may cost: there is no idle connection to compare with.
pub(super) const SESSION_BYTES_MAX: u64 = 8 * 1024;
/// What the process as a whole may grow by beside that: `VmRSS` counts pages and the allocator's
/// spare ones.
pub(super) const SLACK_BYTES: u64 = 1 << 20;

/// The honest client's figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Honest {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Whether the load generator kept its schedule.
    pub(super) kept: bool,
    pub(super) samples: Vec<String>,
    /// The share of a core that the gateway used.
    pub(super) gateway_cpu: f64,
}

impl Honest {
    pub(super) fn of(outcome: &Outcome, gateway_cpu: f64) -> Self {
        Self {
            requests: outcome.completed_total + outcome.failed(),
            failed: outcome.failed(),
            p50_us: outcome.latency_us.p50,
            p99_us: outcome.latency_us.p99,
            kept: outcome.valid,
            samples: outcome.error_samples.clone(),
            gateway_cpu,
        }
    }
}

/// Resident memory of the gateway and what was sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Abusive connections at once, or UDP sessions.
    pub(super) units: u64,
    pub(super) before: u64,
    pub(super) peak: u64,
    /// Bytes that all have sent.
    pub(super) sent: u64,
    /// The most that those have sent that were open at once.
    pub(super) live: u64,
    /// What an idle one of `units` costs.
    pub(super) idle_each: u64,
    /// Most of it is answers of backends, whose bytes are not counted here.
    pub(super) answers: bool,
}

impl Memory {
    pub(super) fn grown(&self) -> u64 {
        self.peak.saturating_sub(self.before)
    }

    pub(super) fn each(&self) -> u64 {
        self.grown() / self.units.max(1)
    }

    /// Growth beyond what idle connections cost, per byte that live connections had sent.
    pub(super) fn per_wire_byte(&self) -> f64 {
        let beyond = self.grown().saturating_sub(self.idle_each * self.units);
        if self.live == 0 { 0.0 } else { beyond as f64 / self.live as f64 }
    }

    /// The bars that it breaks.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut found = Vec::new();
        let by_wire =
            self.idle_each * self.units + BYTES_PER_WIRE_BYTE_MAX * self.live + SLACK_BYTES;
        if self.grown() > by_wire && !self.answers {
            found.push(format!(
                "resident +{} KiB, at most {} allowed",
                self.grown() / 1024,
                by_wire / 1024
            ));
        }
        if self.grown() > CONNECTION_BYTES_MAX * self.units + SLACK_BYTES {
            found.push(format!("{} KiB a connection", self.each() / 1024));
        }
        found
    }
}

/// Connections that ended alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Ending {
    pub(super) how: String,
    pub(super) count: usize,
    pub(super) median_ms: f64,
    pub(super) max_ms: f64,
}

/// The endings of all lives, the most frequent first.
pub(super) fn endings(lives: &[Life]) -> Vec<Ending> {
    let mut by_end: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for life in lives {
        by_end.entry(&life.end).or_default().push(life.lived.as_secs_f64() * 1e3);
    }
    let of = |(how, mut lived): (&str, Vec<f64>)| {
        lived.sort_by(f64::total_cmp);
        let max_ms = lived.last().copied().unwrap_or(0.0);
        Ending {
            how: how.to_owned(),
            count: lived.len(),
            median_ms: lived[lived.len() / 2],
            max_ms,
        }
    };
    let mut found: Vec<Ending> = by_end.into_iter().map(of).collect();
    found.sort_by_key(|ending| std::cmp::Reverse(ending.count));
    found
}

/// One kind of abuse.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) kind: &'static str,
    pub(super) protocol: &'static str,
    pub(super) about: &'static str,
    pub(super) without: Honest,
    pub(super) with: Honest,
    pub(super) memory: Memory,
    pub(super) endings: Vec<Ending>,
    /// What must not be; empty is a pass.
    pub(super) faults: Vec<String>,
}

impl Row {
    /// Judges what was measured.
    pub(super) fn judge(mut self) -> Self {
        self.faults.extend(self.memory.faults());
        for (when, honest) in [("before", &self.without), ("during", &self.with)] {
            if honest.failed > 0 {
                self.faults.push(format!("{} honest requests failed {when}", honest.failed));
            }
            if honest.requests == 0 {
                self.faults.push(format!("no honest request {when}"));
            }
        }
        self
    }

    fn cells(&self) -> String {
        let Self { without, with, memory, .. } = self;
        let endings =
            self.endings.iter().take(3).map(|ending| {
                format!("{} × {}, {:.0} ms", ending.count, ending.how, ending.median_ms)
            });
        format!(
            "| {} | {} | {}/{} → {}/{} | {:.0} → {:.0} | {:.0} → {:.0} | {} | {:.0} → {:.0} | {} | +{} | {} | {:.1} | {} | {} |\n",
            self.kind,
            self.protocol,
            without.failed,
            without.requests,
            with.failed,
            with.requests,
            without.p50_us,
            with.p50_us,
            without.p99_us,
            with.p99_us,
            if without.kept && with.kept { "yes" } else { "no" },
            without.gateway_cpu * 100.0,
            with.gateway_cpu * 100.0,
            memory.sent / 1024,
            memory.grown() / 1024,
            memory.each(),
            memory.per_wire_byte(),
            endings.collect::<Vec<_>>().join("; "),
            if self.faults.is_empty() { "pass".to_owned() } else { self.faults.join("; ") },
        )
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: String,
    pub(super) machine: String,
    pub(super) network: String,
    pub(super) connections: usize,
    pub(super) seconds: f64,
    pub(super) rate: f64,
    /// What the honest client speaks.
    pub(super) honest: &'static str,
    /// What an idle connection costs, by protocol.
    pub(super) idle_bytes: BTreeMap<&'static str, u64>,
    pub(super) rows: Vec<Row>,
}

impl Report {
    /// Whether nothing was wrong.
    pub(super) fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.faults.is_empty())
    }

    /// As text.
    pub(super) fn markdown(&self) -> String {
        let mut out = format!(
            "{}; {}; {}\n\n{} abusive connections for {} s beside an honest client at {:.0} {} requests/s.\n",
            self.version,
            self.machine,
            self.network,
            self.connections,
            self.seconds,
            self.rate,
            self.honest
        );
        let idle = self.idle_bytes.iter().map(|(name, bytes)| format!("{name} {bytes} B"));
        let _ = writeln!(out, "An idle connection: {}.\n", idle.collect::<Vec<_>>().join(", "));
        out.push_str(
            "| abuse | on | honest failed, without → during | p50 us | p99 us | schedule kept | gateway CPU % | sent KiB | resident KiB | B each | B per wire byte | ended | verdict |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        self.rows.iter().for_each(|row| out.push_str(&row.cells()));
        let failures = self
            .rows
            .iter()
            .flat_map(|row| row.with.samples.iter().take(1).map(move |sample| (row.kind, sample)));
        for (kind, sample) in failures {
            let _ = writeln!(out, "\n{kind}: an honest request failed: {sample}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn honest(failed: u64) -> Honest {
        let samples = Vec::new();
        Honest {
            requests: 100,
            failed,
            p50_us: 200.0,
            p99_us: 400.0,
            kept: true,
            samples,
            gateway_cpu: 0.1,
        }
    }

    fn row(failed: u64, memory: Memory) -> Row {
        Row {
            kind: "ping-flood",
            protocol: "HTTP/2",
            about: "",
            without: honest(0),
            with: honest(failed),
            memory,
            endings: Vec::new(),
            faults: Vec::new(),
        }
        .judge()
    }

    #[test]
    fn four_bytes_a_wire_byte_beyond_idle_and_a_mebibyte_a_connection_are_allowed() {
        let kib = |n: u64| n * 1024;
        let idle = Memory {
            units: 10,
            before: kib(5000),
            live: kib(100),
            idle_each: kib(8),
            ..Memory::default()
        };
        let at = |grown| Memory { peak: idle.before + grown, ..idle };
        let most = kib(80 + 400) + SLACK_BYTES;
        assert_eq!(at(most).faults(), Vec::<String>::new());
        assert_eq!(at(most + 1).faults().len(), 1);
        let much = Memory { live: kib(1 << 20), ..at(kib(10 * 1024) + SLACK_BYTES + 1) };
        assert_eq!(much.faults(), ["1126 KiB a connection"]);
        let answers = Memory { answers: true, ..at(most + 1) };
        assert_eq!(answers.faults(), Vec::<String>::new());
        assert!((at(kib(180)).per_wire_byte() - 1.0).abs() < 1e-9);
        assert_eq!(Memory { peak: 0, ..idle }.grown(), 0);
    }

    #[test]
    fn one_honest_failure_is_one_too_many_and_slowness_is_none() {
        assert!(row(0, Memory::default()).faults.is_empty());
        let failed = row(1, Memory::default());
        assert_eq!(failed.faults, ["1 honest requests failed during"]);
        let slow = Row {
            with: Honest { p99_us: 1e6, kept: false, ..honest(0) },
            ..row(0, Memory::default())
        };
        assert!(slow.judge().faults.is_empty());
    }

    #[test]
    fn lives_are_told_by_how_they_ended() {
        let life = |end: &str, ms| Life { end: end.to_owned(), lived: Duration::from_millis(ms) };
        let found =
            endings(&[life("closed", 5), life("GOAWAY", 1), life("GOAWAY", 9), life("GOAWAY", 3)]);
        assert_eq!(
            found[0],
            Ending { how: "GOAWAY".to_owned(), count: 3, median_ms: 3.0, max_ms: 9.0 }
        );
        assert_eq!((found[1].count, found[1].how.as_str()), (1, "closed"));
    }
}
