//! The gateway in a real cluster while parts of it die, and while objects are wrong.
//!
//! They run inside a cluster of `k8s/cluster` (`k8s/cluster/test` starts one), one at a time, since
//! every gateway process there serves every Gateway.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::net::SocketAddr;
use std::time::Duration;

use e2e_support::backend::Backend;
use e2e_support::gateway::Gateway;
use e2e_support::kube::{self, NODE, Namespace, kubectl, try_kubectl};
use e2e_support::load::Load;
use e2e_support::{Dir, client, wait_for};

/// A namespace with a served route `/` to a backend of this process.
struct Bed {
    namespace: Namespace,
    dir: Dir,
    address: String,
    gateway: Gateway,
}

const PORT: u16 = 8088;
const HTTP: &str = "    - { name: http, protocol: HTTP, port: 8088 }\n";

impl Bed {
    fn new(name: &str) -> Self {
        kube::class();
        let (namespace, dir) = (Namespace::new(name), Dir::new());
        let backend = Backend::start_on(NODE, "one");
        namespace.service("one", &[backend.address]);
        namespace.gateway(HTTP);
        namespace.route("first", "/", "one");
        let gateway = namespace.serve("a", &dir.join("a"), &[]);
        let address = namespace.programmed(PORT);
        namespace.wait_route("first", "Accepted", "True", "Accepted");
        assert_eq!(status(&address, "/"), 200, "accepted is served");
        Self { namespace, dir, address, gateway }
    }

    fn get(&self, path: &str) -> u16 {
        status(&self.address, path)
    }

    fn wait_served(&self, path: &str) {
        wait_for(path, || (self.get(path) == 200).then_some(()));
    }
}

fn status(address: &str, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    client::status(&client::exchange(address, request.as_bytes()))
}

/// Ends a process as the machine's failure would.
fn kill_hard(gateway: &mut Gateway) {
    gateway.signal("-KILL");
    gateway.end();
}

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
    kill_hard(&mut bed.gateway);
    bed.gateway = bed.namespace.serve("a", &kept, &[]);
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
    for _ in 0..5 {
        kill_hard(&mut bed.gateway);
        let address: SocketAddr = bed.address.parse().unwrap();
        let probing = std::thread::spawn(move || {
            wait_for("someone to listen", || std::net::TcpStream::connect(address).ok().map(drop));
            status(&address.to_string(), "/")
        });
        bed.gateway = bed.namespace.serve("a", &bed.dir.join("off"), &["--snapshot", "off"]);
        assert_eq!(probing.join().unwrap(), 200, "the first answer ever");
    }
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn objects_that_are_wrong_have_a_condition_and_hurt_nobody_else() {
    let bed = Bed::new("wrong");
    let load = Load::start(&bed.address, "/", 2);
    let pair = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let (crt, key) = (bed.dir.write("crt", &pair.cert.pem()), bed.dir.join("key"));
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    let (crt, key) = (format!("--cert={}", crt.display()), format!("--key={}", key.display()));
    // kubectl refuses such a pair itself.
    assert!(try_kubectl(&["create", "secret", "tls", "pair", &crt, &key]).is_err());
    let file =
        |flag: &str, path: &str| format!("--from-file={flag}={}", path.split_once('=').unwrap().1);
    let (crt, key) = (file("tls.crt", &crt), file("tls.key", &key));
    let create = ["create", "secret", "generic", "pair", "--type=kubernetes.io/tls", &crt, &key];
    bed.namespace.kubectl(&create);
    bed.namespace.gateway(&format!(
        "{HTTP}    - name: https\n      protocol: HTTPS\n      port: 8443\n      \
         tls: {{ certificateRefs: [{{ name: pair }}] }}\n"
    ));
    wait_for("the listener's condition", || {
        let gateway = bed.namespace.get("gateway", "web")?;
        let listeners = gateway["status"]["listeners"].as_array()?.clone();
        let https = listeners.into_iter().find(|listener| listener["name"] == "https")?;
        let conditions = https["conditions"].as_array()?.clone();
        conditions
            .iter()
            .any(|one| one["type"] == "ResolvedRefs" && one["reason"] == "InvalidCertificateRef")
            .then_some(())
    });
    thousand_backends(&bed.namespace);
    bed.namespace.wait_route("many", "ResolvedRefs", "False", "BackendNotFound");
    // The most that the API takes in annotations of one object.
    bed.namespace.apply(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{ name: big, annotations: {{ blob: \"{}\" }} }}\n\
         spec: {{ parentRefs: [{{ name: web }}] }}\n",
        "x".repeat(250 * 1024)
    ));
    bed.namespace.wait_route("big", "Accepted", "True", "Accepted");
    bed.namespace.route("second", "/second", "one");
    bed.wait_served("/second");
    let outcome = load.stop();
    assert!(outcome.bad.is_empty(), "{outcome:?}");
    assert!(!bed.gateway.log().contains("panicked"), "{}", bed.gateway.log());
}

/// A route that names as many backends as the API allows, none of which exists.
fn thousand_backends(namespace: &Namespace) {
    let mut rules = String::new();
    for rule in 0..16 {
        let backends: Vec<_> =
            (0..16).map(|n| format!("{{ name: none-{rule}-{n}, port: 80 }}")).collect();
        rules += &format!(
            "  - matches: [{{ path: {{ type: Exact, value: /many/{rule} }} }}]\n    backendRefs: [{}]\n",
            backends.join(", ")
        );
    }
    namespace.apply(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: many }}\n\
         spec:\n  parentRefs: [{{ name: web }}]\n  rules:\n{rules}"
    ));
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn a_value_that_a_newer_crd_allows_is_refused_in_its_own_route_only() {
    const CRD: &str = "httproutes.gateway.networking.k8s.io";
    let bed = Bed::new("newer");
    let before = kubectl(&["get", "crd", CRD, "-o", "json"]);
    let mut crd: serde_json::Value = serde_json::from_str(&before).unwrap();
    crd["metadata"] =
        serde_json::json!({ "name": CRD, "annotations": crd["metadata"]["annotations"] });
    let original = crd.clone();
    loosen(&mut crd["spec"]);
    let load = Load::start(&bed.address, "/", 2);
    kube::apply_forced(&crd.to_string());
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: newer }\n\
         spec:\n  parentRefs: [{ name: web }]\n  rules:\n\
         \x20 - matches: [{ path: { value: /newer } }]\n    filters: [{ type: Quantum }]\n\
         \x20   backendRefs: [{ name: one, port: 80 }]\n";
    wait_for("the looser schema", || bed.namespace.try_apply(route).ok());
    bed.namespace.wait_route("newer", "Accepted", "False", "UnsupportedValue");
    bed.namespace.kubectl(&["delete", "httproute", "newer"]);
    kube::apply_forced(&original.to_string());
    bed.namespace.route("second", "/second", "one");
    bed.wait_served("/second");
    let outcome = load.stop();
    assert!(outcome.bad.is_empty(), "{outcome:?}");
}

