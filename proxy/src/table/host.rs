//! The routes of one hostname: exact paths in a hash index, prefixes in a trie of path segments,
//! regular expressions in a list; each with its candidates in order of precedence.
//!
//! Built by `build`, read by [`super::Table::find`], shared by `Arc` between epochs. Invariant: the
//! first candidate found is the one that the API's precedence names. Cost: one probe for the exact
//! path and one per path segment down to the deepest prefix, plus the candidates tried; many matches
//! that differ only by headers on one path are tried one after the other.

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use super::conditions::{Conditions, Rank};
use super::index::Index;
use super::regex::{Pattern, RegexCaches};
use super::route::CompiledRoute;
use super::{Hit, Rule};
use crate::http::RequestHead;
use crate::ir::PathMatch;

/// One hostname's routes.
#[derive(Debug)]
pub(crate) struct Host {
    /// Exact paths and prefix segments, end to end.
    text: Box<str>,
    exact: Index,
    exact_paths: Box<[Exact]>,
    /// Trie edges by parent and segment; edge `n` leads to node `n + 1`.
    edges: Index,
    /// Node 0 is the root: the prefix `/`.
    nodes: Box<[Node]>,
    regexes: Box<[Expression]>,
    candidates: Box<[Candidate]>,
}

/// A range.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    start: u32,
    end: u32,
}

#[derive(Debug)]
struct Exact {
    path: Range,
    candidates: Range,
}

#[derive(Debug, Default)]
struct Node {
    parent: u32,
    segment: Range,
    /// Bytes of the prefix without a trailing slash.
    length: u32,
    candidates: Range,
}

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

impl Range {
    fn of<T>(self, all: &[T]) -> &[T] {
        &all[self.start as usize..self.end as usize]
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
    pub(super) fn find(&self, head: &RequestHead, caches: &mut RegexCaches) -> Option<Hit<'_>> {
        let path = head.path.of(&head.arena);
        if let Some(rule) = self.find_exact(path, head, caches) {
            return Some(Hit { rule, prefix: path.len() });
        }
        if let Some(hit) = self.find_prefix(path, head, caches) {
            return Some(hit);
        }
        let mut all = self.regexes.iter();
        let found = all.find(|expression| {
            expression.candidate.holds(head, caches) && caches.is_match(&expression.pattern, path)
        })?;
        Some(Hit { rule: &found.candidate.rule, prefix: path.len() })
    }

    fn find_exact(
        &self,
        path: &[u8],
        head: &RequestHead,
        caches: &mut RegexCaches,
    ) -> Option<&Rule> {
        let at = self.exact.find(
            |hasher| hasher.write(path),
            |at| self.exact_paths[at as usize].path.of(self.text.as_bytes()) == path,
        )?;
        self.first(self.exact_paths[at as usize].candidates, head, caches)
    }

    /// Down to the deepest node that the path reaches, then up until a candidate holds.
    fn find_prefix(
        &self,
        path: &[u8],
        head: &RequestHead,
        caches: &mut RegexCaches,
    ) -> Option<Hit<'_>> {
        let mut at = self.deepest(path);
        loop {
            let node = &self.nodes[at as usize];
            if let Some(rule) = self.first(node.candidates, head, caches) {
                return Some(Hit { rule, prefix: node.length as usize });
            }
            if at == 0 {
                return None;
            }
            at = node.parent;
        }
    }

    fn deepest(&self, path: &[u8]) -> u32 {
        let mut node = 0;
        let mut rest = path;
        while let Some((b'/', tail)) = rest.split_first() {
            let end = memchr::memchr(b'/', tail).unwrap_or(tail.len());
            let Some(child) = self.child(node, &tail[..end]) else { break };
            node = child;
            rest = &tail[end..];
        }
        node
    }

    #[inline]
    fn child(&self, parent: u32, segment: &[u8]) -> Option<u32> {
        let edge = self.edges.find(
            |hasher| hash_edge(parent, segment, hasher),
            |edge| {
                let node = &self.nodes[edge as usize + 1];
                node.parent == parent && node.segment.of(self.text.as_bytes()) == segment
            },
        )?;
        Some(edge + 1)
    }

    #[inline]
    fn first(&self, range: Range, head: &RequestHead, caches: &mut RegexCaches) -> Option<&Rule> {
        let mut candidates = range.of(&self.candidates).iter();
        candidates.find(|candidate| candidate.holds(head, caches)).map(|found| &*found.rule)
    }
}

