//! Every example is served as it stands, and every line at its top does what it promises.
//!
//! Only ports are replaced, as `ringway demo` does. The table below says what each line must answer;
//! a line without an entry, an entry without a line, and a file without entries are failures.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use control::demo::backends;
use e2e_support::backend::Backend;
use e2e_support::gateway::{Gateway, ringway};
use e2e_support::{Dir, client, each_runtime, free_port};

const V1: &str = r#""version":"v1""#;
const V2: &str = r#""version":"v2""#;

/// File; a part of the command that no other command of the file has; what its output must hold.
/// A part that starts with `!` must not be there.
const EXPECTED: &[(&str, &str, &[&str])] = &[
    ("backend-tls.yaml", "curl http://127.0.0.1:8080/  ", &[V1, r#""x-forwarded-proto":"https""#]),
    ("backend-tls.yaml", "/other", &["HTTP/1.1 502 "]),
    ("client-certificates.yaml", "curl http", &[V1]),
    ("client-certificates.yaml", "curl -k", &["refused by the handshake"]),
    (
        "cors.yaml",
        "shop.example.com' http",
        &["HTTP/1.1 200 ", "access-control-allow-origin: https://shop.example.com", V1],
    ),
    ("cors.yaml", "evil", &["HTTP/1.1 200 ", "!access-control-allow-origin", V1]),
    (
        "cors.yaml",
        "-X OPTIONS",
        &["HTTP/1.1 204 ", "access-control-allow-methods: GET, PUT", "access-control-max-age: 600"],
    ),
    ("cross-namespace.yaml", "8080/team", &[V1]),
    ("cross-namespace.yaml", "8080/guest", &["HTTP/1.1 404 "]),
    ("cross-namespace.yaml", "8081/guest", &[V2]),
    ("external-auth.yaml", "curl http://127.0.0.1:8080/  ", &[V1]),
    ("external-auth.yaml", "status=401", &["HTTP/1.1 401 "]),
    ("external-auth.yaml", "x-user: root", &[V1, "!x-user"]),
    ("external-auth.yaml", "8081/status", &["HTTP/1.1 403 "]),
    ("external-name.yaml", "8080/", &[V1]),
    ("header-and-query-matching.yaml", "curl http://127.0.0.1:8080/ ", &[V1]),
    ("header-and-query-matching.yaml", "x-version", &[V2]),
    ("header-and-query-matching.yaml", "version=v2", &[V2]),
    ("header-and-query-matching.yaml", "Mobile", &[V2]),
    ("header-and-query-matching.yaml", "-X POST", &[V2, r#""method":"POST""#]),
    (
        "header-modifiers.yaml",
        "x-secret",
        &["HTTP/1.1 200 ", "!x-secret", "cache-control: no-store", r#""x-gateway":"ringway""#],
    ),
    ("header-modifiers.yaml", "x-track", &["x-track: stable", "x-track: canary"]),
    ("https-two-hosts.yaml", "https://shop.example.com:8443/      #", &[V1]),
    ("https-two-hosts.yaml", "https://api", &[V2]),
    ("https-two-hosts.yaml", "-ik", &["HTTP/2 421 "]),
    ("https-two-hosts.yaml", "https://127.0.0.1", &["refused by the handshake"]),
    ("listener-set.yaml", "Host: shop", &[V1]),
    ("listener-set.yaml", "curl http://127.0.0.1:8081/", &[V2]),
    ("listener-set.yaml", "curl -i http://127.0.0.1:8080/", &["HTTP/1.1 404 "]),
    ("mirror.yaml", "curl http://127.0.0.1:8080/  ", &[V1]),
    ("mirror.yaml", "-d order=1", &[V1, r#""method":"POST""#]),
    ("mirror.yaml", "/some", &[V1]),
    ("path-matching.yaml", "/shop/cart  ", &[V2]),
    ("path-matching.yaml", "/shop/cart/1", &[V1]),
    ("path-matching.yaml", "/shop/admin/x", &[V2]),
    ("path-matching.yaml", "/item/42", &[V1]),
    ("path-matching.yaml", "/shopping", &["HTTP/1.1 404 "]),
    ("path-matching.yaml", "/item/x", &["HTTP/1.1 404 "]),
    ("quickstart/routes.yaml", "/v1/hello", &[V1]),
    ("quickstart/routes.yaml", "/exact", &[V1]),
    ("quickstart/routes.yaml", "/header ", &[V2]),
    ("quickstart/routes.yaml", "/query", &[V2]),
    ("quickstart/routes.yaml", "/split", &[r#""version":"v"#]),
    (
        "quickstart/routes.yaml",
        "/old/page",
        &[V1, r#""path":"/new/page""#, r#""host":"internal.example.com""#],
    ),
    (
        "quickstart/routes.yaml",
        "/redirect",
        &["HTTP/1.1 301 ", "location: https://app.example.com/redirect"],
    ),
    (
        "quickstart/routes.yaml",
        "/headers",
        &["HTTP/1.1 200 ", "x-served-through: ringway", r#""x-gateway":"ringway""#],
    ),
    ("quickstart/routes.yaml", "/flaky", &["HTTP/1.1 200 ", r#""version":"flaky""#]),
    ("quickstart/routes.yaml", "/empty", &["HTTP/1.1 503 "]),
    ("quickstart/routes.yaml", "/nowhere", &["HTTP/1.1 404 "]),
    ("quickstart/routes.yaml", "--resolve", &[V2, r#""x-forwarded-proto":"https""#]),
    ("quickstart/routes.yaml", "/v1/h2", &[V1, r#""path":"/v1/h2""#]),
    ("quickstart/routes.yaml", "/chat", &["HTTP/1.1 101 ", "hello"]),
    ("quickstart/routes.yaml", "application/grpc", &["00 00 00 00 02 08 01"]),
    ("quickstart/routes.yaml", "/dev/tcp/", &["hello"]),
    ("quickstart/routes.yaml", "/dev/udp/", &["hello"]),
    ("rewrite-and-redirect.yaml", "/prefix/a/b", &[V1, r#""path":"/new/a/b""#]),
    ("rewrite-and-redirect.yaml", "/strip/a", &[V1, r#""path":"/a""#]),
    ("rewrite-and-redirect.yaml", "/full/any/thing", &[V1, r#""path":"/fixed""#]),
    ("rewrite-and-redirect.yaml", "8080/host", &[V1, r#""host":"internal.example.com""#]),
    (
        "rewrite-and-redirect.yaml",
        "/secure ",
        &["HTTP/1.1 301 ", "location: https://127.0.0.1/secure\r\n"],
    ),
    (
        "rewrite-and-redirect.yaml",
        "/moved/a ",
        &["HTTP/1.1 302 ", "location: http://127.0.0.1:8080/elsewhere/a\r\n"],
    ),
    (
        "rewrite-and-redirect.yaml",
        "/away ",
        &["HTTP/1.1 302 ", "location: https://www.example.org:8443/\r\n"],
    ),
    ("static-address.yaml", "127.0.0.2", &[V1]),
    ("static-address.yaml", "127.0.0.3", &[V2]),
    ("static-address.yaml", "127.0.0.1", &["nobody there"]),
    ("static-endpoints.yaml", "8080/", &[r#""version":"v"#, "!v9"]),
    ("tcp.yaml", "8080/", &[V1]),
    ("tcp.yaml", "8081/", &[V2]),
    ("timeouts-and-retry.yaml", "curl http://127.0.0.1:8080/  ", &[V1]),
    ("timeouts-and-retry.yaml", "/hold", &["HTTP/1.1 504 "]),
    ("timeouts-and-retry.yaml", "/status", &["HTTP/1.1 503 "]),
    ("tls-passthrough.yaml", "https://shop.example.com:8443/", &[V1]),
    ("tls-passthrough.yaml", "https://shop.example.com:8081/", &[V1]),
    ("tls-passthrough.yaml", "https://api", &["refused by the handshake"]),
    ("tls-terminate.yaml", "https://shop", &[V1]),
    ("tls-terminate.yaml", "https://api", &["closed without an answer"]),
    ("traffic-split.yaml", "/canary", &[V1]),
    ("traffic-split.yaml", "/prepared", &[V1]),
    ("traffic-split.yaml", "/off", &["HTTP/1.1 500 "]),
    ("udp.yaml", "/dev/udp/", &["v1 hello"]),
    (
        "websocket.yaml",
        "/chat",
        &["HTTP/1.1 101 ", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "hello"],
    ),
    ("websocket.yaml", "8080/  ", &[V1]),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/examples")
}

/// The files and directories that are one example each.
fn entries() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    names.sort();
    names
}

/// The commands at the top of a file, with the comment that says what they do.
fn commands(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in text.lines().map_while(|line| line.strip_prefix('#')) {
        match all.last_mut().filter(|last| last.ends_with('\\')) {
            Some(last) => {
                last.push('\n');
                last.push_str(line.trim());
            }
            None if ["   bash ", "   curl ", "   for ", "   printf "]
                .iter()
                .any(|one| line.starts_with(one)) =>
            {
                all.push(line.trim().to_owned());
            }
            None => {}
        }
    }
    all
}

/// The backends and ports that take the place of those in the examples.
struct Stage {
    v1: Backend,
    v2: Backend,
    flaky: Backend,
    unready: Backend,
    ports: Vec<(String, String)>,
}

impl Stage {
    fn new() -> Self {
        // One whose number is free among the UDP ports, too.
        let bound = |v1: Backend| Some((UdpSocket::bind(v1.address).ok()?, v1));
        let (socket, v1) = (0..20).map(|_| Backend::start("v1")).find_map(bound).unwrap();
        echo_datagrams(socket);
        let [v2, flaky, unready] = ["v2", "flaky", "v9"].map(Backend::start);
        let mut ports: Vec<_> = ["8080", "8081", "8443", "8053"]
            .map(|port| (port.to_owned(), free_port().to_string()))
            .into();
        for (port, backend) in [("9001", &v1), ("9002", &v2), ("9003", &flaky), ("9009", &unready)]
        {
            ports.push((port.to_owned(), backend.address.port().to_string()));
        }
        // Those of the quickstart that are neither: the demo's own.
        let demo = backends::start().unwrap();
        for (port, address) in [("9004", demo.grpc), ("9005", demo.tcp), ("9006", demo.udp)] {
            ports.push((port.to_owned(), address.port().to_string()));
        }
        Self { v1, v2, flaky, unready, ports }
    }

    fn localise(&self, text: &str) -> String {
        let line = |line: &str| {
            // Certificates and keys are no place to look for ports.
            if line.trim_start().starts_with("tls.") {
                return line.to_owned();
            }
            let mut line = line.to_owned();
            for (i, (port, _)) in self.ports.iter().enumerate() {
                line = line.replace(port, &format!("{{{i}}}"));
            }
            for (i, (_, port)) in self.ports.iter().enumerate() {
                line = line.replace(&format!("{{{i}}}"), port);
            }
            line
        };
        text.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Sends datagrams back, until the process ends.
fn echo_datagrams(socket: UdpSocket) {
    std::thread::spawn(move || {
        let mut data = b"v1 ".repeat(500);
        while let Ok((length, peer)) = socket.recv_from(&mut data[3..]) {
            let _ = socket.send_to(&data[..3 + length], peer);
        }
    });
}

fn copy(stage: &Stage, from: &Path, dir: &Dir) {
    let files = if from.is_dir() {
        fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect()
    } else {
        vec![from.to_owned()]
    };
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        dir.write(file.file_name().unwrap().to_str().unwrap(), &stage.localise(&text));
    }
}

/// Starts one example and tries what stands at the top of the file `told`.
fn serve_example(runtime: &str, example: &str, told: &str) {
    let (stage, dir) = (Stage::new(), Dir::new());
    copy(&stage, &examples().join(example), &dir);
    let gateway = Gateway::start(runtime, dir.path(), &[]);
    let status = gateway.status();
    assert_eq!(status["problems"], serde_json::json!([]), "{example}");
    for command in commands(&fs::read_to_string(examples().join(told)).unwrap()) {
        attempt(&stage, told, &command);
    }
    whole_example(&stage, &gateway, &dir, example);
}

fn attempt(stage: &Stage, told: &str, command: &str) {
    let mut expected = EXPECTED
        .iter()
        .filter(|(file, part, _)| *file == told && command.contains(part))
        .map(|(_, _, parts)| *parts);
    let parts = expected.next().unwrap_or_else(|| panic!("{told}: not expected: {command}"));
    assert!(expected.next().is_none(), "{told}: expected twice: {command}");
    let (out, error, code) = client::sh(&stage.localise(command));
    if parts == ["refused by the handshake"] {
        // No connection, or none without a certificate of the client.
        assert!(matches!(code, Some(35 | 98)), "{code:?} {command}\n{out}{error}");
        return;
    }
    if parts == ["closed without an answer"] {
        // Where curl notices depends on how far it has come: no answer, sending or receiving failed.
        assert!(matches!(code, Some(52 | 55 | 56)), "{command}: {code:?}\n{out}{error}");
        return;
    }
    assert_eq!(code, Some(0), "{command}\n{out}{error}");
    for part in parts {
        let (part, wanted) = part.strip_prefix('!').map_or((*part, true), |part| (part, false));
        let part = stage.localise(part);
        let is_there = out.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
        assert_eq!(is_there, wanted, "{told}: {command}\n{part:?} in:\n{out}");
    }
}

/// What a single line of some examples cannot show.
fn whole_example(stage: &Stage, gateway: &Gateway, dir: &Dir, example: &str) {
    let url = stage.localise("127.0.0.1:8080");
    match example {
        "traffic-split.yaml" => {
            let (v1, v2) = (stage.v1.count(), stage.v2.count());
            for _ in 0..40 {
                let answer = client::curl(&[&format!("http://{url}/canary")]);
                assert_eq!(client::status(&answer), 200);
            }
            let (v1, v2) = (stage.v1.count() - v1, stage.v2.count() - v2);
            // Each shard keeps the shares on its own, from its own phase.
            assert!(v1 + v2 == 40 && (2..=6).contains(&v2), "{v1} v1, {v2} v2");
        }
        "static-endpoints.yaml" => {
            let mut conn = client::Conn::open(&url);
            for _ in 0..40 {
                assert_eq!(conn.get("/").status(), 200);
            }
            assert!(stage.v1.count() > 0 && stage.v2.count() > 0);
            assert_eq!(stage.unready.count(), 0);
        }
        "cross-namespace.yaml" => {
            let path = dir.join(example);
            let text = fs::read_to_string(&path).unwrap();
            let grant = |doc: &&str| !doc.contains("name: team-to-v1\n");
            let rest: Vec<&str> = text.split("---\n").filter(grant).collect();
            gateway.changing(|| fs::write(&path, rest.join("---\n")).unwrap());
            let answer = client::curl(&[&format!("http://{url}/team")]);
            assert_eq!(client::status(&answer), 500);
        }
        "mirror.yaml" => {
            let copy = stage.v2.wait_seen("/all");
            assert_eq!((&copy["method"], &copy["body_bytes"]), (&"POST".into(), &7.into()));
        }
        "timeouts-and-retry.yaml" => {
            let tries = stage.flaky.seen();
            let is_retried = |request: &&serde_json::Value| {
                request["path"].as_str().unwrap().starts_with("/status")
            };
            assert_eq!(tries.iter().filter(is_retried).count(), 3);
        }
        "header-modifiers.yaml" => {
            let canary = stage.v2.seen();
            assert!(canary.iter().all(|request| request["headers"]["x-canary"] == "true"));
            let stable = stage.v1.seen();
            assert!(stable.iter().all(|request| request["headers"].get("x-canary").is_none()));
        }
        // Its backend counts no requests.
        "udp.yaml" => {}
        _ => assert!(stage.v1.count() > 0, "{}", gateway.log()),
    }
}

#[test]
fn every_line_of_every_example_does_what_it_says() {
    each_runtime(|runtime| {
        for example in entries() {
            eprintln!("  {example}");
            let told = if example == "quickstart" {
                "quickstart/routes.yaml".to_owned()
            } else {
                example.clone()
            };
            serve_example(runtime, &example, &told);
        }
    });
}

#[test]
fn one_example_is_served_on_glommio() {
    if let Err(error) = e2e_support::uring() {
        eprintln!("NOT RUN on glommio: {error}");
        return;
    }
    serve_example("glommio", "path-matching.yaml", "path-matching.yaml");
}

#[test]
fn the_table_covers_every_example_and_no_entry_is_stale() {
    let told: BTreeSet<&str> =
        EXPECTED.iter().map(|(file, _, _)| file.split('/').next().unwrap()).collect();
    let there = entries();
    assert_eq!(told, there.iter().map(String::as_str).collect());
    for (file, part, _) in EXPECTED {
        let commands = commands(&fs::read_to_string(examples().join(file)).unwrap());
        let matching = commands.iter().filter(|command| command.contains(part)).count();
        assert_eq!(matching, 1, "{file}: {part:?} stands in {matching} of {commands:#?}");
    }
    let index = fs::read_to_string(examples().join("README.md")).unwrap();
    for name in there {
        assert!(index.contains(&format!("({name})")), "{name} is not in the README");
    }
}

#[test]
fn ringway_check_finds_no_mistake_in_any_example() {
    for example in entries() {
        let path = examples().join(&example);
        let output = ringway(&["check", path.to_str().unwrap()]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{example}: {text}");
    }
}
