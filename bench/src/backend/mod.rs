//! The backend behind a gateway under test: fixed bodies of HTTP, unary gRPC, echoes of TCP and UDP.
//!
//! Not a file server and not a validator. Run by `bench backend`, and by the other commands as a
//! child process of its own. Invariant: it costs little beside the gateway, so that it can share a
//! core with the load.

mod echo;
mod http1;
mod http2;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use memchr::memmem;
use runtime::cores::CoreId;
use runtime::socket::Home;
use runtime::{Listener as _, Options, Runtime};

use crate::http;
use crate::protocol::Protocol;

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
    /// What is spoken; http2 and grpc are one service, by prior knowledge, and tcp and udp echo
    #[arg(long, value_enum, default_value_t)]
    protocol: Protocol,
    /// Pin to this core
    #[arg(long)]
    core: Option<usize>,
    /// Bytes of every body whose path does not say otherwise (/s 128 B, /64k, /1m, ?size=N)
    #[arg(long, default_value_t = 128)]
    body: u64,
    /// Wait this many milliseconds before every answer (http1)
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay: u64,
    /// Answer with the value of this request field in a response field `NAME-echo` (http1)
    #[arg(long, value_name = "NAME")]
    echo: Option<String>,
    /// Name this backend in the response field `x-bench-backend` (http1)
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
    if args.epoll { start::<runtime::Epoll>(args) } else { start::<runtime::Monoio>(args) }
}

fn start<R: Runtime>(args: &BackendArgs) -> anyhow::Result<()> {
    let answers = Rc::new(Answers {
        body: args.body.min(BODY_MAX),
        delay: Duration::from_millis(args.delay),
        echo: args.echo.clone(),
        name: args.name.clone(),
    });
    let address = SocketAddr::new(args.address, args.port);
    let options = Options { core: args.core.map(CoreId), ..Options::default() };
    let protocol = args.protocol;
    R::block_on(&options, || async move {
        if protocol == Protocol::Udp {
            return echo::datagrams::<R>(address).await;
        }
        accept::<R>(address, protocol, answers).await
    })?
}

async fn accept<R: Runtime>(
    address: SocketAddr,
    protocol: Protocol,
    answers: Rc<Answers>,
) -> anyhow::Result<()> {
    let mut listener =
        R::listen(address, Home::Here).with_context(|| format!("cannot listen on {address}"))?;
    say_ready::<R>(listener.local_address()?);
    loop {
        // How one connection ends is its client's affair.
        match (listener.accept().await, protocol) {
            (Ok((sink, stream, _)), Protocol::Http2 | Protocol::Grpc) => {
                let connection = http2::Connection::<R>::new(sink, answers.body);
                R::spawn(async move { drop(connection.serve(stream).await) });
            }
            (Ok((sink, stream, _)), Protocol::Tcp | Protocol::Udp) => {
                R::spawn(async move { drop(echo::stream::<R>(sink, stream).await) });
            }
            (Ok((sink, stream, _)), Protocol::Http1) => {
                let connection = http1::Connection::<R>::new(sink, Rc::clone(&answers));
                R::spawn(async move { drop(connection.serve(stream).await) });
            }
            // Out of descriptors, most likely: others will close.
            (Err(_), _) => R::sleep_until(R::now() + Duration::from_millis(10)).await,
        }
    }
}

fn say_ready<R: Runtime>(address: SocketAddr) {
    eprintln!("ready: backend on {address} ({})", R::NAME);
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

/// A body of this many bytes.
fn body(size: u64) -> impl Iterator<Item = u8> {
    let pattern = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";
    pattern.iter().copied().cycle().take(size as usize)
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
}
