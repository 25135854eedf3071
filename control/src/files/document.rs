//! One file's text as objects: decoded where they are right, explained where they are not.

use std::path::Path;

use crate::api::{Kind, Name, Object};
use crate::check::{self, Finding, Identity, Mistake};
use crate::yaml::{self, Node, Position};

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Objects of our kinds, in the order of the text.
    pub(crate) objects: Vec<Entry>,
    /// Mistakes that belong to no object with a name.
    pub(crate) mistakes: Vec<Mistake>,
    /// Whether some of the text could not be read at all.
    pub(crate) is_broken: bool,
}

/// An object in a file.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its name.
    pub(crate) name: Name,
    /// Its tree.
    pub(crate) node: Node,
    /// The path of the object within its document (`items[2].` in a List).
    pub(crate) prefix: String,
    /// The object, or what is wrong with it.
    pub(crate) outcome: Result<Object, Vec<Finding>>,
}

impl Entry {
    /// `HTTPRoute default/shop`.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.name)
    }

    /// A finding in this object as a mistake in a file.
    pub(crate) fn mistake(&self, file: &Path, finding: &Finding) -> Mistake {
        mistake(file, finding, self.title(), &self.prefix)
    }
}

/// Reads the objects of a file.
pub(crate) fn read(file: &Path, text: &str) -> Document {
    let (documents, errors) = yaml::parse(text);
    let mut read = Document { is_broken: !errors.is_empty(), ..Document::default() };
    for error in errors {
        let what = format!("not YAML: {}", error.message);
        read.mistakes.push(whole(file, error.at, what));
    }
    for (prefix, node) in documents.into_iter().flat_map(check::unroll) {
        match check::identify(&node) {
            Identity::Foreign => {}
            Identity::Wrong(finding) => {
                let title = node.text_of("kind").unwrap_or_default().to_owned();
                read.mistakes.push(mistake(file, &finding, title, &prefix));
            }
            Identity::Ours(kind) => take(&mut read, file, kind, prefix, node),
        }
    }
    read
}

fn take(read: &mut Document, file: &Path, kind: Kind, prefix: String, node: Node) {
    let findings = check::object(kind, &node);
    let Some(name) = kind.name_of(&node) else {
        let title = kind.as_str().to_owned();
        let mistakes =
            findings.iter().map(|finding| mistake(file, finding, title.clone(), &prefix));
        read.mistakes.extend(mistakes);
        return;
    };
    let outcome = if findings.is_empty() {
        kind.decode(&node).map_err(|error| {
            vec![Finding { at: node.at, field: String::new(), what: error.to_string() }]
        })
    } else {
        Err(findings)
    };
    read.objects.push(Entry { kind, name, node, prefix, outcome });
}

fn mistake(file: &Path, finding: &Finding, object: String, prefix: &str) -> Mistake {
    Mistake {
        file: file.to_owned(),
        at: finding.at,
        object,
        field: format!("{prefix}{}", finding.field),
        what: finding.what.clone(),
    }
}

/// A mistake of a whole file.
pub(crate) fn whole(file: &Path, at: Position, what: String) -> Mistake {
    Mistake { file: file.to_owned(), at, object: String::new(), field: String::new(), what }
}
