//! Abusive connections: opened, driven and held until the time is over.
//!
//! One thread drives all of them; `abuse` samples the gateway meanwhile on another. Invariant: a
//! slot has one connection at a time, opens the next no sooner than its pace permits, and all of
//! them together send no more than [`TOTAL_BYTES_MAX`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::ending::{End, Said};
use super::kinds::{Bytes, Kind, Script};
use super::tls;

/// What all connections of one kind send together at most.
pub(super) const TOTAL_BYTES_MAX: u64 = 256 << 20;
/// A slot opens its next connection so long after the one before, at the earliest.
const RECONNECT_EVERY: Duration = Duration::from_millis(100);
/// The same where opening connections is the abuse.
const CHURN_EVERY: Duration = Duration::from_millis(10);
/// Between the datagrams of a slot.
const DATAGRAM_EVERY: Duration = Duration::from_millis(1);
const DATAGRAM: [u8; 32] = [b'u'; 32];
/// What is read at the end of a connection that was not read, to see how it ended.
const DRAIN_BYTES_MAX: usize = 16 << 20;
/// Nothing comes any more after this time: what the kernel still holds comes sooner.
const DRAIN_TIME: Duration = Duration::from_millis(300);

/// What was sent, for whoever watches.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// By all.
    pub(super) sent: AtomicU64,
    /// By those that have not ended.
    pub(super) live: AtomicU64,
}

/// One connection's share of a meter.
struct Sent<'a> {
    meter: &'a Meter,
    own: AtomicU64,
}

impl<'a> Sent<'a> {
    fn new(meter: &'a Meter) -> Self {
        Self { meter, own: AtomicU64::new(0) }
    }

    fn add(&self, bytes: usize) {
        for counter in [&self.meter.sent, &self.meter.live, &self.own] {
            counter.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.meter.live.fetch_sub(*self.own.get_mut(), Ordering::Relaxed);
    }
}

/// A connection that was.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// How it ended.
    pub(super) end: String,
    /// When, counted from its start.
    pub(super) lived: Duration,
}

/// Abuses `at` for `length`; returns when all connections have ended.
pub(super) fn run(
    kind: Kind,
    slots: usize,
    at: SocketAddr,
    length: Duration,
    meter: &Arc<Meter>,
) -> io::Result<Vec<Life>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let until = Instant::now() + length;
        let mut tasks = JoinSet::new();
        for _ in 0..slots {
            tasks.spawn(slot(kind, at, until, Arc::clone(meter)));
        }
        let mut lives = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            lives.extend(ended.map_err(io::Error::other)?);
        }
        Ok(lives)
    })
}

/// One connection after the other.
async fn slot(kind: Kind, at: SocketAddr, until: Instant, meter: Arc<Meter>) -> Vec<Life> {
    if let Script::Sessions(count) = kind.script {
        return sessions(count, at, until, &meter).await;
    }
    let pace = match kind.script {
        Script::Bytes(_) | Script::KeyUpdates(_) => RECONNECT_EVERY,
        Script::AbortHandshake | Script::Churn | Script::Sessions(_) => CHURN_EVERY,
    };
    let mut lives = Vec::new();
    while Instant::now() < until && meter.sent.load(Ordering::Relaxed) < TOTAL_BYTES_MAX {
        let begun = Instant::now();
        let mut said = Said::new(kind.protocol);
        let end = one(kind, at, until, &Sent::new(&meter), &mut said).await;
        lives.push(Life { end: said.ended(end), lived: begun.elapsed() });
        sleep_until((begun + pace).min(until)).await;
    }
    lives
}

async fn one(kind: Kind, at: SocketAddr, until: Instant, sent: &Sent<'_>, said: &mut Said) -> End {
    let mut stream = match timeout_at(until, TcpStream::connect(at)).await {
        Ok(Ok(stream)) if stream.set_nodelay(true).is_ok() => stream,
        Ok(_) => return End::Refused,
        Err(_) => return End::Open,
    };
    let done = match kind.script {
        Script::Bytes(bytes) => return drive(bytes, &mut stream, until, sent, said).await,
        Script::Churn | Script::Sessions(_) => Ok(Ok(reset(&stream))),
        Script::AbortHandshake => timeout_at(until, abort_handshake(&mut stream, sent)).await,
        Script::KeyUpdates(count) => {
            timeout_at(until, key_updates(count, &mut stream, sent, said)).await
        }
    };
    match done {
        Ok(Ok(end)) => end,
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => End::Closed,
        Ok(Err(_)) => End::Reset,
        Err(_) => End::Open,
    }
}

