//! The trailer section of chunked coding, RFC 9112 section 7.1.2: checked like field lines, bounded,
//! and stripped of everything that may not arrive late.
//!
//! It merges nothing into heads. Only the body decoder calls it. Invariant: the kept lines are
//! well-formed `name: value\r\n` lines, names in lower case, none of which could change framing,
//! routing, authentication or the meaning of the head.

use super::error::Error;
use crate::http::field::{is_tchar, is_value_byte};
use crate::http::trailer::may_arrive_late;
use crate::limits::{HEAD_FIELDS_MAX, TRAILER_BYTES_MAX};

/// A trailer section in progress. Allocates only when there is a trailer.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    state: State,
    /// Kept lines, then the raw current line.
    lines: Vec<u8>,
    /// Where the current line starts.
    line: usize,
    /// Where the current value starts.
    value: usize,
    /// Bytes of the section so far, dropped ones too.
    bytes: usize,
    /// Lines so far, dropped ones too.
    count: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Name,
    Value,
    LineLf,
    EndLf,
}

impl Trailers {
    /// The kept lines.
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Takes one byte of the section; `true` at its end.
    pub(super) fn push(&mut self, byte: u8) -> Result<bool, Error> {
        self.bytes += 1;
        if self.bytes > TRAILER_BYTES_MAX {
            return Err(Error::HeadTooLarge);
        }
        self.state = match self.state {
            State::Start if byte == b'\r' => State::EndLf,
            State::Start if is_tchar(byte) => self.begin(byte)?,
            State::Name if byte == b':' => {
                self.value = self.lines.len();
                State::Value
            }
            State::Name if is_tchar(byte) => {
                self.lines.push(byte.to_ascii_lowercase());
                State::Name
            }
            State::Value if byte == b'\r' => State::LineLf,
            State::Value if is_value_byte(byte) => {
                self.lines.push(byte);
                State::Value
            }
            State::LineLf if byte == b'\n' => self.end(),
            State::EndLf if byte == b'\n' => return Ok(true),
            _ => return Err(Error::Malformed("trailer")),
        };
        Ok(false)
    }

    fn begin(&mut self, byte: u8) -> Result<State, Error> {
        self.count += 1;
        if self.count > HEAD_FIELDS_MAX {
            return Err(Error::HeadTooLarge);
        }
        self.line = self.lines.len();
        self.lines.push(byte.to_ascii_lowercase());
        Ok(State::Name)
    }

    /// Keeps the current line in its one form, or drops it.
    fn end(&mut self) -> State {
        let value = self.lines.split_off(self.value);
        if may_arrive_late(&self.lines[self.line..]) {
            self.lines.extend_from_slice(b": ");
            self.lines.extend_from_slice(value.trim_ascii());
            self.lines.extend_from_slice(b"\r\n");
        } else {
            self.lines.truncate(self.line);
        }
        State::Start
    }
}
