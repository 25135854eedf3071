//! One request to a backend and its response back: the data path of the gateway.
//!
//! A request whose body is absent or already here is sent in one piece, and may go to another
//! endpoint when it provably was not processed. A longer body is uploaded beside the download.
//! Invariant: an upstream connection is reused only after a whole exchange that left no byte behind.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use proxy::balance::Outcome;
use proxy::exchange::{Delivery, Forward};
use proxy::fault::Fault;
use proxy::h1;
use proxy::h1::body::{BodyReader, BodyWriter};
use proxy::http::{Framing, Method, RequestHead, ResponseHead, Version};
use proxy::limits;
use runtime::{Runtime, Size};

use super::h1::{LINGER, Next};
use super::{Downstream, Writer, tunnel};
use crate::install::Installed;
use crate::race::{beside, race};
use crate::relay::{self, UploadEnd};
use crate::scratch::Scratch;
use crate::shard::Shard;
use crate::trace::Trace;
use crate::upstream::{InFlight, Upstream};

/// How the response side of an exchange ended.
enum Ended {
    /// Delivered whole; whether each connection may be used again.
    Whole { upstream_reusable: bool, client_keep: bool },
    /// The backend switched protocols.
    Switched,
    /// It failed.
    Failed(Failure),
    /// It failed, and the client has its answer.
    Answered(Fault),
}

/// Why there is no whole response.
struct Failure {
    fault: Fault,
    /// Some of the response went to the client already.
    begun: bool,
    /// The backend cannot have processed the request, as far as its answer tells.
    unanswered: bool,
}

