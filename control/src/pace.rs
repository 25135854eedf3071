//! How soon after one build the next may begin.
//!
//! A change that comes alone is built at once. In a burst every build would be followed by the next
//! and keep a core busy that the shards and the API server could use, so builds that follow one
//! another rest in between, the longer the burst lasts; what comes meanwhile is built together.
//! Arithmetic on times only, used by the [controller](crate::controller). Invariant: a rest is never
//! longer than [`REST_MAX`].

use std::time::{Duration, Instant};

/// The longest rest between two builds.
pub(crate) const REST_MAX: Duration = Duration::from_millis(100);
/// A rest is at most this many times as long as the build before it.
const REST_FACTOR_MAX: u32 = 3;

/// The pace of builds.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    ended: Option<Instant>,
    took: Duration,
    /// Builds that each began soon after the one before.
    streak: u32,
}

impl Pace {
    /// A build took from `began` to `ended`.
    pub(crate) fn built(&mut self, began: Instant, ended: Instant) {
        let follows = self.ended.is_some_and(|before| {
            let idle = began.saturating_duration_since(before);
            idle <= self.rest() + self.took
        });
        self.streak = if follows { self.streak.saturating_add(1) } else { 0 };
        self.took = ended.saturating_duration_since(began);
        self.ended = Some(ended);
    }

    /// When the next build may begin.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.ended.map(|ended| ended + self.rest())
    }

    fn rest(&self) -> Duration {
        (self.took * self.streak.min(REST_FACTOR_MAX)).min(REST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILD: Duration = Duration::from_millis(10);

    /// Builds as soon as it may, `count` times; the last rest.
    fn burst(pace: &mut Pace, mut now: Instant, count: usize) -> Duration {
        for _ in 0..count {
            let begin = pace.next().map_or(now, |next| next.max(now));
            now = begin + BUILD;
            pace.built(begin, now);
        }
        pace.next().unwrap() - now
    }

    #[test]
    fn a_lone_build_is_followed_at_once_and_a_burst_by_growing_rests() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(), None);
        assert_eq!(burst(&mut pace, start, 1), Duration::ZERO);
        assert_eq!(burst(&mut pace, start + BUILD, 1), BUILD);
        assert_eq!(burst(&mut pace, start + BUILD, 9), BUILD * REST_FACTOR_MAX);
        assert_eq!(burst(&mut pace, start + Duration::from_secs(9), 1), Duration::ZERO);
    }

    #[test]
    fn a_rest_has_an_end_however_long_builds_take() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.built(start, start + Duration::from_secs(1));
        pace.built(start + Duration::from_secs(1), start + Duration::from_secs(2));
        assert_eq!(pace.next(), Some(start + Duration::from_secs(2) + REST_MAX));
    }
}
