//! Mutants of a corpus, the same ones every time.

/// xorshift64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) as usize) % bound.max(1)
    }

    pub(super) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}

/// Bytes at which lengths, flags and indexes change their meaning, and those of text.
const EDGES: &[u8] = b"\x00\x01\x02\x04\x08\x09\x1f\x20\x3f\x40\x7f\x80\xbe\xff\r\n :;,%/.=";
/// The longest piece that is copied.
const PIECE_BYTES_MAX: usize = 64;
const LENGTH_MAX: usize = 8 * 1024;

/// `input` with a few changes; pieces of `other` may enter.
pub(super) fn mutant(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 => bytes.insert(at, *random.pick(EDGES)),
            1 => bytes.truncate(at),
            2 => splice(&mut bytes, at, other, random),
            3 => {
                let own = bytes.clone();
                splice(&mut bytes, at, &own, random);
            }
            4 => {
                let start = random.below(other.len() + 1);
                bytes.extend_from_slice(&other[start..]);
            }
            _ if at == bytes.len() => {}
            5 => bytes[at] ^= 1 << random.below(8),
            6 => bytes[at] = *random.pick(EDGES),
            _ => {
                let end = bytes.len().min(at + 1 + random.below(PIECE_BYTES_MAX));
                bytes.drain(at..end);
            }
        }
    }
    bytes.truncate(LENGTH_MAX);
    bytes
}

fn splice(bytes: &mut Vec<u8>, at: usize, other: &[u8], random: &mut Random) {
    let start = random.below(other.len() + 1);
    let end = other.len().min(start + random.below(PIECE_BYTES_MAX));
    bytes.splice(at..at, other[start..end].iter().copied());
}
