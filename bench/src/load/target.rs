//! One URL of a run: where it goes, what is sent there, and how often it is chosen.
//!
//! Called by the command line and by `load::engine`. Invariant: the request is built once.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, bail, ensure};

use crate::load::datagram::SEQUENCE;
use crate::protocol::Protocol;

/// How the URLs of a run are asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Request fields, `Name: value`.
    pub(crate) headers: Vec<String>,
    /// HTTP/2 for http and https.
    pub(crate) http2: bool,
    /// HTTP/1.1: the connection ends with the answer.
    pub(crate) close: bool,
    /// Bytes of a message of gRPC, TCP or UDP.
    pub(crate) message: usize,
}

/// One URL with its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As given, without the weight.
    pub(crate) url: String,
    /// Where to connect.
    pub(crate) address: SocketAddr,
    /// The name in SNI, when it is an https URL.
    pub(crate) tls: Option<String>,
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// The request of HTTP/1.1, the body of gRPC, the message of TCP and UDP.
    pub(crate) bytes: Vec<u8>,
    /// The fields of HTTP/2 and gRPC, pseudo-fields first, names in lower case.
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its share.
    pub(crate) weight: u32,
}

impl Target {
    /// Parses `SCHEME://HOST[:PORT]/PATH[=WEIGHT]`, where SCHEME is http, https, grpc, grpcs, tcp, tls
    /// or udp; the last three take no path.
    ///
    /// The weight is what follows the last `=` when that is a number and the URL has no query.
    pub(crate) fn parse(text: &str, wish: &Wish) -> anyhow::Result<Self> {
        let (url, weight) = split_weight(text);
        let Some((scheme, rest)) = url.split_once("://") else {
            bail!(
                "`{url}` is no URL: write http://HOST:PORT/PATH, as in http://127.0.0.1:8080/s=3"
            );
        };
        let (protocol, secure) = scheme_of(scheme, wish.http2).with_context(|| {
            format!("`{url}`: choose the scheme among http, https, grpc, grpcs, tcp, tls, udp; write http://HOST:PORT/PATH")
        })?;
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        };
        ensure!(!authority.is_empty(), "`{url}` names no host");
        let port = if secure { 443 } else { 80 };
        let (address, host) = resolve(authority, port)?;
        let tls = secure.then_some(host);
        let mut target = Self {
            url: url.to_owned(),
            address,
            tls,
            protocol,
            bytes: Vec::new(),
            fields: Vec::new(),
            weight,
        };
        match protocol {
            Protocol::Http1 => {
                target.bytes = request(authority, path, &wish.headers, wish.close)?;
            }
            Protocol::Http2 => target.fields = fields("GET", scheme, authority, path, wish)?,
            Protocol::Grpc => {
                let scheme = if secure { "https" } else { "http" };
                target.fields = fields("POST", scheme, authority, path, wish)?;
                for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
                    target.fields.push((name.into(), value.into()));
                }
                target.bytes = grpc_message(wish.message)?;
            }
            Protocol::Tcp | Protocol::Udp => {
                ensure!(path == "/", "`{url}`: {scheme} URLs have no path");
                let least = if protocol == Protocol::Udp { SEQUENCE } else { 1 };
                ensure!(
                    wish.message >= least,
                    "a message over {scheme} needs at least {least} bytes"
                );
                target.bytes = pattern(wish.message);
            }
        }
        Ok(target)
    }

    /// The name for SNI when a header overrides Host.
    pub(crate) fn named(mut self, headers: &[String]) -> Self {
        if let (Some(name), Some(host)) = (&mut self.tls, host_of(headers)) {
            host.split(':').next().unwrap_or(host).clone_into(name);
        }
        self
    }
}

/// What a scheme says of the protocol, and whether it is over TLS.
fn scheme_of(scheme: &str, http2: bool) -> Option<(Protocol, bool)> {
    let http = if http2 { Protocol::Http2 } else { Protocol::Http1 };
    Some(match scheme {
        "http" => (http, false),
        "https" => (http, true),
        "grpc" => (Protocol::Grpc, false),
        "grpcs" => (Protocol::Grpc, true),
        "tcp" => (Protocol::Tcp, false),
        "tls" => (Protocol::Tcp, true),
        "udp" => (Protocol::Udp, false),
        _ => return None,
    })
}

/// Bytes that are worth comparing.
fn pattern(length: usize) -> Vec<u8> {
    b"0123456789abcdefghijklmnopqrstuvwxyz".iter().copied().cycle().take(length).collect()
}

/// One message as gRPC frames it: not compressed, length, a field of bytes.
fn grpc_message(length: usize) -> anyhow::Result<Vec<u8>> {
    let length32 = u32::try_from(length).context("a message of gRPC is below 4 GiB")?;
    let mut out = vec![0];
    out.extend_from_slice(&length32.to_be_bytes());
    out.extend(pattern(length));
    Ok(out)
}

fn fields(
    method: &str,
    scheme: &str,
    authority: &str,
    path: &str,
    wish: &Wish,
) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    ensure!(!path.contains(' '), "the path `{path}` has a space: write %20");
    let host = host_of(&wish.headers).unwrap_or(authority);
    let pseudo = [(":method", method), (":scheme", scheme), (":authority", host), (":path", path)];
    let mut out: Vec<(Vec<u8>, Vec<u8>)> =
        pseudo.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    for line in &wish.headers {
        let (name, value) = header(line)?;
        if !name.eq_ignore_ascii_case("host") {
            out.push((name.to_ascii_lowercase().into_bytes(), value.into()));
        }
    }
    Ok(out)
}

