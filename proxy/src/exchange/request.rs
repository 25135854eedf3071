//! The request head as the backend gets it.

use super::{Client, Forward};
use crate::filter::{header, rewrite};
use crate::h1::encode;
use crate::http::{Known, RequestHead};
use crate::ir::Protocol;

impl Forward<'_> {
    /// Appends the HTTP/1.1 request head for the backend: canonical (or rewritten) path, one Host,
    /// end-to-end fields after the header modifiers, `X-Forwarded-*`, one framing field.
    pub fn write_request(&self, head: &RequestHead, client: Client<'_>, out: &mut Vec<u8>) {
        self.write_target(head, out);
        self.write_host(head, out);
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
                encode::field(out, name, value);
            }
        }
        self.write_forwarded(head, client, &seen, out);
        header::additions(modifiers, |name, value| encode::field(out, name, value));
        if head.websocket {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        } else if head.te_trailers {
            out.extend_from_slice(b"connection: te\r\nte: trailers\r\n");
        }
        encode::framing(out, head.framing);
        encode::end(out);
    }

    fn write_target(&self, head: &RequestHead, out: &mut Vec<u8>) {
        let path = self.filters().rewritten_path();
        let Some(modifier) = path.filter(|_| head.path() != "*") else {
            return encode::request_line(out, head.method_str(), head.path(), head.query());
        };
        out.extend_from_slice(head.method_str().as_bytes());
        out.push(b' ');
        rewrite::path(modifier, head.path(), self.prefix, out);
        if let Some(query) = head.query() {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    fn write_host(&self, head: &RequestHead, out: &mut Vec<u8>) {
        out.extend_from_slice(b"host: ");
        match self.filters().rewritten_host() {
            Some(hostname) => out.extend(hostname.bytes().filter(u8::is_ascii_graphic)),
            None => out.extend_from_slice(head.authority().as_bytes()),
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_forwarded(
        &self,
        head: &RequestHead,
        client: Client<'_>,
        seen: &Forwarded<'_>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"x-forwarded-for: ");
        if let Some(hops) = seen.hops {
            out.extend_from_slice(hops);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(client.address.as_bytes());
        out.extend_from_slice(b"\r\n");
        // What the route sets or removes replaces ours, as it does a received field.
        let ours = |name: &[u8]| header::keeps(self.filters().request_headers(), name);
        if !seen.proto && ours(b"x-forwarded-proto") {
            out.extend_from_slice(match self.protocol {
                Protocol::Tls => b"x-forwarded-proto: https\r\n".as_slice(),
                Protocol::Http | Protocol::Tcp | Protocol::Udp => b"x-forwarded-proto: http\r\n",
            });
        }
        if !seen.host && !head.host().is_empty() && ours(b"x-forwarded-host") {
            out.extend_from_slice(b"x-forwarded-host: ");
            out.extend_from_slice(head.authority().as_bytes());
            out.extend_from_slice(b"\r\n");
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
