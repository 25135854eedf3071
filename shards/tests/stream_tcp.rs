//! TCPRoute: whole connections, their bytes and their ends, through real shards.
#![allow(clippy::disallowed_types, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proxy::epoch::{Epoch, Settings};
use proxy::ir;
use shards::Backend;
use shards::report::Phase;
use support::{Recorded, World, backends, config, read_some, read_to_end, settle};

/// One TCP port with one route to these weighted backends.
fn streams(route: &[(&str, u32)], backends: &[(&str, Vec<SocketAddr>)]) -> ir::Ir {
    let mut ir = config(Vec::new(), backends);
    let references = route.iter().map(|(name, weight)| ir::BackendRef {
        target: match name.strip_prefix('!') {
            Some(bad) => ir::Target::Invalid(bad.into()),
            None => ir::Target::Backend((*name).into()),
        },
        weight: *weight,
        filters: Vec::new(),
    });
    let route = ir::StreamRoute {
        name: "default/stream".into(),
        created: 0,
        backends: references.collect(),
    };
    let port = &mut ir.ports[0];
    port.protocol = ir::Protocol::Tcp;
    port.listeners = vec![ir::Listener {
        name: "default/gateway/tcp".into(),
        port: 9000,
        kind: ir::ListenerKind::Stream,
        streams: vec![ir::AttachedStream { hostnames: Vec::new(), route: Arc::new(route) }],
        ..ir::Listener::default()
    }];
    ir
}

fn logging() -> Settings {
    Settings { access_log: true, ..Settings::default() }
}

/// Makes the close of `stream` a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn kind_of_end(stream: &mut TcpStream) -> &'static str {
    match read_some(stream, &mut [0; 16]) {
        Ok(0) => "FIN",
        Ok(_) => "bytes",
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => "RST",
        Err(error) => panic!("{error}"),
    }
}

/// A world of one stream backend, and the connections that the backend gets.
fn world_with_peer(backend: Backend) -> (World, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, accepted) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.set_nodelay(true).unwrap();
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    let ir = streams(&[("b", 1)], &[("b", vec![address])]);
    (World::start(backend, &ir, logging()), accepted)
}

/// Runs `test` on every runtime.
fn with_peer(test: impl Fn(&mut World, &mpsc::Receiver<TcpStream>)) {
    for backend in backends() {
        let (mut world, accepted) = world_with_peer(backend);
        test(&mut world, &accepted);
        world.stop();
    }
}

fn pair(world: &World, accepted: &mpsc::Receiver<TcpStream>) -> (TcpStream, TcpStream) {
    let mut client = world.connect();
    client.write_all(b"hi").unwrap();
    let mut server = accepted.recv_timeout(Duration::from_secs(10)).unwrap();
    expect(&mut server, b"hi");
    (client, server)
}

fn expect(stream: &mut TcpStream, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    let mut filled = 0;
    while filled < got.len() {
        let n = read_some(stream, &mut got[filled..]).unwrap();
        assert!(n > 0, "closed after {}", got[..filled].escape_ascii());
        filled += n;
    }
    assert_eq!(got, wanted);
}

#[test]
fn bytes_move_both_ways_and_the_server_may_speak_first() {
    with_peer(|world, accepted| {
        let mut client = world.connect();
        let mut server = accepted.recv_timeout(Duration::from_secs(10)).unwrap();
        server.write_all(b"220 ready\r\n").unwrap();
        expect(&mut client, b"220 ready\r\n");
        client.write_all(b"\x00\xff not http").unwrap();
        expect(&mut server, b"\x00\xff not http");
    });
}

