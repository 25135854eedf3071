//! Filters of listeners: before routing, in their order.

use proxy::ir;
use shards::Backend;
use shards::report::AuthEnd;

use super::support::{OK, Recorded, World, config, rule, settle};
use super::{by_http, ended, shared, start};

/// Answers that name an identity, and one more field.
fn saying(name: &str, value: &str) -> Recorded {
    let answer = format!("HTTP/1.1 200 OK\r\n{name}: {value}\r\nContent-Length: 0\r\n\r\n");
    let answer: &'static str = Box::leak(answer.into_boxed_str());
    Recorded::always(answer)
}

/// Two backends that a header chooses between, behind a listener with a filter for each server.
fn identified(servers: &[&Recorded], backends: [&Recorded; 2]) -> ir::Ir {
    let by_user = |user: &str, backend: &str| {
        let mut rule = rule("/", &[(backend, 1)]);
        let value = ir::ValueCondition::Exact(user.into());
        rule.matches[0].headers = vec![ir::ValueMatch { name: "x-user".into(), value }];
        rule
    };
    let rules = vec![by_user("alice", "alices"), by_user("bob", "bobs")];
    let names: Vec<_> = (0..servers.len()).map(|nth| format!("auth{nth}")).collect();
    let mut all = vec![("alices", vec![backends[0].address]), ("bobs", vec![backends[1].address])];
    all.extend(names.iter().zip(servers).map(|(name, one)| (name.as_str(), vec![one.address])));
    let mut ir = config(rules, &all);
    let filters = names.iter().map(|name| ir::Filter::ExternalAuth(by_http(name, 0)));
    ir.ports[0].listeners[0].filters = filters.collect();
    ir
}

fn ask(world: &World, path: &str, lines: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n");
    world.exchange(request.as_bytes())
}

#[test]
fn what_a_listeners_filter_changes_is_what_routes_match() {
    for runtime in super::backends() {
        let (alices, bobs) = (Recorded::always(OK), Recorded::always(OK));
        let server = saying("X-User", "alice");
        let world = start(runtime, &identified(&[&server], [&alices, &bobs]));
        assert!(ask(&world, "/", "X-User: bob\r\n").ends_with("hello"));
        assert_eq!(bobs.text(), "", "the client's own word");
        assert_eq!(alices.text().matches("x-user: alice\r\n").count(), 1);
        world.stop();
    }
}

#[test]
fn filters_of_a_listener_run_in_order_and_the_last_word_counts() {
    for order in [["alice", "bob"], ["bob", "alice"]] {
        let (alices, bobs) = (Recorded::always(OK), Recorded::always(OK));
        let servers = [saying("X-User", order[0]), saying("X-User", order[1])];
        let world =
            start(Backend::Epoll, &identified(&[&servers[0], &servers[1]], [&alices, &bobs]));
        assert!(ask(&world, "/", "").ends_with("hello"));
        let (last, first) = if order[1] == "bob" { (&bobs, &alices) } else { (&alices, &bobs) };
        assert_eq!(last.text().matches("GET / ").count(), 1, "{order:?}");
        assert_eq!(first.text(), "", "{order:?}");
        world.stop();
    }
}

#[test]
fn a_denial_keeps_the_rest_from_being_asked_and_routes_from_being_matched() {
    let (alices, bobs) = (Recorded::always(OK), Recorded::always(OK));
    let denies = Recorded::always("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
    let second = saying("X-User", "alice");
    let mut world = start(Backend::Epoll, &identified(&[&denies, &second], [&alices, &bobs]));
    for path in ["/", "/nowhere"] {
        assert!(ask(&world, path, "X-User: alice\r\n").starts_with("HTTP/1.1 401 "));
    }
    assert_eq!((second.text(), alices.text(), bobs.text()), Default::default());
    let log = settle(&mut world, 2);
    assert!(!log.contains("\"route\":"), "{log}");
    assert_eq!(ended(&world, AuthEnd::Denied), 2);
    world.stop();
}

#[test]
fn a_request_that_no_rule_matches_was_asked_about_all_the_same() {
    let (alices, bobs) = (Recorded::always(OK), Recorded::always(OK));
    let server = saying("X-User", "carol");
    let world = start(Backend::Epoll, &identified(&[&server], [&alices, &bobs]));
    assert!(ask(&world, "/", "X-User: bob\r\n").starts_with("HTTP/1.1 404 "));
    assert_eq!(server.text().matches("GET /check/ ").count(), 1);
    world.stop();
}

#[test]
fn the_host_stays_and_so_does_the_listener() {
    let (alices, bobs) = (Recorded::always(OK), Recorded::always(OK));
    let server = Recorded::always(
        "HTTP/1.1 200 OK\r\nHost: other.example\r\nX-User: alice\r\nContent-Length: 0\r\n\r\n",
    );
    let mut ir = identified(&[&server], [&alices, &bobs]);
    let mut other = ir.ports[0].listeners[0].clone();
    other.name = "default/gateway/other".into();
    other.hostname = Some(ir::Hostname::Exact("other.example".into()));
    other.filters = Vec::new();
    other.routes = Vec::new();
    ir.ports[0].listeners.insert(0, other);
    let world = start(Backend::Epoll, &ir);
    assert!(ask(&world, "/", "").ends_with("hello"));
    assert!(alices.text().contains("host: x\r\n") && !alices.text().contains("other.example"));
    world.stop();
}

#[test]
fn a_listener_and_a_rule_both_ask() {
    let backend = Recorded::always(OK);
    let (first, second) = (saying("X-User", "alice"), saying("X-Groups", "g"));
    let mut rule = rule("/", &[("b", 1)]);
    rule.filters = vec![ir::Filter::ExternalAuth(ir::ExternalAuth {
        protocol: ir::AuthProtocol::Http {
            path: "/rule".into(),
            allowed_headers: shared(&["x-user"]),
            allowed_response_headers: Vec::new(),
        },
        ..by_http("auth1", 0)
    })];
    let all = [
        ("b", vec![backend.address]),
        ("auth0", vec![first.address]),
        ("auth1", vec![second.address]),
    ];
    let mut ir = config(vec![rule], &all);
    ir.ports[0].listeners[0].filters = vec![ir::Filter::ExternalAuth(by_http("auth0", 0))];
    let mut world = start(Backend::Epoll, &ir);
    assert!(ask(&world, "/", "X-Groups: admin\r\n").ends_with("hello"));
    assert!(first.text().starts_with("GET /check/ "), "{}", first.text());
    let asked = second.text();
    assert!(asked.starts_with("GET /rule/ ") && asked.contains("x-user: alice\r\n"), "{asked}");
    let seen = backend.text();
    assert!(seen.contains("x-user: alice\r\n") && seen.contains("x-groups: g\r\n"), "{seen}");
    assert!(!seen.contains("admin"), "{seen}");
    settle(&mut world, 1);
    assert_eq!(ended(&world, AuthEnd::Allowed), 2);
    world.stop();
}
