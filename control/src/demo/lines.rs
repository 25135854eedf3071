//! The `curl` lines of the demo.
//!
//! Text only. A line that is a command starts with two spaces and `curl`, and works as it stands in
//! any POSIX shell; what to expect stands before it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

const HOST: &str = "app.example.com";

pub(super) fn text(
    directory: &Path,
    certificate: &Path,
    http: u16,
    https: u16,
    admin: Option<SocketAddr>,
) -> String {
    let mut out = format!(
        "\nThe configuration is in {}: edit it, and the next request obeys.\nTry:\n",
        directory.display()
    );
    let base = format!("http://127.0.0.1:{http}");
    routing(&mut out, &base);
    changes(&mut out, &base);
    let _ = write!(
        out,
        "\nHTTPS, the listener chosen by SNI: v2\n  curl -s --cacert {} --resolve \
         {HOST}:{https}:127.0.0.1 https://{HOST}:{https}/v2/hello\n",
        certificate.display()
    );
    faults(&mut out, &base);
    if let Some(admin) = admin {
        out.push_str("\nAdmin pages: ready, metrics, status, latency by shard and stage\n");
        for page in ["readyz", "metrics", "status", "histograms?format=table"] {
            let _ = writeln!(out, "  curl -s 'http://{admin}/{page}'");
        }
    }
    out.push_str("\nCtrl-C drains and prints the latency of every shard.\n");
    out
}

fn group(out: &mut String, expect: &str, base: &str, options: &str, targets: &[&str]) {
    let _ = writeln!(out, "\n{expect}");
    for target in targets {
        let _ = writeln!(out, "  curl -s {options}-H 'host: {HOST}' '{base}{target}'");
    }
}

fn routing(out: &mut String, base: &str) {
    group(out, "Path prefix: v1, then v2", base, "", &["/v1/hello", "/v2/hello"]);
    group(out, "Exact path: v1", base, "", &["/exact"]);
    group(out, "Header: v2, and v1 without it", base, "-H 'x-version: v2' ", &["/header"]);
    let _ = writeln!(out, "  curl -s -H 'host: {HOST}' '{base}/header'");
    group(out, "Query: v2, and v1 without it", base, "", &["/query?version=v2", "/query"]);
    group(
        out,
        "90/10 split of 20 requests: 18 v1, 2 v2, a shard apart",
        base,
        "",
        &["/split?n=[1-20]"],
    );
}

fn changes(out: &mut String, base: &str) {
    group(
        out,
        "Rewrite: the backend sees /new/page on internal.example.com",
        base,
        "",
        &["/old/page"],
    );
    group(out, "Redirect: 301 to https", base, "-i ", &["/redirect"]);
    let options = "-i -H 'x-secret: hidden' ";
    let expect = "Header changes: x-gateway set, x-secret gone, x-served-through in the answer";
    group(out, expect, base, options, &["/headers"]);
}

fn faults(out: &mut String, base: &str) {
    group(out, "No rule: 404", base, "-i ", &["/nowhere"]);
    group(out, "No endpoint: 503", base, "-i ", &["/empty"]);
    group(
        out,
        "A backend that misbehaves: its own 503, late, chunked",
        base,
        "-i ",
        &["/flaky?status=503", "/flaky?delay_ms=300", "/flaky?chunked=1"],
    );
    group(
        out,
        "Broken off before an answer, and no HTTP: 502",
        base,
        "-i ",
        &["/flaky?close=before", "/flaky?garbage=1"],
    );
}
