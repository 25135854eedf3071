//! What a lookup, a claim, a pick and a compilation cost, at 1, 1,000 and 100,000 routes.
//!
//! Run by `cargo bench -p proxy --bench find`. It prints figures and asserts none. Requests visit
//! all hosts and paths in a scattered order, so that large tables are read from memory, not cache.
#![allow(missing_docs, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "../tests/table_kit/mod.rs"]
mod table_kit;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use proxy::balance::Local;
use proxy::epoch::Epoch;
use proxy::http::RequestHead;
use proxy::ir::*;
use table_kit::{Request, compile, ir, listener, on, port, route, rule, table};

const REQUESTS: usize = 50_000;
const ROUNDS: usize = 9;

fn main() {
    println!(
        "{:<34}{:>11}{:>11}{:>14}",
        "hosts × paths (one route each)", "ns/find", "ns/claim", "compile ms"
    );
    for (hosts, paths) in [
        (1, 1),
        (1_000, 1),
        (10, 100),
        (1, 1_000),
        (1, 10_000),
        (100_000, 1),
        (1_000, 100),
        (100, 1_000),
        (1, 100_000),
    ] {
        lookups(hosts, paths);
    }
    conditions();
    for (hosts, paths) in [(100, 100), (10_000, 1), (1, 10_000)] {
        edits(hosts, paths);
    }
    picks();
}

fn host(n: usize) -> String {
    format!("service-{n}.team-{}.example.com", n % 50)
}

fn prefix(n: usize) -> String {
    format!("/api/v{}/resource-{n}", n % 3)
}

fn routes(hosts: usize, paths: usize) -> Vec<AttachedRoute> {
    let one = |at: usize| {
        let (h, p) = (at / paths, at % paths);
        let (first, second) =
            (format!("ns/svc-{}:80", at % 997), format!("ns/svc-{}:80", (at + 1) % 997));
        let rules = vec![rule(vec![on(&prefix(p))], &[(&first, 90), (&second, 10)])];
        route(&format!("ns-{}/route-{at}", at % 50), at as i64, &[&host(h)], rules)
    };
    (0..hosts * paths).map(one).collect()
}

/// Requests that hit, two segments below their prefix, in scattered order, each with usual fields.
fn heads(hosts: usize, paths: usize) -> Vec<RequestHead> {
    let total = hosts * paths;
    let one = |n: usize| {
        let at = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % total;
        let path = format!("{}/item/{n}", prefix(at % paths));
        Request::get(&host(at / paths), &path)
            .field("host", &host(at / paths))
            .field("user-agent", "bench")
            .field("accept", "*/*")
            .head()
    };
    (0..REQUESTS).map(one).collect()
}