fn hash_edge(parent: u32, segment: &[u8], hasher: &mut (impl Hasher + ?Sized)) {
    hasher.write(segment);
    hasher.write_u32(parent);
}

/// A path's candidates while a host is built, in the order of their routes.
type Leaf = Vec<(Rank, Candidate)>;

/// Builds a [`Host`].
#[derive(Default)]
struct Builder<'r> {
    exact: HashMap<&'r str, usize, foldhash::fast::FixedState>,
    exact_leaves: Vec<(&'r str, Leaf)>,
    edges: HashMap<(u32, &'r str), u32, foldhash::fast::FixedState>,
    nodes: Vec<(Node, &'r str, Leaf)>,
    regexes: Vec<(Rank, Expression)>,
    candidates: Vec<Candidate>,
    text: String,
}

impl Host {
    /// Compiles the routes of one hostname, given in order of precedence.
    pub(super) fn new<'r>(routes: impl IntoIterator<Item = &'r CompiledRoute>) -> Self {
        let mut builder = Builder::default();
        builder.nodes.push((Node::default(), "", Leaf::new()));
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
        match path {
            PathMatch::Exact(path) => {
                let next = self.exact_leaves.len();
                let at = *self.exact.entry(path).or_insert(next);
                if at == next {
                    self.exact_leaves.push((path, Leaf::new()));
                }
                self.exact_leaves[at].1.push((rank, candidate));
            }
            PathMatch::Prefix(prefix) => {
                let node = self.node(prefix.trim_end_matches('/'));
                self.nodes[node as usize].2.push((rank, candidate));
            }
            PathMatch::Regex(_) => {
                if let Some(pattern) = pattern {
                    let pattern = Arc::clone(pattern);
                    self.regexes.push((rank, Expression { pattern, candidate }));
                }
            }
        }
    }

    /// The node of `prefix`, which has no trailing slash.
    fn node(&mut self, prefix: &'r str) -> u32 {
        let mut node = 0;
        if prefix.is_empty() {
            return node;
        }
        let relative = prefix.strip_prefix('/').unwrap_or(prefix);
        let mut length = 1;
        for segment in relative.split('/') {
            length += segment.len();
            let next = self.nodes.len() as u32;
            let child = *self.edges.entry((node, segment)).or_insert(next);
            if child == next {
                let new = Node { parent: node, length: length as u32, ..Node::default() };
                self.nodes.push((new, segment, Leaf::new()));
            }
            node = child;
            length += 1;
        }
        node
    }

    fn finish(mut self) -> Host {
        let exact_paths: Box<[Exact]> = std::mem::take(&mut self.exact_leaves)
            .into_iter()
            .map(|(path, leaf)| Exact { path: self.push_text(path), candidates: self.seal(leaf) })
            .collect();
        let nodes: Box<[Node]> = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|(node, segment, leaf)| Node {
                segment: self.push_text(segment),
                candidates: self.seal(leaf),
                ..node
            })
            .collect();
        self.regexes.sort_by_key(|(rank, _)| *rank);
        let text = self.text.into_boxed_str();
        let bytes = text.as_bytes();
        Host {
            exact: Index::build(exact_paths.len(), |at, hasher| {
                hasher.write(exact_paths[at as usize].path.of(bytes));
            }),
            edges: Index::build(nodes.len() - 1, |edge, hasher| {
                let node = &nodes[edge as usize + 1];
                hash_edge(node.parent, node.segment.of(bytes), hasher);
            }),
            exact_paths,
            nodes,
            regexes: self.regexes.into_iter().map(|(_, expression)| expression).collect(),
            candidates: self.candidates.into(),
            text,
        }
    }

    fn push_text(&mut self, text: &str) -> Range {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Range { start, end: self.text.len() as u32 }
    }

    /// Orders a leaf; behind a candidate that holds always, none is ever tried.
    fn seal(&mut self, mut leaf: Leaf) -> Range {
        leaf.sort_by_key(|(rank, _)| *rank);
        let start = self.candidates.len() as u32;
        for (_, candidate) in leaf {
            let always = candidate.conditions.is_none();
            self.candidates.push(candidate);
            if always {
                break;
            }
        }
        Range { start, end: self.candidates.len() as u32 }
    }
}
