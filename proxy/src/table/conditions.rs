//! What a match asks of a request besides its path: method, header fields, query parameters.
//!
//! Compiled by `route`, tried by `host` on every candidate of a path. Invariants: hop-by-hop fields
//! are invisible; nothing is allocated (a value that a regular expression must see as one piece is
//! put together in the shard's scratch space).
//!
//! Several lines of one field are compared as their values combined with `, ` (RFC 9110 section
//! 5.3). The API leaves open how query parameters are decoded: both name and value are compared as
//! `application/x-www-form-urlencoded` (`+` is a space, a broken `%` stands for itself), and of a
//! repeated parameter the first counts, as the API recommends.

use std::cmp::Reverse;
use std::sync::Arc;

use super::regex::{Pattern, RegexCaches};
use crate::http::RequestHead;
use crate::ir;

/// The conditions of one match, all of which must hold.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    method: Option<Arc<str>>,
    headers: Box<[Condition]>,
    query: Box<[Condition]>,
}

#[derive(Debug)]
struct Condition {
    name: Arc<str>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Exact(Arc<str>),
    Regex(Arc<Pattern>),
}

/// Sorts better conditions first: a method, then more headers, then more query parameters.
pub(super) type Rank = Reverse<(bool, usize, usize)>;

impl Conditions {
    /// Compiles the conditions of `from`; `pattern` compiles a regular expression.
    pub(super) fn new(
        from: &ir::Match,
        mut pattern: impl FnMut(&Arc<str>) -> Arc<Pattern>,
    ) -> Self {
        let mut list = |values: &[ir::ValueMatch]| {
            let condition = |value: &ir::ValueMatch| Condition {
                name: Arc::clone(&value.name),
                value: match &value.value {
                    ir::ValueCondition::Exact(text) => Value::Exact(Arc::clone(text)),
                    ir::ValueCondition::Regex(text) => Value::Regex(pattern(text)),
                },
            };
            values.iter().map(condition).collect()
        };
        Self { method: from.method.clone(), headers: list(&from.headers), query: list(&from.query) }
    }

    /// Whether every request fulfils them.
    pub(super) fn is_empty(&self) -> bool {
        self.method.is_none() && self.headers.is_empty() && self.query.is_empty()
    }

    /// Precedence among matches of one path.
    pub(super) fn rank(&self) -> Rank {
        Reverse((self.method.is_some(), self.headers.len(), self.query.len()))
    }

    /// Whether `head` fulfils them.
    pub(super) fn hold(&self, head: &RequestHead, caches: &mut RegexCaches) -> bool {
        let method = head.method_span.of(&head.arena);
        self.method.as_ref().is_none_or(|wanted| wanted.as_bytes() == method)
            && self.headers.iter().all(|condition| condition.holds_for_header(head, caches))
            && self.query.iter().all(|condition| condition.holds_for_query(head, caches))
    }
}

impl Condition {
    fn holds_for_header(&self, head: &RequestHead, caches: &mut RegexCaches) -> bool {
        let name = self.name.as_bytes();
        let mut lines = values(head, name);
        let Some(first) = lines.next() else { return false };
        match (&self.value, lines.next()) {
            (Value::Exact(wanted), None) => wanted.as_bytes() == first,
            (Value::Regex(pattern), None) => caches.is_match(pattern, first),
            (Value::Exact(wanted), Some(_)) => joined(head, name).eq(wanted.bytes()),
            (Value::Regex(pattern), Some(_)) => {
                caches.is_match_of(pattern, |text| text.extend(joined(head, name)))
            }
        }
    }

    fn holds_for_query(&self, head: &RequestHead, caches: &mut RegexCaches) -> bool {
        let Some(query) = head.query else { return false };
        let mut parameters = query.of(&head.arena).split(|&byte| byte == b'&');
        let found = parameters.find_map(|parameter| {
            let (name, value) = match memchr::memchr(b'=', parameter) {
                Some(at) => (&parameter[..at], &parameter[at + 1..]),
                None => (parameter, &parameter[parameter.len()..]),
            };
            (!parameter.is_empty() && decoded(name).eq(self.name.bytes())).then_some(value)
        });
        let Some(value) = found else { return false };
        match &self.value {
            Value::Exact(wanted) => decoded(value).eq(wanted.bytes()),
            Value::Regex(pattern) => {
                caches.is_match_of(pattern, |text| text.extend(decoded(value)))
            }
        }
    }
}

/// Values of the end-to-end lines of one field.
fn values<'a>(head: &'a RequestHead, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let named = move |field: &&crate::http::Field| !field.hop && field.name.of(&head.arena) == name;
    head.fields.iter().filter(named).map(|field| field.value.of(&head.arena))
}

/// The bytes of all its lines, combined with `, `.
fn joined<'a>(head: &'a RequestHead, name: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
    let separated = |(at, value): (usize, &'a [u8])| {
        let separator: &[u8] = if at == 0 { b"" } else { b", " };
        separator.iter().chain(value).copied()
    };
    values(head, name).enumerate().flat_map(separated)
}

/// `application/x-www-form-urlencoded` bytes, decoded.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        let escape = (first == b'%').then(|| escaped(tail)).flatten();
        rest = if escape.is_some() { &tail[2..] } else { tail };
        Some(escape.unwrap_or(if first == b'+' { b' ' } else { first }))
    })
}

fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_text_is_form_decoded_and_a_broken_escape_stands_for_itself() {
        for (text, expected) in
            [("a+b%20c", "a b c"), ("%41%7e", "A~"), ("%", "%"), ("%4", "%4"), ("%zz%41", "%zzA")]
        {
            let bytes: Vec<u8> = decoded(text.as_bytes()).collect();
            assert_eq!(bytes, expected.as_bytes(), "{text}");
        }
    }
}
