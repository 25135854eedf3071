//! One client: takes requests from the engine, has them exchanged, and records what came of them.
//!
//! Called by `load::run`, one task a slot; how a request is exchanged is the protocol's. Invariant: on
//! a connection that stays open, a request allocates nothing here.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::load::answer::Expected;
use crate::load::engine::{Engine, Failed, Job, Next};
use crate::load::record::Failure;
use crate::load::target::Target;
use crate::protocol::Protocol;

/// What all clients of a run are given.
pub(crate) struct Orders {
    /// What they speak.
    pub(crate) protocol: Protocol,
    /// The URLs.
    pub(crate) targets: Vec<Target>,
    /// For URLs with TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// What a right answer is.
    pub(crate) expected: Expected,
    /// A new connection for every request.
    pub(crate) new_connection: bool,
}

/// What the clients of a run share.
#[derive(Clone)]
pub(crate) struct Run {
    /// What they are given.
    pub(crate) orders: Rc<Orders>,
    /// Which of them sends what, and when.
    pub(crate) engine: Rc<RefCell<Engine>>,
}

/// A protocol's way to exchange one request after the other.
pub(crate) trait Exchange {
    /// Readies it before the clock starts. A failure shows again, and counts, with the first request.
    async fn open(&mut self);

    /// Sends the request of a URL and waits for the right answer to it, whose body bytes it says.
    async fn exchange(&mut self, target: usize) -> Result<u64, Failed>;
}

/// One client.
pub(crate) struct Client<X> {
    /// Its slot.
    pub(crate) index: usize,
    /// What it shares with the others.
    pub(crate) run: Run,
    /// How it exchanges.
    pub(crate) exchange: X,
}

impl<X: Exchange> Client<X> {
    /// Runs until the engine has nothing more.
    pub(crate) async fn run(mut self) {
        if !self.run.orders.new_connection {
            self.exchange.open().await;
        }
        self.run.engine.borrow_mut().settled += 1;
        loop {
            let next = Next { engine: &self.run.engine, index: self.index, in_line: false };
            let Some(job) = next.await else { break };
            self.serve(job).await;
        }
        self.run.engine.borrow_mut().active -= 1;
    }

    async fn serve(&mut self, job: Job) {
        {
            let mut engine = self.run.engine.borrow_mut();
            let now = engine.now();
            if !job.waited {
                engine.record.sent(job.intended, now);
            }
            engine.slots[self.index].running = Some((now, None));
        }
        let outcome = self.exchange.exchange(job.target).await;
        let mut engine = self.run.engine.borrow_mut();
        let engine = &mut *engine;
        let slot = &mut engine.slots[self.index];
        slot.running = None;
        let timed_out = std::mem::take(&mut slot.timed_out);
        let now = engine.now();
        match outcome {
            Ok(bytes) => engine.record.answered(job.intended, now, bytes),
            Err((kind, detail)) => {
                let kind = if timed_out { Failure::Timeout } else { kind };
                let url = &self.run.orders.targets[job.target].url;
                engine.record.failed(now, kind, || format!("{url}: {detail}"));
            }
        }
    }
}
