//! What an authorization server wants changed: of the request before it goes on, of its response.
//!
//! Edits are applied to heads, so that matching, filters and backends see a request that looks as if
//! it had arrived so. Invariant: Host, framing and what belongs to one connection are out of reach,
//! and a field line holds one name and one value.

use super::{Malformed, query};
use crate::filter::header::is_reserved;
use crate::http::field::{self, Field, Known};
use crate::http::{RequestHead, ResponseHead, Span};
use crate::limits;

/// Changes of one request and its response, in order.
#[derive(Debug, Default)]
pub struct Edits {
    request: Fields,
    response: Fields,
    query: query::Edits,
}

/// Changes of the fields of one head.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Edit>);

#[derive(Debug)]
struct Edit {
    action: Action,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// What to do with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Add a line.
    Add,
    /// Add a line unless there is one.
    AddIfAbsent,
    /// Put one line in place of all that are there.
    Set,
    /// The same, where there are any.
    SetIfPresent,
    /// Drop all lines.
    Remove,
}

/// The head became larger than any that is received may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Edits {
    pub(super) fn request(&mut self) -> &mut Fields {
        &mut self.request
    }

    pub(super) fn response(&mut self) -> &mut Fields {
        &mut self.response
    }

    pub(super) fn query(&mut self) -> &mut query::Edits {
        &mut self.query
    }

    /// Changes a request.
    ///
    /// # Errors
    /// If it is too large afterwards.
    pub fn apply(&self, head: &mut RequestHead) -> Result<(), TooLarge> {
        self.request.apply(&mut head.arena, &mut head.fields)?;
        let Some(query) = self.query.apply(head.query()) else { return Ok(()) };
        if query.len() + head.path().len() > limits::REQUEST_TARGET_BYTES_MAX {
            return Err(TooLarge);
        }
        let whole = (!query.is_empty()).then(|| append(&mut head.arena, &query));
        head.query = whole;
        Ok(())
    }

    /// Whether [`Edits::apply_to_response`] changes anything.
    #[must_use]
    pub fn has_response(&self) -> bool {
        !self.response.0.is_empty()
    }

    /// Changes the response to it.
    ///
    /// # Errors
    /// If it is too large afterwards.
    pub fn apply_to_response(&self, head: &mut ResponseHead) -> Result<(), TooLarge> {
        self.response.apply(&mut head.arena, &mut head.fields)
    }
}

impl Fields {
    /// Notes an edit, unless the field is out of reach.
    pub(super) fn push(
        &mut self,
        action: Action,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), Malformed> {
        let name = name.to_ascii_lowercase();
        let value = value.trim_ascii();
        if !value.iter().all(|byte| field::is_value_byte(*byte)) || self.0.len() >= EDITS_MAX {
            return Err(Malformed);
        }
        if is_in_reach(&name)? {
            self.0.push(Edit { action, name, value: value.to_vec() });
        }
        Ok(())
    }

    fn apply(&self, arena: &mut Vec<u8>, fields: &mut Vec<Field>) -> Result<(), TooLarge> {
        for Edit { action, name, value } in &self.0 {
            let is_it = |field: &Field| !field.hop && field.name.of(arena) == name;
            let present = fields.iter().any(is_it);
            let (removes, adds) = match action {
                Action::Add => (false, true),
                Action::AddIfAbsent => (false, !present),
                Action::Set => (true, true),
                Action::SetIfPresent => (true, present),
                Action::Remove => (true, false),
            };
            if removes && present {
                fields.retain(|field| !is_it(field));
            }
            if adds {
                let (name, value) = (append(arena, name), append(arena, value));
                let known = Known::of(name.of(arena));
                fields.push(Field { name, value, known, ..Field::default() });
            }
        }
        let live = fields.iter().map(|field| length(field.name) + length(field.value) + LINE_BYTES);
        if fields.len() > limits::HEAD_FIELDS_MAX || live.sum::<usize>() > limits::HEAD_BYTES_MAX {
            return Err(TooLarge);
        }
        Ok(())
    }
}

/// Whether a server may change the field. Pseudo-fields never are fields here.
pub(super) fn is_in_reach(name: &[u8]) -> Result<bool, Malformed> {
    if name.first() == Some(&b':') {
        return Ok(false);
    }
    if name.is_empty() || !name.iter().all(|byte| field::is_tchar(*byte)) {
        return Err(Malformed);
    }
    let known = Known::of(name);
    Ok(!is_reserved(name) && !known.is_hop_by_hop() && known != Known::Expect)
}

