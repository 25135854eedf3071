//! Clients as an exchange sees them: one request of an HTTP/1 connection, or one stream of HTTP/2.

use std::io;
use std::time::Duration;

use proxy::epoch::Port;
use proxy::exchange::{self, Answer, Delivery, Forward};
use proxy::http::{Framing, RequestHead, ResponseHead};
use runtime::Runtime;

use super::origin::Origin;
use crate::cut::Cut;
use crate::relay::{Drain, Source};

/// Whoever sent the request of one exchange.
pub(crate) trait Client<R: Runtime> {
    /// Gives the request's body.
    type Body<'c>: Source
    where
        Self: 'c;
    /// Takes the response.
    type Response: Respond;

    /// Whether it must be listened to for a moment after an answer that overtook its request, so
    /// that no reset destroys the answer on its way.
    const LINGERS: bool;

    /// Where it is connected to us, and from where.
    fn origin(&self) -> &Origin;

    /// Takes or gives back the memory in which a response is written.
    fn lend(&mut self, memory: &mut Vec<u8>);

    /// The length of the request's body if all of it is here (or there is none), without trailers
    /// and small enough to travel with the head.
    fn body_here(&mut self, head: &RequestHead) -> Option<usize>;

    /// The first `length` bytes of such a body.
    fn here(&self, length: usize) -> &[u8];

    /// They are dealt with.
    fn take_here(&mut self, length: usize);

    /// Takes a request body that arrived whole out of the way. False: there is more to come.
    fn skip_body(&mut self, head: &RequestHead) -> bool;

    /// The request's body and the response, which may move at once. The body must keep the least
    /// rate over `window`.
    fn halves(
        &mut self,
        framing: Framing,
        window: Duration,
    ) -> (Self::Body<'_>, &mut Self::Response);

    /// Both directions of a tunnel, once protocols were switched.
    fn tunnel(&mut self) -> (Self::Body<'_>, &mut Self::Response);

    /// Where the response goes.
    fn response(&mut self) -> &mut Self::Response;

    /// Ends it.
    fn cut(&self) -> Cut;

    /// Whether it has left, as far as a look can tell.
    fn is_gone(&self) -> bool;
}

/// A response on its way to the client.
pub(crate) trait Respond: Drain {
    /// Sends an interim response, or the one that switches protocols.
    fn interim(
        &mut self,
        forward: &Forward<'_>,
        response: &ResponseHead,
    ) -> impl Future<Output = io::Result<()>>;

    /// Tells a client that waits for it to send its body; most do not wait.
    fn proceed(&mut self) -> impl Future<Output = io::Result<()>> {
        std::future::ready(Ok(()))
    }

    /// Whether the client reads a head as large as this one.
    fn takes(&self, _response: &ResponseHead) -> bool {
        true
    }

    /// Writes the head of the final response; its body follows.
    fn begin(
        &mut self,
        forward: &Forward<'_>,
        heads: (&RequestHead, &ResponseHead),
        delivery: Delivery,
    ) -> impl Future<Output = io::Result<()>>;

    /// Sends an answer of our own, whole.
    fn answer(&mut self, answer: &Answer<'_>) -> impl Future<Output = io::Result<()>>;

    /// Says that nothing follows on this connection or stream.
    fn finish(&mut self) -> impl Future<Output = ()>;

    /// Makes the end of this response a reset: it is not whole.
    fn cut_short(&mut self);

    /// Bytes of this exchange that went out.
    fn sent(&self) -> u64;

    /// Whether the client was cut off because it took them too slowly.
    fn is_stalled(&self) -> bool;
}

impl Origin {
    /// Who asks.
    pub(crate) fn client(&self) -> exchange::Client<'_> {
        exchange::Client { address: &self.address, sni: self.sni.as_deref() }
    }

    /// Whether `port` is still what it was when the connection was accepted.
    pub(crate) fn is_of(&self, port: &Port) -> bool {
        (port.protocol == proxy::ir::Protocol::Tls) == self.is_tls
    }
}
