//! Small numbers that stand for keys, stable from one epoch to the next.
//!
//! Whatever a shard keeps between requests (cursors, counters, caches, endpoint lists) is indexed by
//! such a slot. Used by `compile` only. Invariant: a slot is given to another key only when no
//! epoch that is still alive anywhere holds its lease, so an exchange that began under an old epoch
//! never meets somebody else's slot. Epochs are compiled one after the other, on one thread.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use foldhash::fast::FixedState;

/// A slot that is in use for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lease(pub(crate) u32);

/// The slots of one kind as one epoch knows them.
#[derive(Debug)]
pub(crate) struct Slots<K, V> {
    entries: HashMap<K, Entry<V>, FixedState>,
    free: Vec<u32>,
    next: u32,
}

#[derive(Debug)]
struct Entry<V> {
    slot: u32,
    holder: Weak<V>,
}

/// Slots while the next epoch is compiled: copied only when a key is new.
#[derive(Debug)]
pub(crate) struct Leases<K, V> {
    slots: Arc<Slots<K, V>>,
    swept: bool,
}

impl<K: Clone + Eq + Hash, V> Slots<K, V> {
    /// No keys; the first slot given is `first`.
    pub(crate) fn from(first: u32) -> Self {
        Self { entries: HashMap::default(), free: Vec::new(), next: first }
    }

    /// One more than the largest slot ever given.
    pub(crate) fn len(&self) -> usize {
        self.next as usize
    }

    fn sweep(&mut self) {
        let free = &mut self.free;
        self.entries.retain(|_, entry| {
            let alive = entry.holder.strong_count() > 0;
            if !alive {
                free.push(entry.slot);
            }
            alive
        });
    }

    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let slot = self.next;
            self.next = slot.checked_add(1).expect("fewer than 2^32 keys fit in memory");
            slot
        })
    }
}

impl<K: Clone, V> Clone for Slots<K, V> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), free: self.free.clone(), next: self.next }
    }
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self { slot: self.slot, holder: Weak::clone(&self.holder) }
    }
}

impl<K: Clone + Eq + Hash, V> Leases<K, V> {
    /// Continues the slots of the previous epoch.
    pub(crate) fn continuing(slots: &Arc<Slots<K, V>>) -> Self {
        Self { slots: Arc::clone(slots), swept: false }
    }

    /// The holder of `key`'s slot, made by `make` if the key is new.
    pub(crate) fn lease(&mut self, key: &K, make: impl FnOnce(u32) -> V) -> Arc<V> {
        if let Some(holder) = self.slots.entries.get(key).and_then(|entry| entry.holder.upgrade()) {
            return holder;
        }
        let slots = Arc::make_mut(&mut self.slots);
        if !self.swept {
            slots.sweep();
            self.swept = true;
        }
        let slot = slots.take();
        let holder = Arc::new(make(slot));
        let entry = Entry { slot, holder: Arc::downgrade(&holder) };
        if let Some(dead) = slots.entries.insert(key.clone(), entry) {
            slots.free.push(dead.slot);
        }
        holder
    }

    /// The slots as the new epoch knows them.
    pub(crate) fn finish(self) -> Arc<Slots<K, V>> {
        self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(leases: &mut Leases<&'static str, Lease>, key: &'static str) -> Arc<Lease> {
        leases.lease(&key, Lease)
    }

    #[test]
    fn a_key_keeps_its_slot_while_anything_holds_it() {
        let mut first = Leases::continuing(&Arc::new(Slots::from(1)));
        let a = lease(&mut first, "a");
        let b = lease(&mut first, "b");
        assert_eq!((a.0, b.0), (1, 2));
        drop(b);
        let mut second = Leases::continuing(&first.finish());
        assert!(Arc::ptr_eq(&a, &lease(&mut second, "a")));
    }

    #[test]
    fn a_slot_is_reused_only_after_its_last_holder_is_gone() {
        let mut first = Leases::continuing(&Arc::new(Slots::from(0)));
        let a = lease(&mut first, "a");
        let first = first.finish();
        let mut second = Leases::continuing(&first);
        assert_eq!(lease(&mut second, "b").0, 1, "`a` is still held");
        drop(a);
        let mut third = Leases::continuing(&second.finish());
        let (c, d, e) = (lease(&mut third, "c"), lease(&mut third, "d"), lease(&mut third, "e"));
        let mut slots = [c.0, d.0, e.0];
        slots.sort_unstable();
        assert_eq!(slots, [0, 1, 2], "both freed slots come before a new one");
        assert_eq!(third.finish().len(), 3);
    }
}
