//! Many routes at once: until all are served, until all are accepted, and whether any was called
//! accepted before it was served.
//!
//! Called by [`super`]. A watch sees when each route becomes `Accepted=True`; a thread asks for one
//! in [`PROBE_EVERY`] of them at once. Invariant: a route that answers right when asked counts as
//! served in time, so lateness of the asking thread never counts against a controller.

use std::collections::HashSet;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::api::{WATCH_MAX, Watch};
use super::objects::{self, Kind};
use super::report::Burst;
use super::served::{Question, Verdict, wait_for_all};
use super::stage::Stage;
use crate::process;

/// One accepted route in so many is asked for.
const PROBE_EVERY: usize = 5;
/// So many routes stand for all when it is asked whether all are served.
const SAMPLE: usize = 100;

/// What the watch saw.
#[derive(Debug, Default)]
struct Seen {
    accepted: HashSet<String>,
    last: Option<Instant>,
}

impl Seen {
    /// Whether this event is the first that calls a route of the burst accepted.
    fn note(&mut self, route: &serde_json::Value, at: Instant) -> Option<&str> {
        let name = route["metadata"]["name"].as_str().filter(|name| name.starts_with('r'))?;
        if !objects::is_accepted(route) || !self.accepted.insert(name.to_owned()) {
            return None;
        }
        self.last = Some(at);
        self.accepted.get(name).map(String::as_str)
    }
}

/// Creates the routes of the burst at once.
pub(crate) fn measure(stage: &mut Stage<'_>) -> anyhow::Result<Burst> {
    stage.have_others(0)?;
    let count = stage.args.burst;
    eprintln!("a burst of {count} routes");
    let namespace = stage.namespace().to_owned();
    let (_, version) = stage.api.list(Kind::HttpRoute, &namespace)?;
    let watch = stage.api.watch(Kind::HttpRoute, &namespace, &version)?;
    let (questions, asked) = mpsc::channel();
    let prober = thread::spawn(move || probe(asked));
    let base = stage.question("", "");
    let limit = stage.args.limit();
    let watcher = thread::spawn(move || follow(&watch, &base, questions, count, limit));
    let routes = (0..count).map(|index| objects::other_route(&namespace, index)).collect();
    let (first, last) = stage.api.create_all(Kind::HttpRoute, routes)?;
    stage.made_others(count);
    let (served, wrong) = wait_for_all(stage.sample(SAMPLE, count), limit)?;
    let seen = watcher.join().map_err(|_| anyhow::anyhow!("the watching thread panicked"))??;
    let (probed, too_early) =
        prober.join().map_err(|_| anyhow::anyhow!("the probing thread panicked"))?;
    let after = |at: Instant| at.saturating_duration_since(last).as_secs_f64();
    Ok(Burst {
        routes: count,
        writing_s: (last - first).as_secs_f64(),
        served_s: after(served),
        accepted_s: seen.last.map(after),
        accepted: seen.accepted.len(),
        probed,
        accepted_before_served: too_early,
        wrong_answers: wrong,
    })
}

/// Reads events until all routes are accepted, or the limit is reached.
fn follow(
    watch: &Watch,
    base: &Question,
    questions: mpsc::Sender<Question>,
    count: usize,
    limit: Duration,
) -> anyhow::Result<Seen> {
    let end = Instant::now() + limit.min(WATCH_MAX);
    let mut seen = Seen::default();
    while seen.accepted.len() < count && Instant::now() < end {
        process::check_interrupt()?;
        let event = match watch.events.recv_timeout(Duration::from_millis(100)) {
            Ok(event) => event,
            Err(mpsc::RecvTimeoutError::Timeout) => continue,
            Err(mpsc::RecvTimeoutError::Disconnected) => anyhow::bail!("the watch ended early"),
        };
        let number = seen.accepted.len();
        if let Some(name) = seen.note(&event.object, event.at)
            && number.is_multiple_of(PROBE_EVERY)
            && let Some(index) = name.strip_prefix('r').and_then(|digits| digits.parse().ok())
        {
            let (name, host) = objects::other(index);
            // The prober ends only when this end is gone.
            drop(questions.send(Question { host, wanted: name, ..base.clone() }));
        }
    }
    Ok(seen)
}

/// Asks every question once; returns how many there were and how many answers were not right.
fn probe(questions: mpsc::Receiver<Question>) -> (usize, usize) {
    let (mut probed, mut too_early) = (0, 0);
    for question in questions {
        probed += 1;
        if !matches!(question.once(), Ok(Verdict::New)) {
            too_early += 1;
        }
    }
    (probed, too_early)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_route_counts_once_and_only_when_accepted() {
        let route = |name: &str, status: &str| {
            json!({
                "metadata": {"name": name},
                "status": {"parents": [{"conditions": [{"type": "Accepted", "status": status}]}]},
            })
        };
        let (mut seen, now) = (Seen::default(), Instant::now());
        assert_eq!(seen.note(&route("r1", "False"), now), None);
        assert_eq!(seen.note(&route("edited", "True"), now), None);
        assert_eq!(seen.last, None);
        assert_eq!(seen.note(&route("r1", "True"), now), Some("r1"));
        assert_eq!(seen.note(&route("r1", "True"), now), None);
        assert_eq!((seen.accepted.len(), seen.last), (1, Some(now)));
    }
}
