//! One look at a UDP port: takes what its sockets have, and sends it on, by the batch.
//!
//! Nothing here waits. First answers go to clients, all through the port's own socket; then clients'
//! datagrams are sorted by session and go to the endpoints. How much is moved at a time is bounded, so
//! that other tasks of the shard get their turn. Invariant: the datagrams of one session keep their
//! order.

use std::io;
use std::time::Instant;

use proxy::balance::{EndpointId, Outcome};
use runtime::Runtime;
use runtime::datagram::{BATCH_MAX, Ready, Sent};

use super::sessions::Key;
use super::{Bench, End, Entry, Port, Session, State, route};
use crate::install::Installed;
use crate::report::{Datagrams, Direction, Dropped};
use crate::shard::Shard;

/// Answers taken from endpoints in one look at a port.
const ANSWERS_MAX: usize = 4 * BATCH_MAX;
/// Batches taken from clients in one look at a port.
const BATCHES_MAX: usize = 4;

/// One look at a port, with everything at hand.
struct Turn<'t, R: Runtime> {
    shard: &'t Shard<R>,
    installed: &'t Installed,
    port: &'t Port,
    state: &'t mut State,
    bench: &'t mut Bench,
    now: Instant,
}

/// Moves what is there now.
pub(super) fn turn<R: Runtime>(shard: &Shard<R>, port: &Port) {
    let installed = shard.installed();
    let mut bench = shard.udp.bench.borrow_mut();
    let bench = bench.get_or_insert_default();
    let state = &mut port.state.borrow_mut();
    let mut turn = Turn { shard, installed: &installed, port, state, bench, now: R::now() };
    turn.run();
    let counts = std::mem::take(&mut bench.counts);
    if counts != Datagrams::default() {
        shard.udp.moved.set(true);
        shard.recorder.datagrams(&counts);
    }
}

