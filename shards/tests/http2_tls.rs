//! HTTP/2 over TLS on both sides of real shards: agreed on by ALPN, and whole bodies.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http2_kit;
mod support;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Response;
use http2_kit::{block_on, get, post, text, upload, whole};
use proxy::epoch::Settings;
use proxy::ir;
use rustls::{ClientConfig, ServerConfig};
use support::pki::{self, Authority};
use support::{GET, OK, Recorded, World, backends, config, one, rule};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Everything that comes by TLS goes where `ir` says.
fn by_tls(mut ir: ir::Ir, certificate: ir::Certificate) -> ir::Ir {
    ir.ports[0].protocol = ir::Protocol::Tls;
    let tls = ir::Tls { certificates: vec![certificate], clients: None };
    ir.ports[0].listeners[0].tls = Some(Arc::new(tls));
    ir
}

async fn connect(world: &World, config: &Arc<ClientConfig>) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = "a.example".try_into().unwrap();
    let stream = TlsConnector::from(config.clone()).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    client.ready().await.unwrap()
}

/// A backend that echoes bodies by HTTP/2 over TLS; it counts its connections.
fn echo(server: Arc<ServerConfig>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = connections.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, count) = (TlsAcceptor::from(server.clone()), count.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                        return;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        tokio::spawn(async move {
                            let request = Response::new(request.into_body());
                            let Ok((bytes, _)) = whole(request).await else { return };
                            let answer = Response::new(());
                            let mut stream = respond.send_response(answer, false).unwrap();
                            upload(&mut stream, bytes, false).await;
                            stream.send_data(Bytes::new(), true).unwrap();
                        });
                    }
                });
            }
        });
    });
    (address, connections)
}

#[test]
fn a_client_that_offers_http_2_is_served_in_it_and_others_in_http_1() {
    let ca = Authority::new("ca");
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = by_tls(one(&backend), ca.issue(&["a.example"]));
        let world = World::start(runtime, &ir, Settings::default());
        block_on(async {
            for offered in [&[&b"h2"[..]][..], &[b"http/1.1", b"h2"]] {
                let mut client = connect(&world, &pki::client(&ca, None, offered)).await;
                for _ in 0..3 {
                    let response = client.send_request(get("/a"), true).unwrap().0.await.unwrap();
                    assert_eq!(text(response).await, "hello");
                }
            }
        });
        for offered in [&[][..], &[&b"http/1.1"[..]]] {
            let config = pki::client(&ca, None, offered);
            let mut client = pki::connect(&config, "a.example", world.connect());
            let (head, body) = pki::ask(&mut client, GET);
            assert!(head.starts_with("HTTP/1.1 200 ") && body == b"hello", "{head}");
        }
        world.stop();
    }
}

#[test]
fn bodies_pass_whole_by_http_2_over_tls_on_both_sides() {
    let ca = Authority::new("ca");
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let server = pki::server(&ca.issue(&["b.example"]), None, &[b"h2"]);
    for runtime in backends() {
        let (address, connections) = echo(server.clone());
        let mut ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![address])]);
        let backend = Arc::make_mut(ir.backends.get_mut("b").unwrap());
        backend.protocol = ir::BackendProtocol::Http2;
        backend.tls = Some(Arc::new(ca.policy("b.example")));
        let world =
            World::start(runtime, &by_tls(ir, ca.issue(&["a.example"])), Settings::default());
        block_on(async {
            let client = connect(&world, &pki::client(&ca, None, &[b"h2"])).await;
            let echoes = [0, 1, 16_384, 70_000, body.len()].map(|length| {
                let (mut client, body) = (client.clone(), body[..length].to_vec());
                tokio::spawn(async move {
                    let (response, mut stream) = client.send_request(post("/"), false).unwrap();
                    upload(&mut stream, body.clone(), false).await;
                    stream.send_data(Bytes::new(), true).unwrap();
                    assert!(whole(response.await.unwrap()).await.unwrap().0 == body, "{length}");
                })
            });
            for echo in echoes {
                echo.await.unwrap();
            }
        });
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_backend_of_http_2_must_agree_to_it() {
    let ca = Authority::new("ca");
    let server = pki::server(&ca.issue(&["b.example"]), None, &[]);
    for runtime in backends() {
        let (address, connections) = echo(server.clone());
        let mut ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![address])]);
        let backend = Arc::make_mut(ir.backends.get_mut("b").unwrap());
        backend.protocol = ir::BackendProtocol::Http2;
        backend.tls = Some(Arc::new(ca.policy("b.example")));
        let settings = Settings { debug_header: true, ..Settings::default() };
        let world = World::start(runtime, &ir, settings);
        let answer = world.exchange(support::GET_CLOSE);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(answer.contains("\r\nx-ringway-reason: upstream_tls\r\n"), "{answer}");
        assert_eq!(connections.load(Ordering::SeqCst), 0);
        world.stop();
    }
}
