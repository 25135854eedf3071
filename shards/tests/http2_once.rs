//! A request to a backend of HTTP/2 is processed once and answered once, whatever the backend says about it
//! afterwards: by bytes on real sockets.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http2_kit;
mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http2_kit::raw::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    backend, frame, literal, read_frame, read_kind, settle,
};
use http2_kit::{block_on, connect, post, whole};
use proxy::epoch::Settings;
use proxy::ir;
use support::{World, backends, config, rule};

const REFUSED_STREAM: u32 = 7;

fn to(address: SocketAddr) -> ir::Ir {
    let mut ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![address])]);
    for backend in ir.backends.values_mut() {
        Arc::make_mut(backend).protocol = ir::BackendProtocol::Http2;
    }
    ir
}

fn head(stream: u32, status: &[u8], more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = literal(b":status", status);
    more.iter().for_each(|(name, value)| block.extend(literal(name, value)));
    frame(HEADERS, END_HEADERS, stream, &block)
}

fn refuse(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes())
}

/// Says that no stream was ever looked at.
fn go_away() -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[0; 8])
}

/// Answers the first request with `first` and every other one with `hello`; counts requests.
fn first(first: fn(u32) -> Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let address = backend(move |mut stream: TcpStream, _| {
        settle(&mut stream);
        while let Some(request) = read_kind(&mut stream, HEADERS) {
            let id = request.stream;
            let answer = match seen.fetch_add(1, Ordering::SeqCst) {
                0 => first(id),
                _ => [head(id, b"200", &[]), frame(DATA, END_STREAM, id, b"hello")].concat(),
            };
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    });
    (address, count)
}

#[test]
fn a_backend_that_has_begun_to_answer_cannot_say_that_it_did_nothing() {
    let liars: [fn(u32) -> Vec<u8>; 4] = [
        |id| [head(id, b"200", &[]), frame(DATA, 0, id, b"some"), refuse(id)].concat(),
        |id| [head(id, b"200", &[]), frame(DATA, 0, id, b"some"), go_away()].concat(),
        |id| [head(id, b"103", &[(b"link", b"</a>")]), refuse(id)].concat(),
        |id| [head(id, b"103", &[(b"link", b"</a>")]), go_away()].concat(),
    ];
    for runtime in backends() {
        for (number, liar) in liars.into_iter().enumerate() {
            let (address, count) = first(liar);
            let world = World::start(runtime, &to(address), Settings::default());
            let answer = world.exchange(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
            );
            let heads = answer.matches("HTTP/1.1 ").count();
            let hello = answer.contains("hello");
            assert!(heads == 1 + number / 2 && !hello, "{runtime:?} {number}: {answer}");
            assert_eq!(count.load(Ordering::SeqCst), 1, "{runtime:?} {number}");
            world.stop();
            let (address, count) = first(liar);
            let world = World::start(runtime, &to(address), Settings::default());
            block_on(async {
                let mut client = connect(&world).await;
                let (response, _) = client.send_request(post("/"), true).unwrap();
                match response.await {
                    Ok(response) if number >= 2 => assert_eq!(response.status(), 502),
                    Ok(response) => assert!(whole(response).await.is_err(), "{runtime:?} {number}"),
                    Err(error) => panic!("{runtime:?} {number}: {error}"),
                }
            });
            assert_eq!(count.load(Ordering::SeqCst), 1, "{runtime:?} {number}");
            world.stop();
        }
    }
}

#[test]
fn a_request_that_a_backend_refused_before_anything_else_goes_again() {
    let honest: [fn(u32) -> Vec<u8>; 2] = [refuse, |_| go_away()];
    for runtime in backends() {
        for (number, refuses) in honest.into_iter().enumerate() {
            let (address, count) = first(refuses);
            let world = World::start(runtime, &to(address), Settings::default());
            let answer = world.exchange(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
            );
            assert!(answer.ends_with("hello\r\n0\r\n\r\n"), "{runtime:?} {number}: {answer}");
            assert_eq!(count.load(Ordering::SeqCst), 2, "{runtime:?} {number}");
            world.stop();
        }
    }
}

#[test]
fn a_post_whose_connection_is_lost_is_not_sent_again() {
    for runtime in backends() {
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        // The second request of a connection loses it.
        let address = backend(move |mut stream: TcpStream, _| {
            settle(&mut stream);
            let mut served = 0;
            while let Some(frame_) = read_frame(&mut stream) {
                if frame_.kind != HEADERS {
                    continue;
                }
                seen.fetch_add(1, Ordering::SeqCst);
                served += 1;
                if served == 2 {
                    return;
                }
                let id = frame_.stream;
                let answer = [head(id, b"200", &[]), frame(DATA, END_STREAM, id, b"hello")];
                stream.write_all(&answer.concat()).unwrap();
            }
        });
        let world = World::start(runtime, &to(address), Settings::default());
        let ask = |method: &str| {
            world.exchange(
                format!("{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
            )
        };
        assert!(ask("POST").starts_with("HTTP/1.1 200"), "{runtime:?}");
        assert!(ask("POST").starts_with("HTTP/1.1 502"), "{runtime:?}");
        assert_eq!(count.load(Ordering::SeqCst), 2, "{runtime:?}");
        assert!(ask("GET").starts_with("HTTP/1.1 200"), "{runtime:?}");
        assert!(ask("GET").starts_with("HTTP/1.1 200"), "{runtime:?}: what may be repeated is");
        world.stop();
    }
}

#[test]
fn a_backend_that_is_lost_while_it_takes_no_more_fails_its_requests_and_no_shard() {
    for runtime in backends() {
        // Reads until its window is used up, then is gone: by FIN, or by RST because of what it left unread.
        let address = backend(move |mut stream: TcpStream, number| {
            settle(&mut stream);
            let Some(request) = read_kind(&mut stream, HEADERS) else { return };
            if number >= 8 {
                let id = request.stream;
                let answer = [head(id, b"200", &[]), frame(DATA, END_STREAM, id, b"hello")];
                stream.write_all(&answer.concat()).unwrap();
                while read_frame(&mut stream).is_some() {}
                return;
            }
            let mut body = 0;
            while body < 65_535 {
                let Some(frame) = read_frame(&mut stream) else { return };
                body += if frame.kind == DATA { frame.payload.len() } else { 0 };
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        });
        let world = World::start(runtime, &to(address), Settings::default());
        let body = vec![b'x'; 100_000];
        for number in 0..8 {
            if number % 2 == 0 {
                let mut stream = world.connect();
                stream
                    .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
                    .unwrap();
                stream.write_all(&body).unwrap();
                let answer = support::read_to_end(&mut stream);
                assert!(answer.starts_with("HTTP/1.1 502 "), "{runtime:?} {number}: {answer}");
            } else {
                block_on(async {
                    let mut client = connect(&world).await;
                    let (response, mut stream) = client.send_request(post("/"), false).unwrap();
                    stream.send_data(Bytes::from(body.clone()), true).unwrap();
                    assert_eq!(response.await.unwrap().status(), 502, "{runtime:?} {number}");
                });
            }
        }
        assert!(world.exchange(support::GET_CLOSE).contains("hello"), "{runtime:?}");
        world.stop();
    }
}

/// Whether a connection to `address` waits for our end although the other side has said its own.
fn is_held(address: SocketAddr) -> bool {
    const CLOSE_WAIT: &str = "08";
    let end = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[2].ends_with(&end)).any(|row| row[3] == CLOSE_WAIT)
}

#[test]
fn a_backend_that_has_left_and_takes_nothing_is_not_waited_for() {
    for runtime in backends() {
        let (held, hold) = std::sync::mpsc::channel::<()>();
        let hold = std::sync::Mutex::new(hold);
        // Grants all the window there is, takes nothing, and says its end.
        let address = backend(move |mut stream: TcpStream, _| {
            let windows = [
                frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]),
                frame(SETTINGS, ACK, 0, b""),
                frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()),
            ];
            stream.write_all(&windows.concat()).unwrap();
            read_kind(&mut stream, HEADERS).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(500));
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            hold.lock().unwrap().recv().ok();
        });
        let world = World::start(runtime, &to(address), Settings::default());
        let mut client = world.connect();
        let mut writer = client.try_clone().unwrap();
        let upload = std::thread::spawn(move || {
            writer
                .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\n\r\n")
                .ok();
            while writer.write_all(&[b'x'; 100_000]).is_ok() {}
        });
        let answer = support::read_until(&mut client, "Bad Gateway\n");
        assert!(answer.starts_with("HTTP/1.1 502 "), "{runtime:?} {answer}");
        drop(client);
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while is_held(address) {
            assert!(std::time::Instant::now() < limit, "{runtime:?}: it is held for ever");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        drop(held);
        upload.join().unwrap();
        world.stop();
    }
}
