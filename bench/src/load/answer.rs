//! Reads one answer of HTTP/1.1 and says whether one of any version is the right one.
//!
//! Sans I/O. Called by `load::http1` and, for what is right, by `load::http2`. Invariant: an answer is complete exactly once, and bytes
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

/// What was received of an answer.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Its status, once the head is complete.
    pub(crate) status: u16,
    /// Body bytes so far.
    pub(crate) bytes: u64,
    /// What the two fields that should be equal said, when they differ.
    differ: Option<String>,
}

/// An answer on its way in.
#[derive(Debug)]
pub(crate) struct Answer {
    part: Part,
    head: Vec<u8>,
    /// What was received of it.
    pub(crate) received: Received,
    /// The connection ends with it.
    pub(crate) close: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    Body(Body),
}

impl Answer {
    /// Nothing has arrived.
    pub(crate) fn new() -> Self {
        Self { part: Part::Head, head: Vec::new(), received: Received::default(), close: false }
    }

    /// Readies it for the next answer on the connection.
    pub(crate) fn reset(&mut self) {
        self.part = Part::Head;
        self.head.clear();
        self.received = Received::default();
        self.close = false;
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
                    self.received.bytes += content;
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
        let status = http::status(head).map_err(|_| Failure::Malformed)?;
        if (100..200).contains(&status) {
            return Ok(());
        }
        let framing = http::framing(head).map_err(|_| Failure::Malformed)?;
        let body = Body::of_response(status, framing);
        self.close = framing.close || body == Body::UntilClose;
        self.received.head(status, expected, |name| http::field(head, name));
        self.part = Part::Body(body);
        Ok(())
    }
}

impl Received {
    /// Takes the final head in: its status, and its fields by name.
    pub(crate) fn head<'h>(
        &mut self,
        status: u16,
        expected: &Expected,
        field: impl Fn(&str) -> Option<&'h [u8]>,
    ) {
        self.status = status;
        let Some((one, other)) = &expected.equal_fields else { return };
        let (one, other) = (field(one), field(other));
        if one.is_none() || one != other {
            let text = |value: Option<&[u8]>| match value {
                Some(value) => String::from_utf8_lossy(value).into_owned(),
                None => "(absent)".to_owned(),
            };
            self.differ = Some(format!("`{}` against `{}`", text(one), text(other)));
        }
    }

    /// Whether a complete answer is right, and its body bytes; `learned` is the length of the URL's
    /// first one.
    pub(crate) fn check(
        &self,
        expected: &Expected,
        learned: &mut Option<u64>,
    ) -> Result<u64, (Failure, String)> {
        let right = expected
            .status
            .map_or_else(|| (200..300).contains(&self.status), |status| status == self.status);
        if !right {
            let tolerated = expected.tolerated.contains(&self.status);
            let kind = if tolerated { Failure::Tolerated } else { Failure::Status };
            return Err((kind, format!("status {}", self.status)));
        }
        let length = *learned.get_or_insert(expected.bytes.unwrap_or(self.bytes));
        if length != self.bytes {
            return Err((Failure::Length, format!("{} body bytes", self.bytes)));
        }
        match &self.differ {
            Some(fields) => Err((Failure::HalfChanged, fields.clone())),
            None => Ok(self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\nB: 1\r\nContent-Length: 5\r\n\r\nhello";

    fn why(answer: &Answer, expected: &Expected) -> Option<Failure> {
        answer.received.check(expected, &mut None).err().map(|(kind, _)| kind)
    }

    #[test]
    fn an_answer_cut_anywhere_is_the_same_answer() {
        let expected =
            Expected { equal_fields: Some(("a".into(), "b".into())), ..Expected::default() };
        for cut in 0..WIRE.len() {
            let mut answer = Answer::new();
            assert_eq!(answer.feed(&WIRE[..cut], &expected), Ok(false), "cut at {cut}");
            assert_eq!(answer.feed(&WIRE[cut..], &expected), Ok(true), "cut at {cut}");
            let received = &answer.received;
            assert_eq!((received.status, received.bytes, answer.close), (200, 5, false));
            assert_eq!(received.check(&expected, &mut None), Ok(5));
        }
    }

    #[test]
    fn a_wrong_answer_is_named_by_what_is_wrong() {
        let mut answer = Answer::new();
        let expected = Expected { bytes: Some(6), ..Expected::default() };
        assert_eq!(answer.feed(WIRE, &expected), Ok(true));
        assert_eq!(why(&answer, &expected), Some(Failure::Length));
        let teapot = Expected { status: Some(418), ..Expected::default() };
        assert_eq!(why(&answer, &teapot), Some(Failure::Status));
        let tolerant = Expected { tolerated: vec![200], ..teapot };
        assert_eq!(why(&answer, &tolerant), Some(Failure::Tolerated));
        answer.reset();
        let fields =
            Expected { equal_fields: Some(("a".into(), "c".into())), ..Expected::default() };
        assert_eq!(answer.feed(WIRE, &fields), Ok(true));
        assert_eq!(why(&answer, &fields), Some(Failure::HalfChanged));
        answer.reset();
        assert_eq!(answer.feed(b"HTTP/1.1 204 No\r\n\r\nx", &expected), Err(Failure::Malformed));
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let mut answer = Answer::new();
        let expected = Expected::default();
        assert_eq!(answer.feed(b"HTTP/1.1 200 OK\r\n\r\nabc", &expected), Ok(false));
        assert_eq!((answer.end(), answer.received.bytes), (Ok(()), 3));
        answer.reset();
        assert_eq!(
            answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", &expected),
            Ok(false)
        );
        assert_eq!(answer.end(), Err(Failure::Closed));
    }
}
