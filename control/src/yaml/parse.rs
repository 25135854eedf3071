//! From text to trees, one per document, on the events of `saphyr-parser`.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};
use thiserror::Error as ThisError;

use super::node::{Key, Node, Position, Value};

/// The text is not YAML, or is YAML that no Kubernetes object uses.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{message}")]
pub struct SyntaxError {
    /// Where.
    pub at: Position,
    /// What is wrong.
    pub message: String,
}

/// Reads every document of `text`. A syntax error costs only the document it stands in.
#[must_use]
pub fn parse(text: &str) -> (Vec<Node>, Vec<SyntaxError>) {
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    for (lines_before, part) in parts(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let mut builder = Builder { lines_before, ..Builder::default() };
        for event in Parser::new_from_str(part) {
            let step = match event {
                Ok((event, span)) => builder.take(event, span),
                Err(error) => Err(builder.scan_error(&error)),
            };
            if let Err(error) = step {
                builder.documents.clear();
                errors.push(error);
                break;
            }
        }
        documents.append(&mut builder.documents);
    }
    (documents, errors)
}

/// Splits at lines that begin a document, which YAML allows nowhere inside one. Gives each part
/// with the number of lines before it; a part of directives or comments alone is left out.
fn parts(text: &str) -> Vec<(u32, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset, mut has_content) = (0, 0, 0, false);
    for (number, line) in (0_u32..).zip(text.split_inclusive('\n')) {
        let begins = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if begins {
            if has_content {
                parts.push((start_line, &text[start..offset]));
            }
            (start, start_line, has_content) = (offset, number, false);
            has_content |= !line[3..].trim().is_empty();
        } else {
            has_content |= !line.trim().is_empty() && !line.starts_with(['#', '%']);
        }
        offset += line.len();
    }
    if has_content {
        parts.push((start_line, &text[start..]));
    }
    parts
}

#[derive(Default)]
struct Builder {
    lines_before: u32,
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// A collection whose end has not come yet.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let at = self.position(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = tag.is_some_and(|tag| tag.suffix == "str");
                let plain = matches!(style, ScalarStyle::Plain) && !forced;
                let value = if plain { scalar(&text) } else { Value::Text(text.into_owned()) };
                self.put(Node { at, value }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    return Err(error(at, "this alias names no anchor above it"));
                };
                self.nodes += count(&node);
                node.at = at;
                self.put(node, 0)
            }
            Event::SequenceStart(anchor, _) => self.open(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.open(at, anchor, Content::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn position(&self, marker: Marker) -> Position {
        let bounded = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let line = bounded(marker.line()).saturating_add(self.lines_before);
        Position { line, column: bounded(marker.col()).saturating_add(1) }
    }

    fn scan_error(&self, error: &ScanError) -> SyntaxError {
        SyntaxError { at: self.position(*error.marker()), message: error.info().to_owned() }
    }

    fn open(&mut self, at: Position, anchor: usize, content: Content) -> Result<(), SyntaxError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(error(at, "nested too deeply"));
        }
        self.open.push(Open { at, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let open = self.open.pop().expect("the parser ends only collections that it began");
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(merge(entries)),
        };
        self.put(Node { at: open.at, value }, open.anchor)
    }

    /// Places a finished node where it belongs: as a key, a value, an item or a document.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(error(node.at, "the file holds too many values"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.documents.push(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(as_key(&node)?),
            },
        }
        Ok(())
    }
}

fn as_key(node: &Node) -> Result<Key, SyntaxError> {
    let name = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => node.describe(),
        Value::Null => "null".to_owned(),
        Value::List(_) | Value::Map(_) => {
            return Err(error(node.at, "a key must be text"));
        }
    };
    Ok(Key { name, at: node.at })
}

