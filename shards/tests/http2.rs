//! HTTP/2 clients against real shards, with another implementation as the client.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http2_kit;
mod support;

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request};
use http2_kit::{block_on, connect, connect_tls, connect_with, get, post, text, upload, whole};
use proxy::epoch::{Epoch, Settings};
use proxy::ir;
use support::{GET_CLOSE, OK, Recorded, World, backends, config, one, read_until, rule, settle};

#[test]
fn a_request_is_forwarded_and_its_answer_comes_back() {
    for runtime in backends() {
        let backend =
            Recorded::always("HTTP/1.1 200 Fine\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello");
        let settings = Settings { access_log: true, ..Settings::default() };
        let mut world = World::start(runtime, &one(&backend), settings);
        block_on(async {
            let mut client = connect(&world).await;
            let (response, _) = client.send_request(get("/a/../b?c=d"), true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["x-a"], "b");
            assert_eq!(response.headers()["content-length"], "5");
            assert_eq!(text(response).await, "hello");
        });
        assert_eq!(
            backend.text(),
            "GET /b?c=d HTTP/1.1\r\nhost: x.example\r\nx-forwarded-for: 127.0.0.1\r\n\
             x-forwarded-proto: http\r\nx-forwarded-host: x.example\r\n\r\n"
        );
        let log = settle(&mut world, 1);
        assert!(log.contains("\"protocol\":\"HTTP/2\""), "{log}");
        world.stop();
    }
}

#[test]
fn a_hundred_streams_share_a_connection() {
    for runtime in backends() {
        let backend = Recorded::after(Duration::from_millis(50), OK);
        let world = World::start(runtime, &one(&backend), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            let mut answers = Vec::new();
            for number in 0..100 {
                client = client.ready().await.unwrap();
                let (response, _) = client.send_request(get(&format!("/{number}")), true).unwrap();
                answers.push(response);
            }
            for answer in answers {
                assert_eq!(text(answer.await.unwrap()).await, "hello", "{runtime:?}");
            }
        });
        world.stop();
    }
}

#[test]
fn large_bodies_travel_both_ways_within_the_windows() {
    const LENGTH: usize = 3_000_000;
    for runtime in backends() {
        // Answers with the body that it got.
        let backend = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                let (head, body) = request.split_once("\r\n\r\n").unwrap();
                assert!(head.contains("transfer-encoding: chunked"), "{head}");
                let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
                tap.write(answer.as_bytes());
            }
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            let (response, mut stream) = client.send_request(post("/"), false).unwrap();
            let sent: Vec<u8> = (0..LENGTH).map(|n| b'a' + (n % 23) as u8).collect();
            upload(&mut stream, sent.clone(), true).await;
            let (received, _) = whole(response.await.unwrap()).await.unwrap();
            assert!(received == sent, "{runtime:?}: {} bytes", received.len());
        });
        world.stop();
    }
}

#[test]
fn trailers_pass_both_ways() {
    for runtime in backends() {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                      5\r\nhello\r\n0\r\nx-sum: 7\r\nauthorization: no\r\n\r\n";
        let backend = Recorded::always(answer);
        let world = World::start(runtime, &one(&backend), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            let (response, mut stream) = client.send_request(post("/"), false).unwrap();
            stream.send_data(Bytes::from_static(b"body"), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-end", "1".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
            let (body, trailers) = whole(response.await.unwrap()).await.unwrap();
            assert_eq!(body, b"hello");
            let trailers = trailers.unwrap();
            assert_eq!(trailers["x-sum"], "7");
            assert!(!trailers.contains_key("authorization"));
        });
        let seen = backend.text();
        assert!(seen.ends_with("4\r\nbody\r\n0\r\nx-end: 1\r\n\r\n"), "{seen}");
        world.stop();
    }
}

