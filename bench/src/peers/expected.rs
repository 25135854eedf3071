//! The test that compares generated configurations with those in `expected/`.
//!
//! `UPDATE=1 cargo test -p bench peers` rewrites the files: read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn setup(protocol: Protocol, tls: bool) -> Setup {
    Setup {
        directory: PathBuf::from("/tmp/DIR"),
        protocol,
        port: 8080,
        upstream: "127.0.0.1:9000".parse().unwrap(),
        certificate: tls
            .then(|| Certificate { certificate: "CERT\n".to_owned(), key: "KEY\n".to_owned() }),
        core: Some(0),
        ringway: PathBuf::from("ringway"),
    }
}

fn same(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/peers/expected").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{name} differs:\n{found}");
}

/// The file of a gateway, by protocol and TLS. Some files serve two protocols: the gateways tell
/// HTTP/2 from HTTP/1 by its first bytes, or offer both by ALPN.
fn name(kind: Kind, protocol: Protocol, tls: bool) -> String {
    let by_itself = match kind {
        Kind::Ringway | Kind::RingwayEpoll => true,
        Kind::Haproxy | Kind::Envoy => !tls,
        Kind::Nginx => false,
    };
    let protocol = match protocol {
        Protocol::Http1 => "",
        Protocol::Http2 if by_itself => "",
        Protocol::Http2 => "-h2",
        Protocol::Grpc => "-grpc",
        Protocol::Tcp => "-tcp",
        Protocol::Udp => "-udp",
    };
    let tls = if tls { "-tls" } else { "" };
    let (program, ending) = match kind {
        Kind::Ringway | Kind::RingwayEpoll => ("ringway", "yaml"),
        Kind::Haproxy => ("haproxy", "cfg"),
        Kind::Nginx => ("nginx", "conf"),
        Kind::Envoy => ("envoy", "yaml"),
    };
    format!("{program}{protocol}{tls}.{ending}")
}

fn generated(kind: Kind, setup: &Setup) -> String {
    match kind {
        Kind::Ringway | Kind::RingwayEpoll => ringway::config(setup),
        Kind::Haproxy => haproxy::config(setup),
        Kind::Nginx => nginx::config(setup),
        Kind::Envoy => envoy::config(setup),
    }
}

#[test]
fn the_generated_configurations_are_these() {
    for kind in [Kind::Haproxy, Kind::Nginx, Kind::Envoy, Kind::Ringway] {
        for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Grpc, Protocol::Tcp] {
            for tls in [false, true] {
                same(&name(kind, protocol, tls), &generated(kind, &setup(protocol, tls)));
            }
        }
        if kind != Kind::Haproxy {
            same(&name(kind, Protocol::Udp, false), &generated(kind, &setup(Protocol::Udp, false)));
        }
    }
    same("haproxy.map", &haproxy::map(Protocol::Http1));
    same("haproxy-grpc.map", &haproxy::map(Protocol::Grpc));
}
