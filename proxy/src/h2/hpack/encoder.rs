//! Fields into header blocks (RFC 7541 section 6).
//!
//! The connection writes one [`Block`] per list of fields. What enters the dynamic table is decided
//! by what repeats: a field is indexed when it is seen for the second time, so values that differ each
//! time (paths, dates, request ids) neither fill the table nor cost memory. Invariants: a field is
//! compared byte by byte before an index is sent for it; secrets are never indexed (section 7.1.3).

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::huffman;
use super::integer;
use super::table::{Entry, Parts, Table};
use super::{FIELD_OVERHEAD_BYTES, TABLE_BYTES_DEFAULT, static_table};

const SETS: usize = 32;
const WAYS: usize = 4;
const NAMES: usize = 32;
/// A field that takes more of the table than this is never indexed (bytes).
const INDEXED_BYTES_MAX: usize = TABLE_BYTES_DEFAULT / 2;
/// A shorter cookie could be guessed by trying values against the table (bytes).
const COOKIE_GUESSABLE_BYTES_MAX: usize = 20;

const INDEXED: u8 = 0x80;
const INCREMENTAL: u8 = 0x40;
const SIZE_UPDATE: u8 = 0x20;
const NEVER_INDEXED: u8 = 0x10;
const NOT_INDEXED: u8 = 0x00;
const CODED: u8 = 0x80;

/// The sending end of a direction.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// Entries made so far; wraps.
    made: u16,
    recent: Option<Box<Recent>>,
    /// What the next block must say of the table's size.
    update: Option<Update>,
}

/// What was seen lately, and the way to its entry. All of it may be out of date: the entry decides.
#[derive(Debug)]
struct Recent {
    /// Fields, by their hash.
    sets: [Set; SETS],
    /// By the hash of a name: number of the newest entry with it.
    names: [u16; NAMES],
}

/// Fields whose hashes fall together, the one last seen first.
#[derive(Clone, Copy, Debug, Default)]
struct Set {
    /// More bits of the hash; 0 is none.
    marks: [u16; WAYS],
    /// Number of the field's entry, if it has one.
    numbers: [u16; WAYS],
}

/// A field's place in [`Recent`].
#[derive(Clone, Copy, Debug)]
struct Place {
    set: usize,
    mark: u16,
}

impl Place {
    fn of(name: &[u8], value: &[u8]) -> Self {
        let hash = hash(name, value);
        Self { set: hash as usize % SETS, mark: (hash >> 32) as u16 | 1 }
    }
}

/// A change of the table's size that the peer does not know yet.
#[derive(Clone, Copy, Debug)]
struct Update {
    least: usize,
    last: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// With the table that the protocol starts with.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Table::new(TABLE_BYTES_DEFAULT), made: 0, recent: None, update: None }
    }

    /// Obeys the peer's `SETTINGS_HEADER_TABLE_SIZE`; the next block announces the change.
    pub fn set_table_max(&mut self, bytes: u32) {
        let max =
            usize::try_from(bytes).map_or(TABLE_BYTES_DEFAULT, |b| b.min(TABLE_BYTES_DEFAULT));
        if max == self.table.max() && self.update.is_none() {
            return;
        }
        let least = self.update.map_or(max, |update| update.least.min(max));
        self.update = Some(Update { least, last: max });
        self.table.set_max(max);
    }

    /// Starts a header block at the end of `out`.
    pub fn block<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Block<'a> {
        if let Some(Update { least, last }) = self.update.take() {
            if least < last {
                integer::write(SIZE_UPDATE, 5, least, out);
            }
            integer::write(SIZE_UPDATE, 5, last, out);
        }
        Block { encoder: self, out }
    }

    /// Size of the dynamic table by the protocol's count (bytes).
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.table.size()
    }

    /// The entry with this number and its index, if it is still there.
    fn entry(&self, number: u16) -> Option<(Entry, usize)> {
        let age = usize::from(self.made.wrapping_sub(number).wrapping_sub(1));
        Some((self.table.get(age)?, static_table::LENGTH + 1 + age))
    }

    /// Whether the field was seen lately (from now on it was) and its index if it has an entry.
    fn look_up(&mut self, place: Place, name: &[u8], value: &[u8]) -> (bool, Option<usize>) {
        let set = &mut self.recent.get_or_insert_with(Recent::new).sets[place.set];
        if !set.bring_first(place.mark) {
            return (false, None);
        }
        let number = set.numbers[0];
        let index = self.entry(number).and_then(|(entry, index)| {
            let (of, with) = (self.table.name(entry), self.table.value(entry));
            (equal(with, value) && equal(of, name)).then_some(index)
        });
        (true, index)
    }

    fn name_index(&self, name: &[u8]) -> Option<usize> {
        let (entry, index) = self.entry(self.recent.as_ref()?.names[name_slot(name)])?;
        equal(self.table.name(entry), name).then_some(index)
    }

    /// Adds the field that was last looked up.
    fn insert(&mut self, place: Place, name: &[u8], value: &[u8]) {
        self.table.insert(name, value);
        let recent = self.recent.get_or_insert_with(Recent::new);
        recent.sets[place.set].numbers[0] = self.made;
        recent.names[name_slot(name)] = self.made;
        self.made = self.made.wrapping_add(1);
    }
}

