//! Checking files without serving them: every mistake at once, each where it stands.
//!
//! Three layers: the text (YAML syntax), the object (a schema of the kinds we read and the API's
//! rules across fields), and the references between objects, taken from the translation's own
//! findings. [`crate::files`] uses the first two on what it reads, so `ringway check` refuses
//! exactly what a running gateway refuses. Invariant: nothing here stops at the first mistake.

mod format;
mod paths;
mod render;
mod rules;
mod schema;
mod walk;

use std::path::PathBuf;

use crate::api::Kind;
use crate::yaml::{Node, Position};
pub use paths::paths;
pub use render::render;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file as it was named on the command line.
    pub file: PathBuf,
    /// Where in it.
    pub at: Position,
    /// The object, as `HTTPRoute default/shop`, if it is known.
    pub object: String,
    /// The field, as `spec.rules[0].name`; empty for the file or the whole object.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

/// A mistake within one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub at: Position,
    /// The field.
    pub field: String,
    /// What was found and what is allowed.
    pub what: String,
}

/// What a document's `apiVersion` and `kind` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A kind that we read.
    Ours(Kind),
    /// A kind of somebody else's.
    Foreign,
    /// Not an object that we can take.
    Wrong(Finding),
}

/// Reads `apiVersion` and `kind`.
#[must_use]
pub fn identify(node: &Node) -> Identity {
    let wrong = |at, field: &str, what: String| {
        Identity::Wrong(Finding { at, field: field.to_owned(), what })
    };
    let (version, kind) = match (node.text_of("apiVersion"), node.text_of("kind")) {
        (Some(version), Some(kind)) => (version, kind),
        (None, _) => return wrong(node.at, "apiVersion", "is required".to_owned()),
        (_, None) => return wrong(node.at, "kind", "is required".to_owned()),
    };
    if let Some(kind) = Kind::of(version, kind) {
        return Identity::Ours(kind);
    }
    if let Some(ours) = Kind::ALL.into_iter().find(|ours| ours.as_str() == kind) {
        let same_group = |known: &&str| group(known) == group(version);
        if ours.versions().iter().any(same_group) {
            let found = crate::yaml::quote(version);
            let what = format!("found {found}, allowed: {}", ours.versions().join(", "));
            return wrong(node.locate("apiVersion"), "apiVersion", what);
        }
    }
    if group(version) == crate::api::GATEWAY_GROUP {
        let what = format!(
            "found {}, which this release does not know; it serves Gateway, GatewayClass, HTTPRoute, ListenerSet, ReferenceGrant, TCPRoute, TLSRoute and UDPRoute",
            crate::yaml::quote(kind)
        );
        return wrong(node.locate("kind"), "kind", what);
    }
    Identity::Foreign
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

/// Every mistake within one object of a kind of ours, in the order of the text.
#[must_use]
pub fn object(kind: Kind, node: &Node) -> Vec<Finding> {
    let mut findings = walk::walk(node, schema::of(kind));
    rules::apply(kind, node, &mut findings);
    findings.sort_by(|left, right| (left.at, &left.field).cmp(&(right.at, &right.field)));
    findings.dedup();
    findings
}

/// The objects of a document: itself, or the items of a `List`.
#[must_use]
pub fn unroll(document: Node) -> Vec<(String, Node)> {
    let is_list = document.text_of("kind").is_some_and(|kind| kind.ends_with("List"))
        && document.get("items").is_some();
    if !is_list {
        return vec![(String::new(), document)];
    }
    let items = document.items_of("items").iter().cloned().enumerate();
    items.map(|(index, item)| (format!("items[{index}]."), item)).collect()
}
