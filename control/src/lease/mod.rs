//! The Lease that says which replica writes.
//!
//! Every replica serves; the holder of the Lease also writes statuses and the objects of Gateways.
//! [`Lease::keep`] is the one task that talks to the API server; everybody else watches a flag.
//! Invariants: the flag is up only while the last renewal is younger than [`RENEW_DEADLINE`], which is
//! shorter than the time after which another replica may take over; how old somebody else's Lease is,
//! is measured by our own clock since we last saw it change, never by times in the object.

mod election;
#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::api::coordination::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use self::election::{Election, Step};

/// The name of the Lease.
pub const NAME: &str = "ringway";
/// A Lease that does not change for so long may be taken over.
pub const DURATION: Duration = Duration::from_secs(15);
/// How often the holder renews it.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// The holder that could not renew it for so long stops writing.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often the others look at it, and how soon a failed request is repeated.
pub const RETRY_EVERY: Duration = Duration::from_secs(2);
/// The longest that one request takes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A replica's part in the election.
#[derive(Debug)]
pub struct Lease {
    api: Api<api::Lease>,
    election: Election,
    leads: watch::Sender<bool>,
    /// Last successful renewal while we hold it.
    renewed: Option<Instant>,
    /// What the server last answered while we hold it: the next renewal needs no reading.
    held: Option<api::Lease>,
    is_reachable: bool,
}

impl Lease {
    /// A candidate called `identity` for the Lease in `namespace`; the receiver says whether it leads.
    #[must_use]
    pub fn new(
        client: kube::Client,
        namespace: &str,
        identity: &str,
    ) -> (Self, watch::Receiver<bool>) {
        let (leads, watcher) = watch::channel(false);
        let lease = Self {
            api: Api::namespaced(client, namespace),
            election: Election::new(identity),
            leads,
            renewed: None,
            held: None,
            is_reachable: true,
        };
        (lease, watcher)
    }

    /// Takes part until `stop` is ready, then gives the Lease back if it is ours.
    pub async fn keep(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let next = tokio::select! {
                next = self.turn() => next,
                () = &mut stop => break,
            };
            tokio::select! {
                () = self.pause(next) => {}
                () = &mut stop => break,
            }
        }
        self.release().await;
    }

    /// One look, and one write if it is our turn; when the next one is due.
    async fn turn(&mut self) -> Instant {
        let started = Instant::now();
        let mut limit = started + REQUEST_TIMEOUT;
        if let Some(renewed) = self.renewed {
            limit = limit.min(renewed + RENEW_DEADLINE);
        }
        let outcome = timeout_at(limit, self.attempt(started)).await;
        match outcome {
            Ok(Ok(true)) => {
                self.is_reachable = true;
                self.renewed = Some(started);
                self.lead(true);
                started + RENEW_EVERY
            }
            Ok(Ok(false)) => {
                self.is_reachable = true;
                self.step_down();
                started + RETRY_EVERY
            }
            Ok(Err(error)) => {
                self.failed(&error.to_string());
                Instant::now() + RETRY_EVERY
            }
            Err(_) => {
                self.failed("the API server does not answer");
                Instant::now() + RETRY_EVERY
            }
        }
    }

    /// Waits until `next`, and steps down in between when the last renewal is too old.
    async fn pause(&mut self, next: Instant) {
        if let Some(deadline) = self.renewed.map(|renewed| renewed + RENEW_DEADLINE)
            && deadline <= next
        {
            sleep_until(deadline).await;
            tracing::warn!("the Lease could not be renewed: no longer writing statuses");
            self.step_down();
        }
        sleep_until(next).await;
    }

    /// Whether we hold the Lease now.
    async fn attempt(&mut self, now: Instant) -> kube::Result<bool> {
        if let Some(held) = self.held.take() {
            match self.write(self.renewal(held)).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                other => return other.map(|()| true),
            }
        }
        let found = self.api.get_opt(NAME).await?;
        let record = found.as_ref().map(election::Record::of);
        match self.election.step(record.as_ref(), now) {
            Step::Wait => Ok(false),
            Step::Create => {
                let outcome = self.create().await;
                self.won(outcome)
            }
            Step::Take => {
                let lease = self.takeover(found.unwrap_or_default());
                let outcome = self.write(lease).await;
                self.won(outcome)
            }
        }
    }

    /// A race that is lost is no error.
    fn won(&self, outcome: kube::Result<()>) -> kube::Result<bool> {
        match outcome {
            Ok(()) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn create(&mut self) -> kube::Result<()> {
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let lease = self.takeover(api::Lease { metadata, spec: None });
        self.held = Some(self.api.create(&PostParams::default(), &lease).await?);
        Ok(())
    }

    /// Replaces the Lease, guarded by the version that `lease` carries.
    async fn write(&mut self, lease: api::Lease) -> kube::Result<()> {
        self.held = Some(self.api.replace(NAME, &PostParams::default(), &lease).await?);
        Ok(())
    }

    fn renewal(&self, mut lease: api::Lease) -> api::Lease {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.election.identity().to_owned());
        spec.lease_duration_seconds = Some(seconds(DURATION));
        spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
        lease
    }

    fn takeover(&self, lease: api::Lease) -> api::Lease {
        let before = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        let mut lease = self.renewal(lease);
        let spec = lease.spec.get_or_insert_default();
        if before.as_deref() == Some(self.election.identity()) {
            return lease;
        }
        spec.acquire_time.clone_from(&spec.renew_time);
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
        lease
    }

    fn failed(&mut self, why: &str) {
        if std::mem::replace(&mut self.is_reachable, false) {
            tracing::warn!("Lease {NAME}: {why}; trying again every {} s", RETRY_EVERY.as_secs());
        }
        if self.renewed.is_some_and(|renewed| renewed.elapsed() >= RENEW_DEADLINE) {
            self.step_down();
        }
    }

    fn step_down(&mut self) {
        self.renewed = None;
        self.held = None;
        self.lead(false);
    }

    fn lead(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|flag| std::mem::replace(flag, leads) != leads);
        if changed {
            let verb = if leads { "holds" } else { "does not hold" };
            tracing::info!("{} {verb} the Lease {NAME}", self.election.identity());
        }
    }

    /// Lets the next replica take over at once.
    async fn release(mut self) {
        let held = self.held.take();
        self.step_down();
        let Some(mut lease) = held else { return };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
        let limit = Instant::now() + REQUEST_TIMEOUT;
        match timeout_at(limit, self.api.replace(NAME, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => tracing::info!("gave the Lease {NAME} back"),
            Ok(Err(error)) => tracing::warn!("the Lease {NAME} could not be given back: {error}"),
            Err(_) => tracing::warn!("the Lease {NAME} could not be given back in time"),
        }
    }
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).expect("a few seconds")
}