#[test]
fn a_half_close_is_passed_on_and_the_other_direction_goes_on() {
    with_peer(|world, accepted| {
        let (mut client, mut server) = pair(world, accepted);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(kind_of_end(&mut server), "FIN");
        server.write_all(b"after").unwrap();
        expect(&mut client, b"after");
        server.write_all(b"wards").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        expect(&mut client, b"wards");
        assert_eq!(kind_of_end(&mut client), "FIN");

        let (mut client, mut server) = pair(world, accepted);
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(kind_of_end(&mut client), "FIN");
        client.write_all(b"still").unwrap();
        expect(&mut server, b"still");
        drop(client);
        assert_eq!(kind_of_end(&mut server), "FIN");
        drop(server);
        let log = settle(world, 2);
        assert_eq!(log.matches("\"reason\":\"-\"").count(), 2, "{log}");
        assert!(log.contains("\"bytes_in\":7,\"bytes_out\":0"), "{log}");
        assert!(log.contains("\"bytes_in\":2,\"bytes_out\":10"), "{log}");
    });
}

#[test]
fn a_reset_on_one_side_resets_the_other() {
    with_peer(|world, accepted| {
        let (client, mut server) = pair(world, accepted);
        reset(client);
        assert_eq!(kind_of_end(&mut server), "RST");
        let (mut client, server) = pair(world, accepted);
        reset(server);
        assert_eq!(kind_of_end(&mut client), "RST");
        let log = settle(world, 2);
        assert!(log.contains("\"reason\":\"client_gone\""), "{log}");
        assert!(log.contains("\"reason\":\"upstream_reset\""), "{log}");
    });
}

#[test]
fn a_reset_reaches_the_other_side_behind_a_half_close() {
    with_peer(|world, accepted| {
        let (mut client, server) = pair(world, accepted);
        client.shutdown(Shutdown::Write).unwrap();
        let mut server = server;
        assert_eq!(kind_of_end(&mut server), "FIN");
        reset(server);
        assert_eq!(kind_of_end(&mut client), "RST");
    });
}

#[test]
fn a_server_that_answers_and_closes_under_an_upload_is_still_heard() {
    with_peer(|world, accepted| {
        let (mut client, mut server) = pair(world, accepted);
        server.write_all(&[b'x'; 100_000]).unwrap();
        drop(server); // nothing of its own is unread: FIN
        let upload = client.try_clone().unwrap();
        let pushing = thread::spawn(move || {
            let mut upload = upload;
            // It fails sooner or later; what was sent to it must arrive all the same.
            while upload.write_all(&[b'y'; 10_000]).is_ok() {}
        });
        let mut got = 0;
        let mut block = [0; 65536];
        while let Ok(n @ 1..) = read_some(&mut client, &mut block) {
            got += n;
        }
        assert_eq!(got, 100_000);
        drop(client);
        pushing.join().unwrap();
    });
}

#[test]
fn megabytes_arrive_whole_in_both_directions_at_once() {
    const BYTES: usize = 8 * 1024 * 1024;
    fn pattern(seed: usize) -> Vec<u8> {
        (0..BYTES).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed) as u8).collect()
    }
    fn both_ways(stream: TcpStream, seed: usize) -> Vec<u8> {
        let mut writing = stream.try_clone().unwrap();
        let writer = thread::spawn(move || {
            writing.write_all(&pattern(seed)).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let mut reading = stream;
        let (mut got, mut block) = (Vec::new(), vec![0; 65536]);
        loop {
            match read_some(&mut reading, &mut block).unwrap() {
                0 => break,
                n => got.extend_from_slice(&block[..n]),
            }
        }
        writer.join().unwrap();
        got
    }
    with_peer(|world, accepted| {
        let client = world.connect();
        let server = accepted.recv_timeout(Duration::from_secs(10)).unwrap();
        let far = thread::spawn(move || both_ways(server, 1));
        let near = both_ways(client, 2);
        assert!(near == pattern(1), "to the client");
        assert!(far.join().unwrap() == pattern(2), "to the server");
        let log = settle(world, 1);
        assert!(log.contains(&format!("\"bytes_in\":{BYTES},\"bytes_out\":{BYTES}")), "{log}");
    });
}

#[test]
fn what_cannot_be_relayed_is_reset_at_once_and_the_reason_is_logged() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for backend in backends() {
        for (route, endpoints, reason) in [
            (&[][..], vec![nobody], "backend_invalid"),
            (&[("!gone", 1)], vec![nobody], "backend_invalid"),
            (&[("b", 1)], vec![], "no_endpoints"),
            (&[("b", 1)], vec![nobody], "connect_failed"),
        ] {
            let ir = streams(route, &[("b", endpoints)]);
            let mut world = World::start(backend, &ir, logging());
            let mut client = world.connect();
            assert_eq!(kind_of_end(&mut client), "RST", "{reason}");
            let log = settle(&mut world, 1);
            assert!(log.contains(&format!("\"reason\":\"{reason}\"")), "{log}");
            world.stop();
        }
        let mut none = streams(&[], &[]);
        none.ports[0].listeners[0].streams.clear();
        let mut world = World::start(backend, &none, logging());
        assert_eq!(kind_of_end(&mut world.connect()), "RST", "no route");
        let log = settle(&mut world, 1);
        assert!(log.contains("\"reason\":\"no_route\""), "{log}");
        world.stop();
    }
}

