//! Where a field of an object stands in its file.
//!
//! Trees are dropped once their objects are decoded, so this parses the file again, once for all
//! questions about it. Only problems ask: good objects cost nothing. Where the file has changed since
//! it was last read, the object's known beginning is the answer.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{Files, Id};
use crate::api::{Kind, Name};
use crate::check::{self, Identity};
use crate::yaml::{self, Node, Position};

/// Answers questions about the places of fields.
#[derive(Debug)]
pub struct Locator<'f> {
    files: &'f Files,
    trees: HashMap<Arc<Path>, HashMap<Id, Node>>,
}

impl<'f> Locator<'f> {
    pub(super) fn new(files: &'f Files) -> Self {
        Self { files, trees: HashMap::new() }
    }

    /// The position of `field` (`spec.rules[0].name`) of an object in `file`.
    pub fn locate(&mut self, file: &Arc<Path>, kind: Kind, name: &Name, field: &str) -> Position {
        let trees = self.trees.entry(Arc::clone(file)).or_insert_with(|| read(file));
        let id = (kind, name.clone());
        match trees.get(&id) {
            Some(node) => node.locate(field),
            None => self.files.start_of(file, &id).unwrap_or_default(),
        }
    }
}

/// The first tree of each object in the file.
fn read(file: &Path) -> HashMap<Id, Node> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let (documents, _) = yaml::parse(&text);
    let mut trees = HashMap::new();
    for (_, node) in documents.into_iter().flat_map(check::unroll) {
        if let Identity::Ours(kind) = check::identify(&node)
            && let Some(name) = kind.name_of(&node)
        {
            trees.entry((kind, name)).or_insert(node);
        }
    }
    trees
}
