//! Backends of HTTP/2 behind real shards, for clients of either version.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http2_kit;
mod support;

use std::future::poll_fn;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response};
use http2_kit::{Backend2, block_on, connect, get, post, text, upload, whole};
use proxy::epoch::Settings;
use proxy::ir;
use support::{World, backends, config, read_until, rule, settle};

/// A configuration that sends everything to `address` by HTTP/2.
fn to(address: SocketAddr) -> ir::Ir {
    with_rule(rule("/", &[("b", 1)]), &[address])
}

fn with_rule(rule: ir::Rule, addresses: &[SocketAddr]) -> ir::Ir {
    let mut ir = config(vec![rule], &[("b", addresses.to_vec())]);
    for backend in ir.backends.values_mut() {
        Arc::make_mut(backend).protocol = ir::BackendProtocol::Http2;
    }
    ir
}

#[test]
fn a_client_of_http_1_is_answered_by_a_backend_of_http_2() {
    for runtime in backends() {
        let backend = Backend2::echo(100);
        let world = World::start(runtime, &to(backend.address), Settings::default());
        let mut client = world.connect();
        for (request, wanted) in [
            ("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "0\r\n\r\n"),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", "body\r\n0\r\n\r\n"),
            (
                "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nbo\r\n2\r\ndy\r\n0\r\nx-end: 1\r\n\r\n",
                "body\r\n0\r\nx-end: 1\r\n\r\n",
            ),
        ] {
            client.write_all(request.as_bytes()).unwrap();
            let answer = read_until(&mut client, wanted);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\nx-method: "), "{answer}");
            assert!(answer.contains("transfer-encoding: chunked\r\n"), "{answer}");
        }
        let answer = world.exchange(b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody");
        assert!(answer.ends_with("connection: close\r\n\r\nbody"), "{answer}");
        let answer = world.exchange(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(backend.count(), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn what_a_backend_gets_is_a_request_of_http_2() {
    for runtime in backends() {
        let (heads, seen) = mpsc::channel();
        let heads = Mutex::new(heads);
        let backend = Backend2::start(100, move |request, mut respond, _| {
            heads.lock().unwrap().send(request.into_parts().0).unwrap();
            async move {
                let response = Response::builder().status(204).body(()).unwrap();
                respond.send_response(response, true).unwrap();
            }
        });
        let world = World::start(runtime, &to(backend.address), Settings::default());
        let request = b"GET /a?b HTTP/1.1\r\nHost: X.example\r\nConnection: close, x-hop\r\n\
                        X-Hop: 1\r\nTE: trailers\r\nX-A: b\r\n\r\n";
        assert!(world.exchange(request).starts_with("HTTP/1.1 204 No Content\r\n"));
        let head = seen.recv().unwrap();
        assert_eq!(head.uri, "http://x.example/a?b");
        let names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(
            names,
            ["x-a", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "te"]
        );
        world.stop();
    }
}

#[test]
fn a_connection_carries_as_many_streams_as_it_may_and_none_waits() {
    for (runtime, (max, connections)) in
        backends().into_iter().flat_map(|runtime| [(runtime, (100, 1)), (runtime, (10, 10))])
    {
        let backend = Backend2::start(max, |_, mut respond, _| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
        });
        let world = World::start(runtime, &to(backend.address), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            // The first one shows what the backend allows.
            let (response, _) = client.send_request(get("/"), true).unwrap();
            assert_eq!(text(response.await.unwrap()).await, "hello");
            let started = std::time::Instant::now();
            let mut answers = Vec::new();
            for _ in 0..100 {
                client = client.ready().await.unwrap();
                answers.push(client.send_request(get("/"), true).unwrap().0);
            }
            for answer in answers {
                assert_eq!(text(answer.await.unwrap()).await, "hello", "{runtime:?}");
            }
            eprintln!("{runtime:?}: {max} streams a connection: {:?}", started.elapsed());
        });
        assert!(backend.count() >= connections, "{runtime:?}: {} for {max}", backend.count());
        assert!(backend.count() <= connections * 2, "{runtime:?}: {} for {max}", backend.count());
        world.stop();
    }
}

#[test]
fn large_bodies_travel_both_ways() {
    const LENGTH: usize = 3_000_000;
    for runtime in backends() {
        let backend = Backend2::echo(100);
        let world = World::start(runtime, &to(backend.address), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            let (response, mut stream) = client.send_request(post("/"), false).unwrap();
            let sent: Vec<u8> = (0..LENGTH).map(|n| b'a' + (n % 23) as u8).collect();
            upload(&mut stream, sent.clone(), false).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-end", "1".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
            let (received, trailers) = whole(response.await.unwrap()).await.unwrap();
            assert!(received == sent, "{runtime:?}: {} bytes", received.len());
            assert_eq!(trailers.unwrap()["x-end"], "1");
        });
        world.stop();
    }
}

#[test]
fn messages_pass_both_ways_at_once() {
    for runtime in backends() {
        // Sends each piece back as it comes, before the request ends.
        let backend = Backend2::start(100, |request, mut respond, _| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let mut body = request.into_body();
            while let Some(Ok(piece)) = body.data().await {
                body.flow_control().release_capacity(piece.len()).unwrap();
                stream.send_data(piece, false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        });
        let world = World::start(runtime, &to(backend.address), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            let (response, mut stream) = client.send_request(post("/s/m"), false).unwrap();
            let mut body = response.await.unwrap().into_body();
            for number in 0..50u8 {
                stream.send_data(Bytes::from(vec![number; 5]), false).unwrap();
                let piece = body.data().await.unwrap().unwrap();
                assert_eq!(piece, vec![number; 5], "{runtime:?}");
                body.flow_control().release_capacity(5).unwrap();
            }
            stream.send_data(Bytes::new(), true).unwrap();
            assert!(body.data().await.is_none());
            assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
        });
        world.stop();
    }
}

#[test]
fn a_reset_by_the_client_reaches_the_backend() {
    for runtime in backends() {
        let (resets, seen) = mpsc::channel();
        let resets = Arc::new(Mutex::new(resets));
        let backend = Backend2::start(100, move |_, mut respond, _| {
            let resets = Arc::clone(&resets);
            async move {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                let reason = poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
                resets.lock().unwrap().send(reason).unwrap();
            }
        });
        let world = World::start(runtime, &to(backend.address), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            let (response, mut stream) = client.send_request(get("/"), true).unwrap();
            let _response = response.await.unwrap();
            stream.send_reset(Reason::CANCEL);
            poll_fn(|cx| stream.poll_reset(cx)).await.ok();
            tokio::time::sleep(Duration::from_millis(50)).await;
        });
        assert_eq!(seen.recv_timeout(Duration::from_secs(5)), Ok(Reason::CANCEL), "{runtime:?}");
        // A client of HTTP/1 that leaves does the same.
        let mut client = world.connect();
        client.write_all(support::GET).unwrap();
        read_until(&mut client, "\r\n\r\n");
        drop(client);
        world.stop();
    }
}

#[test]
fn a_reset_by_the_backend_reaches_the_client() {
    for runtime in backends() {
        let backend = Backend2::start(100, |request, mut respond, _| async move {
            if request.uri().path() == "/before" {
                return respond.send_reset(Reason::INTERNAL_ERROR);
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"some"), false).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        });
        let settings = Settings { access_log: true, ..Settings::default() };
        let mut world = World::start(runtime, &to(backend.address), settings);
        block_on(async {
            let mut client = connect(&world).await;
            let (response, _) = client.send_request(post("/before"), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 502, "{runtime:?}");
            let (response, _) = client.send_request(get("/"), true).unwrap();
            let error = whole(response.await.unwrap()).await.unwrap_err();
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{runtime:?}");
        });
        let answer = world.exchange(support::GET_CLOSE);
        assert!(answer.contains("some") && !answer.contains("\r\n0\r\n"), "{answer}");
        let log = settle(&mut world, 3);
        assert_eq!(log.matches("upstream_truncated").count(), 2, "{log}");
        assert_eq!(backend.count(), 1, "a reset stream costs no connection");
        world.stop();
    }
}

