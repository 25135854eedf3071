//! Compilation shares what is equal, keeps slots, and gives every host to the right listener.
#![allow(missing_docs, reason = "a test")]

mod table_kit;

use std::sync::Arc;

use proxy::balance::RegexCaches;
use proxy::epoch::{Claim, Epoch};
use proxy::ir::*;
use table_kit::{Request, compile, find, hostname, ir, listener, on, port, route, rule, table};

fn simple(name: &str, host: &str, path: &str, backend: &str) -> AttachedRoute {
    let backends = [(backend, 9), ("b/other", 1)];
    route(name, 0, &[host], vec![rule(vec![on(path)], &backends)])
}

fn slot_of(epoch: &Epoch, name: &str) -> Option<usize> {
    epoch.backends.iter().position(|b| b.as_ref().is_some_and(|b| *b.name == *name))
}

fn cursor_of(epoch: &Epoch, host: &str, path: &str) -> u32 {
    let head = Request::get(host, path).head();
    table(epoch).find(&head, &mut RegexCaches::default()).expect("it matches").rule.cursor
}

#[test]
fn an_edit_of_one_route_compiles_its_hostname_and_shares_all_others() {
    let mut routes = vec![
        simple("ns/a", "a.com", "/", "b/a"),
        simple("ns/b", "b.com", "/", "b/b"),
        simple("ns/c", "b.com", "/c", "b/c"),
    ];
    let first = compile(1, &ir(routes.clone()), None);
    routes[0] = simple("ns/a", "a.com", "/new", "b/a");
    // Equal, but another allocation, as after a fresh translation.
    routes[1].route = Arc::new(Route::clone(&routes[1].route));
    let second = compile(2, &ir(routes), Some(&first));
    assert_eq!(second.id, 2);
    let shared = |host: &str| table(&second).shares_host_with(table(&first), Some(&hostname(host)));
    assert!(!shared("a.com") && shared("b.com"));
    let mut caches = RegexCaches::default();
    assert!(find(table(&second), &Request::get("a.com", "/"), &mut caches).is_none());
    assert!(find(table(&second), &Request::get("a.com", "/new"), &mut caches).is_some());
    for name in ["b/a", "b/b", "b/c"] {
        let of =
            |epoch: &Epoch| epoch.backends[slot_of(epoch, name).expect(name)].clone().expect(name);
        assert!(Arc::ptr_eq(&of(&first), &of(&second)), "{name}");
    }
}

#[test]
fn a_configuration_equal_to_the_one_before_shares_its_ports_whole() {
    let first = compile(1, &ir(vec![simple("ns/a", "a.com", "/", "b/a")]), None);
    let again = ir(vec![simple("ns/a", "a.com", "/", "b/a")]);
    let second = compile(2, &again, Some(&first));
    assert!(Arc::ptr_eq(&first.ports[0], &second.ports[0]));
}

#[test]
fn a_hostname_that_comes_or_goes_leaves_the_others_shared() {
    let base = vec![simple("ns/a", "a.com", "/", "b/a"), simple("ns/w", "*.a.com", "/", "b/a")];
    let first = compile(1, &ir(base.clone()), None);
    let mut more = base.clone();
    more.push(simple("ns/n", "new.com", "/", "b/a"));
    let second = compile(2, &ir(more), Some(&first));
    let third = compile(3, &ir(base), Some(&second));
    let mut caches = RegexCaches::default();
    for (epoch, expected) in [(&second, true), (&third, false)] {
        let found = find(table(epoch), &Request::get("new.com", "/"), &mut caches);
        assert_eq!(found.is_some(), expected);
        for name in ["a.com", "*.a.com"] {
            assert!(table(epoch).shares_host_with(table(&first), Some(&hostname(name))), "{name}");
        }
    }
}

