//! RFC 9113 section 8: which field blocks are requests, and what they say.

use proxy::h2::{ErrorCode, Event};

use super::kit::{Frames, GET, POST, Seen, Subject, Text, resets};

/// What becomes of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Becomes {
    Head(String),
    Answer(u16),
    Reset,
}

fn becomes(fields: &[(&str, &str)], end: bool) -> Becomes {
    let mut subject = Subject::new();
    // A request behind it must be unharmed, whatever it was.
    let frames = Frames::client().headers(1, end, fields).headers(3, true, &GET);
    subject.feed(&frames.bytes);
    assert_eq!(subject.error, None, "{fields:?}");
    assert_eq!(subject.heads.pop().as_deref(), Some("GET a.test / None"));
    let resets = resets(&subject.answers());
    let first = subject.seen.iter().find(|seen| **seen != Seen::Event(Event::Settings)).unwrap();
    match first {
        Seen::Event(Event::Head { .. }) => Becomes::Head(subject.heads.remove(0)),
        Seen::Event(Event::Refused { why, .. }) => {
            assert!(resets.is_empty());
            Becomes::Answer(why.status())
        }
        _ => {
            assert_eq!(resets, [(1, ErrorCode::ProtocolError)], "{fields:?}");
            Becomes::Reset
        }
    }
}

/// `GET` with one pseudo-field replaced, or left out.
fn but(name: &str, value: Option<&'static str>) -> Vec<Text> {
    let mut fields = GET.to_vec();
    let at = fields.iter().position(|field| field.0 == name).unwrap();
    match value {
        Some(value) => fields[at].1 = value,
        None => drop(fields.remove(at)),
    }
    fields
}

fn and<'t>(fields: &[(&'t str, &'t str)], more: &[(&'t str, &'t str)]) -> Vec<(&'t str, &'t str)> {
    fields.iter().chain(more).copied().collect()
}

#[test]
fn rfc9113_8_3_pseudo_fields_are_known_single_and_first() {
    for fields in [
        but(":method", None),
        but(":scheme", None),
        but(":path", None),
        but(":path", Some("")),
        but(":method", Some("")),
        but(":method", Some("GET /x HTTP/1.1")),
        but(":method", Some("G\u{e9}T")),
        and(&GET, &[(":method", "GET")]),
        and(&GET, &[(":scheme", "http")]),
        and(&GET, &[(":path", "/")]),
        and(&GET, &[(":authority", "a.test")]),
        and(&GET, &[(":status", "200")]),
        and(&GET, &[(":test", "ok")]),
        and(&GET, &[(":", "ok")]),
        and(&[("x", "y")], &GET),
        and(&GET[..3], &[("x", "y"), (":authority", "a.test")]),
        and(&GET, &[(":protocol", "websocket")]),
    ] {
        assert_eq!(becomes(&fields, true), Becomes::Reset, "{fields:?}");
    }
}

#[test]
fn rfc9113_8_2_names_and_values_hold_what_they_may() {
    for (name, value) in [
        ("X-Upper", "a"),
        ("", "a"),
        ("a b", "a"),
        ("a:", "a"),
        ("a\0", "a"),
        ("a\u{e9}", "a"),
        ("a", "x\r\ny: z"),
        ("a", "x\n"),
        ("a", "x\0y"),
        ("a", " x"),
        ("a", "x "),
        ("a", "\tx"),
        ("a", "x\u{7f}"),
        ("connection", "close"),
        ("connection", ""),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "1"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, deflate"),
    ] {
        assert_eq!(becomes(&and(&GET, &[(name, value)]), true), Becomes::Reset, "{name}: {value}");
    }
}

#[test]
fn what_the_policy_refuses_is_answered_as_in_http1() {
    for (fields, status) in [
        (but(":path", Some("a")), 400),
        (but(":path", Some("*")), 400),
        (but(":path", Some("/a b")), 400),
        (but(":path", Some("/a#b")), 400),
        (but(":path", Some("/a?b#c")), 400),
        (but(":path", Some("/a?b c")), 400),
        (but(":path", Some("/a?\u{e9}")), 400),
        (but(":path", Some("/..%2f")), 400),
        (but(":path", Some("/%00")), 400),
        (but(":path", Some("/a\\b")), 400),
        (but(":path", Some("http://a.test/")), 400),
        (but(":scheme", Some("http://x/?")), 400),
        (but(":scheme", Some("ftp")), 400),
        (but(":authority", None), 400),
        (but(":authority", Some("")), 400),
        (but(":authority", Some("a,b")), 400),
        (but(":authority", Some("u@a")), 400),
        (but(":authority", Some("a:0")), 400),
        (and(&GET, &[("host", "b.test")]), 400),
        (and(&GET, &[("host", "a.test:80")]), 400),
        (and(&GET, &[("host", "a.test"), ("host", "a.test")]), 400),
        (and(&GET, &[("host", "a b")]), 400),
        (and(&GET, &[("expect", "the-best")]), 417),
        (but(":method", Some("CONNECT")), 400),
    ] {
        let found = becomes(&fields, true);
        let is_connect = fields[0].1 == "CONNECT";
        let expected = if is_connect { Becomes::Reset } else { Becomes::Answer(status) };
        assert_eq!(found, expected, "{fields:?}");
    }
    let connect = [(":method", "CONNECT"), (":authority", "a.test:443")];
    assert_eq!(becomes(&connect, false), Becomes::Answer(405));
}

