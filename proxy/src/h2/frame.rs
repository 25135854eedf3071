//! The frame layer, RFC 9113 sections 4 and 6: headers and payloads to values and back.
//!
//! It keeps no state and knows no streams; the connection calls it. What a frame's own bytes can
//! violate (length, stream zero or not, padding) is refused here, what depends on what went before
//! is not. Invariant: a payload is read only when it is complete.

use super::error::{ConnectionError, ErrorCode};
use super::stream::StreamId;

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 9;
/// The least, and our own, `SETTINGS_MAX_FRAME_SIZE`.
pub const PAYLOAD_BYTES_MAX: usize = 16_384;
/// What a client says first, RFC 9113 section 3.4.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `END_STREAM` of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// `ACK` of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// `END_HEADERS` of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 0x4;
/// `PADDED` of DATA and HEADERS.
pub const PADDED: u8 = 0x8;
/// `PRIORITY` of HEADERS.
pub const PRIORITY: u8 = 0x20;

/// Frame types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the registered types of RFC 9113 section 6")]
pub enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Any other type: ignored.
    Unknown(u8),
}

impl Kind {
    /// The type of a wire byte.
    #[must_use]
    pub fn from_wire(byte: u8) -> Self {
        match byte {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::RstStream,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            other => Self::Unknown(other),
        }
    }

    /// The wire byte.
    #[must_use]
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Data => 0x0,
            Self::Headers => 0x1,
            Self::Priority => 0x2,
            Self::RstStream => 0x3,
            Self::Settings => 0x4,
            Self::PushPromise => 0x5,
            Self::Ping => 0x6,
            Self::GoAway => 0x7,
            Self::WindowUpdate => 0x8,
            Self::Continuation => 0x9,
            Self::Unknown(byte) => byte,
        }
    }
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes.
    pub length: usize,
    /// Type.
    pub kind: Kind,
    /// Flags.
    pub flags: u8,
    /// Stream identifier without the reserved bit; 0 is the connection.
    pub stream: u32,
}

impl Header {
    /// Reads a header from the start of `input`; `None` if it is not complete.
    #[must_use]
    #[inline]
    pub fn read(input: &[u8]) -> Option<Self> {
        let header = input.first_chunk::<HEADER_BYTES>()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *header;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind: Kind::from_wire(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        })
    }

    /// Appends this header.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_wire());
    }

    /// The bytes of this header.
    #[inline]
    fn to_wire(self) -> [u8; HEADER_BYTES] {
        let [_, l0, l1, l2] = (self.length as u32).to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind.to_wire(), self.flags, s0, s1, s2, s3]
    }

    /// Whether a flag is set.
    #[must_use]
    #[inline]
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What is wrong with the frame whatever went before: RFC 9113 section 4.2 and the length and
    /// stream rules of section 6. A length that is only a stream error is left to the connection.
    ///
    /// # Errors
    /// Anything that ends the connection.
    #[inline]
    pub fn check(self) -> Result<(), ConnectionError> {
        if self.length > PAYLOAD_BYTES_MAX {
            return Err(ConnectionError::frame_size("frame larger than allowed"));
        }
        let on_stream = self.stream != 0;
        let wrong_length = match self.kind {
            Kind::RstStream | Kind::WindowUpdate => self.length != 4,
            Kind::Settings if self.has(ACK) => self.length != 0,
            Kind::Settings => !self.length.is_multiple_of(6),
            Kind::Ping => self.length != 8,
            Kind::GoAway => self.length < 8,
            Kind::Data
            | Kind::Headers
            | Kind::Priority
            | Kind::PushPromise
            | Kind::Continuation
            | Kind::Unknown(_) => false,
        };
        let right_stream = match self.kind {
            Kind::Data
            | Kind::Headers
            | Kind::Priority
            | Kind::RstStream
            | Kind::PushPromise
            | Kind::Continuation => on_stream,
            Kind::Settings | Kind::Ping | Kind::GoAway => !on_stream,
            Kind::WindowUpdate | Kind::Unknown(_) => true,
        };
        if !right_stream {
            return Err(ConnectionError::protocol("frame on a stream where it may not be"));
        }
        if wrong_length {
            return Err(ConnectionError::frame_size("length that the frame type does not have"));
        }
        Ok(())
    }
}

