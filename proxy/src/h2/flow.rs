//! Flow-control windows, RFC 9113 section 6.9: what the peer may still send, and what we may.
//!
//! Arithmetic only; it sends no WINDOW_UPDATE, the connection does. Invariants: for a receive window
//! `left + owed + held` is its size, where `held` is what the driver has not given back; a send
//! window never exceeds 2³¹-1 and may be negative after a change of settings.

/// The largest window and increment.
pub(super) const WINDOW_MAX: u32 = 0x7fff_ffff;

/// What the peer may send us.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveWindow {
    size: u32,
    left: u32,
    owed: u32,
}

/// What we may send the peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendWindow {
    left: i64,
}

impl ReceiveWindow {
    pub(super) fn new(size: u32) -> Self {
        Self { size, left: size, owed: 0 }
    }

    /// The peer sent `count` flow-controlled bytes; `false` if it had no right to.
    #[must_use]
    pub(super) fn take(&mut self, count: u32) -> bool {
        let left = self.left.checked_sub(count);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Bytes taken and not given back.
    pub(super) fn held(&self) -> u32 {
        self.size - self.left - self.owed
    }

    /// `count` bytes are done with. Returns the increment to announce, once it is worth a frame:
    /// half the window.
    #[must_use]
    pub(super) fn give_back(&mut self, count: u32) -> Option<u32> {
        self.owed += count.min(self.held());
        if self.owed < self.size.div_ceil(2) || self.owed == 0 {
            return None;
        }
        let increment = std::mem::take(&mut self.owed);
        self.left += increment;
        Some(increment)
    }
}

impl SendWindow {
    pub(super) fn new(size: u32) -> Self {
        Self { left: i64::from(size) }
    }

    /// Bytes that may be sent now.
    pub(super) fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(0)
    }

    /// `count` bytes were sent, no more than were left.
    pub(super) fn take(&mut self, count: usize) {
        self.left -= count as i64;
    }

    /// A WINDOW_UPDATE, or a change of `SETTINGS_INITIAL_WINDOW_SIZE`; `false` beyond the largest
    /// window.
    #[must_use]
    pub(super) fn add(&mut self, change: i64) -> bool {
        self.left += change;
        self.left <= i64::from(WINDOW_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9113_6_9_1_a_peer_may_not_send_more_than_its_window() {
        let mut window = ReceiveWindow::new(10);
        assert!(window.take(10));
        assert!(!window.take(1));
        assert_eq!(window.held(), 10);
        assert_eq!(window.give_back(4), None);
        assert!(!window.take(1), "nothing was announced yet");
        assert_eq!(window.give_back(1), Some(5));
        assert!(window.take(5));
        assert_eq!(window.give_back(100), Some(10), "no more than was taken is given back");
    }

    #[test]
    fn a_window_of_nothing_announces_nothing() {
        assert_eq!(ReceiveWindow::new(0).give_back(1), None);
    }

    #[test]
    fn rfc9113_6_9_2_a_window_may_become_negative_but_not_too_large() {
        let mut window = SendWindow::new(10);
        window.take(10);
        assert!(window.add(-5));
        assert_eq!(window.left(), 0);
        assert!(window.add(6));
        assert_eq!(window.left(), 1);
        assert!(window.add(i64::from(WINDOW_MAX) - 1));
        assert!(!window.add(1));
    }
}
