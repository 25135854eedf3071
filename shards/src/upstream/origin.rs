//! Where a request may go and how: what two upstream connections share that may stand in for each
//! other.
//!
//! An endpoint's address alone is not enough: over TLS it matters whom we trust there and what we
//! show. Made per try from what was routed to, used by the pool and for new connections. Invariant:
//! it never depends on the rule that a request came by.

use std::net::SocketAddr;
use std::rc::Rc;

use proxy::epoch::{Backend, Listener};
use proxy::fault::Fault;
use proxy::ir::ProxyVersion;
use proxy::proxy_protocol::Ends;
use proxy::tls::{Alpn, Identity};
use runtime::Runtime;

use super::Destination;
use crate::arrival::Peer;
use crate::shard::Shard;

/// An endpoint and the way to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// `None` speaks without TLS.
    pub(crate) identity: Option<Rc<Identity>>,
    /// Its connections begin with a PROXY protocol header, and are this client's alone.
    pub(crate) announced: Option<Announced>,
}

/// A PROXY protocol header.
pub(crate) type Announced = (ProxyVersion, Ends);

/// An origin as a key of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) address: SocketAddr,
    /// 0 is no TLS.
    identity: u32,
    announced: Option<Announced>,
}

impl Origin {
    /// The origin of a request that goes there with `alpn`.
    pub(crate) fn of<R: Runtime>(
        shard: &Shard<R>,
        to: Destination<'_>,
        alpn: Alpn,
    ) -> Result<Self, Fault> {
        let identity = identity(shard, to.backend, to.listener, alpn)?;
        let announced = announced(to.backend, to.client)?;
        Ok(Self { address: to.address, identity, announced })
    }

    pub(crate) fn key(&self) -> Key {
        let identity = self.identity.as_ref().map_or(0, |identity| identity.id());
        Key { address: self.address, identity, announced: self.announced }
    }
}

/// Who the gateway is towards `backend`, for what came by `listener`; `None` where there is no TLS.
pub(crate) fn identity<R: Runtime>(
    shard: &Shard<R>,
    backend: &Backend,
    listener: &Listener,
    alpn: Alpn,
) -> Result<Option<Rc<Identity>>, Fault> {
    let Some(tls) = &backend.tls else { return Ok(None) };
    let certificate = listener.client_certificate.as_ref();
    let identity = shard.identities.borrow_mut().get(tls, certificate, alpn);
    identity.map(Some).map_err(|error| Fault::UpstreamTls(error.reason()))
}

/// The PROXY protocol header that connections to `backend` for `client` begin with, if any does.
pub(crate) fn announced(backend: &Backend, client: &Peer) -> Result<Option<Announced>, Fault> {
    let Some(version) = backend.proxy_protocol else { return Ok(None) };
    client.ends().map(|ends| Some((version, ends))).ok_or(Fault::ClientGone)
}
