//! From a hostname's routes to its [`Host`].
//!
//! Called by `part` for every hostname whose routes changed. Invariant: candidates of one path are
//! in the API's order of precedence, which is the order of the routes where ranks are equal.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::{
    Candidate, Dependent, Depths, END, Entries, Entry, Expression, Host, Leaf, ROOT, Range,
    hash_exact, hash_prefix,
};
use crate::ir::PathMatch;
use crate::table::conditions::Rank;
use crate::table::index::{Index, VACANT};
use crate::table::regex::Pattern;
use crate::table::route::CompiledRoute;

/// A path's candidates while a host is built, in the order of their routes.
type Choices = SmallVec<[(Rank, Candidate); 1]>;

/// An exact path as written, or a prefix without slashes around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key<'r> {
    Exact(&'r str),
    Prefix(&'r str),
}

/// Builds a [`Host`].
#[derive(Default)]
struct Builder<'r> {
    numbers: HashMap<Key<'r>, u32, FixedState>,
    paths: Vec<(Key<'r>, Choices)>,
    root: Choices,
    regexes: Vec<(Rank, Expression)>,
    text: Vec<u8>,
    candidates: Vec<Candidate>,
}

impl Host {
    /// Compiles the routes of one hostname, given in order of precedence.
    pub(in crate::table) fn new<'r>(routes: impl IntoIterator<Item = &'r CompiledRoute>) -> Self {
        let routes = routes.into_iter();
        let mut builder = Builder::default();
        builder.numbers.reserve(routes.size_hint().0);
        builder.paths.reserve(routes.size_hint().0);
        for route in routes {
            for found in route.matches() {
                builder.add(
                    found.path,
                    found.rank,
                    found.pattern,
                    Candidate {
                        rule: Arc::clone(found.rule),
                        conditions: found.conditions.cloned(),
                    },
                );
            }
        }
        builder.finish()
    }
}

impl<'r> Builder<'r> {
    fn add(
        &mut self,
        path: &'r PathMatch,
        rank: Rank,
        pattern: Option<&Arc<Pattern>>,
        candidate: Candidate,
    ) {
        let key = match path {
            PathMatch::Exact(path) => Key::Exact(path),
            PathMatch::Prefix(prefix) => {
                let text = prefix.trim_end_matches('/');
                if text.is_empty() {
                    self.root.push((rank, candidate));
                    return;
                }
                Key::Prefix(text.strip_prefix('/').unwrap_or(text))
            }
            PathMatch::Regex(_) => {
                if let Some(pattern) = pattern {
                    let pattern = Arc::clone(pattern);
                    self.regexes.push((rank, Expression { pattern, candidate }));
                }
                return;
            }
        };
        let next = self.paths.len() as u32;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.paths.push((key, Choices::new()));
        }
        self.paths[number as usize].1.push((rank, candidate));
    }

    fn finish(mut self) -> Host {
        let mut paths = std::mem::take(&mut self.paths);
        let mut depths = Depths::default();
        let mut exact = false;
        let mut texts = Vec::with_capacity(paths.len());
        for (key, _) in &paths {
            texts.push(self.push_text(*key));
            match key {
                Key::Exact(_) => exact = true,
                Key::Prefix(relative) => depths.insert(relative.split('/').count()),
            }
        }
        let (index, placed) = Index::build(paths.len(), |number, hasher| {
            let text = texts[number as usize].of(&self.text);
            match paths[number as usize].0 {
                Key::Exact(_) => hash_exact(text, hasher),
                Key::Prefix(_) => hash_prefix(text, depths, hasher),
            }
        });
        let mut entries = Vec::with_capacity(placed.len());
        let mut dependent = Vec::new();
        for (slot, (tag, number)) in placed.into_iter().enumerate() {
            let mut entry = Entry { tag, start: 0, always: None };
            if tag != VACANT {
                let leaf = self.seal(std::mem::take(&mut paths[number as usize].1));
                entry.start = texts[number as usize].start;
                if leaf.always.is_none() {
                    let vacant = Dependent { parent: ROOT, candidates: Range::default() };
                    dependent.resize(slot, vacant);
                    dependent.push(Dependent { candidates: leaf.candidates, ..vacant });
                }
                entry.always = leaf.always;
            }
            entries.push(entry);
        }
        let root = std::mem::take(&mut self.root);
        // Expressions of gRPC name a method, which goes before whatever matches all calls.
        let root_is_last =
            !self.regexes.is_empty() && root.iter().all(|(_, candidate)| candidate.rule.grpc);
        let root = self.seal(root);
        self.regexes.sort_by_key(|(rank, _)| *rank);
        let entries = match <[Entry; 1]>::try_from(entries) {
            Ok([entry]) => Entries::One(entry),
            Err(entries) => Entries::Many(entries.into()),
        };
        let mut host = Host {
            index,
            entries,
            dependent: dependent.into(),
            text: self.text.into(),
            depths,
            exact,
            root,
            root_is_last,
            candidates: self.candidates.into(),
            regexes: self.regexes.into_iter().map(|(_, expression)| expression).collect(),
        };
        host.link();
        host
    }

    fn push_text(&mut self, key: Key<'_>) -> Range {
        let start = self.text.len() as u32;
        match key {
            Key::Exact(path) => self.text.extend_from_slice(path.as_bytes()),
            Key::Prefix(relative) => {
                self.text.push(b'/');
                self.text.extend_from_slice(relative.as_bytes());
            }
        }
        let end = self.text.len() as u32;
        self.text.push(END);
        Range { start, end }
    }

    /// Orders a leaf; behind a candidate that holds always, none is ever tried.
    fn seal(&mut self, mut choices: Choices) -> Leaf {
        choices.sort_by_key(|(rank, _)| *rank);
        if choices.first().is_some_and(|(_, first)| first.conditions.is_none()) {
            let always = choices.into_iter().next().map(|(_, first)| first.rule);
            return Leaf { always, candidates: Range::default() };
        }
        let start = self.candidates.len() as u32;
        for (_, candidate) in choices {
            let always = candidate.conditions.is_none();
            self.candidates.push(candidate);
            if always {
                break;
            }
        }
        Leaf { always: None, candidates: Range { start, end: self.candidates.len() as u32 } }
    }
}

impl Host {
    /// Tells each prefix that depends on conditions which one is the next shorter.
    fn link(&mut self) {
        if !self.depths.nest() {
            return;
        }
        let mut dependent = std::mem::take(&mut self.dependent);
        for (entry, dependent) in self.entries.all().iter().zip(&mut dependent) {
            if entry.tag != VACANT && entry.always.is_none() {
                let text = self.text(entry);
                let shorter = memchr::memrchr(b'/', text).unwrap_or(0);
                dependent.parent = self.deepest(&text[..shorter]).0;
            }
        }
        self.dependent = dependent;
    }
}
