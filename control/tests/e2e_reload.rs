//! Changes of files while the binary serves: each takes effect, and none hurts a request.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use e2e_support::backend::Backend;
use e2e_support::client::{self, Conn};
use e2e_support::gateway::Gateway;
use e2e_support::{
    Dir, certificate, each_runtime, free_port, gateway_yaml, http_listener, https_listener,
    route_yaml, service_yaml, simple_yaml, to, wait_for,
};

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A route to `service` whose answers carry `x-edit: N`.
fn numbered(service: &str, n: usize) -> String {
    let rest = format!(
        "filters: [{{ type: ResponseHeaderModifier, responseHeaderModifier: {{ set: [{{ name: x-edit, value: \"{n}\" }}] }} }}]\n      {}",
        to(service)
    );
    route_yaml("all", "", &[("/", &rest)])
}

#[test]
fn an_edit_a_rename_and_a_removal_take_effect_on_the_next_request_of_a_kept_connection() {
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
        let services = service_yaml("v1", &v1.address.to_string())
            + &service_yaml("v2", &v2.address.to_string());
        dir.write("gateway.yaml", &(gateway_yaml(&http_listener("http", port)) + &services));
        dir.write("route.yaml", &route_yaml("all", "", &[("/", &to("v1"))]));
        let gateway = Gateway::start(runtime, dir.path(), &[]);
        let mut conn = Conn::open(&at(port));
        assert!(conn.get("/").body.contains(r#""version":"v1""#));
        let v2_route = route_yaml("all", "", &[("/", &to("v2"))]);
        gateway.changing(|| drop(dir.write("route.yaml", &v2_route)));
        assert!(conn.get("/").body.contains(r#""version":"v2""#));
        let v1_route = route_yaml("all", "", &[("/", &to("v1"))]);
        gateway.changing(|| dir.rename_into_place("route.yaml", &v1_route));
        assert!(conn.get("/").body.contains(r#""version":"v1""#));
        gateway.changing(|| fs::remove_file(dir.join("route.yaml")).unwrap());
        assert_eq!(conn.get("/").status(), 404);
        gateway.changing(|| drop(dir.write("again.yml", &v2_route)));
        assert!(conn.get("/").body.contains(r#""version":"v2""#));
    });
}

#[test]
fn a_bad_object_keeps_its_last_good_version_and_does_not_hold_up_the_others() {
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        let v1 = Backend::start("v1");
        let file = |bad: &str, good: &str| {
            gateway_yaml(&http_listener("http", port))
                + &service_yaml("v1", &v1.address.to_string())
                + &route_yaml("bad", "", &[(bad, &to("v1"))])
                + &route_yaml("good", "", &[(good, &to("v1"))])
        };
        let path = dir.write("all.yaml", &file("/kept", "/old"));
        let gateway = Gateway::start(runtime, dir.path(), &[]);
        let mut conn = Conn::open(&at(port));
        // No path: a list stands where text must.
        gateway.changing(|| drop(dir.write("all.yaml", &file("[oops]", "/new"))));
        assert_eq!(conn.get("/kept").status(), 200);
        assert_eq!(conn.get("/new").status(), 200);
        assert_eq!(conn.get("/old").status(), 404);
        let text = fs::read_to_string(&path).unwrap();
        let line = text.lines().position(|line| line.contains("[oops]")).unwrap();
        let column = text.lines().nth(line).unwrap().find("[oops]").unwrap();
        let place = format!("{}:{}:{}", path.display(), line + 1, column + 1);
        gateway.wait_log(&place);
        let status = gateway.status();
        let problems = status["problems"].as_array().unwrap();
        assert!(
            problems.iter().any(|problem| problem.as_str().unwrap().contains(&place)),
            "{place}: {problems:?}"
        );
        // YAML that does not even parse takes nothing away.
        fs::write(&path, "kind: [").unwrap();
        let broken = format!("{}:2:1: not YAML", path.display());
        gateway.wait_log(&broken);
        assert_eq!((conn.get("/kept").status(), conn.get("/new").status()), (200, 200));
        gateway.changing(|| drop(dir.write("all.yaml", &file("/mended", "/new"))));
        assert_eq!((conn.get("/kept").status(), conn.get("/mended").status()), (404, 200));
        assert_eq!(gateway.status()["problems"], serde_json::json!([]));
    });
}

/// Requests without a pause until told to stop; each answer must be of one epoch.
fn load(port: u16, stop: &AtomicBool, done: &AtomicU64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut conn = Conn::open(&at(port));
    while !stop.load(Ordering::Relaxed) {
        conn.send("GET / HTTP/1.1\r\nHost: e2e.test\r\n\r\n");
        let Some(answer) = conn.try_answer() else {
            wrong.push("a connection was cut".to_owned());
            conn = Conn::open(&at(port));
            continue;
        };
        done.fetch_add(1, Ordering::Relaxed);
        let edit: Option<usize> = answer.field("x-edit").and_then(|edit| edit.parse().ok());
        let whole = edit.is_some_and(|edit| {
            let version = if edit.is_multiple_of(2) { "v1" } else { "v2" };
            answer.body.contains(&format!(r#""version":"{version}""#))
        });
        if answer.status() != 200 || !whole {
            wrong.push(format!("{answer:?}"));
        }
        if answer.says_close() {
            wrong.push("an edit closed a connection".to_owned());
        }
    }
    wrong
}

#[test]
fn two_hundred_edits_under_load_fail_no_request_and_no_answer_is_half_of_two_epochs() {
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
        let services = service_yaml("v1", &v1.address.to_string())
            + &service_yaml("v2", &v2.address.to_string());
        dir.write("gateway.yaml", &(gateway_yaml(&http_listener("http", port)) + &services));
        dir.write("route.yaml", &numbered("v1", 0));
        let gateway = Gateway::start(runtime, dir.path(), &["--log-level", "warn"]);
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let wrong = std::thread::scope(|scope| {
            let clients: Vec<_> =
                (0..4).map(|_| scope.spawn(|| load(port, &stop, &done))).collect();
            let mut conn = Conn::open(&at(port));
            for n in 1..=200 {
                let service = if n % 2 == 0 { "v1" } else { "v2" };
                dir.rename_into_place("route.yaml", &numbered(service, n));
                if n % 20 == 0 {
                    let wanted = n.to_string();
                    wait_for("the edit", || {
                        (conn.get("/").field("x-edit") == Some(&wanted)).then_some(())
                    });
                }
            }
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        let done = done.load(Ordering::Relaxed);
        eprintln!("  {done} requests, {} epochs", gateway.epoch());
        assert!(done > 200, "{done}");
        assert!(wrong.is_empty(), "{} of {done}: {:#?}", wrong.len(), &wrong[..1]);
    });
}

/// Writes a Secret's file under handshakes without a pause.
#[test]
fn a_certificate_is_rotated_without_a_failed_handshake_and_a_bad_secret_changes_nothing() {
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        let v1 = Backend::start("v1");
        let (secret, first) = certificate("tls", "shop.test");
        let (second_secret, second) = certificate("tls", "shop.test");
        dir.write(
            "all.yaml",
            &(gateway_yaml(&https_listener("shop", port, "shop.test", "tls"))
                + &route_yaml("all", "", &[("/", &to("v1"))])
                + &service_yaml("v1", &v1.address.to_string())),
        );
        dir.write("secret.yaml", &secret);
        let (first, second) = (dir.write("first.pem", &first), dir.write("second.pem", &second));
        let gateway = Gateway::start(runtime, dir.path(), &[]);
        let get =
            |pem: &std::path::Path| https(port, "shop.test", &["--cacert", pem.to_str().unwrap()]);
        assert_eq!(get(&first).2, Some(0));
        assert_eq!(get(&second).2, Some(60), "the second certificate is not served yet");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let rotating = scope.spawn(|| {
                let mut shaken = 0;
                while !stop.load(Ordering::Relaxed) {
                    let (out, error, code) = https(port, "shop.test", &["-k"]);
                    assert_eq!(code, Some(0), "{out}{error}");
                    shaken += 1;
                }
                shaken
            });
            for secret in [&second_secret, &secret, &second_secret] {
                gateway.changing(|| dir.rename_into_place("secret.yaml", secret));
            }
            stop.store(true, Ordering::Relaxed);
            assert!(rotating.join().unwrap() > 0);
        });
        assert_eq!(get(&second).2, Some(0));
        assert_eq!(get(&first).2, Some(60));
        let bad = secret.lines().map(|line| {
            if line.trim_start().starts_with("tls.key:") { "  tls.key: bm8ga2V5" } else { line }
        });
        // In one step: a file that is empty for a moment is a Secret that is gone.
        dir.rename_into_place("secret.yaml", &(bad.collect::<Vec<_>>().join("\n") + "\n"));
        wait_for("the problem in /status", || {
            (!gateway.status()["problems"].as_array()?.is_empty()).then_some(())
        });
        let (out, error, code) = get(&second);
        assert_eq!(code, Some(0), "the last good certificate is served: {out}{error}");
        let status = gateway.status().to_string();
        assert!(status.contains("InvalidCertificateRef"), "the condition says so: {status}");
        assert!(!gateway.log().contains("bm8ga2V5") && !status.contains("bm8ga2V5"));
    });
}

fn https(port: u16, host: &str, more: &[&str]) -> (String, String, Option<i32>) {
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("https://{host}:{port}/");
    client::try_curl(&[more, &["--resolve", &resolve, &url]].concat())
}

#[test]
fn a_listener_comes_and_goes_while_the_connections_of_another_stay() {
    each_runtime(|runtime| {
        let (dir, port, other) = (Dir::new(), free_port(), free_port());
        let v1 = Backend::start("v1");
        let file = |listeners: &str| {
            gateway_yaml(listeners)
                + &route_yaml("all", "", &[("/", &to("v1"))])
                + &service_yaml("v1", &v1.address.to_string())
        };
        let (one, two) = (http_listener("one", port), http_listener("two", other));
        dir.write("all.yaml", &file(&one));
        let gateway = Gateway::start(runtime, dir.path(), &[]);
        let mut conn = Conn::open(&at(port));
        assert_eq!(conn.get("/").status(), 200);
        gateway.changing(|| drop(dir.write("all.yaml", &file(&(one.clone() + &two)))));
        let mut second = Conn::open(&at(other));
        assert_eq!((conn.get("/").status(), second.get("/").status()), (200, 200));
        gateway.changing(|| drop(dir.write("all.yaml", &file(&one))));
        assert_eq!(conn.get("/").status(), 200);
        wait_for("the port to be free", || std::net::TcpListener::bind(("0.0.0.0", other)).ok());
        gateway.changing(|| drop(dir.write("all.yaml", &file(&(one.clone() + &two)))));
        assert_eq!(Conn::open(&at(other)).get("/").status(), 200);
        assert_eq!(conn.get("/").status(), 200);
    });
}

#[test]
fn a_websocket_survives_twenty_edits() {
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        let (v1, v2) = (Backend::start("v1"), Backend::start("v2"));
        dir.write("all.yaml", &simple_yaml(port, v1.address));
        let gateway = Gateway::start(runtime, dir.path(), &[]);
        let mut socket = Conn::open(&at(port));
        socket.send(
            "GET /socket HTTP/1.1\r\nHost: e2e.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let answer = socket.answer();
        assert_eq!(answer.status(), 101);
        assert_eq!(answer.field("upgrade"), Some("websocket"));
        assert_eq!(socket.take(5).unwrap(), b"hello");
        for n in 0..20 {
            let endpoint = if n % 2 == 0 { v2.address } else { v1.address };
            gateway.changing(|| drop(dir.write("all.yaml", &simple_yaml(port, endpoint))));
            let word = format!("edit {n:02}");
            socket.stream.write_all(word.as_bytes()).unwrap();
            assert_eq!(socket.take(7).unwrap(), word.as_bytes());
        }
        socket.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(
            client::read(&mut socket.stream, &mut [0; 8]).unwrap(),
            0,
            "the end passes through"
        );
    });
}
