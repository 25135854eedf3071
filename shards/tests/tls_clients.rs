//! TLS of clients through real shards: certificates on both sides, changes under traffic, and what
//! is not TLS.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxy::epoch::Settings;
use proxy::ir;
use rustls::{AlertDescription, ClientConfig};
use support::pki::{self, Authority};
use support::{GET, OK, Recorded, World, backends, one, read_to_end};

const HTTP_1: &[&[u8]] = &[b"http/1.1"];

/// Everything by TLS to `backend`.
fn by_tls(
    backend: &Recorded,
    certificates: &[&ir::Certificate],
    clients: Option<ir::ClientValidation>,
) -> ir::Ir {
    let mut ir = one(backend);
    let certificates = certificates.iter().map(|certificate| (*certificate).clone()).collect();
    ir.ports[0].protocol = ir::Protocol::Tls;
    ir.ports[0].listeners[0].tls = Some(Arc::new(ir::Tls { certificates, clients }));
    ir
}

fn trusting(authorities: &[&Authority], is_optional: bool) -> Option<ir::ClientValidation> {
    let roots = Arc::new(authorities.iter().map(|authority| authority.der()).collect());
    Some(ir::ClientValidation { roots, is_optional })
}

/// One request on a connection of its own; an error is what TLS or the kernel said.
fn ask(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<String> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = pki::connect(config, "a.example", stream);
    stream.write_all(GET)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut block = [0; 1024];
        match stream.read(&mut block) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => answer.extend_from_slice(&block[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The alert that ended a connection.
fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[test]
fn only_clients_with_a_trusted_certificate_are_served_and_a_new_trust_counts_at_once() {
    let (ca, ours, theirs) =
        (Authority::new("ca"), Authority::new("ours"), Authority::new("theirs"));
    let certificate = ca.issue(&["a.example"]);
    let (friend, stranger) = (ours.issue(&["friend"]), theirs.issue(&["stranger"]));
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = by_tls(&backend, &[&certificate], trusting(&[&ours], false));
        let mut world = World::start(runtime, &ir, Settings::default());
        let port = world.address.port();
        let with = |card| pki::client(&ca, card, HTTP_1);
        let (friend, stranger, nobody) = (with(Some(&friend)), with(Some(&stranger)), with(None));
        let refusal = |config| alert(&ask(world.address, config).unwrap_err());
        assert!(ask(world.address, &friend).is_ok());
        assert_eq!(refusal(&stranger), Some(AlertDescription::UnknownCA));
        assert_eq!(refusal(&nobody), Some(AlertDescription::CertificateRequired));
        let mut follow = |clients| {
            let mut ir = by_tls(&backend, &[&certificate], clients);
            ir.ports[0].port = port;
            world.follow(&ir, Settings::default());
            world.address
        };
        // The authority is exchanged: the friend's session of before is of no use.
        let address = follow(trusting(&[&theirs], false));
        assert!(ask(address, &stranger).is_ok());
        let error = ask(address, &friend).unwrap_err();
        assert_eq!(alert(&error), Some(AlertDescription::UnknownCA), "{error}");
        // Everyone may come.
        let address = follow(trusting(&[&theirs], true));
        for config in [&friend, &stranger, &nobody] {
            assert!(ask(address, config).is_ok());
        }
        // No authority is left: nobody may.
        let address = follow(trusting(&[], false));
        for config in [&friend, &stranger, &nobody] {
            assert!(ask(address, config).is_err());
        }
        // Nothing is asked any more.
        let address = follow(None);
        for config in [&friend, &stranger, &nobody] {
            assert!(ask(address, config).is_ok());
        }
        world.stop();
    }
}

#[test]
fn certificates_change_under_traffic_without_a_failed_request() {
    let ca = Authority::new("ca");
    let certificates: Vec<_> = (0..2).map(|_| ca.issue(&["a.example"])).collect();
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = by_tls(&backend, &[&certificates[0]], None);
        let mut world = World::start(runtime, &ir, Settings::default());
        let (address, stop) = (world.address, Arc::new(AtomicBool::new(false)));
        let served = Arc::new(AtomicUsize::new(0));
        let askers: Vec<_> = (0..2)
            .map(|_| {
                let config = pki::client(&ca, None, HTTP_1);
                let (stop, served) = (stop.clone(), served.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        ask(address, &config).expect("every request is served");
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for n in 1..=30 {
            let mut ir = by_tls(&backend, &[&certificates[n % 2]], None);
            ir.ports[0].port = address.port();
            world.follow(&ir, Settings::default());
            // Each of them sees some requests.
            let before = served.load(Ordering::Relaxed);
            let limit = Instant::now() + Duration::from_secs(10);
            while served.load(Ordering::Relaxed) < before + 2 {
                assert!(Instant::now() < limit && !askers.iter().any(|asker| asker.is_finished()));
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for asker in askers {
            asker.join().unwrap();
        }
        world.stop();
    }
}

#[test]
fn what_is_not_tls_is_closed_and_plain_http_is_told_so() {
    let ca = Authority::new("ca");
    let certificate = ca.issue(&["a.example"]);
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world =
            World::start(runtime, &by_tls(&backend, &[&certificate], None), Settings::default());
        let answer = world.exchange(GET);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        for garbage in
            [&b"\x00\x01\x02"[..], b"SSH-2.0-x\r\n", b"\x16\x02", b"\x17\x03\x03\x00\x01x"]
        {
            let answer = world.exchange(garbage);
            let refused = answer.is_empty()
                || answer.starts_with("HTTP/1.1 400 ")
                || answer.starts_with('\u{15}')
                || answer == "<RST>";
            assert!(refused, "{garbage:?} got {answer:?}");
        }
        assert_eq!(backend.text(), "");
        world.stop();
    }
}

#[test]
fn tls_on_a_plain_port_is_refused_by_a_plain_answer() {
    let ca = Authority::new("ca");
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world = World::start(runtime, &one(&backend), Settings::default());
        let config = pki::client(&ca, None, HTTP_1);
        let mut hello = Vec::new();
        let name = "a.example".try_into().unwrap();
        rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
        let mut stream = world.connect();
        stream.write_all(&hello).unwrap();
        let answer = read_to_end(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(backend.text(), "");
        world.stop();
    }
}

#[test]
fn a_client_hello_may_arrive_byte_by_byte_and_in_many_records() {
    let ca = Authority::new("ca");
    let certificate = ca.issue(&["a.example"]);
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world =
            World::start(runtime, &by_tls(&backend, &[&certificate], None), Settings::default());
        for records in [false, true] {
            let mut stream =
                pki::connect(&pki::client(&ca, None, HTTP_1), "a.example", world.connect());
            let mut hello = Vec::new();
            stream.conn.write_tls(&mut hello).unwrap();
            let mut bytes = Vec::new();
            if records {
                for part in hello[5..].chunks(40) {
                    bytes.extend_from_slice(&hello[..3]);
                    bytes.extend_from_slice(&(part.len() as u16).to_be_bytes());
                    bytes.extend_from_slice(part);
                }
            } else {
                bytes = hello;
            }
            for byte in bytes {
                stream.sock.write_all(&[byte]).unwrap();
            }
            let (head, body) = pki::ask(&mut stream, GET);
            assert!(head.starts_with("HTTP/1.1 200 ") && body == b"hello", "{head}");
        }
        world.stop();
    }
}

#[test]
fn a_damaged_record_is_answered_by_its_alert() {
    let ca = Authority::new("ca");
    let certificate = ca.issue(&["a.example"]);
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world =
            World::start(runtime, &by_tls(&backend, &[&certificate], None), Settings::default());
        let config = pki::client(&ca, None, HTTP_1);
        let mut stream = pki::connect(&config, "a.example", world.connect());
        pki::ask(&mut stream, GET);
        stream.conn.writer().write_all(GET).unwrap();
        let mut record = Vec::new();
        stream.conn.write_tls(&mut record).unwrap();
        *record.last_mut().unwrap() ^= 1;
        stream.sock.write_all(&record).unwrap();
        let error = stream.read(&mut [0; 16]).unwrap_err();
        assert_eq!(alert(&error), Some(AlertDescription::BadRecordMac), "{error}");
        world.stop();
    }
}

#[test]
fn large_bodies_travel_whole_both_ways() {
    let ca = Authority::new("ca");
    let certificate = ca.issue(&["a.example"]);
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for runtime in backends() {
        for chunked in [false, true] {
            let backend = Recorded::start(move |mut tap, _| {
                while let Some(head) = pki::read_head(&mut tap.stream) {
                    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
                    let body = pki::read_body(&mut tap.stream, length.unwrap().parse().unwrap());
                    if !chunked {
                        let head = format!("content-length: {}", body.len());
                        tap.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes());
                        tap.write(&body);
                        continue;
                    }
                    tap.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                    for part in body.chunks(50_000) {
                        tap.write(format!("{:x}\r\n", part.len()).as_bytes());
                        tap.write(part);
                        tap.write(b"\r\n");
                    }
                    tap.write(b"0\r\n\r\n");
                }
            });
            let ir = by_tls(&backend, &[&certificate], None);
            let world = World::start(runtime, &ir, Settings::default());
            let config = pki::client(&ca, None, HTTP_1);
            let mut client = pki::connect(&config, "a.example", world.connect());
            for length in [1, 16_384, 16_385, 100_000, body.len()] {
                let head =
                    format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
                client.write_all(head.as_bytes()).unwrap();
                client.write_all(&body[..length]).unwrap();
                client.flush().unwrap();
                assert!(pki::read_head(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
                let got = if chunked {
                    read_chunks(&mut client)
                } else {
                    pki::read_body(&mut client, length)
                };
                assert!(got == body[..length], "{length} chunked {chunked}");
            }
            world.stop();
        }
    }
}

fn read_chunks(stream: &mut impl Read) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(pki::read_body(stream, 1));
        }
        let size = std::str::from_utf8(&line).unwrap().trim_end();
        let size = usize::from_str_radix(size, 16).unwrap();
        body.extend(pki::read_body(stream, size));
        assert_eq!(pki::read_body(stream, 2), b"\r\n");
        if size == 0 {
            return body;
        }
    }
}

#[test]
fn both_ends_say_that_they_are_done() {
    let ca = Authority::new("ca");
    let certificate = ca.issue(&["a.example"]);
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world =
            World::start(runtime, &by_tls(&backend, &[&certificate], None), Settings::default());
        let config = pki::client(&ca, None, HTTP_1);
        let mut stream = pki::connect(&config, "a.example", world.connect());
        stream.write_all(support::GET_CLOSE).unwrap();
        let mut answer = String::new();
        // An end without `close_notify` is an error here.
        while !answer.ends_with("hello") {
            answer.push_str(&String::from_utf8(pki::read_body(&mut stream, 1)).unwrap());
        }
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
        world.stop();
    }
}
