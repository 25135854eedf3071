//! The tasks of streams: one serves a stream, then rests until there is another.
//!
//! A task is made once and not for every stream, which would cost more than serving one does. Those
//! that nobody needed for a while end. Invariant: a task is in the list exactly while it rests.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use proxy::fault::Fault;
use proxy::http::RequestHead;
use runtime::Runtime;

use crate::downstream::origin::Origin;
use crate::h2::stream::Stream;
use crate::scratch::Scratch;
use crate::shard::Shard;

/// A stream to be served.
pub(super) struct Job {
    pub(super) stream: Stream<RequestHead>,
    pub(super) origin: Rc<Origin>,
    pub(super) scratch: Box<Scratch>,
    /// It gets an error answer.
    pub(super) refused: Option<Fault>,
}

/// The tasks of one shard that rest.
#[derive(Default)]
pub(crate) struct Workers {
    resting: RefCell<Vec<Rc<Worker>>>,
    /// The fewest that rested since the last sweep.
    low: Cell<usize>,
}

/// A task that rests.
#[derive(Default)]
struct Worker {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
    dismissed: Cell<bool>,
}

impl Workers {
    /// Has a stream served.
    pub(super) fn serve<R: Runtime>(shard: &Rc<Shard<R>>, job: Job) {
        let worker = shard.workers.resting.borrow_mut().pop().unwrap_or_else(|| {
            let worker = Rc::new(Worker::default());
            R::spawn(work(Rc::clone(shard), Rc::clone(&worker)));
            worker
        });
        // Only now: some backends run a task as soon as it is spawned, and whatever else arrived comes
        // first.
        worker.wake_with(job);
        let workers = &shard.workers;
        workers.low.set(workers.low.get().min(workers.resting.borrow().len()));
    }

    /// Ends those that were not needed since the last call.
    pub(crate) fn sweep(&self) {
        let mut resting = self.resting.borrow_mut();
        let unneeded = self.low.get().min(resting.len());
        for worker in resting.drain(..unneeded) {
            worker.dismissed.set(true);
            worker.wake();
        }
        self.low.set(resting.len());
    }

    /// Whether this one may rest.
    fn rest(&self, worker: &Rc<Worker>) -> bool {
        let mut resting = self.resting.borrow_mut();
        let may = resting.len() < RESTING_MAX;
        if may {
            resting.push(Rc::clone(worker));
        }
        may
    }
}

impl Worker {
    fn wake_with(&self, job: Job) {
        self.job.set(Some(job));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Job>> {
        if let Some(job) = self.job.take() {
            return Poll::Ready(Some(job));
        }
        if self.dismissed.get() {
            return Poll::Ready(None);
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

async fn work<R: Runtime>(shard: Rc<Shard<R>>, worker: Rc<Worker>) {
    while let Some(job) = poll_fn(|cx| worker.poll(cx)).await {
        super::run(&shard, job).await;
        if !shard.workers.rest(&worker) {
            return;
        }
    }
}

/// Tasks that rest, per shard.
const RESTING_MAX: usize = 1024;
