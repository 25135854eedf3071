//! SETTINGS of both sides, RFC 9113 section 6.5.2 and RFC 8441.
//!
//! Values and their checks; the connection applies them. Invariant: a peer's values are in range.

use super::error::ConnectionError;
use super::flow::WINDOW_MAX;
use crate::limits::{
    H2_CONNECTION_WINDOW_BYTES, H2_STREAM_WINDOW_BYTES, H2_STREAMS_MAX, HEAD_BYTES_MAX,
};

/// `SETTINGS_HEADER_TABLE_SIZE`.
pub(super) const HEADER_TABLE_SIZE: u16 = 0x1;
/// `SETTINGS_ENABLE_PUSH`.
pub(super) const ENABLE_PUSH: u16 = 0x2;
/// `SETTINGS_MAX_CONCURRENT_STREAMS`.
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
pub(super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
/// `SETTINGS_MAX_FRAME_SIZE`.
pub(super) const MAX_FRAME_SIZE: u16 = 0x5;
/// `SETTINGS_MAX_HEADER_LIST_SIZE`.
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// `SETTINGS_ENABLE_CONNECT_PROTOCOL`.
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

/// Both sides' window of a new connection.
pub(super) const WINDOW_DEFAULT: u32 = 65_535;

/// What we grant the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Streams that the peer may have open at once (server).
    pub streams_max: u32,
    /// Body bytes of one stream that we hold at most.
    pub stream_window: u32,
    /// Body bytes of all streams that we hold at most; at least 65,535.
    pub connection_window: u32,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            streams_max: H2_STREAMS_MAX,
            stream_window: H2_STREAM_WINDOW_BYTES,
            connection_window: H2_CONNECTION_WINDOW_BYTES,
        }
    }
}

impl Local {
    /// The first SETTINGS of a server.
    pub(super) fn server_pairs(&self) -> [(u16, u32); 4] {
        [
            (MAX_CONCURRENT_STREAMS, self.streams_max),
            (INITIAL_WINDOW_SIZE, self.stream_window),
            (MAX_HEADER_LIST_SIZE, HEAD_BYTES_MAX as u32),
            (ENABLE_CONNECT_PROTOCOL, 1),
        ]
    }

    /// The first SETTINGS of a client.
    pub(super) fn client_pairs(&self) -> [(u16, u32); 3] {
        [
            (ENABLE_PUSH, 0),
            (INITIAL_WINDOW_SIZE, self.stream_window),
            (MAX_HEADER_LIST_SIZE, HEAD_BYTES_MAX as u32),
        ]
    }
}

/// What the peer grants us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Largest HPACK table that our encoder may use.
    pub header_table: u32,
    /// Streams that we may have open at once (client).
    pub streams_max: u32,
    /// Window of new streams.
    pub initial_window: u32,
    /// Largest decoded field list that the peer reads: advice.
    pub header_list_bytes_max: u32,
    /// Extended CONNECT is understood.
    pub extended_connect: bool,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            header_table: 4096,
            streams_max: u32::MAX,
            initial_window: WINDOW_DEFAULT,
            header_list_bytes_max: u32::MAX,
            extended_connect: false,
        }
    }
}

impl Peer {
    /// Takes one pair; `from_server` says who sent it. Unknown ones are ignored.
    ///
    /// # Errors
    /// A value out of range.
    pub(super) fn set(
        &mut self,
        identifier: u16,
        value: u32,
        from_server: bool,
    ) -> Result<(), ConnectionError> {
        match identifier {
            HEADER_TABLE_SIZE => self.header_table = value,
            ENABLE_PUSH if value > 1 || (from_server && value != 0) => {
                return Err(ConnectionError::protocol("SETTINGS_ENABLE_PUSH"));
            }
            MAX_CONCURRENT_STREAMS => self.streams_max = value,
            INITIAL_WINDOW_SIZE if value > WINDOW_MAX => {
                return Err(ConnectionError::flow_control("SETTINGS_INITIAL_WINDOW_SIZE"));
            }
            INITIAL_WINDOW_SIZE => self.initial_window = value,
            MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                return Err(ConnectionError::protocol("SETTINGS_MAX_FRAME_SIZE"));
            }
            MAX_HEADER_LIST_SIZE => self.header_list_bytes_max = value,
            ENABLE_CONNECT_PROTOCOL if value > 1 || (value == 0 && self.extended_connect) => {
                return Err(ConnectionError::protocol("SETTINGS_ENABLE_CONNECT_PROTOCOL"));
            }
            ENABLE_CONNECT_PROTOCOL => self.extended_connect = value == 1,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2::ErrorCode::{self, FlowControlError, ProtocolError};

    fn set(identifier: u16, value: u32, from_server: bool) -> Result<Peer, ErrorCode> {
        let mut peer = Peer::default();
        peer.set(identifier, value, from_server).map(|()| peer).map_err(|error| error.code)
    }

    #[test]
    fn rfc9113_6_5_2_values_out_of_range_end_the_connection() {
        assert_eq!(set(ENABLE_PUSH, 2, false), Err(ProtocolError));
        assert_eq!(set(ENABLE_PUSH, 1, true), Err(ProtocolError));
        assert!(set(ENABLE_PUSH, 1, false).is_ok() && set(ENABLE_PUSH, 0, true).is_ok());
        assert_eq!(set(INITIAL_WINDOW_SIZE, 0x8000_0000, false), Err(FlowControlError));
        assert_eq!(
            set(INITIAL_WINDOW_SIZE, 0x7fff_ffff, false).unwrap().initial_window,
            0x7fff_ffff
        );
        assert_eq!(set(MAX_FRAME_SIZE, 16_383, false), Err(ProtocolError));
        assert_eq!(set(MAX_FRAME_SIZE, 16_777_216, false), Err(ProtocolError));
        assert_eq!(set(MAX_FRAME_SIZE, 16_777_215, false), Ok(Peer::default()), "ours are small");
        assert_eq!(set(0xff, 1, false), Ok(Peer::default()), "unknown settings are ignored");
    }

    #[test]
    fn rfc8441_3_extended_connect_is_never_taken_back() {
        assert_eq!(set(ENABLE_CONNECT_PROTOCOL, 2, true), Err(ProtocolError));
        let mut peer = set(ENABLE_CONNECT_PROTOCOL, 1, true).unwrap();
        assert!(peer.extended_connect);
        assert!(peer.set(ENABLE_CONNECT_PROTOCOL, 0, true).is_err());
    }
}
