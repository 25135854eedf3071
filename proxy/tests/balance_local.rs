//! Backends get exactly their shares; endpoints are chosen by load, health and identity.
#![allow(missing_docs, reason = "a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "one reading of the clock is the origin of a test's time"
)]

mod table_kit;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proxy::balance::{EJECTION_MAX, EJECTION_MIN, EndpointId, FAILURES_MAX, Local, Outcome};
use proxy::epoch::{Epoch, Settings};
use proxy::ir::{Backend, Ir};
use table_kit::{Request, compile, ir, on, route, rule, table};

/// An epoch whose backends have these endpoints, given by the last byte of their address.
fn epoch(id: u64, backends: &[(&str, &[u8])], previous: Option<&Epoch>) -> Epoch {
    let backend = |(name, hosts): &(&str, &[u8])| {
        let endpoints = hosts.iter().map(|host| ([10, 0, 0, *host], 80).into()).collect();
        (Arc::from(*name), Arc::new(Backend { websocket: true, endpoints, ..Backend::default() }))
    };
    let ir = Ir { backends: backends.iter().map(backend).collect(), ..Ir::default() };
    Epoch::compile(id, &ir, Settings::default(), previous)
}

fn slot(epoch: &Epoch, name: &str) -> u32 {
    let named =
        |b: &Option<Arc<proxy::epoch::Backend>>| b.as_ref().is_some_and(|b| *b.name == *name);
    epoch.backends.iter().position(named).expect("the backend exists") as u32
}

fn installed(backends: &[(&str, &[u8])]) -> (Local, Epoch) {
    let epoch = epoch(1, backends, None);
    let mut local = Local::new(0, 7);
    local.install(&epoch);
    (local, epoch)
}

fn id(local: &Local, host: u8) -> EndpointId {
    local.endpoint(([10, 0, 0, host], 80).into()).expect("the endpoint is known")
}

fn fail(local: &mut Local, host: u8, times: u32, now: Instant) {
    let id = id(local, host);
    for _ in 0..times {
        local.begin(id);
        local.end(id, Outcome::Failed, now);
    }
}

/// Which endpoints 200 picks reach, each ended at once without saying anything.
fn reached(local: &mut Local, slot: u32, now: Instant) -> Vec<u8> {
    let mut seen = BTreeMap::new();
    for _ in 0..200 {
        let (id, address) = local.pick_endpoint(slot, None, now).expect("there are endpoints");
        local.begin(id);
        local.end(id, Outcome::Unknown, now);
        *seen.entry(address.to_string()).or_insert(0) += 1;
    }
    let last = |address: &String| address[7..address.len() - 3].parse().expect("a byte");
    seen.keys().map(last).collect()
}

#[test]
fn a_rule_gives_its_backends_exactly_their_weights_on_every_shard() {
    let weights = [("b/a", 90), ("b/b", 10)];
    let rules = vec![
        rule(vec![on("/")], &weights),
        rule(vec![on("/one")], &weights[..1]),
        rule(vec![on("/none")], &[]),
    ];
    let epoch = compile(1, &ir(vec![route("ns/r", 0, &[], rules)]), None);
    let mut firsts = Vec::new();
    for shard in 0..4 {
        let mut local = Local::new(shard, 1);
        local.install(&epoch);
        let (split, one, none) = (
            Request::get("h", "/").head(),
            Request::get("h", "/one").head(),
            Request::get("h", "/none").head(),
        );
        let rule = table(&epoch).find(&split, &mut local.caches).expect("it matches").rule;
        let picks: Vec<usize> =
            (0..100).map(|_| local.pick_backend(rule).expect("it has some")).collect();
        assert_eq!(picks.iter().filter(|&&at| at == 1).count(), 10, "shard {shard}");
        firsts.push(picks.iter().position(|&at| at == 1));
        let rule = table(&epoch).find(&one, &mut local.caches).expect("it matches").rule;
        assert_eq!(local.pick_backend(rule), Some(0));
        let rule = table(&epoch).find(&none, &mut local.caches).expect("it matches").rule;
        assert_eq!(local.pick_backend(rule), None);
    }
    firsts.dedup();
    assert!(firsts.len() > 1, "shards start at different points of the cycle: {firsts:?}");
}

