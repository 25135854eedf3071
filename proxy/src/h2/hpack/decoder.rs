//! Header blocks into fields (RFC 7541 section 6).
//!
//! The connection hands over a complete block and visits its fields; it decides what it keeps.
//! Invariant: the dynamic table is right after every block that is not an error of compression,
//! whatever the visitor said.

use std::ops::Range;

use super::huffman;
use super::integer::Input;
use super::table::{Parts, Table};
use super::{Error, TABLE_BYTES_DEFAULT, TABLE_BYTES_MAX, static_table};

/// Table size updates before the fields of one block (section 4.2: the least size and the last).
const UPDATES_MAX: u32 = 2;
/// Names copied out of the dynamic table in one block (bytes). No list of a size that anyone accepts
/// needs so much, but three bytes that name a large entry ask for a copy of it.
const COPIED_BYTES_MAX: usize = 64 * 1024;
/// Scratch kept from one block to the next (bytes).
const SCRATCH_KEPT_BYTES_MAX: usize = 512;

/// A decoded field, valid during the visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name, as sent: nothing is known of its bytes.
    pub name: &'a [u8],
    /// Value, as sent: nothing is known of its bytes.
    pub value: &'a [u8],
    /// The sender asked that no hop ever puts it into a table ([`super::Block::never_indexed`]).
    pub never_indexed: bool,
}

/// Why a block gave no list of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError<E> {
    /// The connection must end.
    #[error(transparent)]
    Compression(#[from] Error),
    /// What the visitor said; the connection can go on.
    #[error("a field was refused")]
    Refused(E),
}

/// The receiving end of a direction.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    table_bytes_max: usize,
    /// Strings that do not lie in one piece as they are meant: coded ones, those across the edge of
    /// the table's ring, and names whose entry may be evicted.
    scratch: Vec<u8>,
    /// Bytes of names copied in this block.
    copied: usize,
}

/// The caller's visitor, and what it said.
struct Visitor<V, E> {
    visit: V,
    refused: Option<E>,
}

impl<E, V: FnMut(Field<'_>) -> Result<(), E>> Visitor<V, E> {
    fn wants_more(&self) -> bool {
        self.refused.is_none()
    }

    fn visit(&mut self, field: Field<'_>) {
        if self.wants_more() {
            self.refused = (self.visit)(field).err();
        }
    }
}

/// A string of a field: in the block or the static table, or a range of the scratch.
enum Text<'b> {
    Slice(&'b [u8]),
    Scratch(Range<usize>),
}

impl Text<'_> {
    fn bytes<'a>(&'a self, scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Slice(slice) => slice,
            Self::Scratch(range) => &scratch[range.clone()],
        }
    }
}

impl Decoder {
    /// `table_bytes_max` is what our settings announce as `SETTINGS_HEADER_TABLE_SIZE`. It counts as
    /// [`TABLE_BYTES_DEFAULT`] at least, which a peer may use before it has seen our settings, and
    /// as [`TABLE_BYTES_MAX`] at most.
    #[must_use]
    pub fn new(table_bytes_max: usize) -> Self {
        Self {
            table: Table::new(TABLE_BYTES_DEFAULT),
            table_bytes_max: table_bytes_max.clamp(TABLE_BYTES_DEFAULT, TABLE_BYTES_MAX),
            scratch: Vec::new(),
            copied: 0,
        }
    }

