//! What the gateway writes into a real cluster, what it leaves alone, and how often it asks.
//!
//! Started as [`cluster_faults`](../cluster_faults.rs) is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::time::{Duration, Instant};

use e2e_support::bed::{Bed, HTTP};
use e2e_support::kube::{self, Namespace, kubectl, try_kubectl};
use e2e_support::wait_for;
use serde_json::{Value, json};

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
    wait_for("the listener to have one route again", || {
        let gateway = bed.namespace.get("gateway", "web")?;
        (gateway["status"]["listeners"][0]["attachedRoutes"] == 1).then_some(())
    });
    let log = bed.gateway.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
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
    bed.gateway.wait_log("a does not hold the Lease");
    bed.namespace.route("second", "/second", "one");
    bed.wait_served("/second");
    let found = bed.namespace.route_condition("second", "Accepted");
    // Read in this order: whoever is a thief now was one then.
    assert_eq!((found, holder().as_deref()), (None, Some("thief")), "only the thief may write");
    wait_for("the thief's time to be over", || holder().filter(|now| *now == first));
    bed.namespace.wait_route("second", "Accepted", "True", "Accepted");
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn a_quiet_cluster_sees_no_writes() {
    let bed = Bed::new("quiet");
    let versions = || {
        let kinds = "gateways,httproutes,services,endpointslices";
        let path =
            "jsonpath={range .items[*]}{.kind}/{.metadata.name}@{.metadata.resourceVersion} {end}";
        let own = bed.namespace.kubectl(&["get", kinds, "-o", path]);
        own + &kubectl(&["get", "gatewayclasses", "-o", path])
    };
    // The objects of the Gateway are made beside its status.
    wait_for("the Gateway's Service", || {
        bed.namespace.get("endpointslice", "ringway-web-ipv4").map(drop)
    });
    let writes = || bed.gateway.status()["status_writes"].clone();
    let seen = || (versions(), writes(), bed.gateway.epoch());
    let before = seen();
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(seen(), before);
}

