//! The PROXY protocol on real connections: from trusted peers in, to backends that want it out.
#![allow(clippy::disallowed_types, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use proxy::epoch::Settings;
use proxy::ir;
use proxy::ir::ProxyVersion;
use support::pki::{self, Authority};
use support::{GET_CLOSE, OK, Recorded, World, backends, one, read_to_end, settle};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x01\xc6\x33\x64\x07\x1f\x90\0\x50\x04\0\0";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn trusting(mut ir: ir::Ir, network: &str, prefix: u8) -> ir::Ir {
    let sources = ir::ProxySources(vec![(network.parse().unwrap(), prefix)]);
    ir.ports[0].proxy_protocol = Some(Arc::new(sources));
    ir
}

fn logging() -> Settings {
    Settings { access_log: true, ..Settings::default() }
}

/// The same port with its only listener relaying to backend `b`.
fn relaying(mut ir: ir::Ir, protocol: ir::Protocol) -> ir::Ir {
    let target = ir::Target::Backend("b".into());
    let route = ir::StreamRoute {
        name: "default/stream".into(),
        created: 0,
        backends: vec![ir::BackendRef { target, weight: 1, filters: Vec::new() }],
    };
    let port = &mut ir.ports[0];
    port.protocol = protocol;
    port.listeners[0].kind = ir::ListenerKind::Stream;
    port.listeners[0].routes.clear();
    port.listeners[0].streams =
        vec![ir::AttachedStream { hostnames: Vec::new(), route: Arc::new(route) }];
    ir
}

fn wanting(mut ir: ir::Ir, version: ProxyVersion) -> ir::Ir {
    let backend = Arc::make_mut(ir.backends.get_mut("b").unwrap());
    backend.proxy_protocol = Some(version);
    ir
}

/// Answers with all that it got, once its client has sent FIN.
fn mirror() -> Recorded {
    Recorded::start(|mut tap, _| {
        let mut all = Vec::new();
        while let Some(bytes) = tap.read() {
            all.extend(bytes);
        }
        tap.write(&all);
    })
}

/// Everything that comes back for `bytes` and a FIN.
fn answer(world: &World, bytes: &[u8]) -> (Vec<u8>, SocketAddr) {
    let mut client = world.connect();
    client.write_all(bytes).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let address = client.local_addr().unwrap();
    (all_of(&mut client), address)
}

fn all_of(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut block) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = support::read_some(stream, &mut block) {
        all.extend_from_slice(&block[..n]);
    }
    all
}

#[test]
fn the_address_in_a_trusted_peers_header_stands_for_the_client() {
    for runtime in backends() {
        for (header, client) in [(LINE, "192.0.2.1"), (BINARY, "192.0.2.1"), (LOCAL, "127.0.0.1")] {
            let backend = Recorded::always(OK);
            let ir = trusting(one(&backend), "127.0.0.0", 8);
            let mut world = World::start(runtime, &ir, logging());
            let whole = world.exchange(&[header, GET_CLOSE].concat());
            assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
            let mut split = world.connect();
            for byte in header {
                split.write_all(&[*byte]).unwrap();
            }
            split.write_all(GET_CLOSE).unwrap();
            assert!(read_to_end(&mut split).starts_with("HTTP/1.1 200"));
            drop(split);
            let field = format!("x-forwarded-for: {client}\r\n");
            assert_eq!(backend.text().matches(&field).count(), 2, "{}", backend.text());
            let log = settle(&mut world, 2);
            assert_eq!(log.matches(&format!("\"client\":\"{client}\"")).count(), 2, "{log}");
            world.stop();
        }
    }
}

#[test]
fn a_trusted_peer_without_a_well_formed_header_in_time_gets_no_answer() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let mut settings = logging();
        settings.timeouts.header = Duration::from_millis(300);
        let mut world = World::start(runtime, &trusting(one(&backend), "127.0.0.1", 32), settings);
        for sent in [GET_CLOSE, b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", b"PROXY TCP4 "] {
            let mut client = world.connect();
            client.write_all(sent).unwrap();
            assert_eq!(all_of(&mut client), b"", "{}", sent.escape_ascii());
        }
        settle(&mut world, 0);
        let of = |reason: &str| -> u64 {
            let faults = world.seen.iter().flat_map(|report| &report.activity.faults);
            faults.filter(|(code, _)| *code == reason).map(|(_, count)| count).sum()
        };
        assert_eq!((of("proxy_header"), of("header_timeout")), (2, 1));
        assert_eq!(backend.text(), "");
        world.stop();
    }
}

#[test]
fn nobody_elses_header_is_looked_at() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = trusting(one(&backend), "10.0.0.0", 8);
        let world = World::start(runtime, &ir, logging());
        assert!(world.exchange(GET_CLOSE).starts_with("HTTP/1.1 200"));
        for header in [LINE, BINARY] {
            let refused = world.exchange(&[header, GET_CLOSE].concat());
            assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
        }
        assert!(!backend.text().contains("192.0.2.1"), "{}", backend.text());
        world.stop();
    }
}

