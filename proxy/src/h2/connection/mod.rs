//! A connection as a state machine for both roles, RFC 9113, without I/O or clock.
//!
//! Drivers in `shards` feed [`Connection::read`] and write what [`Connection::output`] holds. It copies
//! no bodies: data in is a range of the input, data out is appended to the output. Invariants: the
//! events do not depend on how the input was cut; both windows are exact; after an error nothing
//! more is read.
//!
//! # How to drive it
//! - Read some bytes, call `read` on them until it consumes nothing, keep the rest (never more than
//!   one frame). Write the output whenever it is not empty. While [`Connection::is_choked`], read no
//!   more.
//! - A server answers an [`Event::Head`] by `send_head` (any number of interim heads first),
//!   `send_data`, `send_trailers`; a client begins by `request`.
//! - A stream is the driver's until `forget`: call it for every stream, however it ended, once no
//!   work goes on behind it. Until then it counts as open, so resets buy no concurrency.

mod fields;
mod receive;
mod send;

use std::marker::PhantomData;
use std::time::Instant;

use self::receive::Reading;
use super::budget::Budget;
use super::error::{ConnectionError, ErrorCode};
use super::event::Read;
use super::flow::{ReceiveWindow, SendWindow};
use super::frame;
use super::head::Message;
use super::hpack::{Decoder, Encoder, TABLE_BYTES_DEFAULT};
use super::settings::{Local, Peer, WINDOW_DEFAULT};
use super::stream::{StreamId, Streams};
use crate::http::{RequestHead, ResponseHead};
use crate::limits::H2_OUTPUT_BYTES_MAX;

#[cfg(doc)]
use super::event::Event;

/// One end of a connection; `M` is the kind of head that it reads. See [`super::Server`] and
/// [`super::Client`].
#[derive(Debug)]
pub struct Connection<M> {
    reading: Reading,
    streams: Streams,
    /// The largest stream that was opened: by the peer (server), or by us (client).
    last: u32,
    local: Local,
    peer: Peer,
    receive: ReceiveWindow,
    send: SendWindow,
    budget: Budget,
    decoder: Decoder,
    encoder: Encoder,
    out: Vec<u8>,
    /// A field block that came in several frames.
    block: Vec<u8>,
    /// What the heads of the streams take (server).
    head_bytes: usize,
    /// The last trailers, as lines.
    trailers: Vec<u8>,
    /// SETTINGS of ours that the peer has not acknowledged.
    unacknowledged: u32,
    /// Pings of ours that ask for a sign of life and were not answered.
    pings: u32,
    drain: Drain,
    /// The last stream that the peer's GOAWAY takes.
    peer_last: Option<u32>,
    role: PhantomData<fn(&mut M)>,
}

/// How far the end of a connection has been told to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    /// Not at all.
    No,
    /// No new streams soon: those under way are still taken.
    Announced,
    /// No stream above this one is taken.
    Final(u32),
}

/// Payload of our PING that measures when a drain's announcement has arrived.
const DRAIN_PING: [u8; 8] = *b"rw-drain";
/// Payload of our PING that asks whether the peer is there.
const ALIVE_PING: [u8; 8] = *b"rw-alive";

impl Connection<RequestHead> {
    /// The end towards a client; its SETTINGS are in the output.
    #[must_use]
    pub fn server(local: Local) -> Self {
        let mut connection = Self::new(local, Reading::Preface);
        frame::write_settings(&local.server_pairs(), &mut connection.out);
        connection.widen();
        connection
    }
}

impl Connection<ResponseHead> {
    /// The end towards a backend; preface and SETTINGS are in the output.
    #[must_use]
    pub fn client(local: Local) -> Self {
        let mut connection = Self::new(local, Reading::FirstSettings);
        connection.out.extend_from_slice(frame::PREFACE);
        frame::write_settings(&local.client_pairs(), &mut connection.out);
        connection.widen();
        connection
    }
}

impl<M: Message> Connection<M> {
    fn new(local: Local, reading: Reading) -> Self {
        let local =
            Local { connection_window: local.connection_window.max(WINDOW_DEFAULT), ..local };
        Self {
            reading,
            streams: Streams::default(),
            last: 0,
            local,
            peer: Peer::default(),
            receive: ReceiveWindow::new(local.connection_window),
            send: SendWindow::new(WINDOW_DEFAULT),
            budget: Budget::new(),
            decoder: Decoder::new(TABLE_BYTES_DEFAULT),
            encoder: Encoder::new(),
            out: Vec::new(),
            block: Vec::new(),
            head_bytes: 0,
            trailers: Vec::new(),
            unacknowledged: 1,
            pings: 0,
            drain: Drain::No,
            peer_last: None,
            role: PhantomData,
        }
    }

