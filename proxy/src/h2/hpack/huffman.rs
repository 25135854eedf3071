//! The Huffman code of RFC 7541 appendix B, both ways.
//!
//! The code is canonical: codes of one length follow each other in the order of the symbols, so the
//! lengths say everything and all tables are made from them at compile time. Called by the decoder
//! and the encoder. Invariant: decoding gives at most 8 bytes for 5, and costs one step a byte given.

use super::Error;

const SYMBOLS: usize = 257;
const EOS: usize = 256;
const CODE_BITS_MAX: u32 = 30;
/// Codes up to this length, all of the usual letters, are decoded by one look into [`SHORT`], two at
/// once if both fit.
const SHORT_BITS: u32 = 12;
const CODE_BITS_MIN: usize = 5;

/// Bits of each symbol's code, the end-of-string symbol last.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// A code's bits, at the low end, and their number.
#[derive(Clone, Copy)]
struct Code {
    bits: u32,
    length: u8,
}

/// All codes of one length, as they stand at the high end of 30 bits.
#[derive(Clone, Copy)]
struct Length {
    /// The first code.
    first: u32,
    /// One past the last code.
    end: u32,
    /// Place of the first code's symbol in the order of codes.
    symbol: usize,
}

struct Tables {
    codes: [Code; SYMBOLS],
    lengths: [Length; CODE_BITS_MAX as usize + 1],
    /// Symbols in the order of their codes.
    order: [u16; SYMBOLS],
}

const TABLES: Tables = tables();
static CODES: [Code; SYMBOLS] = TABLES.codes;
static BY_LENGTH: [Length; CODE_BITS_MAX as usize + 1] = TABLES.lengths;
static ORDER: [u16; SYMBOLS] = TABLES.order;
/// By the next bits: the symbols that they begin with.
static SHORT: [Short; 1 << SHORT_BITS] = short();

/// What some bits begin with: no symbol if the code is longer, or one or two.
#[derive(Clone, Copy)]
struct Short {
    symbols: [u8; 2],
    count: u8,
    /// Bits of all their codes.
    length: u8,
}

const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [Code { bits: 0, length: 0 }; SYMBOLS],
        lengths: [Length { first: 0, end: 0, symbol: 0 }; CODE_BITS_MAX as usize + 1],
        order: [0; SYMBOLS],
    };
    let (mut next, mut given, mut length) = (0, 0, 1);
    while length <= CODE_BITS_MAX {
        let step = 1 << (CODE_BITS_MAX - length);
        let (first, symbol) = (next, given);
        let mut at = 0;
        while at < SYMBOLS {
            if LENGTHS[at] as u32 == length {
                let bits = next >> (CODE_BITS_MAX - length);
                tables.codes[at] = Code { bits, length: length as u8 };
                tables.order[given] = at as u16;
                given += 1;
                next += step;
            }
            at += 1;
        }
        tables.lengths[length as usize] = Length { first, end: next, symbol };
        length += 1;
    }
    assert!(given == SYMBOLS && next == 1 << CODE_BITS_MAX, "the code is complete");
    tables
}

const fn short() -> [Short; 1 << SHORT_BITS] {
    let mut table = [Short { symbols: [0; 2], count: 0, length: 0 }; 1 << SHORT_BITS];
    let mut one = 0;
    while one < EOS {
        let first = TABLES.codes[one];
        if first.length as u32 <= SHORT_BITS {
            put(
                &mut table,
                first,
                Short { symbols: [one as u8, 0], count: 1, length: first.length },
            );
            let mut two = 0;
            while two < EOS {
                let second = TABLES.codes[two];
                let length = first.length + second.length;
                if length as u32 <= SHORT_BITS {
                    let bits = first.bits << second.length | second.bits;
                    let both = Short { symbols: [one as u8, two as u8], count: 2, length };
                    put(&mut table, Code { bits, length }, both);
                }
                two += 1;
            }
        }
        one += 1;
    }
    table
}

/// Puts `what` wherever the bits begin with `code`.
const fn put(table: &mut [Short; 1 << SHORT_BITS], code: Code, what: Short) {
    let free = SHORT_BITS - code.length as u32;
    let mut at = 0;
    while at < 1 << free {
        table[(code.bits as usize) << free | at] = what;
        at += 1;
    }
}

/// Bytes that `text` takes when coded.
pub(super) fn coded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends `text`, coded and padded with the first bits of the end-of-string symbol.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0_u64, 0_u32);
    for byte in text {
        let code = CODES[usize::from(*byte)];
        bits = bits << code.length | u64::from(code.bits);
        held += u32::from(code.length);
        if held >= 32 {
            held -= 32;
            out.extend_from_slice(&((bits >> held) as u32).to_be_bytes());
        }
    }
    let padding = held.wrapping_neg() % 8;
    bits = bits << padding | ((1 << padding) - 1);
    held += padding;
    let last = (bits << (64 - held).min(63)).to_be_bytes();
    out.extend_from_slice(&last[..held as usize / 8]);
}

/// The bits of a coded string, the next one highest.
struct Bits<'b> {
    bits: u64,
    held: u32,
    rest: &'b [u8],
}

