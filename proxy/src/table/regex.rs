//! Regular expressions of routes: full match, linear time, bounded size.
//!
//! Compiled by `route` when an epoch is made; run by `conditions` and `host` with caches that each
//! shard owns. [`check`] is what `translate` asks before it accepts a route. Semantics follow RE2 as
//! the Gateway API's ecosystem does: `\d`, `\w`, `\b` and `(?i)` are ASCII and `.` is any byte but a
//! line feed, unless the expression needs Unicode (`\p{…}`), which is then used for all of it.
//! Invariant: every search is linear in the text and an expression that does not compile never matches.

use std::sync::Arc;

use regex_automata::meta::{Cache, Regex};
use regex_automata::util::syntax;

/// Longest expression (bytes); the API admits 4,096 at most.
pub const PATTERN_BYTES_MAX: usize = 4 * 1024;
/// Largest compiled expression (bytes).
pub const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Lazy-DFA memory per expression and shard (bytes).
const CACHE_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of an expression.
const NESTING_MAX: u32 = 100;

/// A compiled expression with its slot in [`RegexCaches`].
#[derive(Debug)]
pub(crate) struct Pattern {
    slot: u32,
    /// `None` never matches.
    regex: Option<Regex>,
}

/// Caches of compiled regular expressions, one per expression and shard, made at first use.
#[derive(Debug, Default)]
pub struct RegexCaches {
    slots: Vec<Option<Slot>>,
    /// Where a value that is not contiguous in the head is put together.
    scratch: Vec<u8>,
}

/// A cache serves only the expression it was made for, which it keeps to tell it apart.
#[derive(Debug)]
struct Slot {
    pattern: Arc<Pattern>,
    cache: Cache,
}

/// Whether `pattern` can be used; else what is wrong with it.
///
/// # Errors
/// The reason, as one line without the expression.
pub fn check(pattern: &str) -> Result<(), String> {
    compile(pattern).map(|_| ())
}

impl Pattern {
    /// Compiles `pattern` for `slot`. Total: what does not compile never matches.
    pub(crate) fn new(slot: u32, pattern: &str) -> Self {
        Self { slot, regex: compile(pattern).ok() }
    }
}

/// `\A(?:pattern)\z`, which is only sound once the pattern is known to be well-formed by itself
/// (`a)|(b` is not).
fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("longer than {PATTERN_BYTES_MAX} bytes"));
    }
    build(pattern, false).or_else(|_| build(pattern, true))
}

fn build(pattern: &str, unicode: bool) -> Result<Regex, String> {
    let syntax = syntax::Config::new().unicode(unicode).utf8(false).nest_limit(NESTING_MAX);
    syntax::parse_with(pattern, &syntax).map_err(|error| one_line(&error.to_string()))?;
    // The line feed ends a comment that the expression may end with under `(?x)`.
    whole(&format!(r"\A(?:{pattern})\z"), syntax)
        .or_else(|why| whole(&format!("\\A(?:{pattern}\n)\\z"), syntax).map_err(|_| why))
}

fn whole(text: &str, syntax: syntax::Config) -> Result<Regex, String> {
    let config = Regex::config()
        .utf8_empty(false)
        .nfa_size_limit(Some(COMPILED_BYTES_MAX))
        .onepass_size_limit(Some(COMPILED_BYTES_MAX / 4))
        .hybrid_cache_capacity(CACHE_BYTES_MAX);
    Regex::builder().configure(config).syntax(syntax).build(text).map_err(|error| {
        match error.size_limit() {
            Some(limit) => format!("larger than {limit} bytes when compiled"),
            None => one_line(&error.to_string()),
        }
    })
}

/// The syntax error's last line says what is wrong; the lines before it draw the expression.
fn one_line(text: &str) -> String {
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("not valid");
    last.trim().trim_start_matches("error: ").to_owned()
}

impl RegexCaches {
    /// Whether `pattern` matches all of `text`.
    pub(crate) fn is_match(&mut self, pattern: &Arc<Pattern>, text: &[u8]) -> bool {
        let Some(regex) = &pattern.regex else { return false };
        let at = pattern.slot as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        let slot = self.slots[at].take_if(|slot| Arc::ptr_eq(&slot.pattern, pattern));
        let slot =
            self.slots[at].insert(slot.unwrap_or_else(|| Slot {
                pattern: Arc::clone(pattern),
                cache: regex.create_cache(),
            }));
        let input = regex_automata::Input::new(text).earliest(true);
        regex.search_half_with(&mut slot.cache, &input).is_some()
    }

    /// The same for a text that `write` puts together.
    pub(crate) fn is_match_of(
        &mut self,
        pattern: &Arc<Pattern>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        write(&mut text);
        let matched = self.is_match(pattern, &text);
        self.scratch = text;
        matched
    }

    /// Drops the caches of expressions that only caches still hold.
    pub(crate) fn prune(&mut self) {
        for slot in &mut self.slots {
            if slot.as_ref().is_some_and(|slot| Arc::strong_count(&slot.pattern) == 1) {
                *slot = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &[u8]) -> bool {
        RegexCaches::default().is_match(&Arc::new(Pattern::new(0, pattern)), text)
    }

    #[test]
    fn the_whole_text_must_match() {
        assert!(matches("a|ab", b"ab"));
        assert!(!matches("a", b"ab"));
        assert!(!matches("b", b"ab"));
        assert!(!matches("a", b"a\n"));
        assert!(matches("", b""));
        assert!(matches("/v[0-9]+/.*", b"/v12/x/y"));
        assert!(matches("(?x) a b # both", b"ab"));
        assert!(!matches("(?x) a b # both", b"ab\n"));
    }

    #[test]
    fn classes_are_ascii_and_values_may_be_any_bytes() {
        assert!(!matches(r"\d", "٣".as_bytes()));
        assert!(matches("a.c", b"a\xffc"));
        assert!(matches("é+", "éé".as_bytes()));
        assert!(matches(r"\p{Greek}", "λ".as_bytes()));
    }

    #[test]
    fn what_does_not_compile_is_explained_and_never_matches() {
        for pattern in ["(", "a)|(b", "[z-a]", r"(a)\1", "(?=a)", "a{1000}{1000}{1000}"] {
            let why = check(pattern).expect_err(pattern);
            assert!(!why.is_empty() && !why.contains('\n'), "{why}");
            assert!(!matches(pattern, b"a"));
        }
        assert!(check(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
        assert_eq!(check(r"[\w-]{1,63}"), Ok(()));
    }

    #[test]
    fn a_reused_slot_forgets_the_expression_before() {
        let mut caches = RegexCaches::default();
        let (old, new) = (Arc::new(Pattern::new(3, "a+")), Arc::new(Pattern::new(3, "b+")));
        for _ in 0..2 {
            assert!(caches.is_match(&old, b"aa") && !caches.is_match(&old, b"bb"));
            assert!(caches.is_match(&new, b"bb") && !caches.is_match(&new, b"aa"));
        }
        drop(new);
        caches.prune();
        assert!(caches.slots.iter().all(Option::is_none));
    }
}
