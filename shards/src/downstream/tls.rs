//! The TLS handshake of a client connection: drives `proxy::tls` until it is established.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use proxy::fault::Fault;
use proxy::tls::Session;
use runtime::{Runtime, Size, Stream};

use super::Downstream;
use crate::shard::Shard;

impl<R: Runtime> Downstream<R> {
    /// Makes the connection ready for HTTP. False: it is over (and counted).
    pub(super) async fn handshake(&mut self, shard: &Shard<R>) -> bool {
        let installed = shard.installed();
        let Some(config) = installed.tls(self.port) else {
            return installed.port(self.port).is_some();
        };
        self.reader.deadline.set(R::now() + installed.epoch.settings.timeouts.tls_handshake);
        let session = Rc::new(RefCell::new(Session::new(&config)));
        let done = self.negotiate(&session).await;
        self.reader.deadline.clear();
        shard.recorder.handshake(done.is_ok());
        if done.is_err() {
            shard.recorder.fault(Fault::TlsHandshake);
            return false;
        }
        self.sni = session.borrow().sni().map(str::to_owned);
        self.reader.tls = Some(Rc::clone(&session));
        self.writer.tls = Some(session);
        true
    }

    async fn negotiate(&mut self, session: &RefCell<Session>) -> io::Result<()> {
        loop {
            let buf = self.reader.stream.recv(Size::Small).await?;
            if buf.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut cipher = std::mem::take(&mut self.writer.cipher);
            let result = session.borrow_mut().read(&buf, self.reader.input.gather());
            session.borrow_mut().take_output(&mut cipher);
            let answer = !cipher.is_empty();
            if answer {
                self.writer.send_cipher(cipher).await?;
            }
            if let Err(error) = result {
                if answer {
                    self.linger().await;
                }
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            if session.borrow().is_established() {
                return Ok(());
            }
        }
    }
}
