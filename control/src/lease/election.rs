//! Whose turn it is: the decision alone, without clock or API server.
//!
//! Used by [`super::Lease`]. Invariant: somebody else's Lease is taken only after it did not change
//! for its whole duration while we watched.

use std::time::Duration;

use k8s_openapi::api::coordination::v1 as api;
use tokio::time::Instant;

use super::DURATION;

/// What matters of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub holder: String,
    pub duration: Duration,
    pub version: String,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is none.
    Create,
    /// It is free, expired, or our own from before.
    Take,
    /// Somebody else has it.
    Wait,
}

/// What a candidate remembers.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    seen: Option<(Record, Instant)>,
}

impl Record {
    pub(super) fn of(lease: &api::Lease) -> Self {
        let spec = lease.spec.as_ref();
        let duration = spec.and_then(|spec| spec.lease_duration_seconds);
        let duration = duration.and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
            duration: duration.map_or(DURATION, Duration::from_secs),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

impl Election {
    pub(super) fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), seen: None }
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn step(&mut self, record: Option<&Record>, now: Instant) -> Step {
        let Some(record) = record else {
            self.seen = None;
            return Step::Create;
        };
        if record.holder.is_empty() || record.holder == self.identity {
            return Step::Take;
        }
        match &self.seen {
            Some((seen, since)) if seen == record => {
                if now.duration_since(*since) > record.duration { Step::Take } else { Step::Wait }
            }
            _ => {
                self.seen = Some((record.clone(), now));
                Step::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, version: &str) -> Record {
        Record { holder: holder.to_owned(), duration: DURATION, version: version.to_owned() }
    }

    #[test]
    fn a_free_lease_is_taken_at_once_and_a_missing_one_created() {
        let now = Instant::now();
        let mut election = Election::new("me");
        assert_eq!(election.step(None, now), Step::Create);
        assert_eq!(election.step(Some(&record("", "1")), now), Step::Take);
        assert_eq!(election.step(Some(&record("me", "1")), now), Step::Take);
    }

    #[test]
    fn a_lease_of_another_is_taken_only_after_it_stood_still_for_its_duration() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut election = Election::new("me");
        assert_eq!(election.step(Some(&record("other", "1")), start), Step::Wait);
        assert_eq!(election.step(Some(&record("other", "1")), start + DURATION), Step::Wait);
        let renewed = start + DURATION;
        assert_eq!(election.step(Some(&record("other", "2")), renewed), Step::Wait);
        assert_eq!(election.step(Some(&record("other", "2")), renewed + DURATION), Step::Wait);
        let late = renewed + DURATION + second;
        assert_eq!(election.step(Some(&record("other", "2")), late), Step::Take);
    }

    #[test]
    fn times_in_the_object_do_not_matter() {
        let spec = api::LeaseSpec {
            holder_identity: Some("other".to_owned()),
            renew_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(
                jiff::Timestamp::UNIX_EPOCH,
            )),
            ..api::LeaseSpec::default()
        };
        let lease = api::Lease { spec: Some(spec), ..api::Lease::default() };
        let record = Record::of(&lease);
        assert_eq!(record.duration, DURATION);
        assert_eq!(Election::new("me").step(Some(&record), Instant::now()), Step::Wait);
    }
}
