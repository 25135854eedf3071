//! What translation remembers never changes an answer: after an edit of an object that others refer
//! to, the warm cache gives what a cold one gives, and the edit is seen.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use control::api::{Kind, Name};
use control::store::Store;
use control::translate::status::{ConditionStatus, ConditionType, Reason};
use control::translate::{Cache, Translation, translate};
use control::yaml;
use proxy::ir::Roots;

const SECRET: &str = include_str!("../../k8s/examples/quickstart/secret.yaml");

const OBJECTS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  gatewayClassName: ringway
  allowedListeners: {namespaces: {from: Selector, selector: {matchLabels: {team: blue}}}}
  listeners:
  - name: https
    port: 443
    protocol: HTTPS
    tls: {certificateRefs: [{name: quickstart-tls}]}
    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: blue}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: set, namespace: shop}
spec:
  parentRef: {name: gw, namespace: default}
  listeners: [{name: http, port: 8080, protocol: HTTP, hostname: set.example.com}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: of-set, namespace: shop}
spec:
  parentRefs: [{kind: ListenerSet, name: set}]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: blue}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: back, annotations: {ringway.dev/endpoints: "10.0.0.1:8080"}}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: grant, namespace: back}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: one, namespace: shop}
spec:
  parentRefs: [{name: gw, namespace: default}]
  rules: [{backendRefs: [{name: web, namespace: back, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: two, namespace: shop}
spec:
  parentRefs: [{name: gw, namespace: default}]
  hostnames: [two.example.com]
"#;

fn put(store: &mut Store, text: &str) {
    let (documents, errors) = yaml::parse(text);
    assert_eq!(errors, []);
    for node in documents {
        let kind = Kind::of(node.text_of("apiVersion").unwrap(), node.text_of("kind").unwrap());
        store.put(kind.unwrap().decode(&node).unwrap());
    }
}

/// Translates all objects, edits one, and gives the answers before and after, the latter warm.
fn edited(edit: impl FnOnce(&mut Store)) -> (Translation, Translation) {
    let mut store = Store::new(Some("ringway".into()), [].into());
    put(&mut store, OBJECTS);
    put(&mut store, SECRET);
    let mut warm = Cache::default();
    let before = translate(&store.snapshot(), &mut warm);
    assert_eq!(before.problems, []);
    edit(&mut store);
    let after = translate(&store.snapshot(), &mut warm);
    assert_eq!(after, translate(&store.snapshot(), &mut Cache::default()));
    (before, after)
}

/// The document of [`OBJECTS`] of a kind, with a piece of it replaced.
fn changed(kind: &str, from: &str, to: &str) -> String {
    let document = OBJECTS.split("---").find(|text| text.contains(&format!("kind: {kind}\n")));
    let text = document.unwrap().replace(from, to);
    assert_ne!(text, document.unwrap());
    text
}

#[test]
fn an_edited_service_is_seen() {
    let text = changed("Service", "10.0.0.1", "10.0.0.2");
    let (before, after) = edited(|store| put(store, &text));
    assert_ne!(before.ir.backends, after.ir.backends);
    let text = changed("Service", "port: 80}", "port: 81}");
    let (_, after) = edited(|store| put(store, &text));
    assert_eq!(after.problems.len(), 1, "the route's port is gone");
}

#[test]
fn an_edited_grant_is_seen() {
    let text = changed("ReferenceGrant", "namespace: shop", "namespace: other");
    let (_, after) = edited(|store| put(store, &text));
    assert_eq!(after.problems.len(), 1, "the route may no longer name the Service");
}

#[test]
fn an_edited_label_of_a_namespace_is_seen() {
    let text = changed("Namespace", "blue", "red");
    let (before, after) = edited(|store| put(store, &text));
    let attached = |found: &Translation| found.ir.ports[0].listeners[0].routes.len();
    assert_eq!((attached(&before), attached(&after)), (2, 0));
    let sets = |found: &Translation| found.ir.ports.iter().filter(|port| port.port == 8080).count();
    assert_eq!((sets(&before), sets(&after)), (1, 0), "the ListenerSet is no longer taken");
}

#[test]
fn an_edited_listener_set_is_seen() {
    let text = changed("ListenerSet", "hostname: set.example.com", "hostname: other.example.com");
    let (before, after) = edited(|store| put(store, &text));
    assert_ne!(before.ir, after.ir);
    let text = changed("ListenerSet", "name: gw", "name: nobody");
    let (_, after) = edited(|store| put(store, &text));
    assert!(after.statuses.listener_sets.is_empty());
    let route = Name::new("shop", "of-set");
    assert!(!after.statuses.http_routes.contains_key(&route), "no parent of ours is left");
    let (_, after) = edited(|store| {
        store.remove(Kind::ListenerSet, &Name::new("shop", "set"));
    });
    assert_eq!(after.problems.len(), 1, "the route names nothing");
}

#[test]
fn a_policy_that_protects_a_service_is_seen_at_once() {
    let policy = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: tls, namespace: back}
spec: {targetRefs: [{group: "", kind: Service, name: web}]}
"#;
    let (before, after) = edited(|store| put(store, policy));
    assert_eq!((before.ir.backends.len(), after.ir.backends.len()), (1, 0));
    let (_, after) = edited(|store| {
        put(store, policy);
        let mut warm = Cache::default();
        let protected = translate(&store.snapshot(), &mut warm);
        assert!(protected.ir.backends.is_empty());
        store.remove(Kind::BackendTlsPolicy, &Name::new("back", "tls"));
        assert_eq!(translate(&store.snapshot(), &mut warm).ir.backends.len(), 1);
    });
    assert_eq!(before.ir, after.ir);
}

fn config_map(text: &str) -> String {
    let text = text.replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca, namespace: back}}\ndata:\n  ca.crt: |\n    {text}\n"
    )
}

