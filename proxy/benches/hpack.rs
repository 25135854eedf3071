//! Time per header block of HPACK on this machine: `cargo bench -p proxy --bench hpack`.
//!
//! It prints figures and judges none. "first" is the first block of a connection, "later" one whose
//! constant fields are in the tables and whose varying fields differ each time. The fastest of several
//! rounds is printed, since anything slower was disturbed.

mod timing;

use std::hint::black_box;

use proxy::h2::hpack::{Decoder, Encoder, Field, TABLE_BYTES_DEFAULT};

use self::timing::time;

type List = &'static [(&'static str, &'static str)];

const SMALL: List = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "www.example.com"),
    (":path", "/api/v1/items/"),
    ("user-agent", "curl/8.9.1"),
    ("accept", "*/*"),
];

const BROWSER: List = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "www.example.com"),
    (":path", "/assets/app/main.4f3a9c.js?v="),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "*/*"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://www.example.com/start/page?with=query"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark; consent=1"),
    ("sec-fetch-dest", "script"),
    ("sec-fetch-mode", "no-cors"),
    ("sec-fetch-site", "same-origin"),
];

const ANSWER: List = &[
    (":status", "200"),
    ("server", "nginx"),
    ("date", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("content-type", "text/plain"),
    ("content-length", "13"),
    ("etag", "\"65920080-"),
    ("cache-control", "max-age=3600, public"),
];

/// Fields that get a number at their end, other in each block.
const VARYING: [&str; 2] = [":path", "etag"];

fn main() {
    for (name, list) in
        [("small request", SMALL), ("browser request", BROWSER), ("response", ANSWER)]
    {
        let mut encoder = Encoder::new();
        let blocks: Vec<Vec<u8>> =
            (0..64).map(|number| block(&mut encoder, list, number)).collect();
        let lists: Vec<Vec<(Vec<u8>, Vec<u8>)>> =
            (0..64).map(|number| fields(list, number)).collect();
        let mut out = Vec::with_capacity(4096);
        time(&format!("encode first {name}, {} B", blocks[0].len()), || {
            out.clear();
            write(&mut Encoder::new(), black_box(&lists[0]), &mut out);
            !out.is_empty()
        });
        let mut at = 0;
        time(&format!("encode later {name}, {} B", blocks[63].len()), || {
            out.clear();
            at = (at + 1) % lists.len();
            write(&mut encoder, black_box(&lists[at]), &mut out);
            !out.is_empty()
        });
        let mut arena = Vec::with_capacity(4096);
        time(&format!("decode first {name}, {} B", blocks[0].len()), || {
            read(&mut Decoder::new(TABLE_BYTES_DEFAULT), black_box(&blocks[0]), &mut arena)
        });
        let mut decoder = Decoder::new(TABLE_BYTES_DEFAULT);
        blocks.iter().for_each(|block| assert!(read(&mut decoder, block, &mut arena)));
        time(&format!("decode later {name}, {} B", blocks[63].len()), || {
            read(&mut decoder, black_box(&blocks[63]), &mut arena)
        });
    }
}

fn fields(list: List, number: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    list.iter()
        .map(|(name, value)| {
            let end =
                if VARYING.contains(name) { (number * 7919).to_string() } else { String::new() };
            (name.as_bytes().to_vec(), format!("{value}{end}").into_bytes())
        })
        .collect()
}

fn block(encoder: &mut Encoder, list: List, number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    write(encoder, &fields(list, number), &mut out);
    out
}

fn write(encoder: &mut Encoder, fields: &[(Vec<u8>, Vec<u8>)], out: &mut Vec<u8>) {
    let mut block = encoder.block(out);
    fields.iter().for_each(|(name, value)| block.field(name, value));
}

fn read(decoder: &mut Decoder, block: &[u8], arena: &mut Vec<u8>) -> bool {
    arena.clear();
    decoder
        .decode(block, |Field { name, value, .. }| {
            arena.extend_from_slice(name);
            arena.extend_from_slice(value);
            Ok::<_, std::convert::Infallible>(())
        })
        .is_ok()
}
