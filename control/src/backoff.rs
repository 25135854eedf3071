//! How long to wait after failures: longer each time, and never the same for two processes.
//!
//! Arithmetic and a random number, used by everything that asks the API server again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// `first` doubled with every failure after the first up to `longest`, less up to half of it by
/// `random` in 0..1. No failure, no wait.
pub(crate) fn pause(first: Duration, failures: u32, longest: Duration, random: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let whole = first.saturating_mul(1 << doublings.min(20)).min(longest);
    whole.mul_f64(1.0 - random / 2.0)
}

/// A factor in 0.75..1.25, for what recurs.
pub(crate) fn jitter() -> f64 {
    0.75 + unit_random() / 2.0
}

/// A number in 0..1, good enough to keep processes apart.
pub(crate) fn unit_random() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let number = bits as f64 / (1u64 << 53) as f64;
    number
}
