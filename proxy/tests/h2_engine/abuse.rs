//! Floods and lies, each with its bound: how soon it ends, and how much it takes meanwhile.

use std::time::Duration;

use proxy::h2::ErrorCode::{self, EnhanceYourCalm};
use proxy::h2::frame::{END_HEADERS, END_STREAM, HEADER_BYTES, Header, Kind, PADDED};
use proxy::h2::hpack::Encoder;
use proxy::h2::{Event, StreamId};
use proxy::limits::{H2_BUDGET, H2_HEADS_BYTES_MAX, H2_OUTPUT_BYTES_MAX, H2_STREAMS_MAX};

use super::kit::{Frames, GET, POST, Seen, Subject, go_aways};

/// One round of abuse, on a stream of its own.
type Round = fn(Frames, u32) -> Frames;

/// Rounds that cost the budget one frame each, or two.
const FLOODS: [(&str, Round); 18] = [
    ("rapid reset", |f, s| f.headers(s, true, &GET).rst(s, ErrorCode::Cancel)),
    ("WINDOW_UPDATE of 0", |f, s| f.headers(s, true, &GET).window(s, 0)),
    ("WINDOW_UPDATE beyond", |f, s| f.headers(s, true, &GET).window(s, 0x7fff_ffff)),
    ("PRIORITY of six", |f, s| f.headers(s, true, &GET).frame(Kind::Priority, 0, s, &[0; 6])),
    ("PRIORITY on itself", |f, s| {
        let [a, b, c, d] = s.to_be_bytes();
        f.headers(s, true, &GET).frame(Kind::Priority, 0, s, &[a, b, c, d, 0])
    }),
    ("HEADERS when half-closed", |f, s| f.headers(s, true, &GET).headers(s, true, &GET)),
    ("DATA when half-closed", |f, s| f.headers(s, true, &GET).data(s, true, b"x")),
    ("malformed requests", |f, s| f.headers(s, true, &[("A", "b")])),
    ("empty HEADERS", |f, s| f.frame(Kind::Headers, END_HEADERS | END_STREAM, s, b"")),
    ("short bodies", |f, s| {
        let fields = [&POST[..], &[("content-length", "2")]].concat();
        f.headers(s, false, &fields).data(s, true, b"x")
    }),
    ("PING", |f, _| f.frame(Kind::Ping, 0, 0, b"whatever")),
    ("PING, unasked answers", |f, _| f.frame(Kind::Ping, 1, 0, b"rw-alive")),
    ("SETTINGS", |f, _| f.settings(&[(0x4, 7)])),
    ("SETTINGS, unasked answers", |f, _| f.frame(Kind::Settings, 1, 0, b"")),
    ("unknown frames", |f, _| f.frame(Kind::Unknown(0x55), 0, 0, b"")),
    ("PRIORITY", |f, s| f.frame(Kind::Priority, 0, s, &[0; 5])),
    ("GOAWAY", |f, _| f.frame(Kind::GoAway, 0, 0, &[0; 8])),
    ("RST_STREAM again and again", |f, s| {
        let f = if s == 1 { f.headers(1, true, &GET) } else { f };
        f.rst(1, ErrorCode::Cancel)
    }),
];

/// Feeds rounds until the connection ends, at most `rounds`; how many it took, and the most that it
/// held. The driver writes all output and forgets what was reset.
fn flood(subject: &mut Subject, rounds: u32, pause: Duration, round: Round) -> (u32, usize) {
    let mut frames = Frames::client();
    let mut most = 0;
    for at in 0..rounds {
        frames = round(frames, 1 + 2 * at);
        subject.feed(&std::mem::take(&mut frames.bytes));
        most = most.max(subject.server.resident_bytes());
        if let Some(error) = subject.error {
            assert_eq!(error.code, EnhanceYourCalm);
            assert_eq!(go_aways(&subject.answers()).last().map(|last| last.1), Some(error.code));
            return (at + 1, most);
        }
        subject.server.output().clear();
        forget_resets(subject);
        subject.now += pause;
    }
    (rounds, most)
}

