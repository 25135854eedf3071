//! HTTP/1 towards the client: the loop that reads a head, has it answered or forwarded, and counts.

use std::io;
use std::rc::Rc;

use proxy::epoch::Port;
use proxy::exchange::{self, Answer, Client, Reply, Step};
use proxy::fault::Fault;
use proxy::h1;
use proxy::h1::body::BodyReader;
use proxy::h1::encode::Text;
use proxy::http::RequestHead;
use proxy::ir::Protocol;
use proxy::limits;
use runtime::{Runtime, Size};

use super::{Downstream, Writer};
use crate::install::Installed;
use crate::scratch::Scratch;
use crate::shard::Shard;
use crate::trace::Trace;

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request may follow.
    Keep,
    /// The answer said so: send FIN, let the client finish, close.
    Close,
    /// Nothing more can be said: close at once.
    Drop,
}

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
    /// One request: head, route, answer or forward, count.
    async fn exchange(&mut self, shard: &Rc<Shard<R>>, scratch: &mut Scratch) -> Next {
        let head = self.read_head(shard, &mut scratch.request).await;
        let installed = shard.installed(); // Pinned: this exchange sees one epoch.
        self.writer.stall_window = installed.epoch.settings.timeouts.response_stall;
        let mut trace = Trace::start(R::now());
        let next = match head {
            Err(NoHead::Gone) => return Next::Drop,
            Err(NoHead::Refused(fault)) => {
                scratch.request.keep_alive = false;
                let refusal = refusal(fault);
                Box::pin(self.reply(shard, &refusal, &installed, scratch, &mut trace)).await
            }
            Ok(()) => match self.route(shard, &installed, &scratch.request, &mut trace) {
                Step::Reply(reply) => {
                    Box::pin(self.reply(shard, &reply, &installed, scratch, &mut trace)).await
                }
                Step::Forward(forward) => {
                    trace.forwarded(&forward);
                    let (at, trace) = (&installed, &mut trace);
                    match &forward.rule.policy {
                        None => self.forward(shard, at, forward, scratch, trace).await,
                        Some(policy) => {
                            let by =
                                self.forward_by_policy(shard, at, policy, forward, scratch, trace);
                            Box::pin(by).await
                        }
                    }
                }
            },
        };
        let now = trace.done.unwrap_or_else(R::now);
        shard.recorder.exchange(&trace, now, &scratch.request, &self.address, &installed);
        self.last = Some(now);
        next
    }

    fn route<'e>(
        &self,
        shard: &Shard<R>,
        installed: &'e Installed,
        head: &RequestHead,
        trace: &mut Trace<'e>,
    ) -> Step<'e> {
        // The port may have gone, or turned from plain to TLS, since the connection was accepted.
        let same = |port: &&Port| (port.protocol == Protocol::Tls) == self.is_tls();
        let Some(port) = installed.port(self.port).filter(same) else {
            return Step::Reply(refusal(Fault::HostUnclaimed));
        };
        let mut local = shard.local.borrow_mut();
        let client = self.client();
        let now = trace.received;
        let step = exchange::start(head, client, &installed.epoch, port, &mut local, now);
        trace.routed(R::now());
        step
    }

    /// Who asks.
    pub(super) fn client(&self) -> Client<'_> {
        Client { address: &self.address, sni: self.sni.as_deref() }
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

    /// Answers by ourselves.
    async fn reply<'e>(
        &mut self,
        shard: &Shard<R>,
        reply: &Reply<'e>,
        installed: &Installed,
        scratch: &mut Scratch,
        trace: &mut Trace<'e>,
    ) -> Next {
        trace.replied(reply);
        let fields = reply.fields.as_deref();
        self.answer(shard, reply.fault, fields, installed, scratch, trace).await
    }

    /// Sends an answer of our own, after taking the request's body out of the way.
    pub(super) async fn answer(
        &mut self,
        shard: &Shard<R>,
        fault: Fault,
        fields: Option<&[u8]>,
        installed: &Installed,
        scratch: &mut Scratch,
        trace: &mut Trace<'_>,
    ) -> Next {
        let head = &scratch.request;
        let body_read = head.keep_alive && self.skip_body(head);
        let keep = body_read && !shard.is_draining();
        match self.writer.answer(fault, fields, keep, installed, scratch, trace).await {
            Ok(()) if keep => Next::Keep,
            Ok(()) => Next::Close,
            Err(_) => Next::Drop,
        }
    }

    /// Takes a request body that already arrived whole out of the input. False: there is more to
    /// come, so the connection cannot be kept.
    fn skip_body(&mut self, head: &RequestHead) -> bool {
        let mut body = BodyReader::new(head.framing);
        while !body.is_done() {
            match body.read(self.reader.input.bytes()) {
                Ok(read) if read.consumed > 0 => self.reader.input.consume(read.consumed),
                Ok(_) | Err(_) => return body.is_done(),
            }
        }
        true
    }

    /// Sends FIN and takes what the client still sends for a moment, so that no RST destroys the
    /// answer on its way.
    pub(super) async fn linger(&mut self) {
        self.reader.deadline.set(R::now() + LINGER);
        self.writer.finish().await;
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

impl<R: Runtime> Writer<R> {
    /// Sends an answer of our own.
    pub(super) async fn answer(
        &mut self,
        fault: Fault,
        fields: Option<&[u8]>,
        keep: bool,
        installed: &Installed,
        scratch: &mut Scratch,
        trace: &mut Trace<'_>,
    ) -> io::Result<()> {
        trace.fault = Some(fault);
        let unread = matches!(fault, Fault::Malformed(_) | Fault::HeaderTimeout);
        let answer = Answer {
            fault,
            fields,
            request: (!unread).then_some(&scratch.request),
            rule: trace.rule,
            keep_alive: keep,
            debug: installed.epoch.settings.debug_header,
        };
        let mut out = std::mem::take(&mut scratch.out);
        out.clear();
        answer.write_head(&mut Text(&mut out));
        out.extend_from_slice(answer.body().as_bytes());
        trace.answered(answer.status().unwrap_or(0), out.len());
        scratch.out = self.send(out).await?;
        Ok(())
    }
}

fn refusal<'e>(fault: Fault) -> Reply<'e> {
    Reply { fault, fields: None, listener: None, rule: None }
}

pub(super) const LINGER: std::time::Duration = std::time::Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 256 * 1024;
