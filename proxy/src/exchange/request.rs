//! The request head as the backend gets it.

use super::{Client, Forward};
use crate::filter::{header, rewrite};
use crate::http::{HeadWriter, Known, RequestHead};
use crate::ir::Protocol;

impl Forward<'_> {
    /// Writes the request head for the backend: canonical (or rewritten) path, one Host, end-to-end
    /// fields after the header modifiers, `X-Forwarded-*`, one framing field.
    pub fn write_request(&self, head: &RequestHead, client: Client<'_>, out: &mut impl HeadWriter) {
        self.write_target(head, out);
        let modifiers = self.filters().request_headers();
        let trusted = self.settings.trusted_hops > 0;
        let mut seen = Forwarded::default();
        for (name, value, known) in head.end_to_end() {
            let ours = match known {
                Known::Host | Known::ContentLength => true,
                Known::XForwardedFor if trusted => seen.note_for(value),
                Known::XForwardedProto if trusted => seen.note_proto(),
                Known::XForwardedHost if trusted => seen.note_host(),
                Known::XForwardedFor
                | Known::XForwardedHost
                | Known::XForwardedProto
                | Known::XForwardedPort
                | Known::XRealIp
                | Known::Forwarded => !trusted,
                _ => false,
            };
            if !ours && header::keeps(modifiers.clone(), name) {
                out.field(name, value);
            }
        }
        self.write_forwarded(head, client, &seen, out);
        header::additions(modifiers, |name, value| out.field(name, value));
        if head.websocket {
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
            None => out.extend_from_slice(head.authority().as_bytes()),
        };
        out.request(head.method_str(), scheme, authority, |out| {
            match filters.rewritten_path().filter(|_| head.path() != "*") {
                Some(modifier) => rewrite::path(modifier, head.path(), self.prefix, out),
                None => out.extend_from_slice(head.path().as_bytes()),
            }
            if let Some(query) = head.query() {
                out.push(b'?');
                out.extend_from_slice(query.as_bytes());
            }
        });
    }

    fn write_forwarded(
        &self,
        head: &RequestHead,
        client: Client<'_>,
        seen: &Forwarded<'_>,
        out: &mut impl HeadWriter,
    ) {
        out.field_of(b"x-forwarded-for", |out| {
            if let Some(hops) = seen.hops {
                out.extend_from_slice(hops);
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(client.address.as_bytes());
        });
        // What the route sets or removes replaces ours, as it does a received field.
        let ours = |name: &[u8]| header::keeps(self.filters().request_headers(), name);
        if !seen.proto && ours(b"x-forwarded-proto") {
            let protocol: &[u8] = match self.protocol {
                Protocol::Tls => b"https",
                Protocol::Http | Protocol::Tcp | Protocol::Udp => b"http",
            };
            out.field(b"x-forwarded-proto", protocol);
        }
        if !seen.host && !head.host().is_empty() && ours(b"x-forwarded-host") {
            out.field(b"x-forwarded-host", head.authority().as_bytes());
        }
    }
}

/// What a trusted peer said about the hops before it.
#[derive(Default)]
struct Forwarded<'h> {
    hops: Option<&'h [u8]>,
    proto: bool,
    host: bool,
}

impl<'h> Forwarded<'h> {
    /// The last line wins: a well-behaved peer sends one. Returns true: written by us.
    fn note_for(&mut self, value: &'h [u8]) -> bool {
        self.hops = (!value.is_empty()).then_some(value);
        true
    }

    /// Returns false: passed on as it is.
    fn note_proto(&mut self) -> bool {
        self.proto = true;
        false
    }

    fn note_host(&mut self) -> bool {
        self.host = true;
        false
    }
}