fn forget_resets(subject: &mut Subject) {
    for seen in std::mem::take(&mut subject.seen) {
        if let Seen::Event(Event::Reset { stream, .. }) = seen {
            subject.server.forget(stream);
        }
    }
}

#[test]
fn floods_spend_the_budget_and_end_the_connection() {
    for (name, round) in FLOODS {
        let mut subject = Subject::new();
        let (rounds, most) = flood(&mut subject, 2 * H2_BUDGET + 100, Duration::ZERO, round);
        assert!((H2_BUDGET / 2..2 * H2_BUDGET + 100).contains(&rounds), "{name}: {rounds}");
        assert!(most < 24 * 1024, "{name}: {most} bytes");
    }
}

#[test]
fn the_same_at_a_lower_rate_is_served_for_ever() {
    for (name, round) in FLOODS {
        let mut subject = Subject::new();
        let pause = Duration::from_millis(65);
        let (rounds, _) = flood(&mut subject, 5000, pause, round);
        assert_eq!((rounds, subject.error), (5000, None), "{name}");
    }
}

#[test]
fn empty_data_and_tiny_windows_spend_the_budget() {
    let mut subject = Subject::new();
    let frames = Frames::client().headers(1, false, &POST);
    subject.feed(&frames.bytes);
    let mut sent = 0;
    while subject.error.is_none() && sent < 2 * H2_BUDGET {
        let empty = match sent % 2 {
            0 => Frames::nothing().data(1, false, b""),
            _ => Frames::nothing().frame(Kind::Data, PADDED, 1, &[3, 0, 0, 0]),
        };
        subject.feed(&empty.bytes);
        sent += 1;
    }
    assert_eq!(subject.error.map(|error| error.code), Some(EnhanceYourCalm), "empty DATA");

    let mut subject = Subject::new();
    subject.feed(&Frames::client().settings(&[(0x4, 0)]).headers(1, true, &GET).bytes);
    let id = opened(&subject)[0];
    subject.server.send_head(id, false, |fields| fields.status(200));
    let mut drips = 0;
    while subject.error.is_none() && drips < 2 * H2_BUDGET {
        subject.server.send_data(id, &[0; 100], false);
        subject.feed(&Frames::nothing().window(1, 1).bytes);
        subject.server.output().clear();
        drips += 1;
    }
    assert_eq!(subject.error.map(|error| error.code), Some(EnhanceYourCalm), "a drip");
}

fn opened(subject: &Subject) -> Vec<StreamId> {
    let opened = subject.seen.iter().filter_map(|seen| match seen {
        Seen::Event(Event::Head { stream, .. } | Event::Refused { stream, .. }) => Some(*stream),
        _ => None,
    });
    opened.collect()
}

#[test]
fn honest_window_updates_and_pings_are_free() {
    let mut subject = Subject::new();
    subject.feed(&Frames::client().headers(1, true, &GET).bytes);
    let id = opened(&subject)[0];
    subject.server.send_head(id, false, |fields| fields.status(200));
    for _ in 0..20 * H2_BUDGET {
        assert_eq!(subject.server.send_data(id, &[0; 300], false), 300);
        subject.server.output().clear();
        subject.feed(&Frames::nothing().window(1, 300).window(0, 300).bytes);
        assert_eq!(subject.error, None);
    }
}

#[test]
fn a_stream_counts_until_the_driver_forgets_it() {
    let mut subject = Subject::new();
    let mut frames = Frames::client();
    for at in 0..H2_STREAMS_MAX + 50 {
        frames = frames.headers(1 + 2 * at, true, &GET).rst(1 + 2 * at, ErrorCode::Cancel);
    }
    subject.feed(&frames.bytes);
    assert_eq!(opened(&subject).len(), H2_STREAMS_MAX as usize);
    assert_eq!(subject.server.streams(), H2_STREAMS_MAX as usize);
    let refused = subject.seen.iter().filter(|seen| {
        matches!(seen, Seen::Event(Event::Rejected { code: ErrorCode::RefusedStream, .. }))
    });
    assert_eq!(refused.count(), 50);
}

