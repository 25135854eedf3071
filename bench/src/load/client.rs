//! One client: takes requests from the engine, sends them, and judges the answers.
//!
//! Called by `load::run`, one task a connection. Invariant: on a connection that stays open, a
//! request allocates nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use runtime::{Runtime, Size};
use rustls::ClientConfig;

use crate::load::answer::{Answer, Expected};
use crate::load::engine::{Engine, Job, Next};
use crate::load::link::Link;
use crate::load::record::Failure;
use crate::load::target::Target;

/// What all clients of a run are given.
pub(crate) struct Orders {
    /// The URLs.
    pub(crate) targets: Vec<Target>,
    /// For https URLs.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// What a right answer is.
    pub(crate) expected: Expected,
    /// A new connection for every request.
    pub(crate) new_connection: bool,
}

/// One client.
pub(crate) struct Client<R: Runtime> {
    index: usize,
    orders: Rc<Orders>,
    engine: Rc<RefCell<Engine>>,
    /// By URL: its open connection and its request.
    links: Vec<(Option<Link<R>>, Vec<u8>)>,
    answer: Answer,
}

impl<R: Runtime> Client<R> {
    /// A client that is not connected.
    pub(crate) fn new(index: usize, orders: Rc<Orders>, engine: Rc<RefCell<Engine>>) -> Self {
        let links = orders.targets.iter().map(|target| (None, target.request.clone())).collect();
        Self { index, orders, engine, links, answer: Answer::new() }
    }

    /// Runs until the engine has nothing more.
    pub(crate) async fn run(mut self) {
        if !self.orders.new_connection {
            let connected = self.connect(0).await;
            // A failure shows again, and counts, with the first request.
            self.links[0].0 = connected.ok();
        }
        self.engine.borrow_mut().settled += 1;
        loop {
            let next = Next { engine: &self.engine, index: self.index, in_line: false };
            let Some(job) = next.await else { break };
            self.serve(job).await;
        }
        self.engine.borrow_mut().active -= 1;
    }

    async fn connect(&self, target: usize) -> Result<Link<R>, (Failure, String)> {
        let to = &self.orders.targets[target];
        let tls = self.orders.tls.as_ref().zip(to.tls.as_deref());
        self.engine.borrow_mut().record.connections += 1;
        Link::connect(to.address, tls).await.map_err(|(kind, error)| (kind, error.to_string()))
    }

    async fn serve(&mut self, job: Job) {
        let place = self.place(job.target);
        {
            let mut engine = self.engine.borrow_mut();
            let now = engine.now();
            if !job.waited {
                engine.record.sent(job.intended, now);
            }
            let abort = self.links[place].0.as_ref().map(Link::abort_handle);
            engine.slots[self.index].running = Some((now, abort));
        }
        let outcome = self.exchange(job.target, place).await;
        let mut engine = self.engine.borrow_mut();
        let engine = &mut *engine;
        let slot = &mut engine.slots[self.index];
        slot.running = None;
        let timed_out = std::mem::take(&mut slot.timed_out);
        let outcome = outcome.and_then(|()| {
            let learned = &mut engine.learned[job.target];
            self.answer
                .check(&self.orders.expected, learned)
                .map_err(|kind| (kind, self.describe(kind)))
        });
        let now = engine.now();
        match outcome {
            Ok(()) => engine.record.answered(job.intended, now, self.answer.bytes),
            Err((kind, detail)) => {
                let kind = if timed_out { Failure::Timeout } else { kind };
                let url = &self.orders.targets[job.target].url;
                engine.record.failed(now, kind, || format!("{url}: {detail}"));
            }
        }
    }

    /// URLs of one address share a connection: the first such URL's.
    fn place(&self, target: usize) -> usize {
        let targets = &self.orders.targets;
        let wanted = (targets[target].address, &targets[target].tls);
        targets.iter().position(|other| (other.address, &other.tls) == wanted).unwrap_or(target)
    }

    async fn exchange(&mut self, target: usize, place: usize) -> Result<(), (Failure, String)> {
        self.answer.reset();
        if self.links[place].0.is_none() {
            let link = self.connect(target).await?;
            let mut engine = self.engine.borrow_mut();
            if let Some((_, abort)) = &mut engine.slots[self.index].running {
                *abort = Some(link.abort_handle());
            }
            self.links[place].0 = Some(link);
        }
        let outcome = self.ask(target, place).await;
        if outcome.is_err() || self.answer.close || self.orders.new_connection {
            self.links[place].0 = None;
        }
        outcome
    }

    async fn ask(&mut self, target: usize, place: usize) -> Result<(), (Failure, String)> {
        let request = std::mem::take(&mut self.links[target].1);
        let Some(link) = &mut self.links[place].0 else {
            return Err((Failure::Connect, "not connected".to_owned()));
        };
        let closed = |error: std::io::Error| (Failure::Closed, error.to_string());
        match link.send(request).await {
            Ok(request) => self.links[target].1 = request,
            Err(error) => {
                self.links[target].1.clone_from(&self.orders.targets[target].request);
                return Err(closed(error));
            }
        }
        let (answer, expected) = (&mut self.answer, &self.orders.expected);
        while let Some(link) = &mut self.links[place].0 {
            let size = if answer.in_body() { Size::Large } else { Size::Small };
            let fed = link.recv(size, |bytes| answer.feed(bytes, expected)).await;
            match fed.map_err(closed)? {
                Some(Ok(true)) => break,
                Some(Ok(false)) => {}
                Some(Err(kind)) => return Err((kind, "an answer that is not HTTP".to_owned())),
                None => {
                    let text = "the connection ended before the answer was complete";
                    answer.end().map_err(|kind| (kind, text.to_owned()))?;
                    break;
                }
            }
        }
        Ok(())
    }

    fn describe(&self, kind: Failure) -> String {
        match kind {
            Failure::HalfChanged => self.answer.fields.clone(),
            Failure::Length => format!("{} body bytes", self.answer.bytes),
            _ => format!("status {}", self.answer.status),
        }
    }
}
