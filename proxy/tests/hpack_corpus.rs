//! The corpus of header blocks: every seed gets its answer, and anything made from seeds is survived.
//!
//! A seed is `corpus/hpack/*.hex`: the blocks of one connection in hex, one a line (`\` goes on), and a
//! comment `# want:` with what the last block gives: a number of fields or the name of an error.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use proxy::h2::hpack::{DecodeError, Decoder, Encoder, Error, TABLE_BYTES_DEFAULT};

/// A decoded string is at most so many times as long as the coded one, rounded up.
const EXPANSION_MAX: usize = 2;
const MUTANTS: u32 = 100_000;

struct Seed {
    name: String,
    want: String,
    blocks: Vec<Vec<u8>>,
}

fn seeds() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/hpack");
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap().replace("\\\n", "");
            let (notes, blocks): (Vec<_>, Vec<_>) =
                text.lines().partition(|line| line.starts_with('#'));
            let want = notes.iter().find_map(|note| note.strip_prefix("# want: ")).unwrap();
            Seed {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                want: want.to_owned(),
                blocks: blocks.into_iter().map(bytes).collect(),
            }
        })
        .collect();
    seeds.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(seeds.len() >= 25, "{}", seeds.len());
    seeds
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Decodes one block and holds the decoder to its bounds.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Error> {
    let mut fields = Vec::new();
    let result = decoder.decode(block, |field| {
        let size = field.name.len() + field.value.len();
        assert!(size <= TABLE_BYTES_DEFAULT + EXPANSION_MAX * block.len(), "{size}");
        fields.push((field.name.to_vec(), field.value.to_vec()));
        Ok::<_, Infallible>(())
    });
    assert!(fields.len() <= block.len(), "{}", fields.len());
    assert!(decoder.table_bytes() <= TABLE_BYTES_DEFAULT);
    match result {
        Ok(()) => Ok(fields),
        Err(DecodeError::Compression(error)) => Err(error),
    }
}

/// Decodes the blocks of a connection up to an error; what decodes also passes on.
fn drive<'b>(blocks: impl Iterator<Item = &'b [u8]>) -> Result<Fields, Error> {
    let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
    let (mut encoder, mut next) = (Encoder::new(), Decoder::new(TABLE_BYTES_DEFAULT));
    let mut last = Vec::new();
    for block in blocks {
        last = decode(&mut decoder, block)?;
        let mut out = Vec::new();
        let mut writer = encoder.block(&mut out);
        last.iter().for_each(|(name, value)| writer.field(name, value));
        let passed_on = next.decode(&out, |_| Ok::<_, Infallible>(()));
        assert_eq!(passed_on, Ok(()));
        assert_eq!(next.table_bytes(), encoder.table_bytes());
    }
    Ok(last)
}

#[test]
fn every_seed_gets_its_answer() {
    for seed in seeds() {
        let got = match drive(seed.blocks.iter().map(Vec::as_slice)) {
            Ok(fields) => format!("{} fields", fields.len()),
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(got, seed.want, "{}", seed.name);
    }
}

#[test]
fn every_cut_of_a_block_ends_in_fields_or_an_error() {
    for seed in seeds() {
        let (last, before) = seed.blocks.split_last().unwrap();
        for cut in (0..last.len()).filter(|cut| last.len() < 500 || cut % 61 == 0) {
            let blocks = before.iter().map(Vec::as_slice).chain([&last[..cut]]);
            if let Err(error) = drive(blocks) {
                let is_expected = error == Error::Truncated || format!("{error:?}") == seed.want;
                assert!(is_expected, "{} cut at {cut}: {error:?}", seed.name);
            }
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }
}

fn mutate(random: &mut Random, block: &mut Vec<u8>, other: &[u8]) {
    const TELLING: [u8; 12] = [0, 0x10, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xbe, 0xbf, 0xc0, 0xff];
    for _ in 0..=random.below(4) {
        let at = random.below(block.len() + 1);
        match random.below(6) {
            0 => block.insert(at, TELLING[random.below(TELLING.len())]),
            1 => block.truncate(at),
            2 => {
                let from = random.below(other.len() + 1);
                let piece = &other[from..(from + random.below(40)).min(other.len())];
                block.splice(at..at, piece.iter().copied());
            }
            _ if at == block.len() => {}
            3 => block[at] ^= 1 << random.below(8),
            4 => block[at] = TELLING[random.below(TELLING.len())],
            _ => {
                block.remove(at);
            }
        }
    }
}

#[test]
fn whatever_is_made_from_the_seeds_ends_in_fields_or_an_error() {
    let seeds: Vec<_> = seeds()
        .into_iter()
        .map(|seed| seed.blocks)
        .filter(|blocks| blocks.iter().all(|block| block.len() < 500))
        .collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut decoded = 0;
    for _ in 0..MUTANTS {
        let mut blocks = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())][0];
        let at = random.below(blocks.len());
        mutate(&mut random, &mut blocks[at], other);
        decoded += u32::from(drive(blocks.iter().map(Vec::as_slice)).is_ok());
    }
    assert!(decoded > MUTANTS / 20 && decoded < MUTANTS, "{decoded}: the mutants tell nothing");
}
