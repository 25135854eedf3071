//! What merging keeps, changes and removes.

use serde_json::{Value, json};

use super::*;
use crate::api::Kind;
use crate::status::shape;

const OURS: &str = "ringway.dev/gateway-controller";
const THEN: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-11-24T20:00:00Z";

fn patch(kind: Kind, observed: Option<&Value>, desired: &Value) -> Option<Value> {
    let shape = shape::of(kind).unwrap();
    Merge { shape, namespace: "app", controller: OURS, now: NOW }.patch(observed, desired)
}

/// What the server stores after `patch`.
fn apply(observed: Option<Value>, patch: Option<Value>) -> Value {
    let mut status = observed.unwrap_or_else(|| json!({}));
    for (field, value) in patch.unwrap().as_object().unwrap() {
        let fields = status.as_object_mut().unwrap();
        if value.is_null() {
            fields.remove(field);
        } else {
            fields.insert(field.clone(), value.clone());
        }
    }
    status
}

fn wanted(kind: &str, status: &str, generation: i64) -> Value {
    json!({"type": kind, "status": status, "reason": kind, "message": "m",
           "observedGeneration": generation})
}

fn stored(kind: &str, status: &str, generation: i64, since: &str) -> Value {
    let mut condition = wanted(kind, status, generation);
    condition["lastTransitionTime"] = json!(since);
    condition
}

fn parent(controller: &str, gateway: &str, conditions: Value) -> Value {
    json!({"parentRef": {"group": GATEWAY_GROUP, "kind": "Gateway", "name": gateway},
           "controllerName": controller, "conditions": conditions})
}

#[test]
fn the_first_status_of_an_object_has_the_time_of_now() {
    let desired = json!({"conditions": [wanted("Accepted", "True", 1)]});
    let found = patch(Kind::GatewayClass, None, &desired).unwrap();
    assert_eq!(found, json!({"conditions": [stored("Accepted", "True", 1, NOW)]}));
}

#[test]
fn what_is_equal_is_not_written_and_writing_makes_it_equal() {
    let desired = json!({
        "addresses": [{"type": "IPAddress", "value": "10.0.0.1"}],
        "conditions": [wanted("Accepted", "True", 1), wanted("Programmed", "True", 1)],
        "listeners": [{"name": "a", "attachedRoutes": 0, "supportedKinds": [],
                       "conditions": [wanted("Accepted", "True", 1)]}],
    });
    let status = apply(None, patch(Kind::Gateway, None, &desired));
    assert_eq!(patch(Kind::Gateway, Some(&status), &desired), None);
    let desired = json!({"parents": [parent(OURS, "gw", json!([wanted("Accepted", "True", 1)]))]});
    let status = apply(None, patch(Kind::HttpRoute, None, &desired));
    assert_eq!(patch(Kind::HttpRoute, Some(&status), &desired), None);
}

#[test]
fn a_transition_time_moves_only_with_the_status() {
    let observed = json!({"conditions": [
        stored("Accepted", "True", 1, THEN), stored("Programmed", "False", 1, THEN)]});
    let desired = json!({"conditions": [
        wanted("Accepted", "True", 2), wanted("Programmed", "True", 2)]});
    let found = patch(Kind::Gateway, Some(&observed), &desired).unwrap();
    assert_eq!(
        found["conditions"],
        json!([stored("Accepted", "True", 2, THEN), stored("Programmed", "True", 2, NOW)])
    );
}

#[test]
fn foreign_conditions_keep_their_value_and_place() {
    let foreign = json!({"type": "example.com/Seeded", "status": "True", "extra": [1]});
    let observed = json!({"conditions": [
        foreign, stored("Accepted", "Unknown", 0, THEN), stored("Ready", "True", 1, THEN)]});
    let desired = json!({"conditions": [
        wanted("Programmed", "True", 2), wanted("Accepted", "True", 2)]});
    let found = patch(Kind::Gateway, Some(&observed), &desired).unwrap();
    assert_eq!(
        found["conditions"],
        json!([
            foreign,
            stored("Accepted", "True", 2, NOW),
            stored("Ready", "True", 1, THEN),
            stored("Programmed", "True", 2, NOW)
        ])
    );
}

#[test]
fn foreign_conditions_of_a_listener_stay_and_its_fields_that_we_do_not_know_too() {
    let observed = json!({"listeners": [
        {"name": "b", "attachedRoutes": 1, "conditions": [], "new": "field"},
        {"name": "a", "attachedRoutes": 1, "supportedKinds": [], "conditions": [
            stored("Seeded", "True", 1, THEN), stored("OverlappingTLSConfig", "True", 1, THEN)]},
        {"name": "gone", "attachedRoutes": 1, "conditions": []}]});
    let desired = json!({"listeners": [
        {"name": "a", "attachedRoutes": 2, "supportedKinds": [], "conditions": []},
        {"name": "b", "attachedRoutes": 1, "supportedKinds": [], "conditions": []}]});
    let found = patch(Kind::Gateway, Some(&observed), &desired).unwrap();
    assert_eq!(
        found["listeners"],
        json!([
            {"name": "a", "attachedRoutes": 2, "supportedKinds": [],
             "conditions": [stored("Seeded", "True", 1, THEN)]},
            {"name": "b", "attachedRoutes": 1, "conditions": [], "supportedKinds": [],
             "new": "field"}
        ])
    );
}

