//! One TLS session of either side: a rustls connection behind byte buffers.
//!
//! `shards` owns one per connection. Towards a client it waits for the ClientHello without a configuration,
//! lets [`Config`] choose by SNI, and goes on with the chosen one; or steps aside, where the client's
//! TLS is for a backend to end. Towards a backend it begins as its [`Identity`] says. It does not read clocks or time
//! out; the driver does. Invariants: how the input is cut never changes what comes out; after an
//! error no plaintext follows; rustls never holds plaintext or ciphertext between two calls, except
//! an unfinished record.

use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::ClientConnection;
use rustls::server::{AcceptedAlert, Acceptor};
use rustls::{CommonState, Connection};
use smallvec::SmallVec;

use super::config::{Choice, Config, Listener};
use super::{Alpn, Error, Identity};
use crate::ir::ListenerKind;

/// `internal_error` as a fatal alert in the clear.
const ALERT_INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// What a client that speaks plain HTTP to this port is told.
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain\r\ncontent-length: 58\r\nconnection: close\r\n\r\n\
    This port speaks HTTPS, but the request came as plain HTTP";

/// One TLS session.
pub struct Session {
    state: State,
    /// Output that rustls does not hold: alerts of refused ClientHellos.
    refusal: Vec<u8>,
    sni: Option<Box<str>>,
    chosen: Option<Rc<Listener>>,
    /// By which it speaks to a backend.
    identity: Option<Rc<Identity>>,
    failed: Option<Error>,
    closed_by_peer: bool,
    closed_by_us: bool,
}

enum State {
    /// No whole ClientHello yet; how many bytes came so far.
    Hello { acceptor: Box<Acceptor>, config: Rc<Config>, seen: usize, raw: Vec<u8> },
    /// A listener was chosen, or a backend is spoken to.
    Open(Box<Connection>),
    /// The listener passes TLS through: all bytes so far.
    Passed(Vec<u8>),
    /// The ClientHello was refused.
    Refused,
}

/// Who a client is, as far as TLS tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIdentity {
    /// It was not asked, or showed no certificate.
    Anonymous,
    /// It has the key of a certificate that nobody trusted vouches for.
    Unverified,
    /// It has the key of a certificate that a trusted authority vouches for.
    Verified,
}

