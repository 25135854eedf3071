//! The question as a request of HTTP: 200 allows, anything else is for the client.

use std::sync::Arc;

use super::edits::{Action, is_in_reach};
use super::{Denial, Edits, Malformed, Question, Reply, Verdict};
use crate::http::{Framing, HeadWriter, Known};
use crate::limits;

/// Writes the head: the client's method, Host and query, its path below `prefix`, `Authorization` and
/// the fields that the filter names. The length is that of what is sent.
pub(super) fn write(
    question: &Question<'_>,
    prefix: &str,
    allowed: &[Arc<str>],
    length: usize,
    out: &mut impl HeadWriter,
) {
    let head = question.head;
    let authority = |out: &mut Vec<u8>| out.extend_from_slice(head.authority_bytes());
    let target = |out: &mut Vec<u8>| {
        out.extend_from_slice(prefix.as_bytes());
        if prefix.is_empty() || head.path_bytes() != b"*" {
            out.extend_from_slice(head.path_bytes());
        }
        head.write_query(out);
    };
    out.request(head.method_bytes(), question.scheme(), authority, target, head.target_hidden);
    let shown = |name: &[u8]| {
        name == b"authorization"
            || (Question::is_allowed(name, allowed) && Known::of(name) != Known::Expect)
    };
    question.provenance.write(head, shown, out);
    out.framing(Framing::Length(length as u64));
    out.end();
}

/// What an answer means; with `allowed` empty all its fields go to the backend.
pub(super) fn verdict(reply: Reply<'_>, allowed: &[Arc<str>]) -> Result<Verdict, Malformed> {
    let status = reply.head.status;
    if status != 200 {
        return denial(reply).map(Verdict::Denied);
    }
    let mut edits = Edits::default();
    let fields = edits.request();
    // What the client says of such a field does not count, whether or not the server speaks of it.
    for name in allowed {
        fields.push(Action::Remove, name.as_bytes(), b"")?;
    }
    let passes = |name: &[u8]| match allowed {
        [] => !describes_body(name),
        allowed => Question::is_allowed(name, allowed),
    };
    let sent = || reply.head.end_to_end().filter(|(name, _, _)| passes(name));
    if allowed.is_empty() {
        for (name, _, _) in sent() {
            fields.push(Action::Remove, name, b"")?;
        }
    }
    for (name, value, _) in sent() {
        fields.push(Action::Add, name, value)?;
    }
    Ok(Verdict::Allowed(edits))
}

/// Whether it speaks of the body of the answer, which goes nowhere.
fn describes_body(name: &[u8]) -> bool {
    name.starts_with(b"content-")
}

fn denial(reply: Reply<'_>) -> Result<Denial, Malformed> {
    let status = reply.head.status;
    if status < 200 || reply.body.len() > limits::AUTH_ANSWER_BYTES_MAX {
        return Err(Malformed);
    }
    let mut fields = Vec::new();
    for (name, value, _) in reply.head.end_to_end() {
        if is_in_reach(name)? {
            fields.extend_from_slice(name);
            fields.extend_from_slice(b": ");
            fields.extend_from_slice(value);
            fields.extend_from_slice(b"\r\n");
        }
    }
    Ok(Denial { status, fields, body: reply.body.to_vec() })
}
