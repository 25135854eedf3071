//! Limits of time and size at the real binary, and HTTP/1 as clients write it by hand.
//!
//! Time limits are made short by their flags. A test waits for what the limit must do, and never
//! asserts how long it took.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use e2e_support::backend::{Backend, LARGE};
use e2e_support::client::{self, Conn};
use e2e_support::gateway::{Gateway, ringway};
use e2e_support::{Dir, each_runtime, free_port, simple_yaml, wait_for};

struct World {
    _dir: Dir,
    at: String,
    v1: Backend,
    gateway: Gateway,
}

impl World {
    fn start(runtime: &str, flags: &[&str]) -> Self {
        let (dir, port, v1) = (Dir::new(), free_port(), Backend::start("v1"));
        dir.write("all.yaml", &simple_yaml(port, v1.address));
        let gateway = Gateway::start(runtime, dir.path(), flags);
        Self { _dir: dir, at: format!("127.0.0.1:{port}"), v1, gateway }
    }

    fn fault(&self, reason: &str) {
        self.gateway.wait_metric(&format!("ringway_faults_total{{reason=\"{reason}\"}} 1"));
    }
}

#[test]
fn a_head_that_does_not_come_whole_is_cut_and_an_idle_connection_is_closed() {
    each_runtime(|runtime| {
        let flags = ["--timeout-header", "300ms", "--timeout-client-idle", "400ms"];
        let world = World::start(runtime, &flags);
        let mut slow = Conn::open(&world.at);
        slow.send("GET / HTTP/1.1\r\nHost: e2e.test\r\nX-Slow: ");
        let answer = slow.rest();
        assert!(answer.is_empty() || client::status(&answer) == 408, "{answer}");
        world.fault("header_timeout");
        let mut silent = Conn::open(&world.at);
        assert_eq!(silent.rest(), "", "a connection without any byte is closed");
        let mut idle = Conn::open(&world.at);
        assert_eq!(idle.get("/").status(), 200);
        assert_eq!(idle.rest(), "", "a kept connection is closed without a word");
        assert_eq!(world.v1.count(), 1);
    });
}

#[test]
fn a_late_head_is_answered_408() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &["--timeout-header", "300ms"]);
        let answer = client::exchange(&world.at, b"GET / HTTP/1.1\r\nHost: e2e.test\r\n");
        assert!(answer.starts_with("HTTP/1.1 408 "), "limits.md promises 408, not {answer:?}");
    });
}

#[test]
fn a_request_body_that_drips_is_answered_408_and_a_fast_client_beside_it_is_not_hurt() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &["--timeout-body-window", "1s"]);
        let mut slow = Conn::open(&world.at);
        slow.send("POST /early HTTP/1.1\r\nHost: e2e.test\r\nContent-Length: 100000\r\n\r\n");
        slow.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut fast = Conn::open(&world.at);
        let mut seen = Vec::new();
        // A byte per 50 ms is 20 B/s.
        wait_for("the slow body to be refused", || {
            use std::io::Write;
            let _ = slow.stream.write_all(b"x");
            assert_eq!(fast.get("/").status(), 200);
            let mut block = [0; 4096];
            match client::read(&mut slow.stream, &mut block) {
                Ok(0) => Some(()),
                Ok(n) => {
                    seen.extend_from_slice(&block[..n]);
                    None
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
                Err(_) => Some(()),
            }
        });
        assert_eq!(client::status(&String::from_utf8_lossy(&seen)), 408);
        world.fault("body_too_slow");
    });
}

#[test]
fn a_client_that_does_not_read_its_response_is_cut_and_others_are_served_meanwhile() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &["--timeout-response-stall", "1s"]);
        let mut lazy = Conn::open(&world.at);
        lazy.send("GET /large HTTP/1.1\r\nHost: e2e.test\r\n\r\n");
        let mut fast = Conn::open(&world.at);
        let reason = "ringway_faults_total{reason=\"client_too_slow\"} 1";
        wait_for("the lazy client to be cut", || {
            assert_eq!(fast.get("/").status(), 200);
            world.gateway.page("/metrics").1.contains(reason).then_some(())
        });
        let got = lazy.rest();
        assert!(got.len() < LARGE, "what it did not take is lost: {}", got.len());
        // One that reads gets everything.
        let large = client::exchange(
            &world.at,
            b"GET /large HTTP/1.1\r\nHost: e2e.test\r\nConnection: close\r\n\r\n",
        );
        let (_, body) = large.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), LARGE);
    });
}

