//! Blocks that are errors of compression, and every truncation.

use super::{bytes, decode};
use crate::h2::hpack::{Decoder, Error, TABLE_BYTES_DEFAULT};

fn error(hex: &str) -> Option<Error> {
    decode(&mut Decoder::new(TABLE_BYTES_DEFAULT), &bytes(hex)).err()
}

#[test]
fn malformed_blocks_are_errors_of_their_kind() {
    for (hex, want) in [
        ("80", Error::Index),
        ("be", Error::Index),
        ("82 ff 00", Error::Index),
        ("7e 01 61", Error::Index),
        ("0f 7f 01 61", Error::Index),
        ("40 01 61 01 62 bf", Error::Index),
        ("ff ff ff ff ff 1f", Error::Integer),
        ("ff 80 80 80 80 80 00", Error::Integer),
        ("ff ff ff ff ff ff ff ff ff ff 7f", Error::Integer),
        ("00 7f ff ff ff ff ff 0f", Error::Integer),
        ("3f ff ff ff ff 1f", Error::Integer),
        ("ff 80 ff ff ff 0f", Error::Index),
        ("ff 81 ff ff ff 0f", Error::Integer),
        ("00 7f 80 ff ff ff 0f", Error::Truncated),
        ("3f e2 1f", Error::TableSize),
        ("3f e0 ff ff ff 0f", Error::TableSize),
        ("82 20", Error::TableSizePlace),
        ("40 01 61 01 62 3f 00", Error::TableSizePlace),
        ("20 3f 00 3f 00", Error::TableSizePlace),
        ("00 81 1e 00", Error::Huffman),
        ("00 01 61 81 ff", Error::Huffman),
        ("00 01 61 84 ff ff ff ff", Error::Huffman),
    ] {
        assert_eq!(error(hex), Some(want), "{hex}");
    }
}

#[test]
fn integers_at_their_edges_are_read() {
    for (hex, name_bytes) in [("00 7e", 126), ("00 7f 00", 127), ("00 7f 80 01", 255)] {
        let block = [bytes(hex), vec![b'n'; name_bytes], vec![0]].concat();
        let fields = decode(&mut Decoder::new(TABLE_BYTES_DEFAULT), &block).unwrap();
        assert_eq!(fields[0].0.len(), name_bytes);
    }
    // Written with more bytes than needed, and the 31 + 1306 of appendix C.1.2.
    let padded = bytes("ff 80 80 80 80 00");
    assert_eq!(decode(&mut Decoder::new(4096), &padded), Err(Error::Index));
    assert_eq!(error("3f 9a 0a"), None);
    assert_eq!(error("3f e1 1f 20"), None);
    assert_eq!(error("20 3f e1 1f 82"), None);
}

#[test]
fn a_block_cut_inside_a_field_is_truncated_and_nothing_else() {
    // Each field with the places at which a cut leaves whole fields.
    let fields = [
        "82",
        "40 0a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        "be",
        "04 0c 2f73 616d 706c 652f 7061 7468",
        "10 08 7061 7373 776f 7264 06 7365 6372 6574",
        "41 8c f1e3 c2e5 f23a 6ba0 ab90 f4ff",
        "0f 2f 01 61",
        &format!("00 7f 01 {} 00", "61".repeat(128)),
    ];
    let (mut block, mut ends) = (Vec::new(), vec![0]);
    for field in fields {
        block.extend(bytes(field));
        ends.push(block.len());
    }
    for cut in 0..=block.len() {
        let got = decode(&mut Decoder::new(TABLE_BYTES_DEFAULT), &block[..cut]);
        match ends.iter().position(|end| *end == cut) {
            Some(whole) => assert_eq!(got.map(|list| list.len()), Ok(whole), "{cut}"),
            None => assert_eq!(got, Err(Error::Truncated), "{cut}"),
        }
    }
}
