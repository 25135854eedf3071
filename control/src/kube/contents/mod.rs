//! Everything known of the cluster, and which of it matters.
//!
//! Only what matters is in the store: our own kinds, and what they refer to by name. The rest
//! (Services, slices, Secrets, trust bundles that no route, policy or Gateway names) waits on a shelf, so that its changes
//! cost no build and a new reference finds it at once. Invariant: an object is in the store exactly
//! when it is no object of the shelf's kinds or something refers to it.

use std::collections::{BTreeMap, HashMap};

use super::item::Item;
use super::references::{References, Shift, Target};
use crate::api::{Kind, Name, Object};
use crate::store::Store;

/// One object of any kind.
pub(super) type Id = (Kind, Name);

/// Label of the Services and slices that belong to a Gateway; they always matter.
const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// All objects of one cluster.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub store: Store,
    references: References,
    /// Objects that matter only with a reference to their key, in the store or not.
    shelf: HashMap<Target, BTreeMap<Id, Object>>,
    /// Under which key an object stands on the shelf.
    keys: HashMap<Id, Target>,
    /// Why the newest version of an object cannot be read.
    faults: BTreeMap<Id, String>,
    /// References gained since they were last taken.
    gained: Vec<Target>,
}

impl Contents {
    pub(super) fn new(store: Store) -> Self {
        let mut references = References::default();
        if let Some(replicas) = store.snapshot().replicas {
            // Gateways' Services lead to our replicas, so the slices of our own Service matter.
            let us = (Kind::Service, Name::new("", ""));
            references.set(us, vec![(Kind::Service, replicas)]);
        }
        Self { store, references, ..Self::default() }
    }

    /// Adds or replaces an object; says whether anything changed that matters.
    pub(super) fn put(&mut self, kind: Kind, item: Item) -> bool {
        let id = (kind, item.name);
        let object = match item.object {
            Ok(object) => object,
            Err(why) => return self.note_fault(id, item.generation, &why),
        };
        let healed = self.faults.remove(&id).is_some();
        let shift = self.references.set(id.clone(), item.targets);
        let shifted = self.shift(shift);
        let key = key(&object);
        let moved = self.keys.get(&id).is_some_and(|before| Some(before) != key.as_ref());
        let taken = moved && self.unshelve(&id);
        let put = match key {
            None => self.store.put(object),
            Some(key) => self.shelve(id, key, object),
        };
        healed || shifted || taken || put
    }

    /// Removes an object; says whether that matters.
    pub(super) fn remove(&mut self, kind: Kind, name: &Name) -> bool {
        let id = (kind, name.clone());
        let faulty = self.faults.remove(&id).is_some();
        let taken = self.unshelve(&id);
        let stored = self.store.remove(kind, name);
        let shift = self.references.set(id, Vec::new());
        let shifted = self.shift(shift);
        faulty || taken || stored || shifted
    }

    /// What cannot be read, a line each.
    pub(super) fn faults(&self) -> impl Iterator<Item = &String> {
        self.faults.values()
    }

    /// What was referred to for the first time since the last call.
    pub(super) fn take_gained(&mut self) -> Vec<Target> {
        std::mem::take(&mut self.gained)
    }

    fn note_fault(&mut self, id: Id, generation: i64, why: &str) -> bool {
        let (kind, name) = (id.0.as_str(), &id.1);
        let line = format!(
            "{kind} {name}: generation {generation} cannot be read: {why}; its last good version, if any, keeps serving"
        );
        let is_new = self.faults.get(&id) != Some(&line);
        self.faults.insert(id, line);
        is_new
    }

    fn shelve(&mut self, id: Id, key: Target, object: Object) -> bool {
        self.shelf.entry(key.clone()).or_default().insert(id.clone(), object.clone());
        let matters = self.references.contains(&key);
        self.keys.insert(id, key);
        matters && self.store.put(object)
    }

    /// Takes an object from the shelf, and from the store if it was there.
    fn unshelve(&mut self, id: &Id) -> bool {
        let Some(key) = self.keys.remove(id) else { return false };
        if let Some(objects) = self.shelf.get_mut(&key) {
            objects.remove(id);
            if objects.is_empty() {
                self.shelf.remove(&key);
            }
        }
        self.store.remove(id.0, &id.1)
    }

    /// Moves what gained its first reference into the store, and out what lost its last.
    fn shift(&mut self, shift: Shift) -> bool {
        let mut changed = false;
        for key in &shift.lost {
            for (kind, name) in self.shelf.get(key).into_iter().flat_map(BTreeMap::keys) {
                changed |= self.store.remove(*kind, name);
            }
        }
        for key in &shift.gained {
            for object in self.shelf.get(key).into_iter().flat_map(BTreeMap::values) {
                changed |= self.store.put(object.clone());
            }
        }
        self.gained.extend(shift.gained);
        changed
    }
}

/// What must be referred to for an object to matter; `None` if it always does.
fn key(object: &Object) -> Option<Target> {
    let meta = object.meta();
    let label = meta.labels.get(GATEWAY_NAME_LABEL).is_some_and(|name| !name.is_empty());
    match object {
        Object::EndpointSlice(_) | Object::Service(_) if label => None,
        Object::EndpointSlice(slice) => {
            let service = slice.service().cloned().unwrap_or_default();
            let namespace = meta.namespace.clone();
            Some((Kind::Service, Name { namespace, name: service }))
        }
        Object::Service(_)
        | Object::Secret(_)
        | Object::ConfigMap(_)
        | Object::ClusterTrustBundle(_) => Some((object.kind(), meta.full_name())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
