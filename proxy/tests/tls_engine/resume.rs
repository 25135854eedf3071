//! Tickets: good in every shard and epoch for their listener, and nowhere else.

use std::sync::Arc;

use rustls::HandshakeKind;

use super::*;

/// Connects to `first` and then to `second` with one client memory; how the second went.
fn second_handshake(
    first: &Rc<Config>,
    second: &Rc<Config>,
    trusted: &[&Certificate],
    version: &'static SupportedProtocolVersion,
) -> HandshakeKind {
    let client_config = Arc::new(client_config(trusted, version));
    let (client, _) = established(first, &client_config, "a.test");
    assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
    let (client, session) = established(second, &client_config, "a.test");
    assert_eq!(session.sni(), Some("a.test"));
    client.handshake_kind().unwrap()
}

#[test]
fn a_ticket_resumes_in_its_own_and_in_every_other_shard() {
    let certificate = certificate(&["a.test"]);
    let shard = || config(&[listener("l", Some("a.test"), &[&certificate])]);
    let (one, two) = (shard(), shard());
    for version in VERSIONS {
        for second in [&one, &two] {
            let kind = second_handshake(&one, second, &[&certificate], version);
            assert_eq!(kind, HandshakeKind::Resumed, "{version:?}");
        }
    }
}

#[test]
fn a_ticket_resumes_after_an_edit_of_other_listeners() {
    let (a, b) = (certificate(&["a.test"]), certificate(&["b.test"]));
    let before = config(&[listener("a", Some("a.test"), &[&a])]);
    let listeners = [listener("b", Some("b.test"), &[&b]), listener("a", Some("*.test"), &[&a])];
    let after = config_after(&listeners, &SEED, Some(&before));
    for version in VERSIONS {
        let kind = second_handshake(&before, &after, &[&a], version);
        assert_eq!(kind, HandshakeKind::Resumed, "{version:?}");
    }
}

#[test]
fn a_ticket_of_another_listener_certificate_or_seed_does_not_resume() {
    let (one, two) = (certificate(&["a.test"]), certificate(&["a.test"]));
    let first = config(&[listener("l", Some("a.test"), &[&one])]);
    let others = [
        config(&[listener("other", Some("a.test"), &[&one])]),
        config(&[listener("l", Some("a.test"), &[&two])]),
        config_after(&[listener("l", Some("a.test"), &[&one])], &[8; 32], Some(&first)),
    ];
    for version in VERSIONS {
        for (i, other) in others.iter().enumerate() {
            let kind = second_handshake(&first, other, &[&one, &two], version);
            assert_eq!(kind, HandshakeKind::Full, "{version:?} other {i}");
        }
    }
}
