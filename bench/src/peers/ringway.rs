//! Ringway's side of a comparison: plain Gateway API objects in one directory.
//!
//! Called by `peers::start` and, for its frame of class, gateway and service, by `scale`.
//! Invariant: the objects use nothing that is not in the upstream API, but for the endpoint
//! annotation.

use std::fmt::Write as _;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{
    Certificate, HEADER_VALUE, HOSTS, PREFIXES, REQUEST_HEADER, RESPONSE_HEADER, SERVICES, Setup,
};
use crate::protocol::Protocol;

/// Writes the files; returns the arguments.
pub(super) fn prepare(setup: &Setup, runtime: &str) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(setup.directory.join("objects"))?;
    setup.file("objects/bench.yaml", &config(setup))?;
    let objects = setup.directory.join("objects").display().to_string();
    let mut arguments: Vec<String> =
        ["run", &objects, "--shards", "1", "--runtime", runtime, "--admin", "off"]
            .map(str::to_owned)
            .into();
    if let Some(core) = setup.core {
        arguments.extend(["--cores".to_owned(), core.to_string()]);
    }
    Ok(arguments)
}

/// All objects.
pub(super) fn config(setup: &Setup) -> String {
    let (name, protocol) = listener(setup.protocol, setup.certificate.is_some());
    let mut out = gateway(setup.port, (name, protocol), setup.certificate.as_ref());
    let mut port = "port: 80".to_owned();
    match setup.protocol {
        Protocol::Grpc => port.push_str(", appProtocol: kubernetes.io/h2c"),
        Protocol::Udp => port.push_str(", protocol: UDP"),
        Protocol::Http1 | Protocol::Http2 | Protocol::Tcp => {}
    }
    out.push_str(&service_of("up", setup.upstream, &port));
    match protocol {
        "TCP" => out.push_str(&stream_route("TCPRoute", "")),
        "UDP" => out.push_str(&stream_route("UDPRoute", "")),
        "TLS" => out.push_str(&stream_route("TLSRoute", "  hostnames: [\"*.example.com\"]\n")),
        _ => (0..HOSTS).for_each(|host| route(&mut out, host, setup.protocol)),
    }
    out
}

/// Name and protocol of the listener. HTTP/2 needs no other than HTTP/1.
fn listener(protocol: Protocol, tls: bool) -> (&'static str, &'static str) {
    match protocol {
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc if tls => ("https", "HTTPS"),
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => ("http", "HTTP"),
        Protocol::Tcp if tls => ("tls", "TLS"),
        Protocol::Tcp => ("tcp", "TCP"),
        Protocol::Udp => ("udp", "UDP"),
    }
}

/// The route of one host.
fn route(out: &mut String, host: usize, protocol: Protocol) {
    let grpc = protocol == Protocol::Grpc;
    let kind = if grpc { "GRPCRoute" } else { "HTTPRoute" };
    let matched = |prefix: &str| match grpc {
        true => format!("method: {{ service: {prefix} }}"),
        false => format!("path: {{ type: PathPrefix, value: {prefix} }}"),
    };
    let _ = write!(
        out,
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{ name: h{host}, namespace: bench }}
spec:
  parentRefs: [{{ name: bench }}]
  hostnames: [h{host}.example.com]
  rules:
"
    );
    for prefix in if grpc { SERVICES } else { PREFIXES } {
        let _ = write!(
            out,
            "  - matches: [{{ {} }}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {{ set: [{{ name: {REQUEST_HEADER}, value: {HEADER_VALUE} }}] }}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{ set: [{{ name: {RESPONSE_HEADER}, value: {HEADER_VALUE} }}] }}
    backendRefs: [{{ name: up, port: 80 }}]
",
            matched(prefix)
        );
    }
}

/// The route of everything that a listener takes. Of TLS, clients must name a host in the handshake.
fn stream_route(kind: &str, hostnames: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{ name: up, namespace: bench }}
spec:
  parentRefs: [{{ name: bench }}]
{hostnames}  rules: [{{ backendRefs: [{{ name: up, port: 80 }}] }}]
"
    )
}

/// A class, a gateway with one HTTP or HTTPS listener, and its certificate.
pub(crate) fn frame(port: u16, certificate: Option<&Certificate>) -> String {
    gateway(port, listener(Protocol::Http1, certificate.is_some()), certificate)
}

fn gateway(port: u16, (name, protocol): (&str, &str), certificate: Option<&Certificate>) -> String {
    let listener = match certificate {
        None => format!("  - {{ name: {name}, port: {port}, protocol: {protocol} }}\n"),
        Some(_) => format!(
            "  - name: {name}
    port: {port}
    protocol: {protocol}
    tls: {{ mode: Terminate, certificateRefs: [{{ name: certificate }}] }}
"
        ),
    };
    let mut out = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{ name: ringway }}
spec: {{ controllerName: ringway.dev/gateway-controller }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: bench, namespace: bench }}
spec:
  gatewayClassName: ringway
  listeners:
{listener}"
    );
    if let Some(certificate) = certificate {
        let _ = write!(
            out,
            "---
apiVersion: v1
kind: Secret
metadata: {{ name: certificate, namespace: bench }}
type: kubernetes.io/tls
data:
  tls.crt: {}
  tls.key: {}
",
            STANDARD.encode(&certificate.certificate),
            STANDARD.encode(&certificate.key)
        );
    }
    out
}

/// A service of one endpoint.
pub(crate) fn service(name: &str, endpoint: SocketAddr) -> String {
    service_of(name, endpoint, "port: 80")
}

/// The same, whose port is more than its number.
pub(crate) fn service_of(name: &str, endpoint: SocketAddr, port: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: bench
  annotations: {{ ringway.dev/endpoints: \"{endpoint}\" }}
spec:
  ports: [{{ {port} }}]
"
    )
}

/// The request header that a [`versioned_route`] sets.
pub(crate) const VERSION_TO_BACKEND: &str = "x-epoch";
/// The response header that it sets to the same value.
pub(crate) const VERSION_TO_CLIENT: &str = "x-epoch-response";

/// A route of one path that marks its requests and its responses with one version.
pub(crate) fn versioned_route(
    (name, host, path): (&str, &str, &str),
    service: &str,
    version: u64,
) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: {name}, namespace: bench }}
spec:
  parentRefs: [{{ name: bench }}]
  hostnames: [{host}]
  rules:
  - matches: [{{ path: {{ type: PathPrefix, value: {path} }} }}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {{ set: [{{ name: {VERSION_TO_BACKEND}, value: \"{version}\" }}] }}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{ set: [{{ name: {VERSION_TO_CLIENT}, value: \"{version}\" }}] }}
    backendRefs: [{{ name: {service}, port: 80 }}]
"
    )
}
