//! Host and port of a request: RFC 9110 section 7.2, RFC 3986 section 3.2.
//!
//! It resolves nothing and compares nothing. The HTTP engines check Host, the authority of an
//! absolute target and (later) `:authority` here. Invariant: what passes is a name of letters,
//! digits, `-`, `_` and `.` without empty labels, or an IP literal, with an optional port; no user
//! information, list, escape or zone can pass.

use std::net::Ipv6Addr;

use thiserror::Error as ThisError;

use crate::limits::HOST_BYTES_MAX;

/// Why an authority was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// There is no host.
    #[error("empty host")]
    Empty,
    /// The host is longer than a DNS name.
    #[error("host too long")]
    TooLong,
    /// A byte that neither a name nor an IP literal may contain.
    #[error("byte not allowed in a host")]
    Byte,
    /// Two dots in a row, or a leading dot.
    #[error("empty label")]
    Label,
    /// Brackets without an IPv6 address between them.
    #[error("not an IP literal")]
    IpLiteral,
    /// Not a decimal number from 1 to 65535 without leading zeros.
    #[error("bad port")]
    Port,
}

/// The parts of an authority, as lengths into what was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The first this many bytes are the host, brackets included, trailing dot left out.
    pub host_length: usize,
    /// The port, if written.
    pub port: Option<u16>,
    /// A trailing dot stands between host and port or end.
    pub trailing_dot: bool,
}

/// Checks `raw` as `host[:port]`. The caller lower-cases it.
///
/// # Errors
/// Anything else; see [`Error`].
#[inline]
pub fn parse(raw: &[u8]) -> Result<Authority, Error> {
    if raw.first() == Some(&b'[') {
        return parse_literal(raw);
    }
    let mut host_end = raw.len();
    let mut previous = b'.';
    for (at, &byte) in raw.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'A'..=b'Z' => {}
            b'.' if previous != b'.' => {}
            b'.' => return Err(Error::Label),
            b':' => {
                host_end = at;
                break;
            }
            _ => return Err(Error::Byte),
        }
        previous = byte;
    }
    match host_end {
        0 => return Err(Error::Empty),
        1..=HOST_BYTES_MAX => {}
        _ => return Err(Error::TooLong),
    }
    let port = parse_port(&raw[host_end..])?;
    let trailing_dot = previous == b'.';
    Ok(Authority { host_length: host_end - usize::from(trailing_dot), port, trailing_dot })
}

fn parse_literal(raw: &[u8]) -> Result<Authority, Error> {
    let close = memchr::memchr(b']', raw).ok_or(Error::IpLiteral)?;
    std::str::from_utf8(&raw[1..close])
        .ok()
        .and_then(|text| text.parse::<Ipv6Addr>().ok())
        .ok_or(Error::IpLiteral)?;
    let port = parse_port(&raw[close + 1..])?;
    Ok(Authority { host_length: close + 1, port, trailing_dot: false })
}

/// `":" port`, or nothing.
#[inline]
fn parse_port(rest: &[u8]) -> Result<Option<u16>, Error> {
    let digits = match rest {
        [] => return Ok(None),
        [b':', digits @ ..] => digits,
        _ => return Err(Error::Byte),
    };
    if digits.first().is_none_or(|&first| first == b'0') {
        return Err(Error::Port);
    }
    let mut port = 0_u16;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return Err(Error::Port);
        }
        let digit = u16::from(byte - b'0');
        port = port.checked_mul(10).and_then(|p| p.checked_add(digit)).ok_or(Error::Port)?;
    }
    Ok(Some(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_with_and_without_port_pass() {
        for (raw, host, port) in [
            ("a", "a", None),
            ("example.com", "example.com", None),
            ("EXAMPLE.com.", "EXAMPLE.com", None),
            ("example.com.:80", "example.com", Some(80)),
            ("a_b-c.d:65535", "a_b-c.d", Some(65535)),
            ("10.0.0.1:1", "10.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:8443", "[2001:DB8::1]", Some(8443)),
            ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", None),
        ] {
            let parsed = parse(raw.as_bytes()).unwrap();
            assert_eq!(&raw[..parsed.host_length], host, "{raw}");
            assert_eq!(parsed.port, port, "{raw}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (raw, expected) in [
            ("", Error::Empty),
            (":80", Error::Empty),
            (".", Error::Label),
            (".a", Error::Label),
            ("a..b", Error::Label),
            ("a..", Error::Label),
            ("a,b", Error::Byte),
            ("u@a", Error::Byte),
            ("u:p@a", Error::Port),
            ("a/b", Error::Byte),
            ("a b", Error::Byte),
            ("a%41", Error::Byte),
            ("a?b", Error::Byte),
            ("a#b", Error::Byte),
            ("a\\b", Error::Byte),
            ("\u{e9}", Error::Byte),
            ("a:", Error::Port),
            ("a:0", Error::Port),
            ("a:080", Error::Port),
            ("a:99999", Error::Port),
            ("a:65536", Error::Port),
            ("a:+80", Error::Port),
            ("a:80:80", Error::Port),
            ("a:80 ", Error::Port),
            ("::1", Error::Empty),
            ("[::1", Error::IpLiteral),
            ("[]", Error::IpLiteral),
            ("[a]", Error::IpLiteral),
            ("[1.2.3.4]", Error::IpLiteral),
            ("[fe80::1%25eth0]", Error::IpLiteral),
            ("[v1.a]", Error::IpLiteral),
            ("[::1]x", Error::Byte),
            ("[::1]:", Error::Port),
            ("[::1].", Error::Byte),
        ] {
            assert_eq!(parse(raw.as_bytes()), Err(expected), "{raw}");
        }
        assert_eq!(parse(&[b'a'; HOST_BYTES_MAX + 1]), Err(Error::TooLong));
        assert!(parse(&[b'a'; HOST_BYTES_MAX]).is_ok());
    }
}
