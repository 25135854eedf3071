//! Integers with a prefix (RFC 7541 section 5.1), and the cursor over a block that reads them.
//!
//! Called by the decoder and the encoder. Invariant: no value above 32 bits is accepted, and none is
//! written with more bytes than such a value needs.

use super::Error;

/// Bytes that may follow the prefix: five of seven bits hold 32 bits.
const CONTINUATION_BYTES_MAX: u32 = 5;

/// What is left of a header block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'b>(pub(super) &'b [u8]);

impl<'b> Input<'b> {
    /// The next byte, not taken.
    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let (first, rest) = self.0.split_first().ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&'b [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An integer whose first byte gives its low `prefix` bits.
    pub(super) fn integer(&mut self, prefix: u32) -> Result<usize, Error> {
        let mask = (1_u8 << prefix) - 1;
        let first = self.byte()? & mask;
        if first < mask {
            return Ok(first.into());
        }
        let mut value = u64::from(mask);
        for at in 0..CONTINUATION_BYTES_MAX {
            let byte = self.byte()?;
            value += u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map(|v| v as usize).map_err(|_| Error::Integer);
            }
        }
        Err(Error::Integer)
    }
}

/// Writes `value` with a prefix of `prefix` bits, the bits above being `pattern`.
pub(super) fn write(pattern: u8, prefix: u32, value: usize, out: &mut Vec<u8>) {
    let mask = (1_u8 << prefix) - 1;
    if value < usize::from(mask) {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}