impl Bits<'_> {
    /// Holds 57 bits or more, or all that are left.
    fn fill(&mut self) {
        if let Some(eight) = self.rest.first_chunk::<8>() {
            self.bits |= u64::from_be_bytes(*eight) >> self.held;
            let taken = (64 - self.held) / 8;
            self.rest = &self.rest[taken as usize..];
            self.held += taken * 8;
            // Bits beyond `held` would be added twice.
            self.bits &= !(u64::MAX.checked_shr(self.held).unwrap_or(0));
            return;
        }
        while self.held <= 56 {
            let Some((byte, rest)) = self.rest.split_first() else { return };
            self.bits |= u64::from(*byte) << (56 - self.held);
            self.held += 8;
            self.rest = rest;
        }
    }

    fn drop(&mut self, length: u32) {
        self.bits <<= length;
        self.held -= length;
    }

    /// Whether what is held is the padding of a string: under a byte, all ones.
    fn is_padding(&self) -> bool {
        self.held < 8 && self.bits.leading_ones() >= self.held
    }
}

/// Appends the string that `coded` stands for. After an error the bytes appended mean nothing.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    // One more, since two are always written.
    out.resize(start + coded.len() * 8 / CODE_BITS_MIN + 1, 0);
    let mut given = start;
    let mut input = Bits { bits: 0, held: 0, rest: coded };
    loop {
        input.fill();
        loop {
            let short = SHORT[(input.bits >> (64 - SHORT_BITS)) as usize];
            if short.count == 0 || u32::from(short.length) > input.held {
                break;
            }
            out[given..given + 2].copy_from_slice(&short.symbols);
            given += usize::from(short.count);
            input.drop(short.length.into());
        }
        let is_last = input.rest.is_empty();
        if is_last && input.is_padding() {
            break;
        }
        if is_last || input.held >= CODE_BITS_MAX {
            let (symbol, length) = next(&input).ok_or(Error::Huffman)?;
            out[given] = u8::try_from(symbol).map_err(|_| Error::Huffman)?;
            given += 1;
            input.drop(length);
        }
    }
    out.truncate(given);
    Ok(())
}

/// The next symbol and its length; none if the string ends before it does.
fn next(input: &Bits<'_>) -> Option<(u16, u32)> {
    // Ones beyond the end: they begin the longest codes only.
    let bits = input.bits | u64::MAX.checked_shr(input.held).unwrap_or(0);
    let code = (bits >> (64 - CODE_BITS_MAX)) as u32;
    let length = (CODE_BITS_MIN as u32..CODE_BITS_MAX)
        .find(|length| code < BY_LENGTH[*length as usize].end)
        .unwrap_or(CODE_BITS_MAX);
    let of = BY_LENGTH[length as usize];
    let place = of.symbol + ((code - of.first) >> (CODE_BITS_MAX - length)) as usize;
    (length <= input.held).then(|| (ORDER[place], length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_appendix() {
        for (symbol, bits, length) in [
            (0, 0x1ff8, 13),
            (b'0', 0x0, 5),
            (b' ', 0x14, 6),
            (b'/', 0x18, 6),
            (b'A', 0x21, 6),
            (b'\\', 0x7_fff0, 19),
            (b'~', 0x1ffd, 13),
            (127, 0xfff_fffc, 28),
            (249, 0xfff_fffe, 28),
            (255, 0x3ff_ffee, 26),
        ] {
            let code = CODES[usize::from(symbol)];
            assert_eq!((code.bits, code.length), (bits, length), "symbol {symbol}");
        }
        assert_eq!((CODES[EOS].bits, CODES[EOS].length), (0x3fff_ffff, 30));
    }

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        encode(text, &mut out);
        assert_eq!(out.len(), 6 + coded_len(text), "{text:?}");
        out.split_off(6)
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = b"before".to_vec();
        decode(coded, &mut out)?;
        Ok(out.split_off(6))
    }

    #[test]
    fn every_pair_of_bytes_comes_back() {
        for one in 0..=255 {
            for two in 0..=255 {
                let text = [one, two, one];
                assert_eq!(decoded(&coded(&text)).as_deref(), Ok(&text[..]));
            }
        }
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decoded(&coded(&all)), Ok(all));
        assert_eq!(decoded(&[]), Ok(Vec::new()));
    }

    #[test]
    fn padding_is_under_a_byte_of_ones() {
        assert_eq!(decoded(&[0x1f]).as_deref(), Ok(&b"a"[..]), "'a' is 00011, three ones");
        for wrong in [
            &[0x1e][..],   // a zero in the padding
            &[0x18],       // all zeros
            &[0xff],       // a whole byte of padding
            &[0x1f, 0xff], // the same behind a symbol
            &[0xff, 0xff], // more
            &[0xff, 0xff, 0xff],
        ] {
            assert_eq!(decoded(wrong), Err(Error::Huffman), "{wrong:x?}");
        }
    }

    #[test]
    fn the_end_of_string_symbol_is_refused_anywhere() {
        for before in 0..16 {
            for after in 0..16 {
                // Five bits of '0' each, 30 ones, then more '0' and padding.
                let bits = 5 * (before + after) + 30;
                let text = (0..bits).map(|at| at >= 5 * before && at < 5 * before + 30);
                let padded: Vec<bool> = text.chain([true; 7]).collect();
                let bytes: Vec<u8> = padded
                    .chunks_exact(8)
                    .map(|chunk| chunk.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
                    .collect();
                assert_eq!(decoded(&bytes), Err(Error::Huffman), "{before} {after}");
            }
        }
    }
}
