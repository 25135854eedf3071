//! `ringway check` on broken files: every `check/*.yaml` against the `.txt` that it must print.
//!
//! `UPDATE=1 cargo test -p control --test check` rewrites the expectations.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

use control::check;

#[test]
fn mistakes_are_reported_as_reviewed() {
    let update = std::env::var_os("UPDATE").is_some();
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check")).unwrap();
    let mut cases: Vec<PathBuf> = fs::read_dir(".")
        .unwrap()
        .map(|entry| PathBuf::from(entry.unwrap().file_name()))
        .filter(|path| {
            matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "json"))
        })
        .collect();
    cases.sort();
    assert!(cases.len() >= 10, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let found = check::render(&check::paths(std::slice::from_ref(&case), "ringway"));
        let expected = case.with_extension("txt");
        if update {
            fs::write(&expected, &found).unwrap();
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(&found) {
            wrong.push(format!("{}:\n{found}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "these differ from what was reviewed:\n{}", wrong.join("\n"));
}
