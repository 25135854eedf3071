//! External authorization through real shards: what servers are asked, what their answers do, and that
//! nothing passes without one.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bodies;
mod grpc;
#[path = "../http2_kit/mod.rs"]
mod http2_kit;
mod listeners;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use proxy::epoch::Settings;
use proxy::{ir, limits};
use shards::report::AuthEnd;
use support::{OK, Recorded, World, backends, config, read_until, rule, settle};

/// `names` as the configuration has them.
fn shared(names: &[&str]) -> Vec<std::sync::Arc<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

/// A filter that asks `server` by HTTP.
fn by_http(server: &str, body_bytes_max: u32) -> ir::ExternalAuth {
    ir::ExternalAuth {
        target: ir::Target::Backend(server.into()),
        protocol: ir::AuthProtocol::Http {
            path: "/check".into(),
            allowed_headers: shared(&["x-shown", "x-forwarded-for"]),
            allowed_response_headers: shared(&["x-user", "x-groups", "host"]),
        },
        body_bytes_max,
    }
}

/// Everything goes to `backend`, if `server` allows it.
fn guarded(backend: SocketAddr, server: SocketAddr, auth: ir::ExternalAuth) -> ir::Ir {
    let mut rule = rule("/", &[("b", 1)]);
    rule.filters = vec![ir::Filter::ExternalAuth(auth)];
    config(vec![rule], &[("b", vec![backend]), ("auth", vec![server])])
}

fn start(runtime: shards::Backend, ir: &ir::Ir) -> World {
    let settings = Settings { debug_header: true, access_log: true, ..Settings::default() };
    World::start(runtime, ir, settings)
}

fn ended(world: &World, end: AuthEnd) -> u64 {
    world.seen.iter().map(|report| report.activity.auth[end as usize]).sum()
}

/// An address where nobody listens.
fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

const ALLOWED: &str = "HTTP/1.1 200 OK\r\nX-User: alice\r\nX-Groups: a\r\nX-Groups: b\r\n\
    Host: evil.example\r\nX-Secret: s\r\nContent-Length: 3\r\n\r\nyes";
const REQUEST: &[u8] =
    b"GET /a/../b?q=1 HTTP/1.1\r\nHost: X.example:80\r\nAuthorization: Basic x\r\n\
    X-User: mallory\r\nX-Shown: 1\r\nX-Hidden: 1\r\nX-Forwarded-For: 6.6.6.6\r\n\
    Cookie: c=1\r\nConnection: close\r\n\r\n";