#[test]
fn a_condition_of_ours_that_no_longer_applies_is_removed() {
    let observed = json!({"conditions": [
        stored("Accepted", "True", 1, THEN),
        stored("InsecureFrontendValidationMode", "True", 1, THEN)]});
    let desired = json!({"conditions": [wanted("Accepted", "True", 1)]});
    let found = patch(Kind::Gateway, Some(&observed), &desired).unwrap();
    assert_eq!(found["conditions"], json!([stored("Accepted", "True", 1, THEN)]));
}

#[test]
fn other_controllers_entries_stay_where_they_are_and_ours_keep_their_place() {
    let theirs = parent("example.com/other", "gw", json!([{"type": "Accepted", "odd": true}]));
    let observed = json!({"parents": [
        theirs, parent(OURS, "gw", json!([stored("Accepted", "True", 1, THEN)])), theirs]});
    let desired = json!({"parents": [
        parent(OURS, "second", json!([wanted("Accepted", "True", 2)])),
        parent(OURS, "gw", json!([wanted("Accepted", "True", 2)]))]});
    let found = patch(Kind::HttpRoute, Some(&observed), &desired).unwrap();
    assert_eq!(
        found["parents"],
        json!([
            theirs,
            parent(OURS, "gw", json!([stored("Accepted", "True", 2, THEN)])),
            theirs,
            parent(OURS, "second", json!([stored("Accepted", "True", 2, NOW)]))
        ])
    );
}

#[test]
fn entries_of_ours_go_when_the_route_no_longer_names_us_and_the_list_stays() {
    let theirs = parent("example.com/other", "gw", json!([]));
    let ours = parent(OURS, "gw", json!([stored("Accepted", "True", 1, THEN)]));
    let nothing = json!({"parents": []});
    let observed = json!({"parents": [ours, theirs]});
    let found = patch(Kind::HttpRoute, Some(&observed), &nothing).unwrap();
    assert_eq!(found, json!({"parents": [theirs]}));
    let found = patch(Kind::HttpRoute, Some(&json!({"parents": [ours]})), &nothing).unwrap();
    assert_eq!(found, json!({"parents": []}), "the API wants the list");
    assert_eq!(patch(Kind::HttpRoute, Some(&json!({"parents": [theirs]})), &nothing), None);
}

#[test]
fn parents_are_told_apart_by_section_and_port_and_found_without_their_defaults() {
    let mut short = parent(OURS, "gw", json!([stored("Accepted", "True", 1, THEN)]));
    short["parentRef"] = json!({"name": "gw", "namespace": "app"});
    let mut section = parent(OURS, "gw", json!([stored("Accepted", "False", 1, THEN)]));
    section["parentRef"]["sectionName"] = json!("https");
    let mut port = parent(OURS, "gw", json!([stored("Accepted", "False", 1, THEN)]));
    port["parentRef"]["port"] = json!(443);
    let observed = json!({"parents": [section, port, short]});
    let desired = json!({"parents": [parent(OURS, "gw", json!([wanted("Accepted", "True", 1)]))]});
    let found = patch(Kind::HttpRoute, Some(&observed), &desired).unwrap();
    let whole = parent(OURS, "gw", json!([stored("Accepted", "True", 1, THEN)]));
    assert_eq!(found["parents"], json!([whole]));
}

#[test]
fn addresses_that_went_are_removed_and_none_at_all_is_not_a_change() {
    let conditions = json!([stored("Accepted", "False", 1, THEN)]);
    let desired = json!({"addresses": [], "conditions": [wanted("Accepted", "False", 1)]});
    let observed = json!({"conditions": conditions});
    assert_eq!(patch(Kind::Gateway, Some(&observed), &desired), None);
    let observed = json!({"conditions": conditions, "addresses": [{"value": "10.0.0.1"}]});
    let found = patch(Kind::Gateway, Some(&observed), &desired);
    assert_eq!(found, Some(json!({"addresses": null})));
}

#[test]
fn fields_of_the_status_that_we_do_not_know_are_no_part_of_the_patch() {
    let observed = json!({"future": {"a": 1}, "conditions": []});
    let desired = json!({"conditions": [wanted("Accepted", "True", 1)]});
    let found = patch(Kind::Gateway, Some(&observed), &desired).unwrap();
    assert_eq!(found.as_object().unwrap().keys().collect::<Vec<_>>(), ["conditions"]);
}

