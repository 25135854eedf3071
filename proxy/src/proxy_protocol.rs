//! The PROXY protocol, versions 1 and 2: who a connection really comes from, in front of its bytes.
//!
//! `shards` reads a header from peers that are trusted to send one and writes one to backends that
//! want one. As the protocol demands, there is no guessing: whoever must send a header and does not is
//! refused. Invariants: how the input is cut never changes the answer; an answer never needs more than
//! [`HEADER_BYTES_MAX`] bytes.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::ir::ProxyVersion;
use crate::limits::{
    PROXY_HEADER_BYTES_MAX as HEADER_BYTES_MAX, PROXY_LINE_BYTES_MAX as LINE_BYTES_MAX,
};

/// Both ends of a connection: who opened it, and whom it was opened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The client's address.
    pub source: SocketAddr,
    /// The address that it connected to.
    pub destination: SocketAddr,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it says; `None` keeps the addresses of the connection itself: the peer speaks for itself
    /// (`LOCAL`), or of something that has no addresses that we know (`UNKNOWN`).
    pub ends: Option<Ends>,
    /// Its bytes; what follows is the connection's.
    pub length: usize,
}

/// What came is no header, or breaks the protocol or our bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a PROXY protocol header")]
pub struct Malformed;

const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a binary header in front of its addresses.
const FIXED_BYTES: usize = 16;

/// Reads the header at the start of `input`. `None`: it is not whole yet.
///
/// # Errors
/// [`Malformed`], as early as the bytes tell.
pub fn read(input: &[u8]) -> Result<Option<Header>, Malformed> {
    match input.first() {
        None => Ok(None),
        Some(b'P') => read_line(input),
        Some(_) => read_binary(input),
    }
}

fn begins(input: &[u8], start: &[u8]) -> Result<bool, Malformed> {
    let length = input.len().min(start.len());
    if input[..length] == start[..length] { Ok(length == start.len()) } else { Err(Malformed) }
}

fn read_line(input: &[u8]) -> Result<Option<Header>, Malformed> {
    if !begins(input, LINE_START)? {
        return Ok(None);
    }
    let seen = &input[..input.len().min(LINE_BYTES_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if seen.len() == LINE_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    let line = str::from_utf8(&seen[LINE_START.len()..end]).map_err(|_| Malformed)?;
    let length = end + 2;
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Some(Header { ends: None, length }));
    }
    let mut word = || words.next().ok_or(Malformed);
    let (source, destination) = (word()?, word()?);
    let (source_port, destination_port) = (number(word()?)?, number(word()?)?);
    if words.next().is_some() {
        return Err(Malformed);
    }
    let address = |text: &str| match family {
        Some("TCP4") => text.parse().map(IpAddr::V4).map_err(|_| Malformed),
        Some("TCP6") => text.parse().map(IpAddr::V6).map_err(|_| Malformed),
        Some(_) | None => Err(Malformed),
    };
    let source = end_at(address(source)?, source_port);
    let destination = end_at(address(destination)?, destination_port);
    Ok(Some(Header { ends: Some(Ends { source, destination }), length }))
}

/// Decimal digits without leading zeros.
fn number(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(Malformed);
    }
    text.parse().map_err(|_| Malformed)
}

fn read_binary(input: &[u8]) -> Result<Option<Header>, Malformed> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    if !begins(input, SIGNATURE)? {
        return Ok(None);
    }
    let command = input.get(12).copied().unwrap_or(PROXY);
    if !matches!(command, LOCAL | PROXY) {
        return Err(Malformed);
    }
    let Some(&[_, family, high, low]) = input[12..].first_chunk() else { return Ok(None) };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_BYTES_MAX {
        return Err(Malformed);
    }
    // What is behind the addresses are fields that may be skipped.
    let least = match (command, family) {
        (LOCAL, _) | (_, 0x00) => 0,
        (_, 0x11 | 0x12) => 12,
        (_, 0x21 | 0x22) => 36,
        (_, 0x31 | 0x32) => 216,
        (_, _) => return Err(Malformed),
    };
    if length < FIXED_BYTES + least {
        return Err(Malformed);
    }
    let Some(addresses) = input.get(FIXED_BYTES..length) else { return Ok(None) };
    let ends = match (command, family) {
        (PROXY, 0x11) => ends_of::<4>(addresses),
        (PROXY, 0x21) => ends_of::<16>(addresses),
        // Not TCP over IP: it says nothing of what arrived here.
        (_, _) => None,
    };
    Ok(Some(Header { ends, length }))
}

/// Source, destination and their ports, the addresses of `N` bytes each.
fn ends_of<const N: usize>(bytes: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let destination_port = rest.first_chunk::<2>()?;
    Some(Ends {
        source: end_at(IpAddr::from(*source), u16::from_be_bytes(*source_port)),
        destination: end_at(IpAddr::from(*destination), u16::from_be_bytes(*destination_port)),
    })
}

fn end_at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// Appends a header that names `ends`.
pub fn write(version: ProxyVersion, ends: Ends, out: &mut Vec<u8>) {
    let Ends { source, destination } = ends;
    let (from, to) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            return write_one(version, (from, source.port()), (to, destination.port()), out);
        }
        (from, to) => (six(from), six(to)),
    };
    write_one(version, (from, source.port()), (to, destination.port()), out);
}

fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}

/// An address of one of the families.
trait Family: Copy + std::fmt::Display {
    const LINE: &'static str;
    const BINARY: u8;
    fn put(self, out: &mut Vec<u8>);
    const BYTES: u16;
}

impl Family for Ipv4Addr {
    const LINE: &'static str = "TCP4";
    const BINARY: u8 = 0x11;
    const BYTES: u16 = 4;
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.octets());
    }
}

impl Family for Ipv6Addr {
    const LINE: &'static str = "TCP6";
    const BINARY: u8 = 0x21;
    const BYTES: u16 = 16;
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.octets());
    }
}

fn write_one<F: Family>(
    version: ProxyVersion,
    (from, from_port): (F, u16),
    (to, to_port): (F, u16),
    out: &mut Vec<u8>,
) {
    match version {
        ProxyVersion::V1 => {
            let line = format!("PROXY {} {from} {to} {from_port} {to_port}\r\n", F::LINE);
            out.extend_from_slice(line.as_bytes());
        }
        ProxyVersion::V2 => {
            out.extend_from_slice(SIGNATURE);
            out.extend_from_slice(&[0x21, F::BINARY]);
            out.extend_from_slice(&(2 * F::BYTES + 4).to_be_bytes());
            from.put(out);
            to.put(out);
            out.extend_from_slice(&from_port.to_be_bytes());
            out.extend_from_slice(&to_port.to_be_bytes());
        }
    }
}