#[test]
fn the_endpoint_with_fewer_exchanges_in_flight_is_chosen() {
    let (mut local, epoch) = installed(&[("b/a", &[1, 2])]);
    let (slot, now) = (slot(&epoch, "b/a"), Instant::now());
    let busy = id(&local, 1);
    local.begin(busy);
    for _ in 0..50 {
        assert_ne!(local.pick_endpoint(slot, None, now).unwrap().0, busy);
    }
    local.end(busy, Outcome::Answered, now);
    assert_eq!(reached(&mut local, slot, now), [1, 2]);
}

#[test]
fn load_in_flight_stays_even_over_many_endpoints() {
    let hosts: Vec<u8> = (1..=20).collect();
    let (mut local, epoch) = installed(&[("b/a", &hosts)]);
    let (slot, now) = (slot(&epoch, "b/a"), Instant::now());
    for _ in 0..2_000 {
        let (id, _) = local.pick_endpoint(slot, None, now).unwrap();
        local.begin(id);
    }
    for host in hosts {
        let load = local.in_flight(id(&local, host));
        assert!((90..=110).contains(&load), "{host} has {load} of 100");
    }
}

#[test]
fn the_endpoint_that_just_failed_is_the_last_choice() {
    let (mut local, epoch) = installed(&[("b/a", &[1, 2, 3]), ("b/one", &[9])]);
    let now = Instant::now();
    let failed = id(&local, 2);
    for _ in 0..100 {
        assert_ne!(local.pick_endpoint(slot(&epoch, "b/a"), Some(failed), now).unwrap().0, failed);
    }
    let only = id(&local, 9);
    let picked = local.pick_endpoint(slot(&epoch, "b/one"), Some(only), now).unwrap();
    assert_eq!(picked, (only, ([10, 0, 0, 9], 80).into()));
}

#[test]
fn a_backend_without_endpoints_and_a_slot_without_backend_have_none() {
    let (mut local, epoch) = installed(&[("b/empty", &[])]);
    assert_eq!(local.pick_endpoint(slot(&epoch, "b/empty"), None, Instant::now()), None);
    assert_eq!(local.pick_endpoint(99, None, Instant::now()), None);
}

#[test]
fn three_failures_in_a_row_eject_an_endpoint_and_an_answer_between_them_does_not() {
    let (mut local, epoch) = installed(&[("b/a", &[1, 2, 3, 4])]);
    let (slot, now) = (slot(&epoch, "b/a"), Instant::now());
    fail(&mut local, 1, FAILURES_MAX - 1, now);
    let one = id(&local, 1);
    local.begin(one);
    local.end(one, Outcome::Answered, now);
    fail(&mut local, 1, FAILURES_MAX - 1, now);
    assert_eq!(reached(&mut local, slot, now), [1, 2, 3, 4]);
    fail(&mut local, 1, 1, now);
    assert_eq!(reached(&mut local, slot, now), [2, 3, 4]);
}

#[test]
fn after_an_ejection_one_probe_goes_out_and_its_answer_ends_it() {
    let (mut local, epoch) = installed(&[("b/a", &[1, 2, 3])]);
    let (slot, now) = (slot(&epoch, "b/a"), Instant::now());
    fail(&mut local, 1, FAILURES_MAX, now);
    let later = now + EJECTION_MIN;
    assert_eq!(reached(&mut local, slot, later - Duration::from_nanos(1)), [2, 3]);
    let probe = id(&local, 1);
    while local.pick_endpoint(slot, None, later).unwrap().0 != probe {}
    local.begin(probe);
    assert_eq!(reached(&mut local, slot, later), [2, 3], "while the probe is out");
    local.end(probe, Outcome::Answered, later);
    assert_eq!(reached(&mut local, slot, later), [1, 2, 3]);
}

#[test]
fn a_response_head_ends_an_ejection_before_the_exchange_ends() {
    let (mut local, epoch) = installed(&[("b/a", &[1, 2, 3])]);
    let (slot, now) = (slot(&epoch, "b/a"), Instant::now());
    fail(&mut local, 1, FAILURES_MAX, now);
    let stream = id(&local, 1);
    local.begin(stream);
    local.answered(stream);
    assert_eq!(local.in_flight(stream), 1);
    local.begin(id(&local, 2));
    local.begin(id(&local, 3));
    assert_eq!(reached(&mut local, slot, now), [1, 2, 3]);
}

