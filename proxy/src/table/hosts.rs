//! Hostname to value, most specific first: exact, then wildcards from the longest, then every host.
//!
//! Used by [`super::Table`] for its routes and by [`crate::epoch::Port`] for its listeners.
//! Invariant: a lookup hashes the host once and once more for each of its suffixes whose length some
//! wildcard has; it neither allocates nor scans names.

use std::hash::Hasher;
use std::sync::Arc;

use foldhash::fast::FoldHasher;

use super::index::{Hashed, Index, Slot, VACANT};
use crate::ir::Hostname;

/// Kinds of keys.
const EXACT: u32 = 1;
const WILDCARD: u32 = 2;

/// A map from hostnames; `None` among the names is every host.
#[derive(Debug)]
pub(crate) struct Hosts<T> {
    keys: Arc<Keys>,
    /// By slot of the name, so that a lookup reads both at once.
    values: Box<[Option<T>]>,
    /// The value of every host.
    any: Option<T>,
}

/// The names, apart from the values so that epochs with the same names share them.
#[derive(Debug, Default)]
struct Keys {
    index: Index,
    slots: Box<[Key]>,
    /// All names, end to end.
    text: Box<[u8]>,
    names: Box<[Hostname]>,
    lengths: Lengths,
}

/// One name's slot.
#[derive(Debug)]
#[repr(align(16))]
struct Key {
    tag: u32,
    start: u32,
    length: u32,
    /// Position in `names`.
    name: u32,
}

impl Slot for Key {
    #[inline]
    fn tag(&self) -> u32 {
        self.tag
    }
}

/// Which byte lengths the wildcards' suffixes have.
#[derive(Debug, Default)]
struct Lengths([u64; 4]);

impl Lengths {
    fn bit(length: usize) -> (usize, u64) {
        let length = length.min(255);
        (length / 64, 1 << (length % 64))
    }

    fn insert(&mut self, length: usize) {
        let (word, bit) = Self::bit(length);
        self.0[word] |= bit;
    }

    #[inline]
    fn contains(&self, length: usize) -> bool {
        let (word, bit) = Self::bit(length);
        self.0[word] & bit != 0
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

#[inline]
fn hash(text: &[u8], kind: u32, mut hasher: FoldHasher<'_>) -> Hashed {
    hasher.write(text);
    Hashed::new(hasher.finish(), kind)
}

fn parts(name: &Hostname) -> (&[u8], u32) {
    match name {
        Hostname::Exact(name) => (name.as_bytes(), EXACT),
        Hostname::Wildcard(suffix) => (suffix.as_bytes(), WILDCARD),
    }
}

impl Keys {
    fn new(names: Box<[Hostname]>) -> Self {
        let mut lengths = Lengths::default();
        for (text, _) in names.iter().map(parts).filter(|(_, kind)| *kind == WILDCARD) {
            lengths.insert(text.len());
        }
        let (index, placed) = Index::build(names.len(), |name, hasher| {
            let (text, kind) = parts(&names[name as usize]);
            hash(text, kind, hasher)
        });
        let mut all = Vec::new();
        let mut key = |(tag, name): (u32, u32)| {
            let start = all.len();
            if tag != VACANT {
                all.extend_from_slice(parts(&names[name as usize]).0);
            }
            let length = all.len() - start;
            Key { tag, start: start as u32, length: length as u32, name }
        };
        let slots = placed.into_iter().map(&mut key).collect();
        Self { index, slots, text: all.into(), names, lengths }
    }

    #[inline]
    fn slot(&self, text: &[u8], kind: u32) -> Option<usize> {
        let wanted = hash(text, kind, self.index.hasher());
        self.index.find(&self.slots, wanted, |key| {
            let start = key.start as usize;
            self.text[start..start + key.length as usize] == *text
        })
    }

    /// The names by slot.
    fn names(&self) -> impl Iterator<Item = Option<&Hostname>> {
        let name = |key: &Key| (key.tag != VACANT).then(|| &self.names[key.name as usize]);
        self.slots.iter().map(name)
    }
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { keys: Arc::default(), values: Box::default(), any: None }
    }
}

impl<T> Hosts<T> {
    /// Of several entries with one name the first counts.
    pub(crate) fn new(entries: impl IntoIterator<Item = (Option<Hostname>, T)>) -> Self {
        let (mut names, mut values, mut any) = (Vec::new(), Vec::new(), None);
        for (name, value) in entries {
            match name {
                // Of equal names, the first to be laid out is the first to be found.
                Some(name) => {
                    names.push(name);
                    values.push(Some(value));
                }
                None => {
                    any.get_or_insert(value);
                }
            }
        }
        let keys = Keys::new(names.into());
        let mut take =
            |key: &Key| (key.tag != VACANT).then(|| values[key.name as usize].take()).flatten();
        let values = keys.slots.iter().map(&mut take).collect();
        Self { keys: Arc::new(keys), values, any }
    }

