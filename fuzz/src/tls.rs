//! The ClientHello of a connection whose listener is chosen by SNI.
//!
//! The listeners pass TLS through or have no certificate: what is inside is rustls' business. Held: how
//! the input is cut changes nothing; bytes that are passed on are the client's own, all of them; the
//! name is the one that was matched; a refusal is a short answer, and stays.

use std::rc::Rc;
use std::sync::Arc;

use proxy::ir::{Hostname, ListenerKind, Tls};
use proxy::tls::{Claimant, Config, Session};

use super::piece_sizes;

thread_local! {
    /// `exact.test` and below `pass.test` go through, `http.test` has no certificate.
    static PORT: Rc<Config> = port();
}

/// The first bytes of a connection.
pub fn client_hello(input: &[u8]) {
    PORT.with(|port| {
        let whole = outcome(port, std::iter::once(input));
        for size in piece_sizes(input) {
            assert_eq!(outcome(port, input.chunks(size)), whole, "in pieces of {size}");
        }
        if let Some(passed) = &whole.passed {
            assert_eq!(passed, input);
        }
    });
}

/// Everything that a driver sees.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    error: Option<String>,
    passed: Option<Vec<u8>>,
    sni: Option<String>,
    listener: Option<Arc<str>>,
    output: Vec<u8>,
}

fn outcome<'i>(port: &Rc<Config>, pieces: impl Iterator<Item = &'i [u8]>) -> Outcome {
    const ANSWER_BYTES_MAX: usize = 256;
    let (mut session, mut plain, mut output) = (Session::new(port), Vec::new(), Vec::new());
    let mut error = None;
    for piece in pieces {
        let read = session.read(piece, &mut plain).map_err(|error| error.to_string());
        session.take_output(&mut output);
        assert!(error.is_none() || error == read.clone().err(), "an error stays");
        error = read.err();
    }
    assert!(plain.is_empty() && !session.is_established(), "nothing is decrypted here");
    assert!(output.len() <= ANSWER_BYTES_MAX && session.write(b"x", &mut output).is_err());
    let passed = session.is_passed_through().then(|| session.take_passed());
    assert!(passed.is_none() || (error.is_none() && output.is_empty()));
    let sni = session.sni().map(str::to_owned);
    let listener = session.listener().cloned();
    if let (Some(_), Some(sni)) = (&passed, &sni) {
        assert!(!sni.contains(|letter: char| letter.is_ascii_uppercase()) && !sni.ends_with('.'));
        let claimed = match listener.as_deref() {
            Some("exact") => sni == "exact.test",
            Some("below") => sni.ends_with(".pass.test"),
            _ => false,
        };
        assert!(claimed, "{sni} went to {listener:?}");
    }
    Outcome { error, passed, sni, listener, output }
}

fn port() -> Rc<Config> {
    let no_certificate = Arc::new(Tls { certificates: Vec::new(), clients: None });
    let rows = [
        ("exact", ListenerKind::Stream, Hostname::Exact("exact.test".into()), None),
        ("below", ListenerKind::Stream, Hostname::Wildcard("pass.test".into()), None),
        ("http", ListenerKind::Http, Hostname::Exact("http.test".into()), Some(&no_certificate)),
    ];
    let names = rows.each_ref().map(|(name, ..)| Arc::from(*name));
    let claimants = rows.iter().zip(&names).map(|((_, kind, hostname, tls), name)| Claimant {
        name,
        kind: *kind,
        hostname: Some(hostname),
        tls: *tls,
    });
    Rc::new(Config::of(claimants, &[7; 32], None))
}
