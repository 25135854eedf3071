//! HTTP/2 towards the client: the connection's own task, and one more for every stream.
//!
//! The task receives and sends; a stream's exchange runs beside it and never waits for another
//! stream but by what the windows and the output take. Invariant: whatever ends the connection, no
//! exchange is left behind.

mod client;
pub(crate) mod workers;

use std::pin::pin;
use std::rc::Rc;

use proxy::fault::Fault;
use proxy::h2::{ConnectionError, ErrorCode, Local, Server, StreamId};
use proxy::http::RequestHead;
use runtime::{Runtime, Size};

use self::client::StreamClient;
use self::workers::{Job, Workers};
use super::Downstream;
use super::exchange::Exchange;
use super::origin::Origin;
use crate::framed::Framed;
use crate::h2::stream::Stream;
use crate::h2::{self, Clock, Found, Shared};
use crate::race::{both, race, unless};
use crate::report::Http2Counts;
use crate::scratch::Scratch;
use crate::shard::Shard;
use crate::trace::Trace;

/// Serves a connection whose first bytes are in its input to its end.
pub(super) async fn serve<R: Runtime>(shard: &Rc<Shard<R>>, client: Downstream<R>) {
    let Downstream { reader, writer, origin, .. } = client;
    let super::Reader { half, mut input, deadline } = reader;
    let Framed { mut outlet, .. } = writer;
    let timeouts = &shard.installed().epoch.settings.timeouts;
    let clock = Clock::new(deadline, timeouts.client_idle, timeouts);
    let shared = Shared::new(Server::server(Local::default()), clock, outlet.abort.clone());
    let listed = shard.streams.enter(&shared);
    shard.recorder.http2(&Http2Counts { connections: 1, ..Http2Counts::default() });
    let mut connection = Connection { shard, shared, origin: Rc::new(origin), half };
    let shared = Rc::clone(&connection.shared);
    let receiving = async {
        let end = connection.receive(&mut input).await;
        match end {
            End::Gone => shared.gone(),
            End::Said => shared.finish(),
        }
        end
    };
    let sending = async {
        if h2::send(&shared, &mut outlet).await.is_err() {
            outlet.abort.abort();
        }
    };
    let (end, ()) = both(pin!(receiving), pin!(sending)).await;
    drop(listed);
    if end == End::Said {
        // Boxed, as every path that few connections take: it would weigh on each of them.
        Box::pin(connection.linger(&mut input)).await;
    }
}

/// What the connection's task works with.
struct Connection<'c, R: Runtime> {
    shard: &'c Rc<Shard<R>>,
    shared: Rc<Shared<RequestHead>>,
    origin: Rc<Origin>,
    half: crate::transport::RecvHalf<R>,
}

/// How receiving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client has left.
    Gone,
    /// It has been told why.
    Said,
}

impl<R: Runtime> Connection<'_, R> {
    /// Receives until the connection ends.
    async fn receive(&mut self, input: &mut crate::input::Input) -> End {
        let mut size = Size::Small;
        loop {
            // Taken anew each time: an idle connection holds none.
            let mut scratch = self.shard.scratches.take();
            let dispatched = self.dispatch(input, &mut scratch).await;
            self.shard.scratches.give(scratch);
            self.count(dispatched.err().map(|error| error.code));
            if dispatched.is_err() {
                return End::Said;
            }
            let before = input.bytes().len();
            self.shared.with(|state| state.pace(R::now(), before > 0));
            match self.half.fill(size, input).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return self.ended(),
            }
            // What fills a small block is likely to be followed by more.
            let filled = input.bytes().len() - before >= runtime::buf::SMALL_BYTES;
            size = if filled { Size::Large } else { Size::Small };
        }
    }

    /// Deals with all that has arrived. `Err`: the client broke the protocol.
    async fn dispatch(
        &self,
        input: &mut crate::input::Input,
        scratch: &mut Box<Scratch>,
    ) -> Result<(), ConnectionError> {
        let now = R::now();
        loop {
            match self.shared.digest(input, &mut scratch.request, now)? {
                Found::Nothing => return Ok(()),
                Found::Choked => self.shared.relieved().await,
                Found::Head { stream, .. } => self.begin(stream, scratch, None),
                Found::Refused { stream, why } => {
                    self.begin(stream, scratch, Some(Fault::Malformed(why.status())));
                }
            }
        }
    }

    fn count(&self, error: Option<ErrorCode>) {
        let mut tally = self.shared.take_tally();
        match error {
            None => {}
            Some(ErrorCode::EnhanceYourCalm) => tally.abusive += 1,
            Some(_) => tally.broken += 1,
        }
        self.shard.recorder.http2(&tally);
    }

    fn begin(&self, id: StreamId, scratch: &mut Box<Scratch>, refused: Option<Fault>) {
        if self.shard.is_draining() {
            self.shared.drain(); // It came during the drain: its answer is the last, or nearly.
        }
        let scratch = std::mem::replace(scratch, self.shard.scratches.take());
        let stream = Stream::new(Rc::clone(&self.shared), id);
        let origin = Rc::clone(&self.origin);
        Workers::serve(self.shard, Job { stream, origin, scratch, refused });
    }

    /// Nothing more comes: because the client ended, or because we did.
    fn ended(&self) -> End {
        let (end, error) = self.shared.with(|state| {
            let error = state.is_unsettled().then_some(ErrorCode::SettingsTimeout);
            if state.is_late() {
                state.engine.go_away(error.unwrap_or(ErrorCode::NoError));
                return (End::Said, error);
            }
            (if state.engine.is_drained() { End::Said } else { End::Gone }, None)
        });
        self.count(error);
        end
    }

    /// Takes what the client still sends for a moment, so that no reset destroys what it was told.
    async fn linger(&mut self, input: &mut crate::input::Input) {
        let mut taken = 0;
        let rest = async {
            while taken < super::h1::LINGER_BYTES_MAX
                && matches!(self.half.fill(Size::Small, input).await, Ok(true))
            {
                let length = input.bytes().len();
                taken += length;
                input.consume(length);
            }
        };
        race(pin!(rest), pin!(R::sleep_until(R::now() + super::h1::LINGER))).await;
    }
}

/// The life of one stream.
async fn run<R: Runtime>(shard: &Rc<Shard<R>>, job: Job) {
    let Job { stream, origin, mut scratch, refused } = job;
    let installed = shard.installed(); // Pinned: this exchange sees one epoch.
    let mut trace = Trace::start(R::now());
    let mut client = StreamClient::new(shard, &installed, stream.clone(), origin);
    client.settle(&mut scratch.request);
    // A stream that is over before its turn costs no backend anything.
    let abandoned = if let Some(end) = stream.end() {
        Some(end)
    } else {
        let mut exchange = Exchange {
            shard,
            installed: &installed,
            client: &mut client,
            scratch: &mut scratch,
            trace: &mut trace,
        };
        let exchange = pin!(async {
            match refused {
                Some(fault) => Box::pin(exchange.refuse(fault)).await,
                None => exchange.run().await,
            }
        });
        unless(exchange, |cx| stream.poll_abandoned(cx)).await.err()
    };
    if let Some(end) = abandoned {
        let malformed = end == h2::End::Malformed;
        trace.fault = Some(if malformed { Fault::Malformed(400) } else { Fault::ClientGone });
        trace.bytes_out = client.sent();
    }
    let now = trace.done.unwrap_or_else(R::now);
    stream.forget(now);
    shard.recorder.exchange(&trace, now, &scratch.request, client.address(), &installed);
    shard.scratches.give(scratch);
}
