//! `CORS`: what the gateway says to a browser that asks for another origin's resource.
//!
//! The field names are those of the Fetch standard, <https://fetch.spec.whatwg.org/#http-cors-protocol>;
//! which values a configuration allows is the API's. Called by `exchange`: a preflight is answered
//! here whole, an actual request travels on and its response gets the fields. It never refuses a
//! request: browsers do. Invariant: with the filter, every `access-control-*` field of a response is
//! the gateway's, so that no backend can allow more than the route does; an origin that is not
//! allowed gets none.

use std::sync::Arc;

use crate::http::field;
use crate::http::{HeadWriter, Method, RequestHead};
use crate::ir::Cors;

/// Whether `head` asks for permission and nothing else.
#[must_use]
#[inline]
pub fn is_preflight(head: &RequestHead) -> bool {
    head.method == Method::Options
        && origin(head).is_some()
        && field(head, b"access-control-request-method").is_some()
}

/// Whether the response field `name` (lower case) is the gateway's own under this filter.
#[must_use]
pub fn owns(name: &[u8]) -> bool {
    name.starts_with(b"access-control-")
}

/// Writes the fields of the answer to a preflight.
pub fn preflight(cors: &Cors, head: &RequestHead, out: &mut impl HeadWriter) {
    let method = field(head, b"access-control-request-method");
    let headers = field(head, b"access-control-request-headers");
    // `*` for methods is remembered by browsers for all of them, so it is said where it may be;
    // for header names it would leave out `authorization`, so they are named.
    let echoes_method = is_any(&cors.allow_methods) && cors.allow_credentials;
    let echoes_headers = is_any(&cors.allow_headers);
    if let Some(origin) = allowed(cors, head) {
        shared(cors, origin, |_| true, out);
        match method.filter(|_| echoes_method) {
            Some(method) => out.field(ALLOW_METHODS, method),
            None => list(ALLOW_METHODS, &cors.allow_methods, out),
        }
        match headers {
            Some(headers) if echoes_headers => out.field(ALLOW_HEADERS, headers),
            None if echoes_headers => {}
            Some(_) | None => list(ALLOW_HEADERS, &cors.allow_headers, out),
        }
        list(EXPOSE_HEADERS, exposed(cors), out);
        out.field(MAX_AGE, itoa::Buffer::new().format(cors.max_age).as_bytes());
    }
    if depends_on_origin(cors) {
        out.field(b"vary", b"origin");
    }
    if echoes_method {
        out.field(b"vary", b"access-control-request-method");
    }
    if echoes_headers {
        out.field(b"vary", b"access-control-request-headers");
    }
}

/// Writes what an actual response says to the asking origin, but for the fields that are not
/// `wanted`: what the route's own modifiers set or remove.
pub fn response(
    cors: &Cors,
    head: &RequestHead,
    wanted: impl Fn(&[u8]) -> bool,
    out: &mut impl HeadWriter,
) {
    if let Some(origin) = allowed(cors, head) {
        shared(cors, origin, &wanted, out);
        if wanted(EXPOSE_HEADERS) {
            list(EXPOSE_HEADERS, exposed(cors), out);
        }
    }
    // Also without an Origin: a cache may hold this answer ready for a request that has one.
    if depends_on_origin(cors) && wanted(b"vary") {
        out.field(b"vary", b"origin");
    }
}

/// What preflights and actual responses have in common.
fn shared(cors: &Cors, origin: &[u8], wanted: impl Fn(&[u8]) -> bool, out: &mut impl HeadWriter) {
    if wanted(ALLOW_ORIGIN) {
        let value = if depends_on_origin(cors) { origin } else { b"*" };
        out.field(ALLOW_ORIGIN, value);
    }
    if cors.allow_credentials && wanted(ALLOW_CREDENTIALS) {
        out.field(ALLOW_CREDENTIALS, b"true");
    }
}

