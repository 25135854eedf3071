//! Which slot sends what, and when: the heart of the open loop. A slot is a connection, or one of the
//! requests that a connection carries at once.
//!
//! A request that becomes due goes to the connection that has been idle longest, else it waits in
//! one queue; its latency counts from when it was due in either case. Called by `load::client` and
//! `load::run`. Invariant: the schedule never waits for an answer.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use runtime::Abort;

use crate::load::record::{Failure, Record};
use crate::load::schedule::{Random, Schedule};
use crate::load::target::Target;

/// So many requests may wait; beyond that they count as unsent.
const QUEUE_MAX: usize = 1 << 20;

/// A request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// When it was due, in nanoseconds since the start.
    pub(crate) intended: u64,
    /// Which URL.
    pub(crate) target: usize,
    /// Whether it waited for a connection.
    pub(crate) waited: bool,
}

/// One connection, or one of its streams, as the engine sees it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    job: Option<Job>,
    waker: Option<Waker>,
    /// When its current request was sent, and how to end it.
    pub(crate) running: Option<(u64, Option<Abort>)>,
    /// Its current request took too long.
    pub(crate) timed_out: bool,
    /// What came of its current request, from whoever receives for several.
    answer: Option<Result<u64, Failed>>,
}

/// A failure in kind and words.
pub(crate) type Failed = (Failure, String);