#[test]
fn each_failed_probe_doubles_the_ejection_up_to_its_maximum() {
    let (mut local, epoch) = installed(&[("b/a", &[1, 2, 3])]);
    let slot = slot(&epoch, "b/a");
    let mut now = Instant::now();
    fail(&mut local, 1, FAILURES_MAX, now);
    for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
        let end = now + Duration::from_secs(seconds);
        assert!(Duration::from_secs(seconds) <= EJECTION_MAX);
        assert_eq!(reached(&mut local, slot, end - Duration::from_nanos(1)), [2, 3], "{seconds} s");
        assert_eq!(reached(&mut local, slot, end), [1, 2, 3], "after {seconds} s");
        now = end;
        fail(&mut local, 1, 1, now);
    }
}

#[test]
fn never_more_than_half_of_a_backend_is_avoided() {
    let (mut local, epoch) = installed(&[("b/a", &[1, 2, 3, 4]), ("b/one", &[9])]);
    let (all, one, now) = (slot(&epoch, "b/a"), slot(&epoch, "b/one"), Instant::now());
    for host in [1, 2, 9] {
        fail(&mut local, host, FAILURES_MAX, now);
    }
    assert_eq!(reached(&mut local, all, now), [3, 4]);
    assert_eq!(reached(&mut local, one, now), [9]);
    fail(&mut local, 3, FAILURES_MAX, now);
    assert_eq!(reached(&mut local, all, now), [1, 2, 3, 4]);
}

#[test]
fn backends_that_share_an_endpoint_share_its_health_and_load() {
    let (mut local, epoch) = installed(&[("b/a", &[1, 2]), ("b/b", &[1, 3])]);
    let (a, b, now) = (slot(&epoch, "b/a"), slot(&epoch, "b/b"), Instant::now());
    fail(&mut local, 1, FAILURES_MAX, now);
    assert_eq!(reached(&mut local, a, now), [2]);
    assert_eq!(reached(&mut local, b, now), [3]);
}

#[test]
fn an_endpoint_keeps_its_id_and_health_while_any_backend_wants_it() {
    let (mut local, first) = installed(&[("b/a", &[1, 2, 3])]);
    let now = Instant::now();
    fail(&mut local, 1, FAILURES_MAX, now);
    let before = id(&local, 1);
    let second = epoch(2, &[("b/b", &[1, 4, 5])], Some(&first));
    local.install(&second);
    assert_eq!(id(&local, 1), before);
    assert_eq!(reached(&mut local, slot(&second, "b/b"), now), [4, 5]);
    assert!(local.is_wanted(before));
}

#[test]
fn an_endpoint_in_flight_outlives_its_backend_and_its_id_never_means_another() {
    let (mut local, first) = installed(&[("b/a", &[1, 2])]);
    let (busy, idle, now) = (id(&local, 1), id(&local, 2), Instant::now());
    local.begin(busy);
    let second = epoch(2, &[("b/a", &[3, 4, 5])], Some(&first));
    local.install(&second);
    local.install(&epoch(3, &[("b/a", &[3, 4, 5, 6])], Some(&second)));
    assert!(!local.is_wanted(busy) && !local.is_wanted(idle));
    assert_eq!(local.address(busy), Some(([10, 0, 0, 1], 80).into()));
    assert_eq!((local.address(idle), local.in_flight(busy)), (None, 1));
    let others = [3, 4, 5, 6].map(|host| id(&local, host));
    assert!(!others.contains(&idle) && !others.contains(&busy));
    assert!(others.iter().any(|other| other.index() == idle.index()), "its place is reused");
    local.begin(idle);
    assert_eq!(others.map(|other| local.in_flight(other)), [0; 4]);
    local.end(idle, Outcome::Failed, now);
    local.end(busy, Outcome::Failed, now);
    assert_eq!(local.address(busy), None);
}