impl<R: Runtime> Downstream<R> {
    /// Forwards the request in `scratch` and brings the response back.
    pub(super) async fn forward<'e>(
        &mut self,
        shard: &Rc<Shard<R>>,
        installed: &Installed,
        mut forward: Forward<'e>,
        scratch: &mut Scratch,
        trace: &mut Trace<'e>,
    ) -> Next {
        let here = body_here(&scratch.request, self.reader.input.bytes());
        let repeatable = here.is_some() && is_idempotent(scratch.request.method);
        let mut now = trace.routed.unwrap_or(trace.received);
        let mut attempts = 1;
        loop {
            let mut flight = InFlight::begin(shard, installed, forward.endpoint);
            let address = forward.address;
            let acquired = Upstream::acquire(shard, installed, address, repeatable, now).await;
            let mut upstream = match acquired {
                Ok(upstream) => upstream,
                Err(fault) => {
                    flight.outcome = Outcome::Failed;
                    drop(flight);
                    now = R::now();
                    let Some(other) = another(shard, &forward, attempts, now) else {
                        return Box::pin(self.answer(fault, None, installed, scratch, trace)).await;
                    };
                    (forward, attempts) = (other, attempts + 1);
                    trace.forwarded(&forward);
                    continue;
                }
            };
            // An idle connection costs no time worth a look at the clock.
            trace.connected(if upstream.reused { now } else { R::now() });
            let ended = self.attempt(&forward, &mut upstream, here, &flight, scratch, trace).await;
            match ended {
                Ended::Whole { upstream_reusable, client_keep } => {
                    flight.outcome = Outcome::Answered;
                    let done = trace.done(R::now());
                    flight.ended = Some(done);
                    if upstream_reusable {
                        upstream.release(shard, done);
                    }
                    return if client_keep { Next::Keep } else { Next::Close };
                }
                Ended::Switched => {
                    flight.outcome = Outcome::Answered;
                    Box::pin(tunnel::run(shard, self, upstream)).await;
                    return Next::Drop;
                }
                Ended::Answered(fault) => {
                    if fault.is_endpoints() {
                        flight.outcome = Outcome::Failed;
                    }
                    return Next::Close;
                }
                Ended::Failed(failure) => {
                    let again = failure.unanswered && upstream.reused && repeatable;
                    if failure.fault.is_endpoints() {
                        flight.outcome = if again { Outcome::Unknown } else { Outcome::Failed };
                    }
                    if !again || attempts >= ATTEMPTS_MAX {
                        return Box::pin(self.give_up(&failure, installed, scratch, trace)).await;
                    }
                    (now, attempts) = (R::now(), attempts + 1);
                    shard.recorder.retry();
                    shard.pool.forget(forward.address);
                }
            }
        }
    }

    /// One try on one upstream connection.
    async fn attempt<'e>(
        &mut self,
        forward: &Forward<'e>,
        upstream: &mut Upstream<R>,
        here: Option<usize>,
        flight: &InFlight<'_, R>,
        scratch: &mut Scratch,
        trace: &mut Trace<'e>,
    ) -> Ended {
        let mut out = std::mem::take(&mut scratch.out);
        out.clear();
        forward.write_request(&scratch.request, self.client(), &mut out);
        if let Some(length) = here {
            out.extend_from_slice(&self.reader.input.bytes()[..length]);
        }
        trace.bytes_in = here.unwrap_or(0) as u64;
        match upstream.sink_send(out).await {
            Ok(out) => scratch.out = out,
            // The answer may be there all the same (a 413, say): look before giving up.
            Err(_) if !upstream.reused => scratch.out = Vec::new(),
            Err(_) => return failed(Fault::UpstreamReset, false, true),
        }
        match here {
            Some(length) => {
                let ended =
                    download(&mut self.writer, forward, upstream, flight, scratch, trace).await;
                // After a failure the body stays, for another try or for the answer to skip.
                if !matches!(ended, Ended::Failed(_)) {
                    self.reader.input.consume(length);
                }
                ended
            }
            // Boxed, as every path that few requests take: it would weigh on each idle connection.
            None => Box::pin(self.stream_both(forward, upstream, flight, scratch, trace)).await,
        }
    }

    /// Uploads the request body beside the download of the response.
    async fn stream_both<'e>(
        &mut self,
        forward: &Forward<'e>,
        upstream: &mut Upstream<R>,
        flight: &InFlight<'_, R>,
        scratch: &mut Scratch,
        trace: &mut Trace<'e>,
    ) -> Ended {
        let (sink, mut incoming, abort) = upstream.halves();
        let piece = std::mem::take(&mut scratch.upload);
        // From here on the body is partly read: no answer of ours may keep the connection.
        let keep_alive = std::mem::take(&mut scratch.request.keep_alive);
        let mut moved = 0;
        let task = relay::Upload {
            from: scratch.request.framing,
            to: forward.request_framing(&scratch.request),
            moved: &mut moved,
            window: flight.installed.epoch.settings.timeouts.body_rate_window,
            upstream: abort.clone(),
            cut: incoming.cut,
        };
        let (keep, reader, writer) = (Cell::new(false), &mut self.reader, &mut self.writer);
        let (ended, upload) = {
            let mut upload = pin!(async {
                let end = relay::upload::<R>(reader, sink, piece, task).await;
                // Only a request that is in whole may be followed by another one.
                keep.set(keep_alive && matches!(end, UploadEnd::Whole(_)));
                end
            });
            let download =
                download_half(writer, forward, &mut incoming, &keep, flight, scratch, trace);
            let (mut ended, end) = beside(download, upload.as_mut()).await;
            if end.is_none() && ended.is_sayable() {
                // The response overtook the body: end the upload by its backend, not half-way, so
                // that the client can be listened to until it has the answer.
                abort.abort();
                ended = writer.overtake(ended, flight.installed, scratch, trace).await;
                race(upload, R::sleep_until(R::now() + LINGER)).await;
            }
            (ended, end)
        };
        trace.bytes_in = moved;
        match (ended, upload) {
            (Ended::Whole { upstream_reusable, client_keep }, Some(UploadEnd::Whole(piece))) => {
                scratch.upload = piece;
                Ended::Whole { upstream_reusable, client_keep }
            }
            // What is left of the body cannot be told from a request.
            (Ended::Whole { .. }, _) => {
                Ended::Whole { upstream_reusable: false, client_keep: false }
            }
            // The upload ended both connections: what the download saw is a consequence.
            (Ended::Failed(failure), Some(UploadEnd::Failed(fault))) => {
                failed(fault, failure.begun, false)
            }
            (ended, _) => ended,
        }
    }

    /// Ends an exchange that has no whole response.
    async fn give_up(
        &mut self,
        failure: &Failure,
        installed: &Installed,
        scratch: &mut Scratch,
        trace: &mut Trace<'_>,
    ) -> Next {
        if failure.begun || failure.fault.status().is_none() {
            trace.fault = Some(if failure.begun && self.writer.stall.fired() {
                Fault::ClientTooSlow
            } else {
                failure.fault
            });
            self.writer.abort.reset();
            return Next::Drop;
        }
        self.answer(failure.fault, None, installed, scratch, trace).await
    }
}

impl Ended {
    /// Whether the client has a whole answer or can have one.
    fn is_sayable(&self) -> bool {
        match self {
            Self::Whole { .. } => true,
            Self::Failed(failure) => !failure.begun && failure.fault.status().is_some(),
            Self::Switched | Self::Answered(_) => false,
        }
    }
}

impl<R: Runtime> Writer<R> {
    /// Says all there is to say, and FIN, while the request's body is still coming.
    async fn overtake(
        &mut self,
        ended: Ended,
        installed: &Installed,
        scratch: &mut Scratch,
        trace: &mut Trace<'_>,
    ) -> Ended {
        let ended = match ended {
            Ended::Failed(Failure { fault, .. }) => {
                self.answer(fault, None, false, installed, scratch, trace).await.ok();
                Ended::Answered(fault)
            }
            said @ (Ended::Whole { .. } | Ended::Switched | Ended::Answered(_)) => said,
        };
        self.finish().await;
        ended
    }
}

/// Downloads on a whole upstream connection (no upload beside it).
async fn download<'e, R: Runtime>(
    writer: &mut Writer<R>,
    forward: &Forward<'e>,
    upstream: &mut Upstream<R>,
    flight: &InFlight<'_, R>,
    scratch: &mut Scratch,
    trace: &mut Trace<'e>,
) -> Ended {
    let (_, mut incoming, _) = upstream.halves();
    let keep = Cell::new(scratch.request.keep_alive);
    download_half(writer, forward, &mut incoming, &keep, flight, scratch, trace).await
}

