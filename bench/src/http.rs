//! The least HTTP/1.1 that a load generator and its backend need: where a head ends, how its body
//! is framed, and when that body is over.
//!
//! Not a validating parser: both ends are ours or a proxy under test, and a wrong answer must show
//! as a wrong status or length rather than be repaired here. Called by `load` and `backend`.
//! Invariant: nothing here allocates.

use memchr::{memchr, memmem};
use thiserror::Error;

/// The longest head that either side accepts.
pub(crate) const HEAD_MAX: usize = 64 * 1024;

/// Why bytes are not HTTP/1.1.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum BadMessage {
    /// The first line is no status line.
    #[error("not a status line")]
    StatusLine,
    /// A length or chunk size that is no number.
    #[error("a length that is no number")]
    Length,
    /// A head beyond [`HEAD_MAX`].
    #[error("a head above 64 KiB")]
    HeadTooLong,
}

/// The number of bytes of the head at the front of `bytes`, its empty line included.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// What the fields say about the body and the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Framing {
    /// `Content-Length`.
    pub(crate) length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub(crate) chunked: bool,
    /// `Connection: close`.
    pub(crate) close: bool,
}

/// Reads the framing fields of a complete head.
pub(crate) fn framing(head: &[u8]) -> Result<Framing, BadMessage> {
    let mut found = Framing::default();
    for (name, value) in fields(head) {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                found.length = Some(decimal(value).ok_or(BadMessage::Length)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                found.chunked = value.eq_ignore_ascii_case(b"chunked");
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                found.close = value.eq_ignore_ascii_case(b"close");
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The value of the first field called `name`.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields(head)
        .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

/// The fields of a complete head, its first line left out.
fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = match memchr(b'\n', head) {
        Some(at) => &head[at + 1..],
        None => &[],
    };
    std::iter::from_fn(move || {
        loop {
            let end = memchr(b'\n', rest)?;
            let line = rest[..end].trim_ascii_end();
            rest = &rest[end + 1..];
            if line.is_empty() {
                return None;
            }
            if let Some(colon) = memchr(b':', line) {
                return Some((&line[..colon], line[colon + 1..].trim_ascii()));
            }
        }
    })
}

/// The status of a response head.
pub(crate) fn status(head: &[u8]) -> Result<u16, BadMessage> {
    let digits = head.get(9..12).ok_or(BadMessage::StatusLine)?;
    if !head.starts_with(b"HTTP/1.") {
        return Err(BadMessage::StatusLine);
    }
    let value = decimal(digits).ok_or(BadMessage::StatusLine)?;
    u16::try_from(value).map_err(|_| BadMessage::StatusLine)
}

/// The target of a request head.
pub(crate) fn target(head: &[u8]) -> Option<&[u8]> {
    let from = memchr(b' ', head)? + 1;
    let len = memchr(b' ', &head[from..])?;
    Some(&head[from..from + len])
}

/// Digits only.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The rest of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes are missing.
    Length(u64),
    /// In chunks.
    Chunked(Chunk),
    /// Until the peer closes.
    UntilClose,
    /// Complete.
    Done,
}

/// Where in chunked coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In the size, before any extension.
    Size(u64),
    /// Behind the size, up to the end of its line.
    Extension(u64),
    /// So many bytes of data and its line end are missing.
    Data(u64),
    /// In the trailer section; whether the line so far is empty.
    Trailer(bool),
}

impl Body {
    /// The body of a response.
    pub(crate) fn of_response(status: u16, framing: Framing) -> Self {
        if matches!(status, 100..=199 | 204 | 304) {
            return Self::Done;
        }
        if framing.chunked {
            return Self::Chunked(Chunk::Size(0));
        }
        framing.length.map_or(Self::UntilClose, Self::of_length)
    }

    /// The body of a request.
    pub(crate) fn of_request(framing: Framing) -> Self {
        if framing.chunked {
            return Self::Chunked(Chunk::Size(0));
        }
        Self::of_length(framing.length.unwrap_or(0))
    }

