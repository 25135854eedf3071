//! The TLS handshake of a client connection: within its time, counted, and told by an alert if refused.

use std::cell::RefCell;
use std::rc::Rc;

use proxy::fault::Fault;
use proxy::ir::ListenerKind;
use proxy::tls::Session;
use runtime::Runtime;

use super::Downstream;
use crate::shard::Shard;
use crate::transport::{self, Insecure, Secured};

impl<R: Runtime> Downstream<R> {
    /// Makes the connection ready for HTTP. False: it is over (and counted).
    pub(super) async fn handshake(&mut self, shard: &Shard<R>) -> bool {
        let installed = shard.installed();
        let Some(config) = installed.tls(self.origin.port) else {
            return installed.port(self.origin.port).is_some();
        };
        self.reader.deadline.set(R::now() + installed.epoch.settings.timeouts.tls_handshake);
        let session = Rc::new(RefCell::new(Session::new(&config)));
        let halves = (&mut self.writer.outlet.half, &mut self.reader.half);
        let done = transport::secure(halves, &session, &mut self.reader.input).await;
        if let Err(Insecure::Refused { told: true, .. }) = &done {
            self.linger().await;
        }
        self.reader.deadline.clear();
        shard.recorder.handshake(done.is_ok());
        if done.is_err() {
            shard.recorder.fault(Fault::TlsHandshake);
            return false;
        }
        // Streams are not served here.
        let http = session.borrow().kind() == Some(ListenerKind::Http);
        if !http || matches!(done, Ok(Secured::Passed)) {
            return false;
        }
        self.origin.sni = session.borrow().sni().map(str::to_owned);
        self.origin.is_tls = self.reader.half.is_tls();
        true
    }
}
