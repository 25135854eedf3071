//! What happened to one exchange and when: filled by the drivers, counted once at the end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proxy::epoch::{Backend, Listener};
use proxy::exchange::{Ask, Forward, Reply};
use proxy::fault::Fault;
use proxy::table::Rule;

/// One exchange in the making.
#[derive(Debug)]
pub(crate) struct Trace<'e> {
    pub(crate) received: Instant,
    pub(crate) routed: Option<Instant>,
    /// The time that it took to have it allowed; it ends before `routed`.
    pub(crate) auth: Option<Duration>,
    pub(crate) connected: Option<Instant>,
    pub(crate) first_byte: Option<Instant>,
    pub(crate) done: Option<Instant>,
    pub(crate) listener: Option<&'e Listener>,
    pub(crate) rule: Option<&'e Rule>,
    pub(crate) backend: Option<&'e Backend>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) fault: Option<Fault>,
    /// Final status sent to the client; 0 if none was.
    pub(crate) status: u16,
    /// Tries at a backend, the first included.
    pub(crate) attempts: u16,
    /// Request body bytes.
    pub(crate) bytes_in: u64,
    /// Response bytes, head included.
    pub(crate) bytes_out: u64,
}

impl<'e> Trace<'e> {
    pub(crate) fn start(received: Instant) -> Self {
        Self {
            received,
            routed: None,
            auth: None,
            connected: None,
            first_byte: None,
            done: None,
            listener: None,
            rule: None,
            backend: None,
            endpoint: None,
            fault: None,
            status: 0,
            attempts: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    pub(crate) fn routed(&mut self, now: Instant) {
        self.routed = Some(now);
    }

    /// Authorization servers are to be asked.
    pub(crate) fn asked(&mut self, ask: &Ask<'e>) {
        self.listener = Some(ask.listener());
        self.rule = ask.rule();
    }

    /// They were.
    pub(crate) fn authorized(&mut self, since: Instant, now: Instant) {
        let took = now.saturating_duration_since(since);
        self.auth = Some(self.auth.unwrap_or_default() + took);
    }

    /// The time that routing took, without what others took for it.
    pub(crate) fn routing(&self) -> Option<Duration> {
        let whole = self.routed?.saturating_duration_since(self.received);
        Some(whole.saturating_sub(self.auth.unwrap_or_default()))
    }

    pub(crate) fn replied(&mut self, reply: &Reply<'e>) {
        self.listener = reply.listener;
        self.rule = reply.rule;
    }

    pub(crate) fn forwarded(&mut self, forward: &Forward<'e>) {
        self.listener = Some(forward.listener);
        self.rule = Some(forward.rule);
        self.backend = Some(forward.backend);
        self.endpoint = Some(forward.address);
    }

    pub(crate) fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    pub(crate) fn first_byte(&mut self, now: Instant, status: u16) {
        self.first_byte = Some(now);
        self.status = status;
    }

    /// The response is delivered whole.
    pub(crate) fn done(&mut self, now: Instant) -> Instant {
        self.done = Some(now);
        now
    }
}
