//! Towards backends: whom an identity trusts, what it insists on, and which identities are one.

use std::io::Write;
use std::sync::Arc;

use proptest::prelude::*;
use proxy::epoch::{Epoch, Settings};
use proxy::ir::{Backend, BackendTls, Ir, PrivateKey, Roots, SubjectAltName};
use proxy::tls::{Alpn, Identities, Identity, Reason};
use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use super::*;

fn policy(authority: &Authority, name: &str, sans: &[SubjectAltName]) -> Arc<BackendTls> {
    Arc::new(BackendTls {
        server_name: name.into(),
        sans: sans.to_vec(),
        roots: Roots::Certificates(Arc::new(vec![authority.root()])),
    })
}

fn identity(policy: &Arc<BackendTls>, alpn: Alpn) -> Rc<Identity> {
    Identities::new(&[]).get(policy, None, alpn).unwrap()
}

fn backend(
    card: &Card,
    alpn: &[&[u8]],
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![card.0.clone()], card.1.clone_key())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// Shakes hands; the backend's bytes arrive in pieces of at most `piece`.
fn shake(
    identity: &Rc<Identity>,
    backend: &Arc<ServerConfig>,
    piece: usize,
) -> Result<(Session, ServerConnection), Error> {
    let mut session = Session::connect(identity)?;
    let mut server = ServerConnection::new(backend.clone()).unwrap();
    let mut plain = Vec::new();
    loop {
        let mut out = Vec::new();
        session.take_output(&mut out);
        let (mut rest, mut answer) = (&out[..], Vec::new());
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            // Its alert, if it refuses, is in the answer.
            server.process_new_packets().ok();
        }
        while server.wants_write() {
            server.write_tls(&mut answer).unwrap();
        }
        if out.is_empty() && answer.is_empty() {
            assert!(session.is_established() && plain.is_empty());
            return Ok((session, server));
        }
        for bytes in answer.chunks(piece) {
            session.read(bytes, &mut plain)?;
        }
    }
}

fn exact(name: &str) -> SubjectAltName {
    SubjectAltName::Hostname(Hostname::Exact(name.into()))
}

fn wildcard(suffix: &str) -> SubjectAltName {
    SubjectAltName::Hostname(Hostname::Wildcard(suffix.into()))
}

fn uri(text: &str) -> SubjectAltName {
    SubjectAltName::Uri(text.into())
}

#[test]
fn a_certificate_must_bear_the_server_name_or_one_of_the_names_that_are_asked_for() {
    let ca = Authority::new("ca");
    let server = rcgen::ExtendedKeyUsagePurpose::ServerAuth;
    let spiffe = ca.sign(&["uri.test"], server, |params| {
        let text = "spiffe://mesh.test/ns/a/sa/b".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(text));
    });
    let one = ca.backend(&["b.test"]);
    let wild = ca.backend(&["*.wild.test"]);
    let several = ca.backend(&["x.test", "A.deep.Sub.test"]);
    let rows: &[(&Card, &str, &[SubjectAltName], bool)] = &[
        (&one, "b.test", &[], true),
        (&one, "c.test", &[], false),
        (&wild, "a.wild.test", &[], true),
        (&wild, "a.b.wild.test", &[], false),
        // With names, the server name is sent and not looked for.
        (&one, "sni.test", &[exact("b.test")], true),
        (&one, "b.test", &[exact("other.test")], false),
        (&one, "sni.test", &[exact("other.test"), exact("b.test")], true),
        (&wild, "sni.test", &[exact("a.wild.test")], true),
        (&wild, "sni.test", &[wildcard("wild.test")], true),
        (&several, "sni.test", &[wildcard("sub.test")], true),
        (&several, "sni.test", &[wildcard("deep.sub.test")], true),
        (&several, "sni.test", &[wildcard("est")], false),
        (&one, "sni.test", &[wildcard("b.test")], false),
        (&spiffe, "sni.test", &[uri("spiffe://mesh.test/ns/a/sa/b")], true),
        (&spiffe, "sni.test", &[uri("spiffe://mesh.test/ns/a/sa/B")], false),
        (&spiffe, "sni.test", &[uri("spiffe://mesh.test/ns/a")], false),
        (&spiffe, "sni.test", &[uri("spiffe://mesh.test/ns/a/sa/c"), exact("uri.test")], true),
        (&one, "sni.test", &[uri("b.test")], false),
    ];
    for version in VERSIONS {
        for (at, (card, name, sans, good)) in rows.iter().enumerate() {
            let identity = identity(&policy(&ca, name, sans), Alpn::Http1);
            let result = shake(&identity, &backend(card, &[], version), usize::MAX);
            match result {
                Ok((_, server)) => {
                    assert!(good, "row {at}, {version:?}");
                    assert_eq!(server.server_name(), Some(*name));
                }
                Err(error) => {
                    assert!(!good, "row {at}, {version:?}: {error}");
                    assert_eq!(error.reason(), Reason::WrongName, "row {at}, {version:?}");
                }
            }
        }
    }
}

