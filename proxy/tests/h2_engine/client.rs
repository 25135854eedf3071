//! The engine towards backends: responses, settings and goodbyes.

use proxy::h2::frame::{END_STREAM, Kind};
use proxy::h2::{Client, ErrorCode, Event, Local, StreamId};
use proxy::http::{Framing, Method, ResponseHead};

use super::kit::{Frames, Text, feed_client, frames_of, resets};

/// A client that has sent one request, and its stream.
fn asked(method: Method, websocket: bool, end: bool) -> (Client, StreamId) {
    let mut client = Client::client(Local::default());
    let id = client.request(method, websocket, end, |fields| {
        fields.field(b":method", b"GET");
        fields.field(b":path", b"/");
    });
    client.output().clear();
    (client, id.unwrap())
}

/// What becomes of a response block on an open stream.
fn response(method: Method, end: bool, fields: &[Text]) -> Result<ResponseHead, ErrorCode> {
    let (mut client, id) = asked(method, false, true);
    let mut head = ResponseHead::default();
    let frames = Frames::nothing().settings(&[]).headers(1, end, fields);
    let events = feed_client(&mut client, &mut head, &frames.bytes)?;
    match events.last() {
        Some(Event::Head { stream, .. }) if *stream == id => Ok(head),
        Some(Event::Reset { code, by_peer: false, .. }) => {
            assert_eq!(resets(&frames_of(client.output())), [(1, *code)]);
            Err(*code)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rfc9113_8_3_2_a_response_has_one_status_and_no_other_pseudo_field() {
    for fields in [
        &[][..],
        &[("a", "b")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "abc")],
        &[(":status", "099")],
        &[(":status", "600")],
        &[(":status", "101")],
        &[(":status", "200"), (":path", "/")],
        &[("a", "b"), (":status", "200")],
        &[(":status", "200"), ("Server", "x")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("content-length", "x")],
        &[(":status", "200"), ("content-length", "5")],
    ] {
        let found = response(Method::Get, true, fields).map(|_| ());
        assert_eq!(found, Err(ErrorCode::ProtocolError), "{fields:?}");
    }
    assert!(response(Method::Get, true, &[(":status", "100")]).is_err(), "interim with an end");
    assert!(response(Method::Get, false, &[(":status", "103"), ("content-length", "1")]).is_err());
}

#[test]
fn framing_is_that_of_http1() {
    for (method, end, fields, framing) in [
        (Method::Get, false, &[(":status", "200")][..], Framing::Chunked),
        (Method::Get, true, &[(":status", "200")], Framing::Length(0)),
        (Method::Get, false, &[(":status", "200"), ("content-length", "5")], Framing::Length(5)),
        (Method::Head, true, &[(":status", "200"), ("content-length", "5")], Framing::None),
        (Method::Get, true, &[(":status", "304"), ("content-length", "5")], Framing::None),
        (Method::Get, true, &[(":status", "204")], Framing::None),
        (Method::Get, false, &[(":status", "103")], Framing::None),
    ] {
        let head = response(method, end, fields).unwrap();
        assert_eq!(head.framing, framing, "{method:?} {fields:?}");
        assert_eq!(head.is_interim(), head.status < 200);
    }
}

fn events_of(method: Method, frames: &Frames) -> (Client, Vec<Event>) {
    let (mut client, _) = asked(method, false, true);
    let mut head = ResponseHead::default();
    let events = feed_client(&mut client, &mut head, &frames.bytes).unwrap();
    (client, events)
}

fn is_reset(event: Option<&Event>) -> bool {
    matches!(event, Some(Event::Reset { by_peer: false, code: ErrorCode::ProtocolError, .. }))
}

#[test]
fn a_response_of_the_wrong_length_ends_its_stream() {
    let begun = || Frames::nothing().settings(&[]);
    let five = [(":status", "200"), ("content-length", "5")];
    let short = begun().headers(1, false, &five).data(1, true, b"abc");
    assert!(is_reset(events_of(Method::Get, &short).1.last()));
    let long = begun().headers(1, false, &five).data(1, false, b"abcdef");
    assert!(is_reset(events_of(Method::Get, &long).1.last()));
    let to_head = begun().headers(1, false, &five).data(1, true, b"abcde");
    assert!(is_reset(events_of(Method::Head, &to_head).1.last()));
    let whole = begun().headers(1, false, &five).data(1, true, b"abcde");
    assert!(matches!(events_of(Method::Get, &whole).1.last(), Some(Event::Data { end: true, .. })));
    let early = begun().data(1, true, b"abc");
    assert!(is_reset(events_of(Method::Get, &early).1.last()), "data before the head");
}

#[test]
fn interim_responses_are_bounded() {
    let mut frames = Frames::nothing().settings(&[]);
    for _ in 0..100 {
        frames = frames.headers(1, false, &[(":status", "103")]);
    }
    let (_, events) = events_of(Method::Get, &frames);
    assert_eq!(events.len(), 101);
    frames = frames.headers(1, false, &[(":status", "103")]);
    let (_, events) = events_of(Method::Get, &frames);
    assert!(matches!(events.last(), Some(Event::Reset { by_peer: false, .. })));
}

#[test]
fn grpc_trailers_only_and_trailers_pass() {
    let only = [(":status", "200"), ("grpc-status", "5")];
    let head = response(Method::Get, true, &only).unwrap();
    assert_eq!(head.end_to_end().next().unwrap().0, b"grpc-status");
    let frames = Frames::nothing().settings(&[]).headers(1, false, &only[..1]);
    let frames = frames.headers(
        1,
        true,
        &[("grpc-status", "0"), ("content-type", "late"), ("grpc-message", "fine: so far")],
    );
    let (client, events) = events_of(Method::Get, &frames);
    assert!(matches!(events.last(), Some(Event::Trailers { .. })));
    assert_eq!(client.trailers(), b"grpc-status: 0\r\ngrpc-message: fine: so far\r\n");
}

#[test]
fn rfc8441_5_a_tunnel_opens_by_any_success() {
    let (mut client, id) = asked(Method::Connect, true, false);
    let mut head = ResponseHead::default();
    let frames = Frames::nothing().settings(&[(0x8, 1)]);
    let frames = frames.headers(1, false, &[(":status", "200")]).data(1, false, b"frames");
    let events = feed_client(&mut client, &mut head, &frames.bytes).unwrap();
    assert!(head.websocket && client.peer().extended_connect);
    assert!(matches!(&events[2], Event::Data { stream, end: false, .. } if *stream == id));
    let (mut client, _) = asked(Method::Connect, true, false);
    let frames = Frames::nothing().settings(&[]).headers(1, false, &[(":status", "403")]);
    feed_client(&mut client, &mut head, &frames.bytes).unwrap();
    assert!(!head.websocket && head.framing == Framing::Chunked);
}

#[test]
fn rfc9113_5_1_2_no_more_streams_than_the_peer_allows() {
    let (mut client, id) = asked(Method::Get, false, true);
    let mut head = ResponseHead::default();
    feed_client(&mut client, &mut head, &Frames::nothing().settings(&[(0x3, 1)]).bytes).unwrap();
    assert!(!client.can_request());
    assert_eq!(client.request(Method::Get, false, true, |_| panic!("not asked")), None);
    client.forget(id);
    assert!(client.can_request());
    feed_client(&mut client, &mut head, &Frames::nothing().settings(&[(0x3, 0)]).bytes).unwrap();
    assert!(!client.can_request());
}

#[test]
fn rfc9113_6_8_streams_above_the_last_may_be_sent_elsewhere() {
    let (mut client, first) = asked(Method::Get, false, false);
    let second = client.request(Method::Get, false, false, |_| {}).unwrap();
    client.output().clear();
    let mut head = ResponseHead::default();
    let frames = Frames::nothing().settings(&[]);
    let frames = frames.frame(Kind::GoAway, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0, b'b', b'y', b'e']);
    let events = feed_client(&mut client, &mut head, &frames.bytes).unwrap();
    assert_eq!(events[1], Event::GoAway { last: first.number(), code: ErrorCode::NoError });
    assert!(!client.can_request());
    assert_eq!(client.send_data(second, b"x", true), 0, "nobody reads it");
    client.forget(second);
    assert_eq!(client.send_data(first, b"x", true), 1);
    let frames = Frames::nothing().headers(1, true, &[(":status", "200")]);
    let events = feed_client(&mut client, &mut head, &frames.bytes).unwrap();
    assert_eq!(events, [Event::Head { stream: first, end: true }]);
}

#[test]
fn a_backends_reset_is_told_with_its_code() {
    for code in [ErrorCode::RefusedStream, ErrorCode::Cancel, ErrorCode::NoError] {
        let (mut client, id) = asked(Method::Get, false, true);
        let mut head = ResponseHead::default();
        let frames = Frames::nothing().settings(&[]).rst(1, code);
        let events = feed_client(&mut client, &mut head, &frames.bytes).unwrap();
        assert_eq!(events[1], Event::Reset { stream: id, code, by_peer: true });
        client.forget(id);
        assert!(resets(&frames_of(client.output())).is_empty());
    }
}

#[test]
fn backends_open_no_streams() {
    for frames in [
        Frames::nothing().settings(&[]).headers(2, true, &[(":status", "200")]),
        Frames::nothing().settings(&[]).headers(3, true, &[(":status", "200")]),
        Frames::nothing().settings(&[]).frame(Kind::PushPromise, 4, 1, &[0, 0, 0, 2]),
        Frames::nothing().settings(&[(0x2, 1)]),
    ] {
        let (mut client, _) = asked(Method::Get, false, true);
        let fed = feed_client(&mut client, &mut ResponseHead::default(), &frames.bytes);
        assert_eq!(fed, Err(ErrorCode::ProtocolError));
    }
}

#[test]
fn a_large_head_is_continued() {
    let mut client = Client::client(Local::default());
    client.output().clear();
    let value = "\u{7f}".repeat(40_000).into_bytes();
    let id = client.request(Method::Get, false, true, |fields| fields.field(b"a", &value));
    let frames = frames_of(client.output());
    let shape: Vec<_> = frames.iter().map(|(h, _)| (h.kind, h.flags, h.length <= 16_384)).collect();
    assert_eq!(shape[0], (Kind::Headers, END_STREAM, true));
    assert_eq!(shape[1], (Kind::Continuation, 0, true));
    assert_eq!(shape.last(), Some(&(Kind::Continuation, 0x4, true)));
    assert!(frames.iter().all(|(header, _)| header.stream == id.unwrap().number()));
}

#[test]
fn an_abandoned_request_is_cancelled() {
    let (mut client, id) = asked(Method::Get, false, true);
    client.forget(id);
    assert_eq!(resets(&frames_of(client.output())), [(1, ErrorCode::Cancel)]);
    let late = Frames::nothing().settings(&[]).headers(1, false, &[(":status", "200")]);
    let late = late.data(1, true, b"too late");
    let mut head = ResponseHead::default();
    let events = feed_client(&mut client, &mut head, &late.bytes).unwrap();
    assert_eq!(events, [Event::Settings], "what crossed the reset is ignored");
}
