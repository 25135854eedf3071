//! Which listener claims a name, and which of its certificates is shown.

use std::sync::Arc;

use proxy::tls::{Error, Session};
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;

use super::*;

/// The alert description in a fatal alert record in the clear.
fn alert(session: &mut Session) -> u8 {
    let mut out = Vec::new();
    assert!(session.take_output(&mut out));
    assert_eq!((out.len(), out[0], out[5]), (7, 21, 2), "{out:?}");
    out[6]
}

fn hello(
    client_config: &Arc<ClientConfig>,
    name: &str,
    session: &mut Session,
) -> Result<(), Error> {
    session.read(&flight(&mut client(client_config, name)), &mut Vec::new())
}

#[test]
fn exact_beats_longest_wildcard_beats_wildcard_beats_no_hostname() {
    let hosts = [None, Some("*.test"), Some("*.a.test"), Some("x.a.test")];
    let made = [(); 4].map(|()| certificate(&["x.a.test", "y.a.test", "z.test", "other.org"]));
    let all: Vec<_> = made.iter().collect();
    let trusted = Arc::new(client_config(&all, VERSIONS[1]));
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let listeners = order.map(|i| listener(&i.to_string(), hosts[i], &[&made[i]]));
        let server = config(&listeners);
        for (name, want) in [("x.a.test", 3), ("y.a.test", 2), ("z.test", 1), ("other.org", 0)] {
            let (client, _) = established(&server, &trusted, name);
            assert!(shown(&client) == made[want].chain[0], "{name} with order {order:?}");
        }
    }
}

#[test]
fn a_name_that_no_listener_claims_is_refused_by_alert() {
    let certificate = certificate(&["*.a.test"]);
    let server = config(&[listener("l", Some("*.a.test"), &[&certificate])]);
    let trusted = Arc::new(client_config(&[&certificate], VERSIONS[1]));
    for name in ["a.test", "b.test", "xa.test"] {
        let mut session = Session::new(&server);
        assert_eq!(hello(&trusted, name, &mut session), Err(Error::NoCertificate), "{name}");
        assert_eq!(alert(&mut session), 112, "unrecognized_name");
        assert_eq!(session.sni(), Some(name));
    }
}

#[test]
fn a_client_without_sni_gets_only_a_listener_without_hostname() {
    let certificate = certificate(&["a.test", "127.0.0.1"]);
    let trusted = Arc::new(client_config(&[&certificate], VERSIONS[1]));
    let named = || listener("named", Some("a.test"), &[&certificate]);
    let server = config(&[named(), listener("open", None, &[&certificate])]);
    let (_, session) = established(&server, &trusted, "127.0.0.1");
    assert_eq!(session.sni(), None);
    let mut session = Session::new(&config(&[named()]));
    assert_eq!(hello(&trusted, "127.0.0.1", &mut session), Err(Error::NoCertificate));
    assert_eq!(alert(&mut session), 112);
}

#[test]
fn a_listener_without_a_usable_certificate_refuses_and_its_neighbours_serve() {
    let good = certificate(&["a.test"]);
    let mut bad = certificate(&["b.test"]);
    bad.key.0.truncate(20);
    let mut wild = certificate(&["c.test"]);
    wild.chain.clear();
    let server = config(&[
        listener("a", Some("a.test"), &[&good]),
        listener("b", Some("b.test"), &[&bad, &wild]),
        Listener("c".into(), Some(Hostname::Exact("c.test".into())), None),
        listener("d", None, &[&good]),
    ]);
    let trusted = Arc::new(client_config(&[&good], VERSIONS[1]));
    established(&server, &trusted, "a.test");
    for name in ["b.test", "c.test"] {
        let mut session = Session::new(&server);
        assert_eq!(hello(&trusted, name, &mut session), Err(Error::NoCertificate));
        assert_eq!(alert(&mut session), 80, "internal_error");
    }
}

#[test]
fn of_several_certificates_the_one_that_the_client_can_verify_is_shown() {
    let ecdsa = certificate(&["a.test"]);
    let rsa = certificate_of(&["a.test"], &rcgen::PKCS_RSA_SHA256);
    let server = config(&[listener("l", None, &[&ecdsa, &rsa])]);
    for version in VERSIONS {
        let any = Arc::new(client_config(&[&ecdsa, &rsa], version));
        assert!(shown(&established(&server, &any, "a.test").0) == ecdsa.chain[0], "first wins");
        let only_rsa = Arc::new(client_config_with(&[&ecdsa, &rsa], version, rsa_only()));
        assert!(shown(&established(&server, &only_rsa, "a.test").0) == rsa.chain[0]);
    }
}

#[test]
fn of_several_certificates_the_one_that_names_the_host_is_shown() {
    let (a, b) = (certificate(&["a.test"]), certificate(&["b.test", "*.c.test"]));
    let server = config(&[listener("l", None, &[&a, &b])]);
    let trusted = Arc::new(client_config(&[&a, &b], VERSIONS[1]));
    for (name, want) in [("a.test", &a), ("b.test", &b), ("x.c.test", &b)] {
        assert!(shown(&established(&server, &trusted, name).0) == want.chain[0], "{name}");
    }
}

/// A provider that verifies RSA signatures only.
fn rsa_only() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let WebPkiSupportedAlgorithms { all, mapping } = provider.signature_verification_algorithms;
    let mapping: Vec<_> = mapping
        .iter()
        .filter(|(scheme, _)| {
            !matches!(
                scheme,
                SignatureScheme::ECDSA_NISTP256_SHA256
                    | SignatureScheme::ECDSA_NISTP384_SHA384
                    | SignatureScheme::ECDSA_NISTP521_SHA512
                    | SignatureScheme::ED25519
            )
        })
        .copied()
        .collect();
    provider.signature_verification_algorithms =
        WebPkiSupportedAlgorithms { all, mapping: mapping.leak() };
    provider
}
