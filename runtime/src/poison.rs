//! The mark that an unfinished operation leaves on its half of a connection.
//!
//! Bytes of a dropped `recv` or `send` may be lost or half sent, so nothing may follow it. The
//! mark is set before the operation and taken away after it: only dropping the future skips that.

use std::io;

/// The mark of one half.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    busy: bool,
}

impl Poison {
    /// Begins an operation.
    ///
    /// # Errors
    /// `NotConnected` when an earlier one was dropped before its end.
    pub(crate) fn enter(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.busy, true) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(())
    }

    /// Ends it.
    pub(crate) const fn leave(&mut self) {
        self.busy = false;
    }
}
