//! The nearest known word to a mistyped one, where clap itself sees none (`rnu` for `run`).
//!
//! Only for error messages. Called by `main.rs` with what clap could not parse.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::Cli;

/// Adds the nearest subcommand to an error about an unknown one that names none.
#[must_use]
pub fn complete(mut error: Error) -> Error {
    if error.kind() != ErrorKind::InvalidSubcommand
        || error.get(ContextKind::SuggestedSubcommand).is_some()
    {
        return error;
    }
    let nearest = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => {
            let cli = Cli::command();
            let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
            nearest(word, &names).map(str::to_owned)
        }
        Some(_) | None => None,
    };
    if let Some(nearest) = nearest {
        let value = ContextValue::Strings(vec![nearest]);
        error.insert(ContextKind::SuggestedSubcommand, value);
    }
    error
}

/// The nearest of `words`, if at most half of the letters differ.
fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let best = words.iter().copied().min_by_key(|known| distance(word, known))?;
    (2 * distance(word, best) <= word.len().max(2)).then_some(best)
}

/// Edits (insert, remove, replace, swap neighbours) from one word to another.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_letters_are_one_edit() {
        assert_eq!(distance("rnu", "run"), 1);
        assert_eq!(distance("", "run"), 3);
        assert_eq!(distance("status", "status"), 0);
    }

    #[test]
    fn a_word_unlike_all_others_has_no_nearest() {
        let words = ["run", "status"];
        assert_eq!(nearest("rnu", &words), Some("run"));
        assert_eq!(nearest("frobnicate", &words), None);
    }
}
