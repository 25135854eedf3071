//! Mirrors through real shards: what they get, and that nothing about them reaches a client.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use proxy::epoch::Settings;
use proxy::ir;
use shards::report::MirrorEnd;
use support::{GET, GET_CLOSE, OK, Recorded, World, backends, config, read_until, rule, settle};

fn mirror(name: &str, numerator: u32, denominator: u32) -> ir::Filter {
    let target = ir::Target::Backend(name.into());
    ir::Filter::RequestMirror(ir::Mirror { target, numerator, denominator })
}

/// Everything goes to `backend`; `filters` may name the mirrors `m0`, `m1` and so on.
fn mirrored(backend: SocketAddr, filters: Vec<ir::Filter>, mirrors: &[SocketAddr]) -> ir::Ir {
    let mut rule = rule("/", &[("b", 1)]);
    rule.filters = filters;
    let names: Vec<_> = (0..mirrors.len()).map(|n| format!("m{n}")).collect();
    let mut all = vec![("b", vec![backend])];
    all.extend(names.iter().zip(mirrors).map(|(name, one)| (name.as_str(), vec![*one])));
    config(vec![rule], &all)
}

/// Copies that ended so, as far as reported.
fn ended(world: &World, end: MirrorEnd) -> u64 {
    world.seen.iter().map(|report| report.activity.mirrors[end as usize]).sum()
}

/// Waits until `count` copies have ended so.
fn await_ends(world: &mut World, end: MirrorEnd, count: u64) {
    while ended(world, end) < count {
        let next = world.wait_for(|_| true);
        world.seen.push(next);
    }
    assert_eq!(ended(world, end), count, "{end:?}");
}

#[test]
fn every_mirror_gets_what_the_backend_gets() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let mirrors = [
            Recorded::always(OK),
            Recorded::always("HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"),
        ];
        let edit = ir::Filter::RequestHeaderModifier(ir::HeaderModifier {
            set: vec![("x-set".into(), "new".into())],
            add: Vec::new(),
            remove: vec!["x-remove".into()],
        });
        let filters = vec![edit, mirror("m0", 1, 1), mirror("m1", 100, 100)];
        let addresses = [mirrors[0].address, mirrors[1].address];
        let ir = mirrored(backend.address, filters, &addresses);
        let mut world = World::start(runtime, &ir, Settings::default());
        let mut client = world.connect();
        let requests: [&[&[u8]]; 4] = [
            &[b"GET /mirror?id=1 HTTP/1.1\r\nHost: x\r\nX-Remove: a\r\nX-Set: old\r\n\r\n"],
            &[b"POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"],
            &[b"PUT /late HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n", b"bo", b"dy"],
            &[
                b"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"4\r\nbody\r\n0\r\n\r\n",
            ],
        ];
        for (sent, pieces) in requests.iter().enumerate() {
            for piece in *pieces {
                client.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(10));
            }
            let answer = read_until(&mut client, "hello");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{runtime:?} {answer}");
            assert!(!answer.contains("close"), "{runtime:?} {answer}");
            await_ends(&mut world, MirrorEnd::Delivered, 2 * (sent as u64 + 1));
        }
        let seen = backend.text();
        assert!(seen.contains("x-set: new\r\n") && !seen.contains("x-remove"), "{seen}");
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
        assert_eq!(seen.matches("body").count(), 3, "{seen}");
        for mirror in &mirrors {
            assert_eq!(mirror.text(), seen, "{runtime:?}");
        }
        assert_eq!(*mirrors[0].connections.lock().unwrap(), 1, "it is kept: {runtime:?}");
        world.stop();
    }
}