/// A source that has nothing now: lets rustls tidy its input buffer without seeing an end.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Session {
    /// A session that waits for a client's ClientHello.
    #[must_use]
    pub fn new(config: &Rc<Config>) -> Self {
        let acceptor = Box::new(Acceptor::default());
        Self::with(State::Hello { acceptor, config: config.clone(), seen: 0, raw: Vec::new() })
    }

    /// A session with a backend; its ClientHello is due at once.
    ///
    /// # Errors
    /// The identity cannot be used.
    pub fn connect(identity: &Rc<Identity>) -> Result<Self, Error> {
        let connection = ClientConnection::new(identity.config.clone(), identity.name.clone())?;
        let mut connection = Connection::from(connection);
        connection.set_buffer_limit(None);
        let mut session = Self::with(State::Open(Box::new(connection)));
        session.identity = Some(identity.clone());
        Ok(session)
    }

    fn with(state: State) -> Self {
        Self {
            state,
            refusal: Vec::new(),
            sni: None,
            chosen: None,
            identity: None,
            failed: None,
            closed_by_peer: false,
            closed_by_us: false,
        }
    }

    /// Takes received ciphertext; appends decrypted bytes to `plain`. Bytes behind the peer's
    /// `close_notify` are ignored. Call [`Session::take_output`] afterwards.
    ///
    /// # Errors
    /// The session is over; see [`Error`]. Every later call says the same.
    pub fn read(&mut self, mut input: &[u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let taken = self
            .greet(&mut input)
            .and_then(|()| self.decrypt(input, plain))
            .and_then(|()| self.check_alpn());
        taken.inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Encrypts `plain` of any length, appending records to `out` (handshake output that is due
    /// goes first).
    ///
    /// # Errors
    /// The session cannot take application data: it is not established, failed, or closed by us.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.write_all(&[plain], out)
    }

    /// As [`Session::write`], of parts that follow each other: records are as long as they may be,
    /// whatever the parts are.
    ///
    /// # Errors
    /// As those of [`Session::write`].
    pub fn write_all(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let State::Open(connection) = &mut self.state else {
            return Err(Error::Protocol("no ClientHello yet".into()));
        };
        if connection.is_handshaking() {
            return Err(Error::Protocol("the handshake is not complete".into()));
        }
        if self.closed_by_us {
            return Err(Error::Protocol("close_notify was sent".into()));
        }
        let parts: SmallVec<[IoSlice<'_>; 4]> =
            parts.iter().map(|part| IoSlice::new(part)).collect();
        // Without a limit of its buffer rustls takes all there is.
        connection.writer().write_vectored(&parts).map_err(|e| Error::Protocol(e.to_string()))?;
        flush(connection, out);
        Ok(())
    }

    /// Appends handshake messages, tickets and alerts that are due; returns whether there were any.
    pub fn take_output(&mut self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        out.extend_from_slice(&self.refusal);
        self.refusal = Vec::new();
        if let State::Open(connection) = &mut self.state {
            flush(connection, out);
        }
        out.len() > before
    }

    /// Appends what is due and `close_notify`, once. Nothing can be written afterwards; reading
    /// goes on until the client closes too.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if let State::Open(connection) = &mut self.state
            && self.failed.is_none()
        {
            connection.send_close_notify();
        }
        self.closed_by_us = true;
        self.take_output(out);
    }

    /// The handshake is complete.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.open().is_some_and(|connection| !connection.is_handshaking())
    }

    /// The peer said `close_notify`: a clean end of its bytes.
    #[must_use]
    pub fn is_closed_by_peer(&self) -> bool {
        self.closed_by_peer
    }

    /// The SNI name, lower case, if the client sent one. Known once the ClientHello is there.
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    /// The protocol agreed by ALPN, if any.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.open()?.alpn_protocol()
    }

    /// The listener that the ClientHello chose, by its name.
    #[must_use]
    pub fn listener(&self) -> Option<&Arc<str>> {
        self.chosen.as_ref().map(|listener| &listener.name)
    }

    /// What that listener does with its connections.
    #[must_use]
    pub fn kind(&self) -> Option<ListenerKind> {
        self.chosen.as_ref().map(|listener| listener.kind)
    }

    /// The listener passes TLS through: nothing is decrypted or said here. Take the bytes by
    /// [`Session::take_passed`] and go on without this session.
    #[must_use]
    pub fn is_passed_through(&self) -> bool {
        matches!(self.state, State::Passed(_))
    }

    /// Every byte that the client sent so far, once, if the listener passes TLS through.
    #[must_use]
    pub fn take_passed(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Passed(raw) => std::mem::take(raw),
            State::Hello { .. } | State::Open(_) | State::Refused => Vec::new(),
        }
    }

    /// What the handshake tells about who the client is. A listener that insists on a valid
    /// certificate never gets further with another.
    #[must_use]
    pub fn client_identity(&self) -> ClientIdentity {
        let Some(connection) = self.open() else { return ClientIdentity::Anonymous };
        let (Some(listener), Some(chain)) = (&self.chosen, connection.peer_certificates()) else {
            return ClientIdentity::Anonymous;
        };
        if listener.trusts(chain) { ClientIdentity::Verified } else { ClientIdentity::Unverified }
    }

    fn open(&self) -> Option<&CommonState> {
        match &self.state {
            State::Open(connection) => Some(connection),
            State::Hello { .. } | State::Passed(_) | State::Refused => None,
        }
    }

    /// Takes input until the ClientHello is whole, then chooses the listener.
    fn greet(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        let State::Hello { acceptor, config, seen, raw } = &mut self.state else { return Ok(()) };
        if let Err(answer) = sniff(*seen, input) {
            self.refusal.extend_from_slice(answer);
            self.state = State::Refused;
            return Err(Error::NotTls);
        }
        let accepted = loop {
            if input.is_empty() {
                return Ok(());
            }
            let bytes = *input;
            match acceptor.read_tls(input) {
                Ok(0) | Err(_) => break Err(Error::Protocol("oversized ClientHello".into())),
                Ok(n) => {
                    *seen += n;
                    if config.passes_some() {
                        raw.extend_from_slice(&bytes[..n]);
                    }
                }
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => break Ok(accepted),
                Err(refused) => break Err(refuse(&mut self.refusal, refused)),
            }
        };
        let (config, raw) = (config.clone(), std::mem::take(raw));
        self.state = State::Refused;
        let accepted = accepted?;
        let hello = accepted.client_hello();
        self.sni = hello.server_name().map(canonical);
        let server = match config.choose(self.sni.as_deref(), hello.cipher_suites()) {
            Choice::Serve(listener, server) => {
                self.chosen = Some(listener.clone());
                server.clone()
            }
            Choice::PassThrough(listener) => {
                self.chosen = Some(listener.clone());
                self.state = State::Passed(raw);
                return Ok(());
            }
            Choice::Unusable => return Err(self.no_certificate(&ALERT_INTERNAL_ERROR)),
            Choice::Unclaimed(alert) => return Err(self.no_certificate(alert)),
        };
        let connection = accepted
            .into_connection(server)
            .map_err(|refused| refuse(&mut self.refusal, refused))?;
        let mut connection = Connection::from(connection);
        connection.set_buffer_limit(None);
        self.state = State::Open(Box::new(connection));
        Ok(())
    }

    /// A backend that is to speak HTTP/2 must have agreed to it.
    fn check_alpn(&self) -> Result<(), Error> {
        let http2 = self.identity.as_ref().is_some_and(|identity| identity.alpn() == Alpn::Http2);
        if http2 && self.is_established() && self.alpn() != Some(b"h2") {
            return Err(Error::NoAlpn);
        }
        Ok(())
    }

    fn no_certificate(&mut self, alert: &[u8]) -> Error {
        self.refusal.extend_from_slice(alert);
        Error::NoCertificate
    }

    /// Feeds an open connection and drains its plaintext after every step, so that rustls' limits
    /// on what it buffers are never reached.
    fn decrypt(&mut self, mut input: &[u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        let connection = match &mut self.state {
            State::Open(connection) => connection,
            State::Passed(raw) => {
                raw.extend_from_slice(input);
                return Ok(());
            }
            State::Hello { .. } | State::Refused => return Ok(()),
        };
        while !self.closed_by_peer {
            let state = connection.process_new_packets()?;
            drain(connection, plain);
            self.closed_by_peer = state.peer_has_closed();
            if input.is_empty() || self.closed_by_peer {
                break;
            }
            match connection.read_tls(&mut input) {
                Ok(0) | Err(_) => return Err(Error::Protocol("oversized message".into())),
                Ok(_) => {}
            }
        }
        // Between whole records rustls' buffer may still have the size of the largest one; asking
        // for a read is what makes it shrink, and this one never finds anything.
        let _ = connection.read_tls(&mut Nothing);
        Ok(())
    }
}

