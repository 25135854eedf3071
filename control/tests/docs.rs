//! Holds the documentation to the code: generated pages are equal to it (`UPDATE=1` writes them
//! anew), and the page of statuses tells of every condition and reason there is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
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

/// The rows of `docs/status.md`: heading, condition, status, reason.
fn told() -> BTreeSet<[String; 4]> {
    let page = include_str!("../../docs/status.md");
    let (mut heading, mut rows) = ("", BTreeSet::new());
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, kind, status @ ("True" | "False"), reason, ..] = cells[..] {
            rows.insert([heading, kind, status, reason].map(str::to_owned));
        }
    }
    rows
}

/// The conditions that golden translations give: part of the statuses, condition, status, reason.
fn written() -> BTreeSet<[String; 4]> {
    let mut found = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if !path.to_string_lossy().ends_with(".out.yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let (_, statuses) = text.split_once("\nstatuses:").unwrap();
        let (mut part, mut reason, mut status) = ("", "", "");
        for line in statuses.lines() {
            let is_part = line.starts_with("  ") && !line.starts_with("   ");
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim() {
                part_name if is_part => part = part_name,
                "reason" => reason = value,
                "status" if !value.is_empty() => status = value,
                "type" if !status.is_empty() => {
                    found.insert([part, value, status, reason].map(str::to_owned));
                    status = "";
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn every_condition_of_the_golden_translations_is_told_under_its_kind() {
    let (told, written) = (told(), written());
    assert!(written.len() > 40, "{written:#?}");
    for [part, condition, status, reason] in written {
        let headings: &[&str] = match part.as_str() {
            "gatewayClasses" => &["GatewayClass"],
            "gateways" => &["Gateway", "Listener"],
            "listenerSets" => &["ListenerSet", "Listener"],
            "grpcRoutes" | "httpRoutes" => &["HTTPRoute, GRPCRoute"],
            "backendTLSPolicies" => &["BackendTLSPolicy"],
            "tcpRoutes" | "tlsRoutes" | "udpRoutes" => &["TLSRoute, TCPRoute, UDPRoute"],
            other => panic!("no heading is known for {other}"),
        };
        let is_told = headings.iter().any(|heading| {
            told.contains(&[*heading, &condition, &status, &reason].map(str::to_owned))
        });
        assert!(is_told, "docs/status.md: {headings:?} lacks {condition} {status} {reason}");
    }
}

#[test]
fn the_page_of_statuses_names_every_reason_and_no_other() {
    let source = include_str!("../src/translate/status.rs");
    let (_, reasons) = source.split_once("pub enum Reason {").unwrap();
    let (reasons, _) = reasons.split_once('}').unwrap();
    let reasons = reasons.split(',').map(str::trim).filter(|name| !name.is_empty());
    let known: BTreeSet<&str> = reasons.collect();
    let told = told();
    for [heading, _, _, reason] in &told {
        // What an unreadable class says is written by `status::desired` alone.
        assert!(known.contains(&**reason) || reason == "Unsupported", "{heading}: {reason}");
    }
    let named: BTreeSet<&str> = told.iter().map(|[_, _, _, reason]| &**reason).collect();
    for reason in known {
        assert!(named.contains(reason), "docs/status.md does not tell of {reason}");
    }
}
