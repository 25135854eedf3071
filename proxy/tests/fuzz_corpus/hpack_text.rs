//! Header blocks as text (`corpus/hpack`): every seed gets its answer.
//!
//! A seed is `*.hex`: the blocks of one connection in hex, one a line (`\` goes on), and a
//! comment `# want:` with what the last block gives: a number of fields or the name of an error.
use std::fs;
use std::path::Path;

use proxy::h2::hpack::Error;

use super::fuzz::hpack::drive;
use super::h2_text::hex;

pub(super) struct Seed {
    pub(super) name: String,
    want: String,
    pub(super) blocks: Vec<Vec<u8>>,
}

pub(super) fn seeds() -> Vec<Seed> {
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
                blocks: blocks.into_iter().map(hex).collect(),
            }
        })
        .collect();
    seeds.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(seeds.len() >= 25, "{}", seeds.len());
    seeds
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
