//! Heads as HTTP/2 writes them: pseudo-fields, then fields, into a header block.
//!
//! `exchange` writes through it as it writes HTTP/1. What belongs to a connection of HTTP/1 (reason
//! phrase, framing other than Content-Length, persistence) is left out.

use super::hpack::Block;
use crate::http::{Framing, HeadWriter, Version};

/// A header block being written; the second part is reused memory.
#[derive(Debug)]
pub struct Fields<'w, 'b>(pub &'w mut Block<'b>, pub &'w mut Vec<u8>);

impl HeadWriter for Fields<'_, '_> {
    fn request(
        &mut self,
        method: &[u8],
        scheme: &str,
        authority: impl FnOnce(&mut Vec<u8>),
        target: impl FnOnce(&mut Vec<u8>),
        hidden: bool,
    ) {
        self.field(b":method", method);
        self.field(b":scheme", scheme.as_bytes());
        self.1.clear();
        authority(self.1);
        // Clients of HTTP/1.0 need not name a host.
        if !self.1.is_empty() {
            self.0.field(b":authority", self.1);
        }
        self.1.clear();
        target(self.1);
        match hidden {
            true => self.0.never_indexed(b":path", self.1),
            false => self.0.field(b":path", self.1),
        }
    }

    /// A switch of protocols is a success here (RFC 8441 section 4).
    #[inline]
    fn status(&mut self, status: u16, _reason: &[u8]) {
        self.0.status(if status == 101 { 200 } else { status });
    }

    #[inline]
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.0.field(name, value);
    }

    #[inline]
    fn never_indexed(&mut self, name: &[u8], value: &[u8]) {
        self.0.never_indexed(name, value);
    }

    #[inline]
    fn field_of(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.1.clear();
        write(self.1);
        self.0.field(name, self.1);
    }

    #[inline]
    fn framing(&mut self, framing: Framing) {
        match framing {
            Framing::Length(length) => {
                self.field(b"content-length", itoa::Buffer::new().format(length).as_bytes());
            }
            Framing::None | Framing::Chunked | Framing::UntilClose => {}
        }
    }

    fn takes_trailers(&mut self) {
        self.field(b"te", b"trailers");
    }

    fn websocket(&mut self) {}

    #[inline]
    fn persistence(&mut self, _version: Version, _keep_alive: bool) {}

    #[inline]
    fn end(&mut self) {}
}
