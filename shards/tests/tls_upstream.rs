//! TLS towards backends through real shards: who is trusted, what is shown, which connection is used.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use proxy::epoch::Settings;
use proxy::ir;
use rustls::ServerConfig;
use support::pki::{self, Authority};
use support::{GET, OK, Recorded, World, backends, config, read_until, rule, settle};

/// What a TLS backend saw of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    sni: Option<String>,
    alpn: Option<Vec<u8>>,
    shown: Option<Vec<u8>>,
    resumed: bool,
    requests: usize,
}

/// A TLS backend that answers every request without a body.
struct Secured {
    recorded: Recorded,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Secured {
    fn start(server: Arc<ServerConfig>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let recorded = Recorded::start(move |tap, _| {
            let mut stream = pki::accept(&server, tap.stream);
            while stream.conn.is_handshaking() {
                if stream.conn.complete_io(&mut stream.sock).is_err() {
                    return;
                }
            }
            let at = {
                let mut seen = record.lock().unwrap();
                seen.push(Seen {
                    sni: stream.conn.server_name().map(str::to_owned),
                    alpn: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
                    shown: stream.conn.peer_certificates().map(|chain| chain[0].to_vec()),
                    resumed: stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
                    requests: 0,
                });
                seen.len() - 1
            };
            while pki::read_head(&mut stream).is_some() {
                record.lock().unwrap()[at].requests += 1;
                stream.write_all(OK.as_bytes()).unwrap();
                stream.flush().unwrap();
            }
        });
        Self { recorded, seen }
    }

    fn address(&self) -> SocketAddr {
        self.recorded.address
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Everything to one backend by `policy`.
fn one(address: SocketAddr, policy: &ir::BackendTls) -> ir::Ir {
    by_path(&[("/", address, policy)], None)
}

/// Each prefix to a backend of its own by its policy; the Gateway shows `certificate`.
fn by_path(
    rows: &[(&str, SocketAddr, &ir::BackendTls)],
    certificate: Option<&ir::Certificate>,
) -> ir::Ir {
    let names: Vec<_> = (0..rows.len()).map(|n| format!("b{n}")).collect();
    let rules = rows.iter().zip(&names).map(|(row, name)| rule(row.0, &[(name, 1)])).collect();
    let ends: Vec<_> =
        rows.iter().zip(&names).map(|(row, name)| (name.as_str(), vec![row.1])).collect();
    let mut ir = config(rules, &ends);
    for ((_, _, policy), name) in rows.iter().zip(&names) {
        let backend = Arc::make_mut(ir.backends.get_mut(name.as_str()).unwrap());
        backend.tls = Some(Arc::new((*policy).clone()));
    }
    ir.ports[0].listeners[0].client_certificate = certificate.cloned().map(Arc::new);
    ir
}

fn loud() -> Settings {
    Settings { debug_header: true, access_log: true, ..Settings::default() }
}

fn get(world: &World, path: &str) -> String {
    world.exchange(
        format!("GET {path} HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n").as_bytes(),
    )
}

#[test]
fn a_backend_is_asked_by_its_name_and_http_1_is_offered() {
    let ca = Authority::new("ca");
    let certificate = ca.issue(&["b.example"]);
    for runtime in backends() {
        for alpn in [&[][..], &[&b"h2"[..], b"http/1.1"]] {
            let backend = Secured::start(pki::server(&certificate, None, alpn));
            let ir = one(backend.address(), &ca.policy("b.example"));
            let world = World::start(runtime, &ir, loud());
            for _ in 0..3 {
                assert!(get(&world, "/").ends_with("\r\n\r\nhello"));
            }
            let want = Seen {
                sni: Some("b.example".into()),
                alpn: (!alpn.is_empty()).then(|| b"http/1.1".to_vec()),
                requests: 3,
                ..Seen::default()
            };
            assert_eq!(backend.seen(), [want], "one connection for all, {runtime:?}");
            world.stop();
        }
    }
}

#[test]
fn a_backend_that_cannot_prove_itself_gets_no_request() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let good = ca.issue(&["b.example"]);
    let old = ca.issue_by(&["b.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let early = ca.issue_by(&["b.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2090, 1, 1);
    });
    let mut nobody = ca.policy("b.example");
    nobody.roots = ir::Roots::Certificates(Arc::new(Vec::new()));
    let mut machine = ca.policy("b.example");
    machine.roots = ir::Roots::System;
    let rows = [
        (pki::server(&good, None, &[]), other.policy("b.example"), "untrusted"),
        (pki::server(&good, None, &[]), nobody, "untrusted"),
        (pki::server(&good, None, &[]), machine, "untrusted"),
        (pki::server(&good, None, &[]), ca.policy("c.example"), "wrong_name"),
        (pki::server(&old, None, &[]), ca.policy("b.example"), "expired"),
        (pki::server(&early, None, &[]), ca.policy("b.example"), "not_yet_valid"),
        (pki::server(&good, None, &[b"h2"]), ca.policy("b.example"), "no_alpn"),
        (pki::server(&good, None, &[]), ca.policy("not a name"), "settings"),
    ];
    for runtime in backends() {
        for (server, policy, detail) in &rows {
            let backend = Secured::start(server.clone());
            let mut world = World::start(runtime, &one(backend.address(), policy), loud());
            let answer = get(&world, "/");
            assert!(answer.starts_with("HTTP/1.1 502 "), "{detail}: {answer}");
            assert!(answer.contains("\r\nx-ringway-reason: upstream_tls\r\n"), "{answer}");
            let log = settle(&mut world, 1);
            let want = format!("\"reason\":\"upstream_tls\",\"detail\":\"{detail}\"");
            assert!(log.contains(&want), "{log}");
            assert!(backend.seen().iter().all(|seen| seen.requests == 0), "{detail}");
            world.stop();
        }
    }
}

#[test]
fn a_backend_without_tls_is_told_apart() {
    let ca = Authority::new("ca");
    let rows: [(Recorded, &str); 2] = [
        (
            Recorded::start(|mut tap, _| {
                tap.read();
                tap.write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }),
            "not_tls",
        ),
        (
            Recorded::start(|mut tap, _| {
                tap.read();
            }),
            "closed",
        ),
    ];
    for runtime in backends() {
        for (backend, detail) in &rows {
            let ir = one(backend.address, &ca.policy("b.example"));
            let mut world = World::start(runtime, &ir, loud());
            assert!(get(&world, "/").starts_with("HTTP/1.1 502 "));
            let log = settle(&mut world, 1);
            assert!(log.contains(&format!("\"detail\":\"{detail}\"")), "{log}");
            world.stop();
        }
    }
}

#[test]
fn the_gateway_shows_its_certificate_to_backends_that_ask() {
    let (ca, clients) = (Authority::new("ca"), Authority::new("clients"));
    let server = pki::server(&ca.issue(&["b.example"]), Some(&clients), &[]);
    let ours = clients.issue(&["gateway.example"]);
    for runtime in backends() {
        let backend = Secured::start(server.clone());
        let policy = ca.policy("b.example");
        let rows = [("/", backend.address(), &policy)];
        let mut world = World::start(runtime, &by_path(&rows, Some(&ours)), loud());
        assert!(get(&world, "/").ends_with("\r\n\r\nhello"));
        assert_eq!(backend.seen()[0].shown.as_ref(), Some(&ours.chain[0]));
        // Without it the backend refuses, at the latest when the request is out.
        let mut ir = by_path(&rows, None);
        ir.ports[0].port = world.address.port();
        world.follow(&ir, loud());
        assert!(get(&world, "/").starts_with("HTTP/1.1 502 "));
        assert_eq!(backend.seen().iter().map(|seen| seen.requests).sum::<usize>(), 1);
        world.stop();
    }
}

#[test]
fn only_connections_of_one_identity_stand_in_for_each_other() {
    let ca = Authority::new("ca");
    let server = pki::server(&ca.issue(&["b.example", "c.example"]), None, &[]);
    for runtime in backends() {
        let backend = Secured::start(server.clone());
        let address = backend.address();
        let (b, same, c) = (ca.policy("b.example"), ca.policy("b.example"), ca.policy("c.example"));
        let rows = [("/b", address, &b), ("/same", address, &same), ("/c", address, &c)];
        let world = World::start(runtime, &by_path(&rows, None), loud());
        for path in ["/b", "/same", "/c", "/b", "/c"] {
            assert!(get(&world, path).ends_with("\r\n\r\nhello"), "{path}");
        }
        let seen: Vec<_> =
            backend.seen().into_iter().map(|seen| (seen.sni.unwrap(), seen.requests)).collect();
        assert_eq!(seen, [("b.example".to_owned(), 3), ("c.example".to_owned(), 2)]);
        world.stop();
    }
}

#[test]
fn connections_live_on_until_their_identity_changes() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let server = pki::server(&ca.issue(&["b.example"]), None, &[]);
    for runtime in backends() {
        let backend = Secured::start(server.clone());
        let address = backend.address();
        let mut ir = one(address, &ca.policy("b.example"));
        let mut world = World::start(runtime, &ir, loud());
        ir.ports[0].port = world.address.port();
        assert!(get(&world, "/").ends_with("hello"));
        let same = |world: &World, policy: &ir::BackendTls| {
            let mut ir = one(address, policy);
            ir.ports[0].port = world.address.port();
            ir
        };
        // An equal policy, read anew.
        let next = same(&world, &ca.policy("b.example"));
        world.follow(&next, loud());
        assert!(get(&world, "/").ends_with("hello"));
        assert_eq!(backend.seen().len(), 1, "the connection was kept");
        // Another trust: what the old one vouched for is of no use.
        let next = same(&world, &other.policy("b.example"));
        world.follow(&next, loud());
        assert!(get(&world, "/").starts_with("HTTP/1.1 502 "));
        let idle = world.wait_for(|report| report.upstream_idle == 0);
        assert_eq!(idle.upstream_idle, 0);
        // Back again: a new connection, and a session of the old identity is not resumed.
        let next = same(&world, &ca.policy("b.example"));
        world.follow(&next, loud());
        assert!(get(&world, "/").ends_with("hello"));
        let last = backend.seen().pop().unwrap();
        assert_eq!((last.requests, last.resumed), (1, false));
        world.stop();
    }
}

