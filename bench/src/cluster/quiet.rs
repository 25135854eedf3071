//! What a controller costs when nothing changes, or nothing that concerns it.
//!
//! Called by [`super`]. Writes are counted by watching the kinds that a controller writes; what this
//! benchmark itself changes is in a namespace of its own and left out. Leases are counted apart:
//! holding one takes writes. Invariant: a watch that ends early is an error, not a small number.

use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::api::Watch;
use super::objects::{self, Kind};
use super::report::Quiet;
use super::stage::Stage;
use crate::process::{self, cpu};

/// The kinds that a controller of the Gateway API writes.
const WATCHED: [Kind; 6] = [
    Kind::Gateway,
    Kind::GatewayClass,
    Kind::HttpRoute,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Lease,
];

/// Watches for `--quiet` seconds, with so many unrelated changes a second.
pub(crate) fn measure(stage: &Stage<'_>, rate: Option<u32>) -> anyhow::Result<Quiet> {
    let span = Duration::from_secs(stage.args.quiet);
    match rate {
        Some(rate) => eprintln!("{rate} unrelated changes a second for {span:?}"),
        None => eprintln!("a quiet cluster for {span:?}"),
    }
    process::pause(SETTLE)?;
    let watches = watches(stage)?;
    let cpu_before = stage.pid().map(cpu::cpu_ns).transpose()?;
    let begun = Instant::now();
    let changes = match rate {
        Some(rate) => change(stage, rate, begun + span)?,
        None => {
            process::pause(span)?;
            0
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_after = stage.pid().map(cpu::cpu_ns).transpose()?;
    let (mut writes, mut lease_writes) = (0, 0);
    for (kind, watch) in &watches {
        let count = count(watch, stage.unrelated())
            .with_context(|| format!("the watch of {}", kind.plural()))?;
        *(if *kind == Kind::Lease { &mut lease_writes } else { &mut writes }) += count;
    }
    let cpu = cpu_before.zip(cpu_after).map(|(before, after)| after.saturating_sub(before));
    Ok(Quiet {
        routes: stage.others(),
        seconds,
        changes,
        cpu_percent: cpu.map(|ns| ns as f64 / 1e7 / seconds),
        writes_per_minute: writes as f64 * 60.0 / seconds,
        lease_writes_per_minute: lease_writes as f64 * 60.0 / seconds,
    })
}

fn watches(stage: &Stage<'_>) -> anyhow::Result<Vec<(Kind, Watch)>> {
    let mut watches = Vec::new();
    for kind in WATCHED {
        let (_, version) = stage.api.list(kind, "")?;
        watches.push((kind, stage.api.watch(kind, "", &version)?));
    }
    Ok(watches)
}

/// Changes one unrelated object after the other, until `end`; returns how many.
fn change(stage: &Stage<'_>, rate: u32, end: Instant) -> anyhow::Result<u64> {
    let objects = objects::unrelated(stage.unrelated());
    let every = Duration::from_secs(1) / rate;
    let (mut due, mut changes) = (Instant::now(), 0);
    for (kind, object) in objects.iter().cycle() {
        let now = Instant::now();
        if now >= end {
            break;
        }
        process::pause(due.saturating_duration_since(now))?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let change = json!({"metadata": {"annotations": {"bench/changes": changes.to_string()}}});
        stage.api.patch(*kind, (stage.unrelated(), name), &change)?;
        due += every;
        changes += 1;
    }
    Ok(changes)
}

/// The events of a watch so far, but for one namespace.
fn count(watch: &Watch, without: &str) -> anyhow::Result<u64> {
    let mut count = 0;
    loop {
        match watch.events.try_recv() {
            Ok(event) => {
                ensure!(event.object["kind"] != "Status", "ended by {}", event.object);
                count += u64::from(is_others(&event.object, without));
            }
            Err(TryRecvError::Empty) => return Ok(count),
            Err(TryRecvError::Disconnected) => anyhow::bail!("it ended early"),
        }
    }
}

/// Whether an object is in none of our unrelated changes.
fn is_others(object: &Value, without: &str) -> bool {
    object["metadata"]["namespace"] != without
}

/// What is still under way is over by then.
const SETTLE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_changes_are_not_counted() {
        let object = |namespace: &str| json!({"metadata": {"namespace": namespace}});
        assert!(is_others(&object("a"), "b"));
        assert!(!is_others(&object("b"), "b"));
        assert!(is_others(&json!({"metadata": {}}), "b"));
    }
}