/// A header of the command line.
fn header(line: &str) -> anyhow::Result<(&str, &str)> {
    let Some((name, value)) = line.split_once(':') else {
        bail!("`{line}` is no header: write `Name: value`");
    };
    ensure!(!line.contains(['\r', '\n']), "a header must not contain a line end");
    Ok((name, value.trim()))
}

fn split_weight(text: &str) -> (&str, u32) {
    match text.rsplit_once('=') {
        Some((url, digits)) if !url.contains('?') => match digits.parse() {
            Ok(weight) if weight > 0 => (url, weight),
            _ => (text, 1),
        },
        _ => (text, 1),
    }
}

fn resolve(authority: &str, port: u16) -> anyhow::Result<(SocketAddr, String)> {
    let with_port = match authority.parse::<SocketAddr>() {
        Ok(address) => return Ok((address, address.ip().to_string())),
        Err(_) if authority.rsplit(':').next().is_some_and(|p| p.parse::<u16>().is_ok()) => {
            authority.to_owned()
        }
        Err(_) => format!("{authority}:{port}"),
    };
    let address = with_port
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve `{authority}`"))?
        .next()
        .with_context(|| format!("`{authority}` has no address"))?;
    let name = with_port.rsplit_once(':').map_or(authority, |(name, _)| name);
    Ok((address, name.to_owned()))
}

fn host_of(headers: &[String]) -> Option<&str> {
    headers
        .iter()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map(|(_, value)| value.trim())
}

fn request(
    authority: &str,
    path: &str,
    headers: &[String],
    close: bool,
) -> anyhow::Result<Vec<u8>> {
    ensure!(!path.contains(' '), "the path `{path}` has a space: write %20");
    let host = host_of(headers).unwrap_or(authority);
    let mut out = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
    for line in headers {
        let (name, value) = header(line)?;
        if !name.eq_ignore_ascii_case("host") {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if close {
        out.push_str("Connection: close\r\n");
    }
    out.push_str("\r\n");
    Ok(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(headers: &[&str]) -> Wish {
        Wish { headers: headers.iter().map(|line| (*line).to_owned()).collect(), ..Wish::default() }
    }

    #[test]
    fn a_url_has_an_address_a_request_and_a_weight() {
        let wish = wish(&["Host: h7.example.com", "X-A:  b "]);
        let target = Target::parse("http://127.0.0.1:81/api/s=3", &wish).unwrap();
        assert_eq!(target.address, "127.0.0.1:81".parse().unwrap());
        assert_eq!((target.weight, target.url.as_str()), (3, "http://127.0.0.1:81/api/s"));
        assert_eq!(target.bytes, b"GET /api/s HTTP/1.1\r\nHost: h7.example.com\r\nX-A: b\r\n\r\n");
    }

    #[test]
    fn an_equals_sign_in_a_query_is_no_weight() {
        let wish = Wish { close: true, ..Wish::default() };
        let target = Target::parse("http://127.0.0.1/x?size=300", &wish).unwrap();
        assert_eq!((target.weight, target.address.port()), (1, 80));
        assert!(target.bytes.ends_with(b"Connection: close\r\n\r\n"));
    }

    #[test]
    fn an_https_url_takes_its_name_from_the_host_header() {
        let wish = wish(&["host: a.example.com:8443"]);
        let target = Target::parse("https://127.0.0.1:8443/", &wish).unwrap();
        assert_eq!(target.named(&wish.headers).tls.as_deref(), Some("a.example.com"));
    }

    #[test]
    fn a_request_of_http2_is_a_list_of_fields_in_lower_case() {
        let wish = Wish { http2: true, ..wish(&["Host: a.example.com", "X-A: B"]) };
        let target = Target::parse("https://127.0.0.1:8443/p", &wish).unwrap();
        let text: Vec<_> = target
            .fields
            .iter()
            .map(|(name, value)| [name.as_slice(), value].map(String::from_utf8_lossy).join("="))
            .collect();
        let wanted =
            [":method=GET", ":scheme=https", ":authority=a.example.com", ":path=/p", "x-a=B"];
        assert_eq!((text, target.bytes.len()), (wanted.map(str::to_owned).into(), 0));
    }

    #[test]
    fn the_scheme_says_what_is_spoken_and_how_a_message_is_framed() {
        let wish = Wish { message: 20, ..Wish::default() };
        for (url, protocol, secure, length) in [
            ("grpc://127.0.0.1:1/a.B/C", Protocol::Grpc, false, 25),
            ("grpcs://127.0.0.1:1/a.B/C", Protocol::Grpc, true, 25),
            ("tcp://127.0.0.1:1", Protocol::Tcp, false, 20),
            ("tls://127.0.0.1:1", Protocol::Tcp, true, 20),
            ("udp://127.0.0.1:1", Protocol::Udp, false, 20),
        ] {
            let target = Target::parse(url, &wish).unwrap();
            let found = (target.protocol, target.tls.is_some(), target.bytes.len());
            assert_eq!(found, (protocol, secure, length), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_explained() {
        let refused = |text: &str| {
            Target::parse(text, &Wish { message: 1, ..Wish::default() }).unwrap_err().to_string()
        };
        for (text, why) in [
            ("127.0.0.1:80/s", "write http://HOST:PORT/PATH"),
            ("ftp://127.0.0.1/", "choose the scheme among http, https, grpc"),
            ("tcp://127.0.0.1:1/path", "tcp URLs have no path"),
            ("udp://127.0.0.1:1", "needs at least 16 bytes"),
        ] {
            assert!(refused(text).contains(why), "{text}: {}", refused(text));
        }
        assert!(Target::parse("http://127.0.0.1/", &wish(&["nonsense"])).is_err());
    }
}
