//! Why a message was refused: one closed list for heads and bodies of both directions.
//!
//! The engine makes the values; `shards` answers with [`Error::status`] (or 502 when a backend
//! did it) and closes. Invariant: the texts are fixed and never quote what a peer sent.

use thiserror::Error as ThisError;

use crate::http::{authority, path};

/// Who misbehaved and how; carries what the answer and the log need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The head (or trailer section) is larger than the limit, or has too many fields.
    #[error("head too large")]
    HeadTooLarge,
    /// The request target is longer than the limit.
    #[error("request target too long")]
    TargetTooLong,
    /// A violation of message syntax or framing, with a fixed description.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The path has no canonical form that may be forwarded.
    #[error("path: {0}")]
    Path(#[from] path::Error),
    /// Host or the target's authority is not a host with an optional port.
    #[error("authority: {0}")]
    Authority(#[from] authority::Error),
    /// A well-formed transfer coding other than `chunked`.
    #[error("transfer coding not implemented")]
    UnknownCoding,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    #[error("HTTP version not supported")]
    Version,
    /// A method that no feature names (CONNECT).
    #[error("method not allowed")]
    Method,
    /// An expectation other than `100-continue`.
    #[error("expectation failed")]
    Expectation,
}

impl Error {
    /// The status code to answer with when a client did this.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge => 431,
            Self::TargetTooLong => 414,
            Self::Malformed(_) | Self::Path(_) | Self::Authority(_) => 400,
            Self::UnknownCoding => 501,
            Self::Version => 505,
            Self::Method => 405,
            Self::Expectation => 417,
        }
    }
}
