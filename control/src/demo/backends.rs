//! The demo's backends, on a thread of their own.
//!
//! `v1` and `v2` answer every request with what they saw, as JSON, and speak WebSocket where a request
//! asks for it. `flaky` misbehaves as the query asks, byte by byte, so it speaks plain sockets. Beside
//! them stand one for gRPC, a TCP echo and one for UDP. They are for trying things out on loopback,
//! not for load. Invariant: they listen before [`start`] returns.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, UdpSocket as StdDatagram};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{dns, grpc, websocket};

/// Longest time that `?delay_ms=` waits.
pub const DELAY_MAX: Duration = Duration::from_secs(60);
/// Longest request head that `flaky` reads (bytes).
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Where the backends listen: all on TCP, but the last on UDP.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// HTTP/1.1, and says so.
    pub v1: SocketAddr,
    /// The same under another name.
    pub v2: SocketAddr,
    /// HTTP/1.1 as the query asks.
    pub flaky: SocketAddr,
    /// gRPC over HTTP/2 without TLS.
    pub grpc: SocketAddr,
    /// Sends bytes back.
    pub tcp: SocketAddr,
    /// Answers DNS queries, and sends other datagrams back.
    pub udp: SocketAddr,
}

/// The sockets of the backends, before anything is served.
struct Sockets {
    tcp: [StdListener; 5],
    udp: StdDatagram,
}

/// Starts the backends; they run until the process ends.
///
/// # Errors
/// No port or thread could be had.
pub fn start() -> io::Result<Addresses> {
    let tcp = [listen()?, listen()?, listen()?, listen()?, listen()?];
    let udp = StdDatagram::bind((Ipv4Addr::LOCALHOST, 0))?;
    udp.set_nonblocking(true)?;
    let [v1, v2, flaky, grpc, echo] = &tcp;
    let addresses = Addresses {
        v1: v1.local_addr()?,
        v2: v2.local_addr()?,
        flaky: flaky.local_addr()?,
        grpc: grpc.local_addr()?,
        tcp: echo.local_addr()?,
        udp: udp.local_addr()?,
    };
    let sockets = Sockets { tcp, udp };
    std::thread::Builder::new().name("demo-backends".to_owned()).spawn(move || {
        if let Err(error) = serve(sockets) {
            tracing::error!("the demo's backends have ended: {error}");
        }
    })?;
    Ok(addresses)
}

fn listen() -> io::Result<StdListener> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(Sockets { tcp: [v1, v2, flaky, grpc, echo], udp }: Sockets) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let (v1, v2) = (TcpListener::from_std(v1)?, TcpListener::from_std(v2)?);
        let (flaky, grpc) = (TcpListener::from_std(flaky)?, TcpListener::from_std(grpc)?);
        let (echo, udp) = (TcpListener::from_std(echo)?, UdpSocket::from_std(udp)?);
        tokio::join!(
            accept(v1, |stream| answer_requests(stream, "v1")),
            accept(v2, |stream| answer_requests(stream, "v2")),
            accept(flaky, misbehave),
            accept(grpc, grpc::serve),
            accept(echo, send_back),
            dns::serve(udp)
        );
        Ok(())
    })
}

