//! What others are told of the client: received fields on their way out, with `X-Forwarded-*` by us.
//!
//! Used for the request that a backend gets and for the one that an authorization server is asked by.
//! Invariant: what an untrusted peer says of the hops before it goes nowhere.

use super::Client;
use crate::http::{HeadWriter, Known, RequestHead};
use crate::ir::Protocol;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Provenance<'p> {
    /// Who asks.
    pub client: Client<'p>,
    /// What its connection began with.
    pub protocol: Protocol,
    /// Whether its peer may speak of the hops before it.
    pub trusted: bool,
}

/// What a trusted peer said about the hops before it.
#[derive(Default)]
struct Forwarded<'h> {
    hops: Option<&'h [u8]>,
    proto: bool,
    host: bool,
}

impl Provenance<'_> {
    /// The scheme that the client used.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self.protocol {
            Protocol::Tls => "https",
            Protocol::Http | Protocol::Tcp | Protocol::Udp => "http",
        }
    }

    /// Writes the fields that `keeps` admits: those received end to end, then ours in place of what
    /// the client says of itself. Host and framing are not among them.
    pub(crate) fn write(
        &self,
        head: &RequestHead,
        keeps: impl Fn(&[u8]) -> bool,
        out: &mut impl HeadWriter,
    ) {
        let mut seen = Forwarded::default();
        for field in head.passing() {
            let (name, value) = (field.name.of(&head.arena), field.value.of(&head.arena));
            let ours = match field.known {
                Known::Host | Known::ContentLength => true,
                Known::XForwardedFor if self.trusted => seen.note_for(value),
                Known::XForwardedProto if self.trusted => seen.note_proto(),
                Known::XForwardedHost if self.trusted => seen.note_host(),
                Known::XForwardedFor
                | Known::XForwardedHost
                | Known::XForwardedProto
                | Known::XForwardedPort
                | Known::XRealIp
                | Known::Forwarded => !self.trusted,
                _ => false,
            };
            if !ours && keeps(name) {
                out.copy(&head.arena, field);
            }
        }
        self.write_ours(head, &seen, keeps, out);
    }

    fn write_ours(
        &self,
        head: &RequestHead,
        seen: &Forwarded<'_>,
        keeps: impl Fn(&[u8]) -> bool,
        out: &mut impl HeadWriter,
    ) {
        if keeps(FOR) {
            out.field_of(FOR, |out| {
                if let Some(hops) = seen.hops {
                    out.extend_from_slice(hops);
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(self.client.address.as_bytes());
            });
        }
        if !seen.proto && keeps(b"x-forwarded-proto") {
            out.field(b"x-forwarded-proto", self.scheme().as_bytes());
        }
        if !seen.host && !head.authority_bytes().is_empty() && keeps(b"x-forwarded-host") {
            out.field(b"x-forwarded-host", head.authority_bytes());
        }
    }
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

/// The one that no route's modifier takes away from a backend.
pub(super) const FOR: &[u8] = b"x-forwarded-for";
