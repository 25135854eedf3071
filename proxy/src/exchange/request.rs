//! The request head as the backend gets it.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::forwarded::{self, Provenance};
use super::{Client, Forward};
use crate::filter::{header, rewrite};
use crate::http::{HeadWriter, RequestHead, Version};

impl Forward<'_> {
    /// Writes the request head for the backend: canonical (or rewritten) path, one Host, end-to-end
    /// fields after the header modifiers, `X-Forwarded-*`, one framing field.
    pub fn write_request(&self, head: &RequestHead, client: Client<'_>, out: &mut impl HeadWriter) {
        self.write_target(head, out);
        let modifiers = self.filters().request_headers();
        let trusted = self.settings.trusted_hops > 0;
        let provenance = Provenance { client, protocol: self.protocol, trusted };
        // What the route sets or removes replaces ours, as it does a received field.
        let keeps = |name: &[u8]| name == forwarded::FOR || header::keeps(modifiers.clone(), name);
        provenance.write(head, keeps, out);
        header::additions(modifiers.clone(), |name, value| out.field(name, value));
        if head.websocket {
            if head.version == Version::Http2 {
                out.field(b"sec-websocket-key", &websocket_key(head, client));
            }
            out.websocket();
        } else if head.te_trailers {
            out.takes_trailers();
        }
        out.framing(head.framing);
        out.end();
    }

    fn write_target(&self, head: &RequestHead, out: &mut impl HeadWriter) {
        let filters = self.filters();
        let scheme = if self.backend.tls.is_some() { "https" } else { "http" };
        let authority = |out: &mut Vec<u8>| match filters.rewritten_host() {
            Some(hostname) => out.extend(hostname.bytes().filter(u8::is_ascii_graphic)),
            None => out.extend_from_slice(head.authority_bytes()),
        };
        let target = |out: &mut Vec<u8>| {
            match filters.rewritten_path().filter(|_| head.path_bytes() != b"*") {
                Some(modifier) => rewrite::path(modifier, head.path(), self.prefix, out),
                None => out.extend_from_slice(head.path_bytes()),
            }
            head.write_query(out);
        };
        out.request(head.method_bytes(), scheme, authority, target, head.target_hidden);
    }
}

/// The key that a handshake of HTTP/1 needs and one of HTTP/2 has none of (RFC 8441 section 5): 16
/// bytes that hardly come twice, in base64.
fn websocket_key(head: &RequestHead, client: Client<'_>) -> [u8; 24] {
    let half = |salt: u64| {
        FixedState::with_seed(salt).hash_one((&head.arena, client.address, head.arena.as_ptr()))
    };
    let nonce = (u128::from(half(1)) << 64) | u128::from(half(2));
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut key = [b'='; 24];
    for (at, place) in key.iter_mut().take(22).enumerate() {
        // 128 bits are 21 digits and the first two bits of one more.
        let six = if at < 21 { nonce >> (122 - 6 * at) } else { (nonce & 0b11) << 4 };
        *place = digits[(six & 63) as usize];
    }
    key
}