    /// The same names, some with another value; `changes` names only names that it has.
    pub(crate) fn with<'n>(
        &self,
        changes: impl IntoIterator<Item = (Option<&'n Hostname>, T)>,
    ) -> Self
    where
        T: Clone,
    {
        let (mut values, mut any) = (self.values.clone(), self.any.clone());
        for (name, value) in changes {
            match name.map(parts) {
                Some((text, kind)) => {
                    if let Some(slot) = self.keys.slot(text, kind) {
                        values[slot] = Some(value);
                    }
                }
                None => any = Some(value),
            }
        }
        Self { keys: Arc::clone(&self.keys), values, any }
    }

    /// Every name with its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Option<&Hostname>, &T)> {
        let pairs = self.keys.names().zip(&self.values);
        let named = pairs.filter_map(|(name, value)| Some((name, value.as_ref()?)));
        named.chain(self.any.as_ref().map(|value| (None, value)))
    }

    /// The value of exactly this name.
    pub(crate) fn get(&self, name: Option<&Hostname>) -> Option<&T> {
        let Some(name) = name else { return self.any.as_ref() };
        let (text, kind) = parts(name);
        self.at(self.keys.slot(text, kind)?)
    }

    #[inline]
    fn at(&self, slot: usize) -> Option<&T> {
        self.values[slot].as_ref()
    }

    /// The first value that `pick` takes, of those whose name covers `host`, most specific first.
    #[inline]
    pub(crate) fn find<'a, R>(
        &'a self,
        host: &[u8],
        mut pick: impl FnMut(&'a T) -> Option<R>,
    ) -> Option<R> {
        let keys = &*self.keys;
        let exact = keys.slot(host, EXACT).and_then(|slot| self.at(slot));
        if let Some(found) = exact.and_then(&mut pick) {
            return Some(found);
        }
        if !keys.lengths.is_empty() {
            // A wildcard stands for one or more labels, so a dot at the very start does not count.
            for dot in memchr::memchr_iter(b'.', host).filter(|&dot| dot > 0) {
                let suffix = &host[dot + 1..];
                if !keys.lengths.contains(suffix.len()) {
                    continue;
                }
                let value = keys.slot(suffix, WILDCARD).and_then(|slot| self.at(slot));
                if let Some(found) = value.and_then(&mut pick) {
                    return Some(found);
                }
            }
        }
        self.any.as_ref().and_then(pick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&'static str]) -> Hosts<&'static str> {
        let parse = |name: &str| match name.strip_prefix("*.") {
            Some(suffix) => Some(Hostname::Wildcard(suffix.into())),
            None if name.is_empty() => None,
            None => Some(Hostname::Exact(name.into())),
        };
        Hosts::new(names.iter().map(|&name| (parse(name), name)))
    }

    fn all(hosts: &Hosts<&'static str>, host: &str) -> Vec<&'static str> {
        let mut seen = Vec::new();
        let none = hosts.find(host.as_bytes(), |&name| {
            seen.push(name);
            None::<()>
        });
        assert!(none.is_none());
        seen
    }

    #[test]
    fn exact_comes_before_the_longest_wildcard_before_every_host() {
        let hosts = hosts(&["", "*.com", "*.example.com", "a.example.com", "b.example.com"]);
        let expected = ["a.example.com", "*.example.com", "*.com", ""];
        assert_eq!(all(&hosts, "a.example.com"), expected);
        assert_eq!(all(&hosts, "x.y.example.com"), ["*.example.com", "*.com", ""]);
        assert_eq!(all(&hosts, "example.com"), ["*.com", ""]);
        assert_eq!(all(&hosts, "com"), [""]);
        assert_eq!(all(&hosts, ""), [""]);
    }

    #[test]
    fn a_wildcard_needs_a_whole_label_before_it() {
        let hosts = hosts(&["*.example.com"]);
        for host in ["example.com", ".example.com", "badexample.com", "example.com.evil"] {
            assert!(all(&hosts, host).is_empty(), "{host}");
        }
    }

    #[test]
    fn a_name_as_long_as_dns_allows_and_longer_is_found() {
        for length in [250, 255, 256, 400] {
            let suffix = "a".repeat(length);
            let hosts = Hosts::new(vec![(Some(Hostname::Wildcard(suffix.as_str().into())), 7)]);
            assert_eq!(hosts.find(format!("x.{suffix}").as_bytes(), |&v| Some(v)), Some(7));
            assert_eq!(hosts.find(format!("x.{suffix}a").as_bytes(), |&v| Some(v)), None);
        }
    }
}
