//! Whole connections as text (`corpus/h2`), each with the events that a driver sees, however it is cut.
//!
//! `seeds` makes a fuzzer's seeds of the same connections.

use std::path::Path;

use proxy::h2::frame::{Header, Kind, PREFACE};

use super::fuzz::h2::{Script, ask, serve};

pub(super) struct Seed {
    pub(super) name: String,
    pub(super) is_server: bool,
    want: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn seeds() -> Vec<Seed> {
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

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

#[test]
fn every_seed_has_its_outcome_at_every_cut() {
    let seeds = seeds();
    assert!(seeds.len() >= 30, "{}", seeds.len());
    for seed in &seeds {
        for pieces in [usize::MAX, 1, 2, 3, 7, 10, 16] {
            let run = if seed.is_server { serve } else { ask };
            let outcome = run(&seed.bytes, Script(0), pieces);
            assert_eq!(outcome.words.join(" "), seed.want, "{}, by {pieces}", seed.name);
        }
    }
}
