//! UDP ports: datagrams of clients to endpoints, and what comes back to the clients.
//!
//! A client's datagrams are one session from the first on: it picks a backend by weight and an
//! endpoint, and has a connected socket of its own towards it, by which answers find their client.
//! `install` opens and stops ports, one task per port waits for all its sockets, and the shard's tick
//! ends idle sessions. Sessions are never handed from shard to shard: the kernel gives all datagrams
//! of a client to the same socket of those that share the port, as long as none comes or goes. A
//! port's sockets stay open across epochs for this; where the number of sockets does change (a
//! process with other shards beside this one), a client may move to another shard, and starts a new
//! session there. Invariant: a session holds one descriptor and one exchange in flight with its
//! endpoint, from its first datagram to its end.

pub(crate) mod counts;
mod entry;
mod relay;
mod route;
mod sessions;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proxy::balance::EndpointId;
use runtime::datagram::{Batch, Bound, Connected, Ready};
use runtime::{Datagram, Runtime};

pub(crate) use self::entry::{End, Ended, Entry};
use self::route::Wanted;
use self::sessions::Sessions;
use crate::install::PortKey;
use crate::report::Datagrams;
use crate::shard::Shard;

/// Sessions that one look at a port ends, so that nothing else waits for long.
const ENDS_MAX: usize = 256;
/// Time after which waiting is tried again where it failed (out of descriptors).
const WAIT_BACKOFF: Duration = Duration::from_millis(50);

/// One UDP port of this shard.
#[derive(Debug)]
pub(crate) struct Port {
    key: PortKey,
    bound: Rc<Bound>,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: Sessions<Session>,
    wanted: Wanted,
    /// What the kernel's count of overruns of the port's socket was.
    overrun: u32,
}

/// A client's flow to an endpoint.
#[derive(Debug)]
struct Session {
    connected: Connected,
    endpoint: EndpointId,
    address: SocketAddr,
    /// The endpoint has answered.
    answered: bool,
    /// The last epoch that was seen to want the endpoint.
    epoch: u64,
    /// For the access log, where there is one.
    entry: Option<Box<Entry>>,
}

/// How many sessions there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of one port on this shard.
    pub(crate) port: usize,
    /// Of all ports on this shard.
    pub(crate) shard: usize,
}

/// What the UDP ports of a shard share: memory for the batch in hand, and the number of sessions.
#[derive(Debug)]
pub(crate) struct Workplace {
    bench: RefCell<Option<Box<Bench>>>,
    sessions: Cell<usize>,
    /// Something moved since the last look.
    moved: Cell<bool>,
    limits: Limits,
}

/// The batch in hand. It takes memory only where there is a UDP port.
#[derive(Debug, Default)]
struct Bench {
    batch: Batch,
    ready: Vec<Ready>,
    /// Sessions and places in the batch of the datagrams to be sent.
    sorted: Vec<(u32, u16)>,
    places: Vec<u16>,
    counts: Datagrams,
}

impl Workplace {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { bench: RefCell::default(), sessions: Cell::new(0), moved: Cell::new(false), limits }
    }

    /// Sessions of all ports now.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.get()
    }

    /// Whether any datagram came since it was last asked.
    pub(crate) fn moved(&self) -> bool {
        self.moved.take()
    }
}

impl Port {
    pub(crate) fn new(key: PortKey, bound: &Rc<Bound>) -> Self {
        Self { key, bound: Rc::clone(bound), state: RefCell::default() }
    }

    /// Ends sessions that were idle for `idle_max`, a bounded number at a time, and looks what the
    /// kernel had no room for.
    pub(crate) fn tick<R: Runtime>(&self, shard: &Shard<R>, now: Instant, idle_max: Duration) {
        let overrun = self.bound.overrun();
        let before = std::mem::replace(&mut self.state.borrow_mut().overrun, overrun);
        shard.recorder.overrun(overrun.wrapping_sub(before));
        self.end_oldest(shard, now, End::Idle, |used| {
            now.saturating_duration_since(used) >= idle_max
        });
    }

    /// Ends the longest idle sessions that are `over`; says whether there may be more.
    fn end_oldest<R: Runtime>(
        &self,
        shard: &Shard<R>,
        now: Instant,
        end: End,
        over: impl Fn(Instant) -> bool,
    ) -> bool {
        let mut state = self.state.borrow_mut();
        for _ in 0..ENDS_MAX {
            match state.sessions.oldest() {
                Some((place, used)) if over(used) => {
                    state.end(shard, place, end, now);
                }
                Some(_) | None => return false,
            }
        }
        true
    }
}

impl State {
    /// Ends a session, if there is one at `place`, tells the balancer and the access log.
    fn end<R: Runtime>(&mut self, shard: &Shard<R>, place: u32, end: End, now: Instant) {
        let Some((key, session)) = self.sessions.remove(place) else { return };
        shard.local.borrow_mut().end(session.endpoint, end.outcome(), now);
        shard.recorder.overrun(session.connected.overrun());
        shard.udp.sessions.set(shard.udp.sessions.get() - 1);
        shard.recorder.touch();
        if let Some(entry) = &session.entry {
            let (client, endpoint) = (key.client.ip(), session.address);
            let ended = Ended { entry, client, endpoint, end };
            shard.recorder.session(&ended, now, &shard.installed());
        }
    }
}

/// Relays until the port is stopped, then ends all its sessions.
pub(crate) async fn run<R: Runtime>(
    shard: Rc<Shard<R>>,
    port: Rc<Port>,
    mut datagram: R::Datagram,
    stopped: Rc<Cell<bool>>,
) {
    while !stopped.get() {
        match datagram.ready().await {
            Ok(()) if stopped.get() => {}
            Ok(()) => relay::turn(&shard, &port),
            Err(_) => R::sleep_until(R::now() + WAIT_BACKOFF).await,
        }
    }
    drop(datagram);
    while port.end_oldest(&shard, R::now(), End::Stopped, |_| true) {
        R::sleep_until(R::now()).await;
    }
}
