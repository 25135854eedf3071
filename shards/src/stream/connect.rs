//! From a client's stream to a connection of its own to an endpoint.
//!
//! A stream never shares its upstream connection and takes none from the pool. An endpoint that
//! cannot be connected to has seen nothing of it, so another one is tried.

use std::rc::Rc;

use proxy::balance::{EndpointId, Outcome};
use proxy::epoch::Listener;
use proxy::fault::Fault;
use proxy::limits::STREAM_ATTEMPTS_MAX;
use proxy::stream::{self, Labels, Pick};
use proxy::tls::Alpn;
use runtime::Runtime;

use super::{Kind, Record};
use crate::arrival::Peer;
use crate::input::Input;
use crate::install::{Installed, PortKey};
use crate::shard::Shard;
use crate::transport::{RecvHalf, SendHalf};
use crate::upstream::open::{self, Opened};
use crate::upstream::origin::{Origin, announced, identity};

/// A connection to an endpoint.
pub(super) struct Server<R: Runtime> {
    pub(super) send: SendHalf<R>,
    pub(super) recv: RecvHalf<R>,
    /// What it sent already.
    pub(super) input: Input,
    pub(super) load: Load<R>,
    /// The counters of the listener.
    pub(super) slot: u32,
}

/// A stream in flight to an endpoint, as the balancer counts it.
pub(super) struct Load<R: Runtime> {
    shard: Rc<Shard<R>>,
    endpoint: EndpointId,
    outcome: Outcome,
}

/// Finds the listener and the route of a stream, picks, and connects. `record` learns all of it.
pub(super) async fn reach<R: Runtime>(
    shard: &Rc<Shard<R>>,
    port: PortKey,
    client: &Peer,
    record: &mut Record,
) -> Result<Server<R>, Fault> {
    let installed = shard.installed();
    let listener = listener(&installed, port, record).ok_or(Fault::NoRoute)?;
    record.labels = Some(Labels::new(listener, None, None));
    let route = listener.stream(record.sni.as_deref()).ok_or(Fault::NoRoute)?;
    record.labels = Some(Labels::new(listener, Some(route), None));
    let now = record.received;
    let start = stream::start(route, &installed.epoch, &mut shard.local.borrow_mut(), now);
    let mut pick = start?;
    record.labels = Some(Labels::new(listener, Some(route), Some(&pick)));
    loop {
        record.attempts += 1;
        record.endpoint = Some(pick.address);
        let by = (&*installed, listener, record.kind);
        let fault = match connect(shard, by, client, &pick).await {
            Ok(server) => return Ok(server),
            Err(fault) => fault,
        };
        let other = pick.elsewhere(&mut shard.local.borrow_mut(), R::now());
        pick = other.filter(|_| record.attempts < STREAM_ATTEMPTS_MAX).ok_or(fault)?;
    }
}

/// The listener that relays it, if the port still has one.
fn listener<'i>(installed: &'i Installed, port: PortKey, record: &Record) -> Option<&'i Listener> {
    let port = installed.port(port)?;
    let listener = port.listener_of_sni(record.sni.as_deref())?;
    let relays = record.kind.is_relayed_by(port.protocol, listener);
    relays.then_some(listener)
}

async fn connect<R: Runtime>(
    shard: &Rc<Shard<R>>,
    (installed, listener, kind): (&Installed, &Listener, Kind),
    client: &Peer,
    pick: &Pick<'_>,
) -> Result<Server<R>, Fault> {
    let mut load = Load::begin(shard, pick.endpoint);
    // What passes through is the client's own TLS: ours around it would be TLS within TLS.
    let identity = match kind {
        Kind::Passthrough => None,
        Kind::Tcp | Kind::Terminated => identity(shard, pick.backend, listener, Alpn::Nothing)?,
    };
    let announced = announced(pick.backend, client)?;
    let origin = Origin { address: pick.address, identity, announced };
    let opened = open::open(shard, installed, &origin, None).await;
    let Opened { send, recv, input, .. } = opened.inspect_err(|fault| load.failed(*fault))?;
    load.answered();
    Ok(Server { send, recv, input, load, slot: listener.slot })
}

impl<R: Runtime> Load<R> {
    fn begin(shard: &Rc<Shard<R>>, endpoint: EndpointId) -> Self {
        shard.local.borrow_mut().begin(endpoint);
        Self { shard: Rc::clone(shard), endpoint, outcome: Outcome::Unknown }
    }

    /// It accepted the connection. What becomes of a stream afterwards says nothing of its health:
    /// some protocols end by a reset.
    fn answered(&self) {
        self.shard.local.borrow_mut().answered(self.endpoint);
    }

    fn failed(&mut self, fault: Fault) {
        if fault.is_endpoints() {
            self.outcome = Outcome::Failed;
        }
    }
}

impl<R: Runtime> Drop for Load<R> {
    fn drop(&mut self) {
        self.shard.local.borrow_mut().end(self.endpoint, self.outcome, R::now());
    }
}
