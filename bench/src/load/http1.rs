//! HTTP/1.1: one request at a time on a connection.
//!
//! Called by `load::client`. Invariant: on a connection that stays open, a request allocates nothing.

use std::rc::Rc;

use runtime::{Runtime, Size};

use crate::load::answer::Answer;
use crate::load::client::{Exchange, Run};
use crate::load::engine::Failed;
use crate::load::kept::Kept;
use crate::load::record::Failure;

/// A client of HTTP/1.1.
pub(crate) struct Http1<R: Runtime> {
    kept: Kept<R>,
    /// By URL, the request as it is sent; its memory goes to the kernel and comes back.
    requests: Vec<Vec<u8>>,
    answer: Answer,
}

impl<R: Runtime> Http1<R> {
    /// A client that is not connected.
    pub(crate) fn new(index: usize, run: Run) -> Self {
        let requests = run.orders.targets.iter().map(|target| target.bytes.clone()).collect();
        Self { kept: Kept::new(index, run), requests, answer: Answer::new() }
    }

    async fn ask(&mut self, target: usize) -> Result<(), Failed> {
        let request = std::mem::take(&mut self.requests[target]);
        let orders = Rc::clone(&self.kept.run.orders);
        let closed = |error: std::io::Error| (Failure::Closed, error.to_string());
        let sent = match self.kept.link(target).await {
            Ok(link) => link.outgoing.send(request).await.map_err(closed),
            Err(failed) => Err(failed),
        };
        match sent {
            Ok(request) => self.requests[target] = request,
            Err(failed) => {
                self.requests[target].clone_from(&orders.targets[target].bytes);
                return Err(failed);
            }
        }
        let (answer, expected) = (&mut self.answer, &orders.expected);
        let link = self.kept.link(target).await?;
        loop {
            let size = if answer.in_body() { Size::Large } else { Size::Small };
            let fed = link.incoming.recv(size, |bytes| answer.feed(bytes, expected)).await;
            match fed.map_err(closed)? {
                Some(Ok(true)) => return Ok(()),
                Some(Ok(false)) => {}
                Some(Err(kind)) => return Err((kind, "an answer that is not HTTP".to_owned())),
                None => {
                    let text = "the connection ended before the answer was complete";
                    return answer.end().map_err(|kind| (kind, text.to_owned()));
                }
            }
        }
    }
}

impl<R: Runtime> Exchange for Http1<R> {
    async fn open(&mut self) {
        drop(self.kept.link(0).await.map(|_| ()));
    }

    async fn exchange(&mut self, target: usize) -> Result<u64, Failed> {
        self.answer.reset();
        let outcome = self.ask(target).await;
        if outcome.is_err() || self.answer.close || self.kept.run.orders.new_connection {
            self.kept.close(target);
        }
        outcome?;
        let learned = &mut self.kept.run.engine.borrow_mut().learned[target];
        self.answer.received.check(&self.kept.run.orders.expected, learned)
    }
}
