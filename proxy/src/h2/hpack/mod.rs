//! HPACK (RFC 7541): the header blocks of HTTP/2 as fields, both ways.
//!
//! It knows names, values and the two tables, not what a field means: pseudo-fields, the rules of
//! names and values and every bound on a list of fields are the connection's, which calls it. One
//! [`Decoder`] and one [`Encoder`] stand at each end of a connection. Invariants: nothing is
//! allocated per field, work is bounded by the bytes of the block, and a field that the caller
//! refuses leaves the tables of both ends equal.

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod static_table;
mod table;

pub use decoder::{DecodeError, Decoder, Field};
pub use encoder::{Block, Encoder};

/// A dynamic table holds so much until a peer says otherwise (bytes, section 6.5.2 of RFC 9113); the
/// encoder never uses more.
pub const TABLE_BYTES_DEFAULT: usize = 4096;
/// A decoder's dynamic table is never larger than this (bytes).
pub const TABLE_BYTES_MAX: usize = 32 * 1024;
/// What the tables count for a field besides its name and value (bytes).
pub const FIELD_OVERHEAD_BYTES: usize = 32;

/// Why a header block cannot be decoded: always a connection error of type `COMPRESSION_ERROR`,
/// since the tables of both ends are no longer known to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The block ends inside a field.
    #[error("the header block ends inside a field")]
    Truncated,
    /// An integer does not fit 32 bits or is written with too many bytes.
    #[error("an integer of the header block is too large or too long")]
    Integer,
    /// An index names no entry of either table.
    #[error("an index of the header block names no entry")]
    Index,
    /// A Huffman-coded string holds the end-of-string symbol or wrong padding.
    #[error("a Huffman-coded string of the header block is malformed")]
    Huffman,
    /// A table size update asks for more than was allowed.
    #[error("a table size update is above the limit")]
    TableSize,
    /// A table size update follows a field or two other updates.
    #[error("a table size update stands in the wrong place")]
    TableSizePlace,
    /// The block names large entries so often that reading it costs far more than sending it.
    #[error("a header block names large entries too often")]
    Excess,
}

#[cfg(test)]
mod tests;
