//! The fields of a response: RFC 9113 section 8.3.2.
//!
//! It says what a backend's head means; the connection counts its data. Invariant: a response that
//! passes can be written as HTTP/1.1 as it is, with the framing given here.

use super::{Asked, Flaw, Meaning, Parts, Sealed};
use crate::http::{Field, Framing, Known, ResponseHead, Version};

impl Sealed for ResponseHead {
    fn begin(&mut self) -> (&mut Vec<u8>, &mut Vec<Field>) {
        let (mut arena, mut fields) =
            (std::mem::take(&mut self.arena), std::mem::take(&mut self.fields));
        arena.clear();
        fields.clear();
        *self =
            Self { arena, fields, version: Version::Http2, keep_alive: true, ..Self::default() };
        (&mut self.arena, &mut self.fields)
    }

    fn held(&self) -> usize {
        self.arena.len() + self.fields.len() * size_of::<Field>()
    }

    fn finish(&mut self, parts: Parts, asked: Asked, end: bool) -> Result<Meaning, Flaw> {
        let of_requests = [parts.method, parts.scheme, parts.authority, parts.path, parts.protocol];
        if of_requests.iter().any(Option::is_some) {
            return Err(Flaw::Malformed);
        }
        self.status = parts
            .status
            .map(|span| span.of(&self.arena))
            .and_then(status)
            .ok_or(Flaw::Malformed)?;
        let length = super::content_length(&self.arena, &self.fields, &parts)?;
        if self.status < 200 {
            return interim(self, length, end);
        }
        self.websocket = asked.tunnel && self.status < 300;
        if self.websocket {
            self.framing = Framing::None;
            hide_length(self);
            return Ok(Meaning { tunnel: true, ..Meaning::default() });
        }
        let bodiless = asked.bodiless || matches!(self.status, 204 | 304);
        if self.status == 204 {
            hide_length(self);
        }
        self.framing = match length {
            _ if bodiless => Framing::None,
            Some(length) if end && length > 0 => return Err(Flaw::Malformed),
            Some(length) => Framing::Length(length),
            None if end => Framing::Length(0),
            None => Framing::Chunked,
        };
        let expected = if bodiless { Some(0) } else { length };
        Ok(Meaning { expected, ..Meaning::default() })
    }
}

/// Three digits; 101 means nothing here (RFC 9113 section 8.6).
fn status(value: &[u8]) -> Option<u16> {
    let [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] = *value else { return None };
    let digit = |byte: u8| u16::from(byte - b'0');
    let status = digit(a) * 100 + digit(b) * 10 + digit(c);
    (status != 101).then_some(status)
}

fn interim(head: &mut ResponseHead, length: Option<u64>, end: bool) -> Result<Meaning, Flaw> {
    if end || length.is_some_and(|length| length > 0) {
        return Err(Flaw::Malformed);
    }
    hide_length(head);
    Ok(Meaning { interim: true, ..Meaning::default() })
}

/// RFC 9110 section 8.6: no Content-Length in a 1xx or 204.
fn hide_length(head: &mut ResponseHead) {
    for field in head.fields.iter_mut().filter(|field| field.known == Known::ContentLength) {
        field.hop = true;
    }
}
