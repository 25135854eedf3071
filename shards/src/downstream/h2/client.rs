//! A client of HTTP/2 as an exchange sees it: one stream.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use proxy::exchange::{Answer, Delivery, Forward};
use proxy::http::{Framing, RequestHead, ResponseHead};
use proxy::limits;
use runtime::Runtime;

use crate::cut::Cut;
use crate::deadline::Deadlines;
use crate::downstream::client::{Client, Respond};
use crate::downstream::origin::Origin;
use crate::h2::stream::{Incoming, Outgoing, Pace, Stream};
use crate::install::Installed;
use crate::relay::Drain;
use crate::shard::Shard;

/// The stream of one exchange.
pub(super) struct StreamClient<R: Runtime> {
    stream: Stream<RequestHead>,
    incoming: Incoming<R, RequestHead>,
    outgoing: Outgoing<R, RequestHead>,
    origin: Rc<Origin>,
    deadlines: Rc<Deadlines>,
}

impl<R: Runtime> StreamClient<R> {
    pub(super) fn new(
        shard: &Shard<R>,
        installed: &Installed,
        stream: Stream<RequestHead>,
        origin: Rc<Origin>,
    ) -> Self {
        let window = installed.epoch.settings.timeouts.response_stall;
        let (incoming, outgoing) = stream.halves(&shard.deadlines, window);
        Self { stream, incoming, outgoing, origin, deadlines: Rc::clone(&shard.deadlines) }
    }

    /// A body that is here already has a length, also where its head gave none.
    pub(super) fn settle(&mut self, head: &mut RequestHead) {
        if head.framing == Framing::Chunked
            && let Some(length) = self.incoming.here(limits::BODY_WITH_HEAD_BYTES_MAX)
        {
            head.framing = Framing::Length(length as u64);
        }
    }

    pub(super) fn sent(&self) -> u64 {
        self.outgoing.sent
    }

    pub(super) fn address(&self) -> &str {
        &self.origin.address
    }
}

impl<R: Runtime> Client<R> for StreamClient<R> {
    type Body<'c> = &'c mut Incoming<R, RequestHead>;
    type Response = Outgoing<R, RequestHead>;
    const LINGERS: bool = false;

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn lend(&mut self, memory: &mut Vec<u8>) {
        self.outgoing.lend(memory);
    }

    fn body_here(&mut self, head: &RequestHead) -> Option<usize> {
        let here = self.incoming.here(limits::BODY_WITH_HEAD_BYTES_MAX);
        // A tunnel's request has no body, whatever is behind it.
        if head.websocket { Some(0) } else { here }
    }

    fn here(&self, length: usize) -> &[u8] {
        &self.incoming.bytes()[..length]
    }

    fn take_here(&mut self, length: usize) {
        if length > 0 {
            self.incoming.take_bytes();
        }
    }

    fn skip_body(&mut self, _head: &RequestHead) -> bool {
        self.incoming.take_bytes();
        self.incoming.is_whole()
    }

    fn halves(
        &mut self,
        _framing: Framing,
        window: Duration,
    ) -> (Self::Body<'_>, &mut Self::Response) {
        let deadline = self.deadlines.register(self.stream.clone());
        let pace = Pace { deadline, window, in_window: 0, waited: Duration::ZERO };
        self.incoming.set_pace(Some(pace));
        (&mut self.incoming, &mut self.outgoing)
    }

    fn tunnel(&mut self) -> (Self::Body<'_>, &mut Self::Response) {
        self.incoming.set_pace(None);
        (&mut self.incoming, &mut self.outgoing)
    }

    fn response(&mut self) -> &mut Self::Response {
        &mut self.outgoing
    }

    fn cut(&self) -> Cut {
        Cut::Client(self.stream.clone())
    }

    fn is_gone(&self) -> bool {
        self.stream.end().is_some()
    }
}

impl<R: Runtime> Respond for Outgoing<R, RequestHead> {
    async fn interim(&mut self, forward: &Forward<'_>, response: &ResponseHead) -> io::Result<()> {
        let sent = self.sent;
        self.head(false, |out| forward.write_interim(response, out)).await?;
        self.sent = sent; // Only the final response counts.
        Ok(())
    }

    fn takes(&self, response: &ResponseHead) -> bool {
        response.fits(self.head_bytes_max())
    }

    async fn begin(
        &mut self,
        forward: &Forward<'_>,
        (request, response): (&RequestHead, &ResponseHead),
        delivery: Delivery,
    ) -> io::Result<()> {
        let end = matches!(delivery.framing, Framing::None | Framing::Length(0));
        self.head(end, |out| forward.write_response(request, response, delivery, out)).await
    }

    async fn answer(&mut self, answer: &Answer<'_>) -> io::Result<()> {
        let body = answer.body();
        self.head(body.is_empty(), |out| {
            answer.write_head(out);
        })
        .await?;
        if body.is_empty() { Ok(()) } else { self.write(body, true).await }
    }

    /// Its end says so.
    async fn finish(&mut self) {}

    /// A stream that is forgotten before its end is reset.
    fn cut_short(&mut self) {}

    fn sent(&self) -> u64 {
        self.sent
    }

    fn is_stalled(&self) -> bool {
        Self::is_stalled(self)
    }
}
