//! What rules and ListenerSets say, from the file to the wire: one look at each, the details are tested
//! where they are done.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::fs;

use e2e_support::backend::Backend;
use e2e_support::client::{Answer, Conn};
use e2e_support::gateway::Gateway;
use e2e_support::{
    Dir, each_runtime, free_port, gateway_yaml, http_listener, route_yaml, service_yaml, to,
};

fn ask(port: u16, request: &str) -> Answer {
    let mut conn = Conn::open(&format!("127.0.0.1:{port}"));
    conn.send(format!("{request}\r\n\r\n"));
    conn.answer()
}

fn get(port: u16, host: &str, path: &str) -> u16 {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: {host}")).status()
}

/// The answer to `GET path` for each rule of a route, each led by its own prefix.
fn rules() -> String {
    let web = to("v1");
    let rule = |rest: &str| format!("{rest}\n      {web}");
    let mirror =
        "filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: v2, port: 80 } } }]";
    let cors = "filters: [{ type: CORS, cors: { allowOrigins: [\"https://*.foo.test\"], allowMethods: [PUT] } }]";
    let redirect = "filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 308, path: { type: ReplaceFullPath, replaceFullPath: /new } } }]";
    route_yaml(
        "rules",
        "",
        &[
            ("/hold", &rule("timeouts: { request: 300ms }")),
            ("/status", &rule("retry: { codes: [503], attempts: 2, backoff: 1ms }")),
            ("/mirror", &rule(mirror)),
            ("/cors", &rule(cors)),
            ("/moved", redirect),
            ("/sealed", &to("sealed")),
        ],
    )
}

const POLICY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: { name: sealed, namespace: default }
spec:
  targetRefs: [{ group: \"\", kind: Service, name: sealed }]
  validation: { hostname: sealed.test, wellKnownCACertificates: System }
---
";

#[test]
fn timeouts_retries_mirrors_cors_redirects_and_policies_of_a_file_are_obeyed() {
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
        let sealed = Backend::start("sealed");
        let services = service_yaml("v1", &v1.address.to_string())
            + &service_yaml("v2", &v2.address.to_string())
            + &service_yaml("sealed", &sealed.address.to_string());
        let gateway = gateway_yaml(&http_listener("http", port));
        dir.write("all.yaml", &(gateway + &services + POLICY + &rules()));
        let _gateway = Gateway::start(runtime, dir.path(), &[]);
        assert_eq!(get(port, "e2e.test", "/hold"), 504);
        v1.release();
        assert_eq!(get(port, "e2e.test", "/status/503"), 503);
        let tries = v1.seen().iter().filter(|seen| seen["path"] == "/status/503").count();
        assert_eq!(tries, 3, "once and two tries more");
        assert_eq!(get(port, "e2e.test", "/mirror/x"), 200);
        assert_eq!(v2.wait_seen("/mirror/x")["version"], "v2");
        let preflight = "OPTIONS /cors HTTP/1.1\r\nHost: e2e.test\r\nOrigin: https://a.foo.test\r\nAccess-Control-Request-Method: PUT";
        let answer = ask(port, preflight);
        assert_eq!(answer.field("access-control-allow-origin"), Some("https://a.foo.test"));
        assert_eq!(answer.field("access-control-allow-methods"), Some("PUT"));
        let answer = ask(port, "GET /moved HTTP/1.1\r\nHost: e2e.test");
        let location = format!("http://e2e.test:{port}/new");
        assert_eq!((answer.status(), answer.field("location")), (308, Some(&*location)));
        assert_eq!(get(port, "e2e.test", "/sealed"), 502);
        assert_eq!(sealed.count(), 0, "it is never spoken to in the clear");
    });
}

fn listener_set(port: u16, host: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\n\
         metadata: {{ name: more, namespace: default }}\n\
         spec:\n  parentRef: {{ name: web }}\n  listeners:\n  \
         - {{ name: http, protocol: HTTP, port: {port}, hostname: {host} }}\n"
    )
}

#[test]
fn a_listener_set_adds_listeners_to_its_gateway_and_takes_them_away() {
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        let v1 = Backend::start("v1");
        let listener =
            format!("    - {{ name: own, protocol: HTTP, port: {port}, hostname: own.test }}\n");
        let gateway = gateway_yaml(&listener).replace(
            "  listeners:",
            "  allowedListeners: { namespaces: { from: Same } }\n  listeners:",
        );
        let route = route_yaml("all", "", &[("/", &to("v1"))]);
        let of_set = route
            .replace("name: all", "name: of-set")
            .replace("{ name: web", "{ kind: ListenerSet, name: more");
        assert!(of_set.contains("ListenerSet"));
        let services = service_yaml("v1", &v1.address.to_string());
        dir.write("all.yaml", &(gateway + &services + &route + &of_set));
        let gateway = Gateway::start(runtime, dir.path(), &[]);
        assert_eq!((get(port, "own.test", "/"), get(port, "more.test", "/")), (200, 404));
        gateway.changing(|| drop(dir.write("set.yaml", &listener_set(port, "more.test"))));
        assert_eq!((get(port, "own.test", "/"), get(port, "more.test", "/")), (200, 200));
        assert_eq!(get(port, "other.test", "/"), 404);
        gateway.changing(|| fs::remove_file(dir.join("set.yaml")).unwrap());
        assert_eq!((get(port, "own.test", "/"), get(port, "more.test", "/")), (200, 404));
    });
}