#[test]
fn field_blocks_end_after_a_few_frames() {
    for (name, payload, frames_max) in
        [("large", vec![0x82; 16_000], 5), ("small", vec![0x82; 1], 9), ("empty", vec![], 9)]
    {
        let mut subject = Subject::new();
        let begun = Frames::client().frame(Kind::Headers, END_STREAM, 1, &payload);
        subject.feed(&begun.bytes);
        assert!(subject.server.is_amid_head());
        let mut frames = 0;
        while subject.error.is_none() && frames < 100 {
            subject.feed(&Frames::nothing().frame(Kind::Continuation, 0, 1, &payload).bytes);
            frames += 1;
            assert!(subject.server.resident_bytes() < 140 * 1024, "{name}");
        }
        assert!(frames <= frames_max, "{name}: {frames}");
        assert_eq!(subject.error.map(|error| error.code), Some(EnhanceYourCalm), "{name}");
        assert!(subject.server.resident_bytes() < 8 * 1024, "{name}: nothing is kept");
    }
}

/// A block that names `field` once and then by its index `times` times.
fn bomb(name: &[u8], value: &[u8], times: usize) -> Vec<u8> {
    let mut block = Vec::new();
    let mut encoder = Encoder::new();
    let mut writer = encoder.block(&mut block);
    for (name, value) in GET {
        writer.field(name.as_bytes(), value.as_bytes());
    }
    block.extend_from_slice(&[0x40, name.len() as u8]);
    block.extend_from_slice(name);
    // A length of 7 bits or more takes more bytes.
    match value.len() {
        length @ 0..127 => block.push(length as u8),
        length => {
            let rest = length - 127;
            block.extend_from_slice(&[0x7f, (rest & 0x7f) as u8 | 0x80, (rest >> 7) as u8]);
        }
    }
    block.extend_from_slice(value);
    block.resize(block.len() + times, 0xbe);
    block
}

#[test]
fn decompression_bombs_are_refused_and_harm_nobody() {
    for (name, value, times) in [
        (&b"a"[..], vec![b'v'; 3900], 8000),
        (b"a", vec![b'v'; 3900], 20),
        (b"a", vec![], 10_000),
        (b"cookie", b"x".to_vec(), 200),
    ] {
        let mut subject = Subject::new();
        let block = bomb(name, &value, times);
        let frames = Frames::client();
        let frames = frames.frame(Kind::Headers, END_HEADERS | END_STREAM, 1, &block);
        subject.feed(&frames.bytes);
        let Some(Seen::Event(Event::Refused { why, .. })) = subject.seen.last() else {
            panic!("{:?}", subject.seen)
        };
        assert_eq!(why.status(), 431);
        // Nothing of it waits for the answer.
        let head = &subject.head;
        assert_eq!((head.arena.capacity(), head.fields.capacity()), (0, 0));
        // The table is right: the entry can still be named.
        let mut behind = bomb(b"x", b"", 0);
        let again = behind.len() - 4;
        behind.truncate(again);
        behind.push(0xbe);
        subject.feed(&Frames::nothing().frame(Kind::Headers, 0x5, 3, &behind).bytes);
        assert_eq!(subject.heads.len(), 1);
    }
}

#[test]
fn decompression_bombs_in_a_row_end_the_connection_soon() {
    let mut subject = Subject::new();
    let first = bomb(b"a", &[b'v'; 3900], 20);
    // The entry stays in the table: naming it again costs one byte.
    let again = [&[0x82, 0x86, 0x84, 0x01, 0x01, b'x'][..], &[0xbe; 20]].concat();
    subject.feed(&Frames::client().frame(Kind::Headers, 0x5, 1, &first).bytes);
    for at in 1..H2_BUDGET / 50 + 2 {
        subject.feed(&Frames::nothing().frame(Kind::Headers, 0x5, 1 + 2 * at, &again).bytes);
        for id in opened(&subject) {
            subject.server.forget(id);
        }
        subject.server.output().clear();
    }
    assert_eq!(subject.error.map(|error| error.code), Some(EnhanceYourCalm));
}