#[test]
fn changed_endpoints_give_a_new_backend_in_the_same_slot_and_touch_no_route() {
    let mut configuration = ir(vec![simple("ns/a", "a.com", "/", "b/a")]);
    let first = compile(1, &configuration, None);
    let endpoints = vec!["10.9.9.9:1".parse().unwrap()];
    let changed = Backend { websocket: true, endpoints, ..Backend::default() };
    configuration.backends.insert("b/a".into(), Arc::new(changed));
    let second = compile(2, &configuration, Some(&first));
    let slot = slot_of(&first, "b/a").unwrap();
    assert_eq!(slot_of(&second, "b/a"), Some(slot));
    let endpoints = &second.backends[slot].as_ref().unwrap().endpoints;
    assert_eq!(endpoints[0].to_string(), "10.9.9.9:1");
    assert!(Arc::ptr_eq(&first.ports[0], &second.ports[0]));
}

#[test]
fn slots_stay_with_their_keys_and_a_freed_one_waits_for_the_last_epoch_that_names_it() {
    let keep = simple("ns/keep", "keep.com", "/", "b/keep");
    let gone = simple("ns/gone", "gone.com", "/", "b/gone");
    let new = |n: usize| simple(&format!("ns/n{n}"), "n.com", &format!("/{n}"), &format!("b/n{n}"));
    let first = compile(1, &ir(vec![keep.clone(), gone]), None);
    let (gone_slot, gone_cursor) = (slot_of(&first, "b/gone"), cursor_of(&first, "gone.com", "/"));
    let second = compile(2, &ir(vec![keep.clone(), new(1)]), Some(&first));
    let third = compile(3, &ir(vec![keep.clone(), new(1), new(2)]), Some(&second));
    for epoch in [&second, &third] {
        for name in ["b/n1", "b/n2"] {
            assert_ne!(slot_of(epoch, name), gone_slot, "{name} while the first epoch lives");
        }
        assert_ne!(cursor_of(epoch, "n.com", "/1"), gone_cursor);
        assert_eq!(slot_of(epoch, "b/keep"), slot_of(&first, "b/keep"));
        assert_eq!(cursor_of(epoch, "keep.com", "/"), cursor_of(&first, "keep.com", "/"));
    }
    drop((first, second));
    let fourth = compile(4, &ir(vec![keep, new(1), new(2), new(3)]), Some(&third));
    assert_eq!(slot_of(&fourth, "b/n3"), gone_slot);
    assert_eq!(cursor_of(&fourth, "n.com", "/3"), gone_cursor);
    assert_eq!(slot_of(&fourth, "b/n1"), slot_of(&third, "b/n1"));
}

#[test]
fn churn_for_a_long_time_does_not_grow_the_slots() {
    let mut epoch = Epoch::empty();
    for id in 1..200_u64 {
        let routes = (id..id + 5)
            .map(|n| simple(&format!("ns/{n}"), "h.com", &format!("/{n}"), &format!("b/{n}")));
        epoch = compile(id, &ir(routes.collect()), Some(&epoch));
    }
    assert!(epoch.backends.len() < 20, "{} backend slots", epoch.backends.len());
    assert!(epoch.cursors() < 20, "{} cursors", epoch.cursors());
}

#[test]
fn a_route_attached_twice_has_one_cursor() {
    let mut configuration = ir(vec![simple("ns/a", "a.com", "/", "b/a")]);
    let same = configuration.ports[0].listeners[0].routes.clone();
    configuration.ports[0].listeners.push(listener("ns/gw/b", Some("a.com"), same));
    let epoch = compile(1, &configuration, None);
    let head = Request::get("a.com", "/").head();
    let cursor = |at: usize| {
        let table = &epoch.ports[0].listeners[at].table;
        table.find(&head, &mut RegexCaches::default()).unwrap().rule.cursor
    };
    assert_eq!(cursor(0), cursor(1));
    assert_ne!(epoch.ports[0].listeners[0].slot, epoch.ports[0].listeners[1].slot);
}

