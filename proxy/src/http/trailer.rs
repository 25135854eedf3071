//! Which fields may stand in a trailer section.
//!
//! It parses nothing; the HTTP engines drop what does not pass. Invariant: nothing that passes could
//! change framing, routing, authentication or the meaning of the head.

use super::Known;

/// RFC 9110 section 6.5.1: no field that is needed before the body, and nothing that a gateway or a
/// backend trusts about where a request came from.
#[must_use]
pub fn may_arrive_late(name: &[u8]) -> bool {
    let known = Known::of(name);
    known == Known::Other && !name.starts_with(b"x-forwarded-") && !NEEDED_EARLY.contains(&name)
}

/// Fields that [`Known`] does not list: authentication, request modifiers, response control, and
/// what describes the content. Those it lists are all dropped.
const NEEDED_EARLY: [&[u8]; 37] = [
    b"accept-encoding",
    b"age",
    b"authentication-info",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-range",
    b"content-type",
    b"cookie",
    b"early-data",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"last-modified",
    b"location",
    b"max-forwards",
    b"origin",
    b"pragma",
    b"range",
    b"referer",
    b"retry-after",
    b"sec-websocket-accept",
    b"sec-websocket-key",
    b"sec-websocket-protocol",
    b"set-cookie",
    b"strict-transport-security",
    b"user-agent",
    b"vary",
    b"via",
    b"warning",
    b"www-authenticate",
    b"x-request-id",
];
