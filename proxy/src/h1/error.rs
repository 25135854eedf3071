//! Why a message was refused.

use thiserror::Error as ThisError;

/// Who misbehaved and how; carries what the answer and the log need. Extend by variants as needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The head is larger than the limit, or has too many fields.
    #[error("head too large")]
    HeadTooLarge,
    /// The request target is longer than the limit.
    #[error("request target too long")]
    TargetTooLong,
    /// Any other violation, with a fixed description.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
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
            Self::Malformed(_) => 400,
            Self::UnknownCoding => 501,
            Self::Version => 505,
            Self::Method => 405,
            Self::Expectation => 417,
        }
    }
}