impl Slot {
    /// Its current request has lasted too long.
    fn give_up(&mut self) {
        self.timed_out = true;
        if let Some((_, Some(abort))) = &self.running {
            abort.abort();
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// All that the tasks of a run share (on one thread).
#[derive(Debug)]
pub(crate) struct Engine {
    start: Instant,
    end: u64,
    /// Unset: closed loop.
    schedule: Option<Schedule>,
    queue: VecDeque<Job>,
    idle: VecDeque<usize>,
    /// By connection.
    pub(crate) slots: Vec<Slot>,
    /// Connections whose task goes on.
    pub(crate) active: usize,
    /// Connections that are connected (or have failed to) before the start.
    pub(crate) settled: usize,
    begun: bool,
    over: bool,
    weights: Vec<u32>,
    random: Random,
    /// The counters.
    pub(crate) record: Record,
    /// By URL, the body length of its first right answer.
    pub(crate) learned: Vec<Option<u64>>,
}

impl Engine {
    /// A run that has not begun.
    pub(crate) fn new(
        schedule: Option<Schedule>,
        targets: &[Target],
        connections: usize,
        end: u64,
        record: Record,
    ) -> Self {
        Self {
            start: Instant::now(),
            end,
            schedule,
            queue: VecDeque::new(),
            idle: VecDeque::with_capacity(connections),
            slots: (0..connections).map(|_| Slot::default()).collect(),
            active: connections,
            settled: 0,
            begun: false,
            over: false,
            weights: targets.iter().map(|target| target.weight).collect(),
            random: Random::new(1),
            record,
            learned: vec![None; targets.len()],
        }
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// The clock starts here.
    pub(crate) fn begin(&mut self) {
        self.start = Instant::now();
        self.begun = true;
        self.wake_all();
    }

    /// No more requests; connections end when they are through.
    pub(crate) fn finish(&mut self) {
        self.over = true;
        self.wake_all();
    }

    /// Gives up what still waits.
    pub(crate) fn abandon(&mut self) {
        let waiting = self.queue.len();
        self.queue.clear();
        for _ in 0..waiting {
            self.record.failed(u64::MAX, Failure::Unsent, || "still waiting at the end".to_owned());
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.running.is_some()) {
            slot.give_up();
        }
        self.finish();
    }

    /// Gives up requests that were sent before `sent`.
    pub(crate) fn give_up(&mut self, sent: u64) {
        let late = |slot: &&mut Slot| slot.running.as_ref().is_some_and(|(at, _)| *at < sent);
        for slot in self.slots.iter_mut().filter(late) {
            slot.give_up();
        }
    }

    /// Says what came of the current request of slot `index`.
    pub(crate) fn deliver(&mut self, index: usize, answer: Result<u64, Failed>) {
        let slot = &mut self.slots[index];
        slot.answer = Some(answer);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    fn wake_all(&mut self) {
        for slot in &mut self.slots {
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// Hands out everything that is due; returns when the next request is.
    pub(crate) fn pump(&mut self, now: u64) -> Option<u64> {
        while let Some(intended) = self.schedule.as_ref().and_then(Schedule::peek) {
            if !self.begun || intended > now {
                return Some(intended);
            }
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
            }
            self.hand_out(intended);
        }
        None
    }

    fn hand_out(&mut self, intended: u64) {
        self.record.due(intended);
        let job = Job { intended, target: self.choose(), waited: false };
        if let Some(free) = self.idle.pop_front() {
            let slot = &mut self.slots[free];
            slot.job = Some(job);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        } else if self.queue.len() < QUEUE_MAX {
            self.queue.push_back(Job { waited: true, ..job });
        } else {
            self.record.failed(intended, Failure::Unsent, || "too many are waiting".to_owned());
        }
    }

    /// A URL by weight.
    fn choose(&mut self) -> usize {
        if self.weights.len() == 1 {
            return 0;
        }
        let total = self.weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut at = self.random.below(total);
        for (index, weight) in self.weights.iter().enumerate() {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return index,
            }
        }
        0
    }

    /// What connection `index` does next; nothing yet when it has to wait.
    fn next(&mut self, index: usize) -> Poll<Option<Job>> {
        if let Some(job) = self.slots[index].job.take() {
            return Poll::Ready(Some(job));
        }
        if !self.begun {
            return Poll::Pending;
        }
        let now = self.now();
        if self.schedule.is_none() {
            if now >= self.end || self.over {
                return Poll::Ready(None);
            }
            self.record.due(now);
            return Poll::Ready(Some(Job { intended: now, target: self.choose(), waited: false }));
        }
        self.pump(now);
        if let Some(job) = self.queue.pop_front() {
            return Poll::Ready(Some(job));
        }
        if self.over {
            return Poll::Ready(None);
        }
        self.idle.push_back(index);
        Poll::Pending
    }
}

/// Waits for connection `index`'s next request.
pub(crate) struct Next<'a> {
    /// The run.
    pub(crate) engine: &'a std::cell::RefCell<Engine>,
    /// Which connection.
    pub(crate) index: usize,
    /// Whether it already stands in the line of idle connections.
    pub(crate) in_line: bool,
}

impl Future for Next<'_> {
    type Output = Option<Job>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Job>> {
        let mut engine = self.engine.borrow_mut();
        let index = self.index;
        if self.in_line && engine.slots[index].job.is_none() && !engine.over {
            engine.slots[index].waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let next = engine.next(index);
        if next.is_pending() {
            engine.slots[index].waker = Some(context.waker().clone());
            let begun = engine.begun;
            drop(engine);
            self.in_line = begun;
        }
        next
    }
}

/// Waits for what comes of the request of slot `index`, at most until it is given up.
pub(crate) struct Delivered<'a> {
    /// The run.
    pub(crate) engine: &'a std::cell::RefCell<Engine>,
    /// Which slot.
    pub(crate) index: usize,
}

impl Future for Delivered<'_> {
    type Output = Result<u64, Failed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<u64, Failed>> {
        let slot = &mut self.engine.borrow_mut().slots[self.index];
        if let Some(answer) = slot.answer.take() {
            return Poll::Ready(answer);
        }
        if slot.timed_out {
            return Poll::Ready(Err((Failure::Timeout, "no answer in time".to_owned())));
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::Arrival;
    use crate::load::target::Wish;

    fn engine(connections: usize, weights: &[u32]) -> Engine {
        let targets: Vec<Target> = weights
            .iter()
            .map(|weight| {
                Target::parse(&format!("http://127.0.0.1/={weight}"), &Wish::default()).unwrap()
            })
            .collect();
        let schedule = Schedule::new(1e9 / 10.0, Arrival::Constant, 1_000, 1);
        let mut engine = Engine::new(
            Some(schedule),
            &targets,
            connections,
            1_000,
            Record::new((0, 1_000), false),
        );
        engine.begun = true;
        engine
    }

    #[test]
    fn a_due_request_goes_to_the_longest_idle_connection_or_waits() {
        let mut engine = engine(2, &[1]);
        engine.idle.extend([1, 0]);
        assert_eq!(engine.pump(25), Some(30));
        assert_eq!(engine.slots[1].job, Some(Job { intended: 0, target: 0, waited: false }));
        assert_eq!(engine.slots[0].job, Some(Job { intended: 10, target: 0, waited: false }));
        assert_eq!(engine.queue, [Job { intended: 20, target: 0, waited: true }]);
        assert_eq!(engine.record.scheduled, 3);
    }

    #[test]
    fn the_schedule_ends_and_has_lost_nothing() {
        let mut engine = engine(0, &[1]);
        assert_eq!(engine.pump(5_000), None);
        assert_eq!((engine.record.scheduled, engine.queue.len()), (100, 100));
        engine.abandon();
        assert_eq!(engine.record.errors().collect::<Vec<_>>(), [(Failure::Unsent, 100)]);
    }

    #[test]
    fn urls_are_chosen_by_weight() {
        let mut engine = engine(0, &[3, 1]);
        let first = (0..40_000).filter(|_| engine.choose() == 0).count();
        assert!((29_400..30_600).contains(&first), "{first}");
    }
}