fn claims(protocol: Protocol, names: &[Option<&str>]) -> Epoch {
    let listeners = names.iter().map(|name| listener(name.unwrap_or("any"), *name, Vec::new()));
    let ports = vec![port(protocol, listeners.collect())];
    compile(1, &Ir { ports, ..Ir::default() }, None)
}

fn claimed(epoch: &Epoch, host: &str, sni: Option<&str>) -> String {
    match epoch.ports[0].claim(host, sni) {
        Claim::Listener(listener) => listener.name.to_string(),
        Claim::Misdirected => "421".to_owned(),
        Claim::Unclaimed => "404".to_owned(),
    }
}

#[test]
fn on_a_plain_port_the_most_specific_listener_claims_the_host() {
    let names =
        [Some("abc.foo.example.com"), Some("*.foo.example.com"), Some("*.example.com"), None];
    let epoch = claims(Protocol::Http, &names);
    for (host, expected) in [
        ("abc.foo.example.com", "abc.foo.example.com"),
        ("x.foo.example.com", "*.foo.example.com"),
        ("foo.example.com", "*.example.com"),
        ("example.com", "any"),
        ("", "any"),
    ] {
        assert_eq!(claimed(&epoch, host, None), expected, "{host}");
    }
    let epoch = claims(Protocol::Http, &names[..3]);
    assert_eq!(claimed(&epoch, "example.com", None), "404");
}

#[test]
fn on_https_a_host_that_another_listener_claims_more_specifically_is_misdirected() {
    let names = [Some("a.example.com"), Some("b.org"), Some("*.example.com"), None];
    let epoch = claims(Protocol::Tls, &names);
    for (sni, host, expected) in [
        (Some("a.example.com"), "a.example.com", "a.example.com"),
        (Some("a.example.com"), "x.example.com", "421"),
        (Some("a.example.com"), "other.net", "421"),
        (Some("x.example.com"), "a.example.com", "421"),
        (Some("x.example.com"), "y.example.com", "*.example.com"),
        (Some("x.example.com"), "b.org", "421"),
        (Some("unknown.net"), "other.net", "any"),
        (Some("unknown.net"), "b.org", "421"),
        (None, "other.net", "any"),
        (None, "a.example.com", "421"),
    ] {
        assert_eq!(claimed(&epoch, host, sni), expected, "{sni:?} {host}");
    }
}

/// The table of the suite's GatewayHTTPSListenerDetectMisdirectedRequests: four listeners of one port,
/// a route of one hostname at the first and one of every hostname at each of the others.
#[test]
fn misdirected_requests_are_told_apart_as_the_conformance_suite_wants() {
    let any_host = |name: &str, backend: &str| {
        let mut route = simple(name, "unused", "/detect-misdirected-requests", backend);
        route.hostnames.clear();
        vec![route]
    };
    let own = simple("ns/1", "example.org", "/detect-misdirected-requests", "v1");
    let fourth = "fourth-example.wildcard.org";
    let listeners = vec![
        listener("fourth", Some(fourth), any_host("ns/4", "v1")),
        listener("second", Some("second-example.org"), any_host("ns/2", "v2")),
        listener("wildcard", Some("*.wildcard.org"), any_host("ns/3", "v3")),
        listener("https", None, vec![own]),
    ];
    let ports = vec![port(Protocol::Tls, listeners)];
    let epoch = compile(1, &Ir { ports, ..Ir::default() }, None);
    let answer = |sni: &str, host: &str| match epoch.ports[0].claim(host, Some(sni)) {
        Claim::Misdirected => "421".to_owned(),
        Claim::Unclaimed => "404".to_owned(),
        Claim::Listener(listener) => {
            let head = Request::get(host, "/detect-misdirected-requests").head();
            let found = listener.table.find(&head, &mut RegexCaches::default());
            found.map_or_else(|| "404".to_owned(), |found| found.rule.route.to_string())
        }
    };
    let third = "third-example.wildcard.org";
    let fifth = "fith-example.wildcard.org";
    for (sni, host, expected) in [
        ("example.org", "example.org", "ns/1"),
        ("example.org", "second-example.org", "421"),
        ("example.org", "unknown-example.org", "404"),
        ("second-example.org", "second-example.org", "ns/2"),
        ("second-example.org", "example.org", "421"),
        ("second-example.org", "unknown-example.org", "421"),
        (third, third, "ns/3"),
        (third, fifth, "ns/3"),
        (third, fourth, "421"),
        (third, "second-example.org", "421"),
        (third, "unknown-example.org", "421"),
        (fourth, fourth, "ns/4"),
        (fourth, fifth, "421"),
        ("unknown-example.org", "example.org", "ns/1"),
        ("unknown-example.org", "unknown-example.org", "404"),
    ] {
        assert_eq!(answer(sni, host), expected, "{sni} {host}");
    }
}