/// The parts of a complete HEADERS payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadersPayload<'a> {
    /// The field block fragment.
    pub fragment: &'a [u8],
    /// The stream that this one depends on, of the deprecated priority.
    pub dependency: Option<u32>,
}

/// Takes padding and priority off a HEADERS payload, RFC 9113 section 6.2.
///
/// # Errors
/// Padding longer than the payload, or a payload too short for its flags.
pub fn headers(header: Header, payload: &[u8]) -> Result<HeadersPayload<'_>, ConnectionError> {
    const SHORT: ConnectionError = ConnectionError::frame_size("HEADERS too short for its flags");
    let mut rest = payload;
    let mut padding = 0;
    if header.has(PADDED) {
        let (&length, tail) = rest.split_first().ok_or(SHORT)?;
        (padding, rest) = (usize::from(length), tail);
    }
    let mut dependency = None;
    if header.has(PRIORITY) {
        let (priority, tail) = rest.split_first_chunk::<5>().ok_or(SHORT)?;
        dependency = Some(priority_dependency(priority));
        rest = tail;
    }
    let length = rest.len().checked_sub(padding);
    let length = length.ok_or(ConnectionError::protocol("padding longer than the payload"))?;
    Ok(HeadersPayload { fragment: &rest[..length], dependency })
}

/// The stream that a priority depends on, RFC 7540 section 6.3.
#[must_use]
pub fn priority_dependency(&[a, b, c, d, _weight]: &[u8; 5]) -> u32 {
    u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff
}