impl Recent {
    fn new() -> Box<Self> {
        Box::new(Self { sets: [Set::default(); SETS], names: [0; NAMES] })
    }
}

impl Set {
    /// Makes the mark the first one, in place of the last one if it was not there; whether it was.
    fn bring_first(&mut self, mark: u16) -> bool {
        let at = self.marks.iter().position(|m| *m == mark);
        let end = at.unwrap_or(WAYS - 1) + 1;
        self.marks[..end].rotate_right(1);
        self.numbers[..end].rotate_right(1);
        self.marks[0] = mark;
        at.is_some()
    }
}

/// A header block being written.
#[derive(Debug)]
pub struct Block<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
}

impl Block<'_> {
    /// Appends `:status`.
    pub fn status(&mut self, status: u16) {
        let known = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                self.field(b":status", itoa::Buffer::new().format(status).as_bytes());
                return;
            }
        };
        self.out.push(INDEXED | known);
    }

    /// Appends a field; its name is in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        let known = static_table::name(name);
        if let Some(index) = known.and_then(|first| static_table::value(first, value)) {
            self.out.push(INDEXED | index as u8);
            return;
        }
        if is_secret(name, value) {
            self.literal(NEVER_INDEXED, 4, known, name, value);
            return;
        }
        let place = Place::of(name, value);
        let (was_seen, index) = self.encoder.look_up(place, name, value);
        if let Some(index) = index {
            integer::write(INDEXED, 7, index, self.out);
            return;
        }
        let size = name.len() + value.len() + FIELD_OVERHEAD_BYTES;
        if was_seen && size <= INDEXED_BYTES_MAX.min(self.encoder.table.max()) {
            self.literal(INCREMENTAL, 6, known, name, value);
            self.encoder.insert(place, name, value);
        } else {
            self.literal(NOT_INDEXED, 4, known, name, value);
        }
    }

    /// Appends a field that no hop may put into a table: one that came so, or that is a secret.
    pub fn never_indexed(&mut self, name: &[u8], value: &[u8]) {
        self.literal(NEVER_INDEXED, 4, static_table::name(name), name, value);
    }

    fn literal(
        &mut self,
        pattern: u8,
        prefix: u32,
        known: Option<usize>,
        name: &[u8],
        value: &[u8],
    ) {
        match known.or_else(|| self.encoder.name_index(name)) {
            Some(index) => integer::write(pattern, prefix, index, self.out),
            None => {
                self.out.push(pattern);
                string(name, self.out);
            }
        }
        string(value, self.out);
    }
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    let coded = huffman::coded_len(text);
    if coded < text.len() {
        integer::write(CODED, 7, coded, out);
        huffman::encode(text, out);
    } else {
        integer::write(0, 7, text.len(), out);
        out.extend_from_slice(text);
    }
}

/// What must not be found by trying values against the table.
fn is_secret(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"authorization" | b"proxy-authorization" | b"set-cookie" => true,
        b"cookie" => value.len() < COOKIE_GUESSABLE_BYTES_MAX,
        _ => false,
    }
}

/// Empty slices are not compared: they point nowhere, and processors that look there under a mask take
/// a hundred times longer.
fn equal((one, two): Parts<'_>, bytes: &[u8]) -> bool {
    if bytes.len() != one.len() + two.len() {
        return false;
    }
    if two.is_empty() {
        return bytes.is_empty() || one == bytes;
    }
    let (first, second) = bytes.split_at(one.len());
    first == one && second == two
}

fn hash(name: &[u8], value: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(name);
    hasher.write(value);
    hasher.finish()
}

fn name_slot(name: &[u8]) -> usize {
    hash(name, b"") as usize % NAMES
}
