//! A blocking client that holds its connection: HTTP/1.1 or HTTP/2, plain or TLS, one small request
//! now and then.
//!
//! Not for load. Called by `idle`. Invariant: an answer is complete or an error, and afterwards
//! nothing is owed to the server, so that an idle connection is idle.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use proxy::h2::{Client, Event, Local};
use proxy::http::{Method, ResponseHead};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::frames::Frames;
use crate::probe;

/// What is asked for.
const HOST: &str = "h0.example.com";
const PATH: &str = "/api/v1/s";
/// Bytes read at once.
const BLOCK: usize = 16 * 1024;

/// An open connection.
pub(crate) struct Held {
    stream: Box<dyn Duplex>,
    http2: Option<Box<Client>>,
    tls: bool,
}

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

impl Held {
    /// Connects, and says hello as TLS and HTTP/2 do.
    pub(crate) fn connect(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        http2: bool,
    ) -> anyhow::Result<Self> {
        let stream = probe::connect(address)?;
        let http2 = http2.then(|| Box::new(Client::client(Local::default())));
        let mut held = Self { stream: wrap(stream, tls)?, http2, tls: tls.is_some() };
        held.flush()?;
        Ok(held)
    }

    /// One request and its answer, which must be 200.
    pub(crate) fn ask(&mut self) -> anyhow::Result<()> {
        if self.http2.is_some() {
            return self.ask_http2();
        }
        let answer = probe::ask(&mut self.stream, HOST, PATH)?;
        ensure!(answer.status == 200, "answered by {}", answer.status);
        Ok(())
    }

    fn ask_http2(&mut self) -> anyhow::Result<()> {
        let scheme: &[u8] = if self.tls { b"https" } else { b"http" };
        let http2 = self.http2.as_mut().context("not HTTP/2")?;
        let request = http2.request(Method::Get, false, true, |block| {
            block.field(b":method", b"GET");
            block.field(b":scheme", scheme);
            block.field(b":authority", HOST.as_bytes());
            block.field(b":path", PATH.as_bytes());
        });
        let stream = request.context("the server takes no more streams")?;
        self.flush()?;
        let mut block = vec![0; BLOCK];
        let mut input = Vec::new();
        let mut head = ResponseHead::default();
        loop {
            let count = self.stream.read(&mut block)?;
            ensure!(count > 0, "the server closed the connection");
            input.extend_from_slice(&block[..count]);
            let http2 = self.http2.as_mut().context("not HTTP/2")?;
            let over = digest(http2, &mut input, &mut head)?;
            if over {
                http2.forget(stream);
            }
            self.flush()?;
            if over {
                ensure!(head.status == 200, "answered by {}", head.status);
                return Ok(());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(http2) = &mut self.http2 {
            self.stream.write_all(http2.output())?;
            http2.output().clear();
        }
        self.stream.flush()
    }
}

/// Takes whole frames off the front; true when the answer is complete.
fn digest(
    http2: &mut Client,
    input: &mut Vec<u8>,
    head: &mut ResponseHead,
) -> anyhow::Result<bool> {
    #[allow(clippy::disallowed_methods, reason = "this client has no runtime to ask for the time")]
    let now = Instant::now();
    let mut frames = Frames::of(input);
    let mut over = false;
    while let Some((event, _)) = frames.next(http2, head, now)? {
        match event {
            Event::Data { stream, range, end } => {
                http2.release(stream, range.len());
                over |= end;
            }
            Event::Head { end, .. } => over |= end,
            Event::Trailers { .. } => over = true,
            Event::Reset { code, .. } | Event::GoAway { code, .. } => {
                bail!("the server ended the request by {code:?}");
            }
            Event::Refused { .. }
            | Event::Rejected { .. }
            | Event::Writable { .. }
            | Event::Settings
            | Event::Pong => {}
        }
    }
    let used = frames.used;
    input.drain(..used);
    Ok(over)
}

fn wrap(stream: TcpStream, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Box<dyn Duplex>> {
    let Some(config) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(HOST).context("a host name is a server name")?;
    let session = ClientConnection::new(Arc::clone(config), name)?;
    Ok(Box::new(StreamOwned::new(session, stream)))
}
