//! The PROXY protocol: what is a header, what is none, and that no cut of the input changes that.
#![allow(missing_docs, reason = "a test")]

use std::net::{IpAddr, SocketAddr};

use proxy::ir::{ProxySources, ProxyVersion};
use proxy::limits::PROXY_HEADER_BYTES_MAX;
use proxy::proxy_protocol::{Ends, Malformed, read, write};

fn ends(source: &str, destination: &str) -> Ends {
    let at = |text: &str| text.parse::<SocketAddr>().expect("an address with its port");
    Ends { source: at(source), destination: at(destination) }
}

/// Version 2: command, family, declared length, bytes that follow.
fn binary(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    let mut out = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(rest);
    out
}

const FOUR: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0x1f, 0x90, 0, 80];

fn six() -> Vec<u8> {
    let mut out = "2001:db8::1".parse::<std::net::Ipv6Addr>().expect("v6").octets().to_vec();
    out.extend("::ffff:198.51.100.7".parse::<std::net::Ipv6Addr>().expect("v6").octets());
    out.extend([0x1f, 0x90, 1, 187]);
    out
}

/// Whole headers and what they say.
fn good() -> Vec<(Vec<u8>, Option<Ends>)> {
    let four = Some(ends("192.0.2.1:8080", "198.51.100.7:80"));
    let with_fields = [FOUR, &[3, 0, 4, 1, 2, 3, 4, 4, 0, 0]].concat();
    let filled = [FOUR, &vec![4; PROXY_HEADER_BYTES_MAX - 16 - FOUR.len()]].concat();
    let line = |text: &str| text.as_bytes().to_vec();
    vec![
        (line("PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\n"), four),
        (
            line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n"),
            Some(ends("255.255.255.255:65535", "255.255.255.255:0")),
        ),
        (
            line("PROXY TCP6 2001:db8::1 ::1 8080 443\r\n"),
            Some(ends("[2001:db8::1]:8080", "[::1]:443")),
        ),
        (line("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 8080 80\r\n"), four),
        (line("PROXY UNKNOWN\r\n"), None),
        (line("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), None),
        (line(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16))), None),
        (binary(0x21, 0x11, 12, FOUR), four),
        (binary(0x21, 0x11, 22, &with_fields), four),
        (binary(0x21, 0x11, (PROXY_HEADER_BYTES_MAX - 16) as u16, &filled), four),
        (binary(0x21, 0x21, 36, &six()), Some(ends("[2001:db8::1]:8080", "198.51.100.7:443"))),
        (binary(0x20, 0x00, 0, b""), None),
        (binary(0x20, 0x11, 12, FOUR), None),
        (binary(0x20, 0xff, 3, b"abc"), None),
        (binary(0x21, 0x00, 0, b""), None),
        (binary(0x21, 0x00, 5, b"abcde"), None),
        (binary(0x21, 0x12, 12, FOUR), None),
        (binary(0x21, 0x31, 216, &[b'/'; 216]), None),
    ]
}

/// What is refused, with or without more bytes behind it.
fn bad() -> Vec<Vec<u8>> {
    let lines = [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "proxy TCP4 192.0.2.1 198.51.100.7 8080 80\r\n",
        "PROXY\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.7 8080 80\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.7 8080 80\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.7 8080 80\r\n",
        "PROXY UNKNOWN2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 8080\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80 1\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.7 8080 80\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.7 8080 80\r\n",
        "PROXY TCP4 192.0.2 198.51.100.7 8080 80\r\n",
        "PROXY TCP4 ::1 ::1 8080 80\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.7 8080 80\r\n",
        "PROXY TCP6 ::1%1 ::1 8080 80\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 08080 80\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 +8080 80\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 65536 80\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7  80\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\n\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\r\n",
        "\r\n\r\n\0\r\nQUIX\n",
        "\u{16}\u{3}\u{1}",
    ];
    let mut all: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    all.push(format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15)).into_bytes());
    all.push(format!("PROXY UNKNOWN {}", "x".repeat(200)).into_bytes());
    all.push(b"PROXY UNKNOWN \xff\xff\r\n".to_vec());
    all.extend([
        binary(0x11, 0x11, 12, FOUR),
        binary(0x22, 0x11, 12, FOUR),
        binary(0x31, 0x11, 12, FOUR),
        binary(0x21, 0x13, 12, FOUR),
        binary(0x21, 0x41, 12, FOUR),
        binary(0x21, 0x11, 11, FOUR),
        binary(0x21, 0x21, 35, &six()),
        binary(0x21, 0x31, 215, &[b'/'; 216]),
        binary(0x21, 0x11, (PROXY_HEADER_BYTES_MAX - 15) as u16, FOUR),
        binary(0x20, 0x00, u16::MAX, b""),
    ]);
    all
}

