//! The slow, exact reader of head syntax: it says where the first violation stands, or whether the
//! head is complete, byte by byte.
//!
//! It is not on the path of a well-formed head that arrives whole; `httparse` reads those. The
//! engine comes here when a head is incomplete or refused. Invariants: the first violation in the
//! byte order decides, so the answer is the same however the input was cut; and every byte of a
//! head is scanned once, however small the pieces are in which it arrives.

use super::error::Error;
use crate::http::field::{is_tchar, is_value_byte};
use crate::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, METHOD_BYTES_MAX, REQUEST_TARGET_BYTES_MAX};

/// Which start line is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request line.
    Request,
    /// A status line.
    Response,
}

/// How far an incomplete head was scanned. It lies in the head that is being filled and belongs to
/// the bytes that the engine keeps in that head's arena.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    state: State,
    /// Bytes scanned.
    position: usize,
    /// Bytes of the current element.
    length: usize,
    /// Field lines begun.
    fields: usize,
    /// Whether a request line's version is 1.0 or 1.1 so far.
    version_known: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    EmptyLineLf,
    Method,
    Target,
    Version,
    StatusVersion,
    Code,
    CodeEnd,
    Reason,
    LineLf,
    FieldStart,
    Name,
    Value,
    EndLf,
    Complete,
}

/// Whether the head at the start of `input` is syntactically complete.
///
/// Resumes where the last call stopped if `input` begins with the bytes that call left in `arena`,
/// and starts over otherwise: memory of an abandoned head can never change an answer.
pub(super) fn is_complete(
    kind: Kind,
    input: &[u8],
    arena: &mut Vec<u8>,
    scan: &mut Scan,
) -> Result<bool, Error> {
    let resumes = arena.get(..scan.position).is_some_and(|seen| input.starts_with(seen));
    let mut progress = if resumes { *scan } else { Scan::default() };
    *scan = Scan::default();
    arena.truncate(progress.position);
    let from = progress.position;
    if progress.advance(kind, &input[from..])? {
        return Ok(true);
    }
    arena.extend_from_slice(&input[from..]);
    *scan = progress;
    Ok(false)
}

impl Scan {
    /// An incomplete head is remembered.
    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        self.position != 0
    }

    fn advance(&mut self, kind: Kind, bytes: &[u8]) -> Result<bool, Error> {
        for &byte in bytes {
            self.state = self.step(kind, byte)?;
            self.position += 1;
            if self.state == State::Complete {
                return Ok(true);
            }
            if self.position == HEAD_BYTES_MAX {
                return Err(Error::HeadTooLarge);
            }
        }
        Ok(false)
    }

    /// Enters `state` with `length` bytes of its element read.
    fn enter(&mut self, state: State, length: usize) -> Result<State, Error> {
        self.length = length;
        Ok(state)
    }

    fn step(&mut self, kind: Kind, byte: u8) -> Result<State, Error> {
        match self.state {
            State::Start => self.start(kind, byte),
            State::EmptyLineLf if byte == b'\n' => Ok(State::Start),
            State::Method => self.method(byte),
            State::Target => self.target(byte),
            State::Version => self.version(byte),
            State::StatusVersion => self.status_version(byte),
            State::Code => self.code(byte),
            State::CodeEnd if byte == b' ' => Ok(State::Reason),
            State::CodeEnd | State::Reason if byte == b'\r' => Ok(State::LineLf),
            State::Reason if is_value_byte(byte) => Ok(State::Reason),
            State::LineLf if byte == b'\n' => Ok(State::FieldStart),
            State::FieldStart => self.field_start(byte),
            State::Name if byte == b':' => Ok(State::Value),
            State::Name if is_tchar(byte) => Ok(State::Name),
            State::Value if byte == b'\r' => Ok(State::LineLf),
            State::Value if is_value_byte(byte) => Ok(State::Value),
            State::EndLf if byte == b'\n' => Ok(State::Complete),
            State::EmptyLineLf | State::LineLf | State::EndLf => {
                Err(Error::Malformed("carriage return without line feed"))
            }
            State::CodeEnd | State::Reason => Err(Error::Malformed("status line")),
            State::Name => Err(Error::Malformed("field name")),
            State::Value => Err(Error::Malformed("field value")),
            State::Complete => Ok(State::Complete),
        }
    }

    fn start(&mut self, kind: Kind, byte: u8) -> Result<State, Error> {
        match kind {
            Kind::Request if byte == b'\r' && self.position == 0 => Ok(State::EmptyLineLf),
            Kind::Request if is_tchar(byte) => self.enter(State::Method, 1),
            Kind::Request => Err(Error::Malformed("request line")),
            Kind::Response if byte == b'H' => self.enter(State::StatusVersion, 1),
            Kind::Response => Err(Error::Malformed("status line")),
        }
    }

    fn method(&mut self, byte: u8) -> Result<State, Error> {
        match byte {
            b' ' => self.enter(State::Target, 0),
            _ if !is_tchar(byte) => Err(Error::Malformed("method")),
            _ if self.length == METHOD_BYTES_MAX => Err(Error::HeadTooLarge),
            _ => self.enter(State::Method, self.length + 1),
        }
    }

    fn target(&mut self, byte: u8) -> Result<State, Error> {
        match byte {
            b' ' if self.length > 0 => {
                self.version_known = true;
                self.enter(State::Version, 0)
            }
            0x21..=0x7e if self.length == REQUEST_TARGET_BYTES_MAX => Err(Error::TargetTooLong),
            0x21..=0x7e => self.enter(State::Target, self.length + 1),
            _ => Err(Error::Malformed("request target")),
        }
    }

    /// `"HTTP/" DIGIT "." DIGIT CR`; a well-formed version that we do not speak has its own answer.
    fn version(&mut self, byte: u8) -> Result<State, Error> {
        let well_formed = match self.length {
            at @ 0..5 => byte == b"HTTP/"[at],
            5 | 7 => {
                self.version_known &= byte == b'1' || (self.length == 7 && byte == b'0');
                byte.is_ascii_digit()
            }
            6 => byte == b'.',
            _ if byte == b'\r' && self.version_known => return Ok(State::LineLf),
            _ if byte == b'\r' => return Err(Error::Version),
            _ => false,
        };
        if !well_formed {
            return Err(Error::Malformed("version"));
        }
        self.enter(State::Version, self.length + 1)
    }

    fn status_version(&mut self, byte: u8) -> Result<State, Error> {
        let well_formed = match self.length {
            at @ 0..7 => byte == b"HTTP/1."[at],
            7 => byte == b'0' || byte == b'1',
            _ if byte == b' ' => return self.enter(State::Code, 0),
            _ => false,
        };
        if !well_formed {
            return Err(Error::Malformed("status line"));
        }
        self.enter(State::StatusVersion, self.length + 1)
    }

    fn code(&mut self, byte: u8) -> Result<State, Error> {
        if !byte.is_ascii_digit() {
            return Err(Error::Malformed("status code"));
        }
        let state = if self.length == 2 { State::CodeEnd } else { State::Code };
        self.enter(state, self.length + 1)
    }

    fn field_start(&mut self, byte: u8) -> Result<State, Error> {
        match byte {
            b'\r' => Ok(State::EndLf),
            b' ' | b'\t' => Err(Error::Malformed("white space at the start of a line")),
            _ if !is_tchar(byte) => Err(Error::Malformed("field name")),
            _ if self.fields == HEAD_FIELDS_MAX => Err(Error::HeadTooLarge),
            _ => {
                self.fields += 1;
                Ok(State::Name)
            }
        }
    }
}