#[test]
fn the_sizes_of_a_head_are_those_of_http1() {
    let long = "x".repeat(16_385);
    let path = format!("/{}", &long[1..]);
    let with_path = |path: &str| {
        let fields = [GET[0], GET[1], (":path", ""), GET[3]].map(|(n, v)| (n, v.to_owned()));
        fields.map(|(name, value)| (name, if name == ":path" { path.to_owned() } else { value }))
    };
    let borrowed = |fields: &[(&'static str, String); 4]| -> Becomes {
        let mut frames = Frames::client();
        let fields: Vec<_> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let block = frames.block(&fields);
        let (first, rest) = block.split_at(block.len().min(16_000));
        let frames = frames.frame(proxy::h2::frame::Kind::Headers, 1, 1, first);
        let frames = frames.frame(proxy::h2::frame::Kind::Continuation, 4, 1, rest);
        let mut subject = Subject::new();
        subject.feed(&frames.bytes);
        match subject.seen.last() {
            Some(Seen::Event(Event::Refused { why, .. })) => Becomes::Answer(why.status()),
            Some(Seen::Event(Event::Head { .. })) => Becomes::Head(String::new()),
            _ => Becomes::Reset,
        }
    };
    assert_eq!(borrowed(&with_path(&path)), Becomes::Answer(414));
    assert_eq!(borrowed(&with_path(&path[..16_384])), Becomes::Head(String::new()));
    let many: Vec<_> = std::iter::repeat_n(("a", "b"), 125).collect();
    assert_eq!(becomes(&and(&GET, &many), true), Becomes::Answer(431));
    assert!(matches!(becomes(&and(&GET, &many[1..]), true), Becomes::Head(_)));
    let crumbs: Vec<_> = std::iter::repeat_n(("cookie", "b"), 125).collect();
    assert_eq!(becomes(&and(&GET, &crumbs), true), Becomes::Answer(431), "crumbs are counted");
    let large = "v".repeat(15_000);
    let bomb: Vec<_> = std::iter::repeat_n(("a", large.as_str()), 1).collect();
    assert!(matches!(becomes(&and(&GET, &bomb), true), Becomes::Head(_)));
    let method = "M".repeat(65);
    let fields = and(&[(":method", method.as_str())], &GET[1..]);
    assert_eq!(becomes(&fields, true), Becomes::Answer(431));
}

#[test]
fn what_a_request_says_is_what_http1_would_have_said() {
    for (fields, end, expected) in [
        (GET.to_vec(), true, "GET a.test / None"),
        (GET.to_vec(), false, "GET a.test / Chunked"),
        (POST.to_vec(), true, "POST a.test / Length(0)"),
        (and(&POST, &[("content-length", "5")]), false, "POST a.test / Length(5) content-length=5"),
        (but(":authority", Some("A.Test.:8080")), true, "GET a.test:8080 / None"),
        (but(":authority", Some("[::1]:80")), true, "GET [::1]:80 / None"),
        (but(":path", Some("/p/../%61//b?q=%61")), true, "GET a.test /a/b?q=%61 None"),
        (but(":path", Some("/?")), true, "GET a.test /? None"),
        (but(":scheme", Some("HTTPS")), true, "GET a.test / None"),
        (and(&GET, &[("host", "A.TEST.")]), true, "GET a.test / None"),
        (and(&GET[..3], &[("host", "b.test")]), true, "GET b.test / None"),
        (and(&GET, &[("te", "trailers")]), true, "GET a.test / None trailers"),
        (and(&GET, &[("te", "Trailers")]), true, "GET a.test / None trailers"),
        (and(&GET, &[("expect", "100-continue")]), true, "GET a.test / None"),
        (
            and(&POST, &[("expect", "100-Continue")]),
            false,
            "POST a.test / Chunked expect expect=100-Continue",
        ),
        (and(&GET, &[("proxy-authorization", "x"), ("trailer", "t")]), true, "GET a.test / None"),
        (and(&GET, &[("a", ""), ("a", "b\tc")]), true, "GET a.test / None a= a=b\tc"),
        (
            and(&GET, &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]),
            true,
            "GET a.test / None cookie=a=1; b=2; c=3 x=y",
        ),
        (
            and(
                &POST,
                &[("cookie", "a"), ("cookie", "b"), ("content-length", "0"), ("host", "a.test")],
            ),
            true,
            "POST a.test / Length(0) cookie=a; b content-length=0",
        ),
        (and(&[(":method", "PURGE")], &GET[1..]), true, "PURGE a.test / None"),
    ] {
        assert_eq!(becomes(&fields, end), Becomes::Head(expected.into()), "{fields:?}");
    }
    let asterisk = [(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), GET[3]];
    assert_eq!(becomes(&asterisk, true), Becomes::Head("OPTIONS a.test * None".into()));
}

#[test]
fn rfc8441_4_an_extended_connect_is_matched_as_the_get_it_stands_for() {
    let connect = [(":method", "CONNECT"), GET[1], (":path", "/chat"), GET[3]];
    let asking = |protocol| and(&connect, &[(":protocol", protocol)]);
    let expected = Becomes::Head("GET a.test /chat None websocket".into());
    assert_eq!(becomes(&asking("websocket"), false), expected);
    assert_eq!(becomes(&asking("websocket"), true), Becomes::Reset, "nothing could follow");
    assert_eq!(becomes(&asking("connect-udp"), false), Becomes::Answer(405));
    assert_eq!(becomes(&connect, false), Becomes::Reset, "CONNECT has no path");
    let bare = [connect[0], connect[3], (":protocol", "websocket")];
    assert_eq!(becomes(&bare, false), Becomes::Reset);
}
