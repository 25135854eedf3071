//! The figures of a cluster run: for machines as JSON, for people as one table.
//!
//! Pure. Called by the measuring files with what they saw. Invariant: what was not
//! measured shows as a dash, never as a zero.

use std::fmt::Write as _;

use serde::Serialize;

/// A distribution by three points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) samples: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Single edits with a number of other routes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Edits {
    pub(crate) routes: usize,
    /// Until the connection that was open before saw it.
    pub(crate) first_ms: Spread,
    /// Until every shard served it.
    pub(crate) all_ms: Spread,
    pub(crate) wrong: u64,
}

/// Many routes at once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Burst {
    pub(crate) routes: usize,
    /// First write sent to last write answered.
    pub(crate) writing_s: f64,
    /// Last write to all served.
    pub(crate) served_s: f64,
    /// Last write to the last that was accepted.
    pub(crate) accepted_s: Option<f64>,
    /// All of them, unless the limit was reached.
    pub(crate) accepted: usize,
    /// So many were asked for as soon as they were accepted …
    pub(crate) probed: usize,
    /// … and so many of these were not served.
    pub(crate) accepted_before_served: usize,
    pub(crate) wrong_answers: u64,
}

/// Resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Memory {
    pub(crate) routes: usize,
    pub(crate) mib: f64,
}

/// A start with many routes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Restart {
    pub(crate) routes: usize,
    pub(crate) served_s: f64,
    pub(crate) wrong_answers: u64,
}

/// A window in which nothing of the gateway's changed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Quiet {
    pub(crate) routes: usize,
    pub(crate) seconds: f64,
    /// Unrelated changes made.
    pub(crate) changes: u64,
    /// Of one core.
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) writes_per_minute: f64,
    /// Of all holders in the cluster.
    pub(crate) lease_writes_per_minute: f64,
}

/// What a load saw.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Loaded {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) half_changed: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Whether the generator kept its schedule.
    pub(crate) valid: bool,
}

/// Switches of one route under load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Switches {
    pub(crate) count: usize,
    /// So many were made while the load went on.
    pub(crate) under_load: usize,
    pub(crate) switching_s: f64,
    pub(crate) without: Loaded,
    pub(crate) with: Loaded,
    pub(crate) p99_ratio: f64,
}

/// Of one controller.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) burst: Option<Burst>,
    pub(crate) memory: Option<Memory>,
    pub(crate) restart: Option<Restart>,
    pub(crate) edits: Vec<Edits>,
    pub(crate) unrelated: Option<Quiet>,
    pub(crate) quiet: Option<Quiet>,
    pub(crate) switches: Option<Switches>,
}

/// Of all.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    controllers: Vec<(String, Figures)>,
}

impl Spread {
    /// By nearest rank; the 99th percentile of fewer than 100 samples is their maximum.
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let rank = (share * samples.len() as f64).ceil() as usize;
            samples.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        Self { samples: samples.len(), p50: rank(0.5), p99: rank(0.99), max: rank(1.0) }
    }

    fn text(self) -> String {
        format!("{} / {} / {}", number(self.p50), number(self.p99), number(self.max))
    }
}

impl Report {
    /// An empty one.
    pub(crate) fn new(machine: String) -> Self {
        Self { machine, controllers: Vec::new() }
    }

    /// Adds one controller.
    pub(crate) fn push(&mut self, name: &str, figures: Figures) {
        self.controllers.push((name.to_owned(), figures));
    }

    /// Requests that failed or saw half a change, over all controllers.
    pub(crate) fn failed(&self) -> u64 {
        let switches = self.controllers.iter().filter_map(|(_, figures)| figures.switches.as_ref());
        switches.map(|switches| switches.with.failed + switches.with.half_changed).sum()
    }

    /// One row a figure, one column a controller.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("{}\n\n| what |", self.machine);
        for (name, _) in &self.controllers {
            let _ = write!(out, " {name} |");
        }
        let _ = writeln!(out, "\n|---|{}", "---|".repeat(self.controllers.len()));
        let columns: Vec<_> = self.controllers.iter().map(|(_, figures)| rows(figures)).collect();
        let mut titles: Vec<&String> = Vec::new();
        for (title, _) in columns.iter().flatten() {
            if !titles.contains(&title) {
                titles.push(title);
            }
        }
        for title in titles {
            let _ = write!(out, "| {title} |");
            for column in &columns {
                let cell = column.iter().find(|(own, _)| own == title);
                let _ = write!(out, " {} |", cell.map_or("–", |(_, text)| text));
            }
            out.push('\n');
        }
        out
    }
}

