//! h2spec against the real binary: every test, over TLS and over plain TCP.
//!
//! Started by the script `peers` beside this file, which builds h2spec.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use e2e_support::backend::Backend;
use e2e_support::gateway::Gateway;
use e2e_support::peer;
use e2e_support::{
    Dir, certificate, each_runtime, free_port, gateway_yaml, http_listener, https_listener,
    route_yaml, service_yaml, to,
};

/// A port that also speaks HTTP/1 answers 400 to a preface that is none (test 3.5/2), which is an
/// HTTP/1 message then.
const ON_A_SHARED_PORT: &str = "3.5. HTTP/2 Connection Preface";

/// The tests that failed, by the section that they stand in, and the summary.
fn run(arguments: &[&str]) -> (Vec<String>, String) {
    let output = peer::command("h2spec").args(["--timeout", "5"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let summary = text.lines().rev().find(|line| line.contains("tests,")).unwrap_or(&text);
    eprintln!("h2spec {}: {summary}", arguments.join(" "));
    let failures = text.split_once("Failures:").map_or("", |(_, failures)| failures);
    let (mut section, mut failed) = (String::new(), Vec::new());
    for line in failures.lines().map(str::trim) {
        if line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(". ") {
            section = line.to_owned();
        } else if line.starts_with('×') {
            failed.push(format!("{section} {line}"));
        }
    }
    assert!(summary.contains("145 tests"), "{text}");
    assert!(summary.contains(" 0 skipped"), "{text}");
    assert_eq!(failed.is_empty(), summary.contains(" 0 failed"), "{text}");
    (failed, text)
}

#[test]
#[ignore = "needs h2spec: control/tests/peers"]
fn every_test_of_h2spec_passes() {
    each_runtime(|runtime| {
        let (dir, tls, plain) = (Dir::new(), free_port(), free_port());
        let v1 = Backend::start("v1");
        let (secret, _) = certificate("tls", "localhost");
        let listeners =
            https_listener("https", tls, "localhost", "tls") + &http_listener("http", plain);
        let text = gateway_yaml(&listeners)
            + &route_yaml("all", "", &[("/", &to("v1"))])
            + &service_yaml("v1", &v1.address.to_string())
            + &secret;
        dir.write("all.yaml", &text);
        let _gateway = Gateway::start(runtime, dir.path(), &[]);
        let port = tls.to_string();
        let (failed, text) = run(&["-h", "localhost", "-p", &port, "--tls", "--insecure"]);
        assert!(failed.is_empty(), "{text}");
        let port = plain.to_string();
        let (failed, text) = run(&["-h", "localhost", "-p", &port]);
        let other = failed.iter().find(|test| !test.contains(ON_A_SHARED_PORT));
        assert!(other.is_none() && failed.len() <= 1, "{text}");
    });
}
