//! One try of a request on one upstream connection: the request out, the response back.
//!
//! A request whose body is absent or already here is sent in one piece. A longer body is uploaded
//! beside the download. Called by the two loops over tries (`forward`, `retry`), which decide what a
//! failure means. Invariant: an upstream connection is reusable only after a whole exchange that left
//! no byte behind.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use proxy::exchange::{Delivery, Forward};
use proxy::fault::Fault;
use proxy::h1;
use proxy::h1::body::{BodyReader, BodyWriter};
use proxy::h1::encode::Text;
use proxy::http::{RequestHead, ResponseHead, Version};
use proxy::limits;
use runtime::{Abort, Runtime, Size};

use super::h1::LINGER;
use super::retry::Extra;
use super::{Downstream, Writer};
use crate::install::Installed;
use crate::race::{Either, beside, race};
use crate::relay::{self, UploadEnd};
use crate::scratch::Scratch;
use crate::trace::Trace;
use crate::upstream::{InFlight, Upstream};

/// How the response side of a try ended.
pub(super) enum Ended {
    /// Delivered whole; whether each connection may be used again.
    Whole { upstream_reusable: bool, client_keep: bool },
    /// The backend switched protocols.
    Switched,
    /// It answered, and the rule wants another try instead.
    Again { upstream_reusable: bool },
    /// It failed.
    Failed(Failure),
    /// It failed, and the client has its answer.
    Answered(Fault),
}

/// Why there is no whole response.
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// Some of the response went to the client already.
    pub(super) begun: bool,
    /// The backend cannot have processed the request, as far as its answer tells.
    pub(super) unanswered: bool,
}

/// What the parts of one try share.
pub(super) struct Try<'t, 'e, R: Runtime> {
    pub(super) forward: &'t Forward<'e>,
    pub(super) flight: &'t InFlight<'t, R>,
    /// The length of the request's body, if all of it is in the client's input.
    pub(super) here: Option<usize>,
    /// What the rule asks for beyond being forwarded.
    pub(super) extra: Option<&'t Extra<'e>>,
}

impl Failure {
    /// Whether a rule's retry is meant for it: the client has nothing yet, and another try may go
    /// better.
    pub(super) fn is_transient(&self) -> bool {
        let transient = match self.fault {
            Fault::ConnectFailed | Fault::ConnectTimeout | Fault::BackendTimeout => true,
            Fault::UpstreamReset => self.unanswered,
            _ => false,
        };
        transient && !self.begun
    }
}

impl<R: Runtime> Try<'_, '_, R> {
    /// Names the reason of our own for a failure that we brought about.
    fn explain(&self, ended: Ended) -> Ended {
        match (&ended, self.flight.cut_by()) {
            (Ended::Failed(failure), Some(fault)) => failed(fault, failure.begun, false),
            _ => ended,
        }
    }

    /// The request's body, if it is here in some way, goes with the head.
    fn body_with_head(&self, input: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        if let Some(length) = self.here {
            out.extend_from_slice(&input[..length]);
            return Some(length);
        }
        self.extra?.capture.write(out)
    }

    /// An uploaded request is out in whole.
    fn uploaded(&self, client: Abort, upstream: Abort) {
        self.flight.waits(client, upstream);
        if let Some(extra) = self.extra {
            extra.mirror_capture(self.flight.shard);
        }
    }

    /// Whether a response with this status is not for the client: there will be another try.
    async fn gives_way(&self, status: u16, now: Instant) -> bool {
        match self.extra.filter(|extra| extra.wants_again(status, now)) {
            Some(extra) => self.here.is_some() || extra.body_is_at_hand::<R>().await,
            None => false,
        }
    }

    /// Before a failure that calls for another try is told: receives the rest of the body for it.
    async fn rest<U: Future>(&self, ended: &Ended, upload: Pin<&mut U>) -> Option<U::Output> {
        let transient = matches!(ended, Ended::Failed(failure) if failure.is_transient());
        let extra = self.extra.filter(|extra| transient && extra.another)?;
        match race(upload, extra.body_is_at_hand::<R>()).await {
            Either::First(end) => Some(end),
            Either::Second(_) => None,
        }
    }
}