    /// Announces the connection's window, which SETTINGS cannot.
    fn widen(&mut self) {
        let more = self.local.connection_window - WINDOW_DEFAULT;
        if more > 0 {
            frame::write_window_update(0, more, &mut self.out);
        }
    }

    /// Takes at most one frame, or a part of a DATA frame, from the start of `input`. `head` is
    /// cleared and filled for [`Event::Head`] and [`Event::Refused`] only; its content is not kept
    /// otherwise either.
    ///
    /// # Errors
    /// The peer broke the protocol; GOAWAY is in the output, and every later call errs too.
    pub fn read(
        &mut self,
        input: &[u8],
        head: &mut M,
        now: Instant,
    ) -> Result<Read, ConnectionError> {
        if let Reading::Failed(error) = self.reading {
            return Err(error);
        }
        self.step(input, head, now).inspect_err(|&error| self.fail(error))
    }

    #[cold]
    fn fail(&mut self, error: ConnectionError) {
        self.go_away(error.code);
        self.reading = Reading::Failed(error);
        self.block = Vec::new();
    }

    /// The bytes to write to the peer. The driver takes them all, or drains what it has written.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// So much output waits that nothing more should be read, and no data is taken.
    #[must_use]
    pub fn is_choked(&self) -> bool {
        self.out.len() >= H2_OUTPUT_BYTES_MAX
    }

    /// What the peer grants us.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The peer's first SETTINGS have arrived.
    #[must_use]
    pub fn is_established(&self) -> bool {
        !matches!(self.reading, Reading::Preface | Reading::FirstSettings)
    }

    /// The peer has acknowledged all our SETTINGS.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.unacknowledged == 0
    }

    /// A field block has begun and not ended: the time for a head is running.
    #[must_use]
    pub fn is_amid_head(&self) -> bool {
        matches!(self.reading, Reading::Block { .. })
    }

    /// Streams that the driver has not forgotten.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes that it holds, itself included: an upper bound for what HPACK's tables take.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        let tables = self.decoder.table_bytes() + self.encoder.table_bytes();
        let buffers = self.out.capacity() + self.block.capacity() + self.trailers.capacity();
        size_of::<Self>() + buffers + self.streams.resident_bytes() + 2 * tables
    }

    /// The trailers of the last [`Event::Trailers`], as `name: value` lines each ending in CRLF, stripped
    /// of everything that may not arrive late. Valid until the next `read`.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// `count` body bytes of a stream went on their way: the peer may send as many more.
    pub fn release(&mut self, id: StreamId, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let Some(stream) = self.streams.get(id) else { return };
        let count = count.min(stream.receive.held());
        let increment = stream.receive.give_back(count);
        if let Some(increment) = increment.filter(|_| stream.is_receiving()) {
            frame::write_window_update(id.number(), increment, &mut self.out);
        }
        self.give_back(count);
    }

    /// Bytes that no stream holds any longer.
    fn give_back(&mut self, count: u32) {
        if let Some(increment) = self.receive.give_back(count) {
            frame::write_window_update(0, increment, &mut self.out);
        }
    }

    /// Asks for a sign of life: [`Event::Pong`] answers.
    pub fn ping(&mut self) {
        self.pings = self.pings.saturating_add(1);
        frame::write_ping(0, ALIVE_PING, &mut self.out);
    }

    /// Ends the connection gracefully. A server announces it (GOAWAY with the largest stream and a
    /// PING); once the PING is answered, or at the second call, it names the last stream that it
    /// takes. A client opens no more streams. Close once [`Connection::is_drained`].
    pub fn drain(&mut self) {
        match self.drain {
            Drain::No if M::SERVER => {
                self.drain = Drain::Announced;
                frame::write_go_away(super::flow::WINDOW_MAX, ErrorCode::NoError, &mut self.out);
                frame::write_ping(0, DRAIN_PING, &mut self.out);
            }
            Drain::No | Drain::Announced => self.go_away(ErrorCode::NoError),
            Drain::Final(_) => {}
        }
    }

    /// Its end was announced, or more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain != Drain::No
    }

    /// Says at once that no later stream is taken, and why.
    pub fn go_away(&mut self, code: ErrorCode) {
        let last = match self.drain {
            Drain::Final(last) => last,
            Drain::No | Drain::Announced if M::SERVER => self.last,
            Drain::No | Drain::Announced => 0,
        };
        self.drain = Drain::Final(last);
        frame::write_go_away(last, code, &mut self.out);
    }

    /// The end was told and the driver has forgotten every stream.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        matches!(self.drain, Drain::Final(_)) && self.streams.len() == 0
    }
}

#[cfg(test)]
mod tests;
