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
use proxy::http::{RequestHead, ResponseHead, Version};
use proxy::limits;
use runtime::Runtime;

use super::client::{Client, Respond};
use super::exchange::{Exchange, Said};
use super::h1::LINGER;
use super::retry::Extra;
use crate::capture;
use crate::cut::Cut;
use crate::install::Installed;
use crate::race::{Either, beside, race};
use crate::relay::{self, UploadEnd};
use crate::scratch::Scratch;
use crate::trace::Trace;
use crate::upstream::{Answers, AtHand, Backend, InFlight, NoHead, Outgoing};

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
    /// The backend said that it did nothing for it.
    pub(super) unprocessed: bool,
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
    /// The request never went out.
    pub(super) fn unsent(fault: Fault) -> Self {
        Self { fault, begun: false, unanswered: true, unprocessed: false }
    }

    /// Whether a rule's retry is meant for it: the client has nothing yet, and another try may go
    /// better.
    pub(super) fn is_transient(&self) -> bool {
        let transient = match self.fault {
            Fault::ConnectFailed
            | Fault::ConnectTimeout
            | Fault::UpstreamTls(_)
            | Fault::BackendTimeout => true,
            Fault::UpstreamReset => self.unanswered || self.unprocessed,
            _ => false,
        };
        transient && !self.begun
    }
}

impl<'e, R: Runtime> Try<'_, 'e, R> {
    /// Names the reason of our own for a failure that we brought about.
    fn explain(&self, ended: Ended) -> Ended {
        match (&ended, self.flight.cut_by()) {
            (Ended::Failed(failure), Some(fault)) => failed(fault, failure.begun, false),
            _ => ended,
        }
    }

    /// A body that an earlier try left here.
    fn captured(&self) -> Option<capture::Body> {
        self.extra.filter(|_| self.here.is_none())?.capture.whole()
    }

    /// An uploaded request is out in whole.
    fn uploaded(&self, client: Cut, upstream: Cut) {
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

    /// Whether the rest of the body must be received before a failure is told: it calls for another
    /// try.
    fn waits_for_rest(&self, ended: &Ended) -> Option<&Extra<'e>> {
        let transient = matches!(ended, Ended::Failed(failure) if failure.is_transient());
        self.extra.filter(|extra| transient && extra.another)
    }
}

/// Receives the rest of a body for another try.
async fn rest_of<R: Runtime, U: Future>(
    extra: &Extra<'_>,
    upload: Pin<&mut U>,
) -> Option<U::Output> {
    match race(upload, pin!(extra.body_is_at_hand::<R>())).await {
        Either::First(end) => Some(end),
        Either::Second(_) => None,
    }
}

/// Goes on listening to a client that still sends, until it has its answer.
async fn linger<R: Runtime, U: Future>(upload: Pin<&mut U>) {
    race(upload, pin!(R::sleep_until(R::now() + LINGER))).await;
}