#[test]
fn a_reset_by_the_client_cuts_its_backend_and_nobody_else() {
    for runtime in backends() {
        // The connection of a request for `/slow` is read until somebody ends it.
        let (ended, ends) = std::sync::mpsc::channel();
        let ended = std::sync::Mutex::new(ended);
        let backend = Recorded::start(move |mut tap, _| {
            while let Some(request) = tap.request() {
                if request.starts_with("GET /slow") {
                    while tap.read().is_some() {}
                    ended.lock().unwrap().send(()).unwrap();
                    return;
                }
                tap.write(OK.as_bytes());
            }
        });
        let settings = Settings { access_log: true, ..Settings::default() };
        let mut world = World::start(runtime, &one(&backend), settings);
        block_on(async {
            let mut client = connect(&world).await;
            let (slow, mut stream) = client.send_request(get("/slow"), true).unwrap();
            let (fast, _) = client.send_request(get("/fast"), true).unwrap();
            assert_eq!(text(fast.await.unwrap()).await, "hello");
            stream.send_reset(Reason::CANCEL);
            assert!(slow.await.is_err());
            let (fast, _) = client.send_request(get("/fast"), true).unwrap();
            assert_eq!(text(fast.await.unwrap()).await, "hello");
        });
        ends.recv_timeout(Duration::from_secs(10)).unwrap();
        let log = settle(&mut world, 3);
        assert!(log.contains("client_gone"), "{log}");
        world.stop();
    }
}

#[test]
fn a_response_that_is_cut_short_ends_in_a_reset() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            tap.request();
            tap.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello");
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            for _ in 0..2 {
                let (response, _) = client.send_request(get("/"), true).unwrap();
                let error = whole(response.await.unwrap()).await.unwrap_err();
                assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}");
            }
        });
        world.stop();
    }
}

#[test]
fn an_answer_that_overtakes_the_body_arrives_whole_and_the_connection_is_kept() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            let head = tap.read();
            if head.is_some_and(|head| head.starts_with(b"GET")) {
                return tap.write(OK.as_bytes());
            }
            tap.write(b"HTTP/1.1 413 Too much\r\ncontent-length: 4\r\n\r\nmuch");
            while tap.read().is_some() {}
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            let (response, mut stream) = client.send_request(post("/"), false).unwrap();
            stream.send_data(Bytes::from_static(b"some"), false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 413);
            assert_eq!(text(response).await, "much");
            let reason = poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
            assert_eq!(reason, Reason::NO_ERROR);
            let (response, _) = client.send_request(get("/"), true).unwrap();
            assert_eq!(text(response.await.unwrap()).await, "hello");
        });
        world.stop();
    }
}

#[test]
fn our_own_answers_keep_the_connection() {
    for runtime in backends() {
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ir = config(
            vec![rule("/dead", &[("dead", 1)]), rule("/none", &[("none", 1)])],
            &[("dead", vec![dead]), ("none", vec![])],
        );
        let world = World::start(runtime, &ir, Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            for (path, status) in [("/x", 404), ("/dead", 502), ("/none", 503), ("/x%2", 400)] {
                let (response, _) = client.send_request(get(path), true).unwrap();
                let response = response.await.unwrap();
                assert_eq!(response.status(), status, "{path}");
                assert_eq!(response.headers()["content-type"], "text/plain");
                assert!(!response.headers().contains_key("connection"));
                assert!(!text(response).await.is_empty());
            }
            let head = Request::head("http://x.example/x").body(()).unwrap();
            let (response, _) = client.send_request(head, true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.headers()["content-length"], "10");
            assert!(response.body().is_end_stream());
        });
        world.stop();
    }
}

#[test]
fn a_grpc_call_that_we_answer_gets_a_grpc_status() {
    for runtime in backends() {
        let ir = config(vec![rule("/none", &[("none", 1)])], &[("none", vec![])]);
        let world = World::start(runtime, &ir, Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            for (path, status) in [("/x", "12"), ("/none", "14")] {
                let call = Request::post(format!("http://x.example{path}"))
                    .header("content-type", "application/grpc+proto")
                    .header("te", "trailers");
                let (response, mut stream) =
                    client.send_request(call.body(()).unwrap(), false).unwrap();
                stream.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
                let response = response.await.unwrap();
                assert_eq!(response.status(), 200);
                assert_eq!(response.headers()["content-type"], "application/grpc");
                assert_eq!(response.headers()["grpc-status"], status);
                assert!(response.body().is_end_stream());
            }
        });
        world.stop();
    }
}

