//! Ends one side of an exchange from elsewhere on this thread, whatever carries it.
//!
//! Deadlines, watches and limits hold one. Whoever waits on that side then sees its end; nothing is
//! cancelled half-way.

use runtime::Abort;

/// A weak handle on one side of an exchange.
#[derive(Clone, Debug)]
pub(crate) enum Cut {
    /// A connection that carries one exchange at a time.
    Connection(Abort),
}

impl Cut {
    /// Ends it.
    pub(crate) fn end(&self) {
        match self {
            Self::Connection(abort) => abort.abort(),
        }
    }

    /// Ends it so that the peer cannot take what it got for a whole.
    pub(crate) fn end_short(&self) {
        match self {
            Self::Connection(abort) => {
                abort.reset();
                abort.abort();
            }
        }
    }

    /// Ends receiving only: what waits for input sees the end, and an answer can still be sent.
    pub(crate) fn end_reading(&self) {
        match self {
            Self::Connection(abort) => abort.abort_reading(),
        }
    }

    /// Bytes that the peer has acknowledged so far, where that can be told.
    pub(crate) fn bytes_acked(&self) -> Option<u64> {
        match self {
            Self::Connection(abort) => abort.bytes_acked(),
        }
    }
}

impl From<Abort> for Cut {
    fn from(abort: Abort) -> Self {
        Self::Connection(abort)
    }
}
