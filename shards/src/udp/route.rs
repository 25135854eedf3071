//! Where a new session goes, and whether an old one may stay.
//!
//! `relay` asks before it opens a session, and once per epoch for each that it has. It opens no
//! socket. Invariant: nothing is sent to a UDP listener of this gateway, nor taken from one, so that
//! no datagram can go round for ever.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Instant;

use foldhash::fast::RandomState;
use proxy::balance::{EndpointId, Local};
use proxy::epoch::{self, StreamRoute};
use proxy::fault::Fault;
use proxy::stream::{self, Labels, Pick};
use runtime::socket::is_local;

use crate::install::{Installed, PortKey};
use crate::report::Dropped;

/// The endpoints that a port's route has in one epoch.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    epoch: u64,
    endpoints: HashSet<SocketAddr, RandomState>,
}

impl Wanted {
    /// Whether the route of the port with `key` has this endpoint.
    pub(super) fn has(
        &mut self,
        installed: &Installed,
        key: PortKey,
        endpoint: SocketAddr,
    ) -> bool {
        let epoch = &installed.epoch;
        if self.epoch != epoch.id {
            self.epoch = epoch.id;
            self.endpoints.clear();
            let route = installed.port(key).and_then(route);
            let slots = route.iter().flat_map(|route| &route.backends).filter_map(|one| one.slot);
            let backends = slots.filter_map(|slot| epoch.backends.get(slot as usize)?.as_ref());
            self.endpoints.extend(backends.flat_map(|backend| &backend.endpoints));
        }
        self.endpoints.contains(&endpoint)
    }
}

/// The one listener's one route.
fn route(port: &epoch::Port) -> Option<&StreamRoute> {
    port.listeners.first()?.stream(None)
}

/// Where the client's session is to go; elsewhere than to `not` where there is a choice.
pub(super) fn pick<'i>(
    installed: &'i Installed,
    key: PortKey,
    client: SocketAddr,
    not: Option<EndpointId>,
    local: &mut Local,
    now: Instant,
) -> Result<Pick<'i>, Dropped> {
    if client.port() == 0 {
        return Err(Dropped::SourcePort);
    }
    if is_own(installed, client) {
        return Err(Dropped::Loop);
    }
    let route = installed.port(key).and_then(route).ok_or(Dropped::NoRoute)?;
    let pick = stream::start(route, &installed.epoch, local, now).map_err(|fault| {
        if fault == Fault::NoEndpoints { Dropped::NoEndpoints } else { Dropped::BackendInvalid }
    })?;
    let pick = match not {
        Some(not) if not == pick.endpoint => pick.elsewhere(local, now).unwrap_or(pick),
        Some(_) | None => pick,
    };
    if is_own(installed, pick.address) { Err(Dropped::Loop) } else { Ok(pick) }
}

/// What the access log calls a session that goes where `pick` says.
pub(super) fn labels(installed: &Installed, key: PortKey, pick: &Pick<'_>) -> Option<Labels> {
    let listener = installed.port(key)?.listeners.first()?;
    Some(Labels::new(listener, listener.stream(None), Some(pick)))
}

/// Whether one of our own UDP listeners is at `address`. The kernel is asked only where a listener
/// on all addresses has that port.
fn is_own(installed: &Installed, address: SocketAddr) -> bool {
    installed.udp.iter().any(|key| {
        key.port() == address.port()
            && match key.address() {
                Some(ip) => ip == address.ip(),
                None => is_local(address.ip()).unwrap_or(false),
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn nothing_is_taken_from_a_client_that_cannot_be_answered() {
        let installed = Installed::new(crate::empty_epoch(), &[0; 32], None);
        let mut local = Local::new(0, 7);
        let key = PortKey::default();
        let mut at = |port: u16| {
            let client = ([192, 0, 2, 1], port).into();
            pick(&installed, key, client, None, &mut local, Instant::now()).map(|_| ()).unwrap_err()
        };
        assert_eq!(at(0), Dropped::SourcePort);
        assert_eq!(at(1), Dropped::NoRoute);
    }
}
