//! The times of a connection of HTTP/2: what it waits for, and until when.
//!
//! Three things have a time: a head that has begun (or the peer's first SETTINGS), the next stream, and
//! the acknowledgement of our own SETTINGS. It reads no clock: the connection's task says when it waits
//! ([`State::pace`]). Invariant: a connection that rests holds one deadline and no more.

use std::time::{Duration, Instant};

use proxy::epoch::Timeouts;
use proxy::h2::Message;
use proxy::limits;

use super::State;
use crate::deadline::Deadline;

/// The times of a connection.
#[derive(Debug)]
pub(crate) struct Clock {
    deadline: Deadline,
    /// A head must arrive whole within this.
    header: Duration,
    /// Without streams it is closed after this.
    idle: Duration,
    /// Our SETTINGS must be acknowledged within this.
    settings: Duration,
    settling: Option<Settling>,
    /// Since when something incomplete is here.
    amid: Option<Instant>,
    /// When something was received last.
    heard: Option<Instant>,
    /// A sign of life was asked for since then.
    asked: bool,
    /// Signs of life since the peer has said anything else.
    signs: u32,
}

/// Our SETTINGS are not acknowledged yet.
#[derive(Debug)]
struct Settling {
    deadline: Deadline,
    /// Bytes that came since it was set.
    in_window: u64,
    /// Bytes that came in all.
    in_all: u64,
}

impl Clock {
    pub(crate) fn new(deadline: Deadline, idle: Duration, timeouts: &Timeouts) -> Self {
        Self {
            deadline,
            header: timeouts.header,
            idle,
            settings: timeouts.h2_settings,
            settling: None,
            amid: None,
            heard: None,
            asked: false,
            signs: 0,
        }
    }

    /// So many bytes came.
    pub(super) fn hear(&mut self, count: usize) {
        if let Some(settling) = &mut self.settling {
            settling.in_window += count as u64;
            settling.in_all += count as u64;
        }
    }

    /// Nothing is incomplete.
    pub(super) fn is_whole(&mut self) {
        self.amid = None;
    }

    /// A stream is open.
    pub(super) fn occupied(&self) {
        if self.amid.is_none() {
            self.deadline.clear();
        }
    }

    /// No stream is open any more.
    pub(super) fn vacant(&self, now: Instant) {
        if self.amid.is_none() {
            self.deadline.set_for_reading(now + self.idle);
        }
    }

    /// The peer did something for a stream.
    pub(super) fn active(&mut self) {
        self.signs = 0;
    }

    /// It gave a sign of life.
    pub(super) fn signed(&mut self) {
        self.signs = self.signs.saturating_add(1);
    }

    /// Our SETTINGS wait for their acknowledgement, which comes behind what a peer has sent before it
    /// read them: one that is slow, but no slower than any body may be, gets the time for that.
    fn settle(&mut self, now: Instant) {
        let until = now + self.settings;
        match &mut self.settling {
            None => {
                let deadline = self.deadline.another();
                deadline.set_for_reading(until);
                self.settling = Some(Settling { deadline, in_window: 0, in_all: 0 });
            }
            Some(settling) => {
                let kept_pace = settling.in_window >= limits::body_bytes_min(self.settings);
                if kept_pace && settling.in_all < SENT_BEFORE_BYTES_MAX {
                    settling.in_window = 0;
                    settling.deadline.set_for_reading(until);
                }
            }
        }
    }
}

impl<M: Message> State<M> {
    /// Sets the time until which something must happen, before more is awaited.
    pub(crate) fn pace(&mut self, now: Instant, is_amid: bool) {
        self.rest(); // The end of a drain may be what came just now.
        (self.clock.heard, self.clock.asked) = (Some(now), false);
        let amid = is_amid || self.is_amid();
        self.clock.amid = amid.then(|| self.clock.amid.unwrap_or(now));
        match self.clock.amid {
            Some(since) => self.clock.deadline.set_for_reading(since + self.clock.header),
            None if self.streams.is_empty() => {
                self.clock.deadline.set_for_reading(now + self.clock.idle);
            }
            None => self.clock.deadline.clear(),
        }
        if self.engine.is_acknowledged() {
            self.clock.settling = None;
        } else if self.engine.is_established() {
            self.clock.settle(now);
        }
    }

    /// Whether something has begun that takes more than one frame.
    pub(super) fn is_amid(&self) -> bool {
        self.engine.is_amid_head() || !self.engine.is_established()
    }

    /// Whether the time for a head, for the next stream or for an acknowledgement is over.
    pub(crate) fn is_late(&self) -> bool {
        self.clock.deadline.fired() || self.is_unsettled()
    }

    /// Whether the time for the acknowledgement of our SETTINGS is over.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.clock.settling.as_ref().is_some_and(|settling| settling.deadline.fired())
    }

    /// Looks after a peer that owes us something: asks it for a sign of life when it is silent. False:
    /// it gave none.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let since = self.clock.heard.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if self.is_finishing() {
            return since < SIGN_TIME_MAX; // It has left, and takes what is still said or does not.
        }
        // Servers of gRPC take a third ping without other traffic within five minutes for abuse.
        let patience = if self.clock.signs < SIGNS_MAX { SILENCE_TIME } else { QUIET_TIME };
        if self.streams.is_empty() || since < patience {
            return true;
        }
        if !std::mem::replace(&mut self.clock.asked, true) {
            self.engine.ping();
        }
        since < patience + SIGN_TIME_MAX
    }
}

/// What a peer may have sent before it read our SETTINGS is mostly bodies, within the window that every
/// connection begins with.
const SENT_BEFORE_BYTES_MAX: u64 = 64 * 1024;
/// A peer that was silent for this long while streams wait is asked for a sign of life.
const SILENCE_TIME: Duration = Duration::from_secs(7);
/// It must have come after this.
const SIGN_TIME_MAX: Duration = Duration::from_secs(5);
/// After so many signs of life and nothing else, the next one is asked for later.
const SIGNS_MAX: u32 = 2;
const QUIET_TIME: Duration = Duration::from_secs(305);