/// The median over rounds of the time per item.
fn per_item(items: usize, mut round: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_nanos() as f64 / items as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn find_all(epoch: &Epoch, heads: &[RequestHead], local: &mut Local) -> f64 {
    per_item(heads.len(), || {
        for head in heads {
            let hit = table(epoch).find(head, &mut local.caches).expect("every request hits");
            black_box(hit.rule.cursor);
        }
    })
}

fn lookups(hosts: usize, paths: usize) {
    let configuration = ir(routes(hosts, paths));
    let start = Instant::now();
    let epoch = compile(1, &configuration, None);
    let compiled = start.elapsed().as_secs_f64() * 1e3;
    let heads = heads(hosts, paths);
    let find = find_all(&epoch, &heads, &mut Local::new(0, 1));
    let claim = claims(hosts, &heads);
    println!("{:<34}{find:>11.0}{claim:>11.0}{compiled:>14.2}", format!("{hosts} × {paths}"));
}

/// As many HTTPS listeners as hosts (5,000 at most).
fn claims(hosts: usize, heads: &[RequestHead]) -> f64 {
    let count = hosts.min(5_000);
    let named = |n: usize| listener(&format!("ns/gw/l{n}"), Some(&host(n)), Vec::new());
    let mut listeners: Vec<Listener> = (0..count).map(named).collect();
    listeners.push(listener("ns/gw/any", Some("*.example.com"), Vec::new()));
    let ports = vec![port(Protocol::Tls, listeners)];
    let epoch = compile(1, &Ir { ports, ..Ir::default() }, None);
    per_item(heads.len(), || {
        for head in heads {
            black_box(epoch.ports[0].claim(head.host(), Some(head.host())));
        }
    })
}

/// The adversarial case: many matches of one path that differ by a header only are tried in turn.
fn conditions() {
    for count in [1, 10, 1_000, 10_000] {
        let one = |n: usize| {
            let mut found = on("/");
            found.headers.push(table_kit::value(&format!("x-tenant={n}")));
            route(&format!("ns/r{n}"), n as i64, &["h.com"], vec![rule(vec![found], &[])])
        };
        let epoch = compile(1, &ir((0..count).map(one).collect()), None);
        let last = Request::get("h.com", "/").field("x-tenant", &(count - 1).to_string()).head();
        let heads: Vec<&RequestHead> = vec![&last; (100_000 / count).max(10)];
        let mut local = Local::new(0, 1);
        let ns = per_item(heads.len(), || {
            for head in &heads {
                black_box(table(&epoch).find(head, &mut local.caches).expect("it hits"));
            }
        });
        println!("{:<34}{ns:>11.0}", format!("{count} header-only matches, last hits"));
    }
}

fn edits(hosts: usize, paths: usize) {
    let mut configuration = ir(routes(hosts, paths));
    let mut epoch = Arc::new(compile(1, &configuration, None));
    let mut local = Local::new(0, 1);
    local.install(&epoch);
    let (mut times, mut installs) = (Vec::new(), Vec::new());
    for edit in 0..ROUNDS as u64 {
        let at = (edit as usize * 1_117) % (hosts * paths);
        let attached = &mut configuration.ports[0].listeners[0].routes[at];
        let mut changed = Route::clone(&attached.route);
        changed.rules[0].backends[1].weight += 1;
        attached.route = Arc::new(changed);
        let start = Instant::now();
        let next = compile(edit + 2, &configuration, Some(&epoch));
        times.push(start.elapsed().as_secs_f64() * 1e3);
        epoch = Arc::new(next);
        let start = Instant::now();
        local.install(&epoch);
        installs.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    installs.sort_by(f64::total_cmp);
    let what = format!("one edit of {hosts} × {paths}");
    println!(
        "{what:<34}{:>8.2} ms (worst {:.2}), install {:.3} ms a shard",
        times[ROUNDS / 2],
        times[ROUNDS - 1],
        installs[ROUNDS / 2]
    );
}

fn picks() {
    let mut configuration = ir(routes(1, 1));
    for (n, backend) in configuration.backends.values_mut().enumerate() {
        let endpoints = (0..50).map(|e| ([10, 0, n as u8, e], 80).into()).collect();
        *backend = Arc::new(Backend { websocket: true, endpoints, ..Backend::default() });
    }
    let epoch = compile(1, &configuration, None);
    let mut local = Local::new(0, 1);
    local.install(&epoch);
    let now = Instant::now();
    let head = &heads(1, 1)[0];
    let rule = table(&epoch).find(head, &mut local.caches).expect("it hits").rule;
    let ns = per_item(REQUESTS, || {
        for _ in 0..REQUESTS {
            let backend = local.pick_backend(rule).expect("it has two");
            let slot = rule.backends[backend].slot.expect("it is valid");
            let (id, _) = local.pick_endpoint(slot, None, now).expect("it has 50");
            local.begin(id);
            local.end(black_box(id), proxy::balance::Outcome::Answered, now);
        }
    });
    println!("{:<34}{ns:>11.0}", "pick backend and endpoint of 50");
}
