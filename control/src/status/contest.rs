//! Which statuses somebody else keeps changing back, such as a second installation.
//!
//! Memory and arithmetic only, used by the [writer](super::writer). Invariant: however fast the other
//! one is, what we write of one object for the same reason is a few times at once, and from then on no
//! more than the growing wait allows.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::pace::backoff;
use crate::api::{Kind, Name};

/// The same status of one object is written so often at once before the writes are spread out.
pub const REPEATS_MAX: u32 = 5;
/// The first wait between two writes of the same status, and the longest.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Whoever changed nothing for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(120);

/// What was written lately.
#[derive(Debug, Default)]
pub(super) struct Contests {
    last: HashMap<(Kind, Name), Last>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Last {
    status: u64,
    repeats: u32,
    at: Instant,
    /// When the same may be written next.
    until: Instant,
}

/// A status in a number.
pub(super) fn digest(status: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    status.to_string().hash(&mut hasher);
    hasher.finish()
}

impl Contests {
    /// How long the status has to wait, if at all.
    pub(super) fn wait(&self, target: &(Kind, Name), status: u64, now: Instant) -> Option<Instant> {
        let last = self.last.get(target).filter(|last| last.status == status)?;
        (last.until > now).then_some(last.until)
    }

    /// Notes a write; says whether it is news that somebody changes it back.
    pub(super) fn written(&mut self, target: &(Kind, Name), status: u64, now: Instant) -> bool {
        if self.swept.is_none_or(|swept| now - swept > MEMORY) {
            self.last.retain(|_, last| now - last.at <= MEMORY);
            self.swept = Some(now);
        }
        let fresh = Last { status, repeats: 0, at: now, until: now };
        let last = self.last.entry(target.clone()).or_insert(fresh);
        if last.status != status || now - last.at > MEMORY {
            (last.status, last.repeats) = (status, 0);
        }
        last.repeats = last.repeats.saturating_add(1);
        last.at = now;
        let over = last.repeats.saturating_sub(REPEATS_MAX - 1);
        last.until = if over > 0 { now + backoff(WAIT.0, over, WAIT.1) } else { now };
        last.repeats == REPEATS_MAX
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(seconds: u64, mut status: impl FnMut(u64) -> u64) -> u32 {
        let target = (Kind::Gateway, Name::new("ns", "web"));
        let (start, mut contests) = (Instant::now(), Contests::default());
        let mut count = 0;
        for tick in 0..seconds * 100 {
            let now = start + Duration::from_millis(tick * 10);
            if contests.wait(&target, status(tick), now).is_none() {
                contests.written(&target, status(tick), now);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_status_that_is_changed_back_at_once_is_written_less_and_less_often() {
        assert!(writes(1, |_| 0) <= REPEATS_MAX + 3);
        assert!(writes(600, |_| 0) <= REPEATS_MAX + 10 + 40);
    }

    #[test]
    fn new_statuses_never_wait() {
        assert_eq!(writes(1, |tick| tick), 100);
    }

    #[test]
    fn it_is_news_once_and_forgotten_in_time() {
        let target = (Kind::Gateway, Name::new("ns", "web"));
        let (mut now, mut contests) = (Instant::now(), Contests::default());
        let news = (0..20).filter(|_| contests.written(&target, 1, now)).count();
        assert_eq!(news, 1);
        assert!(contests.wait(&target, 1, now).is_some());
        now += MEMORY + Duration::from_secs(1);
        assert_eq!(contests.wait(&target, 1, now), None);
        contests.written(&(Kind::Gateway, Name::new("ns", "other")), 1, now);
        assert_eq!(contests.last.len(), 1, "what is long ago is dropped");
    }
}
