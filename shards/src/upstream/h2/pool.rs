//! Connections of HTTP/2 of this shard, by origin, and those that are being opened.
//!
//! A request takes a connection that has room for a stream. Where none has, another one is opened
//! rather than that requests queue; those that come meanwhile wait for it, as many as it is likely to
//! have room for. Invariant: a connection is here exactly as long as streams may begin on it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use foldhash::fast::RandomState;
use proxy::fault::Fault;
use proxy::http::ResponseHead;
use proxy::limits::H2_STREAMS_MAX;
use runtime::Runtime;

use super::{StreamBackend, connection};
use crate::h2::Shared;
use crate::install::Installed;
use crate::race::{Either, race};
use crate::shard::Shard;
use crate::upstream::origin::{Key, Origin};

/// The connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    origins: RefCell<HashMap<Key, Entry, RandomState>>,
}

#[derive(Debug)]
struct Entry {
    /// Streams that the connection opened last has room for.
    room: u32,
    open: Vec<Member>,
    opening: Vec<Rc<Opening>>,
}

#[derive(Debug)]
struct Member {
    shared: Rc<Shared<ResponseHead>>,
    origin: Origin,
    /// It has carried a request.
    used: bool,
}

/// A connection that is being opened.
#[derive(Debug, Default)]
pub(super) struct Opening {
    state: RefCell<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    result: Option<Result<(), Fault>>,
    wakers: Vec<Option<Waker>>,
}

impl Default for Entry {
    fn default() -> Self {
        Self { room: H2_STREAMS_MAX, open: Vec::new(), opening: Vec::new() }
    }
}

impl Opening {
    fn join(&self) -> usize {
        let wakers = &mut self.state.borrow_mut().wakers;
        wakers.push(None);
        wakers.len() - 1
    }

    fn poll(&self, place: usize, cx: &Context<'_>) -> Poll<Result<(), Fault>> {
        let mut state = self.state.borrow_mut();
        if let Some(result) = state.result {
            return Poll::Ready(result);
        }
        state.wakers[place] = Some(cx.waker().clone());
        Poll::Pending
    }

    fn has_room(&self, room: u32) -> bool {
        self.state.borrow().wakers.len() < room as usize
    }

    fn done(&self, result: Result<(), Fault>) {
        let mut state = self.state.borrow_mut();
        state.result = Some(result);
        state.wakers.iter_mut().filter_map(Option::take).for_each(Waker::wake);
    }
}

impl Connections {
    /// A connection with room for a stream, and whether it carried one before.
    fn find(&self, key: Key) -> Option<(Rc<Shared<ResponseHead>>, bool)> {
        let mut origins = self.origins.borrow_mut();
        let member = origins.get_mut(&key)?.open.iter_mut().find(|one| one.shared.can_request())?;
        Some((Rc::clone(&member.shared), std::mem::replace(&mut member.used, true)))
    }

    /// The connection that is to be waited for, and whether somebody has to open it.
    fn opening(&self, key: Key) -> (Rc<Opening>, bool) {
        let mut origins = self.origins.borrow_mut();
        let entry = origins.entry(key).or_default();
        if let Some(opening) = entry.opening.iter().find(|opening| opening.has_room(entry.room)) {
            return (Rc::clone(opening), false);
        }
        let opening = Rc::new(Opening::default());
        entry.opening.push(Rc::clone(&opening));
        (opening, true)
    }

    /// It is open, or could not be opened.
    pub(super) fn opened(
        &self,
        origin: &Origin,
        opening: &Rc<Opening>,
        result: Result<&Rc<Shared<ResponseHead>>, Fault>,
    ) {
        {
            let mut origins = self.origins.borrow_mut();
            let entry = origins.entry(origin.key()).or_default();
            entry.opening.retain(|other| !Rc::ptr_eq(other, opening));
            if let Ok(shared) = result {
                entry.room = shared.streams_max().max(1);
                let (shared, origin) = (Rc::clone(shared), origin.clone());
                entry.open.push(Member { shared, origin, used: false });
            }
        }
        opening.done(result.map(|_| ()));
    }

    /// No stream begins on it any more.
    pub(super) fn remove(&self, origin: &Origin, shared: &Rc<Shared<ResponseHead>>) {
        let mut origins = self.origins.borrow_mut();
        let Some(entry) = origins.get_mut(&origin.key()) else { return };
        entry.open.retain(|member| !Rc::ptr_eq(&member.shared, shared));
        if entry.open.is_empty() && entry.opening.is_empty() {
            origins.remove(&origin.key());
        }
    }

    /// Ends connections that nobody wants any more, once their streams are over.
    pub(crate) fn sweep(&self, wanted: impl Fn(SocketAddr) -> bool) {
        let origins = self.origins.borrow();
        for member in origins.values().flat_map(|entry| &entry.open) {
            let Origin { address, identity, .. } = &member.origin;
            let is_wanted = identity.as_ref().is_none_or(|identity| identity.is_wanted());
            if !is_wanted || !wanted(*address) {
                member.shared.drain();
            }
        }
    }
}

/// A stream to `origin`, by `limit` if there is one.
pub(crate) async fn acquire<R: Runtime>(
    shard: &Rc<Shard<R>>,
    installed: &Installed,
    origin: Origin,
    limit: Option<Instant>,
) -> Result<Box<StreamBackend<R>>, Fault> {
    let timeouts = &installed.epoch.settings.timeouts;
    let deadline = R::now() + timeouts.connect + timeouts.tls_handshake;
    let deadline = limit.map_or(deadline, |limit| limit.min(deadline));
    let mut waited = false;
    for _ in 0..OPENINGS_MAX {
        if let Some((shared, reused)) = shard.multiplexed.find(origin.key()) {
            if !waited {
                shard.recorder.upstream_reused();
            }
            return Ok(Box::new(StreamBackend {
                shared,
                stream: Rc::default(),
                open: None,
                memory: Vec::new(),
                deadlines: Rc::clone(&shard.deadlines),
                window: timeouts.response_stall,
                reused,
                runtime: PhantomData,
            }));
        }
        let (opening, is_new) = shard.multiplexed.opening(origin.key());
        if is_new {
            let (shard, opening) = (Rc::clone(shard), Rc::clone(&opening));
            R::spawn(connection::run(shard, origin.clone(), opening));
        }
        let place = opening.join();
        let opened = poll_fn(|cx| opening.poll(place, cx));
        match race(pin!(opened), pin!(R::sleep_until(deadline))).await {
            Either::First(Ok(())) => waited = true,
            Either::First(Err(fault)) => return Err(fault),
            Either::Second(()) => return Err(Fault::ConnectTimeout),
        }
    }
    Err(Fault::ConnectFailed)
}

/// A request waits for no more connections than this.
const OPENINGS_MAX: u32 = 8;
