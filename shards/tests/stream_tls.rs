//! TLSRoute: sessions passed through or ended here, beside HTTPS on one port, through real shards.
#![allow(clippy::disallowed_types, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use proxy::epoch::Settings;
use proxy::ir;
use rustls::{ClientConfig, ClientConnection, ServerConfig};
use support::pki::{self, Authority};
use support::{GET_CLOSE, OK, Recorded, World, backends, config, read_some, rule, settle};

/// Who vouches for the gateway, and who for backends.
struct Trust {
    gateway: Authority,
    backend: Authority,
}

impl Trust {
    fn new() -> Self {
        Self { gateway: Authority::new("gateway"), backend: Authority::new("backend") }
    }
}

fn hostname(text: &str) -> ir::Hostname {
    match text.strip_prefix("*.") {
        Some(suffix) => ir::Hostname::Wildcard(suffix.into()),
        None => ir::Hostname::Exact(text.into()),
    }
}

fn stream(hostnames: &[&str], backend: &str) -> ir::AttachedStream {
    let target = ir::Target::Backend(backend.into());
    let route = ir::StreamRoute {
        name: format!("default/{backend}").into(),
        created: 0,
        backends: vec![ir::BackendRef { target, weight: 1, filters: Vec::new() }],
    };
    ir::AttachedStream {
        hostnames: hostnames.iter().map(|name| hostname(name)).collect(),
        route: Arc::new(route),
    }
}

fn listener(
    host: &str,
    tls: Option<ir::Certificate>,
    streams: Vec<ir::AttachedStream>,
) -> ir::Listener {
    let certificates = |certificate| ir::Tls { certificates: vec![certificate], clients: None };
    ir::Listener {
        name: format!("default/gateway/{host}").into(),
        port: 443,
        kind: ir::ListenerKind::Stream,
        hostname: Some(hostname(host)),
        tls: tls.map(certificates).map(Arc::new),
        streams,
        ..ir::Listener::default()
    }
}

/// One TLS port: `web.example` is HTTPS to `web`; `*.end.example` ends here and goes to `end`;
/// `*.pass.example` passes through, `one.pass.example` to `one` and the rest but `x.y.pass.example`
/// to `rest`.
fn mixed(trust: &Trust, ends: &[(&str, SocketAddr)]) -> ir::Ir {
    let all: Vec<_> = ends.iter().map(|(name, address)| (*name, vec![*address])).collect();
    let mut ir = config(vec![rule("/", &[("web", 1)])], &all);
    let port = &mut ir.ports[0];
    port.protocol = ir::Protocol::Tls;
    let web = &mut port.listeners[0];
    web.hostname = Some(hostname("web.example"));
    let certificates = vec![trust.gateway.issue(&["web.example"])];
    web.tls = Some(Arc::new(ir::Tls { certificates, clients: None }));
    port.listeners.push(listener(
        "*.end.example",
        Some(trust.gateway.issue(&["*.end.example"])),
        vec![stream(&[], "end")],
    ));
    port.listeners.push(listener(
        "*.pass.example",
        None,
        vec![
            stream(&["one.pass.example"], "one"),
            stream(&["two.pass.example", "*.deep.pass.example"], "rest"),
        ],
    ));
    ir
}

fn logging() -> Settings {
    Settings { access_log: true, ..Settings::default() }
}

/// Sends back what it gets.
fn echo() -> Recorded {
    Recorded::start(|mut tap, _| {
        while let Some(bytes) = tap.read() {
            tap.write(&bytes);
        }
    })
}

/// Over TLS: sends back what it gets, behind its name.
fn tls_echo(server: Arc<ServerConfig>, name: &'static str) -> Recorded {
    Recorded::start(move |tap, _| {
        let mut stream = pki::accept(&server, tap.stream);
        let mut block = [0; 65536];
        while let Ok(n @ 1..) = stream.read(&mut block) {
            stream.write_all(name.as_bytes()).unwrap();
            stream.write_all(&block[..n]).unwrap();
            stream.flush().unwrap();
        }
    })
}

fn expect(stream: &mut impl Read, wanted: &str) {
    let got = pki::read_body(stream, wanted.len());
    assert_eq!(String::from_utf8_lossy(&got), wanted);
}

