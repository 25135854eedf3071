//! Properties of the HTTP/1 engine over made-up and arbitrary bytes.

mod vectors;

use proptest::collection::vec;
use proptest::prelude::*;
use proxy::h1::body::{BodyReader, BodyWriter};
use proxy::h1::encode::Text;
use proxy::http::path::{Canonical, canonical};
use proxy::http::{Framing, HeadWriter, Method, authority};
use vectors::{Outcome, drive_request, drive_response};

/// Cuts `data` at the places in `cuts`.
fn pieces<'a>(data: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut % (data.len() + 1)).collect();
    places.extend([0, data.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect()
}

fn response<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    drive_response(Method::Get, true, pieces)
}

/// Bytes that look like HTTP, with every kind of flaw mixed in.
fn almost_http(start: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    const PARTS: &[&str] = &[
        "Host: a\r\n",
        "Host: b.\r\n",
        "X: y\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close, x\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        "Expect: 100-continue\r\n",
        "TE: trailers\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        "\t",
        ":",
        ";",
        "%",
        "é",
        "abc",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "5;x=y\r\nhello\r\n",
        "0\r\nX: trailer\r\n\r\n",
    ];
    (prop::sample::select(start), vec(prop::sample::select(PARTS), 0..12)).prop_map(
        |(start, parts)| {
            let mut data = start.as_bytes().to_vec();
            parts.iter().for_each(|part| data.extend_from_slice(part.as_bytes()));
            data
        },
    )
}

const REQUEST_STARTS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "POST /a//b/../c?d HTTP/1.1\r\nHost: a\r\n",
    "GET http://b/ HTTP/1.1\r\n",
    "POST / HTTP/1.0\r\n",
    "\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n",
    "GET / HTTP/2.0\r\n",
    "GET /",
    "",
];

const RESPONSE_STARTS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204\r\n",
    "HTTP/1.0 304 Not Modified\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 2",
    "",
];

/// Paths of the pieces that matter.
fn path() -> impl Strategy<Value = String> {
    const PARTS: &[&str] = &[
        "/", "/", ".", "..", "a", "%2e", "%2E", "%2f", "%5c", "%5C", "%61", "%25", "%3b", ";",
        "x=1", "%c3%A9", "%20", "~", "%7e", "%", "%0", "%00", "\\", "?", "#",
    ];
    let parts = (prop::sample::select(&PARTS[..21]), prop::sample::select(PARTS), 0..20_u8)
        .prop_map(|(usual, any, dice)| if dice == 0 { any } else { usual });
    vec(parts, 0..14).prop_map(|parts| format!("/{}", parts.concat()))
}

fn canonical_of(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"kept".to_vec();
    let place = canonical(raw, &mut out).ok()?;
    assert!(out.starts_with(b"kept"));
    Some(match place {
        Canonical::AsWritten => raw.to_vec(),
        Canonical::Appended => out.split_off(4),
    })
}

