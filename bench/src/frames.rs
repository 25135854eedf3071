//! Received bytes of HTTP/2 as events, one after the other.
//!
//! Called by `load`, `backend` and `held`, each of which keeps the bytes that are left over. Invariant:
//! what was used are whole frames.

use std::time::Instant;

use proxy::h2::{Connection, ConnectionError, Event, Message};

/// What arrived, and how far it is read.
pub(crate) struct Frames<'i> {
    input: &'i [u8],
    /// Bytes that are done with.
    pub(crate) used: usize,
}

impl<'i> Frames<'i> {
    /// Nothing of `input` is read.
    pub(crate) fn of(input: &'i [u8]) -> Self {
        Self { input, used: 0 }
    }

    /// The next event, with the bytes that its range is of; nothing when more have to arrive.
    pub(crate) fn next<M: Message>(
        &mut self,
        http2: &mut Connection<M>,
        head: &mut M,
        now: Instant,
    ) -> Result<Option<(Event, &'i [u8])>, ConnectionError> {
        loop {
            let bytes = &self.input[self.used..];
            let read = http2.read(bytes, head, now)?;
            self.used += read.consumed;
            match read.event {
                Some(event) => return Ok(Some((event, bytes))),
                None if read.consumed == 0 => return Ok(None),
                None => {}
            }
        }
    }
}
