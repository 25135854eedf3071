//! Mistakes as text for people: the place, what is wrong, and the line it stands in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::Mistake;

/// Renders all mistakes and their number. Source lines are read again from the files; those of
/// Secrets are not shown.
#[must_use]
pub fn render(mistakes: &[Mistake]) -> String {
    let mut out = String::new();
    let mut sources: BTreeMap<&Path, Option<String>> = BTreeMap::new();
    for mistake in mistakes {
        let path = mistake.file.as_path();
        let source = sources.entry(path).or_insert_with(|| std::fs::read_to_string(path).ok());
        one(&mut out, mistake, source.as_deref());
    }
    let files =
        mistakes.iter().map(|mistake| &mistake.file).collect::<std::collections::BTreeSet<_>>();
    let count =
        |number: usize, of: &str| format!("{number} {of}{}", if number == 1 { "" } else { "s" });
    let summary = match mistakes.len() {
        0 => "no mistakes".to_owned(),
        number => format!("{} in {}", count(number, "mistake"), count(files.len(), "file")),
    };
    let _ = writeln!(out, "{summary}");
    out
}

fn one(out: &mut String, mistake: &Mistake, source: Option<&str>) {
    let Mistake { file, at, object, field, what } = mistake;
    let place = format!("{}:{}:{}", file.display(), at.line, at.column);
    let subject: Vec<&str> =
        [object.as_str(), field.as_str()].into_iter().filter(|part| !part.is_empty()).collect();
    let _ = match subject.join(": ") {
        subject if subject.is_empty() => writeln!(out, "{place}: error: {what}"),
        subject => writeln!(out, "{place}: error: {subject}: {what}"),
    };
    let line = source.and_then(|text| text.lines().nth(at.line.saturating_sub(1) as usize));
    let Some(line) = line.filter(|_| !object.starts_with("Secret")) else { return };
    let shown: String = line.chars().take(LINE_CHARS_MAX).collect();
    let column = (at.column as usize).clamp(1, LINE_CHARS_MAX);
    // Tabs are kept, so that the caret stands under its character.
    let pad: String =
        line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let number = at.line.to_string();
    let gutter = " ".repeat(number.len());
    let _ = writeln!(out, " {number} | {shown}\n {gutter} | {pad}^");
}

/// Characters of a source line that are shown.
const LINE_CHARS_MAX: usize = 160;