/// Takes enumerations and rules out of a schema.
fn loosen(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            if map.get("enum").is_some_and(serde_json::Value::is_array) {
                map.remove("enum");
            }
            map.remove("x-kubernetes-validations");
            map.values_mut().for_each(loosen);
        }
        serde_json::Value::Array(all) => all.iter_mut().for_each(loosen),
        _ => {}
    }
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn objects_deleted_while_their_status_is_written_leave_no_trace() {
    let bed = Bed::new("gone");
    for round in 0..5 {
        let routes: String = (0..40)
            .map(|n| {
                format!(
                    "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                     metadata: {{ name: short-{n} }}\n\
                     spec: {{ parentRefs: [{{ name: web }}], hostnames: [h{round}-{n}.test] }}\n"
                )
            })
            .collect();
        bed.namespace.apply(&routes);
        bed.namespace.kubectl(&["delete", "httproute", "--all", "--wait=false"]);
        bed.namespace.route("first", "/", "one");
    }
    bed.namespace.wait_route("first", "Accepted", "True", "Accepted");
    let gateway = bed.namespace.get("gateway", "web").unwrap();
    let listener = &gateway["status"]["listeners"][0];
    assert_eq!(listener["attachedRoutes"], 1, "{listener}");
    let log = bed.gateway.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
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
fn one_replica_writes_and_a_stolen_lease_stops_it() {
    let bed = Bed::new("lease");
    let holder = || {
        let lease = bed.namespace.get("lease", "ringway")?;
        Some(lease["spec"]["holderIdentity"].as_str()?.to_owned())
    };
    let first = wait_for("a holder", holder);
    assert!(first.starts_with('a'), "{first}");
    let steal = r#"{"spec":{"holderIdentity":"thief","leaseDurationSeconds":10}}"#;
    bed.namespace.kubectl(&["patch", "lease", "ringway", "--type=merge", "-p", steal]);
    bed.gateway.wait_log("lease");
    bed.namespace.route("second", "/second", "one");
    bed.wait_served("/second");
    assert_eq!(bed.namespace.route_condition("second", "Accepted"), None, "the thief may write");
    wait_for("the thief's time to be over", || holder().filter(|now| *now == first));
    bed.namespace.wait_route("second", "Accepted", "True", "Accepted");
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn a_quiet_cluster_sees_no_writes() {
    let bed = Bed::new("quiet");
    let versions = || {
        let kinds = "gatewayclasses,gateways,httproutes,services,endpointslices";
        let path =
            "jsonpath={range .items[*]}{.kind}/{.metadata.name}@{.metadata.resourceVersion} {end}";
        kubectl(&["get", kinds, "--all-namespaces", "-o", path])
    };
    let (before, epoch) = (versions(), bed.gateway.epoch());
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!((versions(), bed.gateway.epoch()), (before, epoch));
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
    }
    let outcome = load.stop();
    eprintln!("{} requests while all backends were replaced twice", outcome.good);
    assert!(outcome.good > 500 && outcome.bad.is_empty(), "{outcome:?}");
}
