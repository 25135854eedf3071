//! The dynamic table (RFC 7541 sections 2.3.2 and 4): a ring of bytes and a ring of entries.
//!
//! The decoder and the encoder each keep one. The ring of bytes grows as it is needed, so that a
//! connection with few fields holds few bytes; an entry may lie across its edge. Invariant: the size
//! by the protocol's count never exceeds the maximum, and no entry is moved while the ring is large
//! enough.

use std::collections::VecDeque;

use super::FIELD_OVERHEAD_BYTES;

const RING_BYTES_MIN: usize = 256;

/// Where a field lies in the ring: its name, and its value behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    start: u16,
    name: u16,
    value: u16,
}

impl Entry {
    fn len(self) -> usize {
        usize::from(self.name) + usize::from(self.value)
    }
}

/// A stretch of the ring, in two parts if it lies across the edge.
pub(super) type Parts<'t> = (&'t [u8], &'t [u8]);

/// A dynamic table.
#[derive(Debug)]
pub(super) struct Table {
    /// Empty, or a power of two long.
    ring: Box<[u8]>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// Where the next entry starts.
    end: usize,
    /// Bytes of all entries.
    held: usize,
    max: usize,
}

impl Table {
    /// `max` is at most [`super::TABLE_BYTES_MAX`].
    pub(super) fn new(max: usize) -> Self {
        debug_assert!(max <= super::TABLE_BYTES_MAX);
        Self { ring: Box::default(), entries: VecDeque::new(), end: 0, held: 0, max }
    }

    /// Size by the protocol's count.
    pub(super) fn size(&self) -> usize {
        self.held + self.entries.len() * FIELD_OVERHEAD_BYTES
    }

    /// What the size may be.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Changes what the size may be, and evicts down to it.
    pub(super) fn set_max(&mut self, max: usize) {
        debug_assert!(max <= super::TABLE_BYTES_MAX);
        self.max = max;
        self.evict(max);
        if max == 0 {
            *self = Self::new(0);
        }
    }

    /// The entry that came `age` entries before the newest one.
    pub(super) fn get(&self, age: usize) -> Option<Entry> {
        self.entries.get(self.entries.len().checked_sub(age + 1)?).copied()
    }

    /// The name of an entry.
    pub(super) fn name(&self, entry: Entry) -> Parts<'_> {
        self.parts(entry.start.into(), entry.name.into())
    }

    /// The value of an entry.
    pub(super) fn value(&self, entry: Entry) -> Parts<'_> {
        self.parts(usize::from(entry.start) + usize::from(entry.name), entry.value.into())
    }

    fn parts(&self, start: usize, length: usize) -> Parts<'_> {
        let start = start & (self.ring.len() - 1);
        let before_edge = self.ring.len() - start;
        if length <= before_edge {
            (&self.ring[start..start + length], &[])
        } else {
            (&self.ring[start..], &self.ring[..length - before_edge])
        }
    }

    /// Adds a field as the newest entry and evicts what no longer fits: all, if the field alone is
    /// too large.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let length = name.len() + value.len();
        let Some(room) = self.max.checked_sub(length + FIELD_OVERHEAD_BYTES) else {
            self.evict(0);
            return;
        };
        self.evict(room);
        if self.ring.len() < self.held + length || self.ring.is_empty() {
            self.grow(self.held + length);
        }
        let start = self.end as u16;
        self.write(name);
        self.write(value);
        self.held += length;
        self.entries.push_back(Entry { start, name: name.len() as u16, value: value.len() as u16 });
    }

    fn evict(&mut self, size: usize) {
        while self.size() > size {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.held -= oldest.len();
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let (before_edge, behind) = bytes.split_at(bytes.len().min(self.ring.len() - self.end));
        self.ring[self.end..self.end + before_edge.len()].copy_from_slice(before_edge);
        self.ring[..behind.len()].copy_from_slice(behind);
        self.end = (self.end + bytes.len()) & (self.ring.len() - 1);
    }

    /// Makes the ring hold `length` bytes, the oldest entry first in it.
    fn grow(&mut self, length: usize) {
        let mut ring = vec![0; length.next_power_of_two().max(RING_BYTES_MIN)];
        if let Some(oldest) = self.entries.front() {
            let (one, two) = self.parts(oldest.start.into(), self.held);
            ring[..one.len()].copy_from_slice(one);
            ring[one.len()..self.held].copy_from_slice(two);
        }
        let mut start = 0;
        for entry in &mut self.entries {
            entry.start = start as u16;
            start += entry.len();
        }
        self.ring = ring.into_boxed_slice();
        self.end = self.held;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn whole((one, two): Parts<'_>) -> Vec<u8> {
        [one, two].concat()
    }

    /// The table as a plain list, newest first.
    fn listed(table: &Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        (0..table.entries.len())
            .map(|age| table.get(age).unwrap())
            .map(|entry| (whole(table.name(entry)), whole(table.value(entry))))
            .collect()
    }

    #[test]
    fn it_holds_what_a_plain_list_would_hold_through_growth_and_wraps() {
        let mut table = Table::new(4096);
        let mut model: VecDeque<(Vec<u8>, Vec<u8>)> = VecDeque::new();
        let mut seed = 1_u32;
        for step in 0..20_000_usize {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let random = (seed >> 8) as usize;
            if random.is_multiple_of(97) {
                table.set_max(random / 97 % 4097);
            }
            let name = vec![b'a' + (step % 26) as u8; random % 23];
            let value =
                vec![step as u8; (random >> 5) % if random.is_multiple_of(7) { 900 } else { 60 }];
            table.insert(&name, &value);
            model.push_front((name, value));
            let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len() + 32;
            while model.iter().map(size).sum::<usize>() > table.max() {
                model.pop_back();
            }
            assert_eq!(table.size(), model.iter().map(size).sum());
            assert_eq!(listed(&table), Vec::from(model.clone()), "step {step}");
        }
    }

    #[test]
    fn it_holds_no_more_memory_than_its_entries_need() {
        let mut table = Table::new(4096);
        assert!(table.ring.is_empty());
        table.insert(b"", b"");
        assert_eq!((table.size(), table.ring.len()), (32, RING_BYTES_MIN));
        (0..200).for_each(|_| table.insert(b"name", b"value"));
        assert!(table.ring.len() <= 1024, "{}", table.ring.len());
        (0..200).for_each(|_| table.insert(b"name", &[b'x'; 900]));
        assert!(table.ring.len() <= 4096, "{}", table.ring.len());
        table.set_max(0);
        assert_eq!((table.entries.len(), table.ring.len()), (0, 0));
    }

    #[test]
    fn the_largest_table_fits_its_counters() {
        let mut table = Table::new(crate::h2::hpack::TABLE_BYTES_MAX);
        let value = vec![b'v'; table.max() - 32 - 1];
        for _ in 0..3 {
            table.insert(b"n", &value);
            assert_eq!(listed(&table), [(b"n".to_vec(), value.clone())]);
        }
        table.insert(b"nn", &value);
        assert_eq!(table.entries.len(), 0, "a field that is too large empties the table");
    }
}
