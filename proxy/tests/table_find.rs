//! One test per sentence of the Gateway API on which rule a request gets.
#![allow(missing_docs, reason = "a test")]

mod table_kit;

use proxy::balance::RegexCaches;
use proxy::ir::*;
use table_kit::{Request, compile, find, ir, on, route, rule, table, value};

/// Routes of one match each, `(name, created, hostnames, match)`, and the name that `request` gets.
fn winner(routes: &[(&str, i64, &[&str], Match)], request: &Request) -> Option<String> {
    let routes = routes.iter().map(|(name, created, hostnames, found)| {
        route(name, *created, hostnames, vec![rule(vec![found.clone()], &[])])
    });
    let epoch = compile(1, &ir(routes.collect()), None);
    find(table(&epoch), request, &mut RegexCaches::default()).map(|(name, ..)| name)
}

fn matches(found: &Match, request: &Request) -> bool {
    winner(&[("ns/r", 0, &[], found.clone())], request).is_some()
}

fn with_headers(text: &str, headers: &[&str]) -> Match {
    Match { headers: headers.iter().map(|header| value(header)).collect(), ..on(text) }
}

fn with_query(text: &str, query: &[&str]) -> Match {
    Match { query: query.iter().map(|parameter| value(parameter)).collect(), ..on(text) }
}

fn with_method(text: &str, method: &str) -> Match {
    Match { method: Some(method.into()), ..on(text) }
}

#[test]
fn a_prefix_matches_whole_path_elements() {
    for (prefix, path, expected) in [
        ("/v2", "/v2", true),
        ("/v2", "/v2/", true),
        ("/v2", "/v2/example", true),
        ("/v2", "/v2example", false),
        ("/v2", "/V2", false),
        ("/v2/", "/v2", true),
        ("/v2/", "/v2/x", true),
        ("/v2/", "/v2x", false),
        ("/", "/", true),
        ("/", "/anything/at/all", true),
        ("/", "*", true),
        ("/a/b", "/a", false),
        ("/a/b", "/a/c/b", false),
    ] {
        assert_eq!(matches(&on(prefix), &Request::get("h", path)), expected, "{prefix} {path}");
    }
}

#[test]
fn an_exact_path_is_equal_to_the_byte() {
    for (exact, path, expected) in [
        ("= /a", "/a", true),
        ("= /a", "/a/", false),
        ("= /a/", "/a", false),
        ("= /a", "/A", false),
        ("= /a", "/a/b", false),
    ] {
        assert_eq!(matches(&on(exact), &Request::get("h", path)), expected, "{exact} {path}");
    }
}

#[test]
fn a_regular_expression_matches_the_whole_path() {
    let request = Request::get("h", "/users/42");
    assert!(matches(&on("~ /users/[0-9]+"), &request));
    assert!(!matches(&on("~ /users"), &request));
    assert!(!matches(&on("~ [0-9]+"), &request));
    assert!(!matches(&on("~ ("), &request), "what does not compile never matches");
}

#[test]
fn exact_comes_before_the_longest_prefix_before_a_regular_expression() {
    let mut routes = vec![
        ("ns/regex", 0, &[][..], on("~ /a/b.*")),
        ("ns/root", 0, &[], on("/")),
        ("ns/a", 0, &[], on("/a")),
        ("ns/ab", 0, &[], on("/a/b")),
        ("ns/exact", 9, &[], on("= /a/b")),
    ];
    let request = Request::get("h", "/a/b");
    for expected in ["ns/exact", "ns/ab", "ns/a", "ns/root", "ns/regex"] {
        assert_eq!(winner(&routes, &request).as_deref(), Some(expected));
        routes.retain(|(name, ..)| *name != expected);
    }
    assert_eq!(winner(&routes, &request), None);
}

#[test]
fn ties_go_on_to_method_headers_and_query_parameters() {
    let mut routes = vec![
        ("ns/any", 0, &[][..], on("/")),
        ("ns/query1", 0, &[], with_query("/", &["q=1"])),
        ("ns/query2", 0, &[], with_query("/", &["p=1", "q=1"])),
        ("ns/header1", 0, &[], with_headers("/", &["a=1"])),
        ("ns/header2", 0, &[], with_headers("/", &["a=1", "b=1"])),
        ("ns/method", 9, &[], with_method("/", "GET")),
    ];
    let request = Request::get("h", "/?q=1&p=1").field("a", "1").field("b", "1");
    let order = ["ns/method", "ns/header2", "ns/header1", "ns/query2", "ns/query1", "ns/any"];
    for expected in order {
        assert_eq!(winner(&routes, &request).as_deref(), Some(expected));
        routes.retain(|(name, ..)| *name != expected);
    }
}