#[test]
fn the_heads_of_one_connection_are_bounded() {
    let mut subject = Subject::new();
    let block = bomb(b"a", &[b'v'; 3000], 19);
    subject.feed(&Frames::client().bytes);
    let mut held = 0;
    for at in 0..H2_STREAMS_MAX {
        let frames = Frames::nothing();
        subject.feed(&frames.frame(Kind::Headers, 0x5, 1 + 2 * at, &block).bytes);
        if matches!(subject.seen.last(), Some(Seen::Event(Event::Head { .. }))) {
            held += subject.head.arena.len();
        }
    }
    assert_eq!(subject.error, None);
    assert!(held > H2_HEADS_BYTES_MAX / 2 && held <= H2_HEADS_BYTES_MAX, "{held}");
    for id in opened(&subject) {
        subject.server.forget(id);
    }
    let frames = Frames::nothing();
    subject.feed(&frames.frame(Kind::Headers, 0x5, 1 + 2 * H2_STREAMS_MAX, &block).bytes);
    assert!(matches!(subject.seen.last(), Some(Seen::Event(Event::Head { .. }))));
}

#[test]
fn an_output_that_nobody_reads_is_bounded() {
    let mut subject = Subject::new();
    subject.feed(&Frames::client().headers(1, true, &GET).bytes);
    let id = opened(&subject)[0];
    subject.server.send_head(id, false, |fields| fields.status(200));
    let mut sent = 0;
    loop {
        match subject.server.send_data(id, &[0; 5000], false) {
            0 => break,
            accepted => sent += accepted,
        }
    }
    assert!(sent > 60_000 && sent < 65_536);
    subject.feed(&Frames::nothing().window(1, 1 << 20).window(0, 1 << 20).bytes);
    while subject.server.send_data(id, &[0; 5000], false) > 0 {}
    assert!(subject.server.is_choked());
    let length = subject.server.output().len();
    assert!(length < H2_OUTPUT_BYTES_MAX + 1024 + 16 * HEADER_BYTES, "{length}");
    subject.server.output().clear();
    assert!(subject.server.capacity(id) > 0);
}

#[test]
fn an_idle_connection_is_small() {
    let mut subject = Subject::new();
    let mut frames = Frames::client();
    let large = "v".repeat(3000);
    for at in 0..300 {
        let stream = 1 + 2 * at;
        let fields = [&GET[..], &[("cookie", &large), ("x-seq", "12345")]].concat();
        frames = frames.headers(stream, false, &fields);
        frames = frames.data(stream, false, &[7; 5000]).headers(stream, true, &[("t", "v")]);
        subject.feed(&std::mem::take(&mut frames.bytes));
        for id in opened(&subject) {
            subject.server.send_head(id, true, |fields| {
                fields.status(200);
                fields.field(b"server", b"anything");
            });
            subject.server.forget(id);
        }
        subject.seen.clear();
        // The driver writes its output and lets the buffer go.
        *subject.server.output() = Vec::new();
    }
    assert_eq!(subject.error, None);
    let resident = subject.server.resident_bytes();
    assert!(resident < 16 * 1024, "{resident} bytes after use");
    let mut fresh = Subject::new();
    fresh.feed(&Frames::client().bytes);
    *fresh.server.output() = Vec::new();
    let resident = fresh.server.resident_bytes();
    assert!(resident < 2 * 1024, "{resident} bytes when new");
}

#[test]
fn frames_behind_an_error_are_not_read() {
    let mut subject = Subject::new();
    let frames = Frames::client().window(0, 0);
    subject.feed(&frames.headers(1, true, &GET).bytes);
    assert!(subject.error.is_some() && subject.heads.is_empty());
    let again = subject.server.read(b"anything", &mut subject.head, subject.now);
    assert_eq!(again.err(), subject.error);
    assert!(Header::read(subject.server.output()).is_some());
}