/// The ClientHello of `config` for `name`.
fn hello(config: &Arc<ClientConfig>, name: &str) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(config.clone(), name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// All bytes until the close, and how it ended.
fn drain(stream: &mut TcpStream) -> (Vec<u8>, &'static str) {
    let (mut bytes, mut block) = (Vec::new(), [0; 4096]);
    loop {
        match read_some(stream, &mut block) {
            Ok(0) => return (bytes, "FIN"),
            Ok(n) => bytes.extend_from_slice(&block[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return (bytes, "RST");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

#[test]
fn sni_chooses_between_https_ending_here_and_passing_through_on_one_port() {
    let trust = Trust::new();
    let end = |name: &'static str| {
        let names = ["one.pass.example", "two.pass.example", "x.deep.pass.example"];
        tls_echo(pki::server(&trust.backend.issue(&names), None, &[]), name)
    };
    for runtime in backends() {
        let (web, plain, one, rest) = (Recorded::always(OK), echo(), end("one:"), end("rest:"));
        let ends = [
            ("web", web.address),
            ("end", plain.address),
            ("one", one.address),
            ("rest", rest.address),
        ];
        let mut world = World::start(runtime, &mixed(&trust, &ends), logging());
        let (ours, theirs) =
            (pki::client(&trust.gateway, None, &[]), pki::client(&trust.backend, None, &[]));

        let mut https = pki::connect(&ours, "web.example", world.connect());
        let request = String::from_utf8_lossy(GET_CLOSE).replace("x.example", "web.example");
        let (head, body) = pki::ask(&mut https, request.as_bytes());
        assert!(head.starts_with("HTTP/1.1 200") && body == b"hello", "{head}");

        let mut ended = pki::connect(&ours, "a.end.example", world.connect());
        ended.write_all(b"not http").unwrap();
        expect(&mut ended, "not http");
        ended.write_all(b" at all").unwrap();
        expect(&mut ended, " at all");

        for (name, answer) in [
            ("one.pass.example", "one:hi"),
            ("two.pass.example", "rest:hi"),
            ("x.deep.pass.example", "rest:hi"),
            ("ONE.pass.example", "one:hi"),
        ] {
            // Its certificate is the backend's: nobody ended TLS in between.
            let mut passed = pki::connect(&theirs, name, world.connect());
            passed.write_all(b"hi").unwrap();
            expect(&mut passed, answer);
        }
        assert_eq!(plain.text(), "not http at all");
        drop((https, ended));
        let log = settle(&mut world, 6);
        assert_eq!(log.matches("\"stream\":\"tls_passthrough\"").count(), 4, "{log}");
        assert_eq!(log.matches("\"stream\":\"tls_terminated\"").count(), 1, "{log}");
        assert!(log.contains("\"sni\":\"a.end.example\",\"reason\":\"-\""), "{log}");
        world.stop();
    }
}

#[test]
fn a_client_hello_may_come_in_any_number_of_segments_and_records() {
    let trust = Trust::new();
    for runtime in backends() {
        let server = pki::server(&trust.backend.issue(&["one.pass.example"]), None, &[]);
        let one = tls_echo(server, "");
        let world = World::start(runtime, &mixed(&trust, &[("one", one.address)]), logging());
        let mut client = ClientConfig::clone(&pki::client(&trust.backend, None, &[]));
        client.max_fragment_size = Some(64);
        let client = Arc::new(client);
        let mut records = pki::connect(&client, "one.pass.example", world.connect());
        records.write_all(b"ping").unwrap();
        expect(&mut records, "ping");

        let mut socket = world.connect();
        let name = rustls::pki_types::ServerName::try_from("one.pass.example").unwrap();
        let mut session = ClientConnection::new(client, name).unwrap();
        let mut greeting = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut greeting).unwrap();
        }
        for byte in greeting {
            socket.write_all(&[byte]).unwrap();
        }
        let mut bytes = rustls::StreamOwned::new(session, socket);
        bytes.write_all(b"pong").unwrap();
        expect(&mut bytes, "pong");
        world.stop();
    }
}

#[test]
fn a_passed_session_reaches_the_backend_byte_for_byte_and_with_its_ends() {
    let trust = Trust::new();
    for runtime in backends() {
        let raw = Recorded::start(|mut tap, _| {
            while tap.read().is_some() {}
            tap.write(b"late");
        });
        let world = World::start(runtime, &mixed(&trust, &[("one", raw.address)]), logging());
        let mut sent = hello(&pki::client(&trust.backend, None, &[]), "one.pass.example");
        // What comes behind the ClientHello in the same segment is not ours to judge.
        sent.extend_from_slice(b"\x17\x03\x03\xff\xff nonsense");
        let mut client = world.connect();
        client.write_all(&sent).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(drain(&mut client), (b"late".to_vec(), "FIN"));
        assert_eq!(*raw.bytes.lock().unwrap(), sent);
        world.stop();
    }
}

#[test]
fn a_name_that_no_listener_claims_gets_an_alert_and_one_that_no_route_takes_a_reset() {
    let trust = Trust::new();
    let client = pki::client(&trust.backend, None, &[]);
    let mut silent = ClientConfig::clone(&client);
    silent.enable_sni = false;
    let silent = Arc::new(silent);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for runtime in backends() {
        let mut world = World::start(runtime, &mixed(&trust, &[("one", nobody)]), logging());
        for (client, name, wanted) in [
            (&client, "else.example", (UNRECOGNIZED_NAME.to_vec(), "FIN")),
            (&silent, "one.pass.example", (UNRECOGNIZED_NAME.to_vec(), "FIN")),
            (&client, "other.pass.example", (Vec::new(), "RST")),
            (&client, "one.pass.example", (Vec::new(), "RST")),
        ] {
            let mut socket = world.connect();
            socket.write_all(&hello(client, name)).unwrap();
            assert_eq!(drain(&mut socket), wanted, "{name}");
        }
        let log = settle(&mut world, 2);
        assert!(log.contains("\"sni\":\"other.pass.example\",\"reason\":\"no_route\""), "{log}");
        assert!(log.contains("\"reason\":\"connect_failed\""), "{log}");
        world.stop();
    }
}

#[test]
fn a_client_hello_that_is_oversized_or_never_whole_ends_the_connection() {
    let trust = Trust::new();
    for runtime in backends() {
        let mut settings = logging();
        settings.timeouts.tls_handshake = Duration::from_millis(300);
        let world = World::start(runtime, &mixed(&trust, &[]), settings);
        let whole = hello(&pki::client(&trust.backend, None, &[]), "one.pass.example");
        let mut partial = world.connect();
        partial.write_all(&whole[..whole.len() - 1]).unwrap();
        assert_eq!(drain(&mut partial), (Vec::new(), "FIN"));

        // A handshake message of 16 MiB, and as much of it as is taken.
        let mut endless = world.connect();
        endless.write_all(&[22, 3, 1, 0, 4, 1, 255, 255, 255]).unwrap();
        let mut record = vec![22, 3, 1, 0x40, 0];
        record.resize(5 + 0x4000, 0);
        let mut taken = 0;
        while taken < 1 << 24 && endless.write_all(&record).is_ok() {
            taken += record.len();
        }
        assert!(taken < 1 << 24, "all of it was taken");
        world.stop();
    }
}

#[test]
fn a_session_that_ends_here_goes_on_by_tls_where_the_backend_wants_it() {
    let trust = Trust::new();
    for runtime in backends() {
        let server = pki::server(&trust.backend.issue(&["b.example"]), None, &[]);
        let end = tls_echo(server, "tls:");
        let mut ir = mixed(&trust, &[("end", end.address)]);
        let backend = Arc::make_mut(ir.backends.get_mut("end").unwrap());
        backend.tls = Some(Arc::new(trust.backend.policy("b.example")));
        let world = World::start(runtime, &ir, logging());
        let ours = pki::client(&trust.gateway, None, &[]);
        let mut client = pki::connect(&ours, "a.end.example", world.connect());
        client.write_all(b"hi").unwrap();
        expect(&mut client, "tls:hi");
        world.stop();
    }
}

#[test]
fn a_half_close_inside_of_a_session_is_passed_on() {
    let trust = Trust::new();
    for runtime in backends() {
        let end = Recorded::start(|mut tap, _| {
            while tap.read().is_some() {}
            tap.write(b"bye");
        });
        let world = World::start(runtime, &mixed(&trust, &[("end", end.address)]), logging());
        let ours = pki::client(&trust.gateway, None, &[]);
        let mut client = pki::connect(&ours, "a.end.example", world.connect());
        client.write_all(b"all of it").unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        expect(&mut client, "bye");
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "close_notify, not a cut");
        assert_eq!(end.text(), "all of it");
        world.stop();
    }
}