#[test]
fn both_versions_are_served_on_one_port() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world = World::start(runtime, &one(&backend), Settings::default());
        // Whatever is cut off of a preface, and what only begins like one.
        for request in ["PRI /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "P"] {
            let mut stream = world.connect();
            for byte in request.bytes() {
                stream.write_all(&[byte]).unwrap();
            }
            if request.len() > 1 {
                assert!(support::read_to_end(&mut stream).starts_with("HTTP/1.1 200 OK\r\n"));
            }
        }
        assert!(world.exchange(GET_CLOSE).starts_with("HTTP/1.1 200 OK\r\n"));
        block_on(async {
            let mut client = connect(&world).await;
            let (response, _) = client.send_request(get("/"), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        });
        world.stop();
    }
}

#[test]
fn a_drain_fails_no_stream_and_takes_no_more() {
    for runtime in backends() {
        let backend = Recorded::after(Duration::from_millis(300), OK);
        let mut world = World::start(runtime, &one(&backend), Settings::default());
        block_on(async {
            let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
            let (client, connection) = h2::client::handshake(stream).await.unwrap();
            let ended = tokio::spawn(connection);
            let mut client = client.ready().await.unwrap();
            let mut answers = Vec::new();
            for _ in 0..20 {
                client = client.ready().await.unwrap();
                answers.push(client.send_request(get("/"), true).unwrap().0);
            }
            // All of them are there before the drain begins.
            while backend.text().matches("GET").count() < 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let mut epoch = Epoch::compile(2, &one(&backend), Settings::default(), None);
            epoch.settings.drain = Some(Duration::from_secs(20));
            world.shards.publish(Arc::new(epoch));
            for answer in answers {
                assert_eq!(text(answer.await.unwrap()).await, "hello", "{runtime:?}");
            }
            ended.await.unwrap().unwrap();
            assert!(client.ready().await.is_err());
        });
        world.wait_for(|report| report.phase == shards::report::Phase::Ended);
        world.shards.join();
    }
}

#[test]
fn a_stream_that_nobody_reads_does_not_hold_up_another() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                let length = if request.starts_with("GET /big") { 1_000_000 } else { 5 };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                tap.write(head.as_bytes());
                tap.write(&vec![b'x'; length]);
            }
        });
        let world = World::start(runtime, &one(&backend), Settings::default());
        block_on(async {
            let mut builder = h2::client::Builder::new();
            builder.initial_connection_window_size(1024 * 1024);
            let mut client = connect_with(&world, &builder).await;
            let (big, _) = client.send_request(get("/big"), true).unwrap();
            let big = big.await.unwrap();
            for _ in 0..20 {
                let (small, _) = client.send_request(get("/small"), true).unwrap();
                assert_eq!(whole(small.await.unwrap()).await.unwrap().0.len(), 5);
            }
            assert_eq!(whole(big).await.unwrap().0.len(), 1_000_000, "{runtime:?}");
        });
        world.stop();
    }
}

#[test]
fn a_client_that_takes_nothing_of_a_stream_loses_it() {
    for runtime in backends() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
        let backend = Recorded::start(move |mut tap, _| {
            tap.request();
            tap.write(answer.as_bytes());
            tap.write(&vec![b'x'; 1_000_000]);
        });
        let mut settings = Settings { access_log: true, ..Settings::default() };
        settings.timeouts.response_stall = Duration::from_millis(400);
        let mut world = World::start(runtime, &one(&backend), settings);
        block_on(async {
            let mut client = connect(&world).await;
            let (response, _) = client.send_request(get("/"), true).unwrap();
            let mut body = response.await.unwrap().into_body();
            let error = loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("{runtime:?}: the body ended"),
                }
            };
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        });
        let log = settle(&mut world, 1);
        assert!(log.contains("client_too_slow"), "{log}");
        world.stop();
    }
}