#[test]
fn another_endpoint_is_tried_where_one_refuses() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for backend in backends() {
        let echo = Recorded::start(|mut tap, _| {
            while let Some(bytes) = tap.read() {
                tap.write(&bytes);
            }
        });
        let ir = streams(&[("b", 1)], &[("b", vec![nobody, echo.address])]);
        let mut world = World::start(backend, &ir, logging());
        for _ in 0..10 {
            let mut client = world.connect();
            client.write_all(b"ping").unwrap();
            expect(&mut client, b"ping");
        }
        let log = settle(&mut world, 10);
        assert_eq!(log.matches("\"reason\":\"-\"").count(), 10, "{log}");
        assert!(log.contains("\"attempts\":2"), "{log}");
        world.stop();
    }
}

#[test]
fn connections_are_shared_out_by_weight_and_counted_by_listener() {
    for backend in backends() {
        let answering =
            |text: &'static str| Recorded::start(move |mut tap, _| tap.write(text.as_bytes()));
        let (a, b) = (answering("a"), answering("b"));
        let backends = [("a", vec![a.address]), ("b", vec![b.address])];
        let ir = streams(&[("a", 3), ("b", 1)], &backends);
        let mut world = World::start(backend, &ir, logging());
        let answers: String = (0..20).map(|_| read_to_end(&mut world.connect())).collect();
        assert_eq!(answers.matches('a').count(), 15, "{answers}");
        assert_eq!(answers.matches('b').count(), 5, "{answers}");
        settle(&mut world, 20);
        let counts = world.seen.iter().flat_map(|report| &report.activity.streams);
        let (mut ended, mut bytes) = (0, 0);
        for streams in counts {
            assert_eq!(&*streams.listener, "default/gateway/tcp");
            ended += streams.counts.ended;
            bytes += streams.counts.bytes_out;
        }
        assert_eq!((ended, bytes), (20, 20));
        world.stop();
    }
}

#[test]
fn a_stream_lives_on_when_its_route_changes_and_the_next_one_follows_the_change() {
    for backend in backends() {
        let echo = Recorded::start(|mut tap, _| {
            while let Some(bytes) = tap.read() {
                tap.write(&bytes);
            }
        });
        let other = Recorded::start(|mut tap, _| tap.write(b"other"));
        let mut ir = streams(&[("b", 1)], &[("b", vec![echo.address])]);
        let mut world = World::start(backend, &ir, logging());
        let mut client = world.connect();
        client.write_all(b"one").unwrap();
        expect(&mut client, b"one");
        let mut edited = streams(&[("o", 1)], &[("o", vec![other.address])]);
        edited.ports[0].port = ir.ports[0].port;
        ir = edited;
        world.follow(&ir, logging());
        client.write_all(b"two").unwrap();
        expect(&mut client, b"two");
        assert_eq!(read_to_end(&mut world.connect()), "other");
        world.stop();
    }
}

