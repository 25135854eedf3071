//! The examples of RFC 7541 appendix C, malformed blocks, and what the encoder may index.

mod examples;
mod malformed;
mod refuse;
mod write;

use super::{DecodeError, Decoder, Error};

type Owned = (String, String, bool);

/// Bytes of hex digits with spaces between.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Owned>, Error> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let result = decoder.decode(block, |field| {
        fields.push((text(field.name), text(field.value), field.never_indexed));
        Ok::<_, std::convert::Infallible>(())
    });
    match result {
        Ok(()) => Ok(fields),
        Err(DecodeError::Compression(error)) => Err(error),
    }
}