fn length(span: Span) -> usize {
    (span.end - span.start) as usize
}

fn append(arena: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let start = arena.len() as u32;
    arena.extend_from_slice(bytes);
    Span { start, end: arena.len() as u32 }
}

/// Edits of one head; an answer that asks for more is not understood.
const EDITS_MAX: usize = 2 * limits::HEAD_FIELDS_MAX;
/// `: ` and CRLF.
const LINE_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1;

    fn head(text: &str) -> RequestHead {
        let mut head = RequestHead::default();
        h1::request::read(text.as_bytes(), &mut head).unwrap();
        head
    }

    fn lines(head: &RequestHead) -> Vec<String> {
        let line = |(name, value, _): (&[u8], &[u8], Known)| {
            format!("{}: {}", name.escape_ascii(), value.escape_ascii())
        };
        head.end_to_end().map(line).collect()
    }

    const REQUEST: &str = "GET /p?a=1 HTTP/1.1\r\nHost: h\r\nX-User: spoofed\r\nX-User: again\r\n\
        X-Hop: spoofed\r\nConnection: x-hop\r\n\r\n";

    #[test]
    fn each_action_does_what_it_says_to_all_lines_of_a_name() {
        for (action, name, expected) in [
            (Action::Add, "x-user", &["x-user: spoofed", "x-user: again", "x-user: v"][..]),
            (Action::AddIfAbsent, "x-user", &["x-user: spoofed", "x-user: again"]),
            (Action::AddIfAbsent, "b", &["x-user: spoofed", "x-user: again", "b: v"]),
            (Action::Set, "X-User", &["x-user: v"]),
            (Action::SetIfPresent, "x-user", &["x-user: v"]),
            (Action::SetIfPresent, "b", &["x-user: spoofed", "x-user: again"]),
            (Action::Remove, "x-user", &[]),
            (Action::Set, "x-hop", &["x-user: spoofed", "x-user: again", "x-hop: v"]),
        ] {
            let mut head = head(REQUEST);
            let mut edits = Edits::default();
            edits.request().push(action, name.as_bytes(), b" v ").unwrap();
            edits.apply(&mut head).unwrap();
            let mut all = vec!["host: h".to_owned()];
            all.extend(expected.iter().map(|line| (*line).to_owned()));
            assert_eq!(lines(&head), all, "{action:?} {name}");
        }
    }

    #[test]
    fn what_belongs_to_the_gateway_is_out_of_reach() {
        for name in [
            "host",
            "Host",
            ":authority",
            ":path",
            ":method",
            "content-length",
            "transfer-encoding",
            "connection",
            "upgrade",
            "te",
            "trailer",
            "keep-alive",
            "expect",
            "proxy-authorization",
        ] {
            for action in [Action::Add, Action::Set, Action::Remove] {
                let mut edits = Edits::default();
                edits.request().push(action, name.as_bytes(), b"x").unwrap();
                let mut head = head(REQUEST);
                let before = lines(&head);
                edits.apply(&mut head).unwrap();
                assert_eq!((lines(&head), head.authority()), (before, "h"), "{name}");
            }
        }
    }

    #[test]
    fn nothing_can_be_smuggled_into_a_line() {
        for (name, value) in [
            ("a", "1\r\nb: 2"),
            ("a", "1\n2"),
            ("a", "nul\0"),
            ("a b", "1"),
            ("a:", "1"),
            ("", "1"),
            ("a\r\nb", "1"),
            ("\u{e9}", "1"),
        ] {
            let mut fields = Fields::default();
            let pushed = fields.push(Action::Set, name.as_bytes(), value.as_bytes());
            assert_eq!(pushed, Err(Malformed), "{name:?} {value:?}");
        }
    }

    #[test]
    fn a_head_does_not_grow_beyond_what_may_arrive() {
        for (count, bytes) in [(limits::HEAD_FIELDS_MAX, 1), (2, limits::HEAD_BYTES_MAX / 2)] {
            let mut edits = Edits::default();
            for _ in 0..count {
                edits.request().push(Action::Add, b"a", &vec![b'x'; bytes]).unwrap();
            }
            assert_eq!(edits.apply(&mut head(REQUEST)), Err(TooLarge), "{count} of {bytes}");
        }
        let mut fields = Fields::default();
        let all: Result<Vec<()>, _> =
            (0..=EDITS_MAX).map(|_| fields.push(Action::Add, b"a", b"")).collect();
        assert_eq!(all, Err(Malformed));
    }
}
