//! A connection of HTTP/1 to an endpoint: one exchange at a time, then back to the pool.
//!
//! Invariant: a connection goes back only clean, behind a whole exchange.

use std::cell::Cell;
use std::io;
use std::time::Instant;

use proxy::fault::Fault;
use proxy::h1;
use proxy::h1::encode::Text;
use proxy::http::{Framing, RequestHead, ResponseHead};
use runtime::{Abort, Buf, Runtime, Size};

use super::open::{self, Opened};
use super::origin::Origin;
use super::{Answers, AtHand, Backend, NoHead, WriteHead};
use crate::cut::Cut;
use crate::framed::{Framed, Inlet, Outlet, Unframed};
use crate::input::Input;
use crate::install::Installed;
use crate::relay::Drain;
use crate::shard::Shard;
use crate::transport::{RecvHalf, SendHalf};

/// A connection to an endpoint. Boxed: it moves between pool and exchanges all the time.
pub(crate) struct Connection<R: Runtime> {
    send: Framed<SendHalf<R>>,
    recv: RecvHalf<R>,
    input: Input,
    abort: Abort,
    origin: Origin,
    reused: bool,
    /// How the response's head is waited for.
    patience: Size,
}

/// The receiving half, with its unread input.
pub(crate) struct Incoming<'u, R: Runtime> {
    half: &'u mut RecvHalf<R>,
    input: &'u mut Input,
    /// Set when we end the connection: its end of input then proves nothing.
    cut: &'u Cell<Option<Fault>>,
    patience: Size,
}

impl<R: Runtime> Connection<R> {
    /// A connection to `origin`: an idle one, else a new one, by `limit` if there is one.
    /// `repeatable` as the request is.
    pub(crate) async fn acquire(
        shard: &Shard<R>,
        installed: &Installed,
        origin: Origin,
        repeatable: bool,
        now: Instant,
        limit: Option<Instant>,
    ) -> Result<Box<Self>, Fault> {
        if let Some(idle) = shard.pool.checkout(origin.key(), repeatable, now) {
            shard.recorder.upstream_reused();
            return Ok(idle);
        }
        // Boxed, as every path that few requests take.
        let Opened { send, recv, input, abort } =
            Box::pin(open::open(shard, installed, &origin, limit)).await?;
        let send = Framed::new(send);
        Ok(Box::new(Self {
            send,
            recv,
            input,
            abort,
            origin,
            reused: false,
            patience: Size::Small,
        }))
    }

    /// Whether it may wait for another request: it was announced for nobody, and its identity is still
    /// one that requests ask for.
    pub(crate) fn is_wanted(&self) -> bool {
        self.origin.announced.is_none()
            && self.origin.identity.as_ref().is_none_or(|identity| identity.is_wanted())
    }

    /// Whether an idle connection can no longer be used.
    pub(crate) fn is_stale(&self) -> bool {
        self.recv.is_stale()
    }
}

impl<R: Runtime> Backend<R> for Box<Connection<R>> {
    type Request = Framed<SendHalf<R>>;
    type Response<'u> = Unframed<Incoming<'u, R>>;

    fn lend(&mut self, memory: &mut Vec<u8>) {
        self.send.lend(memory);
    }

    async fn send(
        &mut self,
        head: &impl WriteHead,
        framing: Framing,
        body: Option<AtHand<'_>>,
    ) -> io::Result<()> {
        // As long as its client sends, a backend may well wait with its answer.
        self.patience = if body.is_some() { Size::Small } else { Size::Late };
        self.send.ready();
        head.write_to(&mut Text(&mut self.send.out));
        self.send.begin(framing);
        if let Some(body) = body {
            self.send.put_whole(body.bytes, body.trailers);
        }
        self.send.flush().await
    }

    fn halves<'u>(
        &'u mut self,
        cut: &'u Cell<Option<Fault>>,
    ) -> (&'u mut Self::Request, Self::Response<'u>) {
        let (half, input, patience) = (&mut self.recv, &mut self.input, self.patience);
        let incoming = Incoming { half, input, cut, patience };
        (&mut self.send, Unframed::new(incoming, Framing::None))
    }

    fn tunnel<'u>(
        &'u mut self,
        cut: &'u Cell<Option<Fault>>,
    ) -> (&'u mut Self::Request, Self::Response<'u>) {
        self.send.begin(Framing::UntilClose);
        let (half, input, patience) = (&mut self.recv, &mut self.input, self.patience);
        let incoming = Incoming { half, input, cut, patience };
        (&mut self.send, Unframed::tunnel(incoming))
    }

    fn cut(&self) -> Cut {
        Cut::Connection(self.abort.clone())
    }

    fn is_reused(&self) -> bool {
        self.reused
    }

    fn is_unprocessed(&self) -> bool {
        false
    }

    fn release(mut self, shard: &Shard<R>, now: Instant) {
        self.reused = true;
        self.send.out = Vec::new();
        if self.is_wanted() {
            let key = self.origin.key();
            shard.pool.checkin(key, self, now);
        }
    }
}

impl<R: Runtime> Answers for Unframed<Incoming<'_, R>> {
    async fn head(
        &mut self,
        request: &RequestHead,
        response: &mut ResponseHead,
    ) -> Result<(), NoHead> {
        let Incoming { half, input, patience, .. } = &mut self.inlet;
        loop {
            let end = if input.is_empty() {
                NoHead::Unanswered
            } else {
                let bytes = input.bytes();
                match h1::response::read(bytes, request.method, request.websocket, response) {
                    Ok(Some(consumed)) => {
                        input.consume(consumed);
                        self.begin(response.framing);
                        return Ok(());
                    }
                    Ok(None) => NoHead::Cut,
                    Err(_) => return Err(NoHead::Malformed),
                }
            };
            if !half.fill(*patience, input).await.unwrap_or(false) {
                return Err(end);
            }
        }
    }

    fn is_reusable(&self, response: &ResponseHead) -> bool {
        // Nothing is left over behind the response, and the connection was not ended by us.
        response.keep_alive && self.inlet.input.is_empty() && self.inlet.cut.get().is_none()
    }
}

impl<R: Runtime> Inlet for Incoming<'_, R> {
    const BROKEN: Fault = Fault::UpstreamTruncated;

    fn input(&mut self) -> &mut Input {
        self.input
    }

    async fn fill(&mut self, size: Size) -> io::Result<bool> {
        let more = self.half.fill(size, self.input).await?;
        // RFC 9112 section 9.8: what only the end delimits is whole only if TLS says so.
        if !more && (self.cut.get().is_some() || self.half.is_cut()) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(more)
    }

    fn failed(&self) -> Fault {
        Fault::UpstreamTruncated
    }
}

impl<R: Runtime> Outlet for SendHalf<R> {
    fn send(&mut self, out: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>> {
        Self::send(self, out)
    }

    fn send_block(
        &mut self,
        before: Vec<u8>,
        block: Buf,
    ) -> impl Future<Output = io::Result<Vec<u8>>> {
        Self::send_block(self, before, block)
    }

    fn finish(&mut self) -> impl Future<Output = io::Result<()>> {
        Self::finish(self)
    }
}