/// Changes the status of an object as another controller would.
fn patch_status(namespace: &Namespace, kind: &str, name: &str, patch: &Value) {
    let patch = patch.to_string();
    namespace.kubectl(&["patch", kind, name, "--subresource=status", "--type=json", "-p", &patch]);
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn what_other_controllers_write_stays_as_it_is() {
    let bed = Bed::new("foreign");
    let namespace = &bed.namespace;
    kube::apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: { name: foreign }\n\
         spec: { controllerName: example.com/other }\n",
    );
    namespace.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: theirs }\n\
         spec:\n  gatewayClassName: foreign\n  listeners: [{ name: http, protocol: HTTP, port: 80 }]\n",
    );
    let audited = json!({ "type": "example.com/Audited", "status": "False", "reason": "Later",
        "message": "", "lastTransitionTime": "2024-01-02T03:04:05Z", "observedGeneration": 1 });
    let entry = json!({ "controllerName": "example.com/other", "conditions": [audited],
        "parentRef": { "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "theirs" } });
    // Theirs first, so that ours is moved from its place by them and not back by us.
    let patch = json!([
        { "op": "add", "path": "/status/parents/0", "value": entry },
        { "op": "add", "path": "/status/parents/1/conditions/0", "value": audited },
    ]);
    patch_status(namespace, "httproute", "first", &patch);
    let patch = json!([
        { "op": "add", "path": "/status/conditions/0", "value": audited },
        { "op": "add", "path": "/status/listeners/0/conditions/0", "value": audited },
    ]);
    patch_status(namespace, "gateway", "web", &patch);
    let theirs = namespace.get("gateway", "theirs").unwrap();
    // Both objects get a new generation, so that every condition of ours is written anew.
    namespace.route("first", "/", "missing");
    namespace.wait_route("first", "ResolvedRefs", "False", "BackendNotFound");
    namespace.gateway(&format!("{HTTP}    - {{ name: more, protocol: HTTP, port: 8089 }}\n"));
    namespace.programmed("web", 8089);
    let route = namespace.get("httproute", "first").unwrap();
    assert_eq!(route["status"]["parents"][0], entry);
    assert_eq!(route["status"]["parents"][1]["conditions"][0], audited);
    let gateway = namespace.get("gateway", "web").unwrap();
    assert_eq!(gateway["status"]["conditions"][0], audited);
    assert_eq!(gateway["status"]["listeners"][0]["conditions"][0], audited);
    assert_eq!(namespace.get("gateway", "theirs").unwrap(), theirs, "it is none of ours");
    // A route that leaves us keeps their entry.
    namespace.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: first }\n\
         spec: { parentRefs: [{ name: theirs }] }\n",
    );
    wait_for("our entry to go", || {
        let parents = namespace.get("httproute", "first")?["status"]["parents"].clone();
        (parents == json!([entry])).then_some(())
    });
    kubectl(&["delete", "gatewayclass", "foreign"]);
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn two_who_write_at_the_same_time_lose_nothing_of_each_other() {
    let bed = Bed::new("conflict");
    let namespace = &bed.namespace;
    for round in 0..15 {
        let audited = json!({ "type": "example.com/Audited", "status": "True", "message": "",
            "reason": format!("Round{round}"), "lastTransitionTime": "2024-01-02T03:04:05Z" });
        let op = if round == 0 { "add" } else { "replace" };
        std::thread::scope(|scope| {
            let service = if round % 2 == 0 { "missing" } else { "one" };
            scope.spawn(move || namespace.route("first", "/", service));
            let patch =
                json!([{ "op": op, "path": "/status/parents/0/conditions/0", "value": audited }]);
            patch_status(namespace, "httproute", "first", &patch);
        });
        let (status, reason) =
            if round % 2 == 0 { ("False", "BackendNotFound") } else { ("True", "ResolvedRefs") };
        namespace.wait_route("first", "ResolvedRefs", status, reason);
        let route = namespace.get("httproute", "first").unwrap();
        let found = &route["status"]["parents"][0]["conditions"][0];
        assert_eq!(*found, audited, "round {round}: {route}");
    }
}

/// Requests about objects of the Gateway API that the API server counted, watches apart: lists, and
/// writes of statuses.
fn asked() -> (u64, u64) {
    let metrics = kubectl(&["get", "--raw", "/metrics"]);
    let (mut lists, mut writes) = (0, 0);
    let ours = |line: &&str| {
        line.starts_with("apiserver_request_total{") && line.contains("gateway.networking.k8s.io")
    };
    for line in metrics.lines().filter(ours) {
        let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        let count = count as u64;
        if line.contains("verb=\"LIST\"") || line.contains("verb=\"WATCH\"") {
            lists += count;
        } else if line.contains("subresource=\"status\"") {
            writes += count;
        }
    }
    (lists, writes)
}

/// What keeps statuses from being written: two rules of the API server's own, and one of a webhook
/// that is not there.
fn obstacles(namespace: &str) -> String {
    let policy = |name: &str, reason: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\n\
             metadata: {{ name: {name} }}\nspec:\n  matchConstraints:\n    \
             namespaceSelector: {{ matchLabels: {{ kubernetes.io/metadata.name: {namespace} }} }}\n    \
             resourceRules:\n    - apiGroups: [gateway.networking.k8s.io]\n      apiVersions: [v1]\n      \
             operations: [UPDATE]\n      resources: [httproutes/status]\n  validations:\n  \
             - {{ expression: \"!object.metadata.name.startsWith('{name}')\", reason: {reason} }}\n---\n\
             apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\n\
             metadata: {{ name: {name} }}\nspec: {{ policyName: {name}, validationActions: [Deny] }}\n---\n"
        )
    };
    policy("a-forbidden", "Forbidden")
        + &policy("a-invalid", "Invalid")
        + &format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
             metadata: {{ name: a-broken }}\nwebhooks:\n- name: broken.example.com\n  \
             clientConfig: {{ url: \"https://127.0.0.1:1/\" }}\n  sideEffects: None\n  \
             admissionReviewVersions: [v1]\n  \
             namespaceSelector: {{ matchLabels: {{ kubernetes.io/metadata.name: {namespace} }} }}\n  \
             matchConditions: [{{ name: one, expression: \"object.metadata.name.startsWith('a-broken')\" }}]\n  \
             rules:\n  - apiGroups: [gateway.networking.k8s.io]\n    apiVersions: [v1]\n    \
             operations: [UPDATE]\n    resources: [httproutes/status]\n"
        )
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn statuses_that_cannot_be_written_hold_up_no_other_and_cost_little() {
    const BAD: [&str; 3] = ["a-forbidden", "a-invalid", "a-broken"];
    let bed = Bed::new("bounded");
    let namespace = &bed.namespace;
    let obstacles = obstacles(namespace.name());
    kube::apply(&obstacles);
    for name in BAD {
        // A route that is none of ours shows when the API server knows.
        let probe = format!("{name}-probe");
        namespace.apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {probe} }}\n\
             spec: {{ hostnames: [probe.test] }}\n"
        ));
        let patch = r#"{"status":{"parents":[]}}"#;
        let args =
            ["patch", "httproute", &probe, "--subresource=status", "--type=merge", "-p", patch];
        let args = [&args[..], &["--namespace", namespace.name()]].concat();
        wait_for("the API server to refuse", || try_kubectl(&args).err().map(drop));
    }
    for name in BAD {
        namespace.route(name, &format!("/{name}"), "one");
        bed.wait_served(&format!("/{name}"));
    }
    let (since, before) = (Instant::now(), asked());
    for round in 0..8 {
        let name = format!("good-{round}");
        namespace.route(&name, "/good", "one");
        namespace.wait_route(&name, "Accepted", "True", "Accepted");
        std::thread::sleep(Duration::from_millis(500));
    }
    let (after, seconds) = (asked(), since.elapsed().as_secs_f64());
    let (lists, writes) = (after.0 - before.0, after.1 - before.1);
    eprintln!("{lists} lists and {writes} writes in {seconds:.1} s");
    for name in BAD {
        assert_eq!(namespace.route_condition(name, "Accepted"), None, "{name} cannot be written");
    }
    // One write for each good route and the Gateway's count of it; the others at most once a second.
    assert!(writes as f64 <= 8.0 * 2.0 + 3.0 * (seconds + 1.0), "{writes} writes");
    assert!(lists as f64 <= 10.0 * (seconds / 60.0 + 1.0), "{lists} lists and watches");
    let log = bed.gateway.log();
    for name in BAD {
        assert_eq!(
            log.matches(&format!("the status of HTTPRoute {}/{name}", namespace.name())).count(),
            1,
            "{log}"
        );
    }
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        kubectl(&["delete", kind, "a-forbidden", "a-invalid"]);
    }
    kubectl(&["delete", "validatingwebhookconfiguration", "a-broken"]);
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn two_installations_of_one_controller_do_not_fight() {
    let bed = Bed::new("twice");
    let other = Namespace::new("twice-other");
    // Each holds a Lease of its own, and neither takes the other's addresses for its own.
    let second = other.serve_at("pool:10.245.1.0/24", "b", &bed.dir.join("b"), &[]);
    second.wait_log("b holds the Lease");
    let (since, before) = (Instant::now(), asked());
    std::thread::sleep(Duration::from_secs(6));
    let (after, seconds) = (asked(), since.elapsed().as_secs_f64());
    let writes = after.1 - before.1;
    eprintln!("{writes} writes in {seconds:.1} s");
    assert!(writes as f64 <= 2.0 * (5.0 + seconds * 2.0), "{writes} writes in {seconds} s");
    for gateway in [&bed.gateway, &second] {
        assert!(gateway.log().contains("is there a second installation"), "{}", gateway.log());
    }
    assert_eq!(bed.get("/"), 200, "traffic does not care");
}
