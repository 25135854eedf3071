//! Clients and backends of HTTP/2, another implementation's, for tests against real shards.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod raw;

use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use crate::support::World;

/// Runs `test` on a single thread, for at most half a minute.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(30), test).await };
    runtime.block_on(limited).expect("the test ends in time")
}

/// A connection with prior knowledge.
pub(crate) async fn connect(world: &World) -> SendRequest<Bytes> {
    connect_with(world, &h2::client::Builder::new()).await
}

/// The same with settings of its own.
pub(crate) async fn connect_with(
    world: &World,
    builder: &h2::client::Builder,
) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    client.ready().await.unwrap()
}

/// A connection by TLS, agreed on by ALPN.
pub(crate) async fn connect_tls(
    world: &World,
    config: &Arc<rustls::ClientConfig>,
    name: &str,
) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    client.ready().await.unwrap()
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://x.example{path}")).body(()).unwrap()
}

pub(crate) fn post(path: &str) -> Request<()> {
    Request::post(format!("http://x.example{path}")).body(()).unwrap()
}

/// A response's body and trailers, giving the windows back.
pub(crate) async fn whole(
    response: Response<RecvStream>,
) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        bytes.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok((bytes, body.trailers().await?))
}

pub(crate) async fn text(response: Response<RecvStream>) -> String {
    String::from_utf8(whole(response).await.unwrap().0).unwrap()
}

/// Sends all of `bytes` as the windows allow.
pub(crate) async fn upload(stream: &mut SendStream<Bytes>, bytes: impl Into<Bytes>, end: bool) {
    let mut rest = bytes.into();
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        let piece = rest.split_to(room);
        stream.send_data(piece, end && rest.is_empty()).unwrap();
    }
}

/// The code of a reset that both sides count as one.
pub(crate) fn reason(error: &h2::Error) -> Option<h2::Reason> {
    error.reason()
}

/// A backend that speaks HTTP/2 with prior knowledge.
pub(crate) struct Backend2 {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Backend2 {
    /// Runs `serve` for every stream; it gets the number of the connection, counted from 0. At most
    /// `streams_max` may be open at once.
    pub(crate) fn start<F>(
        streams_max: u32,
        serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>, usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let serve = Arc::new(serve);
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            runtime.block_on(local.run_until(async move {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    let serve = Arc::clone(&serve);
                    tokio::task::spawn_local(async move {
                        let mut builder = h2::server::Builder::new();
                        builder.max_concurrent_streams(streams_max);
                        let Ok(mut connection) = builder.handshake(stream).await else { return };
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::task::spawn_local(serve(request, respond, number));
                        }
                    });
                }
            }));
        });
        Self { address, connections }
    }

    /// Answers every request with its own body, after all of it came, and its method in `x-method`.
    pub(crate) fn echo(streams_max: u32) -> Self {
        Self::start(streams_max, |request, mut respond, _| async move {
            let method = request.method().to_string();
            let mut body = request.into_body();
            let mut bytes = Vec::new();
            while let Some(piece) = body.data().await {
                let Ok(piece) = piece else { return };
                bytes.extend_from_slice(&piece);
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            let trailers = body.trailers().await.unwrap();
            let response = Response::builder().header("x-method", method).body(()).unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            upload(&mut stream, bytes, false).await;
            match trailers {
                Some(trailers) => stream.send_trailers(trailers).unwrap(),
                None => stream.send_data(Bytes::new(), true).unwrap(),
            }
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
