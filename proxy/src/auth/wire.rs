//! The wire format of Protocol Buffers, as far as authorization speaks it.
//!
//! Fields are written in order and read one after the other; what a message means is not known here.
//! Invariant: reading touches each byte once and never trusts a length.

use super::Malformed;

/// A message that is being written.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// The value of a field that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'v> {
    /// An integer, boolean or enumeration.
    Varint(u64),
    /// Text, bytes or a message.
    Bytes(&'v [u8]),
    /// A number of fixed size, which no field of ours is.
    Fixed,
}

impl Message {
    /// A field of text or bytes; left out where empty, which means the same.
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        if bytes.is_empty() { self } else { self.delimited(field, bytes) }
    }

    /// A field that is a message.
    pub(super) fn message(&mut self, field: u32, message: &Self) -> &mut Self {
        self.delimited(field, &message.0)
    }

    /// An integer; a negative one in two's complement.
    pub(super) fn int(&mut self, field: u32, value: i64) -> &mut Self {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value as u64);
        }
        self
    }

    /// An entry of a map from text to text.
    pub(super) fn entry(&mut self, field: u32, key: &[u8], value: &[u8]) -> &mut Self {
        let mut entry = Self::default();
        entry.bytes(1, key).bytes(2, value);
        self.message(field, &entry)
    }

    /// What was written.
    pub(super) fn finish(&self) -> &[u8] {
        &self.0
    }

    fn delimited(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The fields of a message, in the order in which they were written.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u32, Value<'_>), Malformed>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'m>(rest: &mut &'m [u8]) -> Result<(u32, Value<'m>), Malformed> {
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
    if number == 0 || number > FIELD_MAX {
        return Err(Malformed);
    }
    let value = match tag & 7 {
        0 => Value::Varint(varint(rest)?),
        DELIMITED => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
            Value::Bytes(take(rest, length)?)
        }
        1 => take(rest, 8).map(|_| Value::Fixed)?,
        5 => take(rest, 4).map(|_| Value::Fixed)?,
        _ => return Err(Malformed),
    };
    Ok((number, value))
}

fn take<'m>(rest: &mut &'m [u8], length: usize) -> Result<&'m [u8], Malformed> {
    let (taken, left) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Malformed);
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// The type of fields that begin with their length.
const DELIMITED: u64 = 2;
/// Largest number of a field.
const FIELD_MAX: u32 = (1 << 29) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut inner = Message::default();
        inner.bytes(1, b"k").int(2, -1);
        let mut message = Message::default();
        message.bytes(1, b"text").bytes(2, b"").int(3, 300).int(4, 0).message(16, &inner);
        message.entry(5, b"a", b"b");
        let read: Result<Vec<_>, _> = fields(message.finish()).collect();
        let read = read.unwrap();
        assert_eq!(read[0], (1, Value::Bytes(b"text")));
        assert_eq!(read[1], (3, Value::Varint(300)));
        assert_eq!(read[2], (16, Value::Bytes(inner.finish())));
        assert_eq!(read[3], (5, Value::Bytes(b"\x0a\x01a\x12\x01b")));
        assert_eq!(read.len(), 4);
        assert_eq!(fields(inner.finish()).nth(1), Some(Ok((2, Value::Varint(u64::MAX)))));
    }

    #[test]
    fn what_is_known_to_nobody_is_passed_over() {
        // A fixed 64, a fixed 32, then an integer.
        let bytes = b"\x09\x01\x02\x03\x04\x05\x06\x07\x08\x15\x01\x02\x03\x04\x18\x05";
        let read: Vec<_> = fields(bytes).map(Result::unwrap).collect();
        assert_eq!(read, [(1, Value::Fixed), (2, Value::Fixed), (3, Value::Varint(5))]);
    }

    #[test]
    fn broken_messages_are_told_and_end_there() {
        for bytes in [
            &b"\x0a"[..],                                        // no length
            b"\x0a\x05abcd",                                     // too short
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",     // a length beyond all memory
            b"\x18",                                             // no integer
            b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",     // an integer of 65 bits
            b"\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", // one that is too long
            b"\x09\x01",                                         // half a number
            b"\x0b",                                             // a group
            b"\x02\x00",                                         // field 0
        ] {
            let read: Vec<_> = fields(bytes).collect();
            assert_eq!(read, [Err(Malformed)], "{bytes:x?}");
        }
    }
}
