//! What an established, idle TLS session keeps resident. Alone in its process, since it weighs it.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use proxy::ir::{ListenerKind, Tls};
use proxy::tls::{Claimant, Config, Session, read_pem};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

/// The goal for one idle session (bytes).
const IDLE_SESSION_BYTES_MAX: usize = 10 * 1024;
const SESSIONS: usize = 1_000;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn sides(version: &'static SupportedProtocolVersion) -> (Arc<ClientConfig>, Rc<Config>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = rcgen::CertificateParams::new(vec!["a.test".into()]).unwrap();
    let pem = pem.self_signed(&key).unwrap().pem();
    let certificate = read_pem("s", pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.chain[0].clone())).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (name, tls) =
        ("l".into(), Arc::new(Tls { certificates: vec![certificate], clients: None }));
    let claimant =
        Claimant { name: &name, kind: ListenerKind::Http, hostname: None, tls: Some(&tls) };
    (Arc::new(client), Rc::new(Config::of([claimant], &[1; 32], None)))
}

/// Shakes hands and carries `body` both ways.
fn used_session(client: &Arc<ClientConfig>, server: &Rc<Config>, body: &[u8]) -> Session {
    let name = ServerName::try_from("a.test").unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    client.set_buffer_limit(None);
    client.writer().write_all(body).unwrap();
    let (mut session, mut up, mut down, mut answered) =
        (Session::new(server), Vec::new(), Vec::new(), false);
    loop {
        let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut from_client).unwrap();
        }
        for piece in from_client.chunks(20_000) {
            session.read(piece, &mut up).unwrap();
        }
        session.take_output(&mut from_server);
        if up.len() == body.len() && !answered {
            session.write(body, &mut from_server).unwrap();
            answered = true;
        }
        let mut bytes = &from_server[..];
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets().unwrap();
            let _ = client.reader().read_to_end(&mut down);
        }
        if from_client.is_empty() && from_server.is_empty() {
            break;
        }
    }
    assert!(session.is_established() && up == body && down == body);
    session
}

/// Resident bytes per session of each version after bodies of `bytes`. All sessions
/// weighed so far stay alive, or the next would live in memory counted before.
fn weigh(bytes: usize, goal: usize, kept: &mut Vec<Session>) {
    let body = vec![7; bytes];
    for version in [&TLS12, &TLS13] {
        let (client, server) = sides(version);
        kept.extend((0..50).map(|_| used_session(&client, &server, &body)));
        let before = resident_bytes();
        kept.extend((0..SESSIONS).map(|_| used_session(&client, &server, &body)));
        let each = resident_bytes().saturating_sub(before) / SESSIONS;
        println!("{version:?}, bodies of {bytes}: {each} bytes resident per idle session");
        assert!(each >= size_of::<rustls::ServerConnection>(), "{version:?}: not weighed, {each}");
        assert!(each <= goal, "{version:?} after bodies of {bytes}: {each} bytes");
    }
}

#[test]
fn an_idle_session_keeps_at_most_ten_kibibytes_whatever_it_carried() {
    // One test, since two at a time would weigh each other.
    let mut kept = Vec::new();
    for bytes in [3_000, 40_000] {
        weigh(bytes, IDLE_SESSION_BYTES_MAX, &mut kept);
    }
}