/// A socket that listens but whose queue of connections is full: a new SYN gets no answer.
fn full_socket() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    // The queue is as long as the kernel allows (somaxconn), plus one.
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(700)) {
        held.push(stream);
        assert!(held.len() < 20_000, "the queue never fills");
    }
    (listener, address, held)
}

#[test]
fn an_endpoint_that_does_not_answer_is_504_after_the_connect_timeout() {
    let (_listener, address, held) = full_socket();
    eprintln!("the queue took {} connections", held.len());
    each_runtime(|runtime| {
        let (dir, port) = (Dir::new(), free_port());
        dir.write("all.yaml", &simple_yaml(port, address));
        let flags = ["--timeout-connect", "300ms", "--debug-header"];
        let _gateway = Gateway::start(runtime, dir.path(), &flags);
        let mut conn = Conn::open(&format!("127.0.0.1:{port}"));
        let answer = conn.get("/");
        assert_eq!(answer.status(), 504, "{answer:?}");
        assert_eq!(answer.field("x-ringway-reason"), Some("connect_timeout"));
        assert_eq!(conn.get("/").status(), 504, "the client's connection is kept");
    });
}

#[test]
fn beyond_the_connection_limit_new_ones_are_refused_and_old_ones_served() {
    each_runtime(|runtime| {
        let (dir, port, v1) = (Dir::new(), free_port(), Backend::start("v1"));
        dir.write("all.yaml", &simple_yaml(port, v1.address));
        // (640 - 512) / 2 descriptors are for clients.
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", "ulimit -n 640 && exec \"$@\"", "sh"]);
        limited.arg(ringway(&[]).get_program());
        let gateway = Gateway::start_command(limited, runtime, dir.path(), &["--shards", "1"]);
        let at = format!("127.0.0.1:{port}");
        let mut held: Vec<Conn> = (0..64).map(|_| Conn::open(&at)).collect();
        for conn in &mut held {
            assert_eq!(conn.get("/").status(), 200);
        }
        let mut more = Conn::open(&at);
        assert_eq!(more.rest(), "", "the 65th is closed at once");
        for conn in &mut held {
            assert_eq!(conn.get("/").status(), 200);
        }
        gateway.wait_metric("ringway_connections_refused_total{shard=\"0\"} 1");
        drop(held.pop());
        wait_for("room for one", || {
            let mut conn = Conn::open(&at);
            use std::io::Write;
            let _ = conn.stream.write_all(b"GET / HTTP/1.1\r\nHost: e2e.test\r\n\r\n");
            conn.try_answer().filter(|answer| answer.status() == 200).map(drop)
        });
    });
}

/// A request whose head has exactly `size` bytes in fields of 8,000 bytes.
fn head_of(size: usize) -> String {
    let mut head = "GET / HTTP/1.1\r\nHost: e2e.test\r\n".to_owned();
    while head.len() + 2 < size {
        let room = (size - head.len() - 2).min(8_000);
        let room =
            if size - head.len() - 2 - room < 20 && room == 8_000 { room - 20 } else { room };
        head.push_str(&format!("X-F: {}\r\n", "a".repeat(room - 7)));
    }
    head + "\r\n"
}

#[test]
fn a_head_up_to_64_kib_is_served_and_a_longer_one_refused_with_431() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &[]);
        let below = head_of(63 * 1024);
        assert_eq!(below.len(), 63 * 1024);
        let mut conn = Conn::open(&world.at);
        conn.send(&below);
        assert_eq!(conn.answer().status(), 200);
        let seen = world.v1.count();
        let answer = client::exchange(&world.at, head_of(66 * 1024).as_bytes());
        assert_eq!(client::status(&answer), 431, "{answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        let many = "X-F: 1\r\n".repeat(129);
        let request = format!("GET / HTTP/1.1\r\nHost: e2e.test\r\n{many}\r\n");
        assert_eq!(client::status(&client::exchange(&world.at, request.as_bytes())), 431);
        let long = format!("GET /{} HTTP/1.1\r\nHost: e2e.test\r\n\r\n", "a".repeat(17 * 1024));
        assert_eq!(client::status(&client::exchange(&world.at, long.as_bytes())), 414);
        let long = format!("GET /{} HTTP/1.1\r\nHost: e2e.test\r\n\r\n", "a".repeat(8 * 1024 - 30));
        let mut conn = Conn::open(&world.at);
        conn.send(long);
        assert_eq!(conn.answer().status(), 200, "8 KiB are guaranteed");
        assert_eq!(world.v1.count(), seen + 1, "nothing refused reached the backend");
    });
}