#[test]
fn a_stream_on_which_nothing_moves_is_reset_after_the_idle_limit() {
    for backend in backends() {
        let (sender, accepted) = mpsc::channel();
        let peer = Recorded::start(move |tap, _| sender.send(tap.stream).unwrap());
        let ir = streams(&[("b", 1)], &[("b", vec![peer.address])]);
        let mut settings = logging();
        settings.timeouts.stream_idle = Duration::from_millis(800);
        let mut world = World::start(backend, &ir, settings);
        let mut client = world.connect();
        let mut server = accepted.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(kind_of_end(&mut client), "RST");
        assert_eq!(kind_of_end(&mut server), "RST");
        let log = settle(&mut world, 1);
        assert!(log.contains("\"reason\":\"stream_idle\""), "{log}");
        world.stop();
    }
}

#[test]
fn two_sides_that_take_nothing_of_each_other_are_reset_too() {
    for backend in backends() {
        let (sender, accepted) = mpsc::channel();
        let peer = Recorded::start(move |tap, _| sender.send(tap.stream).unwrap());
        let ir = streams(&[("b", 1)], &[("b", vec![peer.address])]);
        let mut settings = logging();
        settings.timeouts.stream_idle = Duration::from_millis(800);
        let mut world = World::start(backend, &ir, settings);
        let client = world.connect();
        let server = accepted.recv_timeout(Duration::from_secs(10)).unwrap();
        let pushers = [client, server].map(|mut stream| {
            thread::spawn(move || {
                let block = vec![b'z'; 1 << 20];
                loop {
                    match stream.write(&block) {
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => return error.kind(),
                        Ok(_) => {}
                    }
                }
            })
        });
        for pusher in pushers {
            assert_eq!(pusher.join().unwrap(), std::io::ErrorKind::ConnectionReset);
        }
        let log = settle(&mut world, 1);
        assert!(log.contains("\"reason\":\"stream_idle\""), "{log}");
        world.stop();
    }
}

#[test]
fn a_drain_lets_streams_go_on_and_resets_what_is_left_at_its_limit() {
    for backend in backends() {
        let (mut world, accepted) = world_with_peer(backend);
        let (mut client, mut server) = pair(&world, &accepted);
        let mut settings = logging();
        settings.drain = Some(Duration::from_millis(1500));
        let mut next = Epoch::empty();
        next.id = world.epoch.id + 1;
        next.settings = settings;
        world.publish(Arc::new(next));
        client.write_all(b"still").unwrap();
        expect(&mut server, b"still");
        server.write_all(b"there").unwrap();
        expect(&mut client, b"there");
        world.wait_for(|report| report.phase == Phase::Ended);
        assert_eq!(kind_of_end(&mut client), "RST");
        assert_eq!(kind_of_end(&mut server), "RST");
        world.shards.join();
    }
}

#[test]
fn a_side_that_takes_nothing_holds_up_the_other_and_loses_nothing() {
    with_peer(|world, accepted| {
        let (client, mut server) = pair(world, accepted);
        // A write finds no room in half a second only when nothing moves any more.
        client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let (mut pushing, mut pushed) = (&client, 0);
        let full = loop {
            match pushing.write(&[b'z'; 65536]) {
                Ok(n) => pushed += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind(),
            }
            assert!(pushed < 1 << 30, "nothing held it up");
        };
        assert_eq!(full, std::io::ErrorKind::WouldBlock);
        client.shutdown(Shutdown::Write).unwrap();
        let (mut got, mut block) = (0, vec![0; 1 << 20]);
        while let Ok(n @ 1..) = read_some(&mut server, &mut block) {
            got += n;
        }
        assert_eq!(got, pushed);
    });
}

#[test]
fn a_port_that_becomes_another_protocols_serves_the_new_one() {
    for backend in backends() {
        let echo = Recorded::start(|mut tap, _| {
            while let Some(bytes) = tap.read() {
                tap.write(&bytes);
            }
        });
        let tcp = streams(&[("b", 1)], &[("b", vec![echo.address])]);
        let web = Recorded::always(support::OK);
        let mut http = support::one(&web);
        http.ports[0].port = tcp.ports[0].port;
        let mut world = World::start(backend, &tcp, logging());
        let mut client = world.connect();
        client.write_all(b"raw").unwrap();
        expect(&mut client, b"raw");
        world.follow(&http, logging());
        assert!(world.exchange(support::GET_CLOSE).starts_with("HTTP/1.1 200"));
        world.stop();
    }
}