#[test]
fn a_body_that_comes_too_slowly_is_told_so() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| while tap.read().is_some() {});
        let mut settings = Settings::default();
        settings.timeouts.body_rate_window = Duration::from_millis(400);
        let world = World::start(runtime, &one(&backend), settings);
        block_on(async {
            let mut client = connect(&world).await;
            let (response, mut stream) = client.send_request(post("/"), false).unwrap();
            stream.send_data(Bytes::from_static(b"some"), false).unwrap();
            assert_eq!(response.await.unwrap().status(), 408, "{runtime:?}");
        });
        world.stop();
    }
}

#[test]
fn a_flood_of_resets_ends_its_connection_and_no_other() {
    for runtime in backends() {
        let backend = Recorded::after(Duration::from_millis(20), OK);
        let world = World::start(runtime, &one(&backend), Settings::default());
        let address = world.address;
        let flood = thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(PREFACE_AND_SETTINGS).unwrap();
            // A request, then its reset, again and again.
            for number in (1u32..20_000).step_by(2) {
                let id = number.to_be_bytes();
                let mut frames = head_frame(number);
                frames.extend([0, 0, 4, 3, 0, id[0], id[1], id[2], id[3], 0, 0, 0, 8]);
                if stream.write_all(&frames).is_err() {
                    break;
                }
            }
            let mut told = Vec::new();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.read_to_end(&mut told).ok();
            told
        });
        block_on(async {
            let mut client = connect(&world).await;
            for _ in 0..30 {
                let (response, _) = client.send_request(get("/"), true).unwrap();
                assert_eq!(text(response.await.unwrap()).await, "hello", "{runtime:?}");
            }
        });
        let told = flood.join().unwrap();
        // GOAWAY with ENHANCE_YOUR_CALM, if no reset of the connection destroyed it.
        let calm = told.windows(4).any(|code| code == [0, 0, 0, 11]);
        assert!(calm || told.len() < 60, "{runtime:?}: {} bytes", told.len());
        world.stop();
    }
}

#[test]
fn streams_that_are_reset_before_their_turn_reach_no_backend() {
    for runtime in backends() {
        let backend = Recorded::after(Duration::ZERO, OK);
        let world = World::start(runtime, &one(&backend), Settings::default());
        let mut stream = std::net::TcpStream::connect(world.address).unwrap();
        // All in one segment: thirty requests, each with its reset, and one that is meant.
        let mut bytes = PREFACE_AND_SETTINGS.to_vec();
        for number in (1u32..60).step_by(2) {
            let id = number.to_be_bytes();
            bytes.extend(head_frame(number));
            bytes.extend([0, 0, 4, 3, 0, id[0], id[1], id[2], id[3], 0, 0, 0, 8]);
        }
        bytes.extend(head_frame(61));
        stream.write_all(&bytes).unwrap();
        let mut answers = Vec::new();
        let mut block = [0; 4096];
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        while count_ends(&answers) == 0 {
            let count = stream.read(&mut block).unwrap();
            assert!(count > 0, "{runtime:?}: closed");
            answers.extend_from_slice(&block[..count]);
        }
        assert_eq!(backend.text().matches("GET /").count(), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn what_rules_ask_for_works_for_streams_too() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, number| {
            while let Some(request) = tap.request() {
                if request.starts_with("GET /late") {
                    thread::sleep(Duration::from_millis(800));
                }
                let bad = request.starts_with("POST /again") && number % 2 == 0;
                tap.write(if bad {
                    b"HTTP/1.1 503 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
                } else {
                    OK.as_bytes()
                });
                if bad {
                    return;
                }
            }
        });
        let copies = Recorded::always(OK);
        let mut late = rule("/late", &[("b", 1)]);
        late.timeouts.request = Some(Duration::from_millis(200));
        let mut again = rule("/again", &[("b", 1)]);
        again.retry =
            Some(ir::Retry { codes: vec![503], attempts: 3, backoff: Duration::from_millis(1) });
        again.filters.push(ir::Filter::RequestMirror(ir::Mirror {
            target: ir::Target::Backend("m".into()),
            numerator: 1,
            denominator: 1,
        }));
        let all = [("b", vec![backend.address]), ("m", vec![copies.address])];
        let world = World::start(runtime, &config(vec![late, again], &all), Settings::default());
        block_on(async {
            let mut client = connect(&world).await;
            for _ in 0..3 {
                let (response, mut stream) = client.send_request(post("/again"), false).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.send_data(Bytes::from_static(b"bo"), false).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.send_data(Bytes::from_static(b"dy"), true).unwrap();
                let response = response.await.unwrap();
                assert_eq!(response.status(), 200, "{runtime:?}");
                assert_eq!(text(response).await, "hello");
            }
            let (response, _) = client.send_request(get("/late"), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 504, "{runtime:?}");
        });
        while copies.text().matches("POST /again").count() < 3 {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(copies.text().contains("body") || copies.text().contains("4\r\nbody"));
        world.stop();
    }
}

#[test]
fn a_client_of_the_first_version_is_untouched_by_the_second() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let world = World::start(runtime, &one(&backend), Settings::default());
        let mut client = world.connect();
        for _ in 0..3 {
            client.write_all(support::GET).unwrap();
            assert!(read_until(&mut client, "hello").starts_with("HTTP/1.1 200 OK\r\n"));
        }
        world.stop();
    }
}

