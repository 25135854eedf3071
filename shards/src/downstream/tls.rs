//! The TLS handshake of a client connection: within its time, counted, and told by an alert if refused.
//!
//! Its ClientHello chooses the listener, and with it what becomes of the connection.

use std::cell::RefCell;
use std::rc::Rc;

use proxy::fault::Fault;
use proxy::ir::ListenerKind;
use proxy::tls::Session;
use runtime::Runtime;

use super::Downstream;
use crate::shard::Shard;
use crate::stream::Kind;
use crate::transport::{self, Insecure, Secured};

/// What becomes of a connection.
pub(super) enum Greeting {
    /// It is ready for HTTP.
    Http,
    /// It is relayed whole.
    Stream(Kind),
    /// It is over, and counted.
    Over,
}

impl<R: Runtime> Downstream<R> {
    /// Shakes hands where the port speaks TLS.
    pub(super) async fn handshake(&mut self, shard: &Shard<R>) -> Greeting {
        let installed = shard.installed();
        let Some(config) = installed.tls(self.origin.port) else {
            let is_there = installed.port(self.origin.port).is_some();
            return if is_there { Greeting::Http } else { Greeting::Over };
        };
        self.reader.deadline.set(R::now() + installed.epoch.settings.timeouts.tls_handshake);
        let session = Rc::new(RefCell::new(Session::new(&config)));
        let halves = (&mut self.writer.outlet.half, &mut self.reader.half);
        let done = transport::secure(halves, &session, &mut self.reader.input).await;
        if let Err(Insecure::Refused { told: true, .. }) = &done {
            self.linger().await;
        }
        self.reader.deadline.clear();
        if !matches!(done, Ok(Secured::Passed)) {
            shard.recorder.handshake(done.is_ok());
        }
        self.origin.sni = session.borrow().sni().map(str::to_owned);
        self.origin.is_tls = self.reader.half.is_tls();
        self.is_h2 = session.borrow().alpn() == Some(b"h2");
        let kind = session.borrow().kind();
        match (done, kind) {
            (Err(_), _) => {
                shard.recorder.fault(Fault::TlsHandshake);
                Greeting::Over
            }
            (Ok(Secured::Passed), _) => {
                let hello = session.borrow_mut().take_passed();
                self.reader.input.gather().extend_from_slice(&hello);
                Greeting::Stream(Kind::Passthrough)
            }
            (Ok(Secured::Here), Some(ListenerKind::Stream)) => Greeting::Stream(Kind::Terminated),
            (Ok(Secured::Here), Some(ListenerKind::Http) | None) => Greeting::Http,
        }
    }
}
