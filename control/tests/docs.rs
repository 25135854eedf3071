//! Holds the generated documentation equal to the code; `UPDATE=1` writes it anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

#[test]
fn the_pages_say_what_the_code_does() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let update = std::env::var_os("UPDATE").is_some();
    let mut stale = Vec::new();
    for (name, text) in control::docs::pages() {
        let path = directory.join(name);
        if update {
            fs::create_dir_all(&directory).unwrap();
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != text {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "stale: {stale:?}; run this test with UPDATE=1");
}

#[test]
fn every_flag_that_the_limits_name_exists() {
    use clap::CommandFactory;
    let cli = control::cli::Cli::command();
    let run = cli.find_subcommand("run").unwrap();
    for flag in control::limits::all().iter().filter_map(|limit| limit.flag) {
        let known = run.get_arguments().any(|arg| arg.get_long() == flag.strip_prefix("--"));
        assert!(known, "{flag}");
    }
}

#[test]
fn every_constant_of_the_data_plane_limits_is_shown() {
    let source = include_str!("../../proxy/src/limits.rs");
    let shown = control::limits::all();
    let mut found = 0;
    for line in source.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let name = line.split(':').next().unwrap();
        assert!(shown.iter().any(|limit| limit.name == name), "{name} is not shown");
        found += 1;
    }
    assert!(found >= 19, "{found}");
}
