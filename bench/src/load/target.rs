//! One URL of a run: where it goes, the request's bytes, and how often it is chosen.
//!
//! Called by the command line and by `load::engine`. Invariant: the request is built once.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, bail, ensure};

/// One URL with its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As given, without the weight.
    pub(crate) url: String,
    /// Where to connect.
    pub(crate) address: SocketAddr,
    /// The name in SNI, when it is an https URL.
    pub(crate) tls: Option<String>,
    /// The request as it is sent.
    pub(crate) request: Vec<u8>,
    /// Its share.
    pub(crate) weight: u32,
}

impl Target {
    /// Parses `http[s]://HOST[:PORT]/PATH[=WEIGHT]`.
    ///
    /// The weight is what follows the last `=` when that is a number and the URL has no query.
    pub(crate) fn parse(text: &str, headers: &[String], close: bool) -> anyhow::Result<Self> {
        let (url, weight) = split_weight(text);
        let (secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => bail!(
                "`{url}` is no URL: write http://HOST:PORT/PATH or https://…, as in http://127.0.0.1:8080/s=3"
            ),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        };
        ensure!(!authority.is_empty(), "`{url}` names no host");
        let port = if secure { 443 } else { 80 };
        let (address, host) = resolve(authority, port)?;
        let request = request(authority, path, headers, close)?;
        Ok(Self { url: url.to_owned(), address, tls: secure.then_some(host), request, weight })
    }

    /// The name for SNI when a header overrides Host.
    pub(crate) fn named(mut self, headers: &[String]) -> Self {
        if let (Some(name), Some(host)) = (&mut self.tls, host_of(headers)) {
            host.split(':').next().unwrap_or(host).clone_into(name);
        }
        self
    }
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
        let Some((name, value)) = line.split_once(':') else {
            bail!("`{line}` is no header: write `Name: value`");
        };
        ensure!(!line.contains(['\r', '\n']), "a header must not contain a line end");
        if !name.eq_ignore_ascii_case("host") {
            out.push_str(&format!("{name}: {}\r\n", value.trim()));
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

    #[test]
    fn a_url_has_an_address_a_request_and_a_weight() {
        let headers = ["Host: h7.example.com".to_owned(), "X-A:  b ".to_owned()];
        let target = Target::parse("http://127.0.0.1:81/api/s=3", &headers, false).unwrap();
        assert_eq!(target.address, "127.0.0.1:81".parse().unwrap());
        assert_eq!((target.weight, target.url.as_str()), (3, "http://127.0.0.1:81/api/s"));
        assert_eq!(
            target.request,
            b"GET /api/s HTTP/1.1\r\nHost: h7.example.com\r\nX-A: b\r\n\r\n"
        );
    }

    #[test]
    fn an_equals_sign_in_a_query_is_no_weight() {
        let target = Target::parse("http://127.0.0.1/x?size=300", &[], true).unwrap();
        assert_eq!((target.weight, target.address.port()), (1, 80));
        assert!(target.request.ends_with(b"Connection: close\r\n\r\n"));
    }

    #[test]
    fn an_https_url_takes_its_name_from_the_host_header() {
        let headers = ["host: a.example.com:8443".to_owned()];
        let target = Target::parse("https://127.0.0.1:8443/", &headers, false).unwrap();
        assert_eq!(target.named(&headers).tls.as_deref(), Some("a.example.com"));
    }

    #[test]
    fn what_is_no_url_is_explained() {
        let error = Target::parse("127.0.0.1:80/s", &[], false).unwrap_err().to_string();
        assert!(error.contains("write http://HOST:PORT/PATH"), "{error}");
        assert!(Target::parse("http://127.0.0.1/", &["nonsense".to_owned()], false).is_err());
    }
}
