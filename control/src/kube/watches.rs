//! What metrics say of the watches: a few numbers a kind.
//!
//! Written by [`super::source`] as it takes updates, read by the admin pages, both on the control
//! thread. Invariant: a kind that was never asked for has no numbers; counters only grow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::Kind;

/// The numbers of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// The API server answers for the kind.
    pub is_heard: bool,
    /// Changes of single objects that it told.
    pub events: u64,
    /// Whole lists that it gave.
    pub lists: u64,
}

/// The numbers of every kind that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Watches(Arc<Mutex<BTreeMap<Kind, Watch>>>);

impl Watches {
    /// Everything, by kind.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Kind, Watch> {
        self.lock().clone()
    }

    /// Changes the numbers of `kind`.
    pub fn note(&self, kind: Kind, change: impl FnOnce(&mut Watch)) {
        change(self.lock().entry(kind).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, Watch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
