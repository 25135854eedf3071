//! What an operator sees and does: admin pages, the access log, signals, and starts that fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use e2e_support::backend::Backend;
use e2e_support::client::{self, Conn};
use e2e_support::gateway::Gateway;
use e2e_support::{
    Dir, each_runtime, free_port, gateway_yaml, http_listener, route_yaml, service_yaml, to,
    wait_for,
};

/// Two listeners; `/` to v1, a redirect, a Service without endpoints.
struct World {
    dir: Dir,
    at: String,
    other: String,
    v1: Backend,
    gateway: Gateway,
}

impl World {
    fn start(runtime: &str, flags: &[&str]) -> Self {
        let (dir, port, other, v1) = (Dir::new(), free_port(), free_port(), Backend::start("v1"));
        let redirect = "filters: [{ type: RequestRedirect, requestRedirect: { scheme: https } }]";
        let text = gateway_yaml(&(http_listener("one", port) + &http_listener("two", other)))
            + &route_yaml(
                "shop",
                "",
                &[("/shop", &to("v1")), ("/away", redirect), ("/empty", &to("empty"))],
            )
            + &route_yaml("hold", "", &[("/hold", &to("v1"))])
            + &service_yaml("v1", &v1.address.to_string())
            + &service_yaml("empty", "");
        let path = dir.write("all.yaml", &text);
        let log = dir.join("access.json");
        let log = ["--access-log", log.to_str().unwrap()];
        let gateway = Gateway::start(runtime, &path, &[&log, flags].concat());
        let at = |port| format!("127.0.0.1:{port}");
        Self { at: at(port), other: at(other), dir, v1, gateway }
    }

    /// The lines of the access log once there are `n`.
    fn access_log(&self, n: usize) -> Vec<Value> {
        let path = self.dir.join("access.json");
        wait_for("lines in the access log", || {
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<Value> = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
                .collect();
            (lines.len() >= n).then_some(lines)
        })
    }
}

/// Samples of the text format: `name{labels}` and its value. Anything else is a failure.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    let mut typed = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            typed = name;
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(!typed.is_empty() && name.starts_with(typed), "{line} after {typed}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(out.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    out
}

#[test]
fn metrics_parse_and_count_what_was_sent_by_listener_and_class() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &[]);
        let mut one = Conn::open(&world.at);
        let mut two = Conn::open(&world.other);
        for _ in 0..7 {
            assert_eq!(one.get("/shop").status(), 200);
            assert_eq!(two.get("/away").status(), 302);
        }
        for _ in 0..3 {
            assert_eq!(one.get("/nowhere").status(), 404);
            assert_eq!(two.get("/empty").status(), 503);
        }
        world
            .gateway
            .wait_metric(r#"ringway_requests_total{listener="default/web/two",class="5xx"} 3"#);
        let wanted = [
            (r#"ringway_requests_total{listener="default/web/one",class="2xx"}"#, 7.0),
            (r#"ringway_requests_total{listener="default/web/one",class="4xx"}"#, 3.0),
            (r#"ringway_requests_total{listener="default/web/two",class="3xx"}"#, 7.0),
            (r#"ringway_requests_total{listener="default/web/two",class="5xx"}"#, 3.0),
            (r#"ringway_faults_total{reason="no_route"}"#, 3.0),
            (r#"ringway_faults_total{reason="no_endpoints"}"#, 3.0),
            (r#"ringway_faults_total{reason="redirect"}"#, 7.0),
            ("ringway_ready", 1.0),
            ("ringway_gateways", 1.0),
        ];
        // Shards report one after the other.
        wait_for("all counts", || {
            let samples = samples(&world.gateway.page("/metrics").1);
            let right = |(name, value): &(&str, f64)| samples.get(*name) == Some(value);
            wanted.iter().all(right).then_some(())
        });
        let samples = samples(&world.gateway.page("/metrics").1);
        let total: f64 = samples
            .iter()
            .filter(|(name, _)| name.starts_with("ringway_requests_total"))
            .map(|(_, value)| value)
            .sum();
        assert!((total - 20.0).abs() < f64::EPSILON, "{total}");
    });
}

#[test]
fn health_status_and_histograms_are_served() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &[]);
        assert_eq!(Conn::open(&world.at).get("/shop").status(), 200);
        assert_eq!(world.gateway.page("/livez"), (200, "ok\n".to_owned()));
        assert_eq!(world.gateway.page("/readyz"), (200, "ok\n".to_owned()));
        let status = world.gateway.status();
        assert_eq!(status["ready"], true);
        assert_eq!(status["runtime"]["name"], runtime);
        assert_eq!(status["epoch"]["published"], status["epoch"]["installed"]);
        for shard in status["shards"].as_array().unwrap() {
            assert_eq!(shard["phase"], "serving");
            for listener in shard["listeners"].as_array().unwrap() {
                assert_eq!(listener["error"], Value::Null);
            }
        }
        let (code, hlog) = world.gateway.page("/histograms");
        assert!(code == 200 && hlog.starts_with("#["), "{hlog}");
        let (code, table) = world.gateway.page("/histograms?format=table");
        assert!(code == 200 && table.contains("shard") && table.contains("99"), "{table}");
    });
}

#[test]
fn the_access_log_has_reasons_stages_routes_endpoints_and_escapes_hostile_paths() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &["--debug-header"]);
        let mut conn = Conn::open(&world.at);
        let hostile = "/shop/%22%0A%7B%22status%22:1?a=\"\\<\u{7f}";
        let hostile = hostile.trim_end_matches('\u{7f}');
        for (path, status, reason) in [
            ("/shop", 200, None),
            ("/nowhere", 404, Some("no_route")),
            ("/empty", 503, Some("no_endpoints")),
            ("/away", 302, Some("redirect")),
        ] {
            let answer = conn.get(path);
            assert_eq!(answer.status(), status);
            assert_eq!(answer.field("x-ringway-reason"), reason);
        }
        let hostile_status = conn.get(hostile).status();
        let lines = world.access_log(5);
        assert_eq!(lines.len(), 5);
        let reasons: Vec<_> =
            lines.iter().take(4).map(|line| line["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["-", "no_route", "no_endpoints", "redirect"]);
        let served = &lines[0];
        assert_eq!(served["status"], 200);
        assert_eq!(served["route"], "default/shop");
        assert_eq!(served["endpoint"], world.v1.address.to_string());
        assert_eq!(served["listener"], "default/web/one");
        assert_eq!(served["client"], "127.0.0.1");
        for stage in ["route_us", "connect_us", "first_byte_us", "relay_us", "total_us"] {
            assert!(served[stage].is_u64(), "{stage} in {served}");
        }
        assert!(lines[1].get("endpoint").is_none() && lines[3]["route"] == "default/shop");
        assert_eq!(lines[4]["status"], hostile_status);
        let (admin, text) = (&world.gateway, fs::read_to_string(world.dir.join("access.json")));
        assert_eq!(text.unwrap().lines().count(), 5, "{}", admin.log());
    });
}