#[test]
fn a_refused_stream_is_tried_again_whatever_its_method() {
    for runtime in backends() {
        let refused = Arc::new(Mutex::new(0));
        let backend = Backend2::start(100, move |_, mut respond, _| {
            let mut refused = refused.lock().unwrap();
            *refused += 1;
            let refuses = *refused % 2 == 1;
            async move {
                if refuses {
                    return respond.send_reset(Reason::REFUSED_STREAM);
                }
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
            }
        });
        let world = World::start(runtime, &to(backend.address), Settings::default());
        for _ in 0..5 {
            let answer = world.exchange(
                b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
            );
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{runtime:?} {answer}");
        }
        world.stop();
    }
}

#[test]
fn a_backend_that_goes_away_fails_no_request() {
    for runtime in backends() {
        // Each connection serves three streams and then says that it takes no more.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let mut connection = h2::server::handshake(stream).await.unwrap();
                        let mut served = 0;
                        while let Some(Ok((_, mut respond))) = connection.accept().await {
                            served += 1;
                            if served == 3 {
                                connection.graceful_shutdown();
                            }
                            tokio::spawn(async move {
                                tokio::time::sleep(Duration::from_millis(20)).await;
                                let mut stream =
                                    respond.send_response(Response::new(()), false).unwrap();
                                stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
                            });
                        }
                    });
                }
            });
        });
        let world = World::start(runtime, &to(address), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            for _ in 0..10 {
                let mut answers = Vec::new();
                for _ in 0..5 {
                    client = client.ready().await.unwrap();
                    answers.push(client.send_request(post("/"), true).unwrap().0);
                }
                for answer in answers {
                    let response = answer.await.unwrap();
                    assert_eq!(response.status(), 200, "{runtime:?}");
                    assert_eq!(text(response).await, "hello");
                }
            }
        });
        world.stop();
    }
}

