//! Bodies: a decoder that yields ranges of its input, and an encoder that writes around data.
//!
//! Neither copies or keeps body bytes (only trailer lines, which are rare); drivers own buffers and
//! time. Invariants: a decoder hands out exactly the bytes of its message and consumes none behind
//! it, however the input is cut; after an error it stays in error; chunk extensions go nowhere.

use std::ops::Range;

use super::error::Error;
use super::trailer::Trailers;
use crate::http::Framing;
use crate::http::field::is_value_byte;
use crate::limits::{
    CHUNK_BYTES_MAX, CHUNK_EXTENSION_BYTES_MAX, CHUNK_EXTENSIONS_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX,
};

/// Decodes one message body, RFC 9112 sections 6 and 7.1.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    /// Data bytes left of the body or the chunk.
    left: u64,
    /// Digits of the current size line.
    digits: usize,
    /// Extension bytes of the current size line.
    extension: usize,
    /// Extension bytes of the whole message.
    extensions: usize,
    trailers: Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A body of known length.
    Length,
    /// A body that ends with the connection.
    UntilClose,
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
    Failed(Error),
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
    /// A chunk was opened by `before` and not yet closed by `after`.
    open: bool,
}

impl BodyReader {
    /// A decoder for a body with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let (state, left) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, 0),
            Framing::Length(length) => (State::Length, length),
            Framing::Chunked => (State::Size, 0),
            Framing::UntilClose => (State::UntilClose, 0),
        };
        let trailers = Trailers::default();
        Self { state, left, digits: 0, extension: 0, extensions: 0, trailers }
    }

    /// Whether the body is complete (at once for [`Framing::None`] and length 0).
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes from the start of `input`. A call that consumes nothing needs more input, unless the
    /// body is done. One call yields at most one range, as long as the input has it.
    ///
    /// # Errors
    /// Broken chunked coding; the connection must close.
    #[inline]
    pub fn read(&mut self, input: &[u8]) -> Result<BodyRead, Error> {
        match self.state {
            State::Done => Ok(BodyRead { consumed: 0, data: 0..0, done: true }),
            State::Failed(error) => Err(error),
            State::UntilClose => {
                Ok(BodyRead { consumed: input.len(), data: 0..input.len(), done: false })
            }
            State::Length => {
                let taken = self.take(input.len(), State::Done);
                Ok(BodyRead { consumed: taken, data: 0..taken, done: self.is_done() })
            }
            _ => self.read_chunked(input),
        }
    }

    /// The peer closed: whether that ends the body validly (only [`Framing::UntilClose`], or done).
    pub fn end_of_input(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// Trailer fields that may be forwarded as trailers, as `name: value\r\n` lines; empty if none,
    /// and until the body is done.
    /// Framing, routing, authentication and hop-by-hop fields are dropped already.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        if self.is_done() { self.trailers.lines() } else { &[] }
    }

    /// Takes up to `available` data bytes, and enters `next` when none is left.
    #[inline]
    fn take(&mut self, available: usize, next: State) -> usize {
        let taken = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= taken as u64;
        if self.left == 0 {
            self.state = next;
        }
        taken
    }

    fn read_chunked(&mut self, input: &[u8]) -> Result<BodyRead, Error> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            if self.state == State::Data {
                let start = at;
                at += self.take(input.len() - start, State::DataCr);
                return Ok(BodyRead { consumed: at, data: start..at, done: false });
            }
            match self.step(input[at]) {
                Ok(state) => self.state = state,
                Err(error) => {
                    self.state = State::Failed(error);
                    return Err(error);
                }
            }
            at += 1;
        }
        Ok(BodyRead { consumed: at, data: at..at, done: self.is_done() })
    }

    /// One byte of chunked coding outside of data.
    fn step(&mut self, byte: u8) -> Result<State, Error> {
        match self.state {
            State::Size => self.size(byte),
            State::Extension => self.extension(byte),
            State::SizeLf if byte == b'\n' => {
                (self.digits, self.extension) = (0, 0);
                Ok(if self.left == 0 { State::Trailers } else { State::Data })
            }
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size),
            State::Trailers if self.trailers.push(byte)? => Ok(State::Done),
            State::Trailers => Ok(State::Trailers),
            State::SizeLf | State::DataCr | State::DataLf => {
                Err(Error::Malformed("chunk line end"))
            }
            State::Length | State::UntilClose | State::Data | State::Done | State::Failed(_) => {
                Ok(self.state)
            }
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, Error> {
        match byte {
            b'\r' if self.digits > 0 => Ok(State::SizeLf),
            b';' if self.digits > 0 => self.extension(byte),
            _ => {
                let digit = char::from(byte).to_digit(16).ok_or(Error::Malformed("chunk size"))?;
                self.digits += 1;
                self.left = self.left * 16 + u64::from(digit);
                if self.digits > CHUNK_SIZE_DIGITS_MAX || self.left > CHUNK_BYTES_MAX {
                    return Err(Error::Malformed("chunk size too large"));
                }
                Ok(State::Size)
            }
        }
    }

    fn extension(&mut self, byte: u8) -> Result<State, Error> {
        if byte == b'\r' {
            return Ok(State::SizeLf);
        }
        self.extension += 1;
        self.extensions += 1;
        if self.extension > CHUNK_EXTENSION_BYTES_MAX
            || self.extensions > CHUNK_EXTENSIONS_BYTES_MAX
        {
            return Err(Error::Malformed("chunk extensions too long"));
        }
        if is_value_byte(byte) {
            Ok(State::Extension)
        } else {
            Err(Error::Malformed("chunk extension"))
        }
    }
}

impl BodyWriter {
    /// An encoder for a body with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, open: false }
    }

    /// Appends what must stand before `length` data bytes (a chunk's size line). Nothing for no
    /// bytes: an empty chunk would end the body.
    pub fn before(&mut self, length: usize, out: &mut Vec<u8>) {
        if self.framing != Framing::Chunked || length == 0 {
            return;
        }
        self.open = true;
        let digits = (usize::BITS - length.leading_zeros()).div_ceil(4);
        for at in (0..digits).rev() {
            out.push(b"0123456789abcdef"[(length >> (at * 4)) & 0xf]);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends what must stand after the data bytes (a chunk's line end).
    pub fn after(&mut self, out: &mut Vec<u8>) {
        if self.open {
            self.open = false;
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Appends the end of the body, with trailer lines as [`BodyReader::trailers`] gives them.
    /// For [`Framing::Length`] the caller has written exactly that many bytes.
    pub fn finish(&mut self, trailers: &[u8], out: &mut Vec<u8>) {
        if self.framing == Framing::Chunked {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(trailers);
            out.extend_from_slice(b"\r\n");
        }
    }
}
