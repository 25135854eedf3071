//! The abuse budget: a token bucket for frames that cost us work and give the peer nothing.
//!
//! It knows no frames and no clock: the connection says what to charge, and when. Invariant:
//! suspicion is a rate; a peer below it is never cut off, however long it stays.

use std::time::{Duration, Instant};

use crate::limits::{H2_BUDGET, H2_BUDGET_PER_SECOND};

/// Answers to our own frames that a peer may have in reserve.
const EARNED_MAX: u32 = H2_BUDGET;

/// One connection's budget.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: u32,
    earned: u32,
    /// When the tokens were last counted.
    counted: Option<Instant>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { tokens: H2_BUDGET, earned: 0, counted: None }
    }

    /// We sent something that honest peers answer by `frames` window updates or pings.
    pub(super) fn earn(&mut self, frames: u32) {
        self.earned = (self.earned + frames).min(EARNED_MAX);
    }

    /// A window update or a ping: free while it may be an answer to what we sent.
    #[must_use]
    pub(super) fn answer(&mut self, now: Instant) -> bool {
        match self.earned.checked_sub(1) {
            Some(earned) => {
                self.earned = earned;
                true
            }
            None => self.charge(now),
        }
    }

    /// Something suspicious; `false` when the budget is spent.
    #[must_use]
    pub(super) fn charge(&mut self, now: Instant) -> bool {
        self.spend(1, now)
    }

    /// Something that costs as much as `frames` of these.
    #[must_use]
    pub(super) fn spend(&mut self, frames: u32, now: Instant) -> bool {
        self.refill(now);
        let left = self.tokens.checked_sub(frames);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    fn refill(&mut self, now: Instant) {
        let Some(counted) = self.counted else {
            self.counted = Some(now);
            return;
        };
        let elapsed = now.saturating_duration_since(counted).as_micros();
        let new = elapsed * u128::from(H2_BUDGET_PER_SECOND) / 1_000_000;
        let new = u32::try_from(new).unwrap_or(u32::MAX);
        if self.tokens.saturating_add(new) >= H2_BUDGET {
            (self.tokens, self.counted) = (H2_BUDGET, Some(now));
        } else if new > 0 {
            // The part of a token that is left over stays in the time.
            let micros = u64::from(new) * 1_000_000 / u64::from(H2_BUDGET_PER_SECOND);
            self.tokens += new;
            self.counted = Some(counted + Duration::from_micros(micros));
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn a_burst_spends_the_bucket_and_time_refills_it() {
        let start = Instant::now();
        let mut budget = Budget::new();
        assert!((0..H2_BUDGET).all(|_| budget.charge(start)));
        assert!(!budget.charge(start));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| budget.charge(later)).count() as u32, H2_BUDGET_PER_SECOND);
        let much_later = start + Duration::from_secs(3600);
        assert!((0..H2_BUDGET).all(|_| budget.charge(much_later)));
        assert!(!budget.charge(much_later));
    }

    #[test]
    fn suspicion_is_a_rate_and_never_a_lifetime_total() {
        let start = Instant::now();
        let mut budget = Budget::new();
        let step = Duration::from_millis(1000) / H2_BUDGET_PER_SECOND + Duration::from_micros(10);
        assert!((0..100_000).all(|at| budget.charge(start + step * at)));
    }

    #[test]
    fn answers_to_what_we_sent_are_free() {
        let start = Instant::now();
        let mut budget = Budget::new();
        for _ in 0..10_000 {
            budget.earn(1);
            assert!(budget.answer(start));
        }
        assert!((0..H2_BUDGET).all(|_| budget.answer(start)));
        assert!(!budget.answer(start));
    }
}
