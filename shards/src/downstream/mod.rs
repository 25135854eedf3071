//! One client connection: its two halves, plain or TLS, and its deadlines.
//!
//! [`serve`] is a connection's whole life: TLS handshake if the port has one, then HTTP/1. The halves
//! are separate so that a request body and its response can move at once. Invariant: an idle
//! connection holds at most one small block.

mod attempt;
mod forward;
mod h1;
mod limit;
mod mirror;
mod retry;
mod tls;
mod tunnel;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proxy::limits;
use proxy::tls::Session;
use runtime::{Abort, Runtime, Sink, Size, Stream};

use crate::deadline::Deadline;
use crate::input::Input;
use crate::install::PortKey;
use crate::shard::Shard;

/// A client connection.
pub(crate) struct Downstream<R: Runtime> {
    pub(crate) reader: Reader<R>,
    pub(crate) writer: Writer<R>,
    /// The peer's address as text, for `X-Forwarded-For` and logs.
    pub(crate) address: String,
    /// The port that it arrived on.
    pub(crate) port: PortKey,
    /// SNI name of its TLS session.
    pub(crate) sni: Option<String>,
    /// Requests served so far.
    pub(crate) served: u64,
    /// When the last exchange ended.
    last: Option<Instant>,
}

/// The receiving half, decrypted.
pub(crate) struct Reader<R: Runtime> {
    stream: R::Stream,
    pub(crate) input: Input,
    /// Idle, head, body rate.
    pub(crate) deadline: Deadline,
    tls: Option<Rc<RefCell<Session>>>,
}

/// The sending half, encrypting.
pub(crate) struct Writer<R: Runtime> {
    sink: R::Sink,
    /// Response stall.
    pub(crate) stall: Deadline,
    /// Over this time the client must keep the least rate while there is something to send.
    pub(crate) stall_window: Duration,
    pub(crate) abort: Abort,
    tls: Option<Rc<RefCell<Session>>>,
    cipher: Vec<u8>,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve<R: Runtime>(
    shard: Rc<Shard<R>>,
    port: PortKey,
    (sink, stream, peer): (R::Sink, R::Stream, SocketAddr),
) {
    let abort = stream.abort_handle();
    let mut client = Downstream {
        reader: Reader {
            deadline: shard.deadlines.register(abort.clone()),
            stream,
            input: Input::default(),
            tls: None,
        },
        writer: Writer {
            sink,
            stall: shard.deadlines.register(abort.clone()),
            stall_window: shard.installed().epoch.settings.timeouts.response_stall,
            abort,
            tls: None,
            cipher: Vec::new(),
        },
        address: peer.ip().to_canonical().to_string(),
        port,
        sni: None,
        served: 0,
        last: None,
    };
    if Box::pin(client.handshake(&shard)).await {
        h1::serve(&shard, &mut client).await;
    }
    shard.connection_closed();
}

impl<R: Runtime> Downstream<R> {
    /// Whether TLS ended here.
    pub(crate) fn is_tls(&self) -> bool {
        self.reader.tls.is_some()
    }
}

impl<R: Runtime> Reader<R> {
    /// Receives more input. False: the client has sent its FIN (or `close_notify`).
    pub(crate) async fn fill(&mut self, size: Size) -> io::Result<bool> {
        let Some(session) = &self.tls else {
            let buf = self.stream.recv(size).await?;
            if buf.is_empty() {
                return Ok(false);
            }
            self.input.push(buf);
            return Ok(true);
        };
        loop {
            let buf = self.stream.recv(size).await?;
            if buf.is_empty() {
                return Ok(false);
            }
            let mut session = session.borrow_mut();
            let plain = self.input.gather();
            let before = plain.len();
            session
                .read(&buf, plain)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if plain.len() > before {
                return Ok(true);
            }
            if session.is_closed_by_peer() {
                return Ok(false);
            }
        }
    }
}

impl<R: Runtime> Writer<R> {
    /// Sends all of `out` and gives it back empty.
    pub(crate) async fn send(&mut self, out: Vec<u8>) -> io::Result<Vec<u8>> {
        self.pace();
        let mut out = match &self.tls {
            None => self.sink.send(out).await?,
            Some(_) => {
                self.send_encrypted(&out).await?;
                out
            }
        };
        self.stall.clear();
        out.clear();
        Ok(out)
    }

    /// Sends a received block onwards, without copying it where the connection is plain.
    pub(crate) async fn send_block(&mut self, block: runtime::Buf) -> io::Result<()> {
        self.pace();
        match &self.tls {
            None => self.sink.send_buf(block).await?,
            Some(_) => self.send_encrypted(&block).await?,
        }
        self.stall.clear();
        Ok(())
    }

    /// From now until the bytes are out the client must take them at the least rate. Time in which
    /// there is nothing to send is not the client's.
    fn pace(&self) {
        let window = self.stall_window;
        let bytes_min = limits::body_bytes_min(window);
        self.stall.set_pace(R::now(), window, bytes_min);
    }

    async fn send_encrypted(&mut self, plain: &[u8]) -> io::Result<()> {
        let Some(session) = &self.tls else { return Ok(()) };
        let mut cipher = std::mem::take(&mut self.cipher);
        session
            .borrow_mut()
            .write(plain, &mut cipher)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.send_cipher(cipher).await
    }

    async fn send_cipher(&mut self, cipher: Vec<u8>) -> io::Result<()> {
        let mut cipher = self.sink.send(cipher).await?;
        cipher.clear();
        if cipher.capacity() <= CIPHER_KEPT_BYTES_MAX {
            self.cipher = cipher;
        }
        Ok(())
    }

    /// Ends the sending side: `close_notify` where there is TLS, then FIN.
    pub(crate) async fn finish(&mut self) {
        if let Some(session) = &self.tls {
            let mut cipher = std::mem::take(&mut self.cipher);
            session.borrow_mut().close(&mut cipher);
            self.pace();
            if self.send_cipher(cipher).await.is_err() {
                return;
            }
            self.stall.clear();
        }
        self.sink.finish();
    }
}

const CIPHER_KEPT_BYTES_MAX: usize = 2 * 1024;
