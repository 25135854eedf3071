//! One route that changes in every way under load: no request may fail, or see half a change.
//!
//! Called by [`super`]. The route sets the field that names its backend, so an answer whose backend
//! is another one than the field says was made by half of a change. Invariant: the load is the same
//! with and without changes, and longer than they take.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use super::objects::{self, BACKEND, Kind, VERSION, VERSION_ECHO};
use super::report::{Loaded, Switches};
use super::served::wait_for_all;
use super::stage::Stage;
use crate::compare::{Load, start_changed_load};
use crate::load::record::Failure;
use crate::outcome::Outcome;
use crate::process;

const HOST: &str = "switch.bench.example";
/// Between two switches.
const BETWEEN: Duration = Duration::from_millis(20);

/// A way to change a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Backend,
    Header,
    Rename,
    RuleOrder,
}

impl Way {
    const ALL: [Self; 4] = [Self::Backend, Self::Header, Self::Rename, Self::RuleOrder];
}

/// The route as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    second_backend: bool,
    header: usize,
    second_name: bool,
    swapped: bool,
}

impl State {
    fn after(mut self, way: Way) -> Self {
        match way {
            Way::Backend => self.second_backend = !self.second_backend,
            Way::Header => self.header += 1,
            Way::Rename => self.second_name = !self.second_name,
            Way::RuleOrder => self.swapped = !self.swapped,
        }
        self
    }

    fn name(self) -> &'static str {
        if self.second_name { "switch-two" } else { "switch-one" }
    }

    fn rules(self) -> Vec<Value> {
        let backend = if self.second_backend { "b" } else { "a" };
        let header = self.header.to_string();
        let fields = [(VERSION, backend), ("x-bench-header", header.as_str())];
        let mut rules =
            vec![objects::rule("/s", &fields, backend), objects::rule("/other", &fields, backend)];
        if self.swapped {
            rules.reverse();
        }
        rules
    }
}

/// The same load twice: without and with changes.
pub(crate) fn measure(stage: &mut Stage<'_>) -> anyhow::Result<Switches> {
    let count = stage.args.switches;
    eprintln!("{count} switches under {} requests/s", stage.args.rate);
    let mut state = State::default();
    stage.api.create(Kind::HttpRoute, object(stage, state))?;
    let mut question = stage.question(HOST, "a");
    question.path = "/s";
    wait_for_all(vec![question.clone()], stage.args.limit())?;
    // A switch is a call or two of some milliseconds each; the load goes on until all are made.
    let seconds = (BETWEEN.as_secs_f64() + CALLS) * count as f64 + 3.0;
    let without = load(stage, seconds)?.finish()?;
    let mut load = load(stage, seconds)?;
    process::pause(Duration::from_secs(1))?;
    let begun = Instant::now();
    let mut under_load = 0;
    for way in Way::ALL.into_iter().cycle().take(count) {
        state = switch(stage, state, way)?;
        under_load += usize::from(load.is_running());
        process::pause(BETWEEN)?;
    }
    let switching_s = begun.elapsed().as_secs_f64();
    question.wanted = if state.second_backend { "b" } else { "a" }.to_owned();
    wait_for_all(vec![question], stage.args.limit())?;
    let with = load.finish()?;
    ensure!(under_load > 0, "the load ended before the first switch");
    stage.api.delete(Kind::HttpRoute, stage.namespace(), state.name())?;
    Ok(Switches {
        count,
        under_load,
        switching_s,
        without: loaded(&without),
        with: loaded(&with),
        p99_ratio: with.latency_us.p99 / without.latency_us.p99,
    })
}

fn object(stage: &Stage<'_>, state: State) -> Value {
    objects::route(stage.namespace(), state.name(), HOST, state.rules())
}

/// Makes one change. A route gets another name by being there under both for a moment.
fn switch(stage: &Stage<'_>, state: State, way: Way) -> anyhow::Result<State> {
    let next = state.after(way);
    if next.name() == state.name() {
        let change = json!({"spec": {"rules": next.rules()}});
        stage.api.patch(Kind::HttpRoute, (stage.namespace(), next.name()), &change)?;
    } else {
        stage.api.create(Kind::HttpRoute, object(stage, next))?;
        stage.api.delete(Kind::HttpRoute, stage.namespace(), state.name())?;
    }
    Ok(next)
}

fn load(stage: &Stage<'_>, seconds: f64) -> anyhow::Result<Load> {
    let url = format!("http://{}/s", stage.gateway);
    let equal = format!("{VERSION_ECHO},{BACKEND}");
    start_changed_load((&url, HOST), stage.args.rate, seconds, &equal, stage.directory.path())
}

fn loaded(outcome: &Outcome) -> Loaded {
    let errors = |kind: &str| outcome.errors.get(kind).copied().unwrap_or(0);
    let half_changed = errors(Failure::HalfChanged.name());
    Loaded {
        requests: outcome.completed,
        failed: outcome.failed() - half_changed,
        half_changed,
        p50_us: outcome.latency_us.p50,
        p99_us: outcome.latency_us.p99,
        valid: outcome.valid,
    }
}

/// Seconds that the calls of a switch take, as far as the length of the load is concerned.
const CALLS: f64 = 0.015;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_changes_one_thing() {
        let state = State::default();
        let backend = |state: State| state.rules()[0]["backendRefs"][0]["name"].clone();
        assert_eq!((backend(state), backend(state.after(Way::Backend))), (json!("a"), json!("b")));
        assert_ne!(state.after(Way::Rename).name(), state.name());
        assert_eq!(state.after(Way::Rename).rules(), state.rules());
        assert_ne!(state.after(Way::Header).rules(), state.rules());
        let mut rules = state.after(Way::RuleOrder).rules();
        rules.reverse();
        assert_eq!(rules, state.rules());
    }

    #[test]
    fn the_field_names_the_backend_in_every_state() {
        let mut state = State::default();
        for way in Way::ALL.into_iter().cycle().take(12) {
            state = state.after(way);
            for rule in state.rules() {
                let set = &rule["filters"][0]["requestHeaderModifier"]["set"][0];
                assert_eq!(set["value"], rule["backendRefs"][0]["name"]);
            }
        }
    }
}
