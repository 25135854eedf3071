//! The routes of one hostname: exact paths and prefixes in one hash table, regular expressions in a
//! list; each with its candidates in order of precedence.
//!
//! Compiled by its own `build`, read by [`super::Table::find`], shared by `Arc` between epochs.
//! Invariant: the first candidate found is the one that the API's precedence names. Cost: one probe
//! for the exact path and one for each of the path's first segments whose number some prefix has (none
//! depends on what another found, so their memory is read at once), plus the candidates tried; many
//! matches that differ only by headers on one path are tried one after the other.

mod build;

use std::hash::Hasher;
use std::sync::Arc;

use foldhash::fast::FoldHasher;

use super::conditions::Conditions;
use super::index::{Hashed, Index, Slot};
use super::regex::{Pattern, RegexCaches};
use super::{Hit, Rule};
use crate::http::RequestHead;

/// Kinds of keys.
const EXACT: u32 = 1;
const PREFIX: u32 = 2;
/// The parent of a prefix that only `/` is shorter than.
const ROOT: u32 = u32::MAX;
/// Ends a text; no byte of UTF-8 is like it.
const END: u8 = 0xff;

/// One hostname's routes.
#[derive(Debug)]
pub(crate) struct Host {
    index: Index,
    entries: Entries,
    /// By slot, for entries that depend on conditions; empty if none does.
    dependent: Box<[Dependent]>,
    /// Exact paths and prefixes, each with [`END`] behind it.
    text: Box<[u8]>,
    depths: Depths,
    exact: bool,
    /// The prefix `/`.
    root: Leaf,
    /// Expressions are tried before it, as they are of gRPC.
    root_is_last: bool,
    candidates: Box<[Candidate]>,
    regexes: Box<[Expression]>,
}

/// The slots; many hosts have one path, which needs no memory of its own.
#[derive(Debug)]
enum Entries {
    One(Entry),
    Many(Box<[Entry]>),
}

/// An exact path or a prefix: just what it takes to accept it, so that many fit in a cache.
#[derive(Debug)]
#[repr(align(16))]
struct Entry {
    tag: u32,
    /// Where its text starts.
    start: u32,
    /// As in its leaf.
    always: Option<Arc<Rule>>,
}

/// What to try where nothing holds always.
#[derive(Clone, Copy, Debug)]
struct Dependent {
    /// The slot of the next shorter prefix, or [`ROOT`].
    parent: u32,
    candidates: Range,
}

/// What to try for one path.
#[derive(Debug, Default)]
struct Leaf {
    /// The first candidate if it holds always, as most do.
    always: Option<Arc<Rule>>,
    /// Else all of them.
    candidates: Range,
}

/// A range.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    start: u32,
    end: u32,
}

/// Which numbers of segments prefixes have: bit `n` stands for `n + 1`, the last for all above too.
#[derive(Clone, Copy, Debug, Default)]
struct Depths(i64);

#[derive(Debug)]
struct Expression {
    pattern: Arc<Pattern>,
    candidate: Candidate,
}

#[derive(Clone, Debug)]
struct Candidate {
    rule: Arc<Rule>,
    /// `None` holds always.
    conditions: Option<Arc<Conditions>>,
}

impl Slot for Entry {
    #[inline]
    fn tag(&self) -> u32 {
        self.tag
    }
}

impl Entries {
    #[inline]
    fn all(&self) -> &[Entry] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }
}

impl Range {
    #[inline]
    fn of<T>(self, all: &[T]) -> &[T] {
        &all[self.start as usize..self.end as usize]
    }
}

impl Depths {
    fn insert(&mut self, segments: usize) {
        self.0 |= 1 << (segments.clamp(1, 64) - 1);
    }

    /// Whether one prefix may begin with another.
    fn nest(self) -> bool {
        self.0 < 0 || self.0.count_ones() > 1
    }

    /// Calls `each` with the hash and the end of every piece of `path` that has as many segments as
    /// some prefix, from the shortest. A hash continues the one before, so that no byte is hashed twice.
    #[inline]
    fn walk(mut self, path: &[u8], mut hasher: FoldHasher<'_>, mut each: impl FnMut(u64, usize)) {
        if path.first() != Some(&b'/') {
            return;
        }
        let (mut hashed, mut end) = (1, 0);
        while self.0 != 0 && end < path.len() {
            let rest = &path[end + 1..];
            end += 1 + memchr::memchr(b'/', rest).unwrap_or(rest.len());
            if self.0 & 1 != 0 {
                hasher.write(&path[hashed..end]);
                hashed = end;
                each(hasher.finish(), end);
            }
            // The last bit stays, as the shift repeats it.
            self.0 >>= 1;
        }
    }
}

impl Candidate {
    #[inline]
    fn holds(&self, head: &RequestHead, caches: &mut RegexCaches) -> bool {
        self.conditions.as_ref().is_none_or(|conditions| conditions.hold(head, caches))
    }
}

