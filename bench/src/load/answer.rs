//! Reads one answer and says whether it is the right one.
//!
//! Sans I/O. Called by `load::client`. Invariant: an answer is complete exactly once, and bytes
//! behind it are a failure (nothing here pipelines).

use crate::http::{self, Body, HEAD_MAX};
use crate::load::record::Failure;

/// What a right answer looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// This status; any 2xx when unset.
    pub(crate) status: Option<u16>,
    /// These are not right, but to be expected: counted apart.
    pub(crate) tolerated: Vec<u16>,
    /// This many body bytes; when unset, as many as the first right answer of the same URL had.
    pub(crate) bytes: Option<u64>,
    /// These two fields are equal: one configuration sets both.
    pub(crate) equal_fields: Option<(String, String)>,
}

/// An answer on its way in.
#[derive(Debug)]
pub(crate) struct Answer {
    part: Part,
    head: Vec<u8>,
    /// Its status, once the head is complete.
    pub(crate) status: u16,
    /// Body bytes so far.
    pub(crate) bytes: u64,
    /// The connection ends with it.
    pub(crate) close: bool,
    half_changed: bool,
    /// What the two fields said when they differ.
    pub(crate) fields: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    Body(Body),
}

impl Answer {
    /// Nothing has arrived.
    pub(crate) fn new() -> Self {
        Self {
            part: Part::Head,
            head: Vec::new(),
            status: 0,
            bytes: 0,
            close: false,
            half_changed: false,
            fields: String::new(),
        }
    }

    /// Readies it for the next answer on the connection.
    pub(crate) fn reset(&mut self) {
        self.part = Part::Head;
        self.head.clear();
        self.bytes = 0;
        self.close = false;
        self.half_changed = false;
    }

    /// Whether the head is complete and a body is expected.
    pub(crate) fn in_body(&self) -> bool {
        matches!(self.part, Part::Body(_))
    }

    /// Takes bytes in; true when the answer is complete.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], expected: &Expected) -> Result<bool, Failure> {
        loop {
            match &mut self.part {
                Part::Body(body) => {
                    let (used, content) = body.take(bytes).map_err(|_| Failure::Malformed)?;
                    self.bytes += content;
                    if *body != Body::Done {
                        return Ok(false);
                    }
                    return if used == bytes.len() { Ok(true) } else { Err(Failure::Malformed) };
                }
                Part::Head => match self.take_head(bytes, expected)? {
                    Some(used) => bytes = &bytes[used..],
                    None => return Ok(false),
                },
            }
        }
    }

    /// The peer closed: the end of an answer without a length, or a failure.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        self.close = true;
        if self.part == Part::Body(Body::UntilClose) { Ok(()) } else { Err(Failure::Closed) }
    }

    fn take_head(&mut self, bytes: &[u8], expected: &Expected) -> Result<Option<usize>, Failure> {
        if self.head.is_empty()
            && let Some(end) = http::head_end(bytes)
        {
            self.read_head(&bytes[..end], expected)?;
            return Ok(Some(end));
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(end) = http::head_end(&self.head) else {
            return if self.head.len() > HEAD_MAX { Err(Failure::Malformed) } else { Ok(None) };
        };
        let head = std::mem::take(&mut self.head);
        self.read_head(&head[..end], expected)?;
        self.head = head;
        self.head.clear();
        Ok(Some(end - before))
    }

    fn read_head(&mut self, head: &[u8], expected: &Expected) -> Result<(), Failure> {
        self.status = http::status(head).map_err(|_| Failure::Malformed)?;
        if (100..200).contains(&self.status) {
            return Ok(());
        }
        let framing = http::framing(head).map_err(|_| Failure::Malformed)?;
        let body = Body::of_response(self.status, framing);
        self.close = framing.close || body == Body::UntilClose;
        if let Some((one, other)) = &expected.equal_fields {
            let (one, other) = (http::field(head, one), http::field(head, other));
            if one.is_none() || one != other {
                self.half_changed = true;
                let text = |value: Option<&[u8]>| match value {
                    Some(value) => String::from_utf8_lossy(value).into_owned(),
                    None => "(absent)".to_owned(),
                };
                self.fields = format!("`{}` against `{}`", text(one), text(other));
            }
        }
        self.part = Part::Body(body);
        Ok(())
    }

    /// Whether a complete answer is right; `learned` is the length of the URL's first one.
    pub(crate) fn check(
        &self,
        expected: &Expected,
        learned: &mut Option<u64>,
    ) -> Result<(), Failure> {
        let right = expected
            .status
            .map_or_else(|| (200..300).contains(&self.status), |status| status == self.status);
        if !right {
            let tolerated = expected.tolerated.contains(&self.status);
            return Err(if tolerated { Failure::Tolerated } else { Failure::Status });
        }
        let length = *learned.get_or_insert(expected.bytes.unwrap_or(self.bytes));
        if length != self.bytes {
            return Err(Failure::Length);
        }
        if self.half_changed { Err(Failure::HalfChanged) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\nB: 1\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn an_answer_cut_anywhere_is_the_same_answer() {
        let expected =
            Expected { equal_fields: Some(("a".into(), "b".into())), ..Expected::default() };
        for cut in 0..WIRE.len() {
            let mut answer = Answer::new();
            assert_eq!(answer.feed(&WIRE[..cut], &expected), Ok(false), "cut at {cut}");
            assert_eq!(answer.feed(&WIRE[cut..], &expected), Ok(true), "cut at {cut}");
            assert_eq!((answer.status, answer.bytes, answer.close), (200, 5, false));
            assert_eq!(answer.check(&expected, &mut None), Ok(()));
        }
    }

    #[test]
    fn a_wrong_answer_is_named_by_what_is_wrong() {
        let mut answer = Answer::new();
        let expected = Expected { bytes: Some(6), ..Expected::default() };
        assert_eq!(answer.feed(WIRE, &expected), Ok(true));
        assert_eq!(answer.check(&expected, &mut None), Err(Failure::Length));
        let teapot = Expected { status: Some(418), ..Expected::default() };
        assert_eq!(answer.check(&teapot, &mut None), Err(Failure::Status));
        let tolerant = Expected { tolerated: vec![200], ..teapot };
        assert_eq!(answer.check(&tolerant, &mut None), Err(Failure::Tolerated));
        answer.reset();
        let fields =
            Expected { equal_fields: Some(("a".into(), "c".into())), ..Expected::default() };
        assert_eq!(answer.feed(WIRE, &fields), Ok(true));
        assert_eq!(answer.check(&fields, &mut None), Err(Failure::HalfChanged));
        answer.reset();
        assert_eq!(answer.feed(b"HTTP/1.1 204 No\r\n\r\nx", &expected), Err(Failure::Malformed));
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let mut answer = Answer::new();
        let expected = Expected::default();
        assert_eq!(answer.feed(b"HTTP/1.1 200 OK\r\n\r\nabc", &expected), Ok(false));
        assert_eq!((answer.end(), answer.bytes), (Ok(()), 3));
        answer.reset();
        assert_eq!(
            answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", &expected),
            Ok(false)
        );
        assert_eq!(answer.end(), Err(Failure::Closed));
    }
}