    /// Size of the dynamic table by the protocol's count (bytes).
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.table.size()
    }

    /// Visits the fields of a complete header block in order.
    ///
    /// After the visitor has refused a field it is not called again; the rest of the block is read
    /// for the table's sake only.
    ///
    /// # Errors
    ///
    /// An error of compression, or else the visitor's.
    pub fn decode<E>(
        &mut self,
        block: &[u8],
        visit: impl FnMut(Field<'_>) -> Result<(), E>,
    ) -> Result<(), DecodeError<E>> {
        let mut input = Input(block);
        self.size_updates(&mut input)?;
        self.copied = 0;
        let mut visitor = Visitor { visit, refused: None };
        while let Some(first) = input.peek() {
            match first {
                0x80.. => self.indexed(&mut input, &mut visitor)?,
                0x40.. => self.literal(&mut input, 6, &mut visitor)?,
                0x20.. => return Err(Error::TableSizePlace.into()),
                _ => self.literal(&mut input, 4, &mut visitor)?,
            }
        }
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_KEPT_BYTES_MAX);
        visitor.refused.map_or(Ok(()), |error| Err(DecodeError::Refused(error)))
    }

    fn size_updates(&mut self, input: &mut Input<'_>) -> Result<(), Error> {
        let mut updates = 0;
        while input.peek().is_some_and(|first| first & 0xe0 == 0x20) {
            let max = input.integer(5)?;
            if max > self.table_bytes_max {
                return Err(Error::TableSize);
            }
            updates += 1;
            if updates > UPDATES_MAX {
                return Err(Error::TableSizePlace);
            }
            self.table.set_max(max);
        }
        Ok(())
    }

    fn indexed<E>(
        &mut self,
        input: &mut Input<'_>,
        visitor: &mut Visitor<impl FnMut(Field<'_>) -> Result<(), E>, E>,
    ) -> Result<(), Error> {
        let index = input.integer(7)?;
        if let Some((name, value)) = static_table::entry(index) {
            visitor.visit(Field { name, value, never_indexed: false });
            return Ok(());
        }
        let age = index.checked_sub(static_table::LENGTH + 1).ok_or(Error::Index)?;
        let entry = self.table.get(age).ok_or(Error::Index)?;
        if !visitor.wants_more() {
            return Ok(());
        }
        self.scratch.clear();
        let name = join(self.table.name(entry), &mut self.scratch);
        let value = join(self.table.value(entry), &mut self.scratch);
        let (name, value) = (name.bytes(&self.scratch), value.bytes(&self.scratch));
        visitor.visit(Field { name, value, never_indexed: false });
        Ok(())
    }

    /// A literal whose index has `prefix` bits: 6 bits mean that it enters the table.
    fn literal<E>(
        &mut self,
        input: &mut Input<'_>,
        prefix: u32,
        visitor: &mut Visitor<impl FnMut(Field<'_>) -> Result<(), E>, E>,
    ) -> Result<(), Error> {
        let never_indexed = input.peek().is_some_and(|first| first & 0xf0 == 0x10);
        self.scratch.clear();
        let name = match input.integer(prefix)? {
            0 => self.string(input)?,
            index => self.name(index)?,
        };
        let value = self.string(input)?;
        let (name, value) = (name.bytes(&self.scratch), value.bytes(&self.scratch));
        visitor.visit(Field { name, value, never_indexed });
        if prefix == 6 {
            self.table.insert(name, value);
        }
        Ok(())
    }

    /// The name at `index`, which is not 0.
    fn name<'b>(&mut self, index: usize) -> Result<Text<'b>, Error> {
        if let Some((name, _)) = static_table::entry(index) {
            return Ok(Text::Slice(name));
        }
        let entry = self.table.get(index - static_table::LENGTH - 1).ok_or(Error::Index)?;
        let (one, two) = self.table.name(entry);
        self.copied += one.len() + two.len();
        if self.copied > COPIED_BYTES_MAX {
            return Err(Error::Excess);
        }
        let start = self.scratch.len();
        self.scratch.extend_from_slice(one);
        self.scratch.extend_from_slice(two);
        Ok(Text::Scratch(start..self.scratch.len()))
    }

    fn string<'b>(&mut self, input: &mut Input<'b>) -> Result<Text<'b>, Error> {
        let is_coded = input.peek().is_some_and(|first| first & 0x80 != 0);
        let length = input.integer(7)?;
        let bytes = input.take(length)?;
        if !is_coded {
            return Ok(Text::Slice(bytes));
        }
        let start = self.scratch.len();
        huffman::decode(bytes, &mut self.scratch)?;
        Ok(Text::Scratch(start..self.scratch.len()))
    }
}

/// In one piece, copied only if it must be.
fn join<'t>((one, two): Parts<'t>, scratch: &mut Vec<u8>) -> Text<'t> {
    if two.is_empty() {
        return Text::Slice(one);
    }
    let start = scratch.len();
    scratch.extend_from_slice(one);
    scratch.extend_from_slice(two);
    Text::Scratch(start..scratch.len())
}
