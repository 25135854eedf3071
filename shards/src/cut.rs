//! Ends one side of an exchange from elsewhere on this thread, whatever carries it.
//!
//! Deadlines, watches and limits hold one. Whoever waits on that side then sees its end; nothing is
//! cancelled half-way.

use std::cell::OnceCell;
use std::rc::Rc;

use proxy::h2::ErrorCode;
use proxy::http::{RequestHead, ResponseHead};
use runtime::Abort;

use crate::h2::stream::Stream;

/// A weak handle on one side of an exchange.
#[derive(Clone, Debug)]
pub(crate) enum Cut {
    /// A connection that carries one exchange at a time.
    Connection(Abort),
    /// A client's stream of HTTP/2.
    Client(Stream<RequestHead>),
    /// A backend's stream of HTTP/2, once it is open.
    Backend(Rc<OnceCell<Stream<ResponseHead>>>),
}

impl Cut {
    /// Ends it.
    pub(crate) fn end(&self) {
        match self {
            Self::Connection(abort) => abort.abort(),
            Self::Client(stream) => stream.give_up(),
            Self::Backend(stream) => {
                if let Some(stream) = stream.get() {
                    stream.reset(ErrorCode::Cancel);
                }
            }
        }
    }

    /// Ends it so that the peer cannot take what it got for a whole.
    pub(crate) fn end_short(&self) {
        match self {
            Self::Connection(abort) => {
                abort.reset();
                abort.abort();
            }
            Self::Client(stream) => stream.give_up(),
            Self::Backend(stream) => {
                if let Some(stream) = stream.get() {
                    stream.reset(ErrorCode::Cancel);
                }
            }
        }
    }

    /// Ends receiving only: what waits for input sees the end, and an answer can still be sent.
    pub(crate) fn end_reading(&self) {
        match self {
            Self::Connection(abort) => abort.abort_reading(),
            Self::Client(stream) => stream.give_up_reading(),
            Self::Backend(stream) => {
                if let Some(stream) = stream.get() {
                    stream.give_up_reading();
                }
            }
        }
    }

    /// Bytes that the peer has acknowledged so far, where that can be told.
    pub(crate) fn bytes_acked(&self) -> Option<u64> {
        match self {
            Self::Connection(abort) => abort.bytes_acked(),
            Self::Client(_) | Self::Backend(_) => None,
        }
    }
}

impl From<Abort> for Cut {
    fn from(abort: Abort) -> Self {
        Self::Connection(abort)
    }
}

impl From<Stream<RequestHead>> for Cut {
    fn from(stream: Stream<RequestHead>) -> Self {
        Self::Client(stream)
    }
}

impl From<Stream<ResponseHead>> for Cut {
    fn from(stream: Stream<ResponseHead>) -> Self {
        Self::Backend(Rc::new(OnceCell::from(stream)))
    }
}
