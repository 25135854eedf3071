//! What the gateway writes into a real cluster, what it leaves alone, and how often it asks.
//!
//! Started as [`cluster_faults`](../cluster_faults.rs) is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::time::Duration;

use e2e_support::bed::Bed;
use e2e_support::kube::kubectl;
use e2e_support::wait_for;

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
