//! Every timeout of a shard: one slab of deadlines, looked at by the shard's tick.
//!
//! A deadline that passes ends its side through [`Cut`], so a waiting `recv` or
//! `send` returns and its driver sees [`Deadline::fired`]; nothing is ever cancelled half-way.
//! Setting and clearing are a store each. Granularity is the tick. Invariant: a connection holds its
//! slots as long as its [`Deadline`]s live, and no longer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::cut::Cut;
use crate::stream::relay::{Flow, Idle};

/// All deadlines of one shard.
#[derive(Debug)]
pub(crate) struct Deadlines {
    slab: RefCell<Slab>,
}

/// One deadline of one connection; may be set again and again.
#[derive(Debug)]
pub(crate) struct Deadline {
    deadlines: Rc<Deadlines>,
    index: u32,
}

#[derive(Debug)]
struct Slab {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// No slot is due before this moment.
    earliest: Option<Instant>,
    /// When the last tick was.
    tick: Instant,
}

#[derive(Debug)]
struct Slot {
    at: Option<Instant>,
    pace: Option<Pace>,
    /// Ends only the receiving side.
    reading: bool,
    fired: bool,
    ends: Ends,
}

/// What a deadline ends.
#[derive(Debug)]
enum Ends {
    /// The slot is free.
    Nothing,
    Side(Cut),
    /// Both connections of a flow, once nothing moves.
    Flow(Box<Idle>),
}

/// A deadline that moves on while the peer takes enough bytes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    window: Duration,
    bytes_min: u64,
    /// Bytes the peer had acknowledged when the window began; unknown in the first window.
    acked: Option<u64>,
}

impl Deadlines {
    pub(crate) fn new(now: Instant) -> Rc<Self> {
        let slab = Slab { slots: Vec::new(), free: Vec::new(), earliest: None, tick: now };
        Rc::new(Self { slab: RefCell::new(slab) })
    }

    /// A deadline (not set yet) that ends the side of `cut`.
    pub(crate) fn register(self: &Rc<Self>, cut: impl Into<Cut>) -> Deadline {
        self.take(Slot::new(Ends::Side(cut.into())))
    }

    /// Cuts `flow` when nothing moves on it for `limit`.
    pub(crate) fn watch(
        self: &Rc<Self>,
        flow: Rc<Flow>,
        now: Instant,
        limit: Duration,
    ) -> Deadline {
        let idle = Idle::new(flow, limit);
        let at = idle.next(now);
        let deadline = self.take(Slot::new(Ends::Flow(Box::new(idle))));
        deadline.set(at);
        deadline
    }

    fn take(self: &Rc<Self>, slot: Slot) -> Deadline {
        let mut slab = self.slab.borrow_mut();
        let index = match slab.free.pop() {
            Some(index) => {
                slab.slots[index as usize] = slot;
                index
            }
            None => {
                slab.slots.push(slot);
                u32::try_from(slab.slots.len() - 1).expect("fewer slots than descriptors")
            }
        };
        Deadline { deadlines: Rc::clone(self), index }
    }

    /// Ends every connection whose deadline has passed.
    pub(crate) fn expire(&self, now: Instant) {
        let mut slab = self.slab.borrow_mut();
        slab.tick = now;
        if slab.earliest.is_none_or(|earliest| earliest > now) {
            return;
        }
        let mut earliest: Option<Instant> = None;
        for slot in &mut slab.slots {
            if slot.at.is_some_and(|at| at <= now) {
                slot.pass(now);
            }
            if let Some(at) = slot.at {
                earliest = Some(earliest.map_or(at, |e| e.min(at)));
            }
        }
        slab.earliest = earliest;
    }

    /// Ends every connection that has a deadline registered (the drain limit).
    pub(crate) fn abort_all(&self) {
        for slot in &mut self.slab.borrow_mut().slots {
            match &slot.ends {
                Ends::Nothing => {}
                Ends::Side(cut) => cut.end(),
                Ends::Flow(idle) => idle.flow.reset(),
            }
        }
    }
}

impl Deadline {
    /// Ends the connection at `at` unless set again or cleared.
    pub(crate) fn set(&self, at: Instant) {
        self.put(at, None, false);
    }

    /// Ends the receiving side at `at`, so that the client can still be told why.
    pub(crate) fn set_for_reading(&self, at: Instant) {
        self.put(at, None, true);
    }

    /// Ends the connection when its peer acknowledges fewer than `bytes_min` per `window`. The first
    /// window begins at the last tick, since every send sets it and a look at the clock costs more.
    pub(crate) fn set_pace(&self, window: Duration, bytes_min: u64) {
        let tick = self.deadlines.slab.borrow().tick;
        self.put(tick + window, Some(Pace { window, bytes_min, acked: None }), false);
    }

    /// One more (not set yet) that ends the same.
    pub(crate) fn another(&self) -> Self {
        let cut = match &self.deadlines.slab.borrow().slots[self.index as usize].ends {
            Ends::Side(cut) => Ends::Side(cut.clone()),
            Ends::Nothing | Ends::Flow(_) => Ends::Nothing,
        };
        self.deadlines.take(Slot::new(cut))
    }

    pub(crate) fn clear(&self) {
        self.deadlines.slab.borrow_mut().slots[self.index as usize].at = None;
    }

    /// Whether it passed.
    pub(crate) fn fired(&self) -> bool {
        self.deadlines.slab.borrow().slots[self.index as usize].fired
    }

    fn put(&self, at: Instant, pace: Option<Pace>, reading: bool) {
        let mut slab = self.deadlines.slab.borrow_mut();
        let slot = &mut slab.slots[self.index as usize];
        slot.at = Some(at);
        slot.pace = pace;
        slot.reading = reading;
        if slab.earliest.is_none_or(|earliest| at < earliest) {
            slab.earliest = Some(at);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let slot = {
            let mut slab = self.deadlines.slab.borrow_mut();
            slab.free.push(self.index);
            std::mem::replace(&mut slab.slots[self.index as usize], Slot::new(Ends::Nothing))
        };
        // What it ends may hold the last of a connection, whose own deadlines end here in turn.
        drop(slot);
    }
}

impl Slot {
    const fn new(ends: Ends) -> Self {
        Self { at: None, pace: None, reading: false, fired: false, ends }
    }

    fn pass(&mut self, now: Instant) {
        let cut = match &mut self.ends {
            Ends::Nothing => return,
            Ends::Side(cut) => cut,
            Ends::Flow(idle) => {
                self.fired = idle.look();
                self.at = (!self.fired).then(|| idle.next(now));
                return;
            }
        };
        if let Some(pace) = &mut self.pace
            && let Some(acked) = cut.bytes_acked()
        {
            let enough = pace.acked.is_none_or(|before| acked - before >= pace.bytes_min);
            if enough {
                pace.acked = Some(acked);
                self.at = Some(now + pace.window);
                return;
            }
        }
        self.at = None;
        self.fired = true;
        if self.reading { cut.end_reading() } else { cut.end() }
    }
}
