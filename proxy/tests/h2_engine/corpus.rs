//! Whole connections as text: replayed at every cut, and mutated by a seeded generator.
//!
//! [`server`] and [`client`] are the entry points for a fuzzer: they take any bytes and hold what they
//! check for all of them.

use std::path::Path;
use std::time::Instant;

use proxy::h2::frame::{HEADER_BYTES, Header, Kind, PREFACE};
use proxy::h2::{Client, Connection, Event, Local, Message, Server};
use proxy::http::{Method, RequestHead, ResponseHead};

use super::kit::{GET, frames_of};

/// Mutations of each seed; bounded by number, so that every run is the same.
const MUTATIONS: u64 = 1500;

struct Seed {
    name: String,
    is_server: bool,
    want: String,
    bytes: Vec<u8>,
}

fn seeds() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/h2");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| seed(path)).collect()
}

fn seed(path: &Path) -> Seed {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut seed = Seed { name, is_server: true, want: String::new(), bytes: Vec::new() };
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "#" => {}
            "role" => seed.is_server = rest == "server",
            "want" => seed.want = rest.to_owned(),
            "PREFACE" => seed.bytes.extend_from_slice(PREFACE),
            "RAW" => seed.bytes.extend(hex(rest)),
            kind => {
                let mut parts = rest.splitn(3, ' ');
                let flags = u8::from_str_radix(parts.next().unwrap(), 16).unwrap();
                let stream = parts.next().unwrap().parse().unwrap();
                let payload = hex(parts.next().unwrap_or_default());
                let kind = kind_of(kind);
                Header { length: payload.len(), kind, flags, stream }.write(&mut seed.bytes);
                seed.bytes.extend(payload);
            }
        }
    }
    seed
}

fn kind_of(name: &str) -> Kind {
    match name {
        "DATA" => Kind::Data,
        "HEADERS" => Kind::Headers,
        "PRIORITY" => Kind::Priority,
        "RST_STREAM" => Kind::RstStream,
        "SETTINGS" => Kind::Settings,
        "PUSH_PROMISE" => Kind::PushPromise,
        "PING" => Kind::Ping,
        "GOAWAY" => Kind::GoAway,
        "WINDOW_UPDATE" => Kind::WindowUpdate,
        "CONTINUATION" => Kind::Continuation,
        other => Kind::Unknown(u8::from_str_radix(&other["FRAME:".len()..], 16).unwrap()),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Everything that a driver sees of a connection, as words.
fn server(bytes: &[u8], pieces: usize) -> String {
    let mut end = Server::server(Local::default());
    drive(&mut end, &mut RequestHead::default(), bytes, pieces, |head| {
        // Whatever passes can be written as HTTP/1.1.
        assert!(!head.path().contains([' ', '\r', '\n', '\\']) && !head.host().is_empty());
        for (name, value, _) in head.end_to_end() {
            assert!(!name.iter().any(|byte| byte.is_ascii_uppercase() || b" :\r\n".contains(byte)));
            assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
        }
    })
}

/// As [`server`], with three requests under way: two of GET, one for a WebSocket.
fn client(bytes: &[u8], pieces: usize) -> String {
    let mut end = Client::client(Local::default());
    for websocket in [false, false, true] {
        let id = end.request(Method::Get, websocket, !websocket, |fields| {
            for (name, value) in GET {
                fields.field(name.as_bytes(), value.as_bytes());
            }
        });
        assert!(id.is_some());
    }
    end.output().drain(..PREFACE.len());
    drive(&mut end, &mut ResponseHead::default(), bytes, pieces, |head| {
        assert!((100..600).contains(&head.status) && head.status != 101);
    })
}

fn drive<M: Message>(
    end: &mut Connection<M>,
    head: &mut M,
    bytes: &[u8],
    piece: usize,
    check: impl Fn(&M),
) -> String {
    let (now, mut words, mut kept) = (Instant::now(), Vec::new(), Vec::new());
    'pieces: for piece in bytes.chunks(piece.max(1)) {
        kept.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let read = match end.read(&kept[at..], head, now) {
                Ok(read) => read,
                Err(error) => {
                    words.push(format!("goaway:{}", error.code.name()));
                    break 'pieces;
                }
            };
            if read.consumed == 0 && read.event.is_none() {
                break;
            }
            if matches!(read.event, Some(Event::Head { .. })) {
                check(head);
            }
            if let Some(event) = read.event {
                note(&mut words, &event);
            }
            at += read.consumed;
        }
        kept.drain(..at);
        assert!(kept.len() < HEADER_BYTES + 16_384);
    }
    let written = end.output().len();
    // Headers of 9 bytes can ask for 13 in return, and a window for as many.
    assert!(written <= 2048 + 3 * bytes.len(), "{written} bytes for {}", bytes.len());
    frames_of(end.output());
    assert!(end.resident_bytes() <= 16 * 1024 + 4 * (bytes.len() + written));
    words.join(" ")
}