impl<'e, R: Runtime, C: Client<R>> Exchange<'_, 'e, R, C> {
    /// One try on one upstream connection or stream.
    pub(super) async fn attempt<U: Backend<R>>(
        &mut self,
        tried: &Try<'_, 'e, R>,
        upstream: &mut U,
    ) -> Ended {
        if !upstream.takes(&self.scratch.request) {
            return failed(Fault::HeadTooLarge(431), false, false);
        }
        upstream.lend(&mut self.scratch.upload);
        let ended = self.attempt_with(tried, upstream).await;
        upstream.lend(&mut self.scratch.upload);
        match ended {
            Ended::Failed(failure) if !failure.begun && upstream.is_unprocessed() => {
                Ended::Failed(Failure { unprocessed: true, ..failure })
            }
            ended => ended,
        }
    }

    async fn attempt_with<U: Backend<R>>(
        &mut self,
        tried: &Try<'_, 'e, R>,
        upstream: &mut U,
    ) -> Ended {
        let request = &self.scratch.request;
        let client = self.client.origin().client();
        let head = Outgoing { forward: tried.forward, head: request, client };
        let captured = tried.captured();
        let body = match (tried.here, &captured) {
            (Some(length), _) => Some(AtHand { bytes: self.client.here(length), trailers: b"" }),
            (None, captured) => captured.as_ref().map(capture::Body::at_hand),
        };
        self.trace.bytes_in = body.map_or(0, |body| body.bytes.len() as u64);
        let with_head = body.is_some();
        // The answer may be there although not all went out (a 413, say): look before giving up.
        let sent = upstream.send(&head, request.framing, body).await;
        if sent.is_err() && (upstream.is_reused() || upstream.is_unprocessed()) {
            return tried.explain(failed(Fault::UpstreamReset, false, true));
        }
        if !with_head {
            // Boxed, as every path that few requests take: it would weigh on each idle connection.
            return Box::pin(self.stream_both(tried, upstream)).await;
        }
        tried.flight.waits(self.client.cut(), upstream.cut());
        let ended = tried.explain(self.download(tried, upstream).await);
        // After a failure the body stays, for another try or for the answer to skip.
        if let Some(length) = tried.here
            && !matches!(ended, Ended::Failed(_) | Ended::Again { .. })
        {
            self.client.take_here(length);
        }
        ended
    }

    /// Downloads with no upload beside it.
    async fn download<U: Backend<R>>(&mut self, tried: &Try<'_, 'e, R>, upstream: &mut U) -> Ended {
        let (_, mut incoming) = upstream.halves(&tried.flight.cut);
        let captured = tried.extra.filter(|extra| extra.capture.is_whole());
        let keep = captured.map_or(self.scratch.request.keep_alive, |extra| extra.keep_alive);
        let (client, keep) = (self.client.response(), Cell::new(keep));
        download_half(client, tried, &mut incoming, &keep, self.scratch, self.trace).await
    }

    /// Uploads the request body beside the download of the response.
    async fn stream_both<U: Backend<R>>(
        &mut self,
        tried: &Try<'_, 'e, R>,
        upstream: &mut U,
    ) -> Ended {
        let (flight, scratch, trace) = (tried.flight, &mut *self.scratch, &mut *self.trace);
        let (cut, client_cut) = (upstream.cut(), self.client.cut());
        let (sink, mut incoming) = upstream.halves(&flight.cut);
        // From here on the body is partly read: no answer of ours may keep the connection.
        let keep_alive = std::mem::take(&mut scratch.request.keep_alive);
        let mut moved = 0;
        let task = relay::Upload {
            moved: &mut moved,
            upstream: cut.clone(),
            cut: &flight.cut,
            capture: tried.extra.map(|extra| &extra.capture),
        };
        let window = flight.installed.epoch.settings.timeouts.body_rate_window;
        let (mut body, response) = self.client.halves(scratch.request.framing, window);
        let keep = Cell::new(false);
        let (ended, upload) = {
            let mut upload = pin!(async {
                let end = relay::upload(&mut body, sink, task).await;
                // Only a request that is in whole may be followed by another one.
                if matches!(end, UploadEnd::Whole) {
                    keep.set(keep_alive);
                    tried.uploaded(client_cut, cut.clone());
                }
                end
            });
            let (ended, mut end) = {
                let half = download_half(response, tried, &mut incoming, &keep, scratch, trace);
                beside(pin!(half), upload.as_mut()).await
            };
            let mut ended = tried.explain(ended);
            if end.is_none() {
                cut.end();
                if let Some(extra) = tried.waits_for_rest(&ended) {
                    // Boxed, as all that few uploads need: it would weigh on each of them.
                    end = Box::pin(rest_of::<R, _>(extra, upload.as_mut())).await;
                }
                ended = tried.explain(ended);
            }
            if end.is_none() && ended.is_sayable() {
                // The response overtook the body: end the upload by its backend, not half-way, so
                // that the client can be listened to until it has the answer.
                ended = overtake(response, ended, flight.installed, scratch, trace).await;
                if C::LINGERS {
                    Box::pin(linger::<R, _>(upload)).await;
                }
            }
            (ended, end)
        };
        trace.bytes_in = moved;
        match (ended, upload) {
            (ended, Some(UploadEnd::Whole)) => ended,
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

/// Says all there is to say, and that nothing follows, while the request's body is still coming.
async fn overtake(
    client: &mut impl Respond,
    ended: Ended,
    installed: &Installed,
    scratch: &Scratch,
    trace: &mut Trace<'_>,
) -> Ended {
    let ended = match ended {
        Ended::Failed(Failure { fault, .. }) => {
            let said = Said { fault, fields: None, content: None, keep: false };
            said.send(client, installed, scratch, trace).await.ok();
            Ended::Answered(fault)
        }
        said @ (Ended::Whole { .. }
        | Ended::Switched
        | Ended::Again { .. }
        | Ended::Answered(_)) => said,
    };
    client.finish().await;
    ended
}

/// Reads the response and relays it to the client. `keep` counts once the final head is here.
async fn download_half<'e, R: Runtime>(
    client: &mut impl Respond,
    tried: &Try<'_, 'e, R>,
    upstream: &mut impl Answers,
    keep: &Cell<bool>,
    scratch: &mut Scratch,
    trace: &mut Trace<'e>,
) -> Ended {
    let (forward, flight) = (tried.forward, tried.flight);
    let Scratch { request, response, edits, .. } = scratch;
    if let Err(failure) = read_final_head(client, forward, upstream, request, response).await {
        return Ended::Failed(failure);
    }
    flight.answered();
    let now = R::now();
    trace.first_byte(now, response.status);
    if tried.extra.is_some() && Box::pin(tried.gives_way(response.status, now)).await {
        return Box::pin(drop_response::<R>(upstream, response)).await;
    }
    if !edits.is_empty() && edits.iter().any(|edits| edits.apply_to_response(response).is_err()) {
        return failed(Fault::AuthFailed, false, false);
    }
    if !client.takes(response) {
        return failed(Fault::HeadTooLarge(502), false, false);
    }
    flight.begun.set(true);
    if response.websocket {
        return match client.interim(forward, response).await {
            Ok(()) => Ended::Switched,
            Err(_) => failed(Fault::ClientGone, true, false),
        };
    }
    let delivery = Delivery::of(request, response, keep.get() && flight.may_keep());
    let relayed = match client.begin(forward, (request, response), delivery).await {
        Ok(()) => relay::download(upstream, client).await,
        Err(_) => Err(Fault::ClientGone),
    };
    trace.bytes_out = client.sent();
    if let Err(fault) = relayed {
        return failed(fault, true, false);
    }
    flight.begun.set(false);
    Ended::Whole {
        upstream_reusable: upstream.is_reusable(response),
        client_keep: delivery.keep_alive,
    }
}

/// Takes a response that is not for the client out of the way, if that is done in a moment.
async fn drop_response<R: Runtime>(upstream: &mut impl Answers, response: &ResponseHead) -> Ended {
    let whole = {
        let discard = relay::discard(upstream, DROPPED_BYTES_MAX);
        match race(pin!(discard), pin!(R::sleep_until(R::now() + DROP_TIME_MAX))).await {
            Either::First(whole) => whole,
            Either::Second(()) => false,
        }
    };
    Ended::Again { upstream_reusable: whole && upstream.is_reusable(response) }
}

/// Reads up to the final response head, passing interim responses on.
async fn read_final_head(
    client: &mut impl Respond,
    forward: &Forward<'_>,
    upstream: &mut impl Answers,
    request: &RequestHead,
    response: &mut ResponseHead,
) -> Result<(), Failure> {
    let failure =
        |fault, unanswered| Failure { fault, begun: false, unanswered, unprocessed: false };
    for interim in 0..=limits::INTERIM_RESPONSES_MAX {
        upstream.head(request, response).await.map_err(|why| match why {
            NoHead::Malformed => failure(Fault::UpstreamMalformed, false),
            NoHead::Unanswered => failure(Fault::UpstreamReset, interim == 0),
            NoHead::Cut => failure(Fault::UpstreamReset, false),
        })?;
        if !response.is_interim() {
            return Ok(());
        }
        if interim < limits::INTERIM_RESPONSES_MAX && request.version != Version::Http10 {
            let gone = |_| Failure { begun: true, ..failure(Fault::ClientGone, false) };
            client.interim(forward, response).await.map_err(gone)?;
        }
    }
    Err(failure(Fault::UpstreamMalformed, false))
}

pub(super) fn failed(fault: Fault, begun: bool, unanswered: bool) -> Ended {
    Ended::Failed(Failure { fault, begun, unanswered, unprocessed: false })
}

/// The body of a response that is not for the client is received up to this size.
const DROPPED_BYTES_MAX: usize = 64 * 1024;
/// And for this time, so that its connection can be used again.
const DROP_TIME_MAX: Duration = Duration::from_millis(50);
