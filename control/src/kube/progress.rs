//! How far each feed is, and what that means for the whole.
//!
//! Data and words only; [`super::source`] keeps it up to date. Invariant: what is wrong is told as one
//! line a kind, and as one line for all while the API server is away.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;

use super::feed::MISSING_RETRY;
use super::wire::WireError;
use crate::api::{Kind, Name};

/// How far one feed is.
pub(super) struct Progress {
    pub kind: Kind,
    pub namespace: Option<Arc<str>>,
    pub known: BTreeSet<Name>,
    pub is_complete: bool,
    /// The last list was not believed.
    pub is_doubted: bool,
    pub is_missing: bool,
    pub failure: Option<WireError>,
    pub relist: Arc<Notify>,
}

/// Why the API server counts as away.
pub(super) fn away(feeds: &[Progress]) -> Option<&WireError> {
    let failures = feeds.iter().filter_map(|feed| feed.failure.as_ref());
    let mut away = failures.filter(|error| error.is_away());
    away.next()
}

/// What is wrong between us and the API server, while it `serves` or waits.
pub(super) fn troubles(feeds: &[Progress], serves: bool) -> Vec<String> {
    let meanwhile =
        if serves { "what is known keeps serving, changes are not seen" } else { "waiting for it" };
    let away = away(feeds).map(|_| format!("the API server is away: {meanwhile}"));
    let refused = feeds.iter().filter_map(|feed| {
        let error = feed.failure.as_ref().filter(|error| !error.is_away())?;
        let kind = feed.kind.as_str();
        let advice = match error.code() {
            Some(401 | 403) => format!("; grant get, list and watch on {}", feed.kind.plural()),
            _ => String::new(),
        };
        Some(format!("{kind}: cannot be listed or watched: {error}{advice}"))
    });
    away.into_iter().chain(refused).collect()
}

/// Says that the server does not have a kind, or has it now.
pub(super) fn tell_missing(kind: Kind, missing: bool, was_missing: bool) {
    let kind = kind.as_str();
    match (missing, was_missing) {
        (true, false) => tracing::info!(
            "{kind}: the API server does not have the kind; looked for every {} s",
            MISSING_RETRY.as_secs()
        ),
        (false, true) => tracing::info!("{kind}: the API server has the kind now"),
        _ => {}
    }
}