#[test]
fn a_longer_path_comes_before_any_number_of_other_conditions() {
    let routes = [
        ("ns/method", 0, &[][..], with_method("/a", "GET")),
        ("ns/headers", 0, &[], with_headers("/a", &["a=1", "b=1"])),
        ("ns/long", 9, &[], on("/a/b")),
    ];
    let request = Request::get("h", "/a/b").field("a", "1").field("b", "1");
    assert_eq!(winner(&routes, &request).as_deref(), Some("ns/long"));
}

#[test]
fn where_the_longer_path_asks_more_than_the_request_has_the_shorter_one_answers() {
    let routes = [
        ("ns/exact", 0, &[][..], with_method("= /a/b", "POST")),
        ("ns/long", 0, &[], with_headers("/a/b", &["a=1"])),
        ("ns/short", 0, &[], on("/a")),
    ];
    assert_eq!(winner(&routes, &Request::get("h", "/a/b")).as_deref(), Some("ns/short"));
}

#[test]
fn the_oldest_route_then_the_first_by_name_wins() {
    let routes = [("b/r", 5, &[][..], on("/")), ("a/r", 7, &[], on("/")), ("c/r", 5, &[], on("/"))];
    assert_eq!(winner(&routes, &Request::get("h", "/")).as_deref(), Some("b/r"));
    assert_eq!(winner(&routes[1..], &Request::get("h", "/")).as_deref(), Some("c/r"));
}

#[test]
fn within_a_route_the_first_rule_wins() {
    let rules =
        vec![rule(vec![on("/b")], &[]), rule(vec![on("/a")], &[]), rule(vec![on("/a")], &[])];
    let epoch = compile(1, &ir(vec![route("ns/r", 0, &[], rules)]), None);
    let found = find(table(&epoch), &Request::get("h", "/a"), &mut RegexCaches::default());
    assert_eq!(found, Some(("ns/r".to_owned(), 1, 2)));
}

#[test]
fn a_match_needs_all_its_conditions_and_a_rule_any_of_its_matches() {
    let both = with_headers("/", &["a=1", "b=2"]);
    let request = Request::get("h", "/").field("a", "1");
    assert!(!matches(&both, &request));
    assert!(matches(&both, &request.clone().field("b", "2")));
    let either = vec![rule(vec![both, on("= /")], &[])];
    let epoch = compile(1, &ir(vec![route("ns/r", 0, &[], either)]), None);
    assert!(find(table(&epoch), &request, &mut RegexCaches::default()).is_some());
}

#[test]
fn the_more_specific_hostname_wins_and_falls_through_where_none_of_its_rules_matches() {
    let routes = [
        ("ns/any", 0, &[][..], on("= /deep/any")),
        ("ns/com", 0, &["*.com"], on("/deep")),
        ("ns/example", 0, &["*.example.com"], on("/deep/er")),
        ("ns/exact", 9, &["a.example.com"], on("/")),
        ("ns/post", 9, &["b.example.com"], with_method("/", "POST")),
    ];
    let name = |host: &str, path: &str| winner(&routes, &Request::get(host, path));
    assert_eq!(name("a.example.com", "/deep/er").as_deref(), Some("ns/exact"));
    assert_eq!(name("b.example.com", "/deep/er").as_deref(), Some("ns/example"));
    assert_eq!(name("b.example.com", "/deep/any").as_deref(), Some("ns/com"));
    assert_eq!(name("other.org", "/deep/any").as_deref(), Some("ns/any"));
    assert_eq!(name("other.org", "/deep"), None);
}

#[test]
fn several_lines_of_a_field_are_matched_as_their_comma_joined_value() {
    let request = Request::get("h", "/").field("a", "1").field("x", "y").field("a", "2");
    assert!(matches(&with_headers("/", &["a=1, 2"]), &request));
    assert!(matches(&with_headers("/", &["a~1, [0-9]"]), &request));
    for condition in ["a=1", "a=2", "a=1,2", "a~1", "a=1, 2, ", "a=2, 1"] {
        assert!(!matches(&with_headers("/", &[condition]), &request), "{condition}");
    }
}

#[test]
fn hop_by_hop_fields_are_invisible() {
    let request = Request::get("h", "/").hop("a", "1");
    assert!(!matches(&with_headers("/", &["a=1"]), &request));
    assert!(matches(&with_headers("/", &["a=2"]), &request.field("a", "2")));
}

#[test]
fn header_values_are_case_sensitive_and_an_absent_field_matches_nothing() {
    let condition = with_headers("/", &["a=Blue"]);
    assert!(matches(&condition, &Request::get("h", "/").field("a", "Blue")));
    assert!(!matches(&condition, &Request::get("h", "/").field("a", "blue")));
    assert!(!matches(&with_headers("/", &["a~.*"]), &Request::get("h", "/")));
    assert!(matches(&with_headers("/", &["a~.*"]), &Request::get("h", "/").field("a", "")));
}