impl<R: Runtime> Turn<'_, R> {
    fn run(&mut self) {
        let mut ready = std::mem::take(&mut self.bench.ready);
        self.port.bound.ready(&mut ready);
        self.bench.batch.clear();
        let mut answers = 0;
        for one in &ready {
            // What is left for now stays ready.
            if let Ready::Connected(place) = one
                && answers < ANSWERS_MAX
            {
                answers += self.take_answers(*place);
            }
        }
        self.answer();
        if ready.contains(&Ready::Bound) {
            self.take_datagrams();
        }
        self.bench.ready = ready;
    }

    /// Takes answers of the session at `place` into the batch; says how many. The session may be gone,
    /// or another may be there now, which then has nothing.
    fn take_answers(&mut self, place: u32) -> usize {
        if self.bench.batch.is_full() {
            self.answer();
        }
        let Some((key, session)) = self.state.sessions.get(place) else { return 0 };
        let batch = &mut self.bench.batch;
        let first = batch.len();
        match session.connected.receive(batch) {
            Ok(0) => 0,
            Ok(count) => {
                for at in first..first + count {
                    batch.address(at, key.client, key.local);
                    if let Some(entry) = &mut session.entry {
                        let (datagrams, bytes) = (batch.count(at), batch.bytes(at).len());
                        entry.count(Direction::ToClient, datagrams as u64, bytes as u64);
                    }
                }
                if !std::mem::replace(&mut session.answered, true) {
                    self.shard.local.borrow_mut().answered(session.endpoint);
                }
                self.state.sessions.touch(place, self.now);
                count
            }
            Err(_) => {
                self.fail(place);
                0
            }
        }
    }

    /// Sends the whole batch to the clients that its datagrams are addressed to.
    fn answer(&mut self) {
        let Bench { batch, places, counts, .. } = &mut *self.bench;
        if batch.is_empty() {
            return;
        }
        places.clear();
        places.extend((0..batch.len()).map(|at| at as u16));
        let sent = self.port.bound.send(batch, places);
        counts.sent(Direction::ToClient, &sent);
        batch.clear();
    }

    fn take_datagrams(&mut self) {
        for _ in 0..BATCHES_MAX {
            self.bench.batch.clear();
            // An error of the bound socket concerns nobody who could be told.
            let received = self.port.bound.receive(&mut self.bench.batch).unwrap_or(0);
            self.sort_out(received);
            self.forward();
            if received < BATCH_MAX {
                return;
            }
        }
    }

    /// Finds or opens the session of each datagram.
    fn sort_out(&mut self, received: usize) {
        let mut last: Option<(Key, u32)> = None;
        for at in 0..received {
            let batch = &self.bench.batch;
            let key = Key { client: batch.peer(at), local: batch.local(at) };
            let found = match last {
                Some((same, place)) if same == key => Ok(place),
                Some(_) | None => self.session(key),
            };
            last = found.ok().map(|place| (key, place));
            match found {
                Ok(place) => self.bench.sorted.push((place, at as u16)),
                Err(why) => self.drop_rest(why, &[at as u16]),
            }
        }
    }

    /// The client's session: the one it has, if its endpoint is still wanted, or a new one.
    fn session(&mut self, key: Key) -> Result<u32, Dropped> {
        if let Some(place) = self.state.sessions.find(&key) {
            if self.may_stay(place) {
                self.state.sessions.touch(place, self.now);
                return Ok(place);
            }
            self.state.end(self.shard, place, End::EndpointRemoved, self.now);
        }
        self.make_room()?;
        match self.open(key, None) {
            // Descriptors or ports have run out: others have some.
            Err(Dropped::Full) => {
                self.evict()?;
                self.open(key, None)
            }
            other => other,
        }
    }

    fn may_stay(&mut self, place: u32) -> bool {
        let State { sessions, wanted, .. } = &mut *self.state;
        let Some((_, session)) = sessions.get(place) else { return false };
        let epoch = self.installed.epoch.id;
        if session.epoch != epoch && wanted.has(self.installed, self.port.key, session.address) {
            session.epoch = epoch;
        }
        session.epoch == epoch
    }

    /// At the limit the longest idle session ends.
    fn make_room(&mut self) -> Result<(), Dropped> {
        let udp = &self.shard.udp;
        let port_full = self.state.sessions.len() >= udp.limits.port;
        if port_full || udp.sessions.get() >= udp.limits.shard {
            self.evict()?;
        }
        Ok(())
    }

    fn evict(&mut self) -> Result<(), Dropped> {
        let (place, used) = self.state.sessions.oldest().ok_or(Dropped::Full)?;
        if used >= self.now {
            // It has datagrams in this batch.
            self.forward();
        }
        self.state.end(self.shard, place, End::Evicted, self.now);
        self.bench.counts.evicted += 1;
        Ok(())
    }

    /// Opens the session of `key`, elsewhere than at the endpoint `not` where there is a choice.
    fn open(&mut self, key: Key, not: Option<EndpointId>) -> Result<u32, Dropped> {
        let (shard, now) = (self.shard, self.now);
        let mut local = shard.local.borrow_mut();
        let port = self.port.key;
        let pick = route::pick(self.installed, port, key.client, not, &mut local, now)?;
        let place = self.state.sessions.next_place();
        let connected = match self.port.bound.connect(pick.address, place) {
            Ok(connected) => connected,
            Err(error) if is_endpoints(&error) => {
                local.begin(pick.endpoint);
                local.end(pick.endpoint, Outcome::Failed, now);
                return Err(Dropped::ConnectFailed);
            }
            Err(_) => return Err(Dropped::Full),
        };
        local.begin(pick.endpoint);
        shard.udp.sessions.set(shard.udp.sessions.get() + 1);
        self.bench.counts.opened += 1;
        let epoch = self.installed.epoch.id;
        let (endpoint, address) = (pick.endpoint, pick.address);
        let labels = if self.installed.epoch.settings.access_log {
            route::labels(self.installed, port, &pick)
        } else {
            None
        };
        let entry = labels.map(|labels| Box::new(Entry::new(labels, now)));
        let session = Session { connected, endpoint, address, answered: false, epoch, entry };
        Ok(self.state.sessions.insert(key, session, now))
    }

    /// Sends what is sorted.
    fn forward(&mut self) {
        let mut sorted = std::mem::take(&mut self.bench.sorted);
        if !sorted.is_sorted() {
            sorted.sort_unstable();
        }
        for run in sorted.chunk_by(|(one, _), (other, _)| one == other) {
            self.bench.places.clear();
            self.bench.places.extend(run.iter().map(|(_, at)| *at));
            self.forward_in(run[0].0);
        }
        sorted.clear();
        self.bench.sorted = sorted;
    }

    /// Sends the datagrams at `places` in the session at `place`. Where its endpoint turns out to be
    /// gone, what was not sent goes in a new session, once.
    fn forward_in(&mut self, place: u32) {
        let places = std::mem::take(&mut self.bench.places);
        let mut rest = &*places;
        if let Some((key, failed)) = self.send(place, &mut rest)
            && !rest.is_empty()
        {
            match self.open(key, Some(failed)) {
                Ok(place) => {
                    self.send(place, &mut rest);
                    self.drop_rest(Dropped::Unsent, rest);
                }
                Err(why) => self.drop_rest(why, rest),
            }
        }
        self.bench.places = places;
    }

    /// Counts what is at `places` and was not sent.
    fn drop_rest(&mut self, why: Dropped, places: &[u16]) {
        let Bench { batch, counts, .. } = &mut *self.bench;
        counts.dropped(why, places.iter().map(|&at| batch.count(at.into())).sum());
    }

    /// Sends from `rest` what can be sent; where the session turns out to be over, ends it and says
    /// whose it was and to which endpoint.
    fn send(&mut self, place: u32, rest: &mut &[u16]) -> Option<(Key, EndpointId)> {
        let (key, session) = self.state.sessions.get(place)?;
        let endpoint = session.endpoint;
        let sent = session.connected.send(&mut self.bench.batch, rest);
        self.bench.counts.sent(Direction::ToBackend, &sent);
        if let Some(entry) = &mut session.entry {
            entry.count(Direction::ToBackend, sent.datagrams.into(), sent.bytes);
        }
        *rest = &rest[sent.places..];
        sent.error.is_some().then(|| {
            self.fail(place);
            (key, endpoint)
        })
    }

    /// The endpoint is gone: the session ends, the next datagram finds another.
    fn fail(&mut self, place: u32) {
        self.state.end(self.shard, place, End::EndpointFailed, self.now);
        self.bench.counts.failed += 1;
    }
}

/// Whether a socket could not be connected for the endpoint's sake, not for want of our own means.
fn is_endpoints(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::ConnectionRefused
    )
}

impl Datagrams {
    fn sent(&mut self, direction: Direction, sent: &Sent) {
        self.datagrams[direction as usize] += u64::from(sent.datagrams);
        self.bytes[direction as usize] += sent.bytes;
        self.dropped(Dropped::Unsent, sent.lost as usize);
    }

    fn dropped(&mut self, why: Dropped, count: usize) {
        self.dropped[why as usize] += count as u64;
    }
}
