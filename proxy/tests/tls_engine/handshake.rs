//! Handshakes, data and ends: the same result however the bytes are cut.

use std::io::Write;
use std::sync::Arc;

use proxy::tls::Session;

use super::*;

#[test]
fn tls_1_2_and_1_3_establish_with_sni_and_alpn() {
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", None, &[&certificate])]);
    for version in VERSIONS {
        let client_config = Arc::new(client_config(&[&certificate], version));
        let (client, session) = established(&server, &client_config, "A.test");
        assert_eq!(client.protocol_version(), Some(version.version));
        assert_eq!(session.sni(), Some("a.test"));
        assert_eq!(session.alpn(), Some(&b"http/1.1"[..]));
        assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
}

#[test]
fn a_client_that_offers_http_2_gets_it() {
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", None, &[&certificate])]);
    for version in VERSIONS {
        for offered in [&[&b"h2"[..]][..], &[b"http/1.1", b"h2"], &[b"x", b"h2", b"http/1.1"]] {
            let mut both = client_config(&[&certificate], version);
            both.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
            let (client, session) = established(&server, &Arc::new(both), "a.test");
            assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]), "{offered:?}");
            assert_eq!(session.alpn(), Some(&b"h2"[..]));
        }
    }
}

#[test]
fn a_client_without_alpn_gets_none() {
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", None, &[&certificate])]);
    let mut quiet = client_config(&[&certificate], VERSIONS[1]);
    quiet.alpn_protocols.clear();
    let (_, session) = established(&server, &Arc::new(quiet), "a.test");
    assert_eq!(session.alpn(), None);
}

#[test]
fn a_client_hello_cut_at_any_byte_establishes() {
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", Some("a.test"), &[&certificate])]);
    for version in VERSIONS {
        let client_config = Arc::new(client_config(&[&certificate], version));
        let length = flight(&mut client(&client_config, "a.test")).len();
        for at in 0..=length {
            let (mut client, mut session) =
                (client(&client_config, "a.test"), Session::new(&server));
            let hello = flight(&mut client);
            let mut plain = Vec::new();
            session.read(&hello[..at], &mut plain).unwrap();
            session.read(&hello[at..], &mut plain).unwrap();
            carry(&mut client, &mut session, usize::MAX).unwrap();
            assert!(session.is_established(), "{version:?} cut at {at}");
        }
    }
}

#[test]
fn a_handshake_in_single_bytes_establishes_and_carries_data() {
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", None, &[&certificate])]);
    for version in VERSIONS {
        let client_config = Arc::new(client_config(&[&certificate], version));
        let (mut client, mut session) = (client(&client_config, "a.test"), Session::new(&server));
        client.writer().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let plain = carry(&mut client, &mut session, 1).unwrap();
        assert_eq!(plain, b"GET / HTTP/1.1\r\n\r\n");
    }
}

#[test]
fn a_client_hello_over_several_records_establishes() {
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", None, &[&certificate])]);
    for version in VERSIONS {
        let client_config = Arc::new(client_config(&[&certificate], version));
        for size in [1, 3, 50, 200] {
            let (mut client, mut session) =
                (client(&client_config, "a.test"), Session::new(&server));
            let hello = flight(&mut client);
            let mut records = Vec::new();
            for part in hello[5..].chunks(size) {
                records.extend_from_slice(&hello[..3]);
                records.extend_from_slice(&(part.len() as u16).to_be_bytes());
                records.extend_from_slice(part);
            }
            session.read(&records, &mut Vec::new()).unwrap();
            carry(&mut client, &mut session, usize::MAX).unwrap();
            assert!(session.is_established(), "{version:?} in records of {size}");
        }
    }
}

#[test]
fn large_writes_pass_both_ways_in_any_pieces() {
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", None, &[&certificate])]);
    let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    for version in VERSIONS {
        let client_config = Arc::new(client_config(&[&certificate], version));
        let (mut client, mut session) = established(&server, &client_config, "a.test");
        for size in [1, 64 * 1024, 64 * 1024 + 1, sent.len()] {
            let mut out = Vec::new();
            session.write(&sent[..size], &mut out).unwrap();
            assert!(deliver(&mut client, &out).unwrap() == sent[..size], "{size} down");
            client.writer().write_all(&sent[..size]).unwrap();
            for piece in [size.min(7_001), 100_000] {
                let plain = carry(&mut client, &mut session, piece).unwrap();
                assert!(plain.is_empty() || plain == sent[..size], "{size} up");
                client.writer().write_all(&sent[..size]).unwrap();
            }
            assert!(carry(&mut client, &mut session, 16_384).unwrap() == sent[..size]);
        }
    }
}

#[test]
fn parts_share_records_that_are_as_long_as_they_may_be() {
    const RECORD_BYTES_MAX: usize = 16 * 1024;
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", None, &[&certificate])]);
    for version in VERSIONS {
        let client_config = Arc::new(client_config(&[&certificate], version));
        let (mut client, mut session) = established(&server, &client_config, "a.test");
        let (head, body) = (vec![b'h'; 200], vec![b'b'; 64 * 1024]);
        let mut out = Vec::new();
        session.write_all(&[&head, b"", &body], &mut out).unwrap();
        let (mut rest, mut lengths) = (&out[..], Vec::new());
        while let [23, 3, 3, high, low, more @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            lengths.push(length);
            rest = &more[length..];
        }
        assert!(rest.is_empty() && lengths.len() == 5, "{lengths:?}");
        assert!(lengths[..4].iter().all(|length| *length >= RECORD_BYTES_MAX), "{lengths:?}");
        assert_eq!(deliver(&mut client, &out).unwrap(), [head, body].concat());
    }
}

#[test]
fn close_notify_ends_each_direction_cleanly() {
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", None, &[&certificate])]);
    for version in VERSIONS {
        let client_config = Arc::new(client_config(&[&certificate], version));
        let (mut client, mut session) = established(&server, &client_config, "a.test");
        client.writer().write_all(b"last").unwrap();
        client.send_close_notify();
        let mut bytes = flight(&mut client);
        bytes.extend_from_slice(b"junk behind the end is ignored");
        let mut plain = Vec::new();
        session.read(&bytes, &mut plain).unwrap();
        session.read(b"and later too", &mut plain).unwrap();
        assert_eq!(plain, b"last");
        assert!(session.is_closed_by_peer());
        let mut out = Vec::new();
        session.write(b"answer", &mut out).unwrap();
        session.close(&mut out);
        let length = out.len();
        session.close(&mut out);
        assert_eq!(out.len(), length, "closing twice says it once");
        assert!(session.write(b"more", &mut out).is_err());
        assert_eq!(deliver(&mut client, &out).unwrap(), b"answer");
        assert!(client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn an_unfinished_handshake_takes_no_data() {
    let certificate = certificate(&["a.test"]);
    let server = config(&[listener("l", None, &[&certificate])]);
    let mut out = Vec::new();
    assert!(Session::new(&server).write(b"x", &mut out).is_err());
    let client_config = Arc::new(client_config(&[&certificate], VERSIONS[1]));
    let (mut client, mut session) = (client(&client_config, "a.test"), Session::new(&server));
    session.read(&flight(&mut client), &mut Vec::new()).unwrap();
    assert!(session.write(b"x", &mut out).is_err());
    assert!(out.is_empty());
    carry(&mut client, &mut session, usize::MAX).unwrap();
    session.write(b"x", &mut out).unwrap();
    assert_eq!(deliver(&mut client, &out).unwrap(), b"x");
}
