//! One client connection: its two halves, plain or TLS, and its deadlines.
//!
//! [`serve`] is a connection's whole life: TLS handshake if the port has one, then the version of HTTP
//! that the client speaks, or `stream` where its listener relays whole connections. The halves are
//! separate so that a request body and its response can move at once. Invariant: an idle
//! connection holds at most one small block.

mod attempt;
mod authorize;
mod client;
mod exchange;
mod forward;
mod h1;
mod h2;
mod limit;
mod mirror;
mod origin;
mod question;
mod retry;
mod tls;
mod tunnel;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proxy::h2::frame::PREFACE;
use proxy::http::Version;
use proxy::limits;
use runtime::{Abort, Buf, Runtime, Size};

pub(crate) use self::h2::workers::Workers;
use self::origin::Origin;
use self::tls::Greeting;
use crate::arrival::Arrival;
use crate::deadline::Deadline;
use crate::framed::{Framed, Outlet};
use crate::input::Input;
use crate::install::PortKey;
use crate::shard::Shard;
use crate::stream::{self, Kind, Record};
use crate::transport::{RecvHalf, SendHalf};

/// A client connection.
pub(crate) struct Downstream<R: Runtime> {
    reader: Reader<R>,
    writer: Framed<Writer<R>>,
    origin: Origin,
    /// Requests served so far.
    served: u64,
    /// When the last exchange ended.
    last: Option<Instant>,
    /// HTTP/2 was agreed on by ALPN.
    is_h2: bool,
}

/// The receiving half and its deadline.
pub(crate) struct Reader<R: Runtime> {
    half: RecvHalf<R>,
    input: Input,
    /// Idle, head, body rate.
    deadline: Deadline,
}

/// The sending half and its deadline.
pub(crate) struct Writer<R: Runtime> {
    half: SendHalf<R>,
    /// Response stall.
    stall: Deadline,
    /// Over this time the client must keep the least rate while there is something to send.
    stall_window: Duration,
    abort: Abort,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve<R: Runtime>(
    shard: Rc<Shard<R>>,
    port: PortKey,
    connection: (R::Sink, R::Stream, SocketAddr),
) {
    if let Some(arrival) = Arrival::receive(&shard, port, connection).await {
        greet(&shard, port, arrival).await;
    }
    shard.connection_closed();
}

async fn greet<R: Runtime>(shard: &Rc<Shard<R>>, port: PortKey, arrival: Arrival<R>) {
    let Arrival { send, recv, input, peer } = arrival;
    let abort = recv.abort_handle();
    let mut client = Downstream {
        reader: Reader { deadline: shard.deadlines.register(abort.clone()), half: recv, input },
        writer: Framed::new(Writer {
            half: send,
            stall: shard.deadlines.register(abort.clone()),
            stall_window: shard.installed().epoch.settings.timeouts.response_stall,
            abort,
        }),
        origin: Origin { address: peer.ip().to_string(), peer, port, is_tls: false, sni: None },
        served: 0,
        last: None,
        is_h2: false,
    };
    match Box::pin(client.handshake(shard)).await {
        Greeting::Http => match client.version(shard).await {
            Some(Version::Http2) => Box::pin(h2::serve(shard, client)).await,
            Some(Version::Http10 | Version::Http11) => {
                h1::serve(shard, &mut client).await;
                if client.origin.is_tls {
                    Box::pin(client.writer.outlet.tell()).await;
                }
            }
            None => {}
        },
        Greeting::Stream(kind) => Box::pin(relay(shard, client, kind)).await,
        Greeting::Over => {}
    }
}

/// Hands the connection over to be relayed whole.
async fn relay<R: Runtime>(shard: &Rc<Shard<R>>, client: Downstream<R>, kind: Kind) {
    let Downstream { reader, writer, origin, .. } = client;
    let (send, recv, input) = (writer.outlet.half, reader.half, reader.input);
    let Origin { peer, port, sni, .. } = origin;
    let record = Record::start(kind, peer.ip(), sni, R::now());
    let client = Arrival { send, recv, input, peer };
    stream::run(shard, port, client, record).await;
}

impl<R: Runtime> Downstream<R> {
    /// What the client speaks: by ALPN, or by its first bytes where there is no TLS. `None`: the
    /// connection is over.
    async fn version(&mut self, shard: &Shard<R>) -> Option<Version> {
        if self.origin.is_tls {
            return Some(if self.is_h2 { Version::Http2 } else { Version::Http11 });
        }
        self.reader.deadline.set(R::now() + shard.installed().epoch.settings.timeouts.header);
        loop {
            let bytes = self.reader.input.bytes();
            if !bytes.is_empty() && !PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]) {
                return Some(Version::Http11);
            }
            if bytes.len() >= PREFACE.len() {
                return Some(Version::Http2);
            }
            if !matches!(self.reader.fill(Size::Small).await, Ok(true)) {
                return (!self.reader.input.is_empty()).then_some(Version::Http11);
            }
        }
    }
}

impl<R: Runtime> Reader<R> {
    /// Receives more input. False: the client has sent its FIN (or `close_notify`).
    async fn fill(&mut self, size: Size) -> io::Result<bool> {
        self.half.fill(size, &mut self.input).await
    }
}

impl<R: Runtime> Outlet for Writer<R> {
    async fn send(&mut self, out: Vec<u8>) -> io::Result<Vec<u8>> {
        self.pace();
        let out = self.half.send(out).await?;
        self.stall.clear();
        Ok(out)
    }

    async fn send_block(&mut self, before: Vec<u8>, block: Buf) -> io::Result<Vec<u8>> {
        self.pace();
        let before = self.half.send_block(before, block).await?;
        self.stall.clear();
        Ok(before)
    }

    /// Ends the sending side: `close_notify` where there is TLS, then FIN.
    async fn finish(&mut self) -> io::Result<()> {
        self.pace();
        self.half.finish().await?;
        self.stall.clear();
        Ok(())
    }
}

impl<R: Runtime> Writer<R> {
    /// Says what TLS still has to say: why the session failed.
    async fn tell(&mut self) {
        self.pace();
        self.half.flush().await.ok();
        self.stall.clear();
    }

    /// From now until the bytes are out the client must take them at the least rate. Time in which
    /// there is nothing to send is not the client's.
    fn pace(&self) {
        let window = self.stall_window;
        let bytes_min = limits::body_bytes_min(window);
        self.stall.set_pace(window, bytes_min);
    }
}
