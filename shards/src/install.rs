//! A shard adopts an epoch: opens new listeners, keeps the rest untouched, stops what is gone.
//!
//! Nothing that is still wanted is ever closed: listening sockets, client connections and pooled
//! upstream connections live on across installs. Invariant: after `install` returns, the next
//! exchange of every connection sees the new epoch.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use foldhash::fast::RandomState;
use proxy::epoch::{Epoch, Port};
use proxy::ir::Protocol;
use proxy::tls;
use runtime::socket::Home;
use runtime::{Abort, Listener, Runtime};

use crate::accept;
use crate::report::{self, ListenState, Transport};
use crate::shard::Shard;

/// Which port of the configuration: stable from epoch to epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortKey {
    transport: Transport,
    address: Option<IpAddr>,
    port: u16,
}

/// An epoch as this shard uses it.
#[derive(Debug)]
pub(crate) struct Installed {
    #[expect(clippy::disallowed_types, reason = "the immutable epoch is all that shards share")]
    pub(crate) epoch: std::sync::Arc<Epoch>,
    ports: HashMap<PortKey, (usize, Option<Rc<tls::Config>>), RandomState>,
}

/// A listening socket of this shard, or the reason why there is none.
#[derive(Debug)]
pub(crate) enum Socket {
    Open { stop: Abort, stopped: Rc<Cell<bool>> },
    Failed(String),
}

impl Installed {
    /// Builds this shard's view of `epoch`, keeping TLS state of unchanged listeners.
    #[expect(clippy::disallowed_types, reason = "the immutable epoch is all that shards share")]
    pub(crate) fn new(
        epoch: std::sync::Arc<Epoch>,
        ticket_seed: &[u8; 32],
        previous: Option<&Self>,
    ) -> Self {
        let mut ports = HashMap::default();
        for (index, port) in epoch.ports.iter().enumerate() {
            let key = PortKey::of(port);
            let config = (port.protocol == Protocol::Tls).then(|| {
                let before = previous.and_then(|previous| previous.tls(key));
                Rc::new(tls::Config::new(port, ticket_seed, before.as_deref()))
            });
            ports.insert(key, (index, config));
        }
        Self { epoch, ports }
    }

    /// The port with this key, if the epoch still has it.
    pub(crate) fn port(&self, key: PortKey) -> Option<&Port> {
        let (index, _) = self.ports.get(&key)?;
        self.epoch.ports.get(*index).map(|port| &**port)
    }

    /// TLS configuration of a port, if it terminates TLS.
    pub(crate) fn tls(&self, key: PortKey) -> Option<Rc<tls::Config>> {
        self.ports.get(&key)?.1.clone()
    }
}

impl PortKey {
    fn of(port: &Port) -> Self {
        let transport = report::transport(port.protocol);
        Self { transport, address: port.address, port: port.port }
    }

    /// Where to listen: a port without address takes every address of the host.
    pub(crate) fn socket_address(self) -> SocketAddr {
        SocketAddr::new(self.address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), self.port)
    }
}

/// Opens the sockets that the installed epoch names and that are not open, stops the others.
pub(crate) fn sync_listeners<R: Runtime>(shard: &Rc<Shard<R>>) {
    let installed = shard.installed();
    let mut sockets = shard.sockets.borrow_mut();
    sockets.retain(|key, socket| {
        let wanted = installed.port(*key).is_some();
        if !wanted && let Socket::Open { stop, stopped } = socket {
            stopped.set(true);
            stop.abort();
        }
        wanted
    });
    for port in &installed.epoch.ports {
        let key = PortKey::of(port);
        if !matches!(sockets.get(&key), Some(Socket::Open { .. })) {
            let home = if port.is_anywhere { Home::Anywhere } else { Home::Here };
            sockets.insert(key, open(shard, key, home));
        }
    }
}

fn open<R: Runtime>(shard: &Rc<Shard<R>>, key: PortKey, home: Home) -> Socket {
    if key.transport == Transport::Udp {
        return Socket::Failed("datagrams are not served yet".to_owned());
    }
    match R::listen(key.socket_address(), home) {
        Ok(listener) => {
            let stopped = Rc::new(Cell::new(false));
            let stop = listener.abort_handle();
            R::spawn(accept::run(Rc::clone(shard), key, listener, Rc::clone(&stopped)));
            Socket::Open { stop, stopped }
        }
        Err(error) => Socket::Failed(error.to_string()),
    }
}

/// The state of every socket that should be open, for the report.
pub(crate) fn listen_states<R: Runtime>(shard: &Shard<R>) -> Vec<ListenState> {
    let sockets = shard.sockets.borrow();
    let mut states: Vec<_> = sockets
        .iter()
        .map(|(key, socket)| ListenState {
            transport: key.transport,
            address: key.socket_address(),
            error: match socket {
                Socket::Open { .. } => None,
                Socket::Failed(error) => Some(error.clone()),
            },
        })
        .collect();
    states.sort_by_key(|state| (state.address, state.transport));
    states
}
