//! `RequestRedirect`: the Location of the answer.

use super::rewrite;
use crate::http::RequestHead;
use crate::ir::Redirect;

/// Appends the Location for `head`, which arrived over TLS or not on a listener with `port`.
///
/// The port follows the API: the filter's own, else the new scheme's well-known one, else the
/// listener's; it is left out where it is the scheme's default.
pub fn location(
    redirect: &Redirect,
    head: &RequestHead,
    prefix: usize,
    tls: bool,
    port: u16,
    out: &mut Vec<u8>,
) {
    let scheme = redirect.scheme.as_deref().unwrap_or(if tls { "https" } else { "http" });
    let default = if scheme == "https" { 443 } else { 80 };
    let implied = if redirect.scheme.is_some() { default } else { port };
    let port = redirect.port.unwrap_or(implied);
    let host = redirect.hostname.as_deref().unwrap_or_else(|| head.host());
    // An HTTP/1.0 request may name no host: then only a relative reference makes sense.
    if !host.is_empty() {
        out.extend_from_slice(scheme.as_bytes());
        out.extend_from_slice(b"://");
        out.extend(host.bytes().filter(u8::is_ascii_graphic));
        if port != default {
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
    }
    match &redirect.path {
        Some(modifier) => rewrite::path(modifier, head.path(), prefix, out),
        None => out.extend_from_slice(head.path_bytes()),
    }
    head.write_query(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Span;
    use crate::ir::PathModifier;

    fn head(host: &str, path: &str, query: &str) -> RequestHead {
        let mut head = RequestHead::default();
        let mut put = |text: &str| {
            let start = u32::try_from(head.arena.len()).unwrap();
            head.arena.extend_from_slice(text.as_bytes());
            Span { start, end: u32::try_from(head.arena.len()).unwrap() }
        };
        let (host, path, query) = (put(host), put(path), put(query));
        head.host = host;
        head.path = path;
        head.query = (query.start != query.end).then_some(query);
        head
    }

    fn redirect() -> Redirect {
        Redirect { scheme: None, hostname: None, path: None, port: None, status: 302 }
    }

    fn to(redirect: &Redirect, tls: bool, port: u16) -> String {
        let mut out = Vec::new();
        location(redirect, &head("a.example", "/p/q", "x=1"), 2, tls, port, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_empty_scheme_keeps_the_listeners_port() {
        assert_eq!(to(&redirect(), false, 8080), "http://a.example:8080/p/q?x=1");
        assert_eq!(to(&redirect(), false, 80), "http://a.example/p/q?x=1");
        assert_eq!(to(&redirect(), true, 443), "https://a.example/p/q?x=1");
    }

    #[test]
    fn a_scheme_takes_its_well_known_port() {
        let https = Redirect { scheme: Some("https".into()), ..redirect() };
        assert_eq!(to(&https, false, 8080), "https://a.example/p/q?x=1");
        let with_port = Redirect { port: Some(8443), ..https };
        assert_eq!(to(&with_port, false, 8080), "https://a.example:8443/p/q?x=1");
    }

    #[test]
    fn without_any_host_the_location_is_relative() {
        let mut out = Vec::new();
        location(&redirect(), &head("", "/p", ""), 0, false, 8080, &mut out);
        assert_eq!(out, b"/p");
    }

    #[test]
    fn a_hostname_cannot_hold_a_line_end() {
        let hostile = Redirect { hostname: Some("b\r\nx: y".into()), ..redirect() };
        assert_eq!(to(&hostile, false, 80), "http://bx:y/p/q?x=1");
    }

    #[test]
    fn hostname_and_prefix_are_replaced() {
        let redirect = Redirect {
            hostname: Some("b.example".into()),
            path: Some(PathModifier::ReplacePrefixMatch("/new".into())),
            ..redirect()
        };
        assert_eq!(to(&redirect, false, 80), "http://b.example/new/q?x=1");
    }
}
