//! One TCP connection or TLS session that is relayed whole: TCPRoute and TLSRoute.
//!
//! [`serve`] is a TCP connection's whole life; [`run`] is also entered by `downstream` with a TLS
//! session whose listener relays. It decides by `proxy::stream`, connects, and leaves the bytes to
//! `relay`. What cannot be relayed is reset at once. Invariant: a stream holds no epoch.

mod connect;
pub(crate) mod relay;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use proxy::epoch::Listener;
use proxy::fault::Fault;
use proxy::ir::{ListenerKind, Protocol};
use proxy::stream::Labels;
use runtime::Runtime;

use self::connect::Server;
use self::relay::{End, Flow};
use crate::arrival::Arrival;
use crate::install::PortKey;
use crate::shard::Shard;

/// What is relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A TCP connection.
    Tcp,
    /// What is inside of a TLS session that ends here.
    Terminated,
    /// A TLS session that ends at the backend.
    Passthrough,
}

/// What happened to a stream and when: counted once at the end.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) client: IpAddr,
    pub(crate) sni: Option<String>,
    pub(crate) received: Instant,
    pub(crate) connected: Option<Instant>,
    /// Whose it was, once its listener was found.
    pub(crate) labels: Option<Labels>,
    pub(crate) endpoint: Option<SocketAddr>,
    /// Endpoints tried.
    pub(crate) attempts: u16,
    pub(crate) fault: Option<Fault>,
    /// Bytes from the client and to it.
    pub(crate) moved: (u64, u64),
}

/// Serves one accepted TCP connection to its end.
pub(crate) async fn serve<R: Runtime>(
    shard: Rc<Shard<R>>,
    port: PortKey,
    connection: (R::Sink, R::Stream, SocketAddr),
) {
    let now = R::now();
    if let Some(client) = Arrival::receive(&shard, port, connection).await {
        let record = Record::start(Kind::Tcp, client.peer.ip(), None, now);
        run(&shard, port, client, record).await;
    }
    shard.connection_closed();
}

/// Relays `client`, which arrived on `port`, to its end, and counts it.
pub(crate) async fn run<R: Runtime>(
    shard: &Rc<Shard<R>>,
    port: PortKey,
    mut client: Arrival<R>,
    mut record: Record,
) {
    let abort = client.recv.abort_handle();
    match Box::pin(connect::reach(shard, port, &client.peer, &mut record)).await {
        Ok(server) => {
            record.connected = Some(R::now());
            let Server { mut send, mut recv, mut input, load, slot } = server;
            let flow = Flow::new(abort, recv.abort_handle(), slot);
            let near =
                End { send: &mut client.send, recv: &mut client.recv, input: &mut client.input };
            let far = End { send: &mut send, recv: &mut recv, input: &mut input };
            relay::run(shard, &flow, near, far).await;
            record.moved = flow.moved();
            record.fault = flow.fault();
            drop(load);
        }
        Err(fault) => {
            record.fault = Some(fault);
            abort.reset();
        }
    }
    shard.recorder.stream(&record, R::now(), &shard.installed());
}

impl Kind {
    /// Its name in the access log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Terminated => "tls_terminated",
            Self::Passthrough => "tls_passthrough",
        }
    }

    /// Whether a listener of a port of `protocol` relays this. It may have changed since it was found.
    fn is_relayed_by(self, protocol: Protocol, listener: &Listener) -> bool {
        let has_certificates = listener.tls.is_some();
        listener.kind == ListenerKind::Stream
            && match self {
                Self::Tcp => protocol == Protocol::Tcp,
                Self::Terminated => protocol == Protocol::Tls && has_certificates,
                Self::Passthrough => protocol == Protocol::Tls && !has_certificates,
            }
    }
}

impl Record {
    pub(crate) fn start(
        kind: Kind,
        client: IpAddr,
        sni: Option<String>,
        received: Instant,
    ) -> Self {
        Self {
            kind,
            client,
            sni,
            received,
            connected: None,
            labels: None,
            endpoint: None,
            attempts: 0,
            fault: None,
            moved: (0, 0),
        }
    }
}
