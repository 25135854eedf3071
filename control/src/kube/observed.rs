//! What the API server shows as the status of each object: what a status writer compares with and
//! writes against.
//!
//! Filled by the source as events arrive, read by the status writer on the same thread. It decides
//! nothing and holds no spec. Invariant: an entry is the newest version that the server sent of an
//! object that exists, whether or not its spec could be decoded, and every change of an entry is
//! noted until the writer takes it; however late that is, an object is noted once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::api::{Kind, Name};

/// The server's side of one object.
#[derive(Debug)]
pub struct Observed {
    /// Identity over the object's whole life.
    pub uid: Box<str>,
    /// What a guarded update must name.
    pub resource_version: Box<str>,
    /// Newest generation.
    pub generation: i64,
    /// The whole `status` as JSON; `None` where the object has none.
    pub status: Option<Box<RawValue>>,
    /// Why the newest version of its spec could not be read; the last good one, if any, serves.
    pub fault: Option<Box<str>>,
}

/// Statuses of all objects of kinds that have one, shared between source and writer.
#[derive(Clone, Debug, Default)]
pub struct ObservedStatuses(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
    noted: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<Kind, BTreeMap<Name, Arc<Observed>>>,
    versions: BTreeMap<Kind, &'static str>,
    noted: BTreeSet<(Kind, Name)>,
    is_live: bool,
}

impl ObservedStatuses {
    /// What the server last said of an object; `None` if it does not exist there.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &Name) -> Option<Arc<Observed>> {
        self.lock().objects.get(&kind)?.get(name).map(Arc::clone)
    }

    /// The names of all objects of a kind.
    #[must_use]
    pub fn names(&self, kind: Kind) -> Vec<Name> {
        self.lock().objects.get(&kind).map_or_else(Vec::new, |all| all.keys().cloned().collect())
    }

    /// The API version under which the server serves a kind; `None` while it does not.
    #[must_use]
    pub fn version(&self, kind: Kind) -> Option<&'static str> {
        self.lock().versions.get(&kind).copied()
    }

    /// Whether what is served comes from the API server; while it does not (nothing listed yet, or
    /// an on-disk snapshot serves), no status may be written.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.lock().is_live
    }

    /// Waits until an object was noted or [`Self::is_live`] changed. For one waiter; dropping the
    /// future loses nothing.
    pub async fn changed(&self) {
        self.0.noted.notified().await;
    }

    /// The objects whose entries changed, appeared or went since the last call.
    #[must_use]
    pub fn take_noted(&self) -> BTreeSet<(Kind, Name)> {
        std::mem::take(&mut self.lock().noted)
    }

    /// Notes the newest version of an object.
    pub(crate) fn put(&self, kind: Kind, name: Name, observed: Observed) {
        let mut inner = self.lock();
        let all = inner.objects.entry(kind).or_default();
        let known = all.get(&name);
        if known.is_some_and(|known| known.resource_version == observed.resource_version) {
            return;
        }
        all.insert(name.clone(), Arc::new(observed));
        self.note(inner, kind, name);
    }

    /// Notes that an object went.
    pub(crate) fn remove(&self, kind: Kind, name: &Name) {
        let mut inner = self.lock();
        if inner.objects.get_mut(&kind).and_then(|all| all.remove(name)).is_some() {
            self.note(inner, kind, name.clone());
        }
    }

    pub(crate) fn set_version(&self, kind: Kind, version: Option<&'static str>) {
        let mut inner = self.lock();
        match version {
            Some(version) => inner.versions.insert(kind, version),
            None => inner.versions.remove(&kind),
        };
    }

    pub(crate) fn set_live(&self, is_live: bool) {
        let changed = std::mem::replace(&mut self.lock().is_live, is_live) != is_live;
        if changed {
            self.0.noted.notify_one();
        }
    }

    fn note(&self, mut inner: MutexGuard<'_, Inner>, kind: Kind, name: Name) {
        inner.noted.insert((kind, name));
        self.0.noted.notify_one();
    }

    /// Never held across an await, and never contended: both sides live on one thread.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(version: &str) -> Observed {
        let status = RawValue::from_string("{\"a\":1}".to_owned()).unwrap();
        Observed {
            uid: "u".into(),
            resource_version: version.into(),
            generation: 1,
            status: Some(status),
            fault: None,
        }
    }

    #[test]
    fn a_change_is_noted_once_however_late_it_is_taken_and_a_repeated_version_not_at_all() {
        let all = ObservedStatuses::default();
        let name = Name::new("a", "b");
        all.put(Kind::HttpRoute, name.clone(), observed("1"));
        all.put(Kind::HttpRoute, name.clone(), observed("2"));
        assert_eq!(all.take_noted(), [(Kind::HttpRoute, name.clone())].into());
        all.put(Kind::HttpRoute, name.clone(), observed("2"));
        assert!(all.take_noted().is_empty());
        all.remove(Kind::HttpRoute, &name);
        assert_eq!(all.take_noted().len(), 1);
        assert!(all.get(Kind::HttpRoute, &name).is_none());
        all.remove(Kind::HttpRoute, &name);
        assert!(all.take_noted().is_empty(), "it went already");
    }
}
