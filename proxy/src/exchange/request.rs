//! The request head as the backend gets it.

use super::forwarded::{self, Provenance};
use super::{Client, Forward};
use crate::filter::{header, rewrite};
use crate::http::{HeadWriter, RequestHead};

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
}
