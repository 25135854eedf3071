//! Walks a tree against a schema and collects every mistake.

use super::Finding;
use super::schema::{Field, Schema};
use crate::yaml::{Node, Position, Value, quote};

/// Every mistake in `node`.
pub(super) fn walk(node: &Node, schema: &Schema) -> Vec<Finding> {
    let mut walker = Walker { findings: Vec::new() };
    walker.value(node, schema, "");
    walker.findings
}

struct Walker {
    findings: Vec<Finding>,
}

impl Walker {
    fn add(&mut self, at: Position, field: &str, what: String) {
        self.findings.push(Finding { at, field: field.to_owned(), what });
    }

    fn wrong(&mut self, node: &Node, field: &str, secret: bool, allowed: &str) {
        let found = if secret { "a value (not shown)".to_owned() } else { node.describe() };
        self.add(node.at, field, format!("found {found}, allowed: {allowed}"));
    }

    fn value(&mut self, node: &Node, schema: &Schema, field: &str) {
        match (schema, &node.value) {
            (Schema::Anything, _) => {}
            // Kubernetes drops a null field, so an optional one may be null.
            (_, Value::Null) if !field.is_empty() => {}
            (Schema::Object(fields), Value::Map(_)) => self.object(node, fields, field),
            (Schema::Dictionary { key, value, entries_max }, Value::Map(entries)) => {
                self.count(node, entries.len(), 0, *entries_max, "entries", field);
                self.duplicates(node, field);
                for (name, entry) in entries {
                    let path = join(field, &name.name);
                    if !key.fits(&name.name) {
                        let found = quote(&name.name);
                        self.add(
                            name.at,
                            &path,
                            format!("key {found}, allowed: {}", key.allowed()),
                        );
                    }
                    self.value(entry, value, &path);
                }
            }
            (Schema::List { item, min, max, unique }, Value::List(items)) => {
                self.count(node, items.len(), *min, *max, "items", field);
                self.repeated(items, unique, field);
                for (index, entry) in items.iter().enumerate() {
                    self.value(entry, item, &format!("{field}[{index}]"));
                }
            }
            (Schema::Text(text), Value::Text(found)) => {
                let (min, max) = (text.min, text.max);
                if !text.one_of.is_empty() {
                    if !text.one_of.contains(&found.as_str()) {
                        let mut allowed = text.one_of.join(", ");
                        if let Some(near) = nearest(found, text.one_of.iter().copied()) {
                            allowed.push_str(&format!(" (did you mean {near}?)"));
                        }
                        self.wrong(node, field, false, &allowed);
                    }
                } else if !text.format.fits(found) {
                    self.wrong(node, field, text.secret, text.format.allowed());
                }
                let length = found.chars().count();
                if length < min || length > max {
                    let what = format!("found {length} characters, allowed: {min} to {max}");
                    self.add(node.at, field, what);
                }
            }
            (Schema::Integer { min, max }, Value::Int(found)) => {
                if found < min || found > max {
                    self.wrong(node, field, false, &format!("{min} to {max}"));
                }
            }
            (Schema::OneOfIntegers(allowed), Value::Int(found)) => {
                if !allowed.contains(found) {
                    let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
                    self.wrong(node, field, false, &allowed.join(", "));
                }
            }
            (Schema::Boolean, Value::Bool(_)) => {}
            (Schema::IntegerOrText, Value::Int(_) | Value::Text(_)) => {}
            (schema, _) => self.wrong(node, field, schema.is_secret(), schema.type_name()),
        }
    }

    fn object(&mut self, node: &Node, fields: &[Field], path: &str) {
        self.duplicates(node, path);
        for (key, value) in node.entries() {
            let field = join(path, &key.name);
            match fields.iter().find(|known| known.name == key.name) {
                Some(known) => self.value(value, known.schema, &field),
                None => self.add(key.at, &field, unknown(&key.name, fields)),
            }
        }
        for known in fields.iter().filter(|known| known.required) {
            if node.get(known.name).is_none_or(|value| value.value == Value::Null) {
                self.add(node.at, &join(path, known.name), "is required".to_owned());
            }
        }
    }

    fn duplicates(&mut self, node: &Node, path: &str) {
        let entries = node.entries();
        for (index, (key, _)) in entries.iter().enumerate() {
            let first = entries[..index].iter().find(|(earlier, _)| earlier.name == key.name);
            if let Some((earlier, _)) = first {
                let what = format!("is given twice; the first is on line {}", earlier.at.line);
                self.add(key.at, &join(path, &key.name), what);
            }
        }
    }

    fn count(&mut self, node: &Node, count: usize, min: usize, max: usize, of: &str, field: &str) {
        if count < min || count > max {
            self.add(node.at, field, format!("found {count} {of}, allowed: {min} to {max}"));
        }
    }

    /// Items of a list whose identifying field repeats. Header names are compared as HTTP does.
    fn repeated(&mut self, items: &[Node], unique: &str, field: &str) {
        if unique.is_empty() {
            return;
        }
        let name = |item: &Node| {
            let node = item.get(unique)?;
            Some(node.text().map_or_else(|| node.describe(), quote))
        };
        for (index, item) in items.iter().enumerate() {
            let Some(own) = name(item) else { continue };
            if let Some(first) =
                items[..index].iter().position(|other| name(other) == Some(own.clone()))
            {
                let what = format!("{own} is used by {field}[{first}] too; each must differ");
                self.add(item.locate(unique), &format!("{field}[{index}].{unique}"), what);
            }
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn unknown(name: &str, fields: &[Field]) -> String {
    match nearest(name, fields.iter().map(|field| field.name)) {
        Some(near) => format!("is not a field here; did you mean {near}?"),
        None => {
            let known: Vec<_> = fields.iter().map(|field| field.name).collect();
            format!("is not a field here, allowed: {}", known.join(", "))
        }
    }
}

/// The known name that is nearest to `name`, if one is near enough to suggest.
fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let lower = name.to_ascii_lowercase();
    let measured = known.map(|known| (distance(&lower, &known.to_ascii_lowercase()), known));
    measured.min().filter(|(far, near)| *far <= near.len().div_ceil(3)).map(|(_, near)| near)
}

/// Edits between two short words (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
