//! A stream of HTTP/2 to an endpoint: one exchange, on a connection that many share.
//!
//! [`pool`] finds or opens the connection. The stream opens with its request's head, so nothing was
//! sent before. Invariant: a stream is forgotten when its exchange is over, whatever came of it.

mod connection;
pub(crate) mod pool;

use std::cell::{Cell, OnceCell};
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proxy::fault::Fault;
use proxy::h2::Fields;
use proxy::http::{Framing, RequestHead, ResponseHead};
use runtime::Runtime;

use super::{Answers, AtHand, Backend, NoHead, WriteHead};
use crate::cut::Cut;
use crate::deadline::Deadlines;
use crate::h2::stream::{Incoming, Outgoing, Stream};
use crate::h2::{End, Shared};
use crate::relay::Drain;
use crate::shard::Shard;

/// A stream, open once its request's head is sent.
pub(crate) struct StreamBackend<R: Runtime> {
    shared: Rc<Shared<ResponseHead>>,
    /// What is told to whoever may end it, also before it is open.
    stream: Rc<OnceCell<Stream<ResponseHead>>>,
    open: Option<Open<R>>,
    memory: Vec<u8>,
    deadlines: Rc<Deadlines>,
    /// The backend must take a request at the least rate over this time.
    window: Duration,
    reused: bool,
    runtime: PhantomData<fn() -> R>,
}

struct Open<R: Runtime> {
    incoming: Incoming<R, ResponseHead>,
    outgoing: Outgoing<R, ResponseHead>,
}

impl<R: Runtime> StreamBackend<R> {
    fn open(&mut self) -> &mut Open<R> {
        self.open.as_mut().expect("a request was sent before anything is asked of its stream")
    }
}

impl<R: Runtime> Backend<R> for Box<StreamBackend<R>> {
    type Request = Outgoing<R, ResponseHead>;
    type Response<'u> = &'u mut Incoming<R, ResponseHead>;

    fn lend(&mut self, memory: &mut Vec<u8>) {
        self.memory.clear();
        std::mem::swap(&mut self.memory, memory);
    }

    fn takes(&self, request: &RequestHead) -> bool {
        request.fits(self.shared.head_bytes_max())
    }

    async fn send(
        &mut self,
        head: &impl WriteHead,
        framing: Framing,
        body: Option<AtHand<'_>>,
    ) -> io::Result<()> {
        let empty = |body: &AtHand<'_>| body.bytes.is_empty() && body.trailers.is_empty();
        let end = framing == Framing::None || body.as_ref().is_some_and(empty);
        let memory = &mut self.memory;
        let stream = Shared::request(&self.shared, head.method(), end, |block| {
            head.write_to(&mut Fields(block, memory));
        });
        let stream = stream.ok_or(io::ErrorKind::NotConnected)?;
        let (incoming, mut outgoing) = stream.halves(&self.deadlines, self.window);
        outgoing.opened(end);
        let open = self.open.insert(Open { incoming, outgoing });
        let _ = self.stream.set(stream); // One exchange sends one request.
        match body {
            Some(body) if !end => {
                let last = body.trailers.is_empty();
                open.outgoing.write(body.bytes, last).await?;
                open.outgoing.end(body.trailers).await
            }
            Some(_) | None => Ok(()),
        }
    }

    fn halves<'u>(
        &'u mut self,
        _cut: &'u Cell<Option<Fault>>,
    ) -> (&'u mut Self::Request, Self::Response<'u>) {
        let open = self.open();
        (&mut open.outgoing, &mut open.incoming)
    }

    fn tunnel<'u>(
        &'u mut self,
        cut: &'u Cell<Option<Fault>>,
    ) -> (&'u mut Self::Request, Self::Response<'u>) {
        self.halves(cut)
    }

    fn cut(&self) -> Cut {
        Cut::Backend(Rc::clone(&self.stream))
    }

    /// Only the loss of its connection says nothing of the request: a reset is an answer.
    fn is_reused(&self) -> bool {
        let lost = |stream: &Stream<ResponseHead>| stream.end() == Some(End::Gone);
        self.reused && self.stream.get().is_none_or(lost)
    }

    fn is_unprocessed(&self) -> bool {
        self.stream.get().is_none_or(|stream| stream.end() == Some(End::Unprocessed))
    }

    /// Dropping it is all.
    fn release(self, _shard: &Shard<R>, _now: Instant) {}
}

impl<R: Runtime> Drop for StreamBackend<R> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.get() {
            stream.forget(R::now());
        }
    }
}

impl<R: Runtime> Answers for &mut Incoming<R, ResponseHead> {
    async fn head(
        &mut self,
        _request: &RequestHead,
        response: &mut ResponseHead,
    ) -> Result<(), NoHead> {
        self.stream().head(response).await.map_err(|end| match end {
            End::Malformed => NoHead::Malformed,
            End::Peer(_) | End::Unprocessed | End::Gone | End::Ours => NoHead::Unanswered,
        })
    }

    fn is_reusable(&self, _response: &ResponseHead) -> bool {
        true
    }
}
