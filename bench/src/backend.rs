//! A tiny HTTP/1.1 backend: fixed bodies, keep-alive, pipelining, request bodies drained.
//!
//! Not a file server and not a validator. Run by `bench backend`, and by the other commands as a
//! child process of its own. Invariant: answering a request of a size that this connection has
//! answered before allocates and copies nothing: the whole response is one block that the kernel
//! takes and gives back.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use memchr::memmem;
use runtime::cores::CoreId;
use runtime::socket::Home;
use runtime::{Buf, Listener as _, Options, Runtime, Sink as _, Size, Stream as _};

use crate::http::{self, BadMessage, Body, HEAD_MAX};

/// The largest body that `?size=` may ask for.
const BODY_MAX: u64 = 64 << 20;

/// `bench backend`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BackendArgs {
    /// Port to listen on
    #[arg(long)]
    port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Pin to this core
    #[arg(long)]
    core: Option<usize>,
    /// Bytes of every body whose path does not say otherwise (/s 128 B, /64k, /1m, ?size=N)
    #[arg(long, default_value_t = 128)]
    body: u64,
    /// Wait this many milliseconds before every answer
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay: u64,
    /// Answer with the value of this request field in a response field `NAME-echo`
    #[arg(long, value_name = "NAME")]
    echo: Option<String>,
    /// Name this backend in the response field `x-bench-backend`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Use the epoll backend instead of io_uring
    #[arg(long)]
    epoll: bool,
}

/// What every connection needs to know.
#[derive(Debug)]
struct Answers {
    body: u64,
    delay: Duration,
    echo: Option<String>,
    name: Option<String>,
}

/// Serves until killed.
pub(crate) fn run(args: &BackendArgs) -> anyhow::Result<()> {
    let answers = Rc::new(Answers {
        body: args.body.min(BODY_MAX),
        delay: Duration::from_millis(args.delay),
        echo: args.echo.clone(),
        name: args.name.clone(),
    });
    let address = SocketAddr::new(args.address, args.port);
    let options = Options { core: args.core.map(CoreId), ..Options::default() };
    if args.epoll {
        return serve::<runtime::Epoll>(&options, address, answers);
    }
    serve::<runtime::Monoio>(&options, address, answers)
}

fn serve<R: Runtime>(
    options: &Options,
    at: SocketAddr,
    answers: Rc<Answers>,
) -> anyhow::Result<()> {
    R::block_on(options, || accept::<R>(at, answers))?
}

async fn accept<R: Runtime>(address: SocketAddr, answers: Rc<Answers>) -> anyhow::Result<()> {
    let mut listener =
        R::listen(address, Home::Here).with_context(|| format!("cannot listen on {address}"))?;
    eprintln!("ready: backend on {} ({})", listener.local_address()?, R::NAME);
    loop {
        match listener.accept().await {
            Ok((sink, stream, _)) => {
                let connection = Connection::<R>::new(sink, Rc::clone(&answers));
                // How one connection ends is its client's affair.
                R::spawn(async move { drop(connection.serve(stream).await) });
            }
            // Out of descriptors, most likely: others will close.
            Err(_) => R::sleep_until(R::now() + Duration::from_millis(10)).await,
        }
    }
}

/// One response as it goes out, kept for the next request of its size.
#[derive(Debug)]
struct Block {
    size: u64,
    bytes: Vec<u8>,
}

struct Connection<R: Runtime> {
    sink: R::Sink,
    answers: Rc<Answers>,
    block: Block,
    /// A head that came in pieces.
    head: Vec<u8>,
}

impl<R: Runtime> Connection<R> {
    fn new(sink: R::Sink, answers: Rc<Answers>) -> Self {
        let bytes = response(answers.body, answers.name.as_deref(), None);
        let block = Block { size: answers.body, bytes };
        Self { sink, answers, block, head: Vec::new() }
    }

    async fn serve(mut self, mut stream: R::Stream) -> anyhow::Result<()> {
        let mut body = Body::Done;
        loop {
            let size = if body == Body::Done { Size::Small } else { Size::Large };
            let mut block: Buf = stream.recv(size).await?;
            if block.is_empty() {
                return Ok(());
            }
            while !block.is_empty() {
                if body != Body::Done {
                    let (used, _) = body.take(&block)?;
                    block.advance(used);
                    if body == Body::Done {
                        self.answer().await?;
                    }
                    continue;
                }
                let Some(next) = self.request(&mut block)? else { break };
                body = next;
                if body == Body::Done {
                    self.answer().await?;
                }
            }
        }
    }