impl<R: Runtime> Downstream<R> {
    /// One try on one upstream connection.
    pub(super) async fn attempt<'e>(
        &mut self,
        tried: &Try<'_, 'e, R>,
        upstream: &mut Upstream<R>,
        scratch: &mut Scratch,
        trace: &mut Trace<'e>,
    ) -> Ended {
        let mut out = std::mem::take(&mut scratch.out);
        out.clear();
        tried.forward.write_request(&scratch.request, self.client(), &mut Text(&mut out));
        let with_head = tried.body_with_head(self.reader.input.bytes(), &mut out);
        trace.bytes_in = with_head.unwrap_or(0) as u64;
        match upstream.sink_send(out).await {
            Ok(out) => scratch.out = out,
            // The answer may be there all the same (a 413, say): look before giving up.
            Err(_) if !upstream.reused => scratch.out = Vec::new(),
            Err(_) => return tried.explain(failed(Fault::UpstreamReset, false, true)),
        }
        if with_head.is_none() {
            // Boxed, as every path that few requests take: it would weigh on each idle connection.
            return Box::pin(self.stream_both(tried, upstream, scratch, trace)).await;
        }
        tried.flight.waits(self.writer.abort.clone(), upstream.abort.clone());
        let ended =
            tried.explain(download(&mut self.writer, tried, upstream, scratch, trace).await);
        // After a failure the body stays, for another try or for the answer to skip.
        if let Some(length) = tried.here
            && !matches!(ended, Ended::Failed(_) | Ended::Again { .. })
        {
            self.reader.input.consume(length);
        }
        ended
    }

    /// Uploads the request body beside the download of the response.
    async fn stream_both<'e>(
        &mut self,
        tried: &Try<'_, 'e, R>,
        upstream: &mut Upstream<R>,
        scratch: &mut Scratch,
        trace: &mut Trace<'e>,
    ) -> Ended {
        let flight = tried.flight;
        let (sink, mut incoming, abort) = upstream.halves(&flight.cut);
        let piece = std::mem::take(&mut scratch.upload);
        // From here on the body is partly read: no answer of ours may keep the connection.
        let keep_alive = std::mem::take(&mut scratch.request.keep_alive);
        let mut moved = 0;
        let task = relay::Upload {
            framing: scratch.request.framing,
            moved: &mut moved,
            window: flight.installed.epoch.settings.timeouts.body_rate_window,
            upstream: abort.clone(),
            cut: incoming.cut,
            capture: tried.extra.map(|extra| &extra.capture),
        };
        let (keep, reader, writer) = (Cell::new(false), &mut self.reader, &mut self.writer);
        let client = writer.abort.clone();
        let (ended, upload) = {
            let mut upload = pin!(async {
                let end = relay::upload::<R>(reader, sink, piece, task).await;
                // Only a request that is in whole may be followed by another one.
                if matches!(end, UploadEnd::Whole(_)) {
                    keep.set(keep_alive);
                    tried.uploaded(client, abort.clone());
                }
                end
            });
            let download = download_half(writer, tried, &mut incoming, &keep, scratch, trace);
            let (ended, mut end) = beside(download, upload.as_mut()).await;
            let mut ended = tried.explain(ended);
            if end.is_none() {
                abort.abort();
                end = tried.rest(&ended, upload.as_mut()).await;
                ended = tried.explain(ended);
            }
            if end.is_none() && ended.is_sayable() {
                // The response overtook the body: end the upload by its backend, not half-way, so
                // that the client can be listened to until it has the answer.
                ended = writer.overtake(ended, flight.installed, scratch, trace).await;
                race(upload, R::sleep_until(R::now() + LINGER)).await;
            }
            (ended, end)
        };
        trace.bytes_in = moved;
        match (ended, upload) {
            (
                ended @ (Ended::Whole { .. } | Ended::Again { .. }),
                Some(UploadEnd::Whole(piece)),
            ) => {
                scratch.upload = piece;
                ended
            }
            (Ended::Again { .. }, _) => Ended::Again { upstream_reusable: false },
            // What is left of the body cannot be told from a request.
            (Ended::Whole { .. }, _) => {
                Ended::Whole { upstream_reusable: false, client_keep: false }
            }
            (ended, _) => ended,
        }
    }
}