#[test]
fn names_do_not_make_up_for_an_authority_that_is_not_trusted() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let card = other.backend(&["b.test"]);
    for version in VERSIONS {
        for sans in [&[][..], &[exact("b.test")], &[wildcard("test")]] {
            let identity = identity(&policy(&ca, "b.test", sans), Alpn::Http1);
            let error = shake(&identity, &backend(&card, &[], version), usize::MAX).unwrap_err();
            assert_eq!(error.reason(), Reason::Untrusted, "{sans:?}");
        }
    }
    // Nor does a certificate for clients make a backend.
    let card = ca.sign(&["b.test"], rcgen::ExtendedKeyUsagePurpose::ClientAuth, |_| {});
    for sans in [&[][..], &[exact("b.test")]] {
        let identity = identity(&policy(&ca, "b.test", sans), Alpn::Http1);
        let error = shake(&identity, &backend(&card, &[], VERSIONS[1]), usize::MAX).unwrap_err();
        assert_eq!(error.reason(), Reason::BadCertificate, "{sans:?}");
    }
}

#[test]
fn http_2_must_be_agreed_and_http_1_need_not_be() {
    let ca = Authority::new("ca");
    let card = ca.backend(&["b.test"]);
    let (h1, h2): (&[u8], &[u8]) = (b"http/1.1", b"h2");
    type Row<'r> = (Alpn, &'r [&'r [u8]], Result<Option<&'r [u8]>, Reason>);
    let rows: &[Row<'_>] = &[
        (Alpn::Http1, &[], Ok(None)),
        (Alpn::Http1, &[h2, h1], Ok(Some(h1))),
        (Alpn::Http1, &[h2], Err(Reason::NoAlpn)),
        (Alpn::Http2, &[h1, h2], Ok(Some(h2))),
        (Alpn::Http2, &[h1], Err(Reason::NoAlpn)),
        (Alpn::Http2, &[], Err(Reason::NoAlpn)),
        (Alpn::Nothing, &[h2, h1], Ok(None)),
    ];
    for version in VERSIONS {
        for (at, (alpn, offered, want)) in rows.iter().enumerate() {
            let identity = identity(&policy(&ca, "b.test", &[]), *alpn);
            let result = shake(&identity, &backend(&card, offered, version), usize::MAX);
            let agreed = result.as_ref().map(|(session, _)| session.alpn());
            assert_eq!(agreed.map_err(Error::reason), *want, "row {at}, {version:?}");
        }
    }
}

#[test]
fn data_passes_both_ways_however_the_bytes_are_cut() {
    let ca = Authority::new("ca");
    let card = ca.backend(&["b.test"]);
    for version in VERSIONS {
        for piece in [1, 5, 1000, usize::MAX] {
            let identity = identity(&policy(&ca, "b.test", &[]), Alpn::Http1);
            let (mut session, mut server) =
                shake(&identity, &backend(&card, &[], version), piece).unwrap();
            let mut out = Vec::new();
            session.write(b"request", &mut out).unwrap();
            server.read_tls(&mut &out[..]).unwrap();
            server.process_new_packets().unwrap();
            server.writer().write_all(b"response").unwrap();
            server.send_close_notify();
            let mut answer = Vec::new();
            server.write_tls(&mut answer).unwrap();
            let mut plain = Vec::new();
            for bytes in answer.chunks(piece) {
                session.read(bytes, &mut plain).unwrap();
            }
            assert_eq!(plain, b"response");
            assert!(session.is_closed_by_peer());
        }
    }
}

#[test]
fn a_session_resumes_for_its_identity_and_for_no_other() {
    let ca = Authority::new("ca");
    let card = ca.backend(&["b.test"]);
    for version in VERSIONS {
        let server = backend(&card, &[], version);
        let kind = |identity: &Rc<Identity>| {
            let (_, server) = shake(identity, &server, usize::MAX).unwrap();
            server.handshake_kind().unwrap()
        };
        let mut identities = Identities::new(&[]);
        let strict = policy(&ca, "b.test", &[]);
        let named = policy(&ca, "b.test", &[exact("b.test")]);
        let one = identities.get(&strict, None, Alpn::Http1).unwrap();
        let other = identities.get(&named, None, Alpn::Http1).unwrap();
        assert_eq!(kind(&one), HandshakeKind::Full);
        assert_eq!(kind(&one), HandshakeKind::Resumed);
        assert_eq!(kind(&other), HandshakeKind::Full);
    }
}

