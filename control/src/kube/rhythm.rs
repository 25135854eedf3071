//! How often one kind's lists and watches may be started.
//!
//! Invariant: at least a second lies between two starts, more after failures, never the same for
//! two processes that failed at the same moment.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{self, unit_random};

/// Between two starts of a list or watch of one kind.
pub const START_INTERVAL: Duration = Duration::from_secs(1);
/// Between two attempts however many failed; jitter takes up to half of it.
pub const RETRY_MAX: Duration = Duration::from_secs(8);
/// How long at most the server's own wish to be left alone is obeyed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// The rhythm of one kind.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    last: Option<Instant>,
    failures: u32,
    wait: Duration,
}

impl Rhythm {
    /// Waits until the next start is due.
    pub(super) async fn start(&mut self) {
        if let Some(last) = self.last {
            let pause = START_INTERVAL.max(pause(self.failures, self.wait, unit_random()));
            tokio::time::sleep_until(last + pause).await;
        }
        self.wait = Duration::ZERO;
        self.last = Some(Instant::now());
    }

    /// The last start came to something.
    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }

    /// It failed, and the server may have said when to come again. The pause counts from now.
    pub(super) fn failed(&mut self, wait: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        self.wait = wait.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.last = Some(Instant::now());
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

/// The pause after `failures` in a row, the last with the server's wish to be left alone for `wait`:
/// the first time the server knows best.
fn pause(failures: u32, wait: Duration, random: f64) -> Duration {
    if failures == 1 && !wait.is_zero() {
        return wait.mul_f64(1.0 + random / 4.0);
    }
    backoff(failures, random).max(wait)
}

/// The pause after `failures` in a row: doubled each time, less up to half of it by `random` in 0..1.
fn backoff(failures: u32, random: f64) -> Duration {
    backoff::pause(2 * START_INTERVAL, failures, RETRY_MAX, random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_limit_and_jitter_takes_at_most_half() {
        assert_eq!(backoff(0, 0.5), Duration::ZERO);
        assert_eq!(backoff(1, 0.0), Duration::from_secs(2));
        assert_eq!(backoff(2, 0.0), Duration::from_secs(4));
        assert_eq!(backoff(60, 0.0), RETRY_MAX);
        assert_eq!(backoff(60, 1.0), RETRY_MAX / 2);
        let wait = Duration::from_secs(1);
        assert_eq!(pause(1, wait, 0.0), wait);
        assert!(pause(1, wait, 1.0) > wait && pause(2, wait, 0.0) == backoff(2, 0.0));
        assert_eq!(pause(2, Duration::from_secs(30), 0.0), Duration::from_secs(30));
        assert!((0.0..1.0).contains(&unit_random()));
    }
}