#[test]
fn the_header_stands_in_front_of_tls() {
    let ca = Authority::new("ca");
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let mut ir = trusting(one(&backend), "127.0.0.1", 32);
        ir.ports[0].protocol = ir::Protocol::Tls;
        let certificates = vec![ca.issue(&["x.example"])];
        ir.ports[0].listeners[0].tls = Some(Arc::new(ir::Tls { certificates, clients: None }));
        let world = World::start(runtime, &ir, logging());
        let config = pki::client(&ca, None, &[]);
        for in_one_segment in [false, true] {
            let mut socket = world.connect();
            let mut session = pki::connect(&config, "x.example", socket.try_clone().unwrap());
            let mut bytes = LINE.to_vec();
            if in_one_segment {
                session.conn.write_tls(&mut bytes).unwrap();
            }
            socket.write_all(&bytes).unwrap();
            let (head, _) = pki::ask(&mut session, GET_CLOSE);
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        }
        assert_eq!(backend.text().matches("x-forwarded-for: 192.0.2.1\r\n").count(), 2);
        world.stop();
    }
}

#[test]
fn a_stream_loses_the_header_and_keeps_every_byte_behind_it() {
    for runtime in backends() {
        let backend = mirror();
        let ir = trusting(relaying(one(&backend), ir::Protocol::Tcp), "127.0.0.1", 32);
        let mut world = World::start(runtime, &ir, logging());
        for header in [LINE, BINARY, LOCAL] {
            let (got, _) = answer(&world, &[header, LINE].concat());
            assert_eq!(got, LINE, "only the first one is ours");
        }
        let log = settle(&mut world, 3);
        assert_eq!(log.matches("\"client\":\"192.0.2.1\"").count(), 2, "{log}");
        world.stop();
    }
}

#[test]
fn a_backend_that_wants_it_is_told_who_connects_and_where() {
    for runtime in backends() {
        let backend = mirror();
        let plain = relaying(one(&backend), ir::Protocol::Tcp);
        let world = World::start(runtime, &wanting(plain.clone(), ProxyVersion::V1), logging());
        let (got, client) = answer(&world, b"payload");
        let line = format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
            client.port(),
            world.address.port()
        );
        assert_eq!(String::from_utf8_lossy(&got), format!("{line}payload"));
        world.stop();

        let world = World::start(runtime, &wanting(plain.clone(), ProxyVersion::V2), logging());
        let (got, client) = answer(&world, b"payload");
        let mut wanted = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
        wanted.extend(client.port().to_be_bytes());
        wanted.extend(world.address.port().to_be_bytes());
        wanted.extend(b"payload");
        assert_eq!(got, wanted);
        world.stop();

        // What a trusted peer said is passed on.
        let ir = trusting(wanting(plain, ProxyVersion::V1), "127.0.0.1", 32);
        let world = World::start(runtime, &ir, logging());
        let (got, _) = answer(&world, &[BINARY, b"payload"].concat());
        assert_eq!(
            String::from_utf8_lossy(&got),
            format!("{}payload", String::from_utf8_lossy(LINE))
        );
        world.stop();
    }
}

#[test]
fn towards_a_backend_the_header_stands_in_front_of_tls_too() {
    let ca = Authority::new("ca");
    for runtime in backends() {
        let server = pki::server(&ca.issue(&["b.example"]), None, &[]);
        let backend = Recorded::start(move |mut tap, _| {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                let mut byte = [0];
                if !matches!(support::read_some(&mut tap.stream, &mut byte), Ok(1)) {
                    return;
                }
                line.push(byte[0]);
            }
            let mut stream = pki::accept(&server, tap.stream);
            let payload = pki::read_body(&mut stream, 4);
            stream.write_all(&[&line[..10], &payload].concat()).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            // Until the client has it.
            let _ = stream.read(&mut [0]);
        });
        let mut ir = wanting(relaying(one(&backend), ir::Protocol::Tcp), ProxyVersion::V1);
        let wanted = Arc::make_mut(ir.backends.get_mut("b").unwrap());
        wanted.tls = Some(Arc::new(ca.policy("b.example")));
        let world = World::start(runtime, &ir, logging());
        let mut client = world.connect();
        client.write_all(b"ping").unwrap();
        assert_eq!(all_of(&mut client), b"PROXY TCP4ping");
        world.stop();
    }
}

#[test]
fn requests_to_a_backend_that_wants_it_never_share_a_connection() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                let line = request.split("\r\n").next().unwrap();
                tap.write(
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len())
                        .as_bytes(),
                );
            }
        });
        let mut world = World::start(runtime, &wanting(one(&backend), ProxyVersion::V1), logging());
        for _ in 0..2 {
            let mut client = world.connect();
            let port = client.local_addr().unwrap().port();
            let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}", world.address.port());
            for _ in 0..2 {
                client.write_all(support::GET).unwrap();
                assert!(support::read_until(&mut client, &line).starts_with("HTTP/1.1 200"));
            }
        }
        settle(&mut world, 4);
        assert_eq!(*backend.connections.lock().unwrap(), 4);
        assert_eq!(world.seen.iter().map(|report| report.upstream_idle).max(), Some(0));
        world.stop();
    }
}
