//! Filters through a whole exchange: the tables of the upstream conformance tests for redirects,
//! rewrites, header modifiers and CORS, transcribed, and the order in which filters apply.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used, reason = "tests")]

mod table_kit;

use std::time::Instant;

use proxy::balance::Local;
use proxy::epoch::Epoch;
use proxy::exchange::{Answer, Client, Delivery, Step, start};
use proxy::fault::Fault;
use proxy::h1;
use proxy::h1::encode::Text;
use proxy::http::{Framing, Method, RequestHead, ResponseHead};
use proxy::ir::*;

use table_kit as kit;

const CLIENT: Client<'static> = Client { address: "192.0.2.1", sni: None };

/// What came of one request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Reason and own field lines.
    Reply(Fault, String),
    /// The request head as the backend gets it.
    Forward(String),
}

/// One listener, declared with `port`, on a socket of some other port.
struct Gateway {
    epoch: Epoch,
    local: Local,
}

impl Gateway {
    fn new(protocol: Protocol, port: u16, rules: Vec<Rule>) -> Self {
        let mut ir = kit::ir(vec![kit::route("ns/route", 0, &[], rules)]);
        ir.ports[0].protocol = protocol;
        ir.ports[0].port = 30_123;
        ir.ports[0].listeners[0].port = port;
        let epoch = kit::compile(1, &ir, None);
        let mut local = Local::new(0, 7);
        local.install(&epoch);
        Self { epoch, local }
    }

    fn ask(&mut self, text: &str) -> Outcome {
        let head = head(text);
        let port = &self.epoch.ports[0];
        match start(&head, CLIENT, &self.epoch, port, &mut self.local, Instant::now()) {
            Step::Reply(reply) => {
                let fields = String::from_utf8(reply.fields.unwrap_or_default()).unwrap();
                Outcome::Reply(reply.fault, fields)
            }
            Step::Ask(ask) => panic!("{ask:?}"),
            Step::Forward(forward) => {
                let mut out = Vec::new();
                forward.write_request(&head, CLIENT, &mut Text(&mut out));
                Outcome::Forward(String::from_utf8(out).unwrap())
            }
        }
    }

    /// The backend's answer to `request` as the client gets it.
    fn response(&mut self, request: &str, response: &str) -> String {
        let request = head(request);
        let mut answer = ResponseHead::default();
        h1::response::read(response.as_bytes(), Method::Get, false, &mut answer).unwrap().unwrap();
        let port = &self.epoch.ports[0];
        let now = Instant::now();
        let step = start(&request, CLIENT, &self.epoch, port, &mut self.local, now);
        let Step::Forward(forward) = step else { panic!("{step:?}") };
        let delivery = Delivery::of(&request, &answer, true);
        let mut out = Vec::new();
        forward.write_response(&request, &answer, delivery, &mut Text(&mut out));
        String::from_utf8(out).unwrap()
    }
}

fn head(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let text = text.replace('\n', "\r\n") + "\r\n\r\n";
    h1::request::read(text.as_bytes(), &mut head).unwrap().unwrap();
    head
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\nHost: gw.example")
}

fn redirect(filter: Redirect, path: &str) -> Rule {
    let filters = vec![Filter::RequestRedirect(filter)];
    Rule { filters, ..kit::rule(vec![kit::on(path)], &[]) }
}

fn plain() -> Redirect {
    Redirect { scheme: None, hostname: None, path: None, port: None, status: 302 }
}

fn prefix(to: &str) -> Option<PathModifier> {
    Some(PathModifier::ReplacePrefixMatch(to.into()))
}

fn full(to: &str) -> Option<PathModifier> {
    Some(PathModifier::ReplaceFullPath(to.into()))
}

fn redirects(gateway: &mut Gateway, request: &str, status: u16, location: &str) {
    let expected = Outcome::Reply(Fault::Redirect(status), format!("location: {location}\r\n"));
    assert_eq!(gateway.ask(request), expected, "{request}");
}

