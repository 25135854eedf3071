//! What the access log says of a session, gathered while it lasts and written at its end.
//!
//! Only sessions that begin while the log is on have an entry. `relay` counts into it, `State::end`
//! hands it to the recorder. Invariant: a session that has one is logged exactly once.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use proxy::balance::Outcome;
use proxy::stream::Labels;

use super::counts::Direction;

/// The open entry of a session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) labels: Labels,
    pub(crate) began: Instant,
    /// Datagrams sent to the endpoint and taken from it, in the order of [`Direction::ALL`].
    pub(crate) datagrams: [u64; Direction::ALL.len()],
    /// Bytes in them, likewise.
    pub(crate) bytes: [u64; Direction::ALL.len()],
}

/// A session that is over.
#[derive(Debug)]
pub(crate) struct Ended<'e> {
    pub(crate) entry: &'e Entry,
    pub(crate) client: IpAddr,
    pub(crate) endpoint: SocketAddr,
    pub(crate) end: End,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing moved for long enough.
    Idle,
    /// It made room for another.
    Evicted,
    /// Its endpoint was found gone.
    EndpointFailed,
    /// The route has its endpoint no more.
    EndpointRemoved,
    /// The port is stopped.
    Stopped,
}

impl Entry {
    pub(super) fn new(labels: Labels, began: Instant) -> Self {
        Self { labels, began, datagrams: [0; 2], bytes: [0; 2] }
    }

    pub(super) fn count(&mut self, direction: Direction, datagrams: u64, bytes: u64) {
        self.datagrams[direction as usize] += datagrams;
        self.bytes[direction as usize] += bytes;
    }
}

impl End {
    /// Its name in the access log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::EndpointFailed => "endpoint_failed",
            Self::EndpointRemoved => "endpoint_removed",
            Self::Stopped => "stopped",
        }
    }

    /// What it says about the endpoint.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::EndpointFailed => Outcome::Failed,
            Self::Idle | Self::Evicted | Self::EndpointRemoved | Self::Stopped => Outcome::Unknown,
        }
    }
}
