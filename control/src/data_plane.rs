//! The shards as the controller sees them: a sink for epochs and an inbox of reports.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use control::controller::{EpochSink, Inbox};
use proxy::epoch::Epoch;
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
        self.0.publish(epoch);
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