    fn of_length(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }

    /// Consumes what belongs to this body: the bytes used, and how many of them were content.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(usize, u64), BadMessage> {
        match *self {
            Self::Done => Ok((0, 0)),
            Self::UntilClose => Ok((bytes.len(), bytes.len() as u64)),
            Self::Length(missing) => {
                let used = missing.min(bytes.len() as u64);
                *self = Self::of_length(missing - used);
                Ok((used as usize, used))
            }
            Self::Chunked(chunk) => self.take_chunks(chunk, bytes),
        }
    }

    fn take_chunks(&mut self, mut chunk: Chunk, bytes: &[u8]) -> Result<(usize, u64), BadMessage> {
        let (mut at, mut content) = (0, 0);
        while at < bytes.len() {
            let byte = bytes[at];
            chunk = match chunk {
                Chunk::Size(size) => {
                    at += 1;
                    match (char::from(byte).to_digit(16), byte) {
                        (Some(digit), _) => Chunk::Size(grow(size, digit)?),
                        (None, b'\n') => after_size(size),
                        (None, b'\r' | b';' | b' ' | b'\t') => Chunk::Extension(size),
                        (None, _) => return Err(BadMessage::Length),
                    }
                }
                Chunk::Extension(size) => {
                    at += 1;
                    if byte == b'\n' { after_size(size) } else { Chunk::Extension(size) }
                }
                Chunk::Data(missing) => {
                    let used = missing.min((bytes.len() - at) as u64);
                    at += used as usize;
                    // The last two of `missing` are the line end.
                    content += missing.saturating_sub(2).min(used);
                    if missing == used { Chunk::Size(0) } else { Chunk::Data(missing - used) }
                }
                Chunk::Trailer(empty) => {
                    at += 1;
                    match byte {
                        b'\n' if empty => {
                            *self = Self::Done;
                            return Ok((at, content));
                        }
                        b'\n' => Chunk::Trailer(true),
                        b'\r' => Chunk::Trailer(empty),
                        _ => Chunk::Trailer(false),
                    }
                }
            };
        }
        *self = Self::Chunked(chunk);
        Ok((at, content))
    }
}

fn grow(size: u64, digit: u32) -> Result<u64, BadMessage> {
    size.checked_mul(16)
        .and_then(|size| size.checked_add(u64::from(digit)))
        .filter(|size| *size <= 1 << 40)
        .ok_or(BadMessage::Length)
}

fn after_size(size: u64) -> Chunk {
    if size == 0 { Chunk::Trailer(true) } else { Chunk::Data(size + 2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_fields_are_found_in_any_case() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 12\r\nConnection: close\r\nx: y\r\n\r\n";
        assert_eq!(head_end(head), Some(head.len()));
        assert_eq!(status(head), Ok(200));
        let found = framing(head).unwrap();
        assert_eq!(found, Framing { length: Some(12), chunked: false, close: true });
        assert_eq!(field(head, "X"), Some(&b"y"[..]));
    }

    #[test]
    fn a_chunked_body_cut_anywhere_has_the_same_content() {
        let wire = b"5\r\nhello\r\n00a;ext=1\r\n0123456789\r\n0\r\nt: v\r\n\r\nNEXT";
        for cut in 0..wire.len() {
            let mut body = Body::Chunked(Chunk::Size(0));
            let (used, mut content) = body.take(&wire[..cut]).unwrap();
            let (more, rest) = body.take(&wire[used..]).unwrap();
            content += rest;
            assert_eq!((used + more, content), (wire.len() - 4, 15), "cut at {cut}");
            assert_eq!(body, Body::Done);
        }
    }

    #[test]
    fn a_length_that_is_no_number_is_refused() {
        assert_eq!(framing(b"X\r\nContent-Length: +1\r\n\r\n"), Err(BadMessage::Length));
        assert_eq!(Body::Chunked(Chunk::Size(0)).take(b"zz"), Err(BadMessage::Length));
    }
}
