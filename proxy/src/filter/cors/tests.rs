//! The rules of the API's `HTTPCORSFilter`, field by field; the conformance suite's own table is in
//! `tests/filters.rs`, through a whole exchange.

use super::*;
use crate::h1::encode::Text;

fn names(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|name| (*name).into()).collect()
}

fn cors(origins: &[&str]) -> Cors {
    Cors { allow_origins: names(origins), max_age: 5, ..Cors::default() }
}

fn head(method: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut text = format!("{method} / HTTP/1.1\r\nhost: a\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    let mut head = RequestHead::default();
    crate::h1::request::read((text + "\r\n").as_bytes(), &mut head).unwrap().unwrap();
    head
}

fn asking(fields: &[(&str, &str)]) -> RequestHead {
    let mut all = vec![("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")];
    all.extend(fields);
    head("OPTIONS", &all)
}

fn answer(cors: &Cors, head: &RequestHead) -> Vec<String> {
    let mut out = Vec::new();
    preflight(cors, head, &mut Text(&mut out));
    lines(&out)
}

fn lines(out: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(out).unwrap();
    assert!(text.is_empty() || text.ends_with("\r\n"));
    text.lines().map(|line| line.replace("access-control-", "")).collect()
}

#[test]
fn an_origin_is_compared_by_scheme_host_and_port() {
    for (allowed, given, matches) in [
        ("https://a.example", "https://a.example", true),
        ("https://a.example", "HTTPS://A.Example", true),
        ("https://a.example", "https://a.example:443", true),
        ("https://a.example:443", "https://a.example", true),
        ("http://a.example", "http://a.example:80", true),
        ("https://a.example", "http://a.example", false),
        ("https://a.example", "http://a.example:443", false),
        ("https://a.example", "https://a.example:8443", false),
        ("https://a.example:8443", "https://a.example:8443", true),
        ("https://a.example:8443", "https://a.example", false),
        ("https://a.example", "https://b.a.example", false),
        ("https://*.a.example", "https://b.a.example", true),
        ("https://*.a.example", "https://c.b.a.example", true),
        ("https://*.a.example", "https://a.example", false),
        ("https://*.a.example", "https://.a.example", false),
        ("https://*.a.example", "https://evila.example", false),
        ("https://*.a.example", "https://b.a.example:8443", false),
        ("https://*.a.example:8443", "https://b.a.example:8443", true),
        ("https://*.a.example", "https://b.a.example.evil.example", false),
        ("https://*", "https://anything.example", true),
        ("https://*", "https://[::1]", true),
        ("https://*:3000", "https://[::1]:3000", true),
        ("https://*", "http://anything.example", false),
        ("https://*", "https://anything.example:8443", false),
        ("https://*", "https://", false),
        ("https://*.a.example", "https://evil/.a.example", false),
        ("https://*.a.example", "https://evil?.a.example", false),
        ("https://a.example", "null", false),
        ("https://a.example", "https://a.example:99999", false),
        ("https://a.example", "ftp://a.example", false),
    ] {
        let (allowed, given) = (Origin::parse(allowed).unwrap(), Origin::parse(given));
        assert_eq!(given.is_some_and(|given| allowed.covers(&given)), matches, "{}", allowed.host);
    }
}

#[test]
fn only_options_with_origin_and_method_is_a_preflight() {
    assert!(is_preflight(&asking(&[])));
    let origin = ("Origin", "https://a.example");
    let method = ("Access-Control-Request-Method", "GET");
    assert!(!is_preflight(&head("GET", &[origin, method])));
    assert!(!is_preflight(&head("OPTIONS", &[origin])));
    assert!(!is_preflight(&head("OPTIONS", &[method])));
    assert!(!is_preflight(&head("OPTIONS", &[origin, origin, method])));
}

#[test]
fn a_preflight_is_told_all_that_is_allowed() {
    let cors = Cors {
        allow_credentials: true,
        allow_methods: names(&["GET", "PUT"]),
        allow_headers: names(&["x-a", "x-b"]),
        expose_headers: names(&["x-c"]),
        max_age: 3600,
        ..cors(&["https://b.example", "https://a.example"])
    };
    let expected = [
        "allow-origin: https://a.example",
        "allow-credentials: true",
        "allow-methods: GET, PUT",
        "allow-headers: x-a, x-b",
        "expose-headers: x-c",
        "max-age: 3600",
        "vary: origin",
    ];
    assert_eq!(answer(&cors, &asking(&[])), expected);
}

#[test]
fn an_origin_that_is_not_allowed_is_told_nothing() {
    assert_eq!(answer(&cors(&["https://b.example"]), &asking(&[])), ["vary: origin"]);
    assert_eq!(answer(&cors(&[]), &asking(&[])), ["vary: origin"]);
}

#[test]
fn any_origin_without_credentials_gets_one_answer_for_all() {
    let any = Cors { allow_methods: names(&["*"]), ..cors(&["*"]) };
    assert_eq!(answer(&any, &asking(&[])), ["allow-origin: *", "allow-methods: *", "max-age: 5"]);
}

#[test]
fn with_credentials_no_wildcard_is_sent() {
    let any = names(&["*"]);
    let cors = Cors {
        allow_credentials: true,
        allow_methods: any.clone(),
        allow_headers: any.clone(),
        expose_headers: any,
        ..cors(&["*"])
    };
    let with_headers = asking(&[("Access-Control-Request-Headers", "x-a,authorization")]);
    let rest = [
        "max-age: 5",
        "vary: origin",
        "vary: access-control-request-method",
        "vary: access-control-request-headers",
    ]
    .map(|line| line.replace("access-control-", ""));
    let allowed =
        ["allow-origin: https://a.example", "allow-credentials: true", "allow-methods: PUT"];
    let mut expected: Vec<String> = allowed.map(str::to_owned).into();
    expected.push("allow-headers: x-a,authorization".to_owned());
    expected.extend(rest);
    assert_eq!(answer(&cors, &with_headers), expected);
    // Nothing was asked for, so nothing is allowed by name.
    expected.remove(3);
    assert_eq!(answer(&cors, &asking(&[])), expected);
}

#[test]
fn every_header_means_authorization_too() {
    let cors = Cors { allow_headers: names(&["*"]), ..cors(&["*"]) };
    let head = asking(&[("Access-Control-Request-Headers", "authorization")]);
    assert!(answer(&cors, &head).contains(&"allow-headers: authorization".to_owned()));
}

#[test]
fn an_actual_response_names_origin_credentials_and_readable_fields() {
    let cors = Cors {
        allow_credentials: true,
        allow_methods: names(&["GET"]),
        expose_headers: names(&["x-c", "x-d"]),
        ..cors(&["https://*.example"])
    };
    let run = |head: &RequestHead, hidden: &[u8]| {
        let mut out = Vec::new();
        response(&cors, head, |name| name != hidden, &mut Text(&mut out));
        lines(&out)
    };
    let get = |origin| head("GET", &[("Origin", origin)]);
    let all = [
        "allow-origin: https://a.example",
        "allow-credentials: true",
        "expose-headers: x-c, x-d",
        "vary: origin",
    ];
    assert_eq!(run(&get("https://a.example"), b""), all);
    assert_eq!(run(&get("https://a.example"), ALLOW_ORIGIN), all[1..]);
    assert_eq!(run(&get("https://a.test"), b""), ["vary: origin"]);
    assert_eq!(run(&head("GET", &[]), b""), ["vary: origin"]);
}

#[test]
fn a_configured_name_cannot_end_its_line() {
    let cors = Cors {
        allow_methods: names(&["GET\r\nx: y", "PUT"]),
        allow_headers: names(&["a b", ""]),
        ..cors(&["*"])
    };
    let expected = ["allow-origin: *", "allow-methods: PUT", "max-age: 5"];
    assert_eq!(answer(&cors, &asking(&[])), expected);
}

#[test]
fn the_gateway_owns_exactly_the_protocols_fields() {
    for (name, owned) in [
        ("access-control-allow-origin", true),
        ("access-control-max-age", true),
        ("access-control", false),
        ("vary", false),
    ] {
        assert_eq!(owns(name.as_bytes()), owned, "{name}");
    }
}
