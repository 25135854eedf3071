//! The demo as a new user tries it: every printed line is executed, then a file is edited.
//!
//! `curl` and `bash` must be there. Lines of tools that may be missing, `grpcurl` and `dig`, are then
//! asked by the clients below, which need none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What a line must answer, by a word of the line: all of these stand in the output.
const EXPECTED: [(&str, &[&str]); 33] = [
    ("--http2-prior-knowledge -w", &[r#""version":"v1""#, "}\nHTTP/2\n"]),
    ("--http2 ", &[r#""version":"v2""#, r#""x-forwarded-proto":"https""#, "}\nHTTP/2\n"]),
    ("--http1.1 ", &[r#""version":"v2""#, r#""x-forwarded-proto":"https""#, "}\nHTTP/1.1\n"]),
    (
        "/chat?once=1'",
        &[
            "HTTP/1.1 101 ",
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "\u{fffd}\u{5}hello\u{fffd}\u{2}\u{3}",
        ],
    ),
    (" list", &["demo.Echo\n", "grpc.health.v1.Health\n"]),
    ("-authority grpc.example.com ", &[r#""status": "SERVING""#]),
    ("grpcurl -plaintext localhost", &[r#""status": "SERVING""#]),
    ("grpcurl -plaintext -d ", &[r#""text": "hello""#]),
    ("/grpc.health.v1.Health/Check | od", &["00 00 00 00 02 08 01\n"]),
    ("/demo.Echo/Say | od", &["h   e   l   l   o\n"]),
    ("/dev/tcp/", &["hello\n"]),
    ("dig ", &["192.0.2.1\n"]),
    ("/dev/udp/", &["hello\n"]),
    ("/v1/hello'", &[r#""version":"v1""#, r#""path":"/v1/hello""#]),
    ("/v2/hello'", &[r#""version":"v2""#]),
    ("/exact'", &[r#""version":"v1""#]),
    ("-H 'x-version: v2' ", &[r#""version":"v2""#]),
    ("/header'", &[r#""version":"v1""#]),
    ("/query?version=v2'", &[r#""version":"v2""#]),
    ("/query'", &[r#""version":"v1""#]),
    ("/split?", &[r#""version":"v1""#, r#""version":"v2""#]),
    ("/old/page'", &[r#""path":"/new/page""#, r#""host":"internal.example.com""#]),
    ("/redirect'", &["HTTP/1.1 301 ", "location: https://app.example.com/redirect"]),
    ("/headers'", &["x-served-through: ringway", r#""x-gateway":"ringway""#]),
    ("/nowhere'", &["HTTP/1.1 404 "]),
    ("/empty'", &["HTTP/1.1 503 "]),
    ("status=503'", &["HTTP/1.1 503 ", r#""version":"flaky""#]),
    ("delay_ms=300'", &["HTTP/1.1 200 "]),
    ("chunked=1'", &["HTTP/1.1 200 ", "transfer-encoding: chunked", r#""version":"flaky""#]),
    ("close=before'", &["HTTP/1.1 502 "]),
    ("garbage=1'", &["HTTP/1.1 502 "]),
    ("/metrics'", &["ringway_requests_total{", "default/quickstart/http"]),
    ("/status'", &[r#""ready": true"#, r#""default/quickstart""#]),
];

struct Demo {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    directory: PathBuf,
    lines: Vec<String>,
}

impl Demo {
    fn start(runtime: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["demo", "--admin", "127.0.0.1:0", "--shards", "2", "--runtime", runtime])
            .args(["--log-level", "warn"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut directory = None;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "the demo ended early");
            if let Some(rest) = line.strip_prefix("The configuration is in ") {
                directory = rest.split_once(": ").map(|(path, _)| PathBuf::from(path));
            } else if line.starts_with("  ") {
                lines.push(line.trim().to_owned());
            } else if line.starts_with("Ctrl-C") {
                break;
            }
        }
        Self { child, output, directory: directory.unwrap(), lines }
    }

    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        rest
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // After `end` this is an error that says it has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {:?}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a line says; by a client of this file if its tool is missing.
fn attempt(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_there = Command::new("sh").args(["-c", "command -v \"$0\"", words[0]]).output().unwrap();
    match words[0] {
        _ if is_there.status.success() => sh(line),
        "grpcurl" => call(line, &words),
        "dig" => query(words[4]),
        tool => panic!("{tool} is missing, and nothing takes its place"),
    }
}

/// What `grpcurl` does with the lines of the demo: gRPC's framing here, HTTP/2 by `curl`.
fn call(line: &str, words: &[&str]) -> String {
    const LIST: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let (address, method) = (words[words.len() - 2], words[words.len() - 1]);
    let (method, message): (_, &[u8]) = match method {
        "list" => (LIST, b"\x3a\x01*"),
        "demo.Echo/Say" => (method, b"\x0a\x05hello"),
        _ => (method, b""),
    };
    let mut curl = Command::new("curl");
    curl.args(["-s", "-H", "content-type: application/grpc", "-H", "te: trailers"]);
    curl.args(["--data-binary", "@-"]);
    if line.contains("-plaintext") {
        curl.arg("--http2-prior-knowledge").arg(format!("http://{address}/{method}"));
    } else {
        let (ip, port) = address.split_once(':').unwrap();
        curl.args(["--http2", "--cacert", words[2], "--resolve"]);
        curl.arg(format!("{}:{port}:{ip}", words[4]));
        curl.arg(format!("https://{}:{port}/{method}", words[4]));
    }
    let mut child = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let length = u8::try_from(message.len()).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[&[0, 0, 0, 0, length], message].concat()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{line}: {:?}", output.status);
    let text = String::from_utf8_lossy(&output.stdout[5..]).into_owned();
    match text.as_str() {
        "\x08\x01" => r#""status": "SERVING""#.to_owned(),
        "\x0a\x05hello" => r#""text": "hello""#.to_owned(),
        // Names, each after its length.
        _ => text.split(|c: char| c.is_control()).map(|name| format!("{name}\n")).collect(),
    }
}

/// The address that the server at 127.0.0.1 answers for example.com.
fn query(port: &str) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    socket.connect(format!("127.0.0.1:{port}")).unwrap();
    socket.send(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01").unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).unwrap();
    let [.., a, b, c, d] = answer[..length] else { panic!("an empty answer") };
    format!("{a}.{b}.{c}.{d}\n")
}

fn try_everything(runtime: &str) {
    let demo = Demo::start(runtime);
    for line in &demo.lines {
        let output = attempt(line);
        for (_, expected) in EXPECTED.iter().filter(|(word, _)| line.contains(word)).take(1) {
            for part in *expected {
                assert!(output.contains(part), "{line}\nlacks {part}:\n{output}");
            }
        }
        assert!(!output.contains("x-secret"), "{line}\n{output}");
        if line.contains("/split?") {
            let v2 = output.matches(r#""version":"v2""#).count();
            assert!((1..=4).contains(&v2), "{v2} of 20 went to v2");
        }
    }
    for (word, _) in EXPECTED {
        assert!(demo.lines.iter().any(|line| line.contains(word)), "no line with {word}");
    }
    edit(&demo);
    let directory = demo.directory.clone();
    let table = demo.end();
    assert!(table.contains("latency since start"), "{table}");
    assert!(!directory.exists());
}

/// The path that answered 404 is given to v2; soon it answers.
fn edit(demo: &Demo) {
    let path = demo.directory.join("routes.yaml");
    let routes = fs::read_to_string(&path).unwrap().replace("value: /v2 }", "value: /nowhere }");
    fs::write(&path, routes).unwrap();
    let line = demo.lines.iter().find(|line| line.contains("/nowhere'")).unwrap();
    for _ in 0..200 {
        if sh(line).contains(r#""version":"v2""#) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the edited route never answered");
}

#[test]
fn the_clients_that_take_the_place_of_missing_tools_see_what_the_tools_see() {
    let demo = Demo::start("epoll");
    let mut tried = 0;
    for line in &demo.lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = match words[0] {
            "grpcurl" => call(line, &words),
            "dig" => query(words[4]),
            _ => continue,
        };
        let (_, parts) = EXPECTED.iter().find(|(word, _)| line.contains(word)).unwrap();
        for part in *parts {
            assert!(output.contains(part), "{line}\nlacks {part}:\n{output}");
        }
        tried += 1;
    }
    assert_eq!(tried, 5);
    demo.end();
}

#[test]
fn every_line_of_the_demo_works_on_epoll() {
    try_everything("epoll");
}

#[test]
fn every_line_of_the_demo_works_on_the_runtime_that_auto_chooses() {
    try_everything("auto");
}