impl Host {
    /// The winning rule for `head` on this hostname.
    #[inline]
    pub(super) fn find(&self, head: &RequestHead, caches: &mut RegexCaches) -> Option<Hit<'_>> {
        let path = head.path.of(&head.arena);
        if let Some(rule) = self.find_exact(path, head, caches) {
            return Some(Hit { rule, prefix: path.len() });
        }
        if let Some(hit) = self.find_prefix(path, head, caches) {
            return Some(hit);
        }
        if !self.root_is_last
            && let Some(hit) = self.find_root(head, caches)
        {
            return Some(hit);
        }
        let mut all = self.regexes.iter();
        let found = all.find(|expression| {
            expression.candidate.holds(head, caches) && caches.is_match(&expression.pattern, path)
        });
        match found {
            Some(found) => Some(Hit { rule: &found.candidate.rule, prefix: path.len() }),
            None if self.root_is_last => self.find_root(head, caches),
            None => None,
        }
    }

    /// What matches every path.
    #[inline]
    fn find_root(&self, head: &RequestHead, caches: &mut RegexCaches) -> Option<Hit<'_>> {
        let rule = match &self.root.always {
            Some(rule) => rule,
            None => self.first(self.root.candidates, head, caches)?,
        };
        Some(Hit { rule, prefix: 0 })
    }

    #[inline]
    fn find_exact(
        &self,
        path: &[u8],
        head: &RequestHead,
        caches: &mut RegexCaches,
    ) -> Option<&Rule> {
        if !self.exact {
            return None;
        }
        let slot = self.slot(hash_exact(path, self.index.hasher()), path)?;
        self.rule_of(slot, head, caches)
    }

    /// From the longest prefix of the path to the shortest, until a candidate holds.
    #[inline]
    fn find_prefix(
        &self,
        path: &[u8],
        head: &RequestHead,
        caches: &mut RegexCaches,
    ) -> Option<Hit<'_>> {
        let (mut slot, mut prefix) = self.deepest(path);
        while slot != ROOT {
            if let Some(rule) = self.rule_of(slot as usize, head, caches) {
                return Some(Hit { rule, prefix });
            }
            slot = self.dependent[slot as usize].parent;
            prefix = self.entries.all().get(slot as usize).map_or(0, |next| self.text(next).len());
        }
        None
    }

    /// The slot of the longest prefix of `path`, or [`ROOT`], and its length.
    #[inline]
    fn deepest(&self, path: &[u8]) -> (u32, usize) {
        let mut found = (ROOT, 0);
        self.depths.walk(path, self.index.hasher(), |hash, end| {
            if let Some(slot) = self.slot(Hashed::new(hash, PREFIX), &path[..end]) {
                found = (slot as u32, end);
            }
        });
        found
    }

    #[inline]
    fn slot(&self, wanted: Hashed, text: &[u8]) -> Option<usize> {
        let equal = |entry: &Entry| {
            let rest = self.text[entry.start as usize..].strip_prefix(text);
            rest.is_some_and(|rest| rest.first() == Some(&END))
        };
        self.index.find(self.entries.all(), wanted, equal)
    }

    fn text(&self, entry: &Entry) -> &[u8] {
        let rest = &self.text[entry.start as usize..];
        &rest[..memchr::memchr(END, rest).unwrap_or(rest.len())]
    }

    #[inline]
    fn rule_of(&self, slot: usize, head: &RequestHead, caches: &mut RegexCaches) -> Option<&Rule> {
        match &self.entries.all()[slot].always {
            Some(rule) => Some(rule),
            None => self.first(self.dependent[slot].candidates, head, caches),
        }
    }

    fn first(&self, range: Range, head: &RequestHead, caches: &mut RegexCaches) -> Option<&Rule> {
        let mut candidates = range.of(&self.candidates).iter();
        candidates.find(|candidate| candidate.holds(head, caches)).map(|found| &*found.rule)
    }
}

#[inline]
fn hash_exact(path: &[u8], mut hasher: FoldHasher<'_>) -> Hashed {
    hasher.write(path);
    Hashed::new(hasher.finish(), EXACT)
}

fn hash_prefix(prefix: &[u8], depths: Depths, hasher: FoldHasher<'_>) -> Hashed {
    let mut last = 0;
    depths.walk(prefix, hasher, |hash, _| last = hash);
    Hashed::new(last, PREFIX)
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use foldhash::fast::FixedState;

    use super::*;

    fn pieces(depths: Depths, path: &str) -> Vec<(u64, usize)> {
        let mut seen = Vec::new();
        depths.walk(path.as_bytes(), FixedState::default().build_hasher(), |hash, end| {
            seen.push((hash, end));
        });
        seen
    }

    #[test]
    fn a_path_is_cut_where_some_prefix_may_end() {
        let mut depths = Depths::default();
        assert!(pieces(depths, "/a/b").is_empty());
        depths.insert(1);
        depths.insert(3);
        let ends = |path: &str| pieces(depths, path).iter().map(|piece| piece.1).collect();
        for (path, expected) in [
            ("/a/bc/d/e/f", vec![2, 7]),
            ("/a/bc", vec![2]),
            ("/a/", vec![2]),
            ("//b/c", vec![1, 5]),
            ("/", vec![1]),
            ("*", vec![]),
            ("", vec![]),
        ] {
            let found: Vec<usize> = ends(path);
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_prefix_hashes_the_same_at_the_start_of_a_longer_path_however_deep() {
        let mut depths = Depths::default();
        for segments in [2, 63, 64, 65, 200] {
            depths.insert(segments);
        }
        for segments in [2, 63, 64, 65, 200] {
            let prefix = "/ab".repeat(segments);
            let alone = pieces(depths, &prefix).pop();
            let longer = pieces(depths, &format!("{prefix}/x/y/z"));
            assert!(alone.is_some_and(|alone| alone.1 == prefix.len() && longer.contains(&alone)));
        }
    }
}