#[derive(Clone, Debug)]
enum Act {
    Install(Vec<Vec<u8>>),
    Begin(usize),
    End(usize, u8),
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let members = proptest::sample::subsequence((1..8_u8).collect::<Vec<_>>(), 0..=7);
    let act = prop_oneof![
        1 => proptest::collection::vec(members, 0..4).prop_map(Act::Install),
        6 => (0..4_usize).prop_map(Act::Begin),
        6 => (any::<usize>(), 0..3_u8).prop_map(|(at, how)| Act::End(at, how)),
        2 => (0..4_000_u64).prop_map(Act::Wait),
    ];
    proptest::collection::vec(act, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_picks_are_of_the_backend_and_counts_return_to_zero(acts in acts()) {
        let names = ["b/0", "b/1", "b/2", "b/3"];
        let (mut local, mut current) = installed(&[("b/0", &[1, 2])]);
        let mut now = Instant::now();
        let mut open: Vec<(EndpointId, std::net::SocketAddr)> = Vec::new();
        for act in acts {
            match act {
                Act::Install(members) => {
                    let backends: Vec<(&str, &[u8])> =
                        names.into_iter().zip(members.iter().map(Vec::as_slice)).collect();
                    current = epoch(current.id + 1, &backends, Some(&current));
                    local.install(&current);
                }
                Act::Begin(slot) => {
                    let backend = current.backends.get(slot).and_then(Option::as_ref);
                    let none = backend.is_none_or(|backend| backend.endpoints.is_empty());
                    let picked = local.pick_endpoint(slot as u32, None, now);
                    prop_assert_eq!(picked.is_none(), none);
                    let Some((id, address)) = picked else { continue };
                    prop_assert!(backend.is_some_and(|b| b.endpoints.contains(&address)));
                    local.begin(id);
                    open.push((id, address));
                }
                Act::End(at, how) if !open.is_empty() => {
                    let (id, _) = open.swap_remove(at % open.len());
                    let how = [Outcome::Answered, Outcome::Failed, Outcome::Unknown][how as usize];
                    local.end(id, how, now);
                }
                Act::End(..) => {}
                Act::Wait(millis) => now += Duration::from_millis(millis),
            }
            for (id, address) in &open {
                prop_assert_eq!(local.address(*id), Some(*address));
                let same = open.iter().filter(|(other, _)| other == id).count();
                prop_assert_eq!(local.in_flight(*id) as usize, same);
            }
        }
        for (id, _) in std::mem::take(&mut open) {
            local.end(id, Outcome::Answered, now);
        }
        for host in 1..8 {
            if let Some(id) = local.endpoint(([10, 0, 0, host], 80).into()) {
                prop_assert_eq!(local.in_flight(id), 0);
                prop_assert!(local.is_wanted(id), "an unused endpoint is forgotten");
            }
        }
    }
}

#[test]
fn a_draw_takes_its_share_and_all_or_none_at_the_ends() {
    let mut local = Local::new(0, 7);
    for (numerator, denominator, least, most) in [
        (0, 100, 0, 0),
        (1, 1, 10_000, 10_000),
        (100, 100, 10_000, 10_000),
        (20, 100, 1_800, 2_200),
    ] {
        let taken = (0..10_000).filter(|_| local.draw(numerator, denominator)).count();
        assert!((least..=most).contains(&taken), "{numerator}/{denominator}: {taken}");
    }
    let most = u32::MAX;
    assert!((0..1_000).all(|_| local.draw(most, most)));
}

#[test]
fn a_jittered_wait_is_never_shorter_and_spreads() {
    let mut local = Local::new(0, 7);
    let least = Duration::from_millis(100);
    let waits: Vec<_> = (0..1_000).map(|_| local.jitter(least)).collect();
    assert!(waits.iter().all(|wait| (least..least * 3 / 2).contains(wait)));
    assert!(waits.iter().any(|wait| *wait < least * 6 / 5));
    assert!(waits.iter().any(|wait| *wait > least * 13 / 10));
    assert_eq!(local.jitter(Duration::ZERO), Duration::ZERO);
    assert!(local.jitter(Duration::MAX) >= Duration::from_secs(u64::MAX));
}
