//! How fast we ask the API server: many requests at once while it answers, one now and then while it
//! does not.
//!
//! Arithmetic on times only, used by the [writer](super::writer) and the [objects](super::objects).
//! Invariant: while the server is away or overloaded, requests per second stay below a fixed bound
//! however much there is to do.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::unit_random;

/// Requests on their way at once.
pub const IN_FLIGHT_MAX: usize = 64;
/// The first pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The pace of requests.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
    until: Option<Instant>,
}

impl Pace {
    /// How many requests may be on their way now.
    pub(super) fn limit(&self, now: Instant) -> usize {
        match (self.failures, self.until) {
            (0, _) => IN_FLIGHT_MAX,
            (_, Some(until)) if now < until => 0,
            _ => 1,
        }
    }

    /// When the pause ends, if there is one.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Something was answered as it should be; says whether that is news.
    pub(super) fn succeeded(&mut self) -> bool {
        self.until = None;
        std::mem::take(&mut self.failures) > 0
    }

    /// The server could not answer, and may have said when to come again; says whether that is news.
    /// Failures of requests that were sent before the pause began do not prolong it.
    pub(super) fn failed(&mut self, now: Instant, again: Option<Duration>) -> bool {
        if self.until.is_some_and(|until| now < until) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let pause = backoff(PAUSE_MIN, self.failures, PAUSE_MAX);
        self.until = Some(now + pause.max(again.unwrap_or_default().min(PAUSE_MAX)));
        self.failures == 1
    }
}

/// `first` doubled with every failure up to `longest`, of which a random part of a half is left out.
pub(super) fn backoff(first: Duration, failures: u32, longest: Duration) -> Duration {
    crate::backoff::pause(first, failures, longest, unit_random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_the_first_success() {
        let mut now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.limit(now), IN_FLIGHT_MAX);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            pace.failed(now, None);
            assert_eq!(pace.limit(now), 0);
            let until = pace.until().unwrap();
            pauses.push(until - now);
            now = until;
            assert_eq!(pace.limit(now), 1, "one request finds out whether it is over");
        }
        assert!(pauses[0] >= PAUSE_MIN / 2 && pauses[19] >= PAUSE_MAX / 2);
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX));
        assert!(pace.succeeded() && !pace.succeeded());
        assert_eq!(pace.limit(now), IN_FLIGHT_MAX);
    }

    #[test]
    fn many_failures_of_one_moment_count_once_and_the_server_may_ask_for_more_time() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert!(pace.failed(now, Some(Duration::from_secs(3))));
        let until = pace.until();
        assert_eq!(until, Some(now + Duration::from_secs(3)));
        assert!(!pace.failed(now, None));
        assert_eq!(pace.until(), until);
    }
}
