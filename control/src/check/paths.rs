//! `ringway check`: all files below some paths, with the references between their objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Finding, Mistake};
use crate::api::{Kind, Name};
use crate::files::document::{self, Document, Entry};
use crate::files::tree;
use crate::store::Store;
use crate::translate::status::Reason;
use crate::translate::{self, Problem};
use crate::yaml::{Node, Position, Value, quote};

/// Every mistake in all files below `paths`, in the order of files and lines. `class` needs no
/// GatewayClass object.
#[must_use]
pub fn paths(paths: &[PathBuf], class: &str) -> Vec<Mistake> {
    let tree = tree::list(paths);
    let mut mistakes: Vec<_> = tree
        .unreadable
        .iter()
        .map(|(path, error)| document::whole(path, Position::default(), error.to_string()))
        .collect();
    let mut objects: BTreeMap<(Kind, Name), (PathBuf, Entry)> = BTreeMap::new();
    for file in tree.files.into_keys() {
        let document = match std::fs::read_to_string(&file) {
            Ok(text) => document::read(&file, &text),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                mistakes.push(document::whole(&file, Position::default(), what));
                continue;
            }
        };
        take(&file, document, &mut objects, &mut mistakes);
    }
    let store = fill(&objects, class);
    let snapshot = store.snapshot();
    let found = translate::translate(&snapshot, &mut translate::Cache::default()).problems;
    for problem in found.iter().chain(&unknown_classes(&objects, class)) {
        mistakes.extend(place(problem, &objects));
    }
    mistakes.sort_by(|left, right| {
        let key = |mistake: &Mistake| (mistake.file.clone(), mistake.at, mistake.field.clone());
        key(left).cmp(&key(right))
    });
    mistakes.dedup();
    mistakes
}

fn take(
    file: &Path,
    document: Document,
    objects: &mut BTreeMap<(Kind, Name), (PathBuf, Entry)>,
    mistakes: &mut Vec<Mistake>,
) {
    mistakes.extend(document.mistakes);
    for entry in document.objects {
        if let Err(findings) = &entry.outcome {
            mistakes.extend(findings.iter().map(|finding| entry.mistake(file, finding)));
        }
        let id = (entry.kind, entry.name.clone());
        if let Some((first, other)) = objects.get(&id) {
            let what = format!("is in {}:{} already", first.display(), other.node.at.line);
            let field = "metadata.name".to_owned();
            let finding = Finding { at: entry.node.locate(&field), field, what };
            mistakes.push(entry.mistake(file, &finding));
        } else {
            objects.insert(id, (file.to_owned(), entry));
        }
    }
}

/// All objects, those with mistakes without the fields at fault, so that one mistake does not make
/// others out of everything that refers to its object.
fn fill(objects: &BTreeMap<(Kind, Name), (PathBuf, Entry)>, class: &str) -> Store {
    let mut store = Store::new(Some(class.into()), [].into());
    for (_, entry) in objects.values() {
        let object = match &entry.outcome {
            Ok(object) => Some(object.clone()),
            Err(findings) => {
                let mut node = entry.node.clone();
                for finding in findings {
                    blank(&mut node, &finding.field);
                }
                entry.kind.decode(&node).ok()
            }
        };
        if let Some(object) = object {
            store.put(object);
        }
    }
    store
}

/// Empties the field at `path`, which decodes as if it were absent.
fn blank(node: &mut Node, path: &str) {
    let (step, rest) = match path.split_once(['.', '[']) {
        Some((step, rest)) => (step, rest),
        None => (path, ""),
    };
    let child = match (&mut node.value, step.strip_suffix(']')) {
        (Value::Map(entries), None) => {
            entries.iter_mut().rev().find(|(key, _)| key.name == step).map(|(_, value)| value)
        }
        (Value::List(items), Some(index)) => {
            index.parse::<usize>().ok().and_then(|index| items.get_mut(index))
        }
        _ => None,
    };
    match child {
        Some(child) if rest.is_empty() => child.value = Value::Null,
        Some(child) => blank(child, rest),
        None => {}
    }
}

/// Gateways whose class is neither in the files nor the one that needs no object.
fn unknown_classes(
    objects: &BTreeMap<(Kind, Name), (PathBuf, Entry)>,
    implicit: &str,
) -> Vec<Problem> {
    let gateways = objects.iter().filter(|((kind, _), _)| *kind == Kind::Gateway);
    gateways
        .filter_map(|((_, name), (_, entry))| {
            let class = entry.node.get("spec")?.text_of("gatewayClassName")?;
            let known = class == implicit
                || objects.contains_key(&(Kind::GatewayClass, Name::new("", class)));
            (!known).then(|| Problem {
                kind: Kind::Gateway,
                object: name.clone(),
                field: "spec.gatewayClassName".to_owned(),
                reason: Reason::Invalid,
                message: format!(
                    "found {}, allowed: {implicit}, or a GatewayClass in these files",
                    quote(class)
                ),
            })
        })
        .collect()
}

/// The place of a problem, unless the field is known to be wrong already.
fn place(problem: &Problem, objects: &BTreeMap<(Kind, Name), (PathBuf, Entry)>) -> Option<Mistake> {
    let (file, entry) = objects.get(&(problem.kind, problem.object.clone()))?;
    let findings = entry.outcome.as_ref().err();
    let is_known = |finding: &Finding| {
        let below = problem.field.strip_prefix(&finding.field);
        let inside = below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        inside && !finding.field.is_empty()
    };
    // Conflicts are judged by fields that may be blanked.
    let is_doubtful = matches!(problem.reason, Reason::HostnameConflict | Reason::ProtocolConflict);
    if findings.is_some() && is_doubtful {
        return None;
    }
    if findings.is_some_and(|findings| findings.iter().any(is_known)) {
        return None;
    }
    let finding = Finding {
        at: entry.node.locate(&problem.field),
        field: problem.field.clone(),
        what: problem.message.clone(),
    };
    Some(entry.mistake(file, &finding))
}