#[test]
fn a_tls_connection_carries_the_requests_of_its_listener_and_no_others() {
    let ca = support::pki::Authority::new("ca");
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let mut ir = one(&backend);
        ir.ports[0].protocol = ir::Protocol::Tls;
        let mut other = ir.ports[0].listeners[0].clone();
        for (listener, name) in
            [(&mut ir.ports[0].listeners[0], "a.example"), (&mut other, "b.example")]
        {
            listener.name = format!("default/gateway/{name}").into();
            listener.hostname = Some(ir::Hostname::Exact(name.into()));
            let certificates = vec![ca.issue(&[name])];
            listener.tls = Some(Arc::new(ir::Tls { certificates, clients: None }));
        }
        ir.ports[0].listeners.push(other);
        let world = World::start(runtime, &ir, Settings::default());
        let config = support::pki::client(&ca, None, &[b"h2", b"http/1.1"]);
        block_on(async {
            let mut client = connect_tls(&world, &config, "a.example").await;
            for (host, status) in [("a.example", 200), ("b.example", 421), ("c.example", 404)] {
                let request = Request::get(format!("https://{host}/")).body(()).unwrap();
                let (response, _) = client.send_request(request, true).unwrap();
                assert_eq!(response.await.unwrap().status(), status, "{runtime:?} {host}");
            }
        });
        assert!(backend.text().contains("x-forwarded-proto: https\r\n"));
        world.stop();
    }
}

#[test]
fn a_websocket_over_a_stream_becomes_an_upgrade_at_the_backend() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            let Some(request) = tap.request() else { return };
            if request.starts_with("GET /no") {
                return tap.write(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno");
            }
            tap.write(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                  upgrade: websocket\r\nsec-websocket-protocol: chat\r\n\r\nfirst",
            );
            while let Some(bytes) = tap.read() {
                tap.write(&bytes);
            }
            tap.write(b"last");
        });
        let settings = Settings { access_log: true, ..Settings::default() };
        let mut world = World::start(runtime, &one(&backend), settings);
        block_on(async {
            let mut client = connect(&world).await;
            let open = |path: &str| {
                Request::connect(format!("http://x.example{path}"))
                    .header("sec-websocket-version", "13")
                    .extension(h2::ext::Protocol::from_static("websocket"))
                    .body(())
                    .unwrap()
            };
            while !client.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
            }
            let (response, mut stream) = client.send_request(open("/chat"), false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
            let mut body = response.into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "first");
            for number in 0..10u8 {
                stream.send_data(Bytes::from(vec![number; 100]), false).unwrap();
                assert_eq!(body.data().await.unwrap().unwrap(), vec![number; 100]);
                body.flow_control().release_capacity(100).unwrap();
            }
            stream.send_data(Bytes::new(), true).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), "last");
            let more = body.data().await.map_or_else(Bytes::new, Result::unwrap);
            assert!(more.is_empty() && body.is_end_stream(), "{runtime:?}");
            let (response, _stream) = client.send_request(open("/no"), false).unwrap();
            assert_eq!(response.await.unwrap().status(), 403);
        });
        let seen = backend.text();
        let head = seen.split("\r\n\r\n").next().unwrap();
        assert!(head.starts_with("GET /chat HTTP/1.1\r\nhost: x.example\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\nupgrade: websocket"), "{head}");
        let key = head.split("sec-websocket-key: ").nth(1).unwrap().split("\r\n").next().unwrap();
        assert!(key.len() == 24 && key.ends_with("=="), "{key}");
        let log = settle(&mut world, 2);
        assert!(log.contains("\"bytes_in\":1000,\"bytes_out\":1009,"), "{log}");
        world.stop();
    }
}

