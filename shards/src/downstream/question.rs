//! One question to an authorization server, and its answer.
//!
//! It goes over the connections that requests go over. A server that cannot have seen the question is
//! asked again, elsewhere if it has another endpoint. Invariant: what is not understood is no verdict.

use std::cell::Cell;
use std::time::Instant;

use proxy::auth::{Auth, Question, Reply, Verdict};
use proxy::exchange::{Ask, Client, Server};
use proxy::fault::Fault;
use proxy::http::{Framing, HeadWriter, Method, RequestHead, ResponseHead};
use proxy::ir::AuthProtocol;
use proxy::limits;
use runtime::Runtime;

use super::forward::ATTEMPTS_MAX;
use crate::arrival::Peer;
use crate::capture::gather;
use crate::install::Installed;
use crate::shard::Shard;
use crate::upstream::{
    self, Acquired, Answers, AtHand, Backend, Destination, InFlight, NoHead, WriteHead,
};

/// What is asked, by which filter.
pub(super) struct Asked<'a, 'e> {
    pub(super) ask: &'a Ask<'e>,
    pub(super) auth: &'a Auth,
    pub(super) head: &'a RequestHead,
    pub(super) client: Client<'a>,
    pub(super) peer: &'a Peer,
    pub(super) body: &'a [u8],
    /// When there must be a connection at the latest.
    pub(super) limit: Instant,
}

/// Why there is no verdict.
enum Failure {
    /// The server did nothing yet.
    Again,
    /// That is all that can be said.
    Final(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Final(fault)
    }
}

/// Counts a question for as long as it lasts.
struct Seat<'s>(&'s Cell<u32>);

impl<'s> Seat<'s> {
    fn take(questions: &'s Cell<u32>) -> Result<Self, Fault> {
        if questions.get() >= limits::AUTH_IN_FLIGHT_MAX {
            return Err(Fault::AuthFailed);
        }
        questions.set(questions.get() + 1);
        Ok(Self(questions))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The head of a question, to be written in whatever version its server speaks.
struct Head<'h> {
    question: &'h Question<'h>,
    length: usize,
}

impl WriteHead for Head<'_> {
    fn method(&self) -> Method {
        method(self.question.auth, self.question.head)
    }

    fn write_to(&self, out: &mut impl HeadWriter) {
        self.question.write_head(self.length, out);
    }
}

impl Asked<'_, '_> {
    /// Asks, until there is an answer or nobody is left to ask.
    pub(super) async fn put<R: Runtime>(
        &self,
        shard: &std::rc::Rc<Shard<R>>,
        installed: &Installed,
    ) -> Result<Verdict, Fault> {
        let _seat = Seat::take(&shard.questions)?;
        let mut not = None;
        for _ in 0..ATTEMPTS_MAX {
            let now = R::now();
            let server = self.ask.server(self.auth, &mut shard.local.borrow_mut(), not, now)?;
            not = Some(server.endpoint);
            let Server { backend, address, .. } = server;
            let (listener, client) = (self.ask.listener(), self.peer);
            let to = Destination { backend, address, listener, client };
            let mut flight = InFlight::begin(shard, installed, server.endpoint);
            let limit = Some(self.limit);
            let verdict = match upstream::acquire(shard, installed, to, true, now, limit).await {
                Err(fault) => {
                    flight.failed(fault);
                    continue;
                }
                Ok(Acquired::Http1(upstream)) => self.put_on(&server, flight, upstream).await,
                Ok(Acquired::Http2(upstream)) => self.put_on(&server, flight, upstream).await,
            };
            match verdict {
                Ok(verdict) => return Ok(verdict),
                Err(Failure::Again) => {}
                Err(Failure::Final(fault)) => return Err(fault),
            }
        }
        Err(Fault::AuthFailed)
    }

    async fn put_on<R: Runtime, U: Backend<R>>(
        &self,
        server: &Server<'_>,
        mut flight: InFlight<'_, R>,
        mut upstream: U,
    ) -> Result<Verdict, Failure> {
        let question = self.ask.question(self.auth, server, self.head, self.client, self.body);
        let content = question.content();
        let head = Head { question: &question, length: content.len() };
        let framing = Framing::Length(content.len() as u64);
        let body = Some(AtHand { bytes: &content, trailers: b"" });
        let sent = upstream.send(&head, framing, body).await;
        // The answer may be there although not all went out.
        if sent.is_err() && (upstream.is_reused() || upstream.is_unprocessed()) {
            return Err(Failure::Again);
        }
        let cut = Cell::new(None);
        let answer = {
            let (_, mut incoming) = upstream.halves(&cut);
            let answer = self.answer(&question, &flight, &mut incoming).await;
            answer.map(|(verdict, response)| (verdict, incoming.is_reusable(&response)))
        };
        match answer {
            Ok((verdict, reusable)) => {
                flight.whole(upstream, reusable && sent.is_ok(), R::now());
                verdict
            }
            Err(why) => {
                let unseen = upstream.is_reused() && why == NoHead::Unanswered;
                if unseen || upstream.is_unprocessed() {
                    return Err(Failure::Again);
                }
                flight.failed(match why {
                    NoHead::Malformed => Fault::UpstreamMalformed,
                    NoHead::Unanswered | NoHead::Cut => Fault::UpstreamReset,
                });
                Err(Failure::Final(Fault::AuthFailed))
            }
        }
    }

    /// Reads the answer.
    async fn answer<R: Runtime>(
        &self,
        question: &Question<'_>,
        flight: &InFlight<'_, R>,
        incoming: &mut impl Answers,
    ) -> Result<(Result<Verdict, Failure>, ResponseHead), NoHead> {
        let method = method(self.auth, self.head);
        let response = final_head(incoming, method).await?;
        flight.answered();
        let body =
            gather(incoming, limits::AUTH_ANSWER_BYTES_MAX).await.map_err(|_| NoHead::Cut)?;
        let Some(body) = body else { return Ok((Err(Fault::AuthFailed.into()), response)) };
        let reply = Reply { head: &response, body: &body.bytes, trailers: &body.trailers };
        let verdict = question.verdict(reply).map_err(|refusal| refusal.0.into());
        Ok((verdict, response))
    }
}

/// What a question about `head` is asked by.
fn method(auth: &Auth, head: &RequestHead) -> Method {
    match auth.protocol {
        AuthProtocol::Http { .. } => head.method,
        AuthProtocol::Grpc { .. } => Method::Post,
    }
}

/// The head behind the interim ones.
async fn final_head(upstream: &mut impl Answers, method: Method) -> Result<ResponseHead, NoHead> {
    let request = RequestHead { method, ..RequestHead::default() };
    let mut response = ResponseHead::default();
    for _ in 0..=limits::INTERIM_RESPONSES_MAX {
        upstream.head(&request, &mut response).await?;
        if !response.is_interim() {
            return Ok(response);
        }
    }
    Err(NoHead::Malformed)
}