#[test]
fn authorities_that_change_turn_bad_or_go_are_trusted_as_they_are_now() {
    let policy = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: tls, namespace: back}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  validation: {hostname: web.example.com, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}
"#;
    let authority =
        |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem();
    let (one, two) = (authority("one"), authority("two"));
    let trusted = |store: &Store, warm: &mut Cache| {
        let found = translate(&store.snapshot(), warm);
        assert_eq!(found, translate(&store.snapshot(), &mut Cache::default()));
        let backend = found.ir.backends.values().next()?;
        match &backend.tls.as_ref().unwrap().roots {
            Roots::Certificates(roots) => Some(roots.len()),
            Roots::System => None,
        }
    };
    edited(|store| {
        let mut warm = Cache::default();
        put(store, policy);
        assert_eq!(trusted(store, &mut warm), None, "no ConfigMap");
        for (text, count) in [
            (one.clone(), Some(1)),
            (format!("{one}{two}"), Some(2)),
            (String::new(), None),
            (two.clone(), Some(1)),
        ] {
            put(store, &config_map(&text));
            assert_eq!(trusted(store, &mut warm), count);
        }
        store.remove(Kind::ConfigMap, &Name::new("back", "ca"));
        assert_eq!(trusted(store, &mut warm), None, "a removed bundle is trusted no longer");
    });
}

#[test]
fn a_secret_that_turned_bad_is_told_and_still_served() {
    let broken = SECRET.replace("tls.key: ", "tls.key: AAAA");
    let (before, after) = edited(|store| put(store, &broken));
    assert_eq!(before.ir, after.ir);
    assert_eq!(after.problems.len(), 1);
    let (_, after) = edited(|store| {
        store.remove(Kind::Secret, &Name::new("default", "quickstart-tls"));
    });
    let served = after.ir.ports.iter().any(|port| port.port == 443);
    assert!(!served, "a removed Secret is served no longer");
}

#[test]
fn an_installed_api_of_another_version_is_told_by_the_class_and_still_served() {
    let class = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ringway}
spec: {controllerName: ringway.dev/gateway-controller}
"#;
    let versions = |found: &Translation| {
        let class = found.statuses.gateway_classes.get(&Name::new("", "ringway"))?;
        let mut conditions = class.conditions.iter();
        let found = conditions.find(|found| found.kind == ConditionType::SupportedVersion)?;
        Some((found.status, found.reason))
    };
    let (before, after) = edited(|store| put(store, class));
    assert_eq!(before.ir, after.ir);
    assert_eq!(versions(&after), Some((ConditionStatus::True, Reason::SupportedVersion)));
    let (before, after) = edited(|store| {
        put(store, class);
        store.set_bundle_version(Some("v1.99.0".into()));
    });
    assert_eq!(before.ir, after.ir);
    assert_eq!(versions(&after), Some((ConditionStatus::False, Reason::UnsupportedVersion)));
}

/// A value of an annotation that files refuse, as a cluster may hold it.
#[test]
fn a_proxy_protocol_annotation_that_cannot_be_read_closes_what_it_is_said_of() {
    let annotated = |kind: &str, key: &str, value: &str| {
        let text = OBJECTS.split("---").find(|text| text.contains(&format!("kind: {kind}\n")));
        let text = text.unwrap();
        let annotation = format!("{key}: {value:?}");
        match text.contains("annotations: {") {
            true => text.replace("annotations: {", &format!("annotations: {{{annotation}, ")),
            false => {
                text.replace("metadata: {", &format!("metadata: {{annotations: {{{annotation}}}, "))
            }
        }
    };
    for (key, value, ports) in [
        ("ringway.dev/proxy-protocol-from", "10.0.0.0/8", 2),
        ("ringway.dev/proxy-protocol-from", "x", 0),
        ("ringway.dev/proxy-protocol-from.8080", "x", 1),
        ("ringway.dev/proxy-protocol-from.x", "10.0.0.0/8", 2),
    ] {
        let text = annotated("Gateway", key, value);
        let (_, after) = edited(|store| put(store, &text));
        assert_eq!(after.ir.ports.len(), ports, "{key} {value}");
        assert_eq!(after.problems.is_empty(), ports == 2 && !key.ends_with(".x"), "{key} {value}");
    }
    for (value, backends) in [("v1", 1), ("v3", 0)] {
        let text = annotated("Service", "ringway.dev/proxy-protocol", value);
        let (_, after) = edited(|store| put(store, &text));
        assert_eq!((after.ir.backends.len(), after.problems.len()), (backends, 1 - backends));
    }
}
