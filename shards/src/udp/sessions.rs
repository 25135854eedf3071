//! The sessions of one UDP port on one shard: found by client, in order of their last use.
//!
//! A slab with a list through it, so that finding, using, adding and removing one each take the same
//! time however many there are. It knows neither sockets nor time limits; `relay` does. Invariant:
//! the map and the list hold exactly the places that are taken.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use foldhash::fast::RandomState;

/// Whose session: a client's, by the address that it sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: SocketAddr,
    pub(super) local: IpAddr,
}

/// All sessions of a port.
#[derive(Debug)]
pub(super) struct Sessions<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32, RandomState>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Slot<S> {
    key: Key,
    used: Instant,
    newer: u32,
    older: u32,
    session: Option<S>,
}

const NONE: u32 = u32::MAX;

impl<S> Default for Sessions<S> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::default(),
            newest: NONE,
            oldest: NONE,
        }
    }
}

impl<S> Sessions<S> {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// The session at `place`, if there is one.
    pub(super) fn get(&mut self, place: u32) -> Option<(Key, &mut S)> {
        let slot = self.slots.get_mut(place as usize)?;
        Some((slot.key, slot.session.as_mut()?))
    }

    /// Where the next session will be.
    pub(super) fn next_place(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.slots.len() as u32)
    }

    /// Adds the session of `key`, which has none, at [`Self::next_place`].
    pub(super) fn insert(&mut self, key: Key, session: S, now: Instant) -> u32 {
        let place = self.next_place();
        let slot = Slot { key, used: now, newer: NONE, older: NONE, session: Some(session) };
        match self.free.pop() {
            Some(_) => self.slots[place as usize] = slot,
            None => self.slots.push(slot),
        }
        self.by_key.insert(key, place);
        self.link_newest(place);
        place
    }

    /// The session at `place` is used.
    pub(super) fn touch(&mut self, place: u32, now: Instant) {
        self.slots[place as usize].used = now;
        if self.newest != place {
            self.unlink(place);
            self.link_newest(place);
        }
    }

    /// The one that was not used for longest, and when it was.
    pub(super) fn oldest(&self) -> Option<(u32, Instant)> {
        self.slots.get(self.oldest as usize).map(|slot| (self.oldest, slot.used))
    }

    /// Takes out the session at `place`, if there is one.
    pub(super) fn remove(&mut self, place: u32) -> Option<(Key, S)> {
        let slot = self.slots.get_mut(place as usize)?;
        let (key, session) = (slot.key, slot.session.take()?);
        self.by_key.remove(&key);
        self.unlink(place);
        self.free.push(place);
        Some((key, session))
    }

    fn unlink(&mut self, place: u32) {
        let Slot { newer, older, .. } = self.slots[place as usize];
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        let slot = &mut self.slots[place as usize];
        (slot.newer, slot.older) = (NONE, before);
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.newer = place,
            None => self.oldest = place,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(port: u16) -> Key {
        Key { client: ([192, 0, 2, 1], port).into(), local: [192, 0, 2, 9].into() }
    }

    /// Ports of all sessions, the longest idle first, by taking them out.
    fn emptied(mut sessions: Sessions<u16>) -> Vec<u16> {
        let mut order = Vec::new();
        while let Some((place, _)) = sessions.oldest() {
            order.extend(sessions.remove(place).map(|(_, port)| port));
        }
        assert_eq!((sessions.len(), sessions.newest), (0, NONE));
        order
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn the_longest_idle_is_the_one_that_was_not_used_for_longest() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sessions = Sessions::default();
        let places: Vec<u32> =
            (0..5).map(|port| sessions.insert(key(port), port, at(port.into()))).collect();
        sessions.touch(places[0], at(10));
        sessions.touch(places[2], at(11));
        sessions.touch(places[2], at(12));
        assert_eq!(sessions.oldest(), Some((places[1], at(1))));
        assert_eq!(emptied(sessions), [1, 3, 4, 0, 2]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn a_removed_session_is_found_no_more_and_its_place_is_given_again() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        let first = sessions.insert(key(1), 1, now);
        let second = sessions.insert(key(2), 2, now);
        let third = sessions.insert(key(3), 3, now);
        assert_eq!(sessions.remove(second), Some((key(2), 2)));
        assert_eq!(sessions.remove(second), None);
        assert!(sessions.find(&key(2)).is_none() && sessions.get(second).is_none());
        assert_eq!(sessions.next_place(), second);
        assert_eq!(sessions.insert(key(4), 4, now), second);
        assert_eq!(sessions.find(&key(4)), Some(second));
        assert_eq!(sessions.get(first).map(|(_, port)| *port), Some(1));
        assert_eq!(sessions.get(third).map(|(key, _)| key), Some(key(3)));
        assert_eq!(emptied(sessions), [1, 3, 4]);
    }
}
