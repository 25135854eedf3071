//! Properties of HPACK over made-up connections: with itself, and with another implementation.

use std::convert::Infallible;

use httlib_hpack::{Decoder as OtherDecoder, Encoder as OtherEncoder};
use proptest::collection::vec;
use proptest::prelude::*;
use proxy::h2::hpack::{DecodeError, Decoder, Encoder, TABLE_BYTES_DEFAULT};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    name: Vec<u8>,
    value: Vec<u8>,
    never_indexed: bool,
}

/// One block of a connection, and what the settings said before it.
#[derive(Clone, Debug)]
struct Step {
    table_max: Vec<u32>,
    fields: Vec<Owned>,
    /// How the other implementation writes each field.
    flags: Vec<u8>,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    const NAMES: &[&str] = &[
        ":status",
        ":path",
        ":method",
        ":authority",
        "accept",
        "content-type",
        "content-length",
        "cookie",
        "date",
        "set-cookie",
        "authorization",
        "user-agent",
        "x-a",
        "x-b",
        "x-request-id",
        "grpc-status",
    ];
    prop_oneof![
        8 => prop::sample::select(NAMES).prop_map(|name| name.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..40),
        1 => vec(b'a'..=b'z', 1..200),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    const VALUES: &[&str] = &[
        "",
        "200",
        "404",
        "GET",
        "/",
        "/index.html",
        "text/plain",
        "text/html; charset=utf-8",
        "0",
        "13",
        "no-cache",
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "session=0123456789abcdef0123456789abcdef",
    ];
    prop_oneof![
        8 => prop::sample::select(VALUES).prop_map(|value| value.as_bytes().to_vec()),
        2 => vec(32_u8..127, 0..64),
        1 => vec(any::<u8>(), 0..64),
        1 => (any::<u8>(), 0_usize..5000).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn field() -> impl Strategy<Value = Owned> {
    (name(), value(), prop::bool::weighted(0.1)).prop_map(|(name, value, never_indexed)| Owned {
        name,
        value,
        never_indexed,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let table_max = prop_oneof![
        5 => Just(Vec::new()),
        1 => vec(prop_oneof![Just(0), 0_u32..300, 0_u32..5000, Just(65_536)], 1..4),
    ];
    let fields = vec((field(), 0_u8..8), 0..20);
    vec((table_max, fields), 1..20).prop_map(|steps| {
        steps
            .into_iter()
            .map(|(table_max, fields)| {
                let (fields, flags) = fields.into_iter().unzip();
                Step { table_max, fields, flags }
            })
            .collect()
    })
}

fn written(encoder: &mut Encoder, step: &Step) -> Vec<u8> {
    step.table_max.iter().for_each(|max| encoder.set_table_max(*max));
    let mut out = Vec::new();
    let mut block = encoder.block(&mut out);
    for field in &step.fields {
        if field.never_indexed {
            block.never_indexed(&field.name, &field.value);
        } else {
            block.field(&field.name, &field.value);
        }
    }
    out
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Owned>, DecodeError<Infallible>> {
    let mut fields = Vec::new();
    decoder.decode(block, |field| {
        fields.push(Owned {
            name: field.name.to_vec(),
            value: field.value.to_vec(),
            never_indexed: field.never_indexed,
        });
        Ok(())
    })?;
    Ok(fields)
}

/// Names and values: a field's flag may also come from the encoder's own care.
fn pairs(fields: &[Owned]) -> Vec<(&[u8], &[u8])> {
    fields.iter().map(|field| (&field.name[..], &field.value[..])).collect()
}

/// Visits a block, keeping the first `kept` fields only.
fn read_some(decoder: &mut Decoder, block: &[u8], kept: usize) -> usize {
    let mut visits = 0;
    let result = decoder.decode(block, |_| {
        visits += 1;
        if visits > kept { Err(()) } else { Ok(()) }
    });
    assert!(matches!(result, Ok(()) | Err(DecodeError::Refused(()))), "{result:?}");
    visits
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn what_is_written_is_read(steps in steps(), kept in 0_usize..20) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(TABLE_BYTES_DEFAULT));
        let mut refusing = Decoder::new(TABLE_BYTES_DEFAULT);
        for step in &steps {
            let block = written(&mut encoder, step);
            let fields = read(&mut decoder, &block).unwrap();
            prop_assert_eq!(pairs(&fields), pairs(&step.fields));
            for (got, want) in fields.iter().zip(&step.fields) {
                prop_assert!(got.never_indexed || !want.never_indexed);
            }
            prop_assert_eq!(decoder.table_bytes(), encoder.table_bytes());
            let visits = read_some(&mut refusing, &block, kept);
            prop_assert_eq!(visits, step.fields.len().min(kept + 1));
            prop_assert_eq!(refusing.table_bytes(), encoder.table_bytes());
        }
    }

    #[test]
    fn another_implementation_reads_what_is_written(steps in steps()) {
        let mut encoder = Encoder::new();
        let mut other = OtherDecoder::with_dynamic_size(TABLE_BYTES_DEFAULT as u32);
        for step in &steps {
            let mut block = written(&mut encoder, step);
            let mut fields = Vec::new();
            other.decode(&mut block, &mut fields).unwrap();
            let got: Vec<_> = fields.iter().map(|(name, value, _)| (&name[..], &value[..])).collect();
            prop_assert_eq!(got, pairs(&step.fields));
            for ((.., flags), want) in fields.iter().zip(&step.fields) {
                let is_never_indexed = flags & OtherDecoder::NEVER_INDEXED != 0;
                prop_assert!(is_never_indexed || !want.never_indexed);
            }
        }
    }

    #[test]
    fn what_another_implementation_writes_is_read(steps in steps()) {
        let mut other = OtherEncoder::with_dynamic_size(TABLE_BYTES_DEFAULT as u32);
        let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
        for step in &steps {
            let mut block = Vec::new();
            for max in step.table_max.iter().rev().take(2) {
                other.update_max_dynamic_size((*max).min(TABLE_BYTES_DEFAULT as u32), &mut block).unwrap();
            }
            for (field, flags) in step.fields.iter().zip(&step.flags) {
                let how = if field.never_indexed {
                    flags & !OtherEncoder::WITH_INDEXING | OtherEncoder::NEVER_INDEXED
                } else {
                    flags | OtherEncoder::BEST_FORMAT
                };
                other.encode((field.name.clone(), field.value.clone(), how), &mut block).unwrap();
            }
            let fields = read(&mut decoder, &block);
            prop_assert_eq!(fields.as_ref(), Ok(&step.fields));
        }
    }

    #[test]
    fn any_bytes_end_in_fields_or_an_error(blocks in vec(vec(any::<u8>(), 0..80), 1..8)) {
        let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
        for block in &blocks {
            let Ok(fields) = read(&mut decoder, block) else { break };
            prop_assert!(fields.len() <= block.len());
            prop_assert!(decoder.table_bytes() <= TABLE_BYTES_DEFAULT);
        }
    }
}