#[test]
fn a_second_connection_of_one_identity_resumes() {
    let ca = Authority::new("ca");
    let server = pki::server(&ca.issue(&["b.example"]), None, &[]);
    for runtime in backends() {
        let backend = Recorded::start({
            let server = server.clone();
            move |tap, number| {
                let mut stream = pki::accept(&server, tap.stream);
                let Some(_) = pki::read_head(&mut stream) else { return };
                let resumed = stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                assert_eq!(resumed, number > 0, "connection {number}");
                let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{resumed}");
                stream.write_all(answer.as_bytes()).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        });
        let ir = one(backend.address, &ca.policy("b.example"));
        let world = World::start(runtime, &ir, loud());
        assert!(get(&world, "/").contains("\r\n\r\n5\r\nfalse\r\n"));
        assert!(get(&world, "/").contains("\r\n\r\n4\r\ntrue\r\n"));
        world.stop();
    }
}

#[test]
fn rfc9112_9_8_a_body_that_only_a_close_ends_is_whole_only_behind_a_close_notify() {
    let ca = Authority::new("ca");
    let server = pki::server(&ca.issue(&["b.example"]), None, &[]);
    for runtime in backends() {
        let backend = Recorded::start({
            let server = server.clone();
            move |tap, _| {
                let mut stream = pki::accept(&server, tap.stream);
                let Some(head) = pki::read_head(&mut stream) else { return };
                let length =
                    if head.starts_with("GET /length") { "content-length: 4\r\n" } else { "" };
                let answer = format!("HTTP/1.1 200 OK\r\n{length}connection: close\r\n\r\nhalf");
                stream.write_all(answer.as_bytes()).unwrap();
                if head.starts_with("GET /said") {
                    stream.conn.send_close_notify();
                }
                stream.flush().unwrap();
            }
        });
        let ir = one(backend.address, &ca.policy("b.example"));
        let mut world = World::start(runtime, &ir, loud());
        assert!(get(&world, "/said").ends_with("4\r\nhalf\r\n0\r\n\r\n"), "{runtime:?}");
        assert!(get(&world, "/length").ends_with("\r\n\r\nhalf"), "{runtime:?}");
        let cut = get(&world, "/cut");
        assert!(cut.ends_with("4\r\nhalf\r\n<RST>"), "{runtime:?} {cut}");
        let log = settle(&mut world, 3);
        assert_eq!(log.matches("upstream_truncated").count(), 1, "{log}");
        world.stop();
    }
}

#[test]
fn large_bodies_travel_whole_in_both_directions() {
    let ca = Authority::new("ca");
    let server = pki::server(&ca.issue(&["b.example"]), None, &[]);
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for runtime in backends() {
        let backend = Recorded::start({
            let server = server.clone();
            move |tap, _| {
                let mut stream = pki::accept(&server, tap.stream);
                while let Some(head) = pki::read_head(&mut stream) {
                    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
                    let body = pki::read_body(&mut stream, length.unwrap().parse().unwrap());
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all(head.as_bytes()).unwrap();
                    stream.write_all(&body).unwrap();
                    stream.flush().unwrap();
                }
            }
        });
        let ir = one(backend.address, &ca.policy("b.example"));
        let world = World::start(runtime, &ir, loud());
        let mut client = world.connect();
        for length in [0, 1, 16_384, 100_000, body.len()] {
            let head = format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            // The backend answers once it has all of it.
            client.write_all(&body[..length]).unwrap();
            assert!(pki::read_head(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
            assert!(pki::read_body(&mut client, length) == body[..length], "{length}");
        }
        assert_eq!(*backend.connections.lock().unwrap(), 1);
        world.stop();
    }
}

#[test]
fn a_tunnel_runs_over_tls_and_half_closes() {
    let ca = Authority::new("ca");
    let server = pki::server(&ca.issue(&["b.example"]), None, &[]);
    for runtime in backends() {
        let backend = Recorded::start({
            let server = server.clone();
            move |tap, _| {
                let mut stream = pki::accept(&server, tap.stream);
                pki::read_head(&mut stream).unwrap();
                let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi";
                stream.write_all(switch.as_bytes()).unwrap();
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).unwrap();
                stream.write_all(&heard).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        });
        let ir = one(backend.address, &ca.policy("b.example"));
        let world = World::start(runtime, &ir, loud());
        let mut client = world.connect();
        client
            .write_all(
                b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            )
            .unwrap();
        read_until(&mut client, "\r\n\r\nhi");
        client.write_all(b"echo").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(support::read_to_end(&mut client), "echo");
        world.stop();
    }
}

#[test]
fn a_mirror_by_tls_gets_its_copies() {
    let ca = Authority::new("ca");
    let server = pki::server(&ca.issue(&["b.example"]), None, &[]);
    for runtime in backends() {
        let (backend, mirror) = (Recorded::always(OK), Secured::start(server.clone()));
        let mut rule = rule("/", &[("b", 1)]);
        let target = ir::Target::Backend("m".into());
        rule.filters =
            vec![ir::Filter::RequestMirror(ir::Mirror { target, numerator: 1, denominator: 1 })];
        let ends = [("b", vec![backend.address]), ("m", vec![mirror.address()])];
        let mut ir = config(vec![rule], &ends);
        Arc::make_mut(ir.backends.get_mut("m").unwrap()).tls =
            Some(Arc::new(ca.policy("b.example")));
        let mut world = World::start(runtime, &ir, loud());
        let mut client = world.connect();
        client.write_all(GET).unwrap();
        read_until(&mut client, "hello");
        let delivered = shards::report::MirrorEnd::Delivered as usize;
        while world.seen.iter().map(|report| report.activity.mirrors[delivered]).sum::<u64>() < 1 {
            let next = world.wait_for(|_| true);
            world.seen.push(next);
        }
        assert_eq!(mirror.seen()[0].requests, 1);
        world.stop();
    }
}