#[test]
fn query_parameters_are_compared_decoded_and_the_first_of_a_name_counts() {
    for (condition, query, expected) in [
        ("q=a b", "q=a+b", true),
        ("q=a b", "q=a%20b", true),
        ("q=1", "q=1&q=2", true),
        ("q=2", "q=1&q=2", false),
        ("q=1", "Q=1", false),
        ("q=", "q", true),
        ("q=", "x=1", false),
        ("q=a=b", "q=a=b", true),
        ("q~[0-9]+", "x=y&%71=42", true),
        ("q~[0-9]+", "q=42x", false),
    ] {
        let request = Request::get("h", &format!("/?{query}"));
        assert_eq!(
            matches(&with_query("/", &[condition]), &request),
            expected,
            "{condition} {query}"
        );
    }
    assert!(!matches(&with_query("/", &["q="]), &Request::get("h", "/")));
}

#[test]
fn methods_are_case_sensitive_and_need_not_be_registered() {
    assert!(matches(&with_method("/", "PURGE"), &Request::get("h", "/").method("PURGE")));
    assert!(!matches(&with_method("/", "GET"), &Request::get("h", "/").method("get")));
}

#[test]
fn the_hit_says_how_much_of_the_path_the_prefix_matched() {
    for (path, request, expected) in [
        ("/a/b/", "/a/b/c", 4),
        ("/a/b", "/a/b", 4),
        ("/", "/a", 0),
        ("= /a/b", "/a/b", 4),
        ("~ /a/.*", "/a/b/c", 6),
    ] {
        let epoch =
            compile(1, &ir(vec![route("ns/r", 0, &[], vec![rule(vec![on(path)], &[])])]), None);
        let found = find(table(&epoch), &Request::get("h", request), &mut RegexCaches::default());
        assert_eq!(found.map(|(.., prefix)| prefix), Some(expected), "{path}");
    }
}

#[test]
fn backends_without_weight_are_left_out_and_invalid_ones_keep_their_share() {
    let mut one = rule(vec![on("/")], &[("b/a", 3), ("b/zero", 0)]);
    one.backends.push(BackendRef {
        target: Target::Invalid("no such Service".into()),
        weight: 2,
        filters: Vec::new(),
    });
    let epoch = compile(1, &ir(vec![route("ns/r", 0, &[], vec![one])]), None);
    let head = Request::get("h", "/").head();
    let hit = table(&epoch).find(&head, &mut RegexCaches::default()).expect("it matches");
    let shares: Vec<_> = hit.rule.backends.iter().map(|b| (b.slot.is_some(), b.weight)).collect();
    assert_eq!(shares, [(true, 3), (false, 2)]);
    assert_ne!(hit.rule.cursor, 0);
    let slot = hit.rule.backends[0].slot.expect("it is valid") as usize;
    assert_eq!(epoch.backends[slot].as_ref().map(|b| &*b.name), Some("b/a"));
}

#[test]
fn grpcroute_a_method_goes_before_headers_across_all_routes() {
    let method = || on("~ /[^/]+/Get");
    let everything = || with_headers("/", &["a=1"]);
    let service = || on("/pkg.Service");
    let request = Request::get("h", "/pkg.Service/Get").field("a", "1");
    for (first, second, service_too, grpc, expected) in [
        (method(), everything(), false, true, "ns/first"),
        (everything(), method(), false, true, "ns/second"),
        (everything(), method(), true, true, "ns/service"),
        // Of HTTPRoutes, expressions come last.
        (method(), everything(), false, false, "ns/second"),
    ] {
        let mut routes = vec![
            route("ns/first", 0, &[], vec![rule(vec![first], &[])]),
            route("ns/second", 1, &[], vec![rule(vec![second], &[])]),
        ];
        if service_too {
            routes.push(route("ns/service", 2, &[], vec![rule(vec![service()], &[])]));
        }
        for route in &mut routes {
            std::sync::Arc::make_mut(&mut route.route).grpc = grpc;
        }
        let epoch = compile(1, &ir(routes), None);
        let found = find(table(&epoch), &request, &mut RegexCaches::default());
        assert_eq!(found.map(|(name, ..)| name).as_deref(), Some(expected));
        // What names another method is left to the match of everything.
        let other = Request::get("h", "/pkg.Other/Set").field("a", "1");
        let found = find(table(&epoch), &other, &mut RegexCaches::default());
        assert!(found.is_some());
    }
}
