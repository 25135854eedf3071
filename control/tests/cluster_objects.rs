//! Objects that are wrong in a real cluster: each has its condition, and no other object is hurt.
//!
//! Started as [`cluster_faults`](../cluster_faults.rs) is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use e2e_support::bed::{Bed, HTTP};
use e2e_support::kube::{self, Namespace, kubectl, try_kubectl};
use e2e_support::load::Load;
use e2e_support::wait_for;

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
    // The most that the API takes in annotations of one object. It has a path of its own: were it made
    // in the second of `first`, its name would come first for the paths that both have.
    bed.namespace.apply(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{ name: big, annotations: {{ blob: \"{}\" }} }}\n\
         spec:\n  parentRefs: [{{ name: web }}]\n  rules: [{{ matches: [{{ path: {{ value: /big }} }}] }}]\n",
        "x".repeat(250 * 1024)
    ));
    bed.namespace.wait_route("big", "Accepted", "True", "Accepted");
    bed.namespace.route("second", "/second", "one");
    bed.wait_served("/second");
    let outcome = load.stop();
    assert!(outcome.bad.is_empty(), "{outcome:?}");
    assert!(!bed.gateway.log().contains("panicked"), "{}", bed.gateway.log());
}

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
