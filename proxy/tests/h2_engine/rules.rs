//! RFC 9113 rule by rule, against a server: what ends the connection, what a stream, what neither.

use proxy::h2::ErrorCode::{self, *};
use proxy::h2::frame::{ACK, END_HEADERS, END_STREAM, Kind, PADDED, PREFACE, PRIORITY};
use proxy::h2::{Event, StreamId};

use super::kit::{Frames, GET, POST, Seen, Subject, Text, go_aways, resets};

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Nothing,
    Stream(u32, ErrorCode),
    Connection(ErrorCode),
}
use Ends::{Connection, Nothing, Stream};

fn check(name: &str, frames: Frames, expected: Ends) {
    let mut subject = Subject::new();
    subject.feed(&frames.bytes);
    judge(name, &mut subject, expected);
}

fn judge(name: &str, subject: &mut Subject, expected: Ends) {
    let answers = subject.answers();
    let (resets, go_aways) = (resets(&answers), go_aways(&answers));
    let found = match (&resets[..], subject.error) {
        (_, Some(error)) => {
            assert_eq!(go_aways.last().map(|last| last.1), Some(error.code), "{name}: GOAWAY");
            Connection(error.code)
        }
        ([], None) => Nothing,
        ([.., (stream, code)], None) => Stream(*stream, *code),
    };
    assert_eq!(found, expected, "{name}: {:?}", subject.error);
    assert!(subject.rest.is_empty() || subject.error.is_some(), "{name}: input was left");
}

fn with(fields: &[Text], more: &[Text]) -> Vec<Text> {
    fields.iter().chain(more).copied().collect()
}

