//! Where a key lies in a frozen hash table: built once per epoch, then only probed.
//!
//! The owner keeps the slots and lays out in them what a lookup needs next, so that the hash alone
//! says which memory to read. Used by `hosts` and `host`.
//!
//! The seed is fixed. That is safe for keys that clients choose, because a lookup stores nothing: it
//! walks a run of occupied slots whose length the configuration alone decides and which ends at
//! [`RUN_MAX`] (a build that exceeds it is repeated with another seed). A client can at best hit the
//! longest run, again and again at the same small price.

use std::hash::BuildHasher;

use foldhash::fast::{FixedState, FoldHasher};

/// Up to this many keys are laid out without gaps.
const SCAN_MAX: usize = 4;
/// Longest run of occupied slots that a seed may produce.
const RUN_MAX: usize = 64;
/// Seeds tried before the best effort is kept.
const SEEDS_MAX: u64 = 8;
/// Low bits of a tag that tell kinds of keys apart.
const KIND_BITS: u32 = 0b11;

/// A vacant slot's tag.
pub(super) const VACANT: u32 = 0;

/// Positions of keys by hash.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    state: FixedState,
    /// How many slots a hash may choose between; runs may reach beyond.
    size: u32,
}

/// What owners keep per slot.
pub(super) trait Slot {
    /// The tag of the key that lies here, or [`VACANT`].
    fn tag(&self) -> u32;
}

/// A key's hash: where its run starts, and what tells it from most others there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed {
    home: u32,
    tag: u32,
}

/// A slot as [`Index::build`] fills it: the tag, and the key's number if it is not [`VACANT`].
pub(super) type Placed = (u32, u32);

impl Hashed {
    /// `kind` is 1 to 3; keys of different kinds are never equal.
    #[inline]
    pub(super) fn new(hash: u64, kind: u32) -> Self {
        Self { home: (hash >> 32) as u32, tag: (hash as u32 & !KIND_BITS) | kind }
    }
}

impl Index {
    /// Lays out `len` different keys.
    pub(super) fn build(
        len: usize,
        hash: impl Fn(u32, FoldHasher<'static>) -> Hashed,
    ) -> (Self, Vec<Placed>) {
        let spread = if len <= SCAN_MAX { len } else { len * 2 };
        let size = u32::try_from(spread).expect("fewer than 2^31 keys fit in memory");
        let mut seed = 0;
        loop {
            let index = Self { state: FixedState::with_seed(seed), size };
            let (slots, run) = index.fill(len as u32, &hash);
            if run <= RUN_MAX || seed + 1 == SEEDS_MAX {
                return (index, slots);
            }
            seed += 1;
        }
    }

    /// The slots, and the longest probe that an insertion needed.
    fn fill(
        &self,
        len: u32,
        hash: &impl Fn(u32, FoldHasher<'static>) -> Hashed,
    ) -> (Vec<Placed>, usize) {
        let mut slots = vec![(VACANT, 0); self.size as usize];
        let mut longest = 0;
        for key in 0..len {
            let Hashed { home, tag } = hash(key, self.hasher());
            let home = self.home(home);
            let run = slots[home..].iter().take_while(|slot| slot.0 != VACANT).count();
            match slots.get_mut(home + run) {
                Some(slot) => *slot = (tag, key),
                None => slots.push((tag, key)),
            }
            longest = longest.max(run + 1);
        }
        (slots, longest)
    }

    /// What keys are hashed with.
    #[inline]
    pub(super) fn hasher(&self) -> FoldHasher<'static> {
        self.state.build_hasher()
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * u64::from(self.size)) >> 32) as usize
    }

    /// The slot of the wanted key, as `equal` confirms; `slots` are as laid out by the build.
    #[inline]
    pub(super) fn find<S: Slot>(
        &self,
        slots: &[S],
        wanted: Hashed,
        mut equal: impl FnMut(&S) -> bool,
    ) -> Option<usize> {
        let mut at = self.home(wanted.home);
        loop {
            let slot = slots.get(at)?;
            if slot.tag() == wanted.tag && equal(slot) {
                return Some(at);
            }
            if slot.tag() == VACANT {
                return None;
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use super::*;

    impl Slot for Placed {
        fn tag(&self) -> u32 {
            self.0
        }
    }

    fn hash(key: &str, kind: u32, mut hasher: FoldHasher<'static>) -> Hashed {
        hasher.write(key.as_bytes());
        Hashed::new(hasher.finish(), kind)
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        for len in [0, 1, SCAN_MAX, SCAN_MAX + 1, 1_000] {
            let keys: Vec<String> = (0..len).map(|n| format!("key-{n}")).collect();
            let (index, slots) = Index::build(len, |at, h| hash(&keys[at as usize], 1, h));
            let find = |key: &str, kind: u32| {
                let equal = |slot: &Placed| keys[slot.1 as usize] == key;
                index.find(&slots, hash(key, kind, index.hasher()), equal).map(|at| slots[at].1)
            };
            for (at, key) in keys.iter().enumerate() {
                assert_eq!(find(key, 1), Some(at as u32));
                assert_eq!(find(key, 2), None);
            }
            assert_eq!(find("key-x", 1), None);
        }
    }
}
