//! A client connection from the moment it was accepted, and who is really behind it.
//!
//! Where the port trusts its peer to speak the PROXY protocol, the connection must begin with its
//! header, in front of TLS and everything else; the addresses that it names stand for the
//! connection's own from then on. Nobody else's header is looked at. Used by `downstream` and `stream`.

use std::net::{IpAddr, SocketAddr};

use proxy::fault::Fault;
use proxy::proxy_protocol::{self, Ends};
use runtime::{Abort, Runtime, Size};

use crate::input::Input;
use crate::install::PortKey;
use crate::shard::Shard;
use crate::transport::{self, RecvHalf, SendHalf};

/// An accepted connection.
pub(crate) struct Arrival<R: Runtime> {
    pub(crate) send: SendHalf<R>,
    pub(crate) recv: RecvHalf<R>,
    /// What came behind its header already.
    pub(crate) input: Input,
    pub(crate) peer: Peer,
}

/// Who is behind a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    source: SocketAddr,
    /// As the header says.
    destination: Option<SocketAddr>,
    abort: Abort,
}

impl<R: Runtime> Arrival<R> {
    /// Takes a connection in. `None`: it is over, and counted.
    pub(crate) async fn receive(
        shard: &Shard<R>,
        port: PortKey,
        (sink, stream, source): (R::Sink, R::Stream, SocketAddr),
    ) -> Option<Self> {
        let (send, recv) = transport::halves(sink, stream);
        let peer = Peer { source, destination: None, abort: recv.abort_handle() };
        let mut arrival = Self { send, recv, input: Input::default(), peer };
        let installed = shard.installed();
        let sources = installed.port(port).and_then(|port| port.proxy_protocol.as_ref());
        if sources.is_some_and(|sources| sources.contains(source.ip()))
            && let Err(fault) = Box::pin(arrival.read_header(shard)).await
        {
            fault.into_iter().for_each(|fault| shard.recorder.fault(fault));
            return None;
        }
        Some(arrival)
    }

    /// Reads the header that must be there. An error without fault: the client has left.
    async fn read_header(&mut self, shard: &Shard<R>) -> Result<(), Option<Fault>> {
        let deadline = shard.deadlines.register(self.peer.abort.clone());
        deadline.set(R::now() + shard.installed().epoch.settings.timeouts.header);
        loop {
            let read = proxy_protocol::read(self.input.bytes());
            if let Some(header) = read.map_err(|_| Some(Fault::ProxyHeader))? {
                self.input.consume(header.length);
                if let Some(ends) = header.ends {
                    self.peer.source = ends.source;
                    self.peer.destination = Some(ends.destination);
                }
                return Ok(());
            }
            if !self.recv.fill(Size::Small, &mut self.input).await.unwrap_or(false) {
                return Err(deadline.fired().then_some(Fault::HeaderTimeout));
            }
        }
    }
}

impl Peer {
    /// Its address.
    pub(crate) fn ip(&self) -> IpAddr {
        self.source.ip().to_canonical()
    }

    /// It, and whom it connected to; `None` once the connection is gone.
    pub(crate) fn ends(&self) -> Option<Ends> {
        let destination = self.destination.or_else(|| self.abort.local_address())?;
        Some(Ends { source: self.source, destination })
    }
}
