//! Every file of `fuzz/corpus`, and mutants of each, through its target.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::fuzz::{TARGETS, Target};
use super::mutate::{Random, mutant};

/// Mutants of each target, by number, so that every run is the same.
const MUTANTS: usize = 10_000;
/// A connection of two ends takes longer.
const MUTANTS_OF_PAIRS: usize = 300;
/// All files together (bytes).
const CORPUS_BYTES_MAX: usize = 300 * 1024;

/// The folder of the fuzz targets.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Names and bytes of a target's corpus, in order.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|_| panic!("{target} has no corpus"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no corpus");
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

/// Runs a target; says which input broke it.
fn run(target: Target, what: &str, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("{what}: \"{}\"", input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_file_of_every_corpus_keeps_what_its_target_holds() {
    let mut bytes = 0;
    for (name, target) in TARGETS {
        for (file, input) in corpus(name) {
            run(target, &format!("{name}/{file}"), &input);
            bytes += input.len();
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn mutants_of_every_corpus_keep_what_its_target_holds() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let count = if name == "h2_pair" { MUTANTS_OF_PAIRS } else { MUTANTS };
        for number in 0..count {
            let (file, input) = &corpus[number % corpus.len()];
            let (_, other) = random.pick(&corpus);
            let input = mutant(input, other, &mut random);
            run(target, &format!("mutant {number} of {name}/{file}"), &input);
        }
    }
}

#[test]
fn libfuzzer_and_this_test_know_the_same_targets() {
    let known: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |folder: PathBuf| -> BTreeSet<_> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(folder().join("fuzz_targets")), known);
    assert_eq!(names(folder().join("corpus")), known);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for name in known {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