#[test]
fn redirect_scheme_and_port_follow_the_declared_listener() {
    // Listener's protocol and port; the filter's scheme and port; the Location's beginning.
    type Case = (Protocol, u16, Option<&'static str>, Option<u16>, &'static str);
    let cases: [Case; 15] = [
        (Protocol::Http, 80, None, None, "http://example.org"),
        (Protocol::Http, 80, None, Some(80), "http://example.org"),
        (Protocol::Http, 80, None, Some(8080), "http://example.org:8080"),
        (Protocol::Http, 80, Some("https"), None, "https://example.org"),
        (Protocol::Http, 80, Some("https"), Some(443), "https://example.org"),
        (Protocol::Http, 80, Some("https"), Some(8443), "https://example.org:8443"),
        (Protocol::Http, 8080, None, None, "http://example.org:8080"),
        (Protocol::Http, 8080, None, Some(80), "http://example.org"),
        (Protocol::Http, 8080, Some("https"), None, "https://example.org"),
        (Protocol::Tls, 443, None, None, "https://example.org"),
        (Protocol::Tls, 443, None, Some(443), "https://example.org"),
        (Protocol::Tls, 443, None, Some(8443), "https://example.org:8443"),
        (Protocol::Tls, 443, Some("http"), None, "http://example.org"),
        (Protocol::Tls, 443, Some("http"), Some(80), "http://example.org"),
        (Protocol::Tls, 443, Some("http"), Some(8080), "http://example.org:8080"),
    ];
    for (protocol, listener, scheme, port, start) in cases {
        let hostname = Some("example.org".into());
        let filter = Redirect { scheme: scheme.map(Into::into), hostname, port, ..plain() };
        let mut gateway = Gateway::new(protocol, listener, vec![redirect(filter, "/p")]);
        redirects(&mut gateway, &get("/p"), 302, &format!("{start}/p"));
    }
}

#[test]
fn the_port_that_a_listener_declares_can_change_alone() {
    let mut ir = kit::ir(vec![kit::route("ns/r", 0, &[], vec![redirect(plain(), "/")])]);
    let first = kit::compile(1, &ir, None);
    ir.ports[0].listeners[0].port = 8080;
    let second = kit::compile(2, &ir, Some(&first));
    assert_eq!(second.ports[0].listeners[0].port, 8080);
}

#[test]
fn redirect_hosts_statuses_and_ports() {
    let host = || Some("example.org".into());
    let mut gateway = Gateway::new(
        Protocol::Http,
        80,
        vec![
            redirect(Redirect { hostname: host(), ..plain() }, "/hostname-redirect"),
            redirect(Redirect { hostname: host(), status: 301, ..plain() }, "/host-and-status"),
            redirect(Redirect { port: Some(8083), ..plain() }, "/port"),
            redirect(Redirect { port: Some(8083), status: 301, ..plain() }, "/port-and-status"),
            redirect(Redirect { status: 303, ..plain() }, "/see-other"),
            redirect(Redirect { status: 307, ..plain() }, "/temporary"),
            redirect(Redirect { status: 308, ..plain() }, "/permanent"),
        ],
    );
    for (request, status, location) in [
        (get("/hostname-redirect"), 302, "http://example.org/hostname-redirect"),
        (get("/host-and-status"), 301, "http://example.org/host-and-status"),
        (get("/port"), 302, "http://gw.example:8083/port"),
        (get("/port-and-status"), 301, "http://gw.example:8083/port-and-status"),
        (get("/see-other").replace("GET", "POST"), 303, "http://gw.example/see-other"),
        (get("/temporary?a=b&c"), 307, "http://gw.example/temporary?a=b&c"),
        (get("/permanent/x?"), 308, "http://gw.example/permanent/x?"),
    ] {
        redirects(&mut gateway, &request, status, location);
    }
}

#[test]
fn redirect_paths() {
    let host = || Some("example.org".into());
    let path = |path| Redirect { path, ..plain() };
    let mut gateway = Gateway::new(
        Protocol::Http,
        80,
        vec![
            redirect(path(prefix("/replacement-prefix")), "/original-prefix"),
            redirect(path(full("/full-path-replacement")), "/full"),
            redirect(Redirect { hostname: host(), ..path(prefix("/r")) }, "/path-and-host"),
            redirect(Redirect { status: 301, ..path(full("/r")) }, "/full-path-and-status"),
            redirect(path(prefix("/r/")), "/slashes/"),
            redirect(path(prefix("/")), "/strip"),
        ],
    );
    for (request, status, location) in [
        ("/original-prefix/lemon", 302, "http://gw.example/replacement-prefix/lemon"),
        ("/original-prefix?q=1", 302, "http://gw.example/replacement-prefix?q=1"),
        ("/full/path/original", 302, "http://gw.example/full-path-replacement"),
        ("/path-and-host", 302, "http://example.org/r"),
        ("/full-path-and-status", 301, "http://gw.example/r"),
        ("/slashes/x", 302, "http://gw.example/r/x"),
        ("/slashes/", 302, "http://gw.example/r/"),
        ("/slashes", 302, "http://gw.example/r"),
        ("/strip/x/?q", 302, "http://gw.example/x/?q"),
        ("/strip", 302, "http://gw.example/"),
    ] {
        redirects(&mut gateway, &get(request), status, location);
    }
}

