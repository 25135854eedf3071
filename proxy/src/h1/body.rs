//! Bodies: a decoder that yields ranges of its input, and an encoder that writes around data.

use std::ops::Range;

use super::error::Error;
use crate::http::Framing;

/// Decodes one message body, RFC 9112 sections 6 and 7.1.
#[derive(Debug)]
pub struct BodyReader {
    framing: Framing,
}

/// What one call of [`BodyReader::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRead {
    /// Bytes of the input that are dealt with; call again with the rest.
    pub consumed: usize,
    /// Body bytes, as a range of the input (may be empty).
    pub data: Range<usize>,
    /// The body is complete; the rest of the input belongs to the next message.
    pub done: bool,
}

/// Encodes one message body.
#[derive(Debug)]
pub struct BodyWriter {
    framing: Framing,
}

impl BodyReader {
    /// A decoder for a body with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing }
    }

    /// Whether the body is complete (at once for [`Framing::None`] and length 0).
    #[must_use]
    pub fn is_done(&self) -> bool {
        todo!()
    }

    /// Decodes from the start of `input`. A call that consumes nothing needs more input.
    ///
    /// # Errors
    /// Broken chunked coding; the connection must close.
    pub fn read(&mut self, input: &[u8]) -> Result<BodyRead, Error> {
        let _ = (input, self.framing);
        todo!()
    }

    /// The peer closed: whether that ends the body validly (only [`Framing::UntilClose`], or done).
    pub fn end_of_input(&mut self) -> bool {
        todo!()
    }

    /// Trailer fields that may be forwarded as trailers, as `name: value\r\n` lines; empty if none.
    /// Framing, routing, authentication and hop-by-hop fields are dropped already.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        todo!()
    }
}

impl BodyWriter {
    /// An encoder for a body with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing }
    }

    /// Appends what must stand before `length` data bytes (a chunk's size line).
    pub fn before(&mut self, length: usize, out: &mut Vec<u8>) {
        let _ = (length, out, self.framing);
        todo!()
    }

    /// Appends what must stand after the data bytes (a chunk's line end).
    pub fn after(&mut self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }

    /// Appends the end of the body, with trailer lines as [`BodyReader::trailers`] gives them.
    /// For [`Framing::Length`] the caller has written exactly that many bytes.
    pub fn finish(&mut self, trailers: &[u8], out: &mut Vec<u8>) {
        let _ = (trailers, out);
        todo!()
    }
}
