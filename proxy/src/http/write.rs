//! Heads on their way out, whatever the version: who writes one says what it holds, a [`HeadWriter`]
//! says how it looks.
//!
//! `exchange` and `filter` write through it; `h1` and `h2` implement it. It decides nothing: what a
//! version has no place for (a reason phrase, `Connection`) its writer leaves out. Invariant: names,
//! values and targets go out as they are given.

use super::{Field, Framing, Method, Version};

/// Writes one head: [`HeadWriter::request`] or [`HeadWriter::status`] first, then its fields, then
/// [`HeadWriter::end`].
pub trait HeadWriter {
    /// Begins a request; `authority` and `target` append their text. `hidden`: no hop may put the
    /// target into a table, where the version has tables.
    fn request(
        &mut self,
        method: &[u8],
        scheme: &str,
        authority: impl FnOnce(&mut Vec<u8>),
        target: impl FnOnce(&mut Vec<u8>),
        hidden: bool,
    );
    /// Begins a response; an empty `reason` takes the registered phrase.
    fn status(&mut self, status: u16, reason: &[u8]);
    /// One field.
    fn field(&mut self, name: &[u8], value: &[u8]);
    /// One field that no hop may put into a table, where the version has tables.
    fn never_indexed(&mut self, name: &[u8], value: &[u8]) {
        self.field(name, value);
    }
    /// One field whose value `write` appends in pieces.
    fn field_of(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>));
    /// How the body is delimited.
    fn framing(&mut self, framing: Framing);
    /// The sender takes trailers.
    fn takes_trailers(&mut self);
    /// The message asks for a WebSocket, or agrees to one.
    fn websocket(&mut self);
    /// Whether the connection is kept behind this response, said in the way of the client's version.
    fn persistence(&mut self, version: Version, keep_alive: bool);
    /// Ends the head.
    fn end(&mut self);

    /// A received field as it came.
    #[inline]
    fn copy(&mut self, arena: &[u8], field: &Field) {
        self.marked(field.name.of(arena), field.value.of(arena), field.never_indexed);
    }

    /// One field, which a hop may put into a table unless it is `hidden`.
    #[inline]
    fn marked(&mut self, name: &[u8], value: &[u8], hidden: bool) {
        match hidden {
            true => self.never_indexed(name, value),
            false => self.field(name, value),
        }
    }

    /// Fields given as whole lines; see [`lines`].
    fn lines(&mut self, text: &[u8]) {
        for (name, value, hidden) in marked_lines(text) {
            self.marked(name, value, hidden);
        }
    }
}

/// The fields of `text`, which is made of lines `name: value CRLF` and nothing else: how trailers and
/// the fields of our own answers are kept.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    marked_lines(text).map(|(name, value, _)| (name, value))
}

/// The same, and whether no hop may put the field into a table; see [`push_line`].
fn marked_lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\r', rest)?;
        let line = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        let colon = memchr::memchr(b':', line)?;
        let value = &line[colon + 1..];
        Some((&line[..colon], value.trim_ascii_start(), value.first() != Some(&b' ')))
    })
}

/// Appends a field to lines. One that no hop may put into a table has no space behind its colon, which
/// means nothing to HTTP/1.
pub fn push_line(name: &[u8], value: &[u8], hidden: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(if hidden { b":" } else { b": " });
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A request head kept to be written later, once or several times.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    method: Vec<u8>,
    scheme: String,
    authority: Vec<u8>,
    target: Vec<u8>,
    hidden: bool,
    lines: Vec<u8>,
    /// How many lines, and which of them no hop may put into a table.
    count: u32,
    never_indexed: Vec<u32>,
    framing: Framing,
    takes_trailers: bool,
    websocket: bool,
}

impl Recorded {
    /// Its method.
    #[must_use]
    pub fn method(&self) -> Method {
        Method::of(&self.method)
    }

    /// How its body is delimited.
    #[must_use]
    pub fn delimited(&self) -> Framing {
        self.framing
    }

    /// Writes it to `out`.
    pub fn replay(&self, out: &mut impl HeadWriter) {
        let authority = |out: &mut Vec<u8>| out.extend_from_slice(&self.authority);
        let target = |out: &mut Vec<u8>| out.extend_from_slice(&self.target);
        out.request(&self.method, &self.scheme, authority, target, self.hidden);
        let mut never_indexed = self.never_indexed.iter().peekable();
        for (at, (name, value)) in (0..).zip(lines(&self.lines)) {
            let hidden = never_indexed.next_if(|number| **number == at).is_some();
            out.marked(name, value, hidden);
        }
        if self.websocket {
            out.websocket();
        }
        if self.takes_trailers {
            out.takes_trailers();
        }
        out.framing(self.framing);
        out.end();
    }
}

impl HeadWriter for Recorded {
    fn request(
        &mut self,
        method: &[u8],
        scheme: &str,
        authority: impl FnOnce(&mut Vec<u8>),
        target: impl FnOnce(&mut Vec<u8>),
        hidden: bool,
    ) {
        (self.method, self.scheme) = (method.to_vec(), scheme.to_owned());
        self.hidden = hidden;
        authority(&mut self.authority);
        target(&mut self.target);
    }

    /// Requests only.
    fn status(&mut self, _status: u16, _reason: &[u8]) {}

    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.field_of(name, |out| out.extend_from_slice(value));
    }

    fn never_indexed(&mut self, name: &[u8], value: &[u8]) {
        self.never_indexed.push(self.count);
        self.field(name, value);
    }

    fn field_of(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.count += 1;
        self.lines.extend_from_slice(name);
        self.lines.extend_from_slice(b": ");
        write(&mut self.lines);
        self.lines.extend_from_slice(b"\r\n");
    }

    fn framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    fn takes_trailers(&mut self) {
        self.takes_trailers = true;
    }

    fn websocket(&mut self) {
        self.websocket = true;
    }

    fn persistence(&mut self, _version: Version, _keep_alive: bool) {}

    fn end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_written() {
        let fields: Vec<_> = lines(b"a: 1\r\nb: x: y\r\nc: \r\n").collect();
        assert_eq!(fields, [(&b"a"[..], &b"1"[..]), (b"b", b"x: y"), (b"c", b"")]);
        assert_eq!(lines(b"").count(), 0);
        let mut text = Vec::new();
        push_line(b"a", b"1", true, &mut text);
        push_line(b"b", b"", false, &mut text);
        let fields: Vec<_> = marked_lines(&text).collect();
        assert_eq!(fields, [(&b"a"[..], &b"1"[..], true), (b"b", b"", false)]);
    }

    #[test]
    fn a_recorded_head_says_again_what_no_table_may_hold() {
        let mut recorded = Recorded::default();
        for (name, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
            match name {
                "b" => recorded.never_indexed(name.as_bytes(), value.as_bytes()),
                _ => recorded.field(name.as_bytes(), value.as_bytes()),
            }
        }
        let mut again = Recorded::default();
        recorded.replay(&mut again);
        assert_eq!(again.lines, b"a: 1\r\nb: 2\r\nc: 3\r\n");
        assert_eq!((again.count, again.never_indexed), (3, vec![1]));
    }
}
