//! The task of a connection of HTTP/2 to a backend: opens it, receives, sends, and sees it end.
//!
//! Invariant: it is in the pool from the backend's first SETTINGS until no stream may begin on it.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use proxy::fault::Fault;
use proxy::h2::{Client, ErrorCode, Local};
use proxy::http::ResponseHead;
use proxy::limits::H2_BACKEND_WINDOW_BYTES;
use runtime::{Abort, Runtime, Size};

use super::pool::Opening;
use crate::h2::stream::Stream;
use crate::h2::{self, Clock, Found, Shared};
use crate::input::Input;
use crate::race::{both, race};
use crate::shard::Shard;
use crate::transport::RecvHalf;
use crate::upstream::open::{self, Opened};
use crate::upstream::origin::Origin;

/// Opens a connection and serves it to its end.
pub(super) async fn run<R: Runtime>(shard: Rc<Shard<R>>, origin: Origin, opening: Rc<Opening>) {
    let installed = shard.installed();
    let opened = match open::open(&shard, &installed, &origin, None).await {
        Ok(opened) => opened,
        Err(fault) => return shard.multiplexed.opened(&origin, &opening, Err(fault)),
    };
    let Opened { mut send, recv, mut input, abort } = opened;
    let timeouts = &installed.epoch.settings.timeouts;
    let deadline = shard.deadlines.register(abort.clone());
    let clock = Clock::new(deadline, timeouts.upstream_idle, timeouts);
    // No client that takes its response slowly may hold up the streams of others.
    let local = Local { connection_window: H2_BACKEND_WINDOW_BYTES, ..Local::default() };
    let shared = Shared::new(Client::client(local), clock, abort.clone());
    let mut connection = Connection {
        shard: &shard,
        origin: &origin,
        shared: &shared,
        opening: Some(opening),
        half: recv,
    };
    let receiving = async {
        connection.receive(&mut input).await;
        connection.close();
    };
    let sending = async {
        if h2::send(&shared, &mut send).await.is_err() {
            abort.abort();
        }
    };
    let (receiving, sending) = (pin!(receiving), pin!(sending));
    race(pin!(both(receiving, sending)), pin!(look_after::<R>(&shared, &abort))).await;
}

struct Connection<'c, R: Runtime> {
    shard: &'c Rc<Shard<R>>,
    origin: &'c Origin,
    shared: &'c Rc<Shared<ResponseHead>>,
    /// Those who wait for it.
    opening: Option<Rc<Opening>>,
    half: RecvHalf<R>,
}

impl<R: Runtime> Connection<'_, R> {
    async fn receive(&mut self, input: &mut Input) {
        let mut head = ResponseHead::default();
        let mut size = Size::Small;
        loop {
            if self.dispatch(input, &mut head).await.is_err() {
                return;
            }
            let before = input.bytes().len();
            self.shared.with(|state| state.pace(R::now(), before > 0));
            if !matches!(self.half.fill(size, input).await, Ok(true)) {
                self.shared.with(|state| {
                    if state.is_unsettled() {
                        state.engine.go_away(ErrorCode::SettingsTimeout);
                    }
                });
                return;
            }
            let filled = input.bytes().len() - before >= runtime::buf::SMALL_BYTES;
            size = if filled { Size::Large } else { Size::Small };
        }
    }

    /// Deals with all that has arrived. `Err`: the backend broke the protocol.
    async fn dispatch(&mut self, input: &mut Input, head: &mut ResponseHead) -> Result<(), ()> {
        let now = R::now();
        loop {
            let found = self.shared.digest(input, head, now).map_err(|_| ())?;
            if self.opening.is_some() && self.shared.is_established() {
                self.ready();
            }
            match found {
                Found::Nothing => return Ok(()),
                Found::Choked => self.shared.relieved().await,
                Found::Head { stream, end } => {
                    Stream::new(Rc::clone(self.shared), stream).put_head(head, end);
                }
                // Only clients refuse requests.
                Found::Refused { .. } => {}
            }
        }
    }

    fn ready(&mut self) {
        if let Some(opening) = self.opening.take() {
            self.shard.multiplexed.opened(self.origin, &opening, Ok(self.shared));
        }
    }

    fn close(&mut self) {
        self.shard.multiplexed.remove(self.origin, self.shared);
        if let Some(opening) = self.opening.take() {
            let fault = Fault::UpstreamMalformed;
            self.shard.multiplexed.opened(self.origin, &opening, Err(fault));
        }
        self.shared.finish();
    }
}

/// Asks a backend that is silent while requests wait for a sign of life; ends when there is none.
async fn look_after<R: Runtime>(shared: &Rc<Shared<ResponseHead>>, abort: &Abort) {
    loop {
        R::sleep_until(R::now() + LOOK_TIME).await;
        if !shared.with(|state| state.look(R::now())) {
            abort.abort();
        }
    }
}

const LOOK_TIME: Duration = Duration::from_secs(3);
