//! The lines of the demo to try.
//!
//! Text only. A line that is a command starts with two spaces, and works as it stands in any POSIX
//! shell that finds its tool: `curl` for all but TCP and UDP (`bash`, `dig`), and `grpcurl` beside it
//! for gRPC. What to expect stands before it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::Ports;

const HOST: &str = "app.example.com";

pub(super) fn text(
    directory: &Path,
    certificate: &Path,
    ports: &Ports,
    admin: Option<SocketAddr>,
) -> String {
    let mut out = format!(
        "\nThe configuration is in {}: edit it, and the next request obeys.\nTry:\n",
        directory.display()
    );
    let base = format!("http://127.0.0.1:{}", ports.http);
    routing(&mut out, &base);
    changes(&mut out, &base);
    versions(&mut out, &base, certificate, ports.https);
    websocket(&mut out, &base);
    grpc(&mut out, certificate, ports);
    transports(&mut out, ports);
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

fn versions(out: &mut String, base: &str, certificate: &Path, https: u16) {
    let tls = format!("--cacert {} --resolve {HOST}:{https}:127.0.0.1", certificate.display());
    let url = format!("https://{HOST}:{https}/v2/hello");
    let version = "-w 'HTTP/%{http_version}\\n'";
    let _ = write!(
        out,
        "\nHTTPS, the listener chosen by SNI, the version by ALPN: v2, over HTTP/2 and HTTP/1.1\n  \
         curl -s --http2 {version} {tls} {url}\n  \
         curl -s --http1.1 {version} {tls} {url}\n\
         \nHTTP/2 without TLS, with prior knowledge, to a backend of HTTP/1.1: v1\n  \
         curl -s --http2-prior-knowledge {version} -H 'host: {HOST}' {base}/v1/hello\n"
    );
}

fn websocket(out: &mut String, base: &str) {
    let options = "-i -N -H 'connection: upgrade' -H 'upgrade: websocket' \
                   -H 'sec-websocket-version: 13' -H 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==' ";
    let expect = "WebSocket: 101, then a frame that says hello and one that closes; without once=1 it \
                  echoes";
    group(out, expect, base, options, &["/chat?once=1"]);
}

fn grpc(out: &mut String, certificate: &Path, Ports { http, https, .. }: &Ports) {
    let certificate = certificate.display();
    let tls = format!("-cacert {certificate} -authority grpc.example.com 127.0.0.1:{https}");
    let post = format!(
        "curl -s --http2-prior-knowledge -H 'content-type: application/grpc' -H 'te: trailers' \
         --data-binary @- http://localhost:{http}"
    );
    let check = "grpc.health.v1.Health/Check";
    let _ = write!(
        out,
        "\ngRPC: two services, SERVING, the same by TLS, and an echo\n  \
         grpcurl -plaintext localhost:{http} list\n  \
         grpcurl -plaintext localhost:{http} {check}\n  \
         grpcurl {tls} {check}\n  \
         grpcurl -plaintext -d '{{\"text\":\"hello\"}}' localhost:{http} demo.Echo/Say\n\
         \ngRPC by curl alone, as bytes: 08 01 is SERVING; then the echo\n  \
         printf '\\0\\0\\0\\0\\0' | {post}/{check} | od -An -tx1\n  \
         printf '\\0\\0\\0\\0\\7\\12\\5hello' | {post}/demo.Echo/Say | od -An -c\n"
    );
}

fn transports(out: &mut String, Ports { tcp, udp, .. }: &Ports) {
    let _ = write!(
        out,
        "\nTCP, whatever it carries, to a backend that echoes: hello\n  \
         bash -c 'exec 3<>/dev/tcp/127.0.0.1/{tcp}; echo hello >&3; head -n 1 <&3'\n\
         \nUDP, to a backend that answers DNS with 192.0.2.1 and echoes all else: hello\n  \
         dig +short @127.0.0.1 -p {udp} example.com\n  \
         bash -c 'exec 3<>/dev/udp/127.0.0.1/{udp}; echo hello >&3; timeout 5 head -n 1 <&3'\n"
    );
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
