//! Turns: a half whose operations never have to wait gives way after a while.
//!
//! Where operations end at once (epoll with bytes always there, large receives on a ring) a task
//! could run for ever. monoio puts a task that wakes itself at the front of its queue, and looks at
//! timers only when the queue is empty; so giving way means to sleep on an eventfd that the driver
//! sees at its next look. One task per thread waits on it for all; it starts with the first half
//! that gives way and ends with the runtime.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::TcpStream as StdStream;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ::monoio::net::TcpStream;
use ::monoio::task::JoinHandle;

use crate::mailbox::eventfd;

/// Operations in a row that end at once before a half gives way.
const TURN_MAX: u8 = 32;

/// How long one half has been having its turn.
#[derive(Debug)]
pub(super) struct Turn {
    ended_at_once: u8,
    max: u8,
}

impl Default for Turn {
    fn default() -> Self {
        Self::of(TURN_MAX)
    }
}

impl Turn {
    /// A turn of `max` operations that end at once.
    pub(super) fn of(max: u8) -> Self {
        Self { ended_at_once: 0, max }
    }

    /// Awaits `operation`, and gives way first when too many before it ended at once. What is given
    /// back is a few words: it is part of every task that waits.
    pub(super) fn take<F: Future>(
        &mut self,
        mut operation: Pin<&mut F>,
    ) -> impl Future<Output = F::Output> {
        let mut waited = false;
        let mut sits = false;
        poll_fn(move |cx| {
            if self.ended_at_once == self.max && !sits && sit_down(cx) {
                sits = true;
                return Poll::Pending;
            }
            if std::mem::take(&mut sits) || self.ended_at_once == self.max {
                self.ended_at_once = 0;
            }
            let polled = operation.as_mut().poll(cx);
            waited |= polled.is_pending();
            if polled.is_ready() {
                self.ended_at_once = if waited { 0 } else { self.ended_at_once + 1 };
            }
            polled
        })
    }
}

thread_local! {
    static BENCH: RefCell<Option<(Rc<Bench>, JoinHandle<()>)>> = const { RefCell::new(None) };
}

/// Where the tasks of this thread sit that gave way.
struct Bench {
    sitting: RefCell<Vec<Waker>>,
    over: Cell<bool>,
    bell: File,
}

impl Bench {
    fn ring(&self) {
        // It fails only when the counter is full, and then the bell has rung.
        let _ = (&self.bell).write(&1u64.to_ne_bytes());
    }

    fn wake_all(&self) {
        // Those who sit down again from here on belong to the next round.
        let mut leaving = self.sitting.take();
        leaving.drain(..).for_each(Waker::wake);
        let mut sitting = self.sitting.borrow_mut();
        if sitting.is_empty() {
            *sitting = leaving; // keep the room
        }
    }
}

/// Lets everything else of this thread that is ready go first: the task is woken after that.
fn sit_down(cx: &Context<'_>) -> bool {
    // Without a descriptor for the bell nobody gives way, which is unfair but works.
    let Ok(bench) = bench() else { return false };
    let mut sitting = bench.sitting.borrow_mut();
    sitting.push(cx.waker().clone());
    if sitting.len() == 1 {
        bench.ring();
    }
    true
}

/// This thread's bench, opened if need be.
fn bench() -> io::Result<Rc<Bench>> {
    BENCH.with_borrow_mut(|slot| {
        if let Some((bench, _)) = slot {
            return Ok(Rc::clone(bench));
        }
        let bell = eventfd()?;
        // Nothing but polling is ever asked of this "socket".
        let polled = TcpStream::from_std(StdStream::from(OwnedFd::from(bell.try_clone()?)))?;
        let bench =
            Rc::new(Bench { sitting: RefCell::new(Vec::new()), over: Cell::new(false), bell });
        let task = ::monoio::spawn(serve(Rc::clone(&bench), polled));
        *slot = Some((Rc::clone(&bench), task));
        Ok(bench)
    })
}

async fn serve(bench: Rc<Bench>, polled: TcpStream) {
    while !bench.over.get() && polled.readable(false).await.is_ok() {
        let _ = (&bench.bell).read(&mut [0; 8]);
        bench.wake_all();
    }
    bench.wake_all();
}

/// Closes the bench at the end of the runtime.
pub(crate) async fn end() {
    if let Some((bench, task)) = BENCH.take() {
        bench.over.set(true);
        bench.ring();
        task.await;
    }
}