#[test]
fn sigterm_lets_a_slow_response_finish_says_close_and_ends_with_0() {
    each_runtime(|runtime| {
        let mut world = World::start(runtime, &[]);
        let mut slow = Conn::open(&world.at);
        slow.send("GET /hold HTTP/1.1\r\nHost: e2e.test\r\n\r\n");
        world.v1.wait_seen("/hold");
        let mut kept = Conn::open(&world.at);
        assert!(!kept.get("/shop").says_close());
        world.gateway.signal("-TERM");
        wait_for("/readyz to fail", || (world.gateway.page("/readyz").0 == 503).then_some(()));
        assert_eq!(world.gateway.page("/livez").0, 200);
        wait_for("all shards to drain", || {
            let status = world.gateway.status();
            let shards = status["shards"].as_array().unwrap().clone();
            shards.iter().all(|shard| shard["phase"] != "serving").then_some(())
        });
        let answer = kept.get("/shop");
        assert!(answer.status() == 200 && answer.says_close(), "{answer:?}");
        assert_eq!(kept.rest(), "");
        let answer = Conn::open(&world.at).get("/shop");
        assert!(answer.status() == 200 && answer.says_close(), "accepting goes on: {answer:?}");
        world.v1.release();
        let answer = slow.answer();
        assert!(answer.status() == 200 && answer.says_close(), "{answer:?}");
        let (code, out) = world.gateway.end();
        assert_eq!(code, Some(0), "{}", world.gateway.log());
        assert!(out.contains("latency since start"), "{out}");
    });
}

#[test]
fn a_second_signal_ends_at_once_whatever_is_open() {
    each_runtime(|runtime| {
        let mut world = World::start(runtime, &["--drain-timeout", "10m"]);
        let mut slow = Conn::open(&world.at);
        slow.send("GET /hold HTTP/1.1\r\nHost: e2e.test\r\n\r\n");
        world.v1.wait_seen("/hold");
        world.gateway.signal("-TERM");
        world.gateway.wait_log("a second signal ends at once");
        world.gateway.signal("-TERM");
        assert_eq!(world.gateway.end().0, Some(0));
        assert!(world.gateway.log().contains("a second signal: open connections are cut"));
    });
}

#[test]
fn clients_that_heed_connection_close_lose_no_request_during_sigterm() {
    each_runtime(|runtime| {
        let mut world = World::start(runtime, &[]);
        let done = AtomicU64::new(0);
        let failed: usize = std::thread::scope(|scope| {
            let clients: Vec<_> =
                (0..4).map(|_| scope.spawn(|| until_told_to_close(&world.at, &done))).collect();
            wait_for("load", || (done.load(Ordering::Relaxed) > 100).then_some(()));
            world.gateway.signal("-TERM");
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        assert_eq!(failed, 0, "of {}", done.load(Ordering::Relaxed));
        assert_eq!(world.gateway.end().0, Some(0));
    });
}

/// Requests on one connection until an answer says close; the number of those that failed.
fn until_told_to_close(at: &str, done: &AtomicU64) -> usize {
    let mut conn = Conn::open(at);
    loop {
        conn.send("GET /shop HTTP/1.1\r\nHost: e2e.test\r\n\r\n");
        match conn.try_answer() {
            Some(answer) if answer.status() == 200 => {
                done.fetch_add(1, Ordering::Relaxed);
                if answer.says_close() {
                    return 0;
                }
            }
            Some(_) | None => return 1,
        }
    }
}

#[test]
fn a_listener_whose_port_is_taken_says_so_and_works_once_it_is_free() {
    each_runtime(|runtime| {
        let (dir, port, v1) = (Dir::new(), free_port(), Backend::start("v1"));
        let taken = TcpListener::bind(("0.0.0.0", port)).unwrap();
        let path = dir.write("all.yaml", &e2e_support::simple_yaml(port, v1.address));
        let gateway = Gateway::start(runtime, &path, &[]);
        gateway.wait_log(&format!("(pid {})", std::process::id()));
        assert!(gateway.log().contains("cannot listen on"), "{}", gateway.log());
        drop(taken);
        let url = format!("http://127.0.0.1:{port}/");
        let served = wait_for("the port to be served", || {
            let (out, _, code) = client::try_curl(&[&url]);
            (code == Some(0)).then_some(out)
        });
        assert_eq!(client::status(&served), 200);
    });
}