/// Reads the response and relays it to the client. `keep` counts once the final head is here.
async fn download_half<'e, R: Runtime>(
    writer: &mut Writer<R>,
    forward: &Forward<'e>,
    upstream: &mut relay::Incoming<'_, R>,
    keep: &Cell<bool>,
    flight: &InFlight<'_, R>,
    scratch: &mut Scratch,
    trace: &mut Trace<'e>,
) -> Ended {
    let Scratch { request, response, out, .. } = scratch;
    if let Err(failure) = read_final_head(writer, forward, upstream, request, response, out).await {
        return Ended::Failed(failure);
    }
    flight.answered();
    trace.first_byte(R::now(), response.status);
    if response.websocket {
        let mut head = std::mem::take(out);
        head.clear();
        forward.write_interim(response, &mut head);
        return match writer.send(head).await {
            Ok(head) => {
                *out = head;
                Ended::Switched
            }
            Err(_) => failed(Fault::ClientGone, true, false),
        };
    }
    let delivery = Delivery::of(request, response, keep.get() && flight.may_keep());
    let mut head = std::mem::take(out);
    head.clear();
    forward.write_response(request, response, delivery, &mut head);
    let mut body = BodyReader::new(response.framing);
    let mut encoder = BodyWriter::new(delivery.framing);
    match relay::download(writer, upstream, &mut body, &mut encoder, head, &mut trace.bytes_out)
        .await
    {
        Ok(sent) => *out = sent,
        Err(fault) => return failed(fault, true, false),
    }
    Ended::Whole {
        upstream_reusable: response.keep_alive && upstream.is_clean(),
        client_keep: delivery.keep_alive,
    }
}

/// Reads up to the final response head, passing interim responses on.
async fn read_final_head<R: Runtime>(
    writer: &mut Writer<R>,
    forward: &Forward<'_>,
    upstream: &mut relay::Incoming<'_, R>,
    request: &RequestHead,
    response: &mut ResponseHead,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let malformed = Failure { fault: Fault::UpstreamMalformed, begun: false, unanswered: false };
    let mut interim = 0;
    loop {
        let input = upstream.input.bytes();
        match h1::response::read(input, request.method, request.websocket, response) {
            Ok(Some(consumed)) => upstream.input.consume(consumed),
            Ok(None) => {
                let unanswered = upstream.input.is_empty() && interim == 0;
                if !upstream.fill(Size::Small).await.unwrap_or(false) {
                    let fault = Fault::UpstreamReset;
                    return Err(Failure { fault, begun: false, unanswered });
                }
                continue;
            }
            Err(_) => return Err(malformed),
        }
        if !response.is_interim() {
            return Ok(());
        }
        interim += 1;
        if interim > limits::INTERIM_RESPONSES_MAX {
            return Err(malformed);
        }
        if request.version == Version::Http11 {
            let mut head = std::mem::take(out);
            head.clear();
            forward.write_interim(response, &mut head);
            let gone = Failure { fault: Fault::ClientGone, begun: true, unanswered: false };
            *out = writer.send(head).await.map_err(|_| gone)?;
        }
    }
}

/// Another endpoint for a request that none has seen yet; `None` when it has had its tries.
fn another<'e, R: Runtime>(
    shard: &Shard<R>,
    forward: &Forward<'e>,
    attempts: u32,
    now: Instant,
) -> Option<Forward<'e>> {
    let other = forward.again(&mut shard.local.borrow_mut(), now);
    let other = other.filter(|_| attempts < ATTEMPTS_MAX)?;
    shard.recorder.retry();
    Some(other)
}

/// The length of the request's body if all of it is at the start of `input` (or there is none), and
/// small enough to travel with the head.
fn body_here(head: &RequestHead, input: &[u8]) -> Option<usize> {
    match head.framing {
        Framing::None => Some(0),
        Framing::Length(length) => usize::try_from(length)
            .ok()
            .filter(|length| *length <= input.len() && *length <= BODY_WITH_HEAD_BYTES_MAX),
        Framing::Chunked | Framing::UntilClose => None,
    }
}

/// Whether a request may be sent again although it may have been processed (RFC 9110 section 9.2.2).
fn is_idempotent(method: Method) -> bool {
    match method {
        Method::Get
        | Method::Head
        | Method::Options
        | Method::Trace
        | Method::Put
        | Method::Delete => true,
        Method::Post | Method::Patch | Method::Connect | Method::Other => false,
    }
}

fn failed(fault: Fault, begun: bool, unanswered: bool) -> Ended {
    Ended::Failed(Failure { fault, begun, unanswered })
}

/// Endpoints tried for one request, the first included.
const ATTEMPTS_MAX: u32 = 3;
/// A body up to this size that is already here is sent with the head.
const BODY_WITH_HEAD_BYTES_MAX: usize = 16 * 1024;
