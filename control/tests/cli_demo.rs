//! The demo as a new user tries it: every printed line is executed, then a file is edited.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What a line must answer, by a word of the line: all of these stand in the output.
const EXPECTED: [(&str, &[&str]); 21] = [
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
    ("--cacert", &[r#""version":"v2""#, r#""x-forwarded-proto":"https""#]),
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
            } else if line.starts_with("  curl ") {
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

fn try_everything(runtime: &str) {
    let demo = Demo::start(runtime);
    for line in &demo.lines {
        let output = sh(line);
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
fn every_line_of_the_demo_works_on_epoll() {
    try_everything("epoll");
}

#[test]
fn every_line_of_the_demo_works_on_the_runtime_that_auto_chooses() {
    try_everything("auto");
}