const PREFACE_AND_SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// GET / of x.
fn head_frame(stream: u32) -> Vec<u8> {
    let [a, b, c, d] = stream.to_be_bytes();
    [&[0, 0, 6, 1, 5, a, b, c, d][..], b"\x82\x86\x84\x41\x01x"].concat()
}

/// Reads frames until one has this type and flag; the number of those, up to the end of input.
fn count_ends(bytes: &[u8]) -> usize {
    let (mut at, mut ends) = (0, 0);
    while let Some(header) = bytes.get(at..at + 9) {
        let length =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        ends += usize::from(header[3] <= 1 && header[4] & 1 == 1);
        at += 9 + length;
    }
    ends
}

#[test]
fn a_busy_connection_is_not_cut_for_heads_that_are_always_on_their_way() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let mut settings = Settings::default();
        settings.timeouts.header = Duration::from_millis(300);
        let world = World::start(runtime, &one(&backend), settings);
        let mut stream = world.connect();
        stream.write_all(PREFACE_AND_SETTINGS).unwrap();
        stream.write_all(&head_frame(1)[..7]).unwrap();
        // Each piece ends a head and begins the next one.
        for number in 0..40 {
            thread::sleep(Duration::from_millis(25));
            let rest = head_frame(2 * number + 1).split_off(7);
            let next = head_frame(2 * number + 3);
            stream.write_all(&[&rest[..], &next[..7]].concat()).unwrap();
        }
        let mut seen = Vec::new();
        while count_ends(&seen) < 40 {
            let mut block = [0; 4096];
            let n = support::read_some(&mut stream, &mut block).unwrap();
            assert!(n > 0, "{runtime:?}: closed after {}", count_ends(&seen));
            seen.extend_from_slice(&block[..n]);
        }
        world.stop();
    }
}

#[test]
fn a_head_that_does_not_become_whole_ends_its_connection() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let mut settings = Settings::default();
        settings.timeouts.header = Duration::from_millis(300);
        let world = World::start(runtime, &one(&backend), settings);
        for begun in
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82][..]]
        {
            let mut stream = world.connect();
            if !begun.starts_with(b"PRI") {
                stream.write_all(PREFACE_AND_SETTINGS).unwrap();
            }
            stream.write_all(begun).unwrap();
            let mut told = Vec::new();
            stream.read_to_end(&mut told).unwrap();
            // The last that is said is GOAWAY.
            assert_eq!(told[told.len() - 17..][..4], [0, 0, 8, 7], "{runtime:?}");
        }
        world.stop();
    }
}

#[test]
fn a_connection_without_streams_is_told_that_it_ends() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let mut settings = Settings::default();
        settings.timeouts.client_idle = Duration::from_millis(300);
        let world = World::start(runtime, &one(&backend), settings);
        block_on(async {
            let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
            let (client, connection) = h2::client::handshake(stream).await.unwrap();
            let ended = tokio::spawn(connection);
            let mut client = client.ready().await.unwrap();
            let (response, _) = client.send_request(get("/"), true).unwrap();
            assert_eq!(text(response.await.unwrap()).await, "hello");
            ended.await.unwrap().unwrap();
        });
        world.stop();
    }
}