    /// Takes a request head off the front of `block`; nothing when it is not complete.
    fn request(&mut self, block: &mut Buf) -> Result<Option<Body>, BadMessage> {
        if self.head.is_empty()
            && let Some(end) = http::head_end(block)
        {
            let body = self.prepare(&block[..end])?;
            block.advance(end);
            return Ok(Some(body));
        }
        let before = self.head.len();
        self.head.extend_from_slice(block);
        let Some(end) = http::head_end(&self.head) else {
            let len = block.len();
            block.advance(len);
            return if self.head.len() > HEAD_MAX {
                Err(BadMessage::HeadTooLong)
            } else {
                Ok(None)
            };
        };
        let head = std::mem::take(&mut self.head);
        let body = self.prepare(&head[..end])?;
        block.advance(end - before);
        self.head = head;
        self.head.clear();
        Ok(Some(body))
    }

    /// Readies the response to a request, and says what body follows the head.
    fn prepare(&mut self, head: &[u8]) -> Result<Body, BadMessage> {
        let size = wanted(http::target(head).unwrap_or_default(), self.answers.body);
        let own = self.answers.name.as_deref();
        if let Some(name) = &self.answers.echo {
            let value = http::field(head, name).unwrap_or(b"none");
            self.block = Block { size, bytes: response(size, own, Some((name, value))) };
        } else if self.block.size != size {
            self.block = Block { size, bytes: response(size, own, None) };
        }
        Ok(Body::of_request(http::framing(head)?))
    }

    async fn answer(&mut self) -> std::io::Result<()> {
        if !self.answers.delay.is_zero() {
            R::sleep_until(R::now() + self.answers.delay).await;
        }
        let bytes = std::mem::take(&mut self.block.bytes);
        self.block.bytes = self.sink.send(bytes).await?;
        Ok(())
    }
}

/// The body size that a target asks for.
fn wanted(target: &[u8], default: u64) -> u64 {
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[][..]),
    };
    if let Some(at) = memmem::find(query, b"size=") {
        let digits = &query[at + 5..];
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        return http::decimal(&digits[..end]).unwrap_or(default).min(BODY_MAX);
    }
    match path.rsplit(|byte| *byte == b'/').next() {
        Some(b"s") => 128,
        Some(b"64k") => 64 << 10,
        Some(b"1m") => 1 << 20,
        _ => default,
    }
}

fn response(size: u64, own_name: Option<&str>, echo: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: application/octet-stream\r\n\
         cache-control: no-store\r\ncontent-length: {size}\r\n"
    )
    .into_bytes();
    if let Some(name) = own_name {
        out.extend_from_slice(b"x-bench-backend: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some((name, value)) = echo {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"-echo: ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    let pattern = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";
    out.extend(pattern.iter().cycle().take(size as usize));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_path_segment_or_the_query_says_the_size() {
        assert_eq!(wanted(b"/api/v1/s", 9), 128);
        assert_eq!(wanted(b"/static/64k?x=1", 9), 65_536);
        assert_eq!(wanted(b"/1m", 9), 1_048_576);
        assert_eq!(wanted(b"/x?a=b&size=300&c=d", 9), 300);
        assert_eq!(wanted(b"/x?size=99999999999", 9), BODY_MAX);
        assert_eq!(wanted(b"/x", 9), 9);
    }

    #[test]
    fn a_response_says_its_own_length() {
        let bytes = response(300, Some("a"), Some(("x-epoch", b"7")));
        let end = http::head_end(&bytes).unwrap();
        assert_eq!(http::framing(&bytes[..end]).unwrap().length, Some(300));
        assert_eq!(http::field(&bytes[..end], "x-epoch-echo"), Some(&b"7"[..]));
        assert_eq!(http::field(&bytes[..end], "x-bench-backend"), Some(&b"a"[..]));
        assert_eq!(bytes.len() - end, 300);
    }
}