async fn accept<F, T>(listener: TcpListener, serve: F)
where
    F: Fn(TcpStream) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small answers in several writes shall not wait for one another.
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer_requests(stream: TcpStream, version: &'static str) {
    let service = service_fn(move |mut request: Request<Incoming>| async move {
        let upgraded = websocket::upgrade(&mut request);
        Ok::<_, Infallible>(upgraded.unwrap_or_else(|| describe(&request, version)))
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.with_upgrades().await {
        tracing::debug!("demo backend {version}: {error}");
    }
}

/// Every byte, until the peer ends.
async fn send_back(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    if let Err(error) = tokio::io::copy(&mut from, &mut to).await {
        tracing::debug!("demo backend tcp: {error}");
    }
}

fn describe(request: &Request<Incoming>, version: &str) -> Response<Full<Bytes>> {
    let headers: Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.to_string(), Value::String(String::from_utf8_lossy(value.as_bytes()).into()))
        })
        .collect();
    let host = request.headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    let body = json!({
        "version": version,
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map_or("/", |path| path.as_str()),
        "host": host,
        "headers": headers,
    });
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn misbehave(mut stream: TcpStream) {
    let Some(target) = read_target(&mut stream).await else { return };
    let wish = Wish::of(&target);
    tokio::time::sleep(wish.delay).await;
    let answer = answer(&wish, &target);
    // The peer may have left; that is its business.
    if stream.write_all(&answer).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

async fn read_target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&head);
    Some(text.split(' ').nth(1)?.to_owned())
}

/// What a query asks of `flaky`.
#[derive(Debug, PartialEq)]
struct Wish {
    status: u16,
    delay: Duration,
    end: End,
}

#[derive(Debug, PartialEq)]
enum End {
    Whole,
    Chunked,
    CloseBefore,
    CloseMid,
    Garbage,
}

impl Wish {
    fn of(target: &str) -> Self {
        let mut wish = Self { status: 200, delay: Duration::ZERO, end: End::Whole };
        let query = target.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match (name, value) {
                ("status", value) => {
                    wish.status =
                        value.parse().ok().filter(|s| (200..600).contains(s)).unwrap_or(200);
                }
                ("delay_ms", value) => {
                    let delay = Duration::from_millis(value.parse().unwrap_or(0));
                    wish.delay = delay.min(DELAY_MAX);
                }
                ("close", "before") => wish.end = End::CloseBefore,
                ("close", "mid") => wish.end = End::CloseMid,
                ("garbage", _) => wish.end = End::Garbage,
                ("chunked", _) => wish.end = End::Chunked,
                _ => {}
            }
        }
        wish
    }
}

fn answer(wish: &Wish, target: &str) -> Vec<u8> {
    let body = format!("{}\n", json!({ "version": "flaky", "path": target }));
    let start = format!(
        "HTTP/1.1 {} Demo\r\nContent-Type: application/json\r\nConnection: close\r\n",
        wish.status
    );
    let text = match wish.end {
        End::Whole => format!("{start}Content-Length: {}\r\n\r\n{body}", body.len()),
        End::Chunked => {
            let (first, rest) = body.split_at(body.len() / 2);
            format!(
                "{start}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
                first.len(),
                rest.len()
            )
        }
        End::CloseBefore => String::new(),
        End::CloseMid => format!("{start}Content-Length: {}\r\n\r\n{body}", body.len() + 100),
        End::Garbage => "this is not HTTP\r\n\r\n".to_owned(),
    };
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn get(address: SocketAddr, target: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn each_backend_says_which_it_is_and_flaky_does_as_asked() {
        let Addresses { v1, v2, flaky, .. } = start().unwrap();
        assert!(get(v1, "/a?b=c").contains(r#""path":"/a?b=c","version":"v1""#));
        assert!(get(v2, "/").contains(r#""version":"v2""#));
        assert!(get(flaky, "/?status=503").starts_with("HTTP/1.1 503 "));
        assert_eq!(get(flaky, "/?close=before"), "");
        assert!(!get(flaky, "/?garbage=1").starts_with("HTTP"));
        assert!(get(flaky, "/?chunked=1").ends_with("\r\n0\r\n\r\n"));
        let cut = get(flaky, "/?close=mid");
        let (head, body) = cut.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len() + 100)));
    }

    #[test]
    fn nonsense_in_the_query_is_answered_normally_and_delays_are_bounded() {
        let plain = Wish { status: 200, delay: Duration::ZERO, end: End::Whole };
        assert_eq!(Wish::of("/?status=99999&delay_ms=x&close=maybe"), plain);
        assert_eq!(Wish::of("/?delay_ms=99999999").delay, DELAY_MAX);
    }
}
