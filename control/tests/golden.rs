//! Golden translation: every `golden/*.in.yaml` (as `kubectl apply` takes it) against its
//! `.out.yaml`, which holds the IR, the statuses and the problems.
//!
//! Cases are found by listing the folder. `UPDATE=1 cargo test -p control --test golden` rewrites
//! the expectations; the difference is for the reviewer. A first line `# --addresses MODE` chooses
//! the mode. Each case is translated three times: alone,
//! with a cache that already holds it, and with a cache that holds another case.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use control::files::Files;
use control::store::{Snapshot, Store};
use control::translate::{Cache, Translation, translate};
use serde_json::{Value, json};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".in.yaml"))
        .collect();
    cases.sort();
    cases
}

fn snapshot(case: &Path) -> Snapshot {
    let mut files = Files::open(&[case.to_owned()]).unwrap();
    let problems: Vec<_> =
        files.problems().iter().map(|p| format!("{}: {}", p.field, p.what)).collect();
    assert!(problems.is_empty(), "{}: {problems:#?}", case.display());
    let mode = fs::read_to_string(case).unwrap();
    let mode = mode.lines().next().and_then(|line| line.strip_prefix("# --addresses "));
    let store = Store::new(Some("ringway".into()), [].into());
    let mut store = store.with_addressing(mode.unwrap_or("host").parse().unwrap(), None);
    files.apply(&mut store);
    store.set_resolved([("backend.example.com".into(), vec!["192.0.2.7".parse().unwrap()])].into());
    store.snapshot()
}

fn render(translation: &Translation) -> String {
    let mut whole = json!({
        "ir": translation.ir,
        "statuses": translation.statuses,
        "problems": translation.problems,
    });
    let made = &translation.statuses.infrastructure;
    if !made.is_empty() {
        let all = made.iter().map(|(name, made)| {
            let objects = json!({"service": made.service, "slices": made.slices});
            (name.to_string(), objects)
        });
        whole["infrastructure"] = Value::Object(all.collect());
    }
    shorten(&mut whole);
    let mut out = String::new();
    write_yaml(&mut out, &whole, 0);
    out
}

/// DER certificates are shown by their number only.
fn shorten(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(chain) = fields.get_mut("chain").filter(|chain| chain.is_array()) {
                *chain = json!(format!("{} certificates", chain.as_array().unwrap().len()));
            }
            for field in ["Certificates", "roots"] {
                if let Some(roots) = fields.get_mut(field).filter(|roots| roots.is_array()) {
                    *roots = json!(format!("{} authorities", roots.as_array().unwrap().len()));
                }
            }
            fields.values_mut().for_each(shorten);
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

fn write_yaml(out: &mut String, value: &Value, indent: usize) {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                write!(out, "{pad}{name}:").unwrap();
                write_nested(out, value, indent + 1);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut nested = String::new();
                write_yaml(&mut nested, item, indent + 1);
                let first = nested.trim_start_matches(' ');
                write!(out, "{pad}- {first}").unwrap();
            }
        }
        scalar => writeln!(out, "{pad}{scalar}").unwrap(),
    }
}

fn write_nested(out: &mut String, value: &Value, indent: usize) {
    let is_flat = match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.iter().all(|item| !item.is_object() && !item.is_array()),
        _ => true,
    };
    if is_flat {
        writeln!(out, " {value}").unwrap();
    } else {
        out.push('\n');
        write_yaml(out, value, indent);
    }
}

#[test]
fn translations_are_as_reviewed() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    let mut warm = Cache::default();
    let cases = cases();
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    for case in cases {
        let snapshot = snapshot(&case);
        let cold = translate(&snapshot, &mut Cache::default());
        assert_eq!(cold, translate(&snapshot, &mut warm), "a cache of another case: {case:?}");
        assert_eq!(cold, translate(&snapshot, &mut warm), "a cache of the same case: {case:?}");
        let found = render(&cold);
        let expected = PathBuf::from(case.to_string_lossy().replace(".in.yaml", ".out.yaml"));
        if update {
            fs::write(&expected, &found).unwrap();
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(&found) {
            wrong.push(format!("{}:\n{found}", expected.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ from what was reviewed:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_expectation_has_its_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let case = path.to_string_lossy().replace(".out.yaml", ".in.yaml");
        assert!(Path::new(&case).exists(), "{path:?} belongs to no case");
    }
}
