//! Listeners for streams: TLS that passes by untouched, or ends here without ALPN.

use std::sync::Arc;

use proxy::ir::ListenerKind;
use proxy::tls::Error;

use super::*;

/// A port with `l` for HTTP, `t` that terminates streams and `p` that passes TLS through.
fn mixed(certificate: &Certificate) -> Rc<Config> {
    port(certificate, 0)
}

/// The same without the first `without` listeners.
fn port(certificate: &Certificate, without: usize) -> Rc<Config> {
    let tls = Arc::new(Tls { certificates: vec![certificate.clone()], clients: None });
    let exact = |name: &str| Hostname::Exact(name.into());
    let rows = [
        ("l", ListenerKind::Http, exact("http.test"), Some(&tls)),
        ("t", ListenerKind::Stream, exact("ends.test"), Some(&tls)),
        ("p", ListenerKind::Stream, Hostname::Wildcard("pass.test".into()), None),
    ];
    let names = rows.each_ref().map(|(name, ..)| Arc::from(*name));
    let claimants =
        rows.iter().zip(&names).skip(without).map(|((_, kind, hostname, tls), name)| Claimant {
            name,
            kind: *kind,
            hostname: Some(hostname),
            tls: *tls,
        });
    Rc::new(Config::of(claimants, &SEED, None))
}

#[test]
fn a_listener_without_certificates_gets_every_byte_as_it_came() {
    let certificate = certificate(&["a.test"]);
    let server = mixed(&certificate);
    for version in VERSIONS {
        let trusted = Arc::new(client_config(&[&certificate], version));
        let mut hello = flight(&mut client(&trusted, "x.y.pass.test"));
        hello.extend_from_slice(b"whatever follows");
        for piece in [1, 7, 100, usize::MAX] {
            let mut session = Session::new(&server);
            let mut plain = Vec::new();
            for part in hello.chunks(piece) {
                session.read(part, &mut plain).unwrap();
            }
            assert!(session.is_passed_through() && !session.is_established());
            assert_eq!(session.take_passed(), hello, "in pieces of {piece}");
            assert_eq!(session.take_passed(), b"", "once");
            assert_eq!(session.sni(), Some("x.y.pass.test"));
            assert_eq!(session.listener().map(|name| &**name), Some("p"));
            assert_eq!(session.kind(), Some(ListenerKind::Stream));
            assert!(plain.is_empty() && !session.take_output(&mut plain));
            assert!(session.write(b"x", &mut plain).is_err());
        }
    }
}

#[test]
fn a_port_may_serve_terminate_and_pass_through_by_name() {
    let certificate = certificate(&["http.test", "ends.test"]);
    let server = mixed(&certificate);
    let trusted = Arc::new(client_config(&[&certificate], VERSIONS[1]));
    for (host, name, kind, alpn) in [
        ("http.test", "l", ListenerKind::Http, Some(&b"http/1.1"[..])),
        ("ends.test", "t", ListenerKind::Stream, None),
    ] {
        let (_, mut session) = established(&server, &trusted, host);
        assert_eq!(session.listener().map(|name| &**name), Some(name));
        assert_eq!((session.kind(), session.alpn()), (Some(kind), alpn));
        assert!(!session.is_passed_through() && session.take_passed().is_empty());
    }
    let mut session = Session::new(&server);
    let hello = flight(&mut client(&trusted, "other.test"));
    assert_eq!(session.read(&hello, &mut Vec::new()), Err(Error::NoCertificate));
    assert_eq!(session.listener(), None);
}

#[test]
fn a_terminating_stream_takes_clients_of_any_alpn() {
    let certificate = certificate(&["ends.test"]);
    let server = mixed(&certificate);
    let mut other = client_config(&[&certificate], VERSIONS[1]);
    other.alpn_protocols = vec![b"mqtt".to_vec()];
    let (client, session) = established(&server, &Arc::new(other), "ends.test");
    assert_eq!((client.alpn_protocol(), session.alpn()), (None, None));
}

/// Whoever asks for a name behind a port that only relays asks the backends, who are silent.
#[test]
fn a_port_that_only_relays_refuses_an_unclaimed_name_without_a_word() {
    let certificate = certificate(&["a.test"]);
    let trusted = Arc::new(client_config(&[&certificate], VERSIONS[1]));
    for (without, told) in [(0, true), (1, false)] {
        let mut session = Session::new(&port(&certificate, without));
        let hello = flight(&mut client(&trusted, "nobody.test"));
        assert_eq!(session.read(&hello, &mut Vec::new()), Err(Error::NoCertificate));
        assert_eq!(session.take_output(&mut Vec::new()), told, "without {without}");
    }
}
