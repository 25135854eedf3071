//! The time limits of a rule (`timeouts`), kept beside a try.
//!
//! A limit that passes ends the backend's side and says why; the try then ends by itself, and
//! its loop answers 504 or cuts the client. Invariant: nothing is cancelled half-way.

use std::time::{Duration, Instant};

use proxy::fault::Fault;
use proxy::ir::Timeouts;
use runtime::Runtime;

use crate::cut::Cut;
use crate::upstream::InFlight;

/// When a try, and the exchange that it belongs to, must have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    request: Option<Instant>,
    backend: Option<Instant>,
}

impl Limits {
    /// Of a try that begins `now`, of a request whose head was here at `received`.
    pub(super) fn of(timeouts: &Timeouts, received: Instant, now: Instant) -> Self {
        Self {
            request: timeouts.request.and_then(|time| received.checked_add(time)),
            backend: timeouts.backend_request.and_then(|time| now.checked_add(time)),
        }
    }

    /// The end of the exchange.
    pub(super) fn request(self) -> Option<Instant> {
        self.request
    }

    /// The first of them.
    pub(super) fn first(self) -> Option<Instant> {
        match (self.request, self.backend) {
            (Some(request), Some(backend)) => Some(request.min(backend)),
            (request, backend) => request.or(backend),
        }
    }

    /// Which limit has passed by `now`.
    pub(super) fn passed(self, now: Instant) -> Option<Fault> {
        let over = |limit: Option<Instant>| limit.is_some_and(|limit| limit <= now);
        let backend = over(self.backend).then_some(Fault::BackendTimeout);
        if over(self.request) { Some(Fault::RequestTimeout) } else { backend }
    }

    /// Runs beside a try and ends it at its limits; dropped with it.
    pub(super) async fn keep<R: Runtime>(
        self,
        flight: &InFlight<'_, R>,
        upstream: Cut,
        client: Cut,
    ) {
        if let Some(backend) = self.backend
            && self.request.is_none_or(|request| backend < request)
        {
            R::sleep_until(backend).await;
            flight.cut(Fault::BackendTimeout, &upstream);
        }
        let Some(request) = self.request else { return };
        R::sleep_until(request).await;
        flight.cut(Fault::RequestTimeout, &upstream);
        // A try that is still there after this waits for its client to take the response.
        R::sleep_until(R::now() + UNWIND_TIME).await;
        if flight.begun.get() {
            client.end_short();
        }
    }
}

/// A try whose upstream connection was ended is over within this time, unless its client holds it.
const UNWIND_TIME: Duration = Duration::from_millis(20);
