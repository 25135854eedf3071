//! What matters, what does not, and when that changes.

use std::collections::BTreeSet;

use super::*;

fn item(kind: Kind, text: &str) -> Item {
    Item::read(kind, text, false).unwrap()
}

fn service(name: &str, port: u16) -> Item {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"a"}},"spec":{{"ports":[{{"port":{port}}}]}}}}"#
    );
    item(Kind::Service, &text)
}

fn slice(service: &str, address: &str) -> Item {
    let text = format!(
        r#"{{"metadata":{{"name":"{service}-1","namespace":"a",
            "labels":{{"kubernetes.io/service-name":"{service}"}},
            "annotations":{{"endpoints.kubernetes.io/last-change-trigger-time":"{address}"}}}},
            "addressType":"IPv4","endpoints":[{{"addresses":["{address}"]}}],"ports":null}}"#
    );
    item(Kind::EndpointSlice, &text)
}

fn route(name: &str, service: &str) -> Item {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"a","generation":1}},
            "spec":{{"rules":[{{"backendRefs":[{{"name":"{service}","port":80}}]}}]}}}}"#
    );
    item(Kind::HttpRoute, &text)
}

#[test]
fn what_nothing_refers_to_does_not_matter_until_something_does() {
    let mut all = Contents::default();
    assert!(!all.put(Kind::Service, service("s", 80)));
    assert!(!all.put(Kind::EndpointSlice, slice("s", "10.0.0.1")));
    assert!(!all.put(Kind::Service, service("other", 80)));
    assert!(all.store.snapshot().services.is_empty());
    assert!(all.put(Kind::HttpRoute, route("r", "s")));
    let snapshot = all.store.snapshot();
    assert_eq!((snapshot.services.len(), snapshot.endpoint_slices.len()), (1, 1));
    assert!(all.put(Kind::EndpointSlice, slice("s", "10.0.0.2")), "it matters now");
    assert!(!all.put(Kind::EndpointSlice, slice("s", "10.0.0.2")), "a heartbeat does not");
    assert!(!all.put(Kind::Service, service("other", 81)));
    assert!(!all.remove(Kind::Service, &Name::new("a", "other")));
}

#[test]
fn what_lost_its_last_reference_stays_known_but_matters_no_more() {
    let mut all = Contents::default();
    all.put(Kind::Service, service("s", 80));
    all.put(Kind::HttpRoute, route("r", "s"));
    assert!(all.put(Kind::HttpRoute, route("r", "t")));
    assert!(all.store.snapshot().services.is_empty());
    assert!(!all.put(Kind::Service, service("s", 81)));
    assert!(all.put(Kind::HttpRoute, route("r2", "s")));
    let snapshot = all.store.snapshot();
    assert_eq!(snapshot.services[&Name::new("a", "s")].spec.ports[0].port, 81);
    assert!(all.remove(Kind::Service, &Name::new("a", "s")));
}

#[test]
fn a_slice_that_moves_to_another_service_leaves_the_first() {
    let mut all = Contents::default();
    all.put(Kind::HttpRoute, route("r", "s"));
    assert!(all.put(Kind::EndpointSlice, slice("s", "10.0.0.1")));
    let mut moved = slice("t", "10.0.0.1");
    let Ok(Object::EndpointSlice(object)) = &mut moved.object else { panic!("it decodes") };
    std::sync::Arc::make_mut(object).metadata.name = "s-1".into();
    moved.name = Name::new("a", "s-1");
    assert!(all.put(Kind::EndpointSlice, moved));
    assert!(all.store.snapshot().endpoint_slices.is_empty());
}

#[test]
fn an_object_that_cannot_be_read_keeps_its_last_good_version_and_is_told_once() {
    let mut all = Contents::default();
    all.put(Kind::HttpRoute, route("r", "s"));
    let bad = r#"{"metadata":{"name":"r","namespace":"a","generation":2},"spec":{"rules":7}}"#;
    assert!(all.put(Kind::HttpRoute, item(Kind::HttpRoute, bad)));
    assert!(!all.put(Kind::HttpRoute, item(Kind::HttpRoute, bad)), "said already");
    assert_eq!(all.faults().count(), 1);
    assert!(all.faults().next().unwrap().contains("HTTPRoute a/r: generation 2"));
    assert_eq!(all.store.snapshot().http_routes.len(), 1);
    assert!(all.put(Kind::HttpRoute, route("r", "s")), "healed");
    assert_eq!(all.faults().count(), 0);
}

#[test]
fn the_services_of_gateways_always_matter() {
    let text = r#"{"metadata":{"name":"g","namespace":"a",
        "labels":{"gateway.networking.k8s.io/gateway-name":"g"}}}"#;
    let mut all = Contents::default();
    assert!(all.put(Kind::Service, item(Kind::Service, text)));
}

/// A number below `below`, from a row that is the same in every run.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

/// The names of Services and slices that the store must hold, from the objects themselves.
fn expected(model: &BTreeMap<Id, Object>) -> Vec<String> {
    let mut services = BTreeSet::new();
    for object in model.values() {
        if let Object::HttpRoute(route) = object {
            let rules = route.spec.rules.iter().flatten();
            services.extend(rules.flat_map(|rule| &rule.backend_refs).map(|to| to.name.clone()));
        }
    }
    let matters = |object: &&Object| match object {
        Object::Service(service) => services.contains(&service.metadata.name),
        Object::EndpointSlice(slice) => services.contains(slice.service().unwrap()),
        _ => true,
    };
    let mut all: Vec<String> =
        model.values().filter(matters).map(|object| format!("{object:?}")).collect();
    all.sort();
    all
}

fn stored(contents: &Contents) -> Vec<String> {
    let all = contents.store.snapshot();
    let services = all.services.values().map(|one| format!("{:?}", Object::Service(one.clone())));
    let slices = all.endpoint_slices.values();
    let slices = slices.map(|one| format!("{:?}", Object::EndpointSlice(one.clone())));
    let routes = all.http_routes.values();
    let routes = routes.map(|one| format!("{:?}", Object::HttpRoute(one.clone())));
    let mut all: Vec<String> = services.chain(slices).chain(routes).collect();
    all.sort();
    all
}

#[test]
fn any_order_of_events_leaves_what_the_objects_themselves_say_and_tells_every_change() {
    let (mut contents, mut model, mut seed) = (Contents::default(), BTreeMap::new(), 7);
    for step in 0..5_000 {
        let service = format!("s{}", draw(&mut seed, 4));
        let number = draw(&mut seed, 3);
        let (kind, item) = match draw(&mut seed, 3) {
            0 => (Kind::Service, self::service(&service, 80 + u16::try_from(number).unwrap())),
            1 => (Kind::EndpointSlice, slice(&service, &format!("10.0.0.{number}"))),
            _ => (Kind::HttpRoute, route(&format!("r{number}"), &service)),
        };
        let (name, before) = (item.name.clone(), stored(&contents));
        let told = if draw(&mut seed, 3) == 0 {
            model.remove(&(kind, name.clone()));
            contents.remove(kind, &name)
        } else {
            model.insert((kind, name), item.object.clone().unwrap());
            contents.put(kind, item)
        };
        let now = stored(&contents);
        assert_eq!(now, expected(&model), "step {step}");
        assert_eq!(told, now != before, "step {step}: a change is told exactly when there is one");
    }
}
