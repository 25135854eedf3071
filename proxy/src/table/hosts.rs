//! Hostname to value, most specific first: exact, then wildcards from the longest, then every host.
//!
//! Used by [`super::Table`] for its routes and by [`crate::epoch::Port`] for its listeners.
//! Invariant: a lookup hashes the host once and once more for each of its suffixes whose length some
//! wildcard has; it neither allocates nor scans names.

use std::hash::Hasher;
use std::sync::Arc;

use super::index::Index;
use crate::ir::Hostname;

/// A map from hostnames; `None` among the names is every host.
#[derive(Debug)]
pub(crate) struct Hosts<T> {
    keys: Arc<Keys>,
    values: Box<[T]>,
}

/// The names, apart from the values so that epochs with the same names share them.
#[derive(Debug, Default)]
struct Keys {
    /// Exact names, then wildcards, then perhaps every host; as the values are.
    names: Box<[Option<Hostname>]>,
    exact: Option<Index>,
    wildcards: Option<Index>,
    wildcards_from: u32,
    any: Option<u32>,
    lengths: Lengths,
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
}

fn text(name: Option<&Hostname>) -> &[u8] {
    match name {
        Some(Hostname::Exact(name) | Hostname::Wildcard(name)) => name.as_bytes(),
        None => b"",
    }
}

fn kind(name: Option<&Hostname>) -> u8 {
    match name {
        Some(Hostname::Exact(_)) => 0,
        Some(Hostname::Wildcard(_)) => 1,
        None => 2,
    }
}

impl Keys {
    fn new(names: Box<[Option<Hostname>]>) -> Self {
        let exact = names.partition_point(|name| kind(name.as_ref()) == 0);
        let named = names.partition_point(|name| kind(name.as_ref()) < 2);
        let mut lengths = Lengths::default();
        for name in &names[exact..named] {
            lengths.insert(text(name.as_ref()).len());
        }
        let index = |from: usize, to: usize| {
            (to > from).then(|| {
                Index::build(to - from, |at, hasher| {
                    hasher.write(text(names[from + at as usize].as_ref()));
                })
            })
        };
        let (exact_index, wildcards) = (index(0, exact), index(exact, named));
        Self {
            exact: exact_index,
            wildcards,
            wildcards_from: exact as u32,
            any: (named < names.len()).then_some(named as u32),
            lengths,
            names,
        }
    }

    fn exact(&self, host: &[u8]) -> Option<u32> {
        let index = self.exact.as_ref()?;
        index.find(|h| h.write(host), |at| text(self.names[at as usize].as_ref()) == host)
    }

    fn wildcard(&self, suffix: &[u8]) -> Option<u32> {
        if !self.lengths.contains(suffix.len()) {
            return None;
        }
        let from = self.wildcards_from;
        let same = |at: u32| text(self.names[(from + at) as usize].as_ref()) == suffix;
        Some(from + self.wildcards.as_ref()?.find(|h| h.write(suffix), same)?)
    }
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { keys: Arc::default(), values: Box::default() }
    }
}

impl<T> Hosts<T> {
    /// Of several entries with one name the first counts.
    pub(crate) fn new(mut entries: Vec<(Option<Hostname>, T)>) -> Self {
        entries.sort_by(|(a, _), (b, _)| {
            (kind(a.as_ref()), text(a.as_ref())).cmp(&(kind(b.as_ref()), text(b.as_ref())))
        });
        entries.dedup_by(|(later, _), (first, _)| later == first);
        let (names, values): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        Self { keys: Arc::new(Keys::new(names.into())), values: values.into() }
    }

    /// The same names with other values, made from each name and its value.
    pub(crate) fn map(&self, mut value: impl FnMut(Option<&Hostname>, &T) -> T) -> Self {
        let pairs = self.keys.names.iter().zip(&self.values);
        let values = pairs.map(|(name, old)| value(name.as_ref(), old)).collect();
        Self { keys: Arc::clone(&self.keys), values }
    }

    /// Every name with its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Option<&Hostname>, &T)> {
        self.keys.names.iter().map(Option::as_ref).zip(&self.values)
    }

    /// The value of exactly this name.
    pub(crate) fn get(&self, name: Option<&Hostname>) -> Option<&T> {
        let at = match name {
            Some(Hostname::Exact(name)) => self.keys.exact(name.as_bytes()),
            Some(Hostname::Wildcard(suffix)) => self.keys.wildcard(suffix.as_bytes()),
            None => self.keys.any,
        };
        at.map(|at| &self.values[at as usize])
    }

    /// The first value that `pick` takes, of those whose name covers `host`, most specific first.
    #[inline]
    pub(crate) fn find<'a, R>(
        &'a self,
        host: &[u8],
        mut pick: impl FnMut(&'a T) -> Option<R>,
    ) -> Option<R> {
        let keys = &*self.keys;
        if let Some(found) = keys.exact(host).and_then(|at| pick(&self.values[at as usize])) {
            return Some(found);
        }
        if keys.wildcards.is_some() {
            // A wildcard stands for one or more labels, so a dot at the very start does not count.
            for dot in memchr::memchr_iter(b'.', host).filter(|&dot| dot > 0) {
                let at = keys.wildcard(&host[dot + 1..]);
                if let Some(found) = at.and_then(|at| pick(&self.values[at as usize])) {
                    return Some(found);
                }
            }
        }
        keys.any.and_then(|at| pick(&self.values[at as usize]))
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
        Hosts::new(names.iter().map(|&name| (parse(name), name)).collect())
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