#[test]
fn a_backends_own_mirror_gets_only_its_share() {
    for runtime in backends() {
        let (one, other, copies) =
            (Recorded::always(OK), Recorded::always(OK), Recorded::always(OK));
        let mut rule = rule("/", &[("one", 1), ("other", 1)]);
        rule.backends[0].filters = vec![mirror("copies", 1, 1)];
        let all = [
            ("one", vec![one.address]),
            ("other", vec![other.address]),
            ("copies", vec![copies.address]),
        ];
        let mut world = World::start(runtime, &config(vec![rule], &all), Settings::default());
        for _ in 0..10 {
            world.exchange(GET_CLOSE);
        }
        await_ends(&mut world, MirrorEnd::Delivered, 5);
        assert_eq!(copies.text().matches("GET /a").count(), 5, "{runtime:?}");
        assert_eq!(one.text().matches("GET /a").count(), 5, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn a_mirror_that_is_dead_slow_or_rude_has_no_effect_on_the_client() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let silent = Recorded::start(|mut tap, _| while tap.read().is_some() {});
        let hangs_up = Recorded::start(|_, _| {});
        let garbage = Recorded::always("HELLO\r\n\r\n");
        let addresses = [dead, silent.address, hangs_up.address, garbage.address];
        let mut filters: Vec<_> =
            (0..addresses.len()).map(|n| mirror(&format!("m{n}"), 1, 1)).collect();
        filters.push(mirror("nowhere", 1, 1));
        filters.push(ir::Filter::RequestMirror(ir::Mirror {
            target: ir::Target::Invalid("no such Service".into()),
            numerator: 1,
            denominator: 1,
        }));
        let mut ir = mirrored(backend.address, filters, &addresses);
        ir.backends.insert("nowhere".into(), ir::Backend::default().into());
        let mut world = World::start(runtime, &ir, Settings::default());
        let mut client = world.connect();
        for _ in 0..30 {
            client.write_all(GET).unwrap();
            let answer = read_until(&mut client, "hello");
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{runtime:?} {answer}");
        }
        await_ends(&mut world, MirrorEnd::Failed, 90);
        await_ends(&mut world, MirrorEnd::NoEndpoint, 30);
        assert_eq!(*backend.connections.lock().unwrap(), 1, "{runtime:?}");
        world.stop();
    }
}

#[test]
fn more_copies_than_the_bound_are_left_out_and_counted() {
    for runtime in backends() {
        let backend = Recorded::always(OK);
        let silent = Recorded::start(|mut tap, _| while tap.read().is_some() {});
        let ir = mirrored(backend.address, vec![mirror("m0", 1, 1)], &[silent.address]);
        let mut world = World::start(runtime, &ir, Settings::default());
        let mut client = world.connect();
        for _ in 0..proxy::limits::MIRRORS_IN_FLIGHT_MAX + 5 {
            client.write_all(GET).unwrap();
            read_until(&mut client, "hello");
        }
        await_ends(&mut world, MirrorEnd::Busy, 5);
        world.stop();
    }
}

#[test]
fn what_cannot_be_copied_is_left_out_and_counted() {
    for runtime in backends() {
        let backend = Recorded::start(|mut tap, _| {
            while let Some(request) = tap.request() {
                if request.contains("upgrade: websocket") {
                    tap.write(b"HTTP/1.1 400 No\r\ncontent-length: 5\r\n\r\nhello");
                } else {
                    tap.write(OK.as_bytes());
                }
            }
        });
        let copies = Recorded::always(OK);
        let ir = mirrored(backend.address, vec![mirror("m0", 1, 1)], &[copies.address]);
        let mut world = World::start(runtime, &ir, Settings::default());
        let mut large =
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 70000\r\n\r\n"
                .to_vec();
        large.resize(large.len() + 70_000, b'x');
        assert!(world.exchange(&large).ends_with("hello"), "{runtime:?}");
        let mut client = world.connect();
        for request in [
            "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        ] {
            client.write_all(request.as_bytes()).unwrap();
            read_until(&mut client, "hello");
        }
        await_ends(&mut world, MirrorEnd::TooLarge, 1);
        await_ends(&mut world, MirrorEnd::Unfit, 2);
        assert_eq!(copies.text(), "", "{runtime:?}");
        world.stop();
    }
}

/// 1,000 draws of 1/2: five standard deviations are 79.
#[test]
fn a_fraction_is_the_share_that_is_mirrored() {
    for runtime in backends() {
        let (backend, copies) = (Recorded::always(OK), Recorded::always(OK));
        let ir = mirrored(backend.address, vec![mirror("m0", 1, 2)], &[copies.address]);
        let mut world = World::start(runtime, &ir, Settings::default());
        let mut client = world.connect();
        for _ in 0..1_000 {
            client.write_all(GET).unwrap();
            read_until(&mut client, "hello");
        }
        drop(client);
        thread::sleep(Duration::from_millis(300));
        settle(&mut world, 0);
        let share = copies.text().matches("GET /a").count();
        assert!((421..=579).contains(&share), "{runtime:?}: {share} of 1,000");
        world.stop();
    }
}

#[test]
fn a_request_is_mirrored_once_however_often_it_is_tried() {
    for runtime in backends() {
        let busy = "HTTP/1.1 503 Busy\r\ncontent-length: 5\r\n\r\nhello";
        let (backend, copies) = (Recorded::always(busy), Recorded::always(OK));
        let mut ir = mirrored(backend.address, vec![mirror("m0", 1, 1)], &[copies.address]);
        let mut route = (*ir.ports[0].listeners[0].routes[0].route).clone();
        let backoff = Duration::ZERO;
        route.rules[0].retry = Some(ir::Retry { codes: vec![503], attempts: 3, backoff });
        ir.ports[0].listeners[0].routes[0].route = route.into();
        let mut world = World::start(runtime, &ir, Settings::default());
        assert!(world.exchange(GET_CLOSE).contains("503"), "{runtime:?}");
        await_ends(&mut world, MirrorEnd::Delivered, 1);
        assert_eq!(backend.text().matches("GET /a").count(), 4, "{runtime:?}");
        assert_eq!(copies.text().matches("GET /a").count(), 1, "{runtime:?}");
        world.stop();
    }
}