/// The number in the last four bytes of a RST_STREAM or WINDOW_UPDATE payload.
#[must_use]
pub fn number(payload: &[u8]) -> u32 {
    payload.last_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The last stream and the code of a GOAWAY payload.
#[must_use]
pub fn go_away(payload: &[u8]) -> (u32, ErrorCode) {
    let [a, b, c, d, rest @ ..] = payload else { return (0, ErrorCode::InternalError) };
    let code = rest.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    (u32::from_be_bytes([*a, *b, *c, *d]) & 0x7fff_ffff, ErrorCode::from_wire(code))
}

/// The identifier and value pairs of a SETTINGS payload.
pub fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(6).map(|pair| {
        let identifier = u16::from_be_bytes([pair[0], pair[1]]);
        (identifier, u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
    })
}

/// Completes a field block that stands behind an empty HEADERS header at `start` of `out`: sets
/// length and flags, and continues in CONTINUATION frames what one frame cannot hold.
pub fn split_block(start: usize, stream: StreamId, end: bool, out: &mut Vec<u8>) {
    let mut at = start;
    let mut kind = Kind::Headers;
    let mut flags = if end { END_STREAM } else { 0 };
    loop {
        let length = out.len() - at - HEADER_BYTES;
        let last = length <= PAYLOAD_BYTES_MAX;
        let length = length.min(PAYLOAD_BYTES_MAX);
        flags |= if last { END_HEADERS } else { 0 };
        let header = Header { length, kind, flags, stream: stream.number() };
        out[at..at + HEADER_BYTES].copy_from_slice(&header.to_wire());
        if last {
            return;
        }
        at += HEADER_BYTES + length;
        out.splice(at..at, [0; HEADER_BYTES]);
        (kind, flags) = (Kind::Continuation, 0);
    }
}

/// Appends a RST_STREAM.
pub fn write_rst_stream(stream: StreamId, code: ErrorCode, out: &mut Vec<u8>) {
    Header { length: 4, kind: Kind::RstStream, flags: 0, stream: stream.number() }.write(out);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Appends a WINDOW_UPDATE; stream 0 is the connection.
pub fn write_window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    Header { length: 4, kind: Kind::WindowUpdate, flags: 0, stream }.write(out);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends a GOAWAY without debug data.
pub fn write_go_away(last: u32, code: ErrorCode, out: &mut Vec<u8>) {
    Header { length: 8, kind: Kind::GoAway, flags: 0, stream: 0 }.write(out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Appends a PING.
pub fn write_ping(flags: u8, payload: [u8; 8], out: &mut Vec<u8>) {
    Header { length: 8, kind: Kind::Ping, flags, stream: 0 }.write(out);
    out.extend_from_slice(&payload);
}

/// Appends a SETTINGS with these pairs.
pub fn write_settings(pairs: &[(u16, u32)], out: &mut Vec<u8>) {
    Header { length: pairs.len() * 6, kind: Kind::Settings, flags: 0, stream: 0 }.write(out);
    for (identifier, value) in pairs {
        out.extend_from_slice(&identifier.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of the peer's SETTINGS.
pub fn write_settings_ack(out: &mut Vec<u8>) {
    Header { length: 0, kind: Kind::Settings, flags: ACK, stream: 0 }.write(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: Kind, length: usize, flags: u8, stream: u32) -> Header {
        Header { length, kind, flags, stream }
    }

    #[test]
    fn rfc9113_4_1_headers_are_nine_bytes_and_the_reserved_bit_is_ignored() {
        let bytes = [0, 0x40, 0, 1, 0x25, 0x80, 0, 0, 3];
        let read = Header::read(&bytes).unwrap();
        assert_eq!(read, header(Kind::Headers, 16_384, 0x25, 3));
        assert_eq!(Header::read(&bytes[..8]), None);
        let mut out = Vec::new();
        read.write(&mut out);
        assert_eq!(out, [0, 0x40, 0, 1, 0x25, 0, 0, 0, 3]);
        for byte in 0..=255 {
            assert_eq!(Kind::from_wire(byte).to_wire(), byte);
        }
    }

    #[test]
    fn rfc9113_4_2_and_6_lengths_and_streams_are_checked() {
        let frame_size = |h: Header| h.check().unwrap_err().code == ErrorCode::FrameSizeError;
        let protocol = |h: Header| h.check().unwrap_err().code == ErrorCode::ProtocolError;
        assert!(frame_size(header(Kind::Data, 16_385, 0, 1)));
        assert!(frame_size(header(Kind::RstStream, 3, 0, 1)));
        assert!(frame_size(header(Kind::WindowUpdate, 5, 0, 0)));
        assert!(frame_size(header(Kind::Settings, 6, ACK, 0)));
        assert!(frame_size(header(Kind::Settings, 7, 0, 0)));
        assert!(frame_size(header(Kind::Ping, 7, 0, 0)));
        assert!(frame_size(header(Kind::GoAway, 7, 0, 0)));
        for kind in [Kind::Data, Kind::Headers, Kind::Continuation] {
            assert!(protocol(header(kind, 0, 0, 0)), "{kind:?}");
        }
        assert!(protocol(header(Kind::Priority, 5, 0, 0)));
        assert!(protocol(header(Kind::RstStream, 4, 0, 0)));
        assert!(protocol(header(Kind::Settings, 0, 0, 1)));
        assert!(protocol(header(Kind::Ping, 8, 0, 1)));
        assert!(protocol(header(Kind::GoAway, 8, 0, 1)));
        assert_eq!(header(Kind::Unknown(0xff), 5, 0xff, 7).check(), Ok(()));
        assert_eq!(header(Kind::Data, 16_384, 0, 1).check(), Ok(()));
    }

    #[test]
    fn rfc9113_6_2_padding_and_priority_are_taken_off() {
        let flags = PADDED | PRIORITY;
        let payload = [2, 0x80, 0, 0, 7, 16, b'a', b'b', 0, 0];
        let parts = headers(header(Kind::Headers, 10, flags, 1), &payload).unwrap();
        assert_eq!(parts, HeadersPayload { fragment: b"ab", dependency: Some(7) });
        let plain = headers(header(Kind::Headers, 2, 0, 1), b"ab").unwrap();
        assert_eq!(plain, HeadersPayload { fragment: b"ab", dependency: None });
        for (flags, payload, code) in [
            (PADDED, &[][..], ErrorCode::FrameSizeError),
            (PADDED, &[2, 0][..], ErrorCode::ProtocolError),
            (PRIORITY, &[0, 0, 0, 1][..], ErrorCode::FrameSizeError),
        ] {
            let error = headers(header(Kind::Headers, payload.len(), flags, 1), payload);
            assert_eq!(error.unwrap_err().code, code, "{payload:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        write_go_away(5, ErrorCode::EnhanceYourCalm, &mut out);
        assert_eq!(go_away(&out[HEADER_BYTES..]), (5, ErrorCode::EnhanceYourCalm));
        out.clear();
        write_settings(&[(1, 4096), (3, 100)], &mut out);
        let read: Vec<_> = settings(&out[HEADER_BYTES..]).collect();
        assert_eq!(read, [(1, 4096), (3, 100)]);
        out.clear();
        write_window_update(0, 77, &mut out);
        assert_eq!(number(&out[HEADER_BYTES..]), 77);
    }
}