#[test]
fn interim_responses_pass_to_http_1_1_and_not_to_http_1_0() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &[]);
        let mut conn = Conn::open(&world.at);
        let answers = [conn.get("/interim"), conn.answer(), conn.answer()];
        assert_eq!(answers.each_ref().map(client_status), [103, 102, 200]);
        assert_eq!(answers[0].field("link"), Some("</a.css>; rel=preload"));
        assert_eq!(conn.get("/").status(), 200, "the connection goes on");
        let old = client::exchange(&world.at, b"GET /interim HTTP/1.0\r\nHost: e2e.test\r\n\r\n");
        assert_eq!(client::status(&old), 200, "{old}");
        let flood = client::curl(&[&format!("http://{}/interim-flood", world.at)]);
        let last = flood.rfind("HTTP/1.1 ").unwrap();
        assert_eq!(client::status(&flood[last..]), 502);
        assert_eq!(flood.matches("HTTP/1.1 103 ").count(), 100);
    });
}

fn client_status(answer: &client::Answer) -> u16 {
    answer.status()
}

#[test]
fn http_1_0_gets_no_chunks_and_a_close_unless_it_asks_to_be_kept() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &[]);
        let answer =
            client::exchange(&world.at, b"GET /chunked HTTP/1.0\r\nHost: e2e.test\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(client::status(head), 200);
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        assert!(body.starts_with('{') && body.ends_with("}\n"), "{body}");
        let mut kept = Conn::open(&world.at);
        for _ in 0..2 {
            kept.send("GET / HTTP/1.0\r\nHost: e2e.test\r\nConnection: keep-alive\r\n\r\n");
            assert_eq!(kept.answer().status(), 200);
        }
        let out = client::curl(&["--http1.0", &format!("http://{}/", world.at)]);
        assert_eq!(client::status(&out), 200);
        let refused =
            b"POST / HTTP/1.0\r\nHost: e2e.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(client::status(&client::exchange(&world.at, refused)), 400);
        // A body that ends with the connection is passed on whole.
        let out = client::curl(&[&format!("http://{}/until-close", world.at)]);
        assert!(out.ends_with("}\n"), "{out}");
    });
}

#[test]
fn pipelined_requests_are_answered_in_order_and_nothing_after_a_refused_one() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &[]);
        let mut conn = Conn::open(&world.at);
        let requests: String = (0..20)
            .map(|n| match n % 2 {
                0 => format!("GET /p/{n} HTTP/1.1\r\nHost: e2e.test\r\n\r\n"),
                _ => format!(
                    "POST /p/{n} HTTP/1.1\r\nHost: e2e.test\r\nContent-Length: 3\r\n\r\nabc"
                ),
            })
            .collect();
        conn.send(requests);
        for n in 0..20 {
            let answer = conn.answer();
            assert!(answer.body.contains(&format!(r#""path":"/p/{n}""#)), "{n}: {answer:?}");
        }
        let bad = "GET /good HTTP/1.1\r\nHost: e2e.test\r\n\r\n\
                   GET /bad HTTP/1.1\r\nHost : e2e.test\r\n\r\n\
                   GET /never HTTP/1.1\r\nHost: e2e.test\r\n\r\n";
        let answer = client::exchange(&world.at, bad.as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
        assert!(answer.contains("HTTP/1.1 200 ") && answer.contains("HTTP/1.1 400 "), "{answer}");
        let paths: Vec<_> = world.v1.seen().iter().map(|r| r["path"].to_string()).collect();
        assert!(!paths.iter().any(|path| path.contains("bad") || path.contains("never")));
    });
}

#[test]
fn trailers_pass_as_trailers_in_both_directions() {
    each_runtime(|runtime| {
        let world = World::start(runtime, &[]);
        let mut conn = Conn::open(&world.at);
        conn.send(
            "POST /up HTTP/1.1\r\nHost: e2e.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
             5;ext=1\r\nhello\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\nAuthorization: x\r\n\r\n",
        );
        assert_eq!(conn.answer().status(), 200);
        let seen = world.v1.wait_seen("/up");
        assert_eq!(seen["body_bytes"], 5);
        assert_eq!(seen["trailers"], serde_json::json!({ "x-sum": "7" }));
        assert!(seen["headers"].get("x-sum").is_none());
        let answer = client::exchange(
            &world.at,
            b"GET /trailers HTTP/1.1\r\nHost: e2e.test\r\nTE: trailers\r\nConnection: close\r\n\r\n",
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.to_ascii_lowercase().ends_with("0\r\nx-sum: 42\r\n\r\n"), "{body}");
        assert!(!head.to_ascii_lowercase().contains("\r\nx-sum"), "{head}");
    });
}