impl Ended {
    /// Whether the client has a whole answer or can have one.
    fn is_sayable(&self) -> bool {
        match self {
            Self::Whole { .. } => true,
            Self::Failed(failure) => !failure.begun && failure.fault.status().is_some(),
            Self::Switched | Self::Again { .. } | Self::Answered(_) => false,
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
            said @ (Ended::Whole { .. }
            | Ended::Switched
            | Ended::Again { .. }
            | Ended::Answered(_)) => said,
        };
        self.finish().await;
        ended
    }
}

/// Downloads on a whole upstream connection (no upload beside it).
async fn download<'e, R: Runtime>(
    writer: &mut Writer<R>,
    tried: &Try<'_, 'e, R>,
    upstream: &mut Upstream<R>,
    scratch: &mut Scratch,
    trace: &mut Trace<'e>,
) -> Ended {
    let (_, mut incoming, _) = upstream.halves(&tried.flight.cut);
    let captured = tried.extra.filter(|extra| extra.capture.is_whole());
    let keep = captured.map_or(scratch.request.keep_alive, |extra| extra.keep_alive);
    let keep = Cell::new(keep);
    download_half(writer, tried, &mut incoming, &keep, scratch, trace).await
}

/// Reads the response and relays it to the client. `keep` counts once the final head is here.
async fn download_half<'e, R: Runtime>(
    writer: &mut Writer<R>,
    tried: &Try<'_, 'e, R>,
    upstream: &mut relay::Incoming<'_, R>,
    keep: &Cell<bool>,
    scratch: &mut Scratch,
    trace: &mut Trace<'e>,
) -> Ended {
    let (forward, flight) = (tried.forward, tried.flight);
    let Scratch { request, response, out, .. } = scratch;
    if let Err(failure) = read_final_head(writer, forward, upstream, request, response, out).await {
        return Ended::Failed(failure);
    }
    flight.answered();
    let now = R::now();
    trace.first_byte(now, response.status);
    if tried.extra.is_some() && Box::pin(tried.gives_way(response.status, now)).await {
        return Box::pin(drop_response(upstream, response)).await;
    }
    flight.begun.set(true);
    if response.websocket {
        let mut head = std::mem::take(out);
        head.clear();
        forward.write_interim(response, &mut Text(&mut head));
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
    forward.write_response(request, response, delivery, &mut Text(&mut head));
    let mut body = BodyReader::new(response.framing);
    let mut encoder = BodyWriter::new(delivery.framing);
    match relay::download(writer, upstream, &mut body, &mut encoder, head, &mut trace.bytes_out)
        .await
    {
        Ok(sent) => *out = sent,
        Err(fault) => return failed(fault, true, false),
    }
    flight.begun.set(false);
    Ended::Whole {
        upstream_reusable: response.keep_alive && upstream.is_clean(),
        client_keep: delivery.keep_alive,
    }
}

/// Takes a response that is not for the client out of the way, if that is done in a moment.
async fn drop_response<R: Runtime>(
    upstream: &mut relay::Incoming<'_, R>,
    response: &ResponseHead,
) -> Ended {
    let whole = {
        let discard = relay::discard(upstream, response.framing, DROPPED_BYTES_MAX);
        match race(discard, R::sleep_until(R::now() + DROP_TIME_MAX)).await {
            Either::First(whole) => whole,
            Either::Second(()) => false,
        }
    };
    Ended::Again { upstream_reusable: whole && response.keep_alive && upstream.is_clean() }
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
            forward.write_interim(response, &mut Text(&mut head));
            let gone = Failure { fault: Fault::ClientGone, begun: true, unanswered: false };
            *out = writer.send(head).await.map_err(|_| gone)?;
        }
    }
}

pub(super) fn failed(fault: Fault, begun: bool, unanswered: bool) -> Ended {
    Ended::Failed(Failure { fault, begun, unanswered })
}

/// The body of a response that is not for the client is received up to this size.
const DROPPED_BYTES_MAX: usize = 64 * 1024;
/// And for this time, so that its connection can be used again.
const DROP_TIME_MAX: Duration = Duration::from_millis(50);