#[test]
fn limits_retries_and_mirrors_work_towards_streams_too() {
    for runtime in backends() {
        let (bodies, seen) = mpsc::channel();
        let bodies = Arc::new(Mutex::new(bodies));
        let backend = Backend2::start(100, move |request, mut respond, _| {
            let bodies = Arc::clone(&bodies);
            async move {
                let path = request.uri().path().to_owned();
                let mut body = request.into_body();
                let mut bytes = Vec::new();
                while let Some(Ok(piece)) = body.data().await {
                    bytes.extend_from_slice(&piece);
                }
                let count = {
                    let bodies = bodies.lock().unwrap();
                    bodies.send((path.clone(), bytes)).unwrap();
                    path.len()
                };
                if path == "/late" {
                    tokio::time::sleep(Duration::from_millis(800)).await;
                }
                let status = if path == "/again" && count > 0 { 503 } else { 200 };
                let response = Response::builder().status(status).body(()).unwrap();
                respond.send_response(response, true).ok();
            }
        });
        let mut rule = rule("/", &[("b", 1)]);
        rule.timeouts.backend_request = Some(Duration::from_millis(200));
        rule.retry =
            Some(ir::Retry { codes: vec![503], attempts: 2, backoff: Duration::from_millis(1) });
        rule.filters.push(ir::Filter::RequestMirror(ir::Mirror {
            target: ir::Target::Backend("b".into()),
            numerator: 1,
            denominator: 1,
        }));
        let world =
            World::start(runtime, &with_rule(rule, &[backend.address]), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            for (path, status) in [("/again", 503), ("/late", 504), ("/ok", 200)] {
                let (response, mut stream) = client.send_request(post(path), false).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.send_data(Bytes::from_static(b"body"), true).unwrap();
                assert_eq!(response.await.unwrap().status(), status, "{runtime:?} {path}");
            }
        });
        // Three tries and a copy of the first two, one and a copy of the last.
        let mut got = Vec::new();
        while got.len() < 10 {
            got.push(seen.recv_timeout(Duration::from_secs(5)).unwrap());
        }
        assert!(got.iter().all(|(_, body)| body == b"body"), "{got:?}");
        assert_eq!(backend.count(), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_backend_that_does_not_speak_http_2_is_told_apart() {
    for runtime in backends() {
        let backend = support::Recorded::always("HTTP/1.1 400 Bad Request\r\n\r\n");
        let world = World::start(runtime, &to(backend.address), Settings::default());
        let answer = world.exchange(support::GET_CLOSE);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{runtime:?} {answer}");
        world.stop();
    }
}

#[test]
fn an_interim_response_is_passed_on_first() {
    for runtime in backends() {
        let backend = Backend2::start(100, |request, mut respond, _| async move {
            let hints = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
            respond.send_informational(hints).unwrap();
            drop(request);
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
        });
        let world = World::start(runtime, &to(backend.address), Settings::default());
        let answer = world.exchange(support::GET_CLOSE);
        assert!(answer.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"), "{answer}");
        assert!(answer.contains("\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
        block_on(async {
            let mut client = connect(&world).await;
            let request = Request::get("http://x/").body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            assert_eq!(text(response.await.unwrap()).await, "hello");
        });
        world.stop();
    }
}

#[test]
fn clients_that_read_nothing_hold_up_nobody_on_the_same_backend_connection() {
    for runtime in backends() {
        let backend = Backend2::start(100, |request, mut respond, _| async move {
            let length = if request.uri().path() == "/big" { 300_000 } else { 5 };
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            upload(&mut stream, vec![b'x'; length], true).await;
        });
        let world = World::start(runtime, &to(backend.address), Settings::default());
        block_on(async {
            let mut held = Vec::new();
            for _ in 0..60 {
                let mut slow = connect(&world).await;
                let (response, _) = slow.send_request(get("/big"), true).unwrap();
                held.push((slow, response.await.unwrap()));
            }
            let mut client = connect(&world).await;
            for _ in 0..10 {
                let (response, _) = client.send_request(get("/small"), true).unwrap();
                assert_eq!(text(response.await.unwrap()).await, "xxxxx", "{runtime:?}");
            }
            assert_eq!(backend.count(), 1, "{runtime:?}");
        });
        world.stop();
    }
}

#[test]
fn rfc9113_6_5_2_a_head_that_a_peer_does_not_read_is_answered_and_breaks_nothing() {
    for runtime in backends() {
        let filler = "x".repeat(3000);
        // A backend that reads 1,000 bytes, and whatever comes.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 6, 0, 0, 3, 0xe8]).unwrap();
                stream.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).unwrap();
                thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
            }
        });
        let settings = Settings { access_log: true, ..Settings::default() };
        let mut world = World::start(runtime, &to(address), settings.clone());
        let request =
            format!("GET / HTTP/1.1\r\nHost: x\r\nx-a: {filler}\r\nConnection: close\r\n\r\n");
        let answer = world.exchange(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 431 "), "{runtime:?} {answer}");
        let log = settle(&mut world, 1);
        assert!(log.contains("head_too_large"), "{runtime:?} {log}");
        world.stop();

        let backend = Backend2::start(100, move |request, mut respond, _| {
            let large = request.uri().path() == "/large";
            let value = if large { filler.clone() } else { "small".to_owned() };
            async move {
                let response = Response::builder().header("x-a", value).body(()).unwrap();
                respond.send_response(response, true).unwrap();
            }
        });
        let world = World::start(runtime, &to(backend.address), settings);
        block_on(async {
            let mut builder = h2::client::Builder::new();
            builder.max_header_list_size(1000);
            let mut client = http2_kit::connect_with(&world, &builder).await;
            for (path, status) in [("/small", 200), ("/large", 502), ("/small", 200)] {
                let (response, _) = client.send_request(get(path), true).unwrap();
                assert_eq!(response.await.unwrap().status(), status, "{runtime:?} {path}");
            }
        });
        world.stop();
    }
}

#[test]
fn a_websocket_for_a_backend_of_http_2_is_answered_by_502_and_its_reason() {
    for runtime in backends() {
        let backend = Backend2::echo(100);
        let settings = Settings { access_log: true, ..Settings::default() };
        let mut world = World::start(runtime, &to(backend.address), settings);
        let answer = world.exchange(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
              Connection: Upgrade, close\r\nSec-WebSocket-Key: k\r\n\r\n",
        );
        assert!(answer.starts_with("HTTP/1.1 502 "), "{runtime:?} {answer}");
        let log = settle(&mut world, 1);
        assert!(log.contains("websocket_unsupported"), "{runtime:?} {log}");
        world.stop();
    }
}
