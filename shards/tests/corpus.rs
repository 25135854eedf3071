//! The message corpus against real shards: every answer as the policy says, nothing of a refused
//! request on a backend, nothing of a refused answer on a kept connection; whole and in two pieces.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
#[path = "../../proxy/tests/vectors/mod.rs"]
mod vectors;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxy::epoch::Settings;
use support::{Recorded, World, backends, config, rule};
use vectors::Case;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-from: backend\r\n\r\nok";

/// What a client saw.
struct Seen {
    text: String,
    timed_out: bool,
}

#[test]
fn every_refused_request_gets_its_answer_and_reaches_no_backend() {
    let cases = vectors::cases(include_str!("../../proxy/tests/vectors/requests.txt"));
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![backend.address])]);
        let world = World::start(runtime, &ir, Settings::default());
        // The engine of HTTP/1 refuses what a shard takes for the beginning of HTTP/2.
        let refused = |case: &&Case| {
            is_refused_head(case) && !case.data.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        };
        for case in cases.iter().filter(refused) {
            // Whole; in two halves; and without its last byte first.
            for cut in [0, case.data.len() / 2, case.data.len() - 1] {
                let seen = send(&world, &case.data, cut);
                let expected = format!("HTTP/1.1 {} ", case.want);
                assert!(
                    seen.text.starts_with(&expected) && !seen.timed_out,
                    "{runtime:?} {} cut at {cut}: wanted {expected:?}, saw {:?}",
                    case.name,
                    seen.text
                );
            }
            assert_eq!(backend.text(), "", "{runtime:?} {}", case.name);
        }
        world.stop();
    }
}

#[test]
fn every_good_request_reaches_the_backend_in_canonical_form() {
    let cases = vectors::cases(include_str!("../../proxy/tests/vectors/requests.txt"));
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![backend.address])]);
        let world = World::start(runtime, &ir, Settings::default());
        for case in cases.iter().filter(|case| is_plain_ok(case)) {
            backend.bytes.lock().unwrap().clear();
            let seen = send(&world, &case.data, case.data.len() / 2);
            assert!(
                seen.text.contains("x-from: backend"),
                "{runtime:?} {}: saw {:?} {}",
                case.name,
                seen.text,
                seen.timed_out
            );
            let got = backend.text();
            if let Some(path) = case.fact("path") {
                let target = got.split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
                assert_eq!(target, path, "{}: backend got {got}", case.name);
            }
            let hosts = got.lines().filter(|line| line.starts_with("host:")).count();
            assert_eq!(hosts, 1, "{}: backend got {got}", case.name);
        }
        world.stop();
    }
}

#[test]
fn every_backend_answer_is_passed_on_or_refused_and_never_poisons_the_next() {
    let cases = vectors::cases(include_str!("../../proxy/tests/vectors/responses.txt"));
    for runtime in backends() {
        let script: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (data, cut) = (Arc::clone(&script), Arc::new(Mutex::new(0)));
        let at = Arc::clone(&cut);
        let backend = Recorded::start(move |mut tap, _| {
            if tap.request().is_some() {
                let data = data.lock().unwrap().clone();
                let at = (*at.lock().unwrap()).min(data.len());
                tap.write(&data[..at]);
                if at > 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
                tap.write(&data[at..]);
            }
        });
        let ir = config(vec![rule("/", &[("b", 1)])], &[("b", vec![backend.address])]);
        let world = World::start(runtime, &ir, Settings::default());
        for case in cases.iter().filter(|case| case.fact("asked").is_none()) {
            script.lock().unwrap().clone_from(&case.data);
            for at in [0, case.data.len() / 2] {
                *cut.lock().unwrap() = at;
                let method = case.fact("method").unwrap_or("GET");
                let request =
                    format!("{method} /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                let seen = send(&world, request.as_bytes(), 0);
                assert_response(case, &seen, &format!("{runtime:?} cut at {at}"));
            }
        }
        world.stop();
    }
}

fn assert_response(case: &Case, seen: &Seen, how: &str) {
    let context = format!("{} {how}: saw {:?} timeout {}", case.name, seen.text, seen.timed_out);
    // The connection closes behind `data`, so a message that waits for more is an incomplete one.
    let head_good = case.data.windows(4).any(|window| window == b"\r\n\r\n");
    match case.want.as_str() {
        "ok" => {
            let written = String::from_utf8_lossy(&case.data);
            let status = case.fact("status").unwrap_or_else(|| &written[9..12]);
            let finals: Vec<_> = seen.text.match_indices("HTTP/1.1 ").collect();
            assert!(
                finals.iter().any(|(i, _)| seen.text[i + 9..].starts_with(status)),
                "{context}"
            );
            if let Some(body) = case.fact("body").filter(|_| !seen.text.contains("chunked")) {
                let body = String::from_utf8_lossy(&vectors::unescape(body)).into_owned();
                assert!(seen.text.ends_with(&body), "{context}");
            }
        }
        "502" => assert!(seen.text.contains("HTTP/1.1 502 "), "{context}"),
        "wait" if !head_good => assert!(seen.text.contains("HTTP/1.1 502 "), "{context}"),
        _ => {
            assert!(!seen.text.ends_with("0\r\n\r\n"), "a cut body must not look whole: {context}")
        }
    }
}

/// A case whose head alone decides its refusal.
fn is_refused_head(case: &Case) -> bool {
    case.want.parse::<u16>().is_ok() && case.fact("part") != Some("body")
}

/// A good request of a kind that the recording backend can answer.
fn is_plain_ok(case: &Case) -> bool {
    case.want == "ok"
        && case.fact("rest").is_none_or(str::is_empty)
        && !case.data.starts_with(b"HEAD")
        && !case.data.windows(7).any(|window| window.eq_ignore_ascii_case(b"upgrade"))
        && !case.data.windows(6).any(|window| window.eq_ignore_ascii_case(b"expect"))
        && case.fact("framing").is_none_or(|framing| framing != "chunked")
}

/// Sends `data` in two pieces, then FIN; returns all that came back.
fn send(world: &World, data: &[u8], cut: usize) -> Seen {
    let mut stream = world.connect();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // A refused client may be cut off while it still sends: its answer is what counts.
    stream.write_all(&data[..cut]).ok();
    if cut > 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    stream.write_all(&data[cut..]).ok();
    let mut text = String::new();
    let mut block = [0; 65536];
    loop {
        match stream.read(&mut block) {
            Ok(0) => break,
            Ok(n) => text.push_str(&String::from_utf8_lossy(&block[..n])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Seen { text, timed_out: true };
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        if is_whole(&stream, &text) {
            break;
        }
    }
    Seen { text, timed_out: false }
}

/// The backend's own whole answer is here: no need to wait for a kept connection to close.
fn is_whole(stream: &TcpStream, text: &str) -> bool {
    let whole = text.contains("x-from: backend") && text.ends_with("ok");
    if whole {
        stream.shutdown(Shutdown::Both).ok();
    }
    whole
}
