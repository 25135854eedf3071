//! What a gateway said before it ended a connection, and how it ended it.
//!
//! Pure. Called by `life` with the bytes that arrive. Invariant: keeps a few bytes, whatever comes.

use memchr::memmem;
use proxy::h2::ErrorCode;
use proxy::h2::frame::{self, HEADER_BYTES, Header, Kind};

use super::kinds::Protocol;

/// The payload bytes of a GOAWAY without debug data, and of a RST_STREAM.
const GO_AWAY_BYTES: usize = 8;
const RST_STREAM_BYTES: usize = 4;
const STATUS_LINE: &[u8] = b"HTTP/1.1 ";

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The gateway closed it.
    Closed,
    /// The gateway reset it.
    Reset,
    /// It was open when the time was over.
    Open,
    /// It could not be opened.
    Refused,
    /// The abuser ended it, as it meant to.
    Left,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Open => "open at the end",
            Self::Refused => "refused",
            Self::Left => "left",
        }
    }
}

/// What has been said so far.
#[derive(Debug)]
pub(super) struct Said {
    protocol: Protocol,
    /// Bytes of a frame's header, and of the payload where that matters.
    held: Vec<u8>,
    /// Bytes of a payload that does not matter.
    skip: usize,
    word: Option<String>,
    /// A GOAWAY was the last word.
    leaving: bool,
}

/// How much of a payload is looked at.
fn payload_wanted(header: Header) -> usize {
    let most = match header.kind {
        Kind::GoAway => GO_AWAY_BYTES,
        Kind::RstStream => RST_STREAM_BYTES,
        _ => 0,
    };
    header.length.min(most)
}

impl Said {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self { protocol, held: Vec::new(), skip: 0, word: None, leaving: false }
    }

    /// Looks at what arrived.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        match self.protocol {
            Protocol::Http2 => self.frames(bytes),
            Protocol::Http1 | Protocol::Tls => self.status(bytes),
            Protocol::Tcp | Protocol::Udp => {}
        }
    }

    /// The last status among `bytes`, and a TLS alert.
    fn status(&mut self, bytes: &[u8]) {
        if let Some(at) = memmem::rfind(bytes, STATUS_LINE) {
            let digits = bytes[at + STATUS_LINE.len()..].iter().take(3);
            self.word = Some(digits.map(|digit| char::from(*digit)).collect());
        } else if self.protocol == Protocol::Tls && bytes.first() == Some(&21) {
            self.word = Some("alert".to_owned());
        }
    }

    fn frames(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let header = Header::read(&self.held);
            let wanted = HEADER_BYTES + header.map_or(0, payload_wanted);
            let taken = (wanted - self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            let Some(header) = Header::read(&self.held) else { continue };
            let payload = &self.held[HEADER_BYTES..];
            if payload.len() < payload_wanted(header) {
                continue;
            }
            match header.kind {
                Kind::GoAway => {
                    self.word = Some(format!("GOAWAY {}", frame::go_away(payload).1.name()));
                    self.leaving = true;
                }
                Kind::RstStream if !self.leaving => {
                    let code = ErrorCode::from_wire(frame::number(payload));
                    self.word = Some(format!("RST_STREAM {}", code.name()));
                }
                _ => {}
            }
            self.skip = header.length + HEADER_BYTES - self.held.len();
            self.held.clear();
        }
    }

    /// In words.
    pub(super) fn ended(self, end: End) -> String {
        match self.word {
            Some(word) => format!("{word}, {}", end.name()),
            None => end.name().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goaway_is_found_behind_other_frames_however_they_are_cut() {
        let mut wire = Vec::new();
        frame::write_settings(&[(3, 100)], &mut wire);
        frame::write_settings_ack(&mut wire);
        Header { length: 300, kind: Kind::Data, flags: 0, stream: 1 }.write(&mut wire);
        wire.resize(wire.len() + 300, 7);
        frame::write_go_away(9, ErrorCode::EnhanceYourCalm, &mut wire);
        for step in 1..=wire.len() {
            let mut said = Said::new(Protocol::Http2);
            wire.chunks(step).for_each(|piece| said.take(piece));
            assert_eq!(said.ended(End::Closed), "GOAWAY ENHANCE_YOUR_CALM, closed", "by {step}");
        }
    }

    #[test]
    fn a_reset_stream_is_said_of_a_connection_that_goes_on() {
        let mut wire = Vec::new();
        frame::write_settings(&[(3, 100)], &mut wire);
        Header { length: 4, kind: Kind::RstStream, flags: 0, stream: 1 }.write(&mut wire);
        wire.extend_from_slice(&(ErrorCode::Cancel as u32).to_be_bytes());
        frame::write_settings_ack(&mut wire);
        for step in 1..=wire.len() {
            let mut said = Said::new(Protocol::Http2);
            wire.chunks(step).for_each(|piece| said.take(piece));
            assert_eq!(said.ended(End::Open), "RST_STREAM CANCEL, open at the end", "by {step}");
        }
    }

    #[test]
    fn the_last_status_counts() {
        let mut said = Said::new(Protocol::Http1);
        said.take(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 431 Request Header Fields Too Large\r\n\r\n");
        assert_eq!(said.ended(End::Reset), "431, reset");
        let mut said = Said::new(Protocol::Tls);
        said.take(&[21, 3, 3, 0, 2, 2, 50]);
        assert_eq!(said.ended(End::Closed), "alert, closed");
        assert_eq!(Said::new(Protocol::Tcp).ended(End::Open), "open at the end");
    }
}
