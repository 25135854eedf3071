//! Reads the message corpus and drives the engine over it as a connection driver would.
//!
//! The format stands in `README.md`. The tests of the engine use it; tests against a running gateway
//! may read the same cases.
#![allow(dead_code, clippy::unwrap_used, reason = "test support; each test crate uses its part")]

use proxy::h1::body::BodyReader;
use proxy::h1::error::Error;
use proxy::h1::{request, response};
use proxy::http::{Field, Framing, Method, RequestHead, ResponseHead, Version};

/// One case of the corpus.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) want: String,
    pub(crate) data: Vec<u8>,
    /// The other keys.
    pub(crate) facts: Vec<(String, String)>,
}

impl Case {
    pub(crate) fn fact(&self, key: &str) -> Option<&str> {
        self.facts.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

/// Reads a corpus file; panics with the place of a mistake.
pub(crate) fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("line {}", number + 1));
        let value = value.strip_prefix(' ').unwrap_or(value);
        if key == "case" {
            assert!(cases.iter().all(|case| case.name != value), "two cases are named {value}");
            cases.push(Case { name: value.to_owned(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("line {}: no case", number + 1));
        match key {
            "want" => value.clone_into(&mut case.want),
            "data" => case.data.extend(unescape(value)),
            _ => case.facts.push((key.to_owned(), value.to_owned())),
        }
    }
    cases
}

/// The bytes that an escaped text stands for.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (&kind, tail) = rest.split_first().expect("something follows a backslash");
        rest = tail;
        match kind {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &rest[2..];
            }
            b'{' => {
                let end = rest.iter().position(|&b| b == b'}').expect("a closing brace");
                let (count, part) =
                    std::str::from_utf8(&rest[..end]).unwrap().split_once('*').expect("N*text");
                out.extend(unescape(part).repeat(count.parse().unwrap()));
                rest = &rest[end + 1..];
            }
            other => panic!("unknown escape \\{}", char::from(other)),
        }
    }
    out
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is complete.
    Done,
    /// More input is needed (or, for responses, the backend closed too early).
    Incomplete,
    /// The head was refused.
    Head(Error),
    /// The body was refused.
    Body(Error),
}

/// Everything that a driver learns from one message, as facts in the corpus's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) head: Vec<(&'static str, String)>,
    /// Every line, as `name=value (hop)`.
    pub(crate) fields: Vec<Vec<u8>>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<u8>,
    /// What was not consumed; nothing behind an error is looked at.
    pub(crate) rest: Vec<u8>,
}

impl Outcome {
    fn refused(end: End) -> Self {
        let (head, fields, body) = (Vec::new(), Vec::new(), Vec::new());
        Self { end, head, fields, body, trailers: Vec::new(), rest: Vec::new() }
    }
}

/// Drives a request that arrives in `pieces`.
pub(crate) fn drive_request<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    drive_request_with(&mut RequestHead::default(), pieces)
}

/// The same with a head that was used before.
pub(crate) fn drive_request_with<'a>(
    head: &mut RequestHead,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Outcome {
    let mut reader: Option<BodyReader> = None;
    drive(pieces, |buffer, outcome| {
        if reader.is_none() {
            let Some(consumed) = request::read(buffer, head).map_err(End::Head)? else {
                return Ok(false);
            };
            buffer.drain(..consumed);
            outcome.head = request_facts(head);
            outcome.fields = fields(&head.arena, &head.fields);
        }
        let reader = reader.get_or_insert_with(|| BodyReader::new(head.framing));
        body(reader, buffer, outcome)
    })
}

/// Drives the response of `case`, interim responses included, until the backend closes.
pub(crate) fn drive_response<'a>(
    method: Method,
    asked: bool,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Outcome {
    let mut head = ResponseHead::default();
    let mut reader: Option<BodyReader> = None;
    let mut interim = Vec::new();
    let mut outcome = drive(pieces, |buffer, outcome| {
        while reader.is_none() {
            let read = response::read(buffer, method, asked, &mut head).map_err(End::Head)?;
            let Some(consumed) = read else { return Ok(false) };
            buffer.drain(..consumed);
            if head.is_interim() {
                interim.push(head.status.to_string());
                continue;
            }
            outcome.head = response_facts(&head);
            outcome.head.push(("interim", interim.join(" ")));
            outcome.fields = fields(&head.arena, &head.fields);
            reader = Some(BodyReader::new(head.framing));
        }
        body(reader.as_mut().unwrap(), buffer, outcome)
    });
    if outcome.end == End::Incomplete && reader.is_some_and(|mut reader| reader.end_of_input()) {
        outcome.end = End::Done;
    }
    outcome
}

