//! Messages on a byte stream, TCP or TLS, each of which comes back as it was sent.
//!
//! Called by `load::client`. Invariant: one message is under way on a connection, and every byte that
//! comes back is compared.

use runtime::{Runtime, Size};

use crate::load::client::{Exchange, Run};
use crate::load::engine::Failed;
use crate::load::kept::Kept;
use crate::load::record::Failure;

/// A client of an echo service.
pub(crate) struct Echo<R: Runtime> {
    kept: Kept<R>,
    /// By URL, the message; its memory goes to the kernel and comes back.
    messages: Vec<Vec<u8>>,
}

impl<R: Runtime> Echo<R> {
    /// A client that is not connected.
    pub(crate) fn new(index: usize, run: Run) -> Self {
        let messages = run.orders.targets.iter().map(|target| target.bytes.clone()).collect();
        Self { kept: Kept::new(index, run), messages }
    }

    async fn ask(&mut self, target: usize) -> Result<u64, Failed> {
        let message = std::mem::take(&mut self.messages[target]);
        let closed = |error: std::io::Error| (Failure::Closed, error.to_string());
        let link = self.kept.link(target).await?;
        let message = link.outgoing.send(message).await.map_err(closed)?;
        let size = if message.len() > 2048 { Size::Large } else { Size::Small };
        let mut at = 0;
        while at < message.len() {
            let rest = &message[at..];
            let right = |bytes: &[u8]| rest.starts_with(bytes).then_some(bytes.len());
            match link.incoming.recv(size, right).await.map_err(closed)? {
                Some(Some(count)) => at += count,
                Some(None) => {
                    return Err((Failure::Malformed, "not the bytes that were sent".to_owned()));
                }
                None => {
                    return Err((
                        Failure::Closed,
                        format!("the connection ended after {at} bytes of {}", message.len()),
                    ));
                }
            }
        }
        self.messages[target] = message;
        Ok(at as u64)
    }
}

impl<R: Runtime> Exchange for Echo<R> {
    async fn open(&mut self) {
        drop(self.kept.link(0).await.map(|_| ()));
    }

    async fn exchange(&mut self, target: usize) -> Result<u64, Failed> {
        let outcome = self.ask(target).await;
        if outcome.is_err() {
            self.messages[target].clone_from(&self.kept.run.orders.targets[target].bytes);
        }
        if outcome.is_err() || self.kept.run.orders.new_connection {
            self.kept.close(target);
        }
        outcome
    }
}
