//! The static table (RFC 7541 appendix A) and the ways into it: by index, by name, by field.
//!
//! Called by the decoder and the encoder. The way by name is a small hash table made at compile
//! time. Invariant: indices are those of the protocol, 1 to [`LENGTH`].

/// Entries of the static table.
pub(super) const LENGTH: usize = 61;
const SLOTS: usize = 256;
const NAME_BYTES_MAX: usize = 27;

const ENTRIES: [(&[u8], &[u8]); LENGTH] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// Index of the first entry of each name, found by [`hash`] and then by the next slots; 0 is free.
static NAMES: [u8; SLOTS] = names();

const fn names() -> [u8; SLOTS] {
    let mut slots = [0; SLOTS];
    let mut at = LENGTH;
    // Backwards, so that the first entry of a name is written last.
    while at > 0 {
        let name = ENTRIES[at - 1].0;
        let mut slot = hash(name);
        while slots[slot] != 0 && !same(ENTRIES[slots[slot] as usize - 1].0, name) {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = at as u8;
        at -= 1;
    }
    slots
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// `name` is not empty.
const fn hash(name: &[u8]) -> usize {
    let length = name.len();
    let (first, middle, last) = (name[0], name[length / 2], name[length - 1]);
    (length * 37 + first as usize * 3 + middle as usize * 17 + last as usize * 101) % SLOTS
}

/// The entry at `index`, which counts from 1.
pub(super) fn entry(index: usize) -> Option<(&'static [u8], &'static [u8])> {
    ENTRIES.get(index.checked_sub(1)?).copied()
}

/// Index of the first entry with this name.
pub(super) fn name(name: &[u8]) -> Option<usize> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut slot = hash(name);
    loop {
        let index = usize::from(NAMES[slot]);
        if index == 0 {
            return None;
        }
        if ENTRIES[index - 1].0 == name {
            return Some(index);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// Index of the entry with this value among those that share the name of the entry `first`.
pub(super) fn value(first: usize, value: &[u8]) -> Option<usize> {
    let last = match first {
        2 | 4 | 6 => first + 1,
        8 => 14,
        _ => first,
    };
    (first..=last).find(|index| {
        let known = ENTRIES[index - 1].1;
        known.len() == value.len() && (value.is_empty() || known == value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_by_its_name_and_by_its_value() {
        for (at, (entry_name, entry_value)) in ENTRIES.iter().enumerate() {
            let first = name(entry_name).unwrap();
            assert_eq!(ENTRIES.iter().position(|entry| entry.0 == *entry_name), Some(first - 1));
            assert_eq!(value(first, entry_value), Some(at + 1));
            assert_eq!(entry(at + 1), Some((*entry_name, *entry_value)));
        }
        assert_eq!((entry(0), entry(LENGTH + 1)), (None, None));
    }

    #[test]
    fn other_names_and_values_are_not_found() {
        for other in ["", "x", ":statu", ":statuses", "Host", "hosu", "x-request-id"] {
            assert_eq!(name(other.as_bytes()), None, "{other}");
        }
        assert_eq!(name(&[b'a'; 1000]), None);
        assert_eq!(value(8, b"201"), None);
        assert_eq!(value(7, b"http"), None);
        assert_eq!(value(2, b"PUT"), None);
    }

    #[test]
    fn a_name_is_found_within_a_few_steps() {
        let longest = NAMES.split(|slot| *slot == 0).map(<[u8]>::len).max();
        assert!(longest < Some(8), "{longest:?}");
        assert!(ENTRIES.iter().all(|entry| entry.0.len() <= NAME_BYTES_MAX));
    }
}
