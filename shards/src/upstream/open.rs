//! New connections to endpoints: TCP, then a PROXY protocol header and TLS where the origin wants
//! them, each within its limit.
//!
//! It knows neither pool nor HTTP; whoever speaks a protocol to backends calls it. Invariant: what it
//! returns has its identity proven; a connection that could not prove it is closed.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use proxy::fault::Fault;
use proxy::proxy_protocol;
use proxy::tls::{Identity, Reason, Session};
use runtime::{Abort, Runtime};

use super::origin::Origin;
use crate::input::Input;
use crate::install::Installed;
use crate::race::{Either, race};
use crate::shard::Shard;
use crate::transport::{self, Insecure, RecvHalf, SendHalf};

/// A connection to an endpoint, ready to carry what its origin says.
pub(crate) struct Opened<R: Runtime> {
    pub(crate) send: SendHalf<R>,
    pub(crate) recv: RecvHalf<R>,
    /// What came behind the handshake already.
    pub(crate) input: Input,
    pub(crate) abort: Abort,
}

/// Opens a connection to `origin`, by `limit` if there is one.
pub(crate) async fn open<R: Runtime>(
    shard: &Shard<R>,
    installed: &Installed,
    origin: &Origin,
    limit: Option<Instant>,
) -> Result<Opened<R>, Fault> {
    let timeouts = &installed.epoch.settings.timeouts;
    let by = |deadline: Instant| limit.map_or(deadline, |limit| limit.min(deadline));
    let deadline = by(R::now() + timeouts.connect);
    let (sink, stream) =
        match race(pin!(R::connect(origin.address)), pin!(R::sleep_until(deadline))).await {
            Either::First(Ok(halves)) => halves,
            Either::First(Err(_)) => return Err(Fault::ConnectFailed),
            Either::Second(()) => return Err(Fault::ConnectTimeout),
        };
    shard.recorder.upstream_opened();
    let (send, recv) = transport::halves(sink, stream);
    let mut opened = Opened { abort: recv.abort_handle(), send, recv, input: Input::default() };
    if let Some((version, ends)) = origin.announced {
        let mut header = Vec::new();
        proxy_protocol::write(version, ends, &mut header);
        opened.send.send(header).await.map_err(|_| Fault::ConnectFailed)?;
    }
    if let Some(identity) = &origin.identity {
        let deadline = by(R::now() + timeouts.tls_handshake);
        Box::pin(secure(&mut opened, identity, deadline)).await?;
    }
    Ok(opened)
}

async fn secure<R: Runtime>(
    opened: &mut Opened<R>,
    identity: &Rc<Identity>,
    deadline: Instant,
) -> Result<(), Fault> {
    let session = Session::connect(identity);
    let session = session.map_err(|error| Fault::UpstreamTls(error.reason()))?;
    let session = Rc::new(RefCell::new(session));
    let halves = (&mut opened.send, &mut opened.recv);
    let handshake = transport::secure(halves, &session, &mut opened.input);
    match race(pin!(handshake), pin!(R::sleep_until(deadline))).await {
        Either::First(Ok(_)) => Ok(()),
        Either::First(Err(Insecure::Refused { error, .. })) => {
            Err(Fault::UpstreamTls(error.reason()))
        }
        Either::First(Err(Insecure::Io(_))) => Err(Fault::UpstreamTls(Reason::Closed)),
        Either::Second(()) => Err(Fault::ConnectTimeout),
    }
}
