//! What is not TLS, not ours, or broken: a clear error, an alert where one helps, never a panic.

use std::io::Write;
use std::sync::Arc;

use proptest::prelude::*;
use proxy::tls::{Error, Session};
use rustls::AlertDescription;

use super::*;

fn server() -> (Certificate, Rc<Config>) {
    let certificate = certificate(&["a.test"]);
    let config = config(&[listener("l", None, &[&certificate])]);
    (certificate, config)
}

#[test]
fn plain_http_is_told_at_its_first_byte_and_answered_in_plain() {
    let (_, server) = server();
    for request in ["GET / HTTP/1.1\r\n\r\n", "POST", "H", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        for cut in 1..=request.len() {
            let mut session = Session::new(&server);
            let mut plain = Vec::new();
            let first = session.read(&request.as_bytes()[..cut], &mut plain);
            assert_eq!(first, Err(Error::NotTls));
            assert_eq!(session.read(&request.as_bytes()[cut..], &mut plain), Err(Error::NotTls));
            let mut out = Vec::new();
            assert!(session.take_output(&mut out));
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"));
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())));
            assert!(plain.is_empty() && !session.take_output(&mut Vec::new()));
        }
    }
}

#[test]
fn other_bytes_are_not_tls_and_get_no_answer() {
    let (_, server) = server();
    for bytes in [&b"\x00"[..], b"\x80\x2e\x01", b"get /", b"\x16\x02\x00", b"\x16G"] {
        let mut session = Session::new(&server);
        let mut result = Ok(());
        for byte in bytes {
            result = session.read(&[*byte], &mut Vec::new());
        }
        assert_eq!(result, Err(Error::NotTls), "{bytes:?}");
        assert!(!session.take_output(&mut Vec::new()));
    }
}

#[test]
fn alpn_without_a_common_protocol_is_refused_by_its_alert() {
    let (certificate, server) = server();
    for version in VERSIONS {
        let mut other = client_config(&[&certificate], version);
        other.alpn_protocols = vec![b"h3".to_vec(), b"spdy/1".to_vec()];
        let (mut client, mut session) = (client(&Arc::new(other), "a.test"), Session::new(&server));
        let result = session.read(&flight(&mut client), &mut Vec::new());
        assert_eq!(result, Err(Error::NoAlpn));
        let mut out = Vec::new();
        assert!(session.take_output(&mut out));
        let heard = deliver(&mut client, &out).unwrap_err();
        assert_eq!(
            heard,
            rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol),
            "{version:?}"
        );
    }
}

#[test]
fn an_oversized_client_hello_is_refused_and_not_kept() {
    let (_, server) = server();
    let mut session = Session::new(&server);
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    record[5..9].copy_from_slice(&[1, 0x7f, 0xff, 0xff]);
    let later: Vec<u8> = [22, 3, 1, 0x40, 0].into_iter().chain([0; 0x4000]).collect();
    let mut result = session.read(&record, &mut Vec::new());
    let mut sent = record.len();
    while result.is_ok() {
        assert!(sent < 256 * 1024, "a ClientHello of {sent} bytes is still taken");
        result = session.read(&later, &mut Vec::new());
        sent += later.len();
    }
    assert!(matches!(result, Err(Error::Protocol(_))), "{result:?}");
}

#[test]
fn a_damaged_record_ends_the_session_with_an_alert() {
    let (certificate, server) = server();
    for version in VERSIONS {
        let trusted = Arc::new(client_config(&[&certificate], version));
        let (mut client, mut session) = established(&server, &trusted, "a.test");
        client.writer().write_all(b"hello").unwrap();
        let mut bytes = flight(&mut client);
        *bytes.last_mut().unwrap() ^= 1;
        let mut plain = Vec::new();
        let error = session.read(&bytes, &mut plain).unwrap_err();
        assert_eq!(session.read(b"", &mut plain), Err(error.clone()), "an error stays");
        assert_eq!(session.write(b"x", &mut Vec::new()), Err(error));
        let mut out = Vec::new();
        assert!(session.take_output(&mut out) && plain.is_empty());
        let heard = deliver(&mut client, &out).unwrap_err();
        assert_eq!(heard, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
    }
}

#[test]
fn debug_and_errors_show_no_key() {
    let (certificate, server) = server();
    let trusted = Arc::new(client_config(&[&certificate], VERSIONS[1]));
    let (_, session) = established(&server, &trusted, "a.test");
    let text = format!("{server:?} {session:?} {certificate:?}");
    assert!(text.contains("test/secret") && text.contains("established"), "{text}");
    for key in [&certificate.key.0, &certificate.chain[0]] {
        let part = &key[key.len() - 8..];
        assert!(!text.contains(&format!("{part:?}").replace(['[', ']'], "")), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn garbage_never_panics(prefix in 0_usize..4, bytes in prop::collection::vec(any::<u8>(), 0..3000), piece in 1_usize..400) {
        thread_local!(static SERVER: Rc<Config> = server().1);
        let start: &[u8] = [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x15\x03\x03\x00\x02"][prefix];
        let input = [start, &bytes].concat();
        let mut session = SERVER.with(Session::new);
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        for part in input.chunks(piece) {
            let _ = session.read(part, &mut plain);
            session.take_output(&mut out);
        }
        session.close(&mut out);
        prop_assert!(plain.is_empty());
    }

    #[test]
    fn a_changed_handshake_never_panics_and_how_it_is_cut_never_matters(at in 0_usize..230, bit in 0_u8..8, piece in 1_usize..100) {
        thread_local!(static SIDES: (Arc<ClientConfig>, Rc<Config>) = {
            let (certificate, server) = server();
            (Arc::new(client_config(&[&certificate], VERSIONS[1])), server)
        });
        SIDES.with(|(trusted, server)| {
            let mut hello = flight(&mut client(trusted, "a.test"));
            let at = at % hello.len();
            hello[at] ^= 1 << bit;
            let run = |piece: usize| {
                let mut session = Session::new(server);
                let mut result = Ok(());
                for part in hello.chunks(piece) {
                    result = session.read(part, &mut Vec::new());
                }
                (result, session.take_output(&mut Vec::new()), session.sni().map(str::to_owned))
            };
            prop_assert_eq!(run(usize::MAX), run(piece));
            Ok(())
        })?;
    }
}
