//! The interoperability tests of gRPC: grpc-go's client through the real binary to grpc-go's server.
//!
//! Started by the script `peers` beside this file, which builds both.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::net::TcpStream;
use std::process::{Child, Stdio};

use e2e_support::gateway::Gateway;
use e2e_support::peer;
use e2e_support::{
    Dir, certificate, each_runtime, free_port, gateway_yaml, http_listener, https_listener,
    service_yaml, wait_for,
};

/// Every test case that a server without accounts can pass.
const CASES: [&str; 15] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
];

const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: interop, namespace: default }
spec:
  parentRefs: [{ name: web }]
  rules: [{ backendRefs: [{ name: interop, port: 80 }] }]
---
";

/// grpc-go's server, ended with its test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port = free_port();
        let child = peer::command("grpc-server")
            .arg(format!("--port={port}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        wait_for("the server", || TcpStream::connect(("127.0.0.1", port)).ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs grpc-go: control/tests/peers"]
fn every_case_passes_over_plain_tcp_and_over_tls() {
    each_runtime(|runtime| {
        let (dir, tls, plain) = (Dir::new(), free_port(), free_port());
        let server = Server::start();
        let (secret, pem) = certificate("tls", "interop.test");
        let listeners =
            https_listener("https", tls, "interop.test", "tls") + &http_listener("http", plain);
        let endpoint = format!("127.0.0.1:{}", server.port);
        let text = gateway_yaml(&listeners) + ROUTE + &service_yaml("interop", &endpoint) + &secret;
        dir.write("all.yaml", &text);
        let authority = dir.write("ca.pem", &pem);
        let gateway = Gateway::start(runtime, &dir.join("all.yaml"), &[]);
        let tls = [
            format!("--server_port={tls}"),
            "--use_tls".to_owned(),
            "--use_test_ca".to_owned(),
            format!("--ca_file={}", authority.display()),
            "--server_host_override=interop.test".to_owned(),
        ];
        for arguments in [&[format!("--server_port={plain}")][..], &tls] {
            for case in CASES {
                let output = peer::command("grpc-client")
                    .args(["--server_host=127.0.0.1", &format!("--test_case={case}")])
                    .args(["--soak_iterations=50"])
                    .args(arguments)
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{case} {arguments:?}: {said}\n{}", gateway.log());
                eprintln!("{case} {}: passed", arguments[0]);
            }
        }
    });
}
