//! A frozen hash index: built once per epoch, then only probed.
//!
//! It maps a hash to the positions of keys that its owner keeps, so that a key may be a composite
//! (a trie node and a path segment) and is never allocated for a lookup. Used by `hosts` and `host`.
//!
//! The seed is fixed. That is safe for keys that clients choose, because a lookup stores nothing: it
//! walks a run of occupied slots whose length the configuration alone decides and which ends at
//! [`RUN_MAX`] (a build that exceeds it is repeated with another seed). A client can at best hit the
//! longest run, again and again at the same small price.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

/// Up to this many keys are compared one by one.
const SCAN_MAX: usize = 4;
/// Longest run of occupied slots that a seed may produce.
const RUN_MAX: usize = 64;
/// Seeds tried before the best effort is kept.
const SEEDS_MAX: u64 = 8;

/// Positions of `len` keys by hash.
#[derive(Debug)]
pub(super) struct Index {
    /// Upper half: upper half of the hash. Lower half: position + 1; 0 is vacant.
    slots: Box<[u64]>,
    seed: u64,
    len: u32,
}

impl Index {
    /// Indexes `len` different keys; `hash` feeds the key at a position to a hasher.
    pub(super) fn build(len: usize, hash: impl Fn(u32, &mut dyn Hasher)) -> Self {
        let len = u32::try_from(len).expect("fewer than 2^32 keys fit in memory");
        if len as usize <= SCAN_MAX {
            return Self { slots: Box::default(), seed: 0, len };
        }
        let mut seed = 0;
        loop {
            let (slots, run) = fill(len, seed, &hash);
            if run <= RUN_MAX || seed + 1 == SEEDS_MAX {
                return Self { slots, seed, len };
            }
            seed += 1;
        }
    }

    /// The position whose key `equal` confirms; `feed` feeds the wanted key to a hasher.
    #[inline]
    pub(super) fn find(
        &self,
        feed: impl FnOnce(&mut foldhash::quality::FoldHasher<'_>),
        mut equal: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        if self.slots.is_empty() {
            return (0..self.len).find(|&position| equal(position));
        }
        let state = FixedState::with_seed(self.seed);
        let mut hasher = state.build_hasher();
        feed(&mut hasher);
        let hash = hasher.finish();
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            let position = slot as u32 - 1;
            if slot >> 32 == hash >> 32 && equal(position) {
                return Some(position);
            }
            at = (at + 1) & mask;
        }
    }
}

/// Slots at most half full, and the longest probe that an insertion needed.
fn fill(len: u32, seed: u64, hash: &impl Fn(u32, &mut dyn Hasher)) -> (Box<[u64]>, usize) {
    let size = (len as usize * 2).next_power_of_two();
    let mut slots = vec![0_u64; size].into_boxed_slice();
    let state = FixedState::with_seed(seed);
    let mut longest = 0;
    for position in 0..len {
        let mut hasher = state.build_hasher();
        hash(position, &mut hasher);
        let hash = hasher.finish();
        let mut at = hash as usize & (size - 1);
        let mut run = 1;
        while slots[at] != 0 {
            at = (at + 1) & (size - 1);
            run += 1;
        }
        slots[at] = (hash >> 32 << 32) | u64::from(position + 1);
        longest = longest.max(run);
    }
    (slots, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        for len in [0, 1, SCAN_MAX, SCAN_MAX + 1, 1_000] {
            let keys: Vec<String> = (0..len).map(|n| format!("key-{n}")).collect();
            let index = Index::build(len, |at, hasher| hasher.write(keys[at as usize].as_bytes()));
            let find =
                |key: &str| index.find(|h| h.write(key.as_bytes()), |at| keys[at as usize] == key);
            for (at, key) in keys.iter().enumerate() {
                assert_eq!(find(key), Some(at as u32));
            }
            assert_eq!(find("key-x"), None);
        }
    }
}