#[test]
fn equal_identities_are_one_and_a_difference_in_any_part_makes_another() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let ours = ca.card();
    let certificate = |secret: &str| {
        let chain = vec![ours.0.to_vec()];
        let key = PrivateKey(ours.1.secret_der().to_vec());
        Arc::new(Certificate { secret: secret.into(), chain, key })
    };
    let mut identities = Identities::new(&[]);
    let mut id = |policy: &Arc<BackendTls>, certificate: Option<&Arc<Certificate>>, alpn| {
        identities.get(policy, certificate, alpn).unwrap().id()
    };
    let first = id(&policy(&ca, "b.test", &[]), None, Alpn::Http1);
    assert_eq!(id(&policy(&ca, "b.test", &[]), None, Alpn::Http1), first);
    let others = [
        id(&policy(&ca, "c.test", &[]), None, Alpn::Http1),
        id(&policy(&other, "b.test", &[]), None, Alpn::Http1),
        id(&policy(&ca, "b.test", &[exact("b.test")]), None, Alpn::Http1),
        id(&policy(&ca, "b.test", &[]), Some(&certificate("a/b")), Alpn::Http1),
        id(&policy(&ca, "b.test", &[]), Some(&certificate("a/c")), Alpn::Http1),
        id(&policy(&ca, "b.test", &[]), None, Alpn::Http2),
        id(&policy(&ca, "b.test", &[]), None, Alpn::Nothing),
    ];
    let mut all: Vec<_> = others.into_iter().chain([first]).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 8);
}

#[test]
fn an_epoch_keeps_the_identities_that_it_can_ask_for() {
    let ca = Authority::new("ca");
    let epoch = |id, policies: &[&Arc<BackendTls>], previous: Option<&Epoch>| {
        let mut ir = Ir::default();
        for (n, policy) in policies.iter().enumerate() {
            let tls = Some((*policy).clone());
            let backend = Backend { tls, ..Backend::default() };
            ir.backends.insert(format!("a/b:{n}").into(), Arc::new(backend));
        }
        let listener = proxy::ir::Listener { name: "a/g/l".into(), ..Default::default() };
        ir.ports.push(proxy::ir::Port { listeners: vec![listener], ..Default::default() });
        Epoch::compile(id, &ir, Settings::default(), previous)
    };
    let (b, c) = (policy(&ca, "b.test", &[]), policy(&ca, "c.test", &[]));
    let mut identities = Identities::new(&[]);
    let one = epoch(1, &[&b, &c], None);
    identities.install(&one);
    let of_b = identities.get(&b, None, Alpn::Http1).unwrap();
    let of_c = identities.get(&c, None, Alpn::Http1).unwrap();
    // Read anew and in another order, `b` is still the same.
    let two = epoch(2, &[&policy(&ca, "b.test", &[])], Some(&one));
    identities.install(&two);
    assert!(of_b.is_wanted() && !of_c.is_wanted());
    assert_eq!(identities.get(&b, None, Alpn::Http1).unwrap().id(), of_b.id());
    let three = epoch(3, &[&b, &c], Some(&two));
    identities.install(&three);
    let again = identities.get(&c, None, Alpn::Http1).unwrap();
    assert!(again.is_wanted() && ![of_b.id(), of_c.id()].contains(&again.id()));
    assert!(!of_c.is_wanted(), "what was forgotten stays so");
}

#[test]
fn unusable_settings_are_told_before_anything_is_sent() {
    let ca = Authority::new("ca");
    let mut identities = Identities::new(&[]);
    let bad = Arc::new(Certificate {
        secret: "a/b".into(),
        chain: vec![vec![1, 2, 3]],
        key: PrivateKey(vec![4, 5, 6]),
    });
    let error = identities.get(&policy(&ca, "b.test", &[]), Some(&bad), Alpn::Http1).unwrap_err();
    assert_eq!(error.reason(), Reason::Settings);
    let error = identities.get(&policy(&ca, "no name", &[]), None, Alpn::Http1).unwrap_err();
    assert_eq!(error.reason(), Reason::Settings);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_a_backend_answers_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), start in 0_usize..3, piece in 1_usize..300) {
        thread_local!(static POLICY: Arc<BackendTls> = policy(&Authority::new("ca"), "b.test", &[]));
        let start = [&b""[..], b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", b"\x15\x03\x03\x00\x02\x02"][start];
        let mut session = POLICY.with(|policy| Session::connect(&identity(policy, Alpn::Http2))).unwrap();
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        for part in [start, &bytes].concat().chunks(piece) {
            let _ = session.read(part, &mut plain);
            session.take_output(&mut out);
        }
        session.close(&mut out);
        prop_assert!(plain.is_empty() && !session.is_established());
    }
}
