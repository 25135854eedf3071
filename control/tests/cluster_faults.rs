//! The gateway in a real cluster while parts of it die: API server, etcd, replicas and backends.
//!
//! They run inside a cluster of `k8s/cluster` (`k8s/cluster/test` starts one), one at a time, since
//! every gateway process there serves every Gateway.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use e2e_support::bed::{Bed, kill_hard, status};
use e2e_support::load::Load;
use e2e_support::{kube, wait_for};

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn the_api_server_and_etcd_may_die_under_load() {
    let bed = Bed::new("away");
    let load = Load::start(&bed.address, "/", 4);
    kube::cluster(&["kill", "apiserver"]);
    std::thread::sleep(Duration::from_secs(3));
    kube::cluster(&["kill", "etcd"]);
    std::thread::sleep(Duration::from_secs(3));
    kube::cluster(&["start", "etcd"]);
    kube::cluster(&["start", "apiserver"]);
    bed.namespace.route("second", "/second", "one");
    bed.namespace.wait_route("second", "Accepted", "True", "Accepted");
    let outcome = load.stop();
    eprintln!("{} requests while API server and etcd were away", outcome.good);
    assert!(outcome.good > 500 && outcome.bad.is_empty(), "{outcome:?}");
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn a_gateway_restarted_while_the_api_server_is_away_serves_its_snapshot() {
    let mut bed = Bed::new("snapshot");
    let kept = bed.dir.join("a");
    wait_for("a snapshot on disk", || std::fs::read_dir(&kept).ok()?.next().map(drop));
    kube::cluster(&["kill", "apiserver"]);
    bed.restart(&kept);
    assert_eq!(bed.get("/"), 200, "the last good configuration is served");
    kube::cluster(&["start", "apiserver"]);
    bed.namespace.route("second", "/second", "missing");
    wait_for("the API server to be heard again", || (bed.get("/second") == 500).then_some(()));
    bed.namespace.wait_route("second", "ResolvedRefs", "False", "BackendNotFound");
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn a_start_never_answers_404_for_a_route_that_exists() {
    let mut bed = Bed::new("start");
    // Nothing else answers what the last of many routes does.
    bed.namespace.route("first", "/other", "one");
    let routes: String = (0..200)
        .map(|n| {
            format!(
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                 metadata: {{ name: r{n} }}\nspec:\n  parentRefs: [{{ name: web }}]\n  rules:\n  \
                 - matches: [{{ path: {{ value: /{n} }} }}]\n    \
                 backendRefs: [{{ name: one, port: 80 }}]\n"
            )
        })
        .collect();
    bed.namespace.apply(&routes);
    bed.wait_served("/199");
    for _ in 0..5 {
        kill_hard(&mut bed.gateway);
        let address: SocketAddr = bed.address.parse().unwrap();
        // The kernel ends a dead process's ring, and what it holds, in its own time.
        wait_for("nobody to listen", || std::net::TcpStream::connect(address).err().map(drop));
        let probing = std::thread::spawn(move || {
            wait_for("someone to listen", || std::net::TcpStream::connect(address).ok().map(drop));
            status(&address.to_string(), "/199")
        });
        bed.gateway = bed.namespace.serve("a", Path::new("off"), &[]);
        assert_eq!(probing.join().unwrap(), 200, "the first answer ever");
    }
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn a_rolling_restart_of_two_replicas_loses_no_request() {
    // Connections that wait in the queue of a socket that closes go to its siblings.
    std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1").unwrap();
    let mut bed = Bed::new("rolling");
    let mut second = bed.namespace.serve("b", &bed.dir.join("b"), &[]);
    let load = Load::start(&bed.address, "/", 8);
    for round in 0..2 {
        for replica in [&mut bed.gateway, &mut second] {
            replica.signal("-TERM");
            assert_eq!(replica.end().0, Some(0), "round {round}");
            *replica = bed.namespace.serve("again", &bed.dir.join("again"), &[]);
        }
    }
    let outcome = load.stop();
    eprintln!("{} requests in two rolling restarts", outcome.good);
    assert!(outcome.good > 500 && outcome.bad.is_empty(), "{outcome:?}");
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn a_killed_replica_loses_what_it_held_and_the_other_goes_on() {
    let mut bed = Bed::new("killed");
    let second = bed.namespace.serve("b", &bed.dir.join("b"), &[]);
    let load = Load::start(&bed.address, "/", 4);
    kill_hard(&mut bed.gateway);
    let before = second.epoch();
    bed.namespace.route("second", "/second", "one");
    second.wait_epoch_after(before);
    let outcome = load.stop();
    // Each client has one request at a time, and one more may wait in a queue.
    eprintln!("{} of {} failed", outcome.bad.len(), outcome.good);
    assert!(outcome.bad.len() <= 8, "{outcome:?}");
    bed.namespace.wait_route("second", "Accepted", "True", "Accepted");
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn backends_that_roll_over_lose_no_request() {
    let bed = Bed::new("rollover");
    bed.namespace.apply(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: echo }\nspec:\n  replicas: 2\n  \
         selector: { matchLabels: { app: echo } }\n  template:\n    metadata: { labels: { app: echo } }\n    \
         spec:\n      containers:\n      - name: echo\n        image: echo-basic\n        \
         env: [{ name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }]\n        \
         ports: [{ containerPort: 3000 }]\n        \
         lifecycle: { preStop: { sleep: { seconds: 2 } } }\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: { name: echo }\n\
         spec: { selector: { app: echo }, ports: [{ port: 80, targetPort: 3000 }] }\n",
    );
    bed.namespace.kubectl(&["rollout", "status", "deployment/echo", "--timeout=30s"]);
    bed.namespace.route("echo", "/echo", "echo");
    bed.wait_served("/echo");
    let load = Load::start(&bed.address, "/echo", 6);
    for _ in 0..2 {
        bed.namespace.kubectl(&["rollout", "restart", "deployment/echo"]);
        bed.namespace.kubectl(&["rollout", "status", "deployment/echo", "--timeout=60s"]);
        wait_for("the pods before to be gone", || {
            let pods = bed.namespace.kubectl(&["get", "pods", "-o", "name"]);
            (pods.lines().count() == 2).then_some(())
        });
    }
    let outcome = load.stop();
    eprintln!("{} requests while all backends were replaced twice", outcome.good);
    assert!(outcome.good > 500 && outcome.bad.is_empty(), "{outcome:?}");
}