/// The rows of one controller, title and text.
fn rows(figures: &Figures) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |title: String, text: String| rows.push((title, text));
    for edits in &figures.edits {
        let with = format!("{} other routes, p50 / p99 / max ms", edits.routes);
        row(format!("written → served by every shard, {with}"), edits.all_ms.text());
        row(format!("written → first served, {with}"), edits.first_ms.text());
        row(format!("wrong answers meanwhile, {} routes", edits.routes), edits.wrong.to_string());
    }
    if let Some(burst) = &figures.burst {
        let of = format!("burst of {} routes", burst.routes);
        row(format!("{of}: writing, s"), number(burst.writing_s));
        row(format!("{of}: last write → all served, s"), number(burst.served_s));
        row(format!("{of}: last write → all Accepted, s"), accepted(burst));
        let early = format!("{} of {}", burst.accepted_before_served, burst.probed);
        row(format!("{of}: Accepted but not served when asked"), early);
    }
    if let Some(memory) = figures.memory {
        row(format!("resident at {} routes, MiB", memory.routes), number(memory.mib));
    }
    if let Some(restart) = &figures.restart {
        let of = format!("start with {} routes", restart.routes);
        row(format!("{of} → served, s"), number(restart.served_s));
        row(format!("{of}: wrong answers until then"), restart.wrong_answers.to_string());
    }
    if let Some(quiet) = &figures.unrelated {
        let rate = quiet.changes as f64 / quiet.seconds;
        quiet_rows(&format!("{rate:.0} unrelated changes/s"), quiet, &mut row);
    }
    if let Some(quiet) = &figures.quiet {
        quiet_rows("quiet cluster", quiet, &mut row);
    }
    if let Some(switches) = &figures.switches {
        switch_rows(switches, &mut row);
    }
    rows
}

fn accepted(burst: &Burst) -> String {
    match burst.accepted_s {
        Some(seconds) if burst.accepted == burst.routes => number(seconds),
        _ => format!("never: {} were", burst.accepted),
    }
}

fn quiet_rows(of: &str, quiet: &Quiet, row: &mut impl FnMut(String, String)) {
    let of = format!("{of}, {} routes", quiet.routes);
    let cpu = quiet.cpu_percent.map_or_else(|| "–".to_owned(), number);
    row(format!("{of}: CPU, % of a core"), cpu);
    row(format!("{of}: writes a minute"), number(quiet.writes_per_minute));
    let leases = number(quiet.lease_writes_per_minute);
    row(format!("{of}: lease writes a minute, all holders"), leases);
}

fn switch_rows(switches: &Switches, row: &mut impl FnMut(String, String)) {
    let of = format!("{} switches under load", switches.count);
    let (with, without) = (&switches.with, &switches.without);
    row(format!("{of}: failed / half-changed"), format!("{} / {}", with.failed, with.half_changed));
    let mark = if with.valid && without.valid { "" } else { " (INVALID: schedule not kept)" };
    let p99 = format!(
        "{} against {} = {}×{mark}",
        number(with.p99_us),
        number(without.p99_us),
        number(switches.p99_ratio)
    );
    row(format!("{of}: p99 us, with against without"), p99);
    row(format!("{of}: made during the load"), switches.under_load.to_string());
}

/// Three figures at most.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_by_nearest_rank() {
        let spread = Spread::of((1..=200).rev().map(f64::from).collect());
        assert_eq!(spread, Spread { samples: 200, p50: 100.0, p99: 198.0, max: 200.0 });
        let few = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((few.p50, few.p99, few.max), (2.0, 3.0, 3.0));
        assert!(Spread::of(Vec::new()).p50.is_nan());
    }

    #[test]
    fn what_one_controller_lacks_is_a_dash_in_its_column() {
        let mut report = Report::new("machine".to_owned());
        let memory = Some(Memory { routes: 10, mib: 12.345 });
        report.push("a", Figures { memory, ..Figures::default() });
        report.push("b", Figures::default());
        let table = report.table();
        assert!(table.contains("| what | a | b |\n|---|---|---|\n"), "{table}");
        assert!(table.contains("| resident at 10 routes, MiB | 12.3 | – |"), "{table}");
    }

    #[test]
    fn a_burst_that_was_not_accepted_whole_has_no_time() {
        let mut burst = Burst {
            routes: 10,
            writing_s: 1.0,
            served_s: 1.0,
            accepted_s: Some(2.5),
            accepted: 10,
            probed: 2,
            accepted_before_served: 0,
            wrong_answers: 0,
        };
        assert_eq!(accepted(&burst), "2.50");
        burst.accepted = 9;
        assert_eq!(accepted(&burst), "never: 9 were");
    }

    #[test]
    fn failures_under_load_decide_the_exit_status() {
        let loaded = |failed, half_changed| Loaded {
            requests: 9,
            failed,
            half_changed,
            p50_us: 1.0,
            p99_us: 1.0,
            valid: true,
        };
        let switches = Switches {
            count: 1,
            under_load: 1,
            switching_s: 1.0,
            without: loaded(5, 0),
            with: loaded(1, 2),
            p99_ratio: 1.0,
        };
        let mut report = Report::new(String::new());
        report.push("a", Figures { switches: Some(switches), ..Figures::default() });
        assert_eq!(report.failed(), 3);
    }
}
