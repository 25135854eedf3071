//! A visitor that refuses: the tables stay equal, and the rest costs little.

use super::{bytes, decode};
use crate::h2::hpack::{DecodeError, Decoder, Error, TABLE_BYTES_DEFAULT};

#[test]
fn a_refused_field_ends_the_visit_but_not_the_table() {
    let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
    let mut visits = 0;
    let block = bytes("82 40 01 61 01 62 40 01 63 01 64");
    let result = decoder.decode(&block, |_| {
        visits += 1;
        if visits == 2 { Err("enough") } else { Ok(()) }
    });
    assert_eq!((result, visits), (Err(DecodeError::Refused("enough")), 2));
    let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned(), false);
    assert_eq!(decode(&mut decoder, &[0xbe, 0xbf]), Ok(vec![owned("c", "d"), owned("a", "b")]));
}

#[test]
fn an_error_of_compression_behind_a_refused_field_is_told() {
    let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
    let result = decoder.decode(&[0x82, 0xff, 0x00], |_| Err("enough"));
    assert_eq!(result, Err(DecodeError::Compression(Error::Index)));
}

#[test]
fn a_block_of_references_to_a_large_entry_is_visited_up_to_the_bound() {
    const BOUND: usize = 64 * 1024;
    let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
    let large = [&bytes("40 01 61 7f a1 1e")[..], &[b'x'; 4000]].concat();
    let bomb = [large, vec![0xbe; 60_000]].concat();
    let (mut listed, mut visits) = (0, 0);
    let result = decoder.decode(&bomb, |field| {
        visits += 1;
        listed += field.name.len() + field.value.len() + 32;
        if listed > BOUND { Err(()) } else { Ok(()) }
    });
    assert_eq!(result, Err(DecodeError::Refused(())));
    assert_eq!(visits, BOUND / (4000 + 1 + 32) + 1);
}

#[test]
fn a_block_that_names_a_large_entry_over_and_over_is_an_error() {
    let large = [&bytes("40 7f a1 1e")[..], &[b'n'; 4000], &[0]].concat();
    for literal in ["7e 00", "0f 2f 00", "1f 2f 00"] {
        let named = |times| [large.clone(), bytes(literal).repeat(times)].concat();
        let decode = |block: &[u8]| {
            Decoder::new(TABLE_BYTES_DEFAULT).decode(block, |_| Err::<(), _>("enough"))
        };
        assert_eq!(decode(&named(16)), Err(DecodeError::Refused("enough")), "{literal}");
        assert_eq!(decode(&named(17)), Err(DecodeError::Compression(Error::Excess)), "{literal}");
    }
}
