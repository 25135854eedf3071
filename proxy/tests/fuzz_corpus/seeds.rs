//! The seeds that are made by code, since they are binary, and a test that they are in the corpus.
//!
//! `UPDATE=1 cargo test -p proxy --test fuzz_corpus` writes them. Other files of the corpus, which are
//! text or were found by a fuzzer, are not known here.

use std::fs;

use super::replay::folder;
use super::{h2_text, hpack_text};

/// Target, name and bytes.
type Seed = (&'static str, String, Vec<u8>);

/// Longer ones take a fuzzer more time than they are worth.
const SEED_BYTES_MAX: usize = 3000;

#[test]
fn the_corpus_holds_every_seed_that_is_made_by_code() {
    let update = std::env::var_os("UPDATE").is_some();
    for (target, name, bytes) in seeds().filter(|(.., bytes)| bytes.len() <= SEED_BYTES_MAX) {
        let path = folder().join("corpus").join(target).join(&name);
        if update {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let is_held = fs::read(&path).is_ok_and(|held| held == bytes);
        assert!(is_held, "{}: run again with UPDATE=1", path.display());
    }
}

fn seeds() -> impl Iterator<Item = Seed> {
    h2().chain(pairs()).chain(hpack()).chain(hellos()).chain(answers()).chain(headers())
}

/// Connections with drivers that look on, and those that bring requests also with others.
fn h2() -> impl Iterator<Item = Seed> {
    const BUSY: [&str; 11] = [
        "interleaved",
        "length-short",
        "padding",
        "post",
        "reset",
        "response",
        "response-length",
        "trailers",
        "websocket",
        "window-small",
        "window-zero",
    ];
    const SCRIPTS: [u8; 9] = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x23, 0x44, 0x83];
    h2_text::seeds().into_iter().flat_map(|seed| {
        let target = if seed.is_server { "h2_server" } else { "h2_client" };
        let scripts = if BUSY.contains(&&*seed.name) { &SCRIPTS[..] } else { &[] };
        let with = |script: u8, name: String| (target, name, [&[script][..], &seed.bytes].concat());
        let mut seeds = vec![with(0, seed.name.clone())];
        seeds.extend(
            scripts
                .iter()
                .map(|&script| with(script, format!("{}-script-{script:02x}", seed.name))),
        );
        let preface = if seed.is_server { 24.min(seed.bytes.len()) } else { 0 };
        seeds.push(("h2_frame", seed.name.clone(), seed.bytes[preface..].to_vec()));
        seeds
    })
}

/// Windows, then operations: open, carry, send, respond, release, reset.
fn pairs() -> impl Iterator<Item = Seed> {
    const UP: [u8; 3] = [2, 0, 255];
    const DOWN: [u8; 3] = [4, 0, 255];
    const ROUND: [[u8; 3]; 8] =
        [[0, 0, 0], UP, [7, 0, 0], [6, 1, 90], [8, 1, 200], UP, DOWN, [9, 0, 255]];
    let narrow = [0; 8];
    let wide = [0x40, 0, 0x40, 0, 0xff, 0xff, 0xff, 0xff];
    let reset = [[10, 0, 0], [0, 0, 0], UP, [11, 0, 0], DOWN];
    [
        ("nothing", narrow, Vec::new()),
        ("narrow-windows", narrow, ROUND.repeat(4)),
        ("wide-windows", wide, ROUND.repeat(12)),
        ("resets-by-both", wide, [&ROUND[..], &reset, &ROUND].concat()),
        ("many-streams", wide, [[0, 0, 0]; 25].into_iter().chain([UP, DOWN]).collect()),
    ]
    .into_iter()
    .map(|(name, windows, operations)| {
        ("h2_pair", name.to_owned(), [&windows[..], operations.as_flattened()].concat())
    })
}

/// Each block behind its length.
fn hpack() -> impl Iterator<Item = Seed> {
    hpack_text::seeds().into_iter().map(|seed| {
        let blocks = seed.blocks.iter().map(|block| long(block));
        ("hpack", seed.name, blocks.collect::<Vec<_>>().concat())
    })
}

fn hellos() -> impl Iterator<Item = Seed> {
    let whole = |name: &str| record(&hello(name));
    let exact = hello("exact.test");
    [
        ("passed-by-name", whole("exact.test")),
        ("passed-by-wildcard", whole("a.b.pass.test")),
        ("upper-case-name", whole("EXACT.test")),
        ("name-without-certificate", whole("http.test")),
        ("unclaimed-name", whole("nobody.test")),
        ("no-name", whole("")),
        ("in-two-records-with-more-behind", {
            [record(&exact[..50]), record(&exact[50..]), b"behind".to_vec()].concat()
        }),
        ("alert", b"\x15\x03\x03\x00\x02\x02\x28".to_vec()),
        ("plain-http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("empty-record", record(b"")),
        ("version-2", b"\x80\x2e\x01\x03\x01".to_vec()),
    ]
    .into_iter()
    .map(|(name, bytes)| ("client_hello", name.to_owned(), bytes))
}

/// Behind its length in two bytes.
fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn record(handshake: &[u8]) -> Vec<u8> {
    [b"\x16\x03\x01", &long(handshake)[..]].concat()
}

/// A ClientHello of TLS 1.3 as a handshake message.
fn hello(name: &str) -> Vec<u8> {
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &long(body)].concat();
    let named = [b"\0", &long(name.as_bytes())[..]].concat();
    let key = [b"\0\x1d", &long(&[9; 32])[..]].concat();
    let extensions = [
        if name.is_empty() { Vec::new() } else { extension(0, &long(&named)) },
        extension(10, &long(b"\0\x1d\0\x17")),
        extension(13, &long(b"\x04\x03\x08\x04")),
        extension(16, &long(b"\x02h2")),
        extension(43, b"\x02\x03\x04"),
        extension(51, &long(&key)),
    ]
    .concat();
    let ciphers = long(b"\x13\x01\xc0\x2b");
    let body = [b"\x03\x03", &[7; 32][..], b"\0", &ciphers, b"\x01\0", &long(&extensions)].concat();
    [&[1, 0], &long(&body)[..]].concat()
}

fn answers() -> impl Iterator<Item = Seed> {
    let option = |name: &[u8], value: &[u8]| field(1, &[field(1, name), field(2, value)].concat());
    let success = field(1, b"");
    let edits = [
        field(2, &option(b"x-user", b"you")),
        field(2, &[option(b"x-more", b"1"), b"\x18\x01".to_vec()].concat()),
        field(2, &[option(b"x-user", b""), b"\x20\x01".to_vec()].concat()),
        field(2, &[option(b"x-old", b"1"), field(2, b"\x08\x01")].concat()),
        field(5, b"cookie"),
        field(6, &option(b"x-answered", b"1")),
        field(7, &[field(1, b"c"), field(2, b"3")].concat()),
        field(8, b"a"),
    ]
    .concat();
    let denied = [
        field(1, b"\x08\x91\x03"),
        field(2, &option(b"www-authenticate", b"Basic")),
        field(3, b"no"),
    ]
    .concat();
    let refused = field(1, b"\x08\x07");
    let framed = |message: &[u8]| [b"\0", message].concat();
    let text = |how: u8, text: &str| [&[how], text.as_bytes()].concat();
    [
        ("allowed", framed(&success)),
        ("allowed-with-edits", framed(&[success.clone(), field(3, &edits)].concat())),
        ("denied", framed(&refused)),
        ("denied-with-answer", framed(&[refused, field(2, &denied)].concat())),
        ("own-frame", [b"\x01\0\0\0\0\x02", &success[..]].concat()),
        ("field-out-of-reach", framed(&field(3, &field(2, &option(b"host", b"evil"))))),
        ("http-allowed", text(2, "HTTP/1.1 200 OK\r\nX-User: you\r\nX-Other: 1\r\n\r\n")),
        ("http-all-fields", text(3, "HTTP/1.1 200 OK\r\nX-User: you\r\nContent-Type: a\r\n\r\n")),
        ("http-denied", text(3, "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\n")),
    ]
    .into_iter()
    .map(|(name, bytes)| ("auth_answer", name.to_owned(), bytes))
}

/// A field of a message, of bytes shorter than 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// The PROXY protocol, version 2.
fn headers() -> impl Iterator<Item = Seed> {
    let header = |command_and_family: &[u8; 2], rest: &[u8]| {
        [b"\r\n\r\n\0\r\nQUIT\n", &command_and_family[..], &long(rest)].concat()
    };
    let four = [192, 0, 2, 1, 198, 51, 100, 7, 31, 144, 0, 80];
    let six: Vec<u8> = (0..36).collect();
    let mapped = [&[0; 10][..], &[0xff; 2], &four[..4]].concat().repeat(2);
    let mapped = [&mapped[..], &four[8..]].concat();
    let with_fields = [&four[..], &[3, 0, 4, 1, 2, 3, 4, 4, 0, 0]].concat();
    [
        ("v2-tcp4", header(b"\x21\x11", &four)),
        ("v2-tcp6", header(b"\x21\x21", &six)),
        ("v2-tcp6-mapped", header(b"\x21\x21", &mapped)),
        ("v2-with-fields", header(b"\x21\x11", &with_fields)),
        ("v2-local", header(b"\x20\x00", b"")),
        ("v2-unix", header(b"\x21\x31", &[b'/'; 216])),
        ("v2-too-short", header(b"\x21\x21", &four)),
        ("v2-followed", [&header(b"\x21\x12", &four)[..], b"GET / HTTP/1.1\r\n"].concat()),
    ]
    .into_iter()
    .map(|(name, bytes)| ("proxy_protocol", name.to_owned(), bytes))
}
