//! When requests are meant to be sent: fixed before the run, and never moved by slow answers.
//!
//! Called by `load::engine`. Invariant: times only grow, and depend on rate, arrival and seed alone.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrival {
    /// Independent users: exponential gaps. Bursts are part of it.
    #[default]
    Poisson,
    /// One request every 1/rate seconds.
    Constant,
}

/// A small generator (splitmix64): good enough for arrivals and bootstrap, and reproducible.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1].
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

/// The intended send times, in nanoseconds since the start.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    gap: f64,
    arrival: Arrival,
    random: Random,
    next: f64,
    end: f64,
}

impl Schedule {
    /// `rate` requests a second until `end` nanoseconds.
    pub(crate) fn new(rate: f64, arrival: Arrival, end: u64, seed: u64) -> Self {
        let mut schedule = Self {
            gap: 1e9 / rate,
            arrival,
            random: Random::new(seed),
            next: 0.0,
            end: end as f64,
        };
        if arrival == Arrival::Poisson {
            schedule.advance();
        }
        schedule
    }

    /// The next intended time, or nothing when the run is over.
    pub(crate) fn peek(&self) -> Option<u64> {
        (self.next < self.end).then_some(self.next as u64)
    }

    /// Goes on to the one after.
    pub(crate) fn advance(&mut self) {
        self.next += match self.arrival {
            Arrival::Constant => self.gap,
            Arrival::Poisson => -self.random.unit().ln() * self.gap,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rate: f64, arrival: Arrival, seconds: u64) -> Vec<u64> {
        let mut schedule = Schedule::new(rate, arrival, seconds * 1_000_000_000, 7);
        let mut found = Vec::new();
        while let Some(at) = schedule.peek() {
            found.push(at);
            schedule.advance();
        }
        found
    }

    #[test]
    fn a_constant_schedule_has_exactly_the_rate_and_equal_gaps() {
        let found = times(2_000.0, Arrival::Constant, 3);
        assert_eq!(found.len(), 6_000);
        assert!(found.windows(2).all(|pair| pair[1] - pair[0] == 500_000));
    }

    #[test]
    fn a_poisson_schedule_has_the_rate_and_exponential_gaps() {
        let found = times(10_000.0, Arrival::Poisson, 20);
        let mean = found.len() as f64 / 20.0;
        assert!((mean - 10_000.0).abs() < 150.0, "{mean}");
        // Of exponential gaps, 1/e are longer than the mean; of constant ones, none.
        let long = found.windows(2).filter(|pair| pair[1] - pair[0] > 100_000).count();
        let share = long as f64 / found.len() as f64;
        assert!((share - 0.3679).abs() < 0.01, "{share}");
        assert!(found.is_sorted());
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        assert_eq!(times(500.0, Arrival::Poisson, 2), times(500.0, Arrival::Poisson, 2));
    }
}