/// Sends and, where the kind does, reads, until the gateway ends it or the time is over.
async fn drive(
    bytes: Bytes,
    stream: &mut TcpStream,
    until: Instant,
    sent: &Sent<'_>,
    said: &mut Said,
) -> End {
    let (mut reader, mut writer) = stream.split();
    let end = {
        let sending = async {
            let cut = send_all(bytes, &mut writer, sent).await.is_err();
            if cut && !bytes.reads {
                return;
            }
            // The reader sees how it ended, or it is held.
            std::future::pending::<()>().await;
        };
        let reading = async {
            if bytes.reads {
                return read_to_end(&mut reader, said).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            end = reading => end,
            () = sending => End::Reset,
            () = sleep_until(until) => End::Open,
        }
    };
    if end == End::Open && !bytes.reads { drain(&mut reader, said).await } else { end }
}

async fn send_all(bytes: Bytes, writer: &mut WriteHalf<'_>, sent: &Sent<'_>) -> io::Result<()> {
    let mut left = bytes.budget;
    let mut next = (bytes.opening)();
    for n in 0.. {
        left -= next.len();
        let mut rest = &next[..];
        while !rest.is_empty() {
            let taken = writer.write(rest).await?;
            sent.add(taken);
            rest = &rest[taken..];
        }
        let Some(block) = (bytes.block)(n).filter(|block| block.len() <= left) else { break };
        next = block;
        if !bytes.every.is_zero() {
            sleep(bytes.every).await;
        }
    }
    Ok(())
}

async fn read_to_end(reader: &mut ReadHalf<'_>, said: &mut Said) -> End {
    let mut block = vec![0; 16 * 1024];
    loop {
        match reader.read(&mut block).await {
            Ok(0) => return End::Closed,
            Ok(n) => said.take(&block[..n]),
            Err(_) => return End::Reset,
        }
    }
}

/// How a connection stands that was not read so far.
async fn drain(reader: &mut ReadHalf<'_>, said: &mut Said) -> End {
    let mut block = vec![0; 64 * 1024];
    let mut read = 0;
    while read < DRAIN_BYTES_MAX {
        match timeout_at(Instant::now() + DRAIN_TIME, reader.read(&mut block)).await {
            Ok(Ok(0)) => return End::Closed,
            Ok(Ok(n)) => {
                said.take(&block[..n]);
                read += n;
            }
            Ok(Err(_)) => return End::Reset,
            Err(_) => return End::Open,
        }
    }
    End::Open
}

/// Makes the end of `stream` a reset.
fn reset(stream: &TcpStream) -> End {
    // Without the option it ends in order, which is abuse enough.
    let _unset = set_socket_linger(stream, Some(Duration::ZERO));
    End::Left
}

async fn send(bytes: &[u8], stream: &mut TcpStream, sent: &Sent<'_>) -> io::Result<()> {
    stream.write_all(bytes).await?;
    sent.add(bytes.len());
    Ok(())
}

async fn abort_handshake(stream: &mut TcpStream, sent: &Sent<'_>) -> io::Result<End> {
    let mut session = tls::session()?;
    send(&tls::pending(&mut session)?, stream, sent).await?;
    match stream.read(&mut [0; 16]).await? {
        0 => Ok(End::Closed),
        _ => Ok(reset(stream)),
    }
}

async fn key_updates(
    count: u32,
    stream: &mut TcpStream,
    sent: &Sent<'_>,
    said: &mut Said,
) -> io::Result<End> {
    let mut session = tls::session()?;
    let mut block = vec![0; 16 * 1024];
    loop {
        send(&tls::pending(&mut session)?, stream, sent).await?;
        if !session.is_handshaking() {
            break;
        }
        let n = stream.read(&mut block).await?;
        if n == 0 {
            return Ok(End::Closed);
        }
        tls::take_in(&mut session, &block[..n])?;
    }
    for _ in 0..count {
        session.refresh_traffic_keys().map_err(io::Error::other)?;
        send(&tls::pending(&mut session)?, stream, sent).await?;
        match stream.try_read(&mut block) {
            Ok(0) => return Ok(End::Closed),
            Ok(n) => tls::take_in(&mut session, &block[..n])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let (mut reader, _) = stream.split();
    Ok(read_to_end(&mut reader, said).await)
}

/// Datagrams, each from a port of its own.
async fn sessions(count: u32, at: SocketAddr, until: Instant, meter: &Meter) -> Vec<Life> {
    let sent = Sent::new(meter);
    let mut lives = Vec::new();
    for _ in 0..count {
        if Instant::now() >= until {
            break;
        }
        let begun = Instant::now();
        let end = match datagram(at).await {
            Ok(bytes) => {
                sent.add(bytes);
                End::Left
            }
            Err(_) => End::Refused,
        };
        let said = Said::new(super::kinds::Protocol::Udp);
        lives.push(Life { end: said.ended(end), lived: begun.elapsed() });
        sleep(DATAGRAM_EVERY).await;
    }
    // What was sent counts as long as the sessions last.
    sleep_until(until).await;
    lives
}

async fn datagram(at: SocketAddr) -> io::Result<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.send_to(&DATAGRAM, at).await
}