#[test]
fn whole_headers_say_who_connects_and_where_they_end() {
    for (header, ends) in good() {
        for behind in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"PROXY UNKNOWN\r\n", b"\r\n"] {
            let input = [&header[..], behind].concat();
            let read = read(&input).expect("well-formed").expect("whole");
            assert_eq!(read.ends, ends, "{}", header.escape_ascii());
            assert_eq!(read.length, header.len(), "{}", header.escape_ascii());
        }
    }
}

#[test]
fn no_beginning_of_a_header_is_taken_for_a_whole_or_refused() {
    for (header, _) in good() {
        for cut in 0..header.len() {
            assert_eq!(read(&header[..cut]), Ok(None), "{}", header[..cut].escape_ascii());
        }
    }
}

#[test]
fn what_is_no_header_is_refused_at_every_cut_from_some_on() {
    for input in bad() {
        assert_eq!(read(&input), Err(Malformed), "{}", input.escape_ascii());
        let mut refused = false;
        for cut in 0..=input.len() {
            match read(&input[..cut]) {
                Ok(None) => assert!(!refused, "{}", input.escape_ascii()),
                Err(Malformed) => refused = true,
                Ok(Some(_)) => panic!("{} is taken", input[..cut].escape_ascii()),
            }
        }
    }
}

#[test]
fn the_first_byte_that_cannot_begin_a_header_tells() {
    for byte in 0..=255 {
        let wanted = if matches!(byte, b'P' | b'\r') { Ok(None) } else { Err(Malformed) };
        assert_eq!(read(&[byte]), wanted, "{byte}");
    }
    assert_eq!(read(b"POST / HTTP/1.1"), Err(Malformed));
    assert_eq!(read(b"PR"), Ok(None));
    assert_eq!(read(b"PRI * HTTP/2.0"), Err(Malformed));
}

#[test]
fn what_is_written_is_read_back() {
    for (source, destination, line) in [
        ("192.0.2.1:8080", "198.51.100.7:80", "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\n"),
        ("[2001:db8::1]:1", "[::1]:65535", "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"),
        ("[2001:db8::1]:1", "192.0.2.1:2", "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 2\r\n"),
        ("192.0.2.1:2", "[2001:db8::1]:1", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 2 1\r\n"),
    ] {
        let ends = ends(source, destination);
        let mut out = Vec::new();
        write(ProxyVersion::V1, ends, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), line);
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let mut out = Vec::new();
            write(version, ends, &mut out);
            let header = read(&out).expect("well-formed").expect("whole");
            assert_eq!((header.ends, header.length), (Some(ends), out.len()), "{version:?}");
        }
    }
    let mut out = Vec::new();
    write(ProxyVersion::V2, ends("192.0.2.1:8080", "198.51.100.7:80"), &mut out);
    assert_eq!(out, binary(0x21, 0x11, 12, FOUR));
}

#[test]
fn sources_are_networks_of_either_family() {
    let sources = ProxySources(
        [("10.1.2.0", 23), ("192.0.2.7", 32), ("2001:db8:8000::", 33)]
            .map(|(network, prefix)| (network.parse().expect("an address"), prefix))
            .into(),
    );
    for (peer, wanted) in [
        ("10.1.2.0", true),
        ("10.1.3.255", true),
        ("10.1.4.0", false),
        ("192.0.2.7", true),
        ("192.0.2.6", false),
        ("::ffff:192.0.2.7", true),
        ("2001:db8:ffff::1", true),
        ("2001:db8:7fff::1", false),
        ("::", false),
    ] {
        let peer: IpAddr = peer.parse().expect("an address");
        assert_eq!(sources.contains(peer), wanted, "{peer}");
    }
    let all = ProxySources(vec![("0.0.0.0".parse().expect("an address"), 0)]);
    assert!(all.contains("203.0.113.9".parse().expect("an address")));
    assert!(!all.contains("2001:db8::1".parse().expect("an address")));
}