fn modifier(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderModifier {
    let pairs = |list: &[(&str, &str)]| {
        list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    HeaderModifier {
        set: pairs(set),
        add: pairs(add),
        remove: remove.iter().map(|name| (*name).into()).collect(),
    }
}

fn rewrite(hostname: Option<&str>, path: Option<PathModifier>) -> Filter {
    Filter::UrlRewrite(Rewrite { hostname: hostname.map(Into::into), path })
}

fn with_filters(path: &str, of_rule: Vec<Filter>, of_backend: Vec<Filter>) -> Rule {
    let mut rule = kit::rule(vec![kit::on(path)], &[("ns/a:80", 1)]);
    rule.filters = of_rule;
    rule.backends[0].filters = of_backend;
    rule
}

fn forwarded(gateway: &mut Gateway, request: &str) -> Vec<String> {
    match gateway.ask(request) {
        Outcome::Forward(head) => head.lines().map(str::to_owned).collect(),
        Outcome::Reply(fault, _) => panic!("{request}: {fault:?}"),
    }
}

#[test]
fn rewrites_of_rule_and_backend() {
    let mut gateway = Gateway::new(
        Protocol::Http,
        80,
        vec![
            with_filters("/prefix/one", vec![rewrite(None, prefix("/one"))], vec![]),
            with_filters("/strip-prefix", vec![rewrite(None, prefix("/"))], vec![]),
            with_filters("/full/one", vec![rewrite(None, full("/one"))], vec![]),
            with_filters("/host", vec![rewrite(Some("one.example.org"), None)], vec![]),
            with_filters("/backend-full", vec![], vec![rewrite(None, full("/rewritten-full"))]),
            with_filters("/backend-prefix", vec![], vec![rewrite(None, prefix("/rewritten"))]),
            with_filters(
                "/both",
                vec![rewrite(Some("rule.example"), full("/rule"))],
                vec![rewrite(Some("backend.example"), prefix("/backend"))],
            ),
            with_filters(
                "/halves",
                vec![rewrite(Some("rule.example"), None)],
                vec![rewrite(None, prefix("/backend"))],
            ),
        ],
    );
    for (request, line, host) in [
        ("/prefix/one/two", "GET /one/two", "gw.example"),
        ("/strip-prefix/three", "GET /three", "gw.example"),
        ("/strip-prefix", "GET /", "gw.example"),
        ("/full/one/two?q=1", "GET /one?q=1", "gw.example"),
        ("/host", "GET /host", "one.example.org"),
        ("/backend-full/original", "GET /rewritten-full", "gw.example"),
        ("/backend-prefix/original", "GET /rewritten/original", "gw.example"),
        ("/both/x", "GET /backend/x", "backend.example"),
        ("/halves/x", "GET /backend/x", "rule.example"),
    ] {
        let head = forwarded(&mut gateway, &get(request));
        assert_eq!(head[0], format!("{line} HTTP/1.1"), "{request}");
        assert_eq!(head[1], format!("host: {host}"), "{request}");
    }
}

#[test]
fn a_rules_modifiers_come_before_its_backends() {
    let of_rule = modifier(&[("x-set", "rule")], &[("x-add", "rule"), ("x-gone", "rule")], &[]);
    let of_backend = modifier(&[("x-set", "backend")], &[("x-add", "backend")], &["x-gone"]);
    let rules = vec![with_filters(
        "/",
        vec![Filter::RequestHeaderModifier(of_rule)],
        vec![Filter::RequestHeaderModifier(of_backend)],
    )];
    let mut gateway = Gateway::new(Protocol::Http, 80, rules);
    let request = get("/") + "\nX-Set: client\nX-Add: client\nX-Gone: client";
    let mut fields = forwarded(&mut gateway, &request);
    fields.retain(|line| ["x-set", "x-add", "x-gone"].iter().any(|name| line.starts_with(name)));
    assert_eq!(fields, ["x-add: client", "x-add: rule", "x-set: backend", "x-add: backend"]);
}

#[test]
fn a_backends_modifiers_go_with_that_backend_only() {
    let mut rule = kit::rule(vec![kit::on("/")], &[("ns/a:80", 1), ("ns/b:80", 1)]);
    for (backend, name) in rule.backends.iter_mut().zip(["a", "b"]) {
        let set = modifier(&[("x-backend", name)], &[], &[]);
        backend.filters = vec![Filter::RequestHeaderModifier(set)];
    }
    let mut gateway = Gateway::new(Protocol::Http, 80, vec![rule]);
    let mut seen = [0, 0];
    for _ in 0..100 {
        let head = forwarded(&mut gateway, &get("/"));
        let lines: Vec<_> = head.iter().filter(|line| line.starts_with("x-backend")).collect();
        assert_eq!(lines.len(), 1);
        seen[usize::from(lines[0] == "x-backend: b")] += 1;
    }
    assert_eq!(seen, [50, 50]);
}

fn names(list: &[&str]) -> Vec<std::sync::Arc<str>> {
    list.iter().map(|name| (*name).into()).collect()
}

/// The rules of the conformance test's routes.
fn cors_gateway() -> Gateway {
    let rule = |path, cors| with_filters(path, vec![Filter::Cors(cors)], vec![]);
    let base = || Cors { max_age: 5, ..Cors::default() };
    let any = || Cors {
        allow_origins: names(&["*"]),
        allow_methods: names(&["*"]),
        allow_headers: names(&["*"]),
        ..base()
    };
    let first = Cors {
        allow_origins: names(&["https://www.foo.com", "https://*.bar.com"]),
        allow_methods: names(&["GET", "OPTIONS"]),
        allow_headers: names(&["x-header-1", "x-header-2"]),
        expose_headers: names(&["x-header-3", "x-header-4"]),
        allow_credentials: true,
        max_age: 3600,
    };
    let origins = names(&["https://www.foo.com"]);
    let second = Cors { allow_origins: origins, allow_methods: names(&["*"]), ..base() };
    let wild = Cors { allow_methods: names(&["PUT"]), allow_headers: vec![], ..any() };
    let rules = vec![
        rule("/cors-1", first),
        rule("/cors-2", second),
        rule("/cors-wildcard-origin", wild),
        rule("/with", Cors { allow_credentials: true, ..any() }),
        rule("/without", any()),
        with_filters("/of-backend", vec![], vec![Filter::Cors(any())]),
    ];
    Gateway::new(Protocol::Http, 80, rules)
}

fn preflight(path: &str, origin: &str, method: &str, headers: &str) -> String {
    let mut text = get(path).replace("GET", "OPTIONS");
    text += &format!("\nOrigin: {origin}\nAccess-Control-Request-Method: {method}");
    if !headers.is_empty() {
        text += &format!("\nAccess-Control-Request-Headers: {headers}");
    }
    text
}

/// The answer's access-control fields without their common beginning, `; ` between them.
fn allowed(outcome: &Outcome) -> String {
    let Outcome::Reply(Fault::Preflight, fields) = outcome else { panic!("{outcome:?}") };
    let fields = fields.lines().filter_map(|line| line.strip_prefix("access-control-"));
    fields.collect::<Vec<_>>().join("; ")
}

#[test]
fn preflights_of_the_conformance_test() {
    let both = "x-header-1, x-header-2";
    let rest = "allow-credentials: true; allow-methods: GET, OPTIONS; allow-headers: x-header-1, \
                x-header-2; expose-headers: x-header-3, x-header-4; max-age: 3600";
    let with = "allow-origin: https://other.foo.com; allow-credentials: true; allow-methods: PUT; \
                allow-headers: x-header-1, x-header-2; max-age: 5";
    let mut gateway = cors_gateway();
    for (path, origin, method, headers, expected) in [
        ("/cors-1", "https://www.foo.com", "GET", both, format!("allow-origin: ~; {rest}")),
        ("/cors-1", "https://www.bar.com", "GET", both, format!("allow-origin: ~; {rest}")),
        ("/cors-1", "https://xpto.www.bar.com", "GET", both, format!("allow-origin: ~; {rest}")),
        ("/cors-1", "https://foobar.com", "GET", "", String::new()),
        (
            "/cors-2",
            "https://www.foo.com",
            "POST",
            "",
            "allow-origin: ~; allow-methods: *; max-age: 5".into(),
        ),
        (
            "/cors-wildcard-origin",
            "https://foobar.com:12345",
            "PUT",
            "",
            "allow-origin: *; allow-methods: PUT; max-age: 5".into(),
        ),
        ("/with", "https://other.foo.com", "PUT", both, with.into()),
        (
            "/without",
            "https://other.foo.com",
            "PUT",
            both,
            format!("allow-origin: *; allow-methods: *; allow-headers: {both}; max-age: 5"),
        ),
        (
            "/of-backend",
            "https://a.example",
            "PUT",
            "",
            "allow-origin: *; allow-methods: *; max-age: 5".into(),
        ),
    ] {
        let outcome = gateway.ask(&preflight(path, origin, method, headers));
        assert_eq!(allowed(&outcome), expected.replace('~', origin), "{path} {origin}");
    }
}

#[test]
fn a_preflight_is_answered_before_a_redirect_and_without_a_usable_backend() {
    let cors = Filter::Cors(Cors { allow_origins: names(&["*"]), ..Cors::default() });
    let mut redirected = redirect(plain(), "/r");
    redirected.filters.push(cors.clone());
    let mut invalid = with_filters("/i", vec![cors], vec![]);
    invalid.backends[0].target = Target::Invalid("ns/none".into());
    let mut gateway = Gateway::new(Protocol::Http, 80, vec![redirected, invalid]);
    for path in ["/r", "/i"] {
        let outcome = gateway.ask(&preflight(path, "https://a.example", "GET", ""));
        assert_eq!(allowed(&outcome), "allow-origin: *; max-age: 0", "{path}");
    }
}

#[test]
fn options_without_a_method_to_ask_for_goes_to_the_backend() {
    let mut gateway = cors_gateway();
    let request = get("/cors-1").replace("GET", "OPTIONS") + "\nOrigin: https://www.foo.com";
    assert!(matches!(gateway.ask(&request), Outcome::Forward(_)));
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n\
                      access-control-allow-private-network: true\r\nVary: accept\r\n\
                      Content-Length: 0\r\n\r\n";

#[test]
fn what_a_backend_allows_is_replaced_by_what_the_route_allows() {
    let mut gateway = cors_gateway();
    let from = |origin: &str| get("/cors-1") + "\nOrigin: " + origin;
    let expected = "HTTP/1.1 200 OK\r\nvary: accept\r\n\
                    access-control-allow-origin: https://www.foo.com\r\n\
                    access-control-allow-credentials: true\r\n\
                    access-control-expose-headers: x-header-3, x-header-4\r\n\
                    vary: origin\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(gateway.response(&from("https://www.foo.com"), ANSWER), expected);
    let nothing = "HTTP/1.1 200 OK\r\nvary: accept\r\nvary: origin\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(gateway.response(&from("https://foobar.com"), ANSWER), nothing);
    assert_eq!(gateway.response(&get("/cors-1"), ANSWER), nothing);
}

#[test]
fn what_a_route_sets_by_hand_replaces_the_cors_field() {
    let set = modifier(&[("access-control-allow-origin", "https://b.example")], &[], &[]);
    let filters = vec![
        Filter::Cors(Cors { allow_origins: names(&["*"]), ..Cors::default() }),
        Filter::ResponseHeaderModifier(set),
    ];
    let mut gateway = Gateway::new(Protocol::Http, 80, vec![with_filters("/", filters, vec![])]);
    let expected = "HTTP/1.1 200 OK\r\nvary: accept\r\n\
                    access-control-allow-origin: https://b.example\r\ncontent-length: 0\r\n\r\n";
    let request = get("/") + "\nOrigin: https://a.example";
    assert_eq!(gateway.response(&request, ANSWER), expected);
}

fn own_answer(gateway: &Gateway, request: &str, fault: Fault, fields: Option<&[u8]>) -> String {
    let head = head(request);
    let mut caches = proxy::balance::RegexCaches::default();
    let hit = kit::table(&gateway.epoch).find(&head, &mut caches).unwrap();
    let (request, rule) = (Some(&head), Some(hit.rule));
    let answer =
        Answer { fault, fields, content: None, request, rule, keep_alive: true, debug: false };
    let mut out = Vec::new();
    assert!(answer.write_head(&mut Text(&mut out)));
    out.extend_from_slice(answer.body());
    String::from_utf8(out).unwrap()
}

#[test]
fn our_own_answers_may_be_read_too() {
    let gateway = cors_gateway();
    let request = get("/cors-2") + "\nOrigin: https://www.foo.com";
    let answer = own_answer(&gateway, &request, Fault::NoEndpoints, None);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("\r\naccess-control-allow-origin: https://www.foo.com\r\n"),
        "{answer}"
    );
}

#[test]
fn a_preflight_answer_has_neither_body_nor_length() {
    let gateway = cors_gateway();
    let request = preflight("/cors-2", "https://www.foo.com", "GET", "");
    let answer = own_answer(&gateway, &request, Fault::Preflight, Some(b"x: y\r\n"));
    assert_eq!(answer, "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n");
    let mut head = ResponseHead::default();
    h1::response::read(answer.as_bytes(), Method::Options, false, &mut head).unwrap().unwrap();
    assert_eq!(head.framing, Framing::None);
}