#[test]
fn a_status_of_any_shape_is_survived() {
    let desired = json!({"parents": [parent(OURS, "gw", json!([wanted("Accepted", "True", 1)]))]});
    for odd in [
        json!(null),
        json!([1]),
        json!("x"),
        json!({"parents": 7}),
        json!({"parents": [null, 3, {"controllerName": OURS}]}),
    ] {
        let found = patch(Kind::HttpRoute, Some(&odd), &desired).unwrap();
        let parents = found["parents"].as_array().unwrap();
        assert_eq!(parents.last().unwrap()["controllerName"], OURS, "{odd}");
    }
}

#[test]
fn a_message_longer_than_the_api_takes_is_cut_between_characters() {
    let mut condition = wanted("Accepted", "False", 1);
    condition["message"] = json!("é".repeat(MESSAGE_MAX));
    let desired = json!({"conditions": [condition]});
    let found = patch(Kind::Gateway, None, &desired).unwrap();
    let message = found["conditions"][0]["message"].as_str().unwrap();
    assert!(message.len() <= MESSAGE_MAX && message.ends_with(CUT));
    let status = apply(None, Some(found.clone()));
    assert_eq!(patch(Kind::Gateway, Some(&status), &desired), None, "cut the same way again");
}

#[test]
fn entries_are_known_by_their_controller() {
    let shape = shape::of(Kind::HttpRoute).unwrap();
    let status = json!({"parents": [parent(OURS, "gw", json!([]))]});
    assert!(has_entries(shape, &status, OURS));
    assert!(!has_entries(shape, &status, "example.com/other"));
    assert!(!has_entries(shape, &json!({}), OURS));
}

#[test]
fn a_count_of_routes_is_told_from_any_other_news() {
    let listener = |name: &str, count: u32, status: &str| {
        let condition = json!({"type": "Programmed", "status": status});
        json!({"name": name, "attachedRoutes": count, "conditions": [condition]})
    };
    let before = json!({"listeners": [listener("a", 1, "True"), listener("b", 1, "True")]});
    let counted = json!({"listeners": [listener("a", 7, "True"), listener("b", 1, "True")]});
    assert!(only_counts(Some(&before), &counted));
    let failed = json!({"listeners": [listener("a", 7, "False"), listener("b", 1, "True")]});
    let gone = json!({"listeners": [listener("a", 7, "True")]});
    let mut more = counted.clone();
    more["conditions"] = json!([]);
    for other in [failed, gone, more, json!({"addresses": []})] {
        assert!(!only_counts(Some(&before), &other), "{other}");
    }
    assert!(!only_counts(None, &counted));
}

#[test]
fn a_shared_list_stays_as_long_as_the_api_takes_and_others_entries_stay_in_it() {
    let entry = |controller: &str, name: &str| {
        json!({"ancestorRef": {"group": GATEWAY_GROUP, "kind": "Gateway", "name": name},
               "controllerName": controller, "conditions": []})
    };
    let foreign: Vec<_> = (0..10).map(|n| entry("example.com/other", &format!("f{n}"))).collect();
    let ours: Vec<_> = (0..10).map(|n| entry(OURS, &format!("o{n}"))).collect();
    let observed = json!({"ancestors": foreign});
    let desired = json!({"ancestors": ours});
    let found = patch(Kind::BackendTlsPolicy, Some(&observed), &desired).unwrap();
    let found = found["ancestors"].as_array().unwrap();
    assert_eq!(found.len(), 16);
    assert_eq!(found[..10], foreign);
    assert_eq!(found[10..], ours[..6]);
    let stored = json!({"ancestors": found});
    assert_eq!(patch(Kind::BackendTlsPolicy, Some(&stored), &desired), None, "once is enough");
}

#[test]
fn what_is_said_of_an_address_stays_until_something_else_is_known() {
    let address = |value: &str| json!({"type": "IPAddress", "value": value});
    let cluster = json!({"type": "IPAddress", "value": "10.96.0.9", "routability": "Cluster"});
    let observed = json!({"addresses": [cluster, address("10.0.0.1")]});
    let unknown = json!({"addresses": [address("10.96.0.9"), address("10.0.0.1")]});
    assert_eq!(patch(Kind::Gateway, Some(&observed), &unknown), None);
    let pruned = json!({"addresses": [address("10.96.0.9")]});
    assert_eq!(patch(Kind::Gateway, Some(&pruned), &pruned), None);
    let mut known = observed.clone();
    known["addresses"][1]["routability"] = json!("");
    let found = patch(Kind::Gateway, Some(&observed), &known);
    assert_eq!(found, Some(known.clone()));
    assert_eq!(patch(Kind::Gateway, Some(&known), &known), None);
}