/// The names that scripts may read. With credentials a browser takes `*` for the name of a field.
fn exposed(cors: &Cors) -> &[Arc<str>] {
    let unsaid = cors.allow_credentials && is_any(&cors.expose_headers);
    if unsaid { &[] } else { &cors.expose_headers }
}

/// One field with all names, if there are any.
fn list(name: &[u8], values: &[Arc<str>], out: &mut impl HeadWriter) {
    let names = || values.iter().filter(|value| field::is_token(value));
    if names().next().is_none() {
        return;
    }
    out.field_of(name, |out| {
        for (at, value) in names().enumerate() {
            out.extend_from_slice(if at == 0 { b"" } else { b", " });
            out.extend_from_slice(value.as_bytes());
        }
    });
}

fn is_any(values: &[Arc<str>]) -> bool {
    values.iter().any(|value| &**value == "*")
}

/// Whether two origins can get different answers.
fn depends_on_origin(cors: &Cors) -> bool {
    cors.allow_credentials || !is_any(&cors.allow_origins)
}

/// The request's origin, if it is allowed.
fn allowed<'h>(cors: &Cors, head: &'h RequestHead) -> Option<&'h [u8]> {
    let given = origin(head)?;
    let matches = || {
        let given = Origin::parse(std::str::from_utf8(given).ok()?)?;
        let mut allowed = cors.allow_origins.iter().filter_map(|allowed| Origin::parse(allowed));
        allowed.any(|allowed| allowed.covers(&given)).then_some(())
    };
    (is_any(&cors.allow_origins) || matches().is_some()).then_some(given)
}

/// The value of `Origin`; a request with several names none.
fn origin(head: &RequestHead) -> Option<&[u8]> {
    let mut values = head.end_to_end().filter(|(name, _, _)| *name == b"origin");
    match (values.next(), values.next()) {
        (Some((_, value, _)), None) if !value.is_empty() => Some(value),
        _ => None,
    }
}

fn field<'h>(head: &'h RequestHead, wanted: &[u8]) -> Option<&'h [u8]> {
    let found = head.end_to_end().find(|(name, _, _)| *name == wanted);
    found.map(|(_, value, _)| value).filter(|value| !value.is_empty())
}

/// `scheme://host[:port]`; the host of an allowed one may be `*` or begin with `*.`.
struct Origin<'o> {
    scheme: &'o str,
    host: &'o str,
    port: u16,
}

impl<'o> Origin<'o> {
    fn parse(text: &'o str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let well_known = if scheme.eq_ignore_ascii_case("https") {
            443
        } else if scheme.eq_ignore_ascii_case("http") {
            80
        } else {
            return None;
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !authority.ends_with(']') => (host, port.parse().ok()?),
            Some(_) | None => (authority, well_known),
        };
        let whole = !host.is_empty() && !host.contains(['/', '?', '#', '@']);
        whole.then_some(Self { scheme, host, port })
    }

    fn covers(&self, given: &Origin<'_>) -> bool {
        let host = match self.host.strip_prefix('*') {
            Some("") => true,
            // The dot of `*.example.com` is part of the suffix; something must stand before it.
            Some(suffix) => {
                let (given, suffix) = (given.host.as_bytes(), suffix.as_bytes());
                let at = given.len().saturating_sub(suffix.len());
                at > 0 && given[0] != b'.' && given[at..].eq_ignore_ascii_case(suffix)
            }
            None => self.host.eq_ignore_ascii_case(given.host),
        };
        host && self.port == given.port && self.scheme.eq_ignore_ascii_case(given.scheme)
    }
}

const ALLOW_ORIGIN: &[u8] = b"access-control-allow-origin";
const ALLOW_CREDENTIALS: &[u8] = b"access-control-allow-credentials";
const EXPOSE_HEADERS: &[u8] = b"access-control-expose-headers";
const ALLOW_METHODS: &[u8] = b"access-control-allow-methods";
const ALLOW_HEADERS: &[u8] = b"access-control-allow-headers";
const MAX_AGE: &[u8] = b"access-control-max-age";

#[cfg(test)]
mod tests;
