//! Client certificates: who is served, who is refused by which alert, and what tickets keep.

use std::sync::Arc;

use proxy::ir::ClientValidation;
use proxy::tls::ClientIdentity;
use rustls::{AlertDescription, HandshakeKind};

use super::*;

fn server(certificate: &Certificate, roots: &[&Authority], is_optional: bool) -> Rc<Config> {
    let roots = Arc::new(roots.iter().map(|authority| authority.root()).collect());
    let clients = Some(ClientValidation { roots, is_optional });
    let tls = Tls { certificates: vec![certificate.clone()], clients };
    config(&[Listener("l".into(), None, Some(Arc::new(tls)))])
}

fn showing(
    certificate: &Certificate,
    card: Option<&Card>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.chain[0].clone())).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match card {
        Some(Card(certificate, key)) => {
            builder.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
        }
        None => builder.with_no_client_auth(),
    })
}

/// The alert that the client hears from a server that refuses it.
fn refusal(server: &Rc<Config>, client_config: &Arc<ClientConfig>) -> AlertDescription {
    let (mut client, mut session) = (client(client_config, "a.test"), Session::new(server));
    loop {
        let result = session.read(&flight(&mut client), &mut Vec::new());
        let mut out = Vec::new();
        session.take_output(&mut out);
        let heard = deliver(&mut client, &out);
        if let Err(error) = result {
            assert!(!session.is_established(), "{error}");
            match heard {
                Err(rustls::Error::AlertReceived(alert)) => return alert,
                other => panic!("{other:?} after {error}"),
            }
        }
        assert!(!session.is_established());
    }
}

#[test]
fn a_client_is_served_by_what_the_listener_trusts() {
    let certificate = certificate(&["a.test"]);
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (friend, stranger) = (ours.card(), theirs.card());
    use AlertDescription as Alert;
    use ClientIdentity::{Anonymous, Unverified, Verified};
    type Row<'r> = (&'r [&'r Authority], bool, Option<&'r Card>, Result<ClientIdentity, Alert>);
    let rows: [Row<'_>; 10] = [
        (&[&ours], false, Some(&friend), Ok(Verified)),
        (&[&theirs, &ours], false, Some(&friend), Ok(Verified)),
        (&[&ours], false, Some(&stranger), Err(Alert::UnknownCA)),
        (&[&ours], false, None, Err(Alert::CertificateRequired)),
        (&[], false, Some(&friend), Err(Alert::UnknownCA)),
        (&[], false, None, Err(Alert::CertificateRequired)),
        (&[&ours], true, Some(&friend), Ok(Verified)),
        (&[&ours], true, Some(&stranger), Ok(Unverified)),
        (&[&ours], true, None, Ok(Anonymous)),
        (&[], true, Some(&friend), Ok(Unverified)),
    ];
    for version in VERSIONS {
        for (at, (roots, optional, card, want)) in rows.iter().enumerate() {
            let server = server(&certificate, roots, *optional);
            let client_config = showing(&certificate, *card, version);
            match want {
                Ok(want) => {
                    let (_, session) = established(&server, &client_config, "a.test");
                    assert_eq!(session.client_identity(), *want, "row {at}, {version:?}");
                }
                Err(want) => {
                    let heard = refusal(&server, &client_config);
                    assert_eq!(heard, *want, "row {at}, {version:?}");
                }
            }
        }
    }
}

#[test]
fn a_session_resumes_only_under_the_trust_that_it_was_made_under() {
    let certificate = certificate(&["a.test"]);
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let friend = ours.card();
    let trusting = |roots: &[&Authority], optional| server(&certificate, roots, optional);
    let plain = || config(&[listener("l", None, &[&certificate])]);
    for version in VERSIONS {
        let changes = [
            (trusting(&[&ours], false), trusting(&[&ours], false), HandshakeKind::Resumed),
            (trusting(&[&ours], false), trusting(&[&ours, &theirs], false), HandshakeKind::Full),
            (trusting(&[&ours], true), trusting(&[&ours], false), HandshakeKind::Full),
            (plain(), trusting(&[&ours], false), HandshakeKind::Full),
            (trusting(&[&ours], false), plain(), HandshakeKind::Full),
        ];
        for (at, (before, after, want)) in changes.iter().enumerate() {
            let client_config = showing(&certificate, Some(&friend), version);
            established(before, &client_config, "a.test");
            let (client, _) = established(after, &client_config, "a.test");
            assert_eq!(client.handshake_kind(), Some(*want), "change {at}, {version:?}");
        }
        // An authority that is not trusted any more lets nobody in by an old ticket.
        let client_config = showing(&certificate, Some(&friend), version);
        established(&trusting(&[&ours], false), &client_config, "a.test");
        let heard = refusal(&trusting(&[&theirs], false), &client_config);
        assert_eq!(heard, AlertDescription::UnknownCA, "{version:?}");
    }
}

#[test]
fn a_resumed_client_keeps_its_identity() {
    let certificate = certificate(&["a.test"]);
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    for version in VERSIONS {
        for (card, want) in
            [(ours.card(), ClientIdentity::Verified), (theirs.card(), ClientIdentity::Unverified)]
        {
            let server = server(&certificate, &[&ours], true);
            let client_config = showing(&certificate, Some(&card), version);
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let (client, session) = established(&server, &client_config, "a.test");
                assert_eq!(client.handshake_kind(), Some(kind), "{version:?}");
                assert_eq!(session.client_identity(), want, "{version:?} {kind:?}");
            }
        }
    }
}
