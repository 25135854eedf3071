//! Smooth weighted round-robin: one cursor per rule with two or more backends.
//!
//! The `k`-th pick of a backend with weight `w` out of `W` is due at the time `(k + ½) · W / w` of a
//! cycle of `W` picks; the earliest due pick is next, ties by position. So every `W` picks in a row
//! hold each backend exactly `w` times, evenly spread: 90 to 10 sends each tenth pick to the second.
//! Used by [`super::Local`]; each shard starts elsewhere in the cycle. A pick costs O(backends).

use smallvec::SmallVec;

use crate::table::WeightedBackend;

/// Where a rule's cycle stands. Empty until the first pick.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    shares: SmallVec<[Share; 4]>,
    /// Picks made of this cycle.
    position: u64,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    weight: u32,
    /// Picks of this backend in this cycle.
    picked: u32,
}

impl Share {
    /// `(2k + 1) / 2w`, compared crosswise in 128 bits so that no weight overflows.
    fn is_due_before(self, other: Self) -> bool {
        let due = |a: Self, b: Self| (2 * u128::from(a.picked) + 1) * u128::from(b.weight);
        due(self, other) < due(other, self)
    }
}

impl Cursor {
    /// The next of `backends`, which are two or more. `phase` is where in the cycle a cursor starts,
    /// in 2^-32 of a cycle. Changed weights continue at the same part of the cycle.
    pub(super) fn next(&mut self, backends: &[WeightedBackend], phase: u32) -> usize {
        let same = self.shares.len() == backends.len()
            && self.shares.iter().zip(backends).all(|(share, b)| share.weight == b.weight);
        if !same {
            self.restart(backends, phase);
        }
        self.advance()
    }

    fn advance(&mut self) -> usize {
        let mut best = 0;
        for at in 1..self.shares.len() {
            if self.shares[at].is_due_before(self.shares[best]) {
                best = at;
            }
        }
        self.shares[best].picked += 1;
        self.position += 1;
        if self.position == self.total {
            self.position = 0;
            self.shares.iter_mut().for_each(|share| share.picked = 0);
        }
        best
    }

    fn restart(&mut self, backends: &[WeightedBackend], phase: u32) {
        let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
        // Rounded to the nearest, so that many edits do not add up to a drift.
        let scaled = |part: u64, of: u64| {
            let (part, of) = (u128::from(part), u128::from(of));
            ((part * u128::from(total) + of / 2) / of) as u64 % total
        };
        let position = match self.total {
            0 => scaled(u64::from(phase), 1 << 32),
            before => scaled(self.position, before),
        };
        // All picks due up to a time are a state that picking from the start reaches; choose the time
        // so early that they are not yet `position`, then pick the rest: at most one per backend.
        let early = position.saturating_sub(backends.len() as u64);
        let due = |weight: u32| {
            ((2 * u128::from(early) * u128::from(weight) + u128::from(total))
                / (2 * u128::from(total))) as u32
        };
        let start = |b: &WeightedBackend| Share {
            weight: b.weight,
            picked: if early == 0 { 0 } else { due(b.weight) },
        };
        self.shares = backends.iter().map(start).collect();
        self.position = self.shares.iter().map(|share| u64::from(share.picked)).sum();
        self.total = total;
        while self.position < position {
            self.advance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(weights: &[u32]) -> Vec<WeightedBackend> {
        let one = |&weight: &u32| WeightedBackend {
            slot: None,
            weight,
            filters: Vec::new(),
            mirrors: Vec::new(),
        };
        weights.iter().map(one).collect()
    }

    fn picks(cursor: &mut Cursor, weights: &[u32], phase: u32, count: u64) -> Vec<u64> {
        let backends = backends(weights);
        let mut seen = vec![0; weights.len()];
        for _ in 0..count {
            seen[cursor.next(&backends, phase)] += 1;
        }
        seen
    }

    #[test]
    fn every_cycle_from_every_phase_holds_exactly_the_weights() {
        for weights in [&[90, 10][..], &[1, 1], &[1, 2, 3], &[5, 1, 1], &[7, 3, 2, 11, 1]] {
            let total = weights.iter().map(|&w| u64::from(w)).sum();
            for phase in (0..64).map(|n| u32::MAX / 64 * n).chain([u32::MAX]) {
                let mut cursor = Cursor::default();
                for _ in 0..3 {
                    let seen = picks(&mut cursor, weights, phase, total);
                    let expected: Vec<u64> = weights.iter().map(|&w| w.into()).collect();
                    assert_eq!(seen, expected, "phase {phase}");
                }
            }
        }
    }

    #[test]
    fn a_phase_is_a_point_that_picking_from_the_start_passes() {
        let weights = backends(&[7, 3, 2, 11, 1]);
        let mut whole = Cursor::default();
        let cycle: Vec<usize> = (0..24).map(|_| whole.next(&weights, 0)).collect();
        for start in 0..24_usize {
            let phase = ((start as u64) << 32) / 24;
            let mut cursor = Cursor::default();
            let seen: Vec<usize> = (0..24).map(|_| cursor.next(&weights, phase as u32)).collect();
            let turned: Vec<usize> = (0..24).map(|at| cycle[(start + at) % 24]).collect();
            assert_eq!(seen, turned, "start {start}");
        }
    }

    #[test]
    fn ninety_to_ten_is_interleaved() {
        let weights = backends(&[90, 10]);
        let mut cursor = Cursor::default();
        for tenth in 0..30 {
            let second = (0..10).filter(|_| cursor.next(&weights, 0) == 1).count();
            assert_eq!(second, 1, "in picks {} to {}", tenth * 10, tenth * 10 + 9);
        }
    }

    #[test]
    fn weights_of_a_million_keep_their_shares() {
        let mut cursor = Cursor::default();
        let seen = picks(&mut cursor, &[1_000_000, 1], u32::MAX / 3, 1_000_001);
        assert_eq!(seen, [1_000_000, 1]);
        let seen = picks(&mut Cursor::default(), &[u32::MAX; 3], u32::MAX, 3_000);
        assert_eq!(seen, [1_000; 3]);
    }

    #[test]
    fn an_edit_of_weights_goes_on_where_the_cycle_stood() {
        let mut cursor = Cursor::default();
        let mut second = 0;
        for edit in 0..400 {
            let weights = backends(&[99 + edit % 2, 1]);
            second += (0..3).filter(|_| cursor.next(&weights, 0) == 1).count();
        }
        assert!((9..=15).contains(&second), "{second} of 1,200 although edits never stopped");
    }
}