/// What a careless backend makes of a path: escapes decoded once, parameters stripped.
fn careless_segments(path: &[u8]) -> Vec<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = (byte == b'%')
            .then(|| std::str::from_utf8(tail.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escape.unwrap_or(byte));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    let segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    segments.map(|s| s.split(|&b| b == b';').next().unwrap_or_default().to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_a_request_gives_the_same_events(
        data in almost_http(REQUEST_STARTS), cuts in vec(any::<usize>(), 0..6),
    ) {
        let whole = drive_request([&data[..]].into_iter());
        prop_assert_eq!(&drive_request(pieces(&data, &cuts).into_iter()), &whole);
        prop_assert_eq!(&drive_request(data.chunks(1)), &whole);
    }

    #[test]
    fn any_cut_of_a_response_gives_the_same_events(
        data in almost_http(RESPONSE_STARTS), cuts in vec(any::<usize>(), 0..6),
    ) {
        let whole = response([&data[..]].into_iter());
        prop_assert_eq!(&response(pieces(&data, &cuts).into_iter()), &whole);
        prop_assert_eq!(&response(data.chunks(1)), &whole);
    }

    #[test]
    fn one_changed_byte_is_judged_the_same_however_it_is_cut(
        at in any::<usize>(), byte in any::<u8>(), cuts in vec(any::<usize>(), 0..4),
    ) {
        let mut request = b"POST /a/b?c HTTP/1.1\r\nHost: a.example:80\r\nConnection: x\r\n\
            X: y\r\nTransfer-Encoding: chunked\r\n\r\n3;e\r\nabc\r\n0\r\nT: u\r\n\r\n".to_vec();
        let at = at % request.len();
        request[at] = byte;
        let whole = drive_request([&request[..]].into_iter());
        prop_assert_eq!(&drive_request(pieces(&request, &cuts).into_iter()), &whole);
        prop_assert_eq!(&drive_request(request.chunks(1)), &whole);
        let mut answer = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\nabc".to_vec();
        let at = at % answer.len();
        answer[at] = byte;
        let whole = response([&answer[..]].into_iter());
        prop_assert_eq!(&response(answer.chunks(1)), &whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in vec(any::<u8>(), 0..300)) {
        let whole = drive_request([&data[..]].into_iter());
        prop_assert_eq!(&drive_request(data.chunks(1)), &whole);
        let whole = response([&data[..]].into_iter());
        prop_assert_eq!(&response(data.chunks(1)), &whole);
        let mut reader = BodyReader::new(Framing::Chunked);
        let _ = reader.read(&data);
        let _ = authority::parse(&data);
        let _ = canonical(&data, &mut Vec::new());
    }

    #[test]
    fn what_the_writer_writes_the_reader_reads(
        chunks in vec(vec(any::<u8>(), 0..300), 0..8),
        trailer in any::<bool>(),
        cuts in vec(any::<usize>(), 0..8),
        framing in 0..3_u8,
    ) {
        let body = chunks.concat();
        let framing = match framing {
            0 => Framing::Chunked,
            1 => Framing::Length(body.len() as u64),
            _ => Framing::UntilClose,
        };
        let trailers: &[u8] = if trailer { b"x-sum: 1\r\ny: \r\n" } else { b"" };
        let mut wire = Vec::new();
        let mut writer = BodyWriter::new(framing);
        for chunk in &chunks {
            writer.before(chunk.len(), &mut wire);
            wire.extend_from_slice(chunk);
            writer.after(&mut wire);
        }
        writer.finish(trailers, &mut wire);
        if framing != Framing::UntilClose {
            wire.extend_from_slice(b"NEXT");
        }
        let mut reader = BodyReader::new(framing);
        let (mut buffer, mut got) = (Vec::new(), Vec::new());
        for piece in pieces(&wire, &cuts) {
            buffer.extend_from_slice(piece);
            loop {
                let read = reader.read(&buffer).unwrap();
                got.extend_from_slice(&buffer[read.data]);
                buffer.drain(..read.consumed);
                if read.consumed == 0 || read.done {
                    break;
                }
            }
        }
        prop_assert!(reader.end_of_input());
        prop_assert_eq!(got, body);
        let kept: &[u8] = if framing == Framing::Chunked { trailers } else { b"" };
        prop_assert_eq!(reader.trailers(), kept);
        let rest: &[u8] = if framing == Framing::UntilClose { b"" } else { b"NEXT" };
        prop_assert_eq!(&buffer[..], rest);
    }

    #[test]
    fn an_accepted_request_is_accepted_again_as_it_is_forwarded(
        data in almost_http(REQUEST_STARTS),
    ) {
        let mut head = proxy::http::RequestHead::default();
        let Ok(Some(_)) = proxy::h1::request::read(&data, &mut head) else { return Ok(()) };
        let mut out = Vec::new();
        let mut text = Text(&mut out);
        let host = if head.host().is_empty() { "none" } else { head.authority() };
        let target = |out: &mut Vec<u8>| {
            out.extend_from_slice(head.path().as_bytes());
            out.extend(head.query().into_iter().flat_map(|query| ["?", query]).flat_map(str::bytes));
        };
        text.request(head.method_bytes(), "", |out| out.extend_from_slice(host.as_bytes()), target, false);
        for (name, value, known) in head.end_to_end() {
            use proxy::http::Known;
            if !matches!(known, Known::Host | Known::ContentLength) {
                text.field(name, value);
            }
        }
        text.framing(head.framing);
        text.end();
        let mut again = proxy::http::RequestHead::default();
        prop_assert_eq!(proxy::h1::request::read(&out, &mut again), Ok(Some(out.len())));
        prop_assert_eq!(again.path(), head.path());
        prop_assert_eq!(again.query(), head.query());
        prop_assert_eq!(again.authority(), host);
        prop_assert_eq!(again.framing, head.framing);
        prop_assert!(again.fields.iter().all(|f| !f.hop || f.known == proxy::http::Known::TransferEncoding));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8192, ..ProptestConfig::default() })]

    #[test]
    fn canonical_paths_are_fixed_points_without_dot_segments(raw in path()) {
        let Some(once) = canonical_of(raw.as_bytes()) else { return Ok(()) };
        prop_assert_eq!(canonical_of(&once), Some(once.clone()));
        prop_assert_eq!(once[0], b'/');
        prop_assert!(once.iter().all(|byte| (0x21..0x7f).contains(byte)));
        prop_assert!(!once.windows(2).any(|pair| pair == b"//"));
        prop_assert!(once.split(|&b| b == b'/').all(|s| s != b"." && s != b".."));
        for segment in careless_segments(&once) {
            prop_assert!(segment != b"." && segment != b"..", "{:?}", once.escape_ascii().to_string());
        }
    }
}
