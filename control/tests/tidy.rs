//! The habits of the workspace as a test: headers, sizes, words, and who may name what.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 6] = ["runtime", "proxy", "shards", "control", "bench", "fuzz"];
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

struct Source {
    path: PathBuf,
    /// Without trailing test modules.
    text: String,
}

#[test]
fn every_file_says_what_it_is() {
    for source in sources() {
        assert!(source.text.starts_with("//! "), "{}: no `//!` header", source.path.display());
    }
}

#[test]
fn files_and_functions_keep_their_size() {
    let mut faults = Vec::new();
    for source in sources() {
        let path = source.path.display();
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{path}: {lines} lines"));
        }
        for (name, length) in functions(&source.text) {
            if length > FUNCTION_LINES_MAX {
                faults.push(format!("{path}: fn {name} has {length} lines"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_the_runtime_is_unsafe_or_names_the_machine() {
    for source in sources().iter().filter(|source| !is_in(source, "runtime")) {
        for word in ["unsafe {", "unsafe fn", "unsafe impl", "libc::", "io_uring::", "glommio::"] {
            let found = code_lines(&source.text).any(|line| line.contains(word));
            assert!(!found, "{} says {word:?}", source.path.display());
        }
    }
}

#[test]
fn crates_import_only_what_the_design_allows() {
    for (krate, forbidden) in [
        ("runtime", ["proxy::", "shards::", "control::"].as_slice()),
        ("proxy", &["runtime::", "shards::", "control::", "std::net::Tcp", "std::thread"]),
        ("shards", &["control::", "std::sync::Mutex", "std::sync::atomic"]),
    ] {
        for source in sources().iter().filter(|source| is_in(source, krate)) {
            for word in forbidden {
                let mut uses = code_lines(&source.text)
                    .filter(|line| line.trim_start().starts_with("use ") && line.contains(word));
                assert_eq!(uses.next(), None, "{} uses {word}", source.path.display());
            }
        }
    }
}

#[test]
fn nothing_unfinished_or_vague_is_left() {
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for word in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"] {
                let place = format!("{}:{}", source.path.display(), number + 1);
                assert!(!line.contains(word), "{place}: {word}");
            }
        }
        let name = source.path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["utils", "util", "helpers", "common", "misc", "manager"].contains(&name),
            "{}: a name that says nothing",
            source.path.display()
        );
    }
}

/// Every source file under `src` of our crates.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for krate in CRATES {
        collect(&root.join(krate).join("src"), &mut found);
    }
    assert!(found.len() > 50, "the workspace is where it is looked for");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_stem().is_some_and(|stem| stem != "tests")
        {
            let text = fs::read_to_string(&path).unwrap();
            let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
            found.push(Source { path, text: text[..end].to_owned() });
        }
    }
}

fn is_in(source: &Source, krate: &str) -> bool {
    source.path.components().any(|part| part.as_os_str() == krate)
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Name and length of each function: from its `fn` to the brace that closes at its indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let Some(at) = code.find("fn ").filter(|_| !code.starts_with("//")) else { continue };
        let before = &code[..at];
        if !before.split_whitespace().all(|word| {
            ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern", "\"C\""]
                .contains(&word)
        }) {
            continue;
        }
        let name = code[at + 3..].split(['(', '<']).next().unwrap_or("").to_owned();
        let body = lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if body.is_none_or(|line| line.ends_with(';')) {
            continue; // a declaration in a trait
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == closing);
        if let Some(length) = end {
            found.push((name, length + 1));
        }
    }
    found
}
