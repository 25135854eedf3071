//! The shards as the controller sees them: a sink for epochs and an inbox of reports.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use control::controller::{EpochSink, Inbox};
use control::report::transport;
use proxy::epoch::Epoch;
use runtime::socket;
use shards::{Report, Reports, Shards};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Epochs go to the shards.
#[derive(Debug)]
pub(crate) struct Sink<'a>(pub(crate) &'a Shards);

/// Reports come from the shards.
#[derive(Debug)]
pub(crate) struct ReportInbox(AsyncFd<Descriptor>);

#[derive(Debug)]
struct Descriptor(Reports);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl EpochSink for Sink<'_> {
    fn publish(&self, epoch: Arc<Epoch>) {
        if epoch.id == 1 {
            warn_of_sharing(&epoch);
        }
        self.0.publish(epoch);
    }
}

/// SO_REUSEPORT lets a second process of the same user listen on the same port without an error, so
/// that each gets a part of the clients: fine while one replaces the other, a surprise otherwise.
/// Only before the first epoch, since later the sockets are our own.
fn warn_of_sharing(epoch: &Epoch) {
    for port in &epoch.ports {
        let ip = port.address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let address = SocketAddr::new(ip, port.port);
        let transport = transport(port.protocol);
        let found = socket::check_free(transport, address);
        if found.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
            let owner = socket::owner_of(transport, port.port);
            let owner = owner.unwrap_or_else(|| "another process".to_owned());
            let name = transport.name();
            tracing::warn!(
                "{name} {address} is held by {owner}; if it may be shared, clients are too"
            );
        }
    }
}

impl ReportInbox {
    /// Must be called within the control thread's runtime.
    #[expect(
        deprecated,
        reason = "its replacement is `unsafe`; the descriptor lives as long as `Reports`, which is owned here"
    )]
    pub(crate) fn new(reports: Reports) -> io::Result<Self> {
        AsyncFd::with_interest(Descriptor(reports), Interest::READABLE).map(Self)
    }
}

impl Inbox for ReportInbox {
    async fn next(&mut self) -> Report {
        loop {
            if let Some(report) = self.0.get_ref().0.try_next() {
                return report;
            }
            match self.0.readable().await {
                Ok(mut ready) => {
                    // A message is queued before its wake-up: clear first, then look again.
                    ready.get_inner().0.clear_wake();
                    ready.clear_ready();
                }
                Err(error) => {
                    // Only when the runtime shuts down.
                    tracing::error!("reports cannot be awaited: {error}");
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
