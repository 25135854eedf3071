//! HPACK: the field blocks of one connection, each behind its length in two bytes.
//!
//! Held: a field is no larger than its block and the table allow; both tables stay within their bound;
//! what was decoded, encoded and decoded again is the same; a decoder whose visitor refuses keeps its
//! table equal to one that takes everything.

use std::convert::Infallible;

use proxy::h2::hpack::{DecodeError, Decoder, Encoder, Error, TABLE_BYTES_DEFAULT};

/// A decoded string is at most so many times as long as the coded one, rounded up.
const EXPANSION_MAX: usize = 2;

/// Name, value, and whether no table may hold it.
pub type Fields = Vec<(Vec<u8>, Vec<u8>, bool)>;

/// The blocks of a connection up to an error.
pub fn blocks(input: &[u8]) {
    let mut rest = input;
    let blocks = std::iter::from_fn(|| {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(tail.len());
        let (block, tail) = tail.split_at(length);
        rest = tail;
        Some(block)
    });
    let _ = drive(blocks);
}

/// Decodes the blocks of a connection and passes them on; returns the fields of the last one.
///
/// # Errors
/// That of the first block that has one.
pub fn drive<'b>(blocks: impl Iterator<Item = &'b [u8]>) -> Result<Fields, Error> {
    let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
    let mut refusing = Decoder::new(TABLE_BYTES_DEFAULT);
    let (mut encoder, mut next) = (Encoder::new(), Decoder::new(TABLE_BYTES_DEFAULT));
    let mut last = Vec::new();
    for (number, block) in blocks.enumerate() {
        let fields = decode(&mut decoder, block);
        refuse(&mut refusing, block, number, fields.as_ref());
        last = fields?;
        assert_eq!(refusing.table_bytes(), decoder.table_bytes());
        let mut out = Vec::new();
        let mut writer = encoder.block(&mut out);
        for (name, value, never_indexed) in &last {
            if *never_indexed {
                writer.never_indexed(name, value);
            } else {
                writer.field(name, value);
            }
        }
        let again = decode(&mut next, &out);
        let again = again.unwrap_or_else(|error| panic!("{error} in what was written"));
        assert_eq!(again.len(), last.len());
        for (again, first) in again.iter().zip(&last) {
            assert_eq!((&again.0, &again.1), (&first.0, &first.1));
            assert!(again.2 || !first.2, "a secret may enter a table");
        }
        assert_eq!(next.table_bytes(), encoder.table_bytes());
    }
    Ok(last)
}

/// Decodes one block and holds the decoder to its bounds.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Error> {
    let mut fields = Vec::new();
    let result = decoder.decode(block, |field| {
        let size = field.name.len() + field.value.len();
        assert!(size <= TABLE_BYTES_DEFAULT + EXPANSION_MAX * block.len(), "{size}");
        fields.push((field.name.to_vec(), field.value.to_vec(), field.never_indexed));
        Ok::<_, Infallible>(())
    });
    assert!(fields.len() <= block.len(), "{}", fields.len());
    assert!(decoder.table_bytes() <= TABLE_BYTES_DEFAULT);
    match result {
        Ok(()) => Ok(fields),
        Err(DecodeError::Compression(error)) => Err(error),
    }
}

/// Decodes a block whose visitor takes `kept` fields only.
fn refuse(decoder: &mut Decoder, block: &[u8], kept: usize, whole: Result<&Fields, &Error>) {
    let mut visits = 0;
    let result = decoder.decode(block, |_| {
        visits += 1;
        if visits > kept { Err(()) } else { Ok(()) }
    });
    match (result, whole) {
        (Ok(()), Ok(fields)) => assert!(fields.len() <= kept),
        (Err(DecodeError::Refused(())), Ok(fields)) => assert!(fields.len() > kept),
        // A field that nobody looks at costs no copy, so that one bound is not reached.
        (_, Err(Error::Excess)) => {}
        (Err(DecodeError::Compression(error)), Err(whole)) => assert_eq!(error, *whole),
        (result, whole) => panic!("{result:?} where all is taken: {whole:?}"),
    }
}