/// Whether the first bytes of a connection can be TLS; else what to answer. One byte tells HTTP.
fn sniff(seen: usize, input: &[u8]) -> Result<(), &'static [u8]> {
    const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=23;
    const MAJOR_VERSION: u8 = 3;
    for (at, byte) in (seen..2).zip(input) {
        match at {
            0 if byte.is_ascii_uppercase() => return Err(PLAIN_HTTP_ANSWER),
            0 if !CONTENT_TYPES.contains(byte) => return Err(&[]),
            1 if *byte != MAJOR_VERSION => return Err(&[]),
            _ => {}
        }
    }
    Ok(())
}

fn canonical(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()
}

fn refuse(refusal: &mut Vec<u8>, (error, mut alert): (rustls::Error, AcceptedAlert)) -> Error {
    alert.write_all(refusal).expect("writing to a Vec cannot fail");
    error.into()
}

fn drain(connection: &mut Connection, plain: &mut Vec<u8>) {
    let mut reader = connection.reader();
    // An error means: nothing now, or the end, which `process_new_packets` told already.
    while let Ok(chunk) = reader.fill_buf() {
        let length = chunk.len();
        if length == 0 {
            return;
        }
        plain.extend_from_slice(chunk);
        reader.consume(length);
    }
}

fn flush(connection: &mut Connection, out: &mut Vec<u8>) {
    while connection.wants_write() {
        connection.write_tls(out).expect("writing to a Vec cannot fail");
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Hello { .. } => "hello",
            State::Open(connection) if connection.is_handshaking() => "handshake",
            State::Open(_) => "established",
            State::Passed(_) => "passed through",
            State::Refused => "refused",
        };
        f.debug_struct("Session")
            .field("state", &state)
            .field("sni", &self.sni)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