/// Applies `<<: *anchor`: fields of the merged mappings that are not there already.
fn merge(entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
    if !entries.iter().any(|(key, _)| key.name == "<<") {
        return entries;
    }
    let (merged, mut kept): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(key, _)| key.name == "<<");
    for (_, source) in merged {
        let sources = if let Value::List(items) = source.value { items } else { vec![source] };
        for (key, value) in sources.iter().flat_map(Node::entries) {
            if !kept.iter().any(|(own, _)| own.name == key.name) {
                kept.push((key.clone(), value.clone()));
            }
        }
    }
    kept
}

/// A plain scalar by YAML's core schema.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let first = text.trim_start_matches(['+', '-', '.']).as_bytes().first();
    if !first.is_some_and(u8::is_ascii_digit) {
        return Value::Text(text.to_owned());
    }
    let integer = match text.as_bytes() {
        [b'0', b'x', ..] => i64::from_str_radix(&text[2..], 16).ok(),
        [b'0', b'o', ..] => i64::from_str_radix(&text[2..], 8).ok(),
        _ => text.parse().ok(),
    };
    match (integer, text.parse::<f64>()) {
        (Some(value), _) => Value::Int(value),
        (None, Ok(value)) => Value::Float(value),
        (None, Err(_)) => Value::Text(text.to_owned()),
    }
}

fn count(node: &Node) -> usize {
    let below: usize = match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|(_, value)| count(value)).sum(),
        _ => 0,
    };
    below + 1
}

fn error(at: Position, message: &str) -> SyntaxError {
    SyntaxError { at, message: message.to_owned() }
}

/// Nesting of one document.
const DEPTH_MAX: usize = 64;

/// Values of one file, aliases counted as often as they are used.
const NODES_MAX: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        let (documents, errors) = parse(text);
        assert_eq!(errors, []);
        documents.into_iter().next().unwrap()
    }

    #[test]
    fn positions_count_from_one() {
        let node = one("a:\n  - b: x\n    c: 1\n");
        assert_eq!(node.locate("a[0].c"), Position { line: 3, column: 8 });
        assert_eq!(node.locate("a[0].missing"), Position { line: 2, column: 5 });
        assert_eq!(node.locate("a"), Position { line: 1, column: 1 });
    }

    #[test]
    fn several_documents_and_json_are_read() {
        let (documents, errors) = parse("a: 1\n---\n{\"b\": [true, null]}\n---\n");
        assert_eq!(errors, []);
        assert_eq!(documents[0].get("a").unwrap().value, Value::Int(1));
        assert_eq!(documents[1].items_of("b")[0].value, Value::Bool(true));
    }

    #[test]
    fn a_syntax_error_costs_only_its_document() {
        let (documents, errors) = parse("a: 1\n---\nb: [\n---\nc: 1\n---\nd: }\n");
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].locate("c"), Position { line: 5, column: 4 });
        let lines: Vec<_> = errors.iter().map(|error| error.at.line).collect();
        assert_eq!(lines.len(), 2);
        assert!((3..=4).contains(&lines[0]) && lines[1] == 7, "{lines:?}");
    }

    #[test]
    fn directives_and_comments_alone_are_no_document() {
        let (documents, errors) = parse("%YAML 1.2\n# hello\n---\na: 1\n---\n# end\n");
        assert_eq!((documents.len(), errors.len()), (1, 0));
    }

    #[test]
    fn quoted_numbers_and_words_stay_text() {
        let node = one("a: \"80\"\nb: 1.5.0\nc: 10.0.0.1\nd: -x\ne: !!str 5\n");
        for name in ["a", "b", "c", "d", "e"] {
            assert!(node.get(name).unwrap().text().is_some(), "{name}");
        }
    }

    #[test]
    fn merge_keys_fill_in_what_is_missing() {
        let node = one("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n");
        let used = node.get("use").unwrap();
        assert_eq!(used.get("x").unwrap().value, Value::Int(1));
        assert_eq!(used.get("y").unwrap().value, Value::Int(3));
    }

    #[test]
    fn exponential_aliases_are_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let below = format!("*a{},", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(!parse(&text).1.is_empty());
    }
}
