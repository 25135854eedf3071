//! Error codes of RFC 9113 section 7, and the one error that ends a connection.
//!
//! It decides nothing: the connection makes the values, drivers log them. Invariant: the texts are
//! fixed and never quote what a peer sent.

use thiserror::Error as ThisError;

/// Why a stream or a connection ends, as both sides tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs, reason = "the registered codes of RFC 9113 section 7")]
pub enum ErrorCode {
    NoError = 0x0,
    ProtocolError = 0x1,
    InternalError = 0x2,
    FlowControlError = 0x3,
    SettingsTimeout = 0x4,
    StreamClosed = 0x5,
    FrameSizeError = 0x6,
    RefusedStream = 0x7,
    Cancel = 0x8,
    CompressionError = 0x9,
    ConnectError = 0xa,
    EnhanceYourCalm = 0xb,
    InadequateSecurity = 0xc,
    Http11Required = 0xd,
}

impl ErrorCode {
    /// The code of a frame; an unregistered one means the same as `INTERNAL_ERROR`.
    #[must_use]
    pub fn from_wire(code: u32) -> Self {
        match code {
            0x0 => Self::NoError,
            0x1 => Self::ProtocolError,
            0x3 => Self::FlowControlError,
            0x4 => Self::SettingsTimeout,
            0x5 => Self::StreamClosed,
            0x6 => Self::FrameSizeError,
            0x7 => Self::RefusedStream,
            0x8 => Self::Cancel,
            0x9 => Self::CompressionError,
            0xa => Self::ConnectError,
            0xb => Self::EnhanceYourCalm,
            0xc => Self::InadequateSecurity,
            0xd => Self::Http11Required,
            _ => Self::InternalError,
        }
    }

    /// The name in the RFC.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoError => "NO_ERROR",
            Self::ProtocolError => "PROTOCOL_ERROR",
            Self::InternalError => "INTERNAL_ERROR",
            Self::FlowControlError => "FLOW_CONTROL_ERROR",
            Self::SettingsTimeout => "SETTINGS_TIMEOUT",
            Self::StreamClosed => "STREAM_CLOSED",
            Self::FrameSizeError => "FRAME_SIZE_ERROR",
            Self::RefusedStream => "REFUSED_STREAM",
            Self::Cancel => "CANCEL",
            Self::CompressionError => "COMPRESSION_ERROR",
            Self::ConnectError => "CONNECT_ERROR",
            Self::EnhanceYourCalm => "ENHANCE_YOUR_CALM",
            Self::InadequateSecurity => "INADEQUATE_SECURITY",
            Self::Http11Required => "HTTP_1_1_REQUIRED",
        }
    }
}

/// The peer broke the protocol in a way that ends the connection. The GOAWAY that says so is queued
/// in the output: write it, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("{}: {reason}", code.name())]
pub struct ConnectionError {
    /// What the GOAWAY says.
    pub code: ErrorCode,
    /// What was wrong, for the log.
    pub reason: &'static str,
}

impl ConnectionError {
    /// `PROTOCOL_ERROR`.
    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self { code: ErrorCode::ProtocolError, reason }
    }

    /// `FRAME_SIZE_ERROR`.
    pub(super) const fn frame_size(reason: &'static str) -> Self {
        Self { code: ErrorCode::FrameSizeError, reason }
    }

    /// `FLOW_CONTROL_ERROR`.
    pub(super) const fn flow_control(reason: &'static str) -> Self {
        Self { code: ErrorCode::FlowControlError, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9113_7_unknown_codes_mean_an_internal_error() {
        for code in 0..=0xd {
            assert_eq!(ErrorCode::from_wire(code) as u32, code);
        }
        assert_eq!(ErrorCode::from_wire(0xe), ErrorCode::InternalError);
        assert_eq!(ErrorCode::from_wire(u32::MAX), ErrorCode::InternalError);
    }
}
