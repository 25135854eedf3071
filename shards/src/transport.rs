//! The two halves of a connection, plain or TLS: what `downstream` and `upstream` send and receive by.
//!
//! A half hides whether its connection is encrypted; it knows nothing of HTTP and keeps no time:
//! deadlines are its owner's. Both halves share the TLS session behind an `Rc`. Invariants: the plain
//! path copies and allocates nothing; an idle half holds no memory for what it
//! sends.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use proxy::ir::ListenerKind;
use proxy::tls::{self, Session};
use runtime::{Abort, Buf, Runtime, Sink, Size, Stream};

use crate::input::Input;
use crate::spare;

/// The receiving half, decrypting.
pub(crate) struct RecvHalf<R: Runtime> {
    stream: R::Stream,
    tls: Option<Rc<RefCell<Session>>>,
}

/// The sending half, encrypting.
pub(crate) struct SendHalf<R: Runtime> {
    sink: R::Sink,
    tls: Option<Rc<RefCell<Session>>>,
}

/// The halves of a connection that is plain so far.
pub(crate) fn halves<R: Runtime>(sink: R::Sink, stream: R::Stream) -> (SendHalf<R>, RecvHalf<R>) {
    (SendHalf { sink, tls: None }, RecvHalf { stream, tls: None })
}

/// Shakes hands on a plain connection; from then on both halves speak through `session`. Plaintext
/// that came with the last message is in `input`, where what came before the handshake is taken from.
pub(crate) async fn secure<R: Runtime>(
    (send, recv): (&mut SendHalf<R>, &mut RecvHalf<R>),
    session: &Rc<RefCell<Session>>,
    input: &mut Input,
) -> Result<Secured, Insecure> {
    let mut early = input.take();
    loop {
        // A request that is here already will have an answer: what is left to say goes with that.
        let is_asked = !input.is_empty() && session.borrow().kind() == Some(ListenerKind::Http);
        if !(is_asked && session.borrow().is_established()) {
            let mut cipher = spare::take();
            if session.borrow_mut().take_output(&mut cipher) {
                send.send_cipher(cipher).await?;
            }
        }
        if session.borrow().is_passed_through() {
            return Ok(Secured::Passed);
        }
        if session.borrow().is_established() {
            break;
        }
        let buf = match early.take() {
            Some(early) => early,
            None => recv.stream.recv(Size::Small).await?,
        };
        if buf.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let read = session.borrow_mut().read(&buf, input.gather());
        if let Err(error) = read {
            let mut cipher = spare::take();
            let told = session.borrow_mut().take_output(&mut cipher);
            if told {
                send.send_cipher(cipher).await?;
            }
            return Err(Insecure::Refused { error, told });
        }
    }
    recv.tls = Some(Rc::clone(session));
    send.tls = Some(Rc::clone(session));
    Ok(Secured::Here)
}

/// Where a client's TLS ends.
pub(crate) enum Secured {
    /// Here: both halves speak through the session.
    Here,
    /// At a backend: the connection stays plain, and the session has the bytes that came already.
    Passed,
}

/// Why a handshake ended without a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Insecure {
    /// The connection failed or ended.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// One side refused the other; whether the peer was told by an alert.
    #[error("{error}")]
    Refused { error: tls::Error, told: bool },
}

impl<R: Runtime> RecvHalf<R> {
    /// Receives more input. False: the peer has sent its FIN (or `close_notify`).
    pub(crate) async fn fill(&mut self, size: Size, input: &mut Input) -> io::Result<bool> {
        let Some(session) = &self.tls else {
            let buf = self.stream.recv(size).await?;
            if buf.is_empty() {
                return Ok(false);
            }
            input.push(buf);
            return Ok(true);
        };
        while !session.borrow().is_closed_by_peer() {
            let buf = self.stream.recv(size).await?;
            if buf.is_empty() {
                break;
            }
            let mut session = session.borrow_mut();
            let plain = input.gather();
            let before = plain.len();
            session.read(&buf, plain).map_err(invalid)?;
            if plain.len() > before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether its end, once it came, may be somebody else's work: TLS says `close_notify` before FIN.
    pub(crate) fn is_cut(&self) -> bool {
        self.tls.as_ref().is_some_and(|session| !session.borrow().is_closed_by_peer())
    }

    /// Whether TLS protects it.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Ends both halves from elsewhere.
    pub(crate) fn abort_handle(&self) -> Abort {
        self.stream.abort_handle()
    }

    /// Whether something came, or the peer closed, while nobody received.
    pub(crate) fn is_stale(&self) -> bool {
        self.stream.is_stale()
    }
}

impl<R: Runtime> SendHalf<R> {
    /// Sends all of `plain` and gives it back empty.
    pub(crate) async fn send(&mut self, mut plain: Vec<u8>) -> io::Result<Vec<u8>> {
        if self.tls.is_some() {
            self.send_cipher(self.encrypt(&[&plain])?).await?;
        } else {
            plain = self.sink.send(plain).await?;
        }
        plain.clear();
        Ok(plain)
    }

    /// Sends `before`, which comes back empty, and a received block onwards, without copying the
    /// block where the connection is plain. Under TLS the two share records.
    pub(crate) async fn send_block(
        &mut self,
        mut before: Vec<u8>,
        block: Buf,
    ) -> io::Result<Vec<u8>> {
        if self.tls.is_some() {
            let cipher = self.encrypt(&[&before, &block])?;
            drop(block);
            self.send_cipher(cipher).await?;
        } else {
            if !before.is_empty() {
                before = self.sink.send(before).await?;
            }
            self.sink.send_buf(block).await?;
        }
        before.clear();
        Ok(before)
    }

    /// Sends what TLS still has to say: the alert of a session that failed.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let Some(session) = &self.tls else { return Ok(()) };
        let mut cipher = spare::take();
        if session.borrow_mut().take_output(&mut cipher) {
            self.send_cipher(cipher).await?;
        }
        Ok(())
    }

    /// Ends the sending side: `close_notify` where there is TLS, then FIN.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        if let Some(session) = &self.tls {
            let mut cipher = spare::take();
            session.borrow_mut().close(&mut cipher);
            self.send_cipher(cipher).await?;
        }
        self.sink.finish();
        Ok(())
    }

    fn encrypt(&self, plain: &[&[u8]]) -> io::Result<Vec<u8>> {
        let mut cipher = spare::take();
        if let Some(session) = &self.tls {
            session.borrow_mut().write_all(plain, &mut cipher).map_err(invalid)?;
        }
        Ok(cipher)
    }

    async fn send_cipher(&mut self, cipher: Vec<u8>) -> io::Result<()> {
        spare::give(self.sink.send(cipher).await?);
        Ok(())
    }
}

fn invalid(error: tls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
