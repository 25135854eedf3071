//! Exchanges that wait for a backend, and whether their clients are still there.
//!
//! Nobody reads from a client while its answer is awaited, so one that leaves would go unnoticed for
//! as long as the backend takes. The shard's tick looks at the clients of long waits (one system call
//! each) and ends the backend's side of one that has gone; its driver then sees
//! [`Watches::client_gone`]. Short waits cost two stores. Invariant: an entry lives from `begin` to
//! `end`, and its numbers are used by one exchange at a time.

use std::cell::RefCell;

use runtime::Abort;

use crate::cut::Cut;

/// All waits of one shard.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    slab: RefCell<Slab>,
}

/// One wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch(u32);

#[derive(Debug, Default)]
struct Slab {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    client: Abort,
    upstream: Cut,
    /// Ticks since it began.
    ticks: u32,
    gone: bool,
}

impl Watches {
    /// The exchange of `client` begins to wait for `upstream`.
    pub(crate) fn begin(&self, client: Abort, upstream: Cut) -> Watch {
        let entry = Some(Entry { client, upstream, ticks: 0, gone: false });
        let mut slab = self.slab.borrow_mut();
        let index = match slab.free.pop() {
            Some(index) => {
                slab.entries[index as usize] = entry;
                index
            }
            None => {
                slab.entries.push(entry);
                u32::try_from(slab.entries.len() - 1).expect("fewer waits than descriptors")
            }
        };
        Watch(index)
    }

    /// The wait is over.
    pub(crate) fn end(&self, watch: Watch) {
        let entry = {
            let mut slab = self.slab.borrow_mut();
            slab.free.push(watch.0);
            slab.entries[watch.0 as usize].take()
        };
        // Outside the borrow: it may hold the last of a connection.
        drop(entry);
    }

    /// Whether the wait was ended because its client had gone.
    pub(crate) fn client_gone(&self, watch: Watch) -> bool {
        let slab = self.slab.borrow();
        slab.entries[watch.0 as usize].as_ref().is_some_and(|entry| entry.gone)
    }

    /// Called by every tick: looks at the clients whose turn it is.
    pub(crate) fn tick(&self) {
        for entry in self.slab.borrow_mut().entries.iter_mut().flatten() {
            entry.ticks = entry.ticks.saturating_add(1);
            let due = entry.ticks >= TICKS_BEFORE_LOOK
                && (entry.ticks - TICKS_BEFORE_LOOK).is_multiple_of(TICKS_PER_LOOK);
            if due && !entry.gone && entry.client.is_closed_by_peer() {
                entry.gone = true;
                entry.upstream.end();
            }
        }
    }
}

/// The first look comes with this tick: a wait shorter than the time between two costs none.
const TICKS_BEFORE_LOOK: u32 = 2;
/// Further looks come every so many ticks.
const TICKS_PER_LOOK: u32 = 10;