#[test]
fn on_https_a_host_that_no_listener_claims_is_not_found() {
    let epoch = claims(Protocol::Tls, &[Some("a.com"), Some("b.com")]);
    assert_eq!(claimed(&epoch, "c.com", Some("a.com")), "404");
    assert_eq!(claimed(&epoch, "b.com", Some("a.com")), "421");
    assert_eq!(claimed(&epoch, "b.com", None), "b.com");
    assert_eq!(claimed(&epoch, "b.com", Some("c.com")), "421");
    assert!(epoch.ports[0].listener_of_sni(Some("c.com")).is_none());
    assert_eq!(&*epoch.ports[0].listener_of_sni(Some("a.com")).unwrap().name, "a.com");
}

#[test]
fn the_empty_epoch_listens_nowhere() {
    let epoch = Epoch::empty();
    assert!(epoch.id == 0 && epoch.ports.is_empty() && epoch.backends.is_empty());
}

#[test]
fn only_a_rule_that_asks_for_more_has_a_policy_and_its_mirrors_are_backends() {
    let to =
        |target, numerator| Filter::RequestMirror(Mirror { target, numerator, denominator: 100 });
    let mut asks = rule(vec![on("/asks")], &[("b/a", 1), ("b/b", 1)]);
    asks.timeouts.request = Some(std::time::Duration::from_secs(1));
    asks.filters = vec![
        to(Target::Backend("b/m".into()), 20),
        to(Target::Backend("b/never".into()), 0),
        to(Target::Invalid("b/none".into()), 20),
    ];
    let mut own = rule(vec![on("/own")], &[("b/a", 1)]);
    own.backends[0].filters = vec![to(Target::Backend("b/m".into()), 100)];
    let rules = vec![asks, own, rule(vec![on("/plain")], &[("b/a", 1)])];
    let mut ir = ir(vec![route("ns/r", 0, &["a.com"], rules)]);
    ir.backends.insert("b/m".into(), Arc::new(Backend::default()));
    let epoch = compile(1, &ir, None);
    let found = |path: &str| {
        let head = Request::get("a.com", path).head();
        table(&epoch).find(&head, &mut RegexCaches::default()).expect("it matches").rule
    };
    let slot = slot_of(&epoch, "b/m").expect("it is a backend") as u32;
    let policy = found("/asks").policy.as_deref().expect("it asks for limits");
    assert_eq!(policy.timeouts.request, Some(std::time::Duration::from_secs(1)));
    assert_eq!(policy.mirrors.len(), 1);
    assert_eq!((policy.mirrors[0].slot, policy.mirrors[0].numerator), (slot, 20));
    let own = found("/own");
    assert!(own.policy.as_deref().is_some_and(|policy| policy.mirrors.is_empty()));
    assert_eq!(own.backends[0].mirrors[0].slot, slot);
    assert!(found("/plain").policy.is_none());
}