fn note(words: &mut Vec<String>, event: &Event) {
    let ends = |end: bool| if end { ":end" } else { "" };
    let word = match event {
        Event::Head { stream, end } => format!("head:{}{}", stream.number(), ends(*end)),
        Event::Refused { stream, why } => format!("refused:{}:{}", stream.number(), why.status()),
        Event::Data { stream, range, end } => {
            return data(words, stream.number(), range.len(), ends(*end));
        }
        Event::Trailers { stream } => format!("trailers:{}", stream.number()),
        Event::Reset { stream, code, .. } => format!("reset:{}:{}", stream.number(), code.name()),
        Event::Rejected { stream, code } => {
            format!("rejected:{}:{}", stream.number(), code.name())
        }
        Event::Writable { stream } => format!("writable:{}", stream.map_or(0, |id| id.number())),
        Event::Settings => "settings".to_owned(),
        Event::GoAway { last, .. } => format!("goaway-of-peer:{last}"),
        Event::Pong => "pong".to_owned(),
    };
    words.push(word);
}

/// Data in a row is one word, however it was cut.
fn data(words: &mut Vec<String>, stream: u32, length: usize, end: &str) {
    let start = format!("data:{stream}:");
    let before = words.last().and_then(|word| word.strip_prefix(&start)?.parse::<usize>().ok());
    if before.is_some() {
        words.pop();
    }
    words.push(format!("{start}{}{end}", before.unwrap_or(0) + length));
}

fn run(seed: &Seed, bytes: &[u8], pieces: usize) -> String {
    if seed.is_server { server(bytes, pieces) } else { client(bytes, pieces) }
}

#[test]
fn every_seed_has_its_outcome_at_every_cut() {
    let seeds = seeds();
    assert!(seeds.len() >= 30, "{}", seeds.len());
    for seed in &seeds {
        for pieces in [usize::MAX, 1, 2, 3, 7, 10, 16] {
            assert_eq!(run(seed, &seed.bytes, pieces), seed.want, "{}, by {pieces}", seed.name);
        }
    }
}

#[test]
fn mutated_seeds_break_nothing() {
    let seeds = seeds();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in &seeds {
        for _ in 0..MUTATIONS {
            let bytes = mutate(seed, &seeds, &mut random);
            let whole = run(seed, &bytes, usize::MAX);
            assert_eq!(
                run(seed, &bytes, 1 + random.below(24)),
                whole,
                "{}: {bytes:02x?}",
                seed.name
            );
        }
    }
}

fn mutate(seed: &Seed, seeds: &[Seed], random: &mut Random) -> Vec<u8> {
    const EDGES: [u8; 10] = [0, 1, 2, 4, 8, 9, 0x20, 0x7f, 0x80, 0xff];
    let mut bytes = seed.bytes.clone();
    let skip = if seed.is_server { PREFACE.len().min(bytes.len()) } else { 0 };
    for _ in 0..=random.below(4) {
        let at = skip + random.below(bytes.len() + 1 - skip);
        match random.below(6) {
            0 => bytes.insert(at, EDGES[random.below(EDGES.len())]),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 if at < bytes.len() => bytes[at] = EDGES[random.below(EDGES.len())],
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            4 => bytes.truncate(at),
            _ => {
                // Frames of another connection: the spliced ones may meet any state.
                let other = &seeds[random.below(seeds.len())].bytes;
                let start = random.below(other.len());
                bytes.extend_from_slice(&other[start..]);
            }
        }
    }
    bytes
}

/// xorshift64: the same numbers every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}
