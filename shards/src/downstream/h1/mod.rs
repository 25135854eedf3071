//! HTTP/1 towards the client: the loop that reads a head, has it answered or forwarded, and counts.

mod client;

use std::rc::Rc;

use proxy::fault::Fault;
use proxy::h1;
use proxy::http::RequestHead;
use proxy::limits;
use runtime::{Runtime, Size};

use super::Downstream;
use super::exchange::{Exchange, Next};
use crate::framed::Outlet;
use crate::scratch::Scratch;
use crate::shard::Shard;
use crate::trace::Trace;

/// Why there is no request head.
enum NoHead {
    /// The client is done or gone.
    Gone,
    /// It sent something that is refused with this fault.
    Refused(Fault),
}

/// Serves requests until the connection ends.
pub(super) async fn serve<R: Runtime>(shard: &Rc<Shard<R>>, client: &mut Downstream<R>) {
    loop {
        if client.reader.input.is_empty() && !client.await_request(shard).await {
            return;
        }
        let mut scratch = shard.scratches.take();
        let next = client.exchange(shard, &mut scratch).await;
        shard.scratches.give(scratch);
        client.served += 1;
        match next {
            Next::Keep => {}
            Next::Close => return Box::pin(client.linger()).await,
            Next::Drop => return,
        }
    }
}

impl<R: Runtime> Downstream<R> {
    /// One request: head, answer or forward, count.
    async fn exchange(&mut self, shard: &Rc<Shard<R>>, scratch: &mut Scratch) -> Next {
        let head = self.read_head(shard, &mut scratch.request).await;
        let installed = shard.installed(); // Pinned: this exchange sees one epoch.
        self.writer.outlet.stall_window = installed.epoch.settings.timeouts.response_stall;
        self.writer.sent = 0;
        let mut trace = Trace::start(R::now());
        let trace_of = &mut trace;
        let mut exchange =
            Exchange { shard, installed: &installed, client: self, scratch, trace: trace_of };
        let next = match head {
            Err(NoHead::Gone) => return Next::Drop,
            Err(NoHead::Refused(fault)) => Box::pin(exchange.refuse(fault)).await,
            Ok(()) => exchange.run().await,
        };
        let now = trace.done.unwrap_or_else(R::now);
        shard.recorder.exchange(&trace, now, &scratch.request, &self.origin.address, &installed);
        self.last = Some(now);
        next
    }

    /// Waits for the first byte of the next request. False: the connection is over.
    async fn await_request(&mut self, shard: &Shard<R>) -> bool {
        let timeouts = &shard.installed().epoch.settings.timeouts;
        let wait = if self.served == 0 { timeouts.header } else { timeouts.client_idle };
        self.reader.deadline.set(self.last.unwrap_or_else(R::now) + wait);
        matches!(self.reader.fill(Size::Small).await, Ok(true))
    }

    async fn read_head(&mut self, shard: &Shard<R>, head: &mut RequestHead) -> Result<(), NoHead> {
        let mut timed = false;
        loop {
            match h1::request::read(self.reader.input.bytes(), head) {
                Ok(Some(consumed)) => {
                    self.reader.input.consume(consumed);
                    self.reader.deadline.clear();
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) => return Err(NoHead::Refused(Fault::Malformed(error.status()))),
            }
            if !timed {
                timed = true;
                let header = shard.installed().epoch.settings.timeouts.header;
                self.reader.deadline.set_for_reading(R::now() + header);
            }
            self.more_of_head().await?;
        }
    }

    /// Receives until there is something new worth parsing: a line end, or the limit.
    async fn more_of_head(&mut self) -> Result<(), NoHead> {
        loop {
            let before = self.reader.input.bytes().len();
            match self.reader.fill(Size::Small).await {
                Ok(true) => {}
                Ok(false) | Err(_) if self.reader.deadline.fired() => {
                    return Err(NoHead::Refused(Fault::HeaderTimeout));
                }
                Ok(false) | Err(_) => return Err(NoHead::Gone),
            }
            let bytes = self.reader.input.bytes();
            let line_ended = bytes[before..].contains(&b'\n');
            if line_ended || before == 0 || bytes.len() >= limits::REQUEST_TARGET_BYTES_MAX {
                return Ok(());
            }
        }
    }

    /// Sends FIN and takes what the client still sends for a moment, so that no RST destroys the
    /// answer on its way.
    pub(super) async fn linger(&mut self) {
        self.reader.deadline.set(R::now() + LINGER);
        self.writer.outlet.finish().await.ok();
        let mut taken = 0;
        while taken < LINGER_BYTES_MAX {
            match self.reader.fill(Size::Small).await {
                Ok(true) => {
                    let length = self.reader.input.bytes().len();
                    taken += length;
                    self.reader.input.consume(length);
                }
                Ok(false) | Err(_) => return,
            }
        }
    }
}

pub(in crate::downstream) const LINGER: std::time::Duration = std::time::Duration::from_secs(2);
pub(in crate::downstream) const LINGER_BYTES_MAX: usize = 256 * 1024;