#[test]
fn rfc9113_3_4_the_preface_comes_first_and_settings_next() {
    let raw = |bytes: &[u8]| {
        let mut frames = Frames::nothing();
        frames.bytes.extend_from_slice(bytes);
        frames
    };
    check("HTTP/1", raw(b"GET / HTTP/1.1\r\n"), Connection(ProtocolError));
    check("a wrong byte", raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"), Connection(ProtocolError));
    check("no settings", raw(PREFACE).headers(1, true, &GET), Connection(ProtocolError));
    let ack = raw(PREFACE).frame(Kind::Settings, ACK, 0, &[]);
    check("only an acknowledgement", ack, Connection(ProtocolError));
    check("well begun", Frames::client(), Nothing);
}

#[test]
fn rfc9113_4_1_frames_of_unknown_type_are_ignored() {
    let frames = Frames::client().frame(Kind::Unknown(0xfa), 0xff, 7, b"what?");
    check("unknown", frames.headers(1, true, &GET), Nothing);
}

#[test]
fn rfc9113_4_2_frames_are_no_larger_than_allowed() {
    let large = vec![0; 16_385];
    let open = || Frames::client().headers(1, false, &POST);
    check("DATA", open().data(1, false, &large), Connection(FrameSizeError));
    check("HEADERS", open().frame(Kind::Headers, 0, 3, &large), Connection(FrameSizeError));
    check("unknown", open().frame(Kind::Unknown(99), 0, 3, &large), Connection(FrameSizeError));
    check("largest", open().data(1, false, &large[1..]), Nothing);
}

#[test]
fn rfc9113_4_3_and_6_10_nothing_stands_between_the_frames_of_a_field_block() {
    let begun = || {
        let mut frames = Frames::client();
        let block = frames.block(&GET);
        (frames.frame(Kind::Headers, END_STREAM, 1, &block[..2]), block[2..].to_vec())
    };
    let (frames, rest) = begun();
    check("whole", frames.frame(Kind::Continuation, END_HEADERS, 1, &rest), Nothing);
    for (name, kind, stream) in [
        ("PING", Kind::Ping, 0),
        ("DATA", Kind::Data, 1),
        ("PRIORITY", Kind::Priority, 1),
        ("unknown", Kind::Unknown(200), 1),
        ("other stream", Kind::Continuation, 3),
    ] {
        let (frames, _) = begun();
        check(name, frames.frame(kind, 0, stream, &[0; 8]), Connection(ProtocolError));
    }
    let alone = Frames::client().frame(Kind::Continuation, END_HEADERS, 1, b"\x82");
    check("alone", alone, Connection(ProtocolError));
    let behind = Frames::client().headers(1, false, &POST);
    let behind = behind.frame(Kind::Continuation, END_HEADERS, 1, b"\x82");
    check("behind END_HEADERS", behind, Connection(ProtocolError));
    let broken = Frames::client().frame(Kind::Headers, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff");
    check("HPACK", broken, Connection(CompressionError));
}

#[test]
fn rfc9113_5_1_idle_streams_take_only_headers_and_priority() {
    let rst = Frames::client().rst(1, Cancel);
    check("RST_STREAM", rst, Connection(ProtocolError));
    check("DATA", Frames::client().data(1, true, b"x"), Connection(ProtocolError));
    check("WINDOW_UPDATE", Frames::client().window(1, 1), Connection(ProtocolError));
    let priority = Frames::client().frame(Kind::Priority, 0, 1, &[0, 0, 0, 0, 9]);
    check("PRIORITY", priority.headers(1, true, &GET), Nothing);
}

#[test]
fn rfc9113_5_1_half_closed_streams_take_no_more_of_the_message() {
    let half = || Frames::client().headers(1, true, &GET);
    check("DATA", half().data(1, true, b"x"), Stream(1, StreamClosed));
    check("HEADERS", half().headers(1, true, &GET), Stream(1, StreamClosed));
    check("WINDOW_UPDATE", half().window(1, 5), Nothing);
    check("RST_STREAM", half().rst(1, Cancel), Nothing);
}

/// A server with stream 1 answered whole and forgotten.
fn answered() -> (Subject, Frames) {
    let mut subject = Subject::new();
    let mut frames = Frames::client().headers(1, true, &GET);
    subject.feed(&std::mem::take(&mut frames.bytes));
    let id = first(&subject);
    subject.server.send_head(id, true, |fields| fields.status(204));
    subject.server.forget(id);
    subject.answers();
    (subject, frames)
}

fn first(subject: &Subject) -> StreamId {
    let head = subject.seen.iter().find_map(|seen| match seen {
        Seen::Event(Event::Head { stream, .. } | Event::Refused { stream, .. }) => Some(*stream),
        _ => None,
    });
    head.unwrap()
}

#[test]
fn rfc9113_5_1_frames_on_a_stream_that_ended_whole_end_the_connection() {
    type Late = fn(Frames) -> Frames;
    let cases: [(&str, Late, Ends); 6] = [
        ("DATA", |f| f.data(1, true, b"x"), Connection(StreamClosed)),
        ("HEADERS", |f| f.headers(1, true, &GET), Connection(StreamClosed)),
        ("CONTINUATION", |f| f.frame(Kind::Continuation, 4, 1, b""), Connection(ProtocolError)),
        ("WINDOW_UPDATE", |f| f.window(1, 5), Nothing),
        ("RST_STREAM", |f| f.rst(1, NoError), Nothing),
        ("PRIORITY", |f| f.frame(Kind::Priority, 0, 1, &[0; 5]), Nothing),
    ];
    for (name, late, expected) in cases {
        let (mut subject, frames) = answered();
        subject.feed(&late(frames).bytes);
        judge(name, &mut subject, expected);
    }
}

#[test]
fn rfc9113_5_1_frames_behind_the_peers_own_reset_are_errors_of_the_stream() {
    let reset = || Frames::client().headers(1, false, &POST).rst(1, Cancel);
    check("DATA", reset().data(1, false, b"x"), Stream(1, StreamClosed));
    check("HEADERS", reset().headers(1, true, &[("a", "b")]), Stream(1, StreamClosed));
    check("WINDOW_UPDATE", reset().window(1, 1), Nothing);
    check("RST_STREAM", reset().rst(1, Cancel), Nothing);
}

#[test]
fn rfc9113_5_1_frames_that_cross_our_reset_are_ignored_but_counted() {
    let mut subject = Subject::new();
    let frames = Frames::client().headers(1, false, &POST);
    subject.feed(&frames.bytes);
    let id = first(&subject);
    subject.server.reset(id, InternalError);
    subject.server.forget(id);
    assert_eq!(resets(&subject.answers()), [(1, InternalError)]);
    let mut late = frames;
    late.bytes.clear();
    // The late trailers put a field into the table, which the next request names.
    let late = late.data(1, false, &[0; 100]);
    let late =
        late.frame(Kind::Headers, END_HEADERS | END_STREAM, 1, b"\x40\x01t\x01v").window(1, 9);
    let request = b"\x82\x86\x84\x01\x06a.test\xbe";
    subject.feed(&late.frame(Kind::Headers, END_HEADERS | END_STREAM, 3, request).bytes);
    judge("late frames", &mut subject, Nothing);
    assert!(subject.heads[1].ends_with("t=v"), "the tables are still equal");
}

#[test]
fn data_that_nobody_reads_returns_to_the_connection() {
    for refused in [false, true] {
        let mut subject = Subject::new();
        let mut frames = Frames::client();
        let mut fields = POST;
        if refused {
            fields[2].1 = "/%00";
        }
        for at in 0..40 {
            let stream = 1 + 2 * at;
            frames = frames.headers(stream, false, &fields);
            subject.feed(&std::mem::take(&mut frames.bytes));
            let id = first(&subject);
            if !refused {
                subject.server.reset(id, InternalError);
            }
            for _ in 0..4 {
                frames = frames.data(stream, false, &[0; 16_000]);
            }
            subject.feed(&std::mem::take(&mut frames.bytes));
            assert_eq!(subject.error, None, "refused {refused}, stream {stream}");
            subject.server.forget(id);
            subject.seen.clear();
        }
    }
}

#[test]
fn rfc9113_5_1_1_streams_are_odd_and_grow() {
    check("even", Frames::client().headers(2, true, &GET), Connection(ProtocolError));
    let down = Frames::client().headers(5, true, &GET).headers(3, true, &GET);
    check("down", down, Connection(ProtocolError));
    check("skipped", Frames::client().headers(7, true, &GET), Nothing);
}

#[test]
fn rfc9113_5_1_2_surplus_streams_are_refused() {
    let mut frames = Frames::client();
    for at in 0..101 {
        frames = frames.headers(1 + 2 * at, true, &GET);
    }
    check("101 streams", frames, Stream(201, RefusedStream));
}

#[test]
fn rfc7540_5_3_1_a_stream_does_not_depend_on_itself() {
    let headers = |dependency: u8| {
        let mut frames = Frames::client();
        let block = [&[0, 0, 0, dependency, 16], &frames.block(&GET)[..]].concat();
        frames.frame(Kind::Headers, END_HEADERS | END_STREAM | PRIORITY, 1, &block)
    };
    check("HEADERS on itself", headers(1), Stream(1, ProtocolError));
    check("HEADERS on another", headers(3), Nothing);
    let open = || Frames::client().headers(1, false, &POST);
    let own = open().frame(Kind::Priority, 0, 1, &[0, 0, 0, 1, 9]);
    check("PRIORITY on itself", own, Stream(1, ProtocolError));
    let own = open().frame(Kind::Priority, 0, 3, &[0, 0, 0, 3, 9]);
    check("PRIORITY of an idle stream on itself", own, Connection(ProtocolError));
    let short = open().frame(Kind::Priority, 0, 1, &[0; 4]);
    check("PRIORITY of four bytes", short, Stream(1, FrameSizeError));
}

#[test]
fn rfc9113_6_lengths_and_stream_numbers() {
    let open = || Frames::client().headers(1, false, &POST);
    for (name, kind, flags, stream, length, code) in [
        ("DATA on 0", Kind::Data, 0, 0, 1, ProtocolError),
        ("HEADERS on 0", Kind::Headers, END_HEADERS, 0, 1, ProtocolError),
        ("PRIORITY on 0", Kind::Priority, 0, 0, 5, ProtocolError),
        ("RST_STREAM on 0", Kind::RstStream, 0, 0, 4, ProtocolError),
        ("RST_STREAM of 3", Kind::RstStream, 0, 1, 3, FrameSizeError),
        ("SETTINGS on 1", Kind::Settings, 0, 1, 6, ProtocolError),
        ("SETTINGS ACK of 6", Kind::Settings, ACK, 0, 6, FrameSizeError),
        ("SETTINGS of 3", Kind::Settings, 0, 0, 3, FrameSizeError),
        ("PUSH_PROMISE", Kind::PushPromise, END_HEADERS, 1, 5, ProtocolError),
        ("PING on 1", Kind::Ping, 0, 1, 8, ProtocolError),
        ("PING of 6", Kind::Ping, 0, 0, 6, FrameSizeError),
        ("GOAWAY on 1", Kind::GoAway, 0, 1, 8, ProtocolError),
        ("GOAWAY of 7", Kind::GoAway, 0, 0, 7, FrameSizeError),
        ("WINDOW_UPDATE of 3", Kind::WindowUpdate, 0, 1, 3, FrameSizeError),
        ("CONTINUATION on 0", Kind::Continuation, 0, 0, 1, ProtocolError),
    ] {
        let frames = open().frame(kind, flags, stream, &vec![0; length]);
        check(name, frames, Connection(code));
    }
}

#[test]
fn rfc9113_6_1_padding_is_no_longer_than_the_payload() {
    let open = || Frames::client().headers(1, false, &POST);
    let padded = |payload: &[u8]| open().frame(Kind::Data, PADDED, 1, payload);
    check("all padding", padded(&[4, 0, 0, 0, 0]), Nothing);
    check("too long", padded(&[5, 0, 0, 0, 0]), Connection(ProtocolError));
    check("no length", padded(&[]), Connection(FrameSizeError));
    let mut frames = Frames::client();
    let mut block = vec![200];
    block.extend(frames.block(&GET));
    let frames = frames.frame(Kind::Headers, END_HEADERS | PADDED, 1, &block);
    check("HEADERS", frames, Connection(ProtocolError));
}

#[test]
fn rfc9113_6_5_settings_are_checked_and_acknowledged() {
    for (pair, code) in [
        ((0x2, 2), ProtocolError),
        ((0x4, 0x8000_0000), FlowControlError),
        ((0x5, 16_383), ProtocolError),
        ((0x5, 0x0100_0000), ProtocolError),
    ] {
        check("SETTINGS", Frames::client().settings(&[pair]), Connection(code));
    }
    let mut subject = Subject::new();
    subject.feed(&Frames::client().settings(&[(0x99, 7), (0x3, 5)]).bytes);
    let answers = subject.answers();
    let acks = answers.iter().filter(|(h, _)| h.kind == Kind::Settings && h.has(ACK));
    assert_eq!(acks.count(), 2);
    assert_eq!(subject.server.peer().streams_max, 5);
}

#[test]
fn rfc9113_6_7_pings_are_answered() {
    let mut subject = Subject::new();
    let frames = Frames::client().frame(Kind::Ping, 0, 0, b"12345678");
    subject.feed(&frames.frame(Kind::Ping, ACK, 0, b"87654321").bytes);
    let answers = subject.answers();
    let pings: Vec<_> = answers.iter().filter(|(h, _)| h.kind == Kind::Ping).collect();
    assert_eq!(pings.len(), 1);
    assert!(pings[0].0.has(ACK) && pings[0].1 == b"12345678");
}

#[test]
fn rfc9113_6_9_windows_neither_stand_still_nor_overflow() {
    let open = || Frames::client().headers(1, false, &POST);
    check("connection, 0", open().window(0, 0), Connection(ProtocolError));
    check("stream, 0", open().window(1, 0), Stream(1, ProtocolError));
    check("connection, sum", open().window(0, 0x7fff_ffff), Connection(FlowControlError));
    check("stream, sum", open().window(1, 0x7fff_ffff), Stream(1, FlowControlError));
    let settings = open().window(1, 0x7000_0000).settings(&[(0x4, 0x7fff_ffff)]);
    check("stream, by settings", settings, Connection(FlowControlError));
}

#[test]
fn rfc9113_6_9_1_data_beyond_a_window_is_an_error() {
    let mut frames = Frames::client().headers(1, false, &POST);
    for _ in 0..4 {
        frames = frames.data(1, false, &[0; 16_384]);
    }
    let frames = frames.data(1, false, b"x");
    check("stream", frames, Stream(1, FlowControlError));
    let mut frames = Frames::client();
    for stream in 0..16 {
        frames = frames.headers(1 + 2 * stream, false, &POST);
        for _ in 0..4 {
            frames = frames.data(1 + 2 * stream, false, &[0; 16_384]);
        }
    }
    let frames = frames.headers(101, false, &POST).data(101, false, b"x");
    check("connection", frames, Connection(FlowControlError));
}

#[test]
fn rfc9113_6_9_2_a_smaller_initial_window_makes_windows_negative() {
    let mut subject = Subject::new();
    let frames = Frames::client().headers(1, true, &GET);
    subject.feed(&frames.bytes);
    let id = first(&subject);
    subject.server.send_head(id, false, |fields| fields.status(200));
    assert_eq!(subject.server.send_data(id, &[1; 100], false), 100);
    subject.feed(&Frames::nothing().settings(&[(0x4, 40)]).bytes);
    assert_eq!(subject.server.capacity(id), 0);
    assert_eq!(subject.server.send_data(id, b"y", true), 0);
    subject.feed(&Frames::nothing().window(1, 60).bytes);
    assert_eq!(subject.server.capacity(id), 0, "60 less than nothing");
    assert!(!matches!(subject.seen.last(), Some(Seen::Event(Event::Writable { .. }))));
    subject.feed(&Frames::nothing().window(1, 1).bytes);
    assert_eq!(subject.seen.last(), Some(&Seen::Event(Event::Writable { stream: Some(id) })));
    subject.answers();
    assert_eq!(subject.server.send_data(id, b"yz", true), 1, "the end waits for its data");
    subject.feed(&Frames::nothing().window(1, 1).bytes);
    assert_eq!(subject.server.send_data(id, b"z", true), 1);
    let answers = subject.answers();
    let flags: Vec<_> = answers.iter().map(|(header, _)| header.flags).collect();
    assert_eq!(flags, [0, END_STREAM]);
}

#[test]
fn an_end_without_data_needs_no_window() {
    let mut subject = Subject::new();
    subject.feed(&Frames::client().settings(&[(0x4, 0)]).headers(1, true, &GET).bytes);
    let id = first(&subject);
    subject.server.send_head(id, false, |fields| fields.status(200));
    assert_eq!(subject.server.send_data(id, b"x", true), 0);
    subject.answers();
    assert_eq!(subject.server.send_data(id, b"", true), 0);
    let answers = subject.answers();
    assert_eq!((answers.len(), answers[0].0.flags, answers[0].0.length), (1, END_STREAM, 0));
    assert_eq!(subject.server.send_data(id, b"", true), 0, "the end is sent once");
    assert!(subject.answers().is_empty());
}

#[test]
fn rfc9113_6_8_a_drain_names_the_last_stream_only_after_a_round_trip() {
    let mut subject = Subject::new();
    let mut frames = Frames::client().headers(1, true, &GET);
    subject.feed(&std::mem::take(&mut frames.bytes));
    subject.answers();
    subject.server.drain();
    let answers = subject.answers();
    assert_eq!(go_aways(&answers), [(0x7fff_ffff, NoError)]);
    let ping = answers.iter().find(|(header, _)| header.kind == Kind::Ping).unwrap().1.clone();
    frames = frames.headers(3, true, &GET);
    subject.feed(&std::mem::take(&mut frames.bytes));
    assert_eq!(subject.heads.len(), 2, "under way when the end was told");
    frames = frames.frame(Kind::Ping, ACK, 0, &ping);
    subject.feed(&std::mem::take(&mut frames.bytes));
    assert_eq!(go_aways(&subject.answers()), [(3, NoError)]);
    frames = frames.headers(5, true, &GET);
    subject.feed(&frames.bytes);
    assert_eq!(resets(&subject.answers()), [(5, RefusedStream)]);
    assert!(!subject.server.is_drained());
    for id in ids(&subject) {
        subject.server.send_head(id, true, |fields| fields.status(200));
        subject.server.forget(id);
    }
    assert!(subject.server.is_drained());
}

fn ids(subject: &Subject) -> Vec<StreamId> {
    let ids = subject.seen.iter().filter_map(|seen| match seen {
        Seen::Event(Event::Head { stream, .. }) => Some(*stream),
        _ => None,
    });
    ids.collect()
}

#[test]
fn rfc9113_8_1_messages_end_once() {
    let open = || Frames::client().headers(1, false, &POST);
    let trailers = open().data(1, false, b"x").headers(1, true, &[("a", "b")]);
    check("trailers", trailers, Nothing);
    let unended = open().headers(1, false, &[("a", "b")]);
    check("trailers without an end", unended, Stream(1, ProtocolError));
    let pseudo = open().headers(1, true, &[(":path", "/")]);
    check("pseudo-field in trailers", pseudo, Stream(1, ProtocolError));
    let upper = open().headers(1, true, &[("A", "b")]);
    check("upper case in trailers", upper, Stream(1, ProtocolError));
    let connection = open().headers(1, true, &[("connection", "close")]);
    check("connection in trailers", connection, Stream(1, ProtocolError));
}

#[test]
fn rfc9113_8_1_1_content_length_equals_the_data() {
    let ten = || with(&POST, &[("content-length", "10")]);
    let open = || Frames::client().headers(1, false, &ten());
    check("whole", open().data(1, false, b"12345").data(1, true, b"67890"), Nothing);
    check("whole, empty end", open().data(1, false, b"1234567890").data(1, true, b""), Nothing);
    let whole = open().data(1, false, b"1234567890").headers(1, true, &[("a", "b")]);
    check("whole with trailers", whole, Nothing);
    check("no data", Frames::client().headers(1, true, &ten()), Stream(1, ProtocolError));
    check("short", open().data(1, true, b"1"), Stream(1, ProtocolError));
    check("long", open().data(1, false, b"12345678901"), Stream(1, ProtocolError));
    let late = open().data(1, false, b"123456789").data(1, true, b"01");
    check("long at the end", late, Stream(1, ProtocolError));
    let short = open().data(1, false, b"1").headers(1, true, &[("a", "b")]);
    check("short with trailers", short, Stream(1, ProtocolError));
    for length in ["", "+1", "1,1", "x", "99999999999999999999"] {
        let fields = with(&POST, &[("content-length", length)]);
        check(length, Frames::client().headers(1, false, &fields), Stream(1, ProtocolError));
    }
    let twice = with(&POST, &[("content-length", "1"), ("content-length", "1")]);
    check("twice", Frames::client().headers(1, false, &twice), Stream(1, ProtocolError));
}

#[test]
fn padding_is_given_back_at_once() {
    let mut subject = Subject::new();
    let mut frames = Frames::client().headers(1, false, &POST);
    let payload = [&[250][..], &[0; 250]].concat();
    for _ in 0..300 {
        frames = frames.frame(Kind::Data, PADDED, 1, &payload);
    }
    subject.feed(&frames.bytes);
    let answers = subject.answers();
    let granted: u32 = answers
        .iter()
        .filter(|(h, _)| h.kind == Kind::WindowUpdate && h.stream == 1)
        .map(|(_, payload)| proxy::h2::frame::number(payload))
        .sum();
    assert!(subject.error.is_none());
    assert!(granted as usize >= 300 * 251 - 65_536, "{granted}");
}

#[test]
fn windows_of_streams_that_ended_early_return_to_the_connection() {
    let mut subject = Subject::new();
    let mut frames = Frames::client();
    let mut sent = 0;
    for at in 0..200 {
        let stream = 1 + 2 * at;
        frames = frames.headers(stream, false, &POST).data(stream, false, &[7; 16_000]);
        frames = match at % 3 {
            0 => frames.rst(stream, Cancel),
            1 => frames.headers(stream, false, &[("a", "b")]),
            _ => frames.frame(Kind::Data, PADDED, stream, &[9; 500]),
        };
        sent += 16_000 + if at % 3 == 2 { 500 } else { 0 };
        subject.feed(&std::mem::take(&mut frames.bytes));
        for id in ids(&subject) {
            subject.server.forget(id);
        }
        subject.seen.clear();
    }
    assert_eq!(subject.error, None);
    let answers = subject.answers();
    let granted: u32 = answers
        .iter()
        .filter(|(h, _)| h.kind == Kind::WindowUpdate && h.stream == 0)
        .map(|(_, payload)| proxy::h2::frame::number(payload))
        .sum();
    assert!(granted as usize + 1024 * 1024 / 2 >= sent, "{granted} of {sent}");
}
