//! What the encoder writes, and what it never puts into a table.

use super::{bytes, decode};
use crate::h2::hpack::{Decoder, Encoder, TABLE_BYTES_DEFAULT};

fn written(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = encoder.block(&mut out);
    fields.iter().for_each(|(name, value)| block.field(name.as_bytes(), value.as_bytes()));
    out
}

#[test]
fn fields_of_the_static_table_are_one_byte() {
    let mut encoder = Encoder::new();
    for (name, value, byte) in [
        (":method", "GET", 0x82),
        (":method", "POST", 0x83),
        (":path", "/", 0x84),
        (":scheme", "https", 0x87),
        (":status", "404", 0x8d),
        ("accept-encoding", "gzip, deflate", 0x90),
    ] {
        assert_eq!(written(&mut encoder, &[(name, value)]), [byte], "{name}");
    }
    for (status, want) in [(200, "88"), (204, "89"), (500, "8e"), (201, "08 82 1003")] {
        let mut out = Vec::new();
        encoder.block(&mut out).status(status);
        assert_eq!(out, bytes(want), "{status}");
    }
    assert_eq!(encoder.table_bytes(), 0);
}

#[test]
fn a_field_is_indexed_when_it_is_seen_again() {
    let mut encoder = Encoder::new();
    let field = ("custom-key", "custom-value");
    let literal = "4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf";
    assert_eq!(written(&mut encoder, &[field]), bytes(&literal.replacen("40", "00", 1)));
    assert_eq!(written(&mut encoder, &[field]), bytes(literal));
    assert_eq!(written(&mut encoder, &[field]), [0xbe]);
    assert_eq!(encoder.table_bytes(), 54);
    // Its name serves other values.
    assert_eq!(written(&mut encoder, &[("custom-key", "x")]), bytes("0f 2f 01 78"));
    assert_eq!(encoder.table_bytes(), 54);
}

#[test]
fn secrets_never_enter_a_table() {
    for (name, value) in [
        ("authorization", "Bearer 0123456789abcdef0123456789"),
        ("proxy-authorization", "Basic Og=="),
        ("set-cookie", "session=0123456789abcdef0123456789"),
        ("cookie", "pin=1234"),
    ] {
        let mut encoder = Encoder::new();
        for _ in 0..4 {
            let block = written(&mut encoder, &[(name, value)]);
            assert_eq!(block[0] & 0xf0, 0x10, "{name}");
            let fields = decode(&mut Decoder::new(TABLE_BYTES_DEFAULT), &block).unwrap();
            assert_eq!(fields, [(name.to_owned(), value.to_owned(), true)]);
        }
        assert_eq!(encoder.table_bytes(), 0);
    }
    let mut encoder = Encoder::new();
    for _ in 0..4 {
        let mut out = Vec::new();
        encoder.block(&mut out).never_indexed(b"x-secret", b"1");
        assert_eq!(out[0], 0x10);
    }
    assert_eq!(encoder.table_bytes(), 0);
}

#[test]
fn size_updates_stand_first_and_tell_the_least_and_the_last() {
    let mut encoder = Encoder::new();
    for (settings, want) in [
        (&[65_536][..], ""),
        (&[4096], ""),
        (&[100], "3f 45"),
        (&[100], ""),
        (&[0], "20"),
        (&[65_536], "3f e1 1f"),
        (&[200, 0, 300], "20 3f 8d 02"),
        (&[300, 100, 200], "3f 45 3f a9 01"),
        (&[4096, 100, 200], "3f 45 3f a9 01"),
        (&[100, 30], "3e"),
    ] {
        settings.iter().for_each(|max| encoder.set_table_max(*max));
        assert_eq!(written(&mut encoder, &[]), bytes(want), "{settings:?}");
    }
}

#[test]
fn no_field_is_larger_than_the_peers_table() {
    let mut encoder = Encoder::new();
    encoder.set_table_max(40);
    for _ in 0..4 {
        written(&mut encoder, &[("name", "a value that is too long for the table")]);
        assert_eq!(encoder.table_bytes(), 0);
    }
    for _ in 0..4 {
        written(&mut encoder, &[("n", "value")]);
    }
    assert_eq!(encoder.table_bytes(), 38);
}