fn drive<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    mut read: impl FnMut(&mut Vec<u8>, &mut Outcome) -> Result<bool, End>,
) -> Outcome {
    let mut outcome = Outcome::refused(End::Incomplete);
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if outcome.end == End::Incomplete {
            match read(&mut buffer, &mut outcome) {
                Ok(true) => outcome.end = End::Done,
                Ok(false) => {}
                Err(end) => outcome.end = end,
            }
        }
    }
    if matches!(outcome.end, End::Done | End::Incomplete) {
        outcome.rest = buffer;
    }
    outcome
}

fn body(reader: &mut BodyReader, buffer: &mut Vec<u8>, outcome: &mut Outcome) -> Result<bool, End> {
    loop {
        let read = match reader.read(buffer) {
            Ok(read) => read,
            Err(error) => {
                assert_eq!(reader.read(b"0\r\n\r\n"), Err(error), "an error stays");
                return Err(End::Body(error));
            }
        };
        assert!(read.data.end <= read.consumed && read.consumed <= buffer.len());
        outcome.body.extend_from_slice(&buffer[read.data.clone()]);
        buffer.drain(..read.consumed);
        if read.done {
            assert!(reader.is_done());
            outcome.trailers = reader.trailers().to_vec();
            return Ok(true);
        }
        if read.consumed == 0 {
            return Ok(false);
        }
    }
}

fn fields(arena: &[u8], fields: &[Field]) -> Vec<Vec<u8>> {
    fields
        .iter()
        .map(|field| {
            let hop: &[u8] = if field.hop { b" (hop)" } else { b"" };
            [field.name.of(arena), b"=", field.value.of(arena), hop].concat()
        })
        .collect()
}

fn hops(arena: &[u8], fields: &[Field]) -> String {
    let names = fields.iter().filter(|f| f.hop).map(|f| f.name.of(arena));
    names.map(|name| std::str::from_utf8(name).unwrap()).collect::<Vec<_>>().join(" ")
}

fn framing(framing: Framing) -> String {
    match framing {
        Framing::None => "none".into(),
        Framing::Length(length) => format!("length {length}"),
        Framing::Chunked => "chunked".into(),
        Framing::UntilClose => "until-close".into(),
    }
}

fn version(version: Version) -> String {
    match version {
        Version::Http10 => "1.0".into(),
        Version::Http11 => "1.1".into(),
        Version::Http2 => "2".into(),
    }
}

fn keep(keep: bool) -> String {
    if keep { "yes".into() } else { "no".into() }
}

fn request_facts(head: &RequestHead) -> Vec<(&'static str, String)> {
    let flags = [
        (head.websocket, "websocket"),
        (head.expect_continue, "expect"),
        (head.te_trailers, "te-trailers"),
    ];
    let flags: Vec<_> = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
    let mut facts = vec![
        ("method", head.method_str().to_owned()),
        ("version", version(head.version)),
        ("host", head.host().to_owned()),
        ("authority", head.authority().to_owned()),
        ("path", head.path().to_owned()),
        ("framing", framing(head.framing)),
        ("keep", keep(head.keep_alive)),
        ("flags", flags.join(" ")),
        ("hop", hops(&head.arena, &head.fields)),
    ];
    if let Some(query) = head.query() {
        facts.push(("query", query.to_owned()));
    }
    facts
}

fn response_facts(head: &ResponseHead) -> Vec<(&'static str, String)> {
    vec![
        ("status", head.status.to_string()),
        ("reason", head.reason().escape_ascii().to_string()),
        ("version", version(head.version)),
        ("framing", framing(head.framing)),
        ("keep", keep(head.keep_alive)),
        ("flags", if head.websocket { "websocket".into() } else { String::new() }),
        ("hop", hops(&head.arena, &head.fields)),
        ("length", head.content_length().map_or(String::new(), |length| length.to_string())),
    ]
}