#[test]
fn the_server_is_shown_what_the_filter_allows_and_its_answer_changes_the_request() {
    for runtime in backends() {
        let (backend, server) = (Recorded::always(OK), Recorded::always(ALLOWED));
        let ir = guarded(backend.address, server.address, by_http("auth", 0));
        let mut world = start(runtime, &ir);
        let answer = world.exchange(REQUEST);
        assert!(answer.ends_with("hello") && !answer.contains("x-user"), "{runtime:?} {answer}");
        assert_eq!(
            server.text(),
            "GET /check/b?q=1 HTTP/1.1\r\nhost: x.example:80\r\nauthorization: Basic x\r\n\
             x-shown: 1\r\nx-forwarded-for: 127.0.0.1\r\ncontent-length: 0\r\n\r\n"
        );
        let seen = backend.text();
        assert!(seen.starts_with("GET /b?q=1 HTTP/1.1\r\nhost: x.example:80\r\n"), "{seen}");
        assert!(seen.contains("x-user: alice\r\nx-groups: a\r\nx-groups: b\r\n"), "{seen}");
        for foreign in ["mallory", "evil", "x-secret", "yes"] {
            assert!(!seen.contains(foreign), "{foreign}: {seen}");
        }
        let log = settle(&mut world, 1);
        assert!(log.contains("\"auth_us\":"), "{log}");
        assert_eq!(ended(&world, AuthEnd::Allowed), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn without_a_list_all_fields_of_the_answer_go_on_but_those_of_its_body() {
    let (backend, server) = (
        Recorded::always(OK),
        Recorded::always(
            "HTTP/1.1 200 OK\r\nX-Any: 1\r\nContent-Type: text/x\r\nHost: evil\r\n\
             Connection: x-hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    );
    let mut auth = by_http("auth", 0);
    let protocol = ir::AuthProtocol::Http {
        path: "".into(),
        allowed_headers: Vec::new(),
        allowed_response_headers: Vec::new(),
    };
    auth.protocol = protocol;
    let world = start(shards::Backend::Epoll, &guarded(backend.address, server.address, auth));
    let request = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nX-Any: 0\r\n\
        Content-Length: 2\r\nConnection: close\r\n\r\nhi";
    assert!(world.exchange(request).ends_with("hello"));
    assert_eq!(server.text(), "POST /p HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    let seen = backend.text();
    assert!(
        seen.contains("content-type: text/plain\r\n") && seen.contains("x-any: 1\r\n"),
        "{seen}"
    );
    assert!(seen.ends_with("\r\n\r\nhi"), "{seen}");
    for foreign in ["x-any: 0", "x-hop", "evil", "text/x"] {
        assert!(!seen.contains(foreign), "{foreign}: {seen}");
    }
    world.stop();
}

#[test]
fn a_denial_goes_to_the_client_and_nothing_to_the_backend() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let server = Recorded::always(
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"r\"\r\nConnection: keep-alive\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Type: text/html\r\n\
             Content-Length: 6\r\n\r\n<b>no!",
        );
        let ir = guarded(backend.address, server.address, by_http("auth", 0));
        let mut world = start(runtime, &ir);
        let mut client = world.connect();
        for _ in 0..2 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let answer = read_until(&mut client, "<b>no!");
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
            for line in [
                "www-authenticate: Basic realm=\"r\"\r\n",
                "set-cookie: a=1\r\nset-cookie: b=2\r\n",
                "content-type: text/html\r\n",
                "content-length: 6\r\n",
                "x-ringway-reason: auth_denied\r\n",
            ] {
                assert!(answer.contains(line), "{line}: {answer}");
            }
        }
        drop(client);
        settle(&mut world, 2);
        assert_eq!(ended(&world, AuthEnd::Denied), 2);
        assert_eq!((backend.text().as_str(), *backend.connections.lock().unwrap()), ("", 0));
        assert_eq!(*server.connections.lock().unwrap(), 1, "it is kept: {runtime:?}");
        world.stop();
    }
}

#[test]
fn whatever_is_not_200_denies() {
    for (answer, line, end) in [
        (
            "HTTP/1.1 302 Go\r\nLocation: https://login/\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 302 ",
            "\r\n\r\n",
        ),
        ("HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 204 ", "\r\n\r\n"),
        ("HTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 201 ", "\r\n\r\nx"),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 500 ", "\r\n\r\nx"),
        (
            "HTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "HTTP/1.1 403 ",
            "\r\n\r\nx",
        ),
    ] {
        let (backend, server) = (Recorded::always(OK), Recorded::always(answer));
        let ir = guarded(backend.address, server.address, by_http("auth", 0));
        let world = start(shards::Backend::Epoll, &ir);
        let told = world.exchange(REQUEST);
        assert!(told.starts_with(line) && told.ends_with(end), "{answer:?}: {told}");
        assert_eq!(backend.text(), "", "{answer:?}");
        world.stop();
    }
}

#[test]
fn nothing_passes_by_a_server_that_gives_no_answer() {
    for runtime in backends() {
        for (answer, line, reason) in [
            ("", "HTTP/1.1 503 ", "auth_failed"),
            ("what?\r\n\r\n", "HTTP/1.1 503 ", "auth_failed"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "HTTP/1.1 503 ", "auth_failed"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 503 ", "auth_failed"),
            (
                "HTTP/1.1 101 Switch\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
                "HTTP/1.1 503 ",
                "auth_failed",
            ),
        ] {
            let backend = Recorded::always(OK);
            let server = Recorded::start(move |mut tap, _| {
                tap.request();
                tap.write(answer.as_bytes());
            });
            let ir = guarded(backend.address, server.address, by_http("auth", 0));
            let world = start(runtime, &ir);
            let told = world.exchange(REQUEST);
            assert!(told.starts_with(line), "{answer:?}: {told}");
            assert!(told.contains(&format!("x-ringway-reason: {reason}\r\n")), "{told}");
            assert_eq!(backend.text(), "", "{runtime:?} {answer:?}");
            world.stop();
        }
    }
}

#[test]
fn nothing_passes_by_a_server_that_may_not_or_cannot_be_asked() {
    let backend = Recorded::always(OK);
    let invalid =
        ir::ExternalAuth { target: ir::Target::Invalid("no grant".into()), ..by_http("auth", 0) };
    for (auth, servers, line, reason) in [
        (invalid, vec![], "HTTP/1.1 500 ", "auth_invalid"),
        (by_http("auth", 0), vec![], "HTTP/1.1 503 ", "auth_failed"),
        (by_http("auth", 0), vec![nowhere()], "HTTP/1.1 503 ", "auth_failed"),
    ] {
        let mut ir = guarded(backend.address, nowhere(), auth);
        let server = ir.backends.get_mut("auth").unwrap();
        *server = std::sync::Arc::new(ir::Backend { endpoints: servers, ..(**server).clone() });
        let world = start(shards::Backend::Epoll, &ir);
        let told = world.exchange(REQUEST);
        assert!(told.starts_with(line), "{reason}: {told}");
        assert!(told.contains(&format!("x-ringway-reason: {reason}\r\n")), "{told}");
        assert_eq!(backend.text(), "", "{reason}");
        world.stop();
    }
}

#[test]
fn another_endpoint_is_asked_where_one_is_down() {
    let (backend, server) = (Recorded::always(OK), Recorded::always(ALLOWED));
    let mut ir = guarded(backend.address, server.address, by_http("auth", 0));
    let both = vec![nowhere(), server.address];
    let down = ir.backends.get_mut("auth").unwrap();
    *down = std::sync::Arc::new(ir::Backend { endpoints: both, ..(**down).clone() });
    let world = start(shards::Backend::Epoll, &ir);
    for _ in 0..4 {
        assert!(world.exchange(REQUEST).ends_with("hello"));
    }
    world.stop();
}

#[test]
fn a_kept_connection_that_the_server_closed_costs_no_request() {
    let backend = Recorded::always(OK);
    let server = Recorded::start(|mut tap, _| {
        if tap.request().is_some() {
            tap.write(ALLOWED.as_bytes());
        }
    });
    let ir = guarded(backend.address, server.address, by_http("auth", 0));
    let world = start(shards::Backend::Epoll, &ir);
    for _ in 0..5 {
        assert!(world.exchange(REQUEST).ends_with("hello"));
    }
    world.stop();
}

#[test]
fn an_answer_beyond_the_bounds_is_none() {
    let body = limits::AUTH_ANSWER_BYTES_MAX + 1;
    for status in [200, 403] {
        let backend = Recorded::always(OK);
        let server = Recorded::start(move |mut tap, _| {
            tap.request();
            tap.write(format!("HTTP/1.1 {status} X\r\nContent-Length: {body}\r\n\r\n").as_bytes());
            tap.write(&vec![b'x'; body]);
        });
        let ir = guarded(backend.address, server.address, by_http("auth", 0));
        let world = start(shards::Backend::Epoll, &ir);
        let told = world.exchange(REQUEST);
        assert!(told.starts_with("HTTP/1.1 503 "), "{status}: {told}");
        assert_eq!(backend.text(), "", "{status}");
        world.stop();
    }
}

#[test]
fn the_time_of_a_question_is_bounded_by_us_and_by_the_rule() {
    for (request, line, reason) in [
        (None, "HTTP/1.1 504 ", "auth_timeout"),
        (Some(Duration::from_millis(50)), "HTTP/1.1 504 ", "request_timeout"),
    ] {
        let backend = Recorded::always(OK);
        let server = Recorded::start(|mut tap, _| while tap.read().is_some() {});
        let mut rule = rule("/", &[("b", 1)]);
        rule.filters = vec![ir::Filter::ExternalAuth(by_http("auth", 0))];
        rule.timeouts.request = request;
        let all = [("b", vec![backend.address]), ("auth", vec![server.address])];
        let world = start(shards::Backend::Epoll, &config(vec![rule], &all));
        let told = world.exchange(REQUEST);
        assert!(told.starts_with(line) && told.contains(reason), "{told}");
        assert_eq!(backend.text(), "", "{reason}");
        world.stop();
    }
}

#[test]
fn preflights_pass_unasked_and_redirects_do_not() {
    let (backend, server) = (
        Recorded::always(OK),
        Recorded::always(
            "HTTP/1.1 403 No\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n",
        ),
    );
    let cors = ir::Cors {
        allow_origins: shared(&["https://a.example"]),
        allow_methods: shared(&["GET"]),
        ..ir::Cors::default()
    };
    let redirect = ir::Redirect {
        scheme: Some("https".into()),
        hostname: None,
        path: None,
        port: None,
        status: 301,
    };
    let auth = || ir::Filter::ExternalAuth(by_http("auth", 0));
    let mut both = rule("/cors", &[("b", 1)]);
    both.filters = vec![auth(), ir::Filter::Cors(cors.clone())];
    let mut moved = rule("/moved", &[]);
    moved.filters = vec![ir::Filter::RequestRedirect(redirect), auth()];
    let mut of_backend = rule("/backend", &[("b", 1)]);
    of_backend.filters = vec![auth()];
    of_backend.backends[0].filters = vec![ir::Filter::Cors(cors)];
    let all = [("b", vec![backend.address]), ("auth", vec![server.address])];
    let ir = config(vec![both, moved, of_backend], &all);
    let world = start(shards::Backend::Epoll, &ir);
    let ask = |request: &str| {
        world.exchange(
            format!(
                "{request} HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\
            Access-Control-Request-Method: GET\r\nConnection: close\r\n\r\n"
            )
            .as_bytes(),
        )
    };
    for path in ["/cors", "/backend"] {
        assert!(ask(&format!("OPTIONS {path}")).starts_with("HTTP/1.1 204 "), "{path}");
    }
    assert_eq!(server.text(), "");
    let denied = ask("GET /cors");
    assert!(denied.starts_with("HTTP/1.1 403 "), "{denied}");
    assert_eq!(denied.matches("access-control-allow-origin").count(), 1, "{denied}");
    assert!(denied.contains("access-control-allow-origin: https://a.example\r\n"), "{denied}");
    assert!(ask("GET /moved").starts_with("HTTP/1.1 403 "));
    assert_eq!(backend.text(), "");
    world.stop();
}

#[test]
fn a_grpc_client_is_told_a_grpc_status() {
    for (status, code) in [(401, 16), (403, 7), (302, 7)] {
        let backend = Recorded::always(OK);
        let server = Recorded::start(move |mut tap, _| {
            tap.request();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nX-Why: w\r\n");
            tap.write(format!("{head}Content-Length: 2\r\n\r\nno").as_bytes());
        });
        let mut ir = guarded(backend.address, server.address, by_http("auth", 0));
        let route = &mut ir.ports[0].listeners[0].routes[0].route;
        *route = std::sync::Arc::new(ir::Route { grpc: true, ..(**route).clone() });
        let world = start(shards::Backend::Epoll, &ir);
        let told = world.exchange(REQUEST);
        assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
        assert!(told.contains(&format!("grpc-status: {code}\r\n")), "{status}: {told}");
        assert!(told.contains("content-type: application/grpc\r\n"), "{told}");
        assert!(told.contains("x-why: w\r\n") && !told.contains("text/html"), "{told}");
        assert!(told.ends_with("\r\n\r\n"), "{told}");
        world.stop();
    }
}
