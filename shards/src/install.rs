//! A shard adopts an epoch: opens new listeners, keeps the rest untouched, stops what is gone.
//!
//! Nothing that is still wanted is ever closed: listening sockets, client connections and pooled
//! upstream connections live on across installs. Invariant: after `install` returns, the next
//! exchange of every connection sees the new epoch.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use foldhash::fast::RandomState;
use proxy::epoch::{Epoch, Port};
use proxy::ir::Protocol;
use proxy::tls;
use runtime::socket::Home;
use runtime::{Abort, Datagram, Listener, Runtime};

use crate::accept;
use crate::report::{self, ListenState, Transport};
use crate::shard::Shard;
use crate::udp;

/// Which port of the configuration: stable from epoch to epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
    /// The UDP ports.
    pub(crate) udp: Vec<PortKey>,
    ports: HashMap<PortKey, (usize, Option<Rc<tls::Config>>), RandomState>,
}

/// A listening socket of this shard, or the reason why there is none.
#[derive(Debug)]
pub(crate) enum Socket {
    Open { stop: Abort, stopped: Rc<Cell<bool>>, udp: Option<Rc<udp::Port>> },
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
        let udp = epoch.ports.iter().map(|port| PortKey::of(port));
        let udp = udp.filter(|key| key.transport == Transport::Udp).collect();
        Self { epoch, udp, ports }
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

    /// `None` is every address.
    pub(crate) fn address(self) -> Option<IpAddr> {
        self.address
    }

    pub(crate) fn port(self) -> u16 {
        self.port
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
        if !wanted && let Socket::Open { stop, stopped, .. } = socket {
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
    let opened = match key.transport {
        Transport::Tcp => listen(shard, key, home),
        Transport::Udp => bind(shard, key, home),
    };
    opened.unwrap_or_else(|error| Socket::Failed(error.to_string()))
}

fn listen<R: Runtime>(shard: &Rc<Shard<R>>, key: PortKey, home: Home) -> io::Result<Socket> {
    let listener = R::listen(key.socket_address(), home)?;
    let stopped = Rc::new(Cell::new(false));
    let stop = listener.abort_handle();
    R::spawn(accept::run(Rc::clone(shard), key, listener, Rc::clone(&stopped)));
    Ok(Socket::Open { stop, stopped, udp: None })
}

fn bind<R: Runtime>(shard: &Rc<Shard<R>>, key: PortKey, home: Home) -> io::Result<Socket> {
    let datagram = R::bind(key.socket_address(), home)?;
    let stopped = Rc::new(Cell::new(false));
    let stop = datagram.bound().abort_handle();
    let port = Rc::new(udp::Port::new(key, datagram.bound()));
    R::spawn(udp::run(Rc::clone(shard), Rc::clone(&port), datagram, Rc::clone(&stopped)));
    Ok(Socket::Open { stop, stopped, udp: Some(port) })
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
