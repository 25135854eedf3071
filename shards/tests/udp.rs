//! UDP listeners through real shards: plain sockets before and behind them.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proxy::epoch::{Epoch, Settings};
use proxy::ir;
use runtime::datagram::{Batch, Bound};
use runtime::socket::{Home, Transport};
use shards::report::{Datagrams, Dropped, Phase};
use shards::{Backend, Options, Report, Shards};
use support::{GET_CLOSE, OK, Recorded, World, backends};

/// A socket of a client or a backend.
struct Peer(UdpSocket);

impl Peer {
    fn new() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    fn at(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(socket)
    }

    /// A client of `to`, which takes nothing from any other address.
    fn of(to: SocketAddr) -> Self {
        let peer = Self::new();
        peer.0.connect(to).unwrap();
        peer
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn send(&self, bytes: &[u8]) {
        self.0.send(bytes).unwrap();
    }

    /// The next datagram and where it came from, whatever signals come meanwhile.
    fn next(&self) -> (Vec<u8>, SocketAddr) {
        let mut block = vec![0; 70_000];
        loop {
            match self.0.recv_from(&mut block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => {
                    let (n, from) = other.unwrap();
                    block.truncate(n);
                    return (block, from);
                }
            }
        }
    }

    /// Answers the next datagram with itself; says where it came from.
    fn echo(&self) -> SocketAddr {
        let (bytes, from) = self.next();
        self.0.send_to(&bytes, from).unwrap();
        from
    }

    /// Sends `bytes` through the gateway and back; says how `backend` saw it come.
    fn exchange(&self, bytes: &[u8], backend: &Self) -> SocketAddr {
        self.send(bytes);
        let seen = backend.echo();
        assert_eq!(self.next().0, bytes);
        seen
    }
}

/// A configuration with one UDP port whose listener has these routes, each by its weighted backends.
fn config(
    address: Option<IpAddr>,
    routes: &[&[(&str, u32)]],
    backends: &[(&str, &[SocketAddr])],
) -> ir::Ir {
    let stream = |backends: &&[(&str, u32)]| {
        let backends = backends
            .iter()
            .map(|(name, weight)| ir::BackendRef {
                target: match *name {
                    "-" => ir::Target::Invalid("-".into()),
                    name => ir::Target::Backend(name.into()),
                },
                weight: *weight,
                filters: Vec::new(),
            })
            .collect();
        let route = ir::StreamRoute { name: "default/route".into(), created: 0, backends };
        ir::AttachedStream { hostnames: Vec::new(), route: Arc::new(route) }
    };
    let listener = ir::Listener {
        name: "default/gateway/udp".into(),
        port: 53,
        kind: ir::ListenerKind::Stream,
        streams: routes.iter().map(stream).collect(),
        ..ir::Listener::default()
    };
    let port = ir::Port {
        address,
        port: Peer::new().address().port(),
        protocol: ir::Protocol::Udp,
        listeners: vec![listener],
        ..ir::Port::default()
    };
    let backends: BTreeMap<Arc<str>, Arc<ir::Backend>> = backends
        .iter()
        .map(|(name, endpoints)| {
            let endpoints = endpoints.to_vec();
            ((*name).into(), Arc::new(ir::Backend { endpoints, ..ir::Backend::default() }))
        })
        .collect();
    ir::Ir { ports: vec![port], backends }
}

const LOCALHOST: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// One listener with one route to `endpoints`.
fn simple(endpoints: &[SocketAddr]) -> ir::Ir {
    config(LOCALHOST, &[&[("b", 1)]], &[("b", endpoints)])
}

/// Shards with this many sessions a listener.
fn limited(backend: Backend, ir: &ir::Ir, shards: usize, sessions: (usize, usize)) -> World {
    let options = Options {
        cores: vec![None; shards],
        udp_sessions_max: sessions.0,
        udp_sessions_shard_max: sessions.1,
        ..support::options(backend)
    };
    let (shards_, reports) = Shards::start(&options).unwrap();
    let epoch = Arc::new(Epoch::compile(1, ir, Settings::default(), None));
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ir.ports[0].port);
    let mut world =
        World { address, epoch: Arc::clone(&epoch), reports, seen: Vec::new(), shards: shards_ };
    world.shards.publish(epoch);
    for shard in 0..shards {
        let installed = |report: &Report| report.shard == shard && report.installed == 1;
        if !world.seen.iter().any(installed) {
            let report = world.wait_for(installed);
            world.seen.push(report);
        }
    }
    world
}

fn start(backend: Backend, ir: &ir::Ir) -> World {
    World::start(backend, ir, Settings::default())
}

/// All that was counted so far.
fn counted(world: &World) -> Datagrams {
    let mut sum = Datagrams::default();
    world.seen.iter().for_each(|report| sum.add(&report.activity.datagrams));
    sum
}

/// Waits until what was counted is as `wanted`.
fn await_counts(world: &mut World, wanted: impl Fn(&Datagrams) -> bool) -> Datagrams {
    loop {
        let now = counted(world);
        if wanted(&now) {
            return now;
        }
        let next = world.wait_for(|_| true);
        world.seen.push(next);
    }
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + i / 253 + seed) % 251) as u8).collect()
}

#[test]
fn datagrams_reach_an_endpoint_and_its_answers_the_client() {
    for runtime in backends() {
        let backend = Peer::new();
        let mut world = start(runtime, &simple(&[backend.address()]));
        let clients: Vec<Peer> = (0..3).map(|_| Peer::of(world.address)).collect();
        let mut sources = Vec::new();
        for (i, client) in clients.iter().enumerate() {
            let sizes = [1, 0, 1200, 9000, 65_507];
            let seen: Vec<_> =
                sizes.iter().map(|&size| client.exchange(&pattern(size, i), &backend)).collect();
            assert!(seen.iter().all(|source| *source == seen[0]), "one session has one socket");
            sources.push(seen[0]);
        }
        sources.dedup();
        assert_eq!(sources.len(), clients.len());
        let counts = await_counts(&mut world, |counts| counts.datagrams == [15, 15]);
        assert_eq!((counts.opened, counts.evicted, counts.failed), (3, 0, 0));
        assert_eq!(counts.bytes, [3 * 75_708; 2]);
        assert_eq!(counts.dropped, [0; Dropped::ALL.len()]);
        assert_eq!(world.seen.last().unwrap().udp_sessions, 3);
        world.stop();
    }
}

#[test]
fn bursts_of_many_clients_arrive_whole_and_in_order_on_several_shards() {
    const CLIENTS: usize = 40;
    const ROUNDS: usize = 5;
    const BURST: usize = 20;
    for runtime in backends() {
        let backend = Peer::new();
        let world = limited(runtime, &simple(&[backend.address()]), 2, (1_000, 1_000));
        let echo = thread::spawn(move || {
            (0..CLIENTS * ROUNDS * BURST).for_each(|_| drop(backend.echo().to_string()));
        });
        let size = |burst: usize| [100, 100, 100, 3000, 0, 700, 100][burst % 7];
        let clients: Vec<Peer> = (0..CLIENTS).map(|_| Peer::of(world.address)).collect();
        for round in 0..ROUNDS {
            // As many at a time as the default buffer of the backend's socket surely holds.
            for few in clients.chunks(4) {
                for burst in 0..BURST {
                    few.iter().for_each(|one| one.send(&pattern(size(burst), burst + round)));
                }
                for one in few {
                    for burst in 0..BURST {
                        assert_eq!(
                            one.next().0,
                            pattern(size(burst), burst + round),
                            "{runtime:?}"
                        );
                    }
                }
            }
        }
        echo.join().unwrap();
        world.stop();
    }
}

/// A socket that sends and takes equally long datagrams as one.
struct Train {
    bound: Bound,
    batch: Batch,
}

impl Train {
    fn new() -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        Self { bound: Bound::new(address, Home::Here).unwrap(), batch: Batch::default() }
    }

    /// Takes `wanted` into the batch, from wherever it comes.
    fn take(&mut self, wanted: &[Vec<u8>]) {
        self.batch.clear();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while seen.len() < wanted.len() {
            let first = self.batch.len();
            self.bound.receive(&mut self.batch).unwrap();
            for place in first..self.batch.len() {
                seen.extend(self.batch.datagrams(place).map(<[u8]>::to_vec));
            }
        }
        assert_eq!(seen, wanted);
    }

    /// Sends the batch to `to`, or back where it came from.
    fn send(&mut self, to: Option<SocketAddr>) {
        let places: Vec<u16> = (0..self.batch.len() as u16).collect();
        for &place in &places {
            let to = to.unwrap_or_else(|| self.batch.peer(place.into()));
            self.batch.address(place.into(), to, LOCALHOST.unwrap());
        }
        assert_eq!(self.bound.send(&mut self.batch, &places).places, places.len());
    }
}

#[test]
fn what_travels_as_one_is_relayed_and_counted_by_the_datagram() {
    let wanted: Vec<_> = [100, 100, 100, 40].iter().map(|&size| pattern(size, size)).collect();
    for runtime in backends() {
        let (mut client, mut backend) = (Train::new(), Train::new());
        let mut world = start(runtime, &simple(&[backend.bound.local_address().unwrap()]));
        let feeder = Peer::of(client.bound.local_address().unwrap());
        for _ in 0..3 {
            wanted.iter().for_each(|bytes| feeder.send(bytes));
            client.take(&wanted);
            client.send(Some(world.address));
            backend.take(&wanted);
            assert_eq!(backend.batch.len(), 1, "it arrived as one, so it went on as one");
            backend.send(None);
            client.take(&wanted);
            assert_eq!(client.batch.len(), 1, "likewise");
        }
        let counts = await_counts(&mut world, |counts| counts.datagrams == [12, 12]);
        assert_eq!((counts.opened, counts.bytes), (1, [3 * 340; 2]));
        world.stop();
    }
}

#[test]
fn an_answer_leaves_from_the_address_that_the_client_sent_to() {
    for runtime in backends() {
        let backend = Peer::new();
        let ir = config(None, &[&[("b", 1)]], &[("b", &[backend.address()])]);
        let world = start(runtime, &ir);
        let client = Peer::new();
        let mut sources = Vec::new();
        for ip in ["127.0.0.1", "127.0.0.2"] {
            // It takes answers from there only.
            let asked: IpAddr = ip.parse().unwrap();
            client.0.connect((asked, world.address.port())).unwrap();
            sources.push(client.exchange(ip.as_bytes(), &backend));
        }
        assert_ne!(sources[0], sources[1], "a session by each address");
        let v6 = UdpSocket::bind("[::1]:0");
        if let Ok(client) = v6.map(Peer) {
            client.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.0.connect(("::1", world.address.port())).unwrap();
            client.exchange(b"six", &backend);
        }
        world.stop();
    }
}

#[test]
fn each_client_stays_with_its_backend_and_weights_hold_over_clients() {
    for runtime in backends() {
        let (heavy, light, never) = (Peer::new(), Peer::new(), Peer::new());
        let ir = config(
            LOCALHOST,
            &[&[("heavy", 3), ("light", 1), ("never", 0)]],
            &[
                ("heavy", &[heavy.address()]),
                ("light", &[light.address()]),
                ("never", &[never.address()]),
            ],
        );
        let world = start(runtime, &ir);
        heavy.0.set_nonblocking(true).unwrap();
        let mut seen = [0, 0];
        // All stay open: a port that is free again would give the next client an old session.
        let clients: Vec<Peer> = (0..40).map(|_| Peer::of(world.address)).collect();
        for client in &clients {
            client.send(b"1");
            // Whoever got it answers.
            let backend = loop {
                match heavy.0.peek(&mut [0]) {
                    Ok(_) => break 0,
                    Err(_)
                        if light.0.set_nonblocking(true).is_ok()
                            && light.0.peek(&mut [0]).is_ok() =>
                    {
                        break 1;
                    }
                    Err(_) => thread::yield_now(),
                }
            };
            let one = [&heavy, &light][backend];
            let source = one.echo();
            assert_eq!(client.next().0, b"1");
            seen[backend] += 1;
            one.0.set_nonblocking(false).unwrap();
            for _ in 0..3 {
                assert_eq!(client.exchange(b"more", one), source);
            }
            one.0.set_nonblocking(true).unwrap();
        }
        assert_eq!(seen, [30, 10], "{runtime:?}");
        world.stop();
    }
}

#[test]
fn at_the_limit_the_longest_idle_session_makes_room() {
    for runtime in backends() {
        for limits in [(3, 1_000), (1_000, 3)] {
            let backend = Peer::new();
            let mut world = limited(runtime, &simple(&[backend.address()]), 1, limits);
            let clients: Vec<Peer> = (0..4).map(|_| Peer::of(world.address)).collect();
            let first: Vec<_> =
                clients[..3].iter().map(|one| one.exchange(b"x", &backend)).collect();
            // The first is used again, so the second is the longest idle.
            assert_eq!(clients[0].exchange(b"x", &backend), first[0]);
            clients[3].exchange(b"x", &backend);
            assert_eq!(clients[0].exchange(b"x", &backend), first[0]);
            assert_eq!(clients[2].exchange(b"x", &backend), first[2]);
            assert_ne!(clients[1].exchange(b"x", &backend), first[1], "it begins anew");
            let counts = await_counts(&mut world, |counts| counts.opened == 5);
            assert_eq!(counts.evicted, 2);
            assert_eq!(world.seen.last().unwrap().udp_sessions, 3);
            world.stop();
        }
    }
}

#[test]
fn one_batch_of_more_clients_than_sessions_still_reaches_the_endpoint_whole() {
    for runtime in backends() {
        let backend = Peer::new();
        let mut world = limited(runtime, &simple(&[backend.address()]), 1, (2, 1_000));
        let clients: Vec<Peer> = (0..50).map(|_| Peer::of(world.address)).collect();
        for (i, client) in clients.iter().enumerate() {
            client.send(&[i as u8]);
            client.send(&[i as u8]);
        }
        let mut all: Vec<u8> = (0..100).map(|_| backend.next().0[0]).collect();
        all.sort_unstable();
        assert_eq!(all, (0..50).flat_map(|i| [i, i]).collect::<Vec<u8>>());
        let counts = await_counts(&mut world, |counts| counts.datagrams[0] == 100);
        assert_eq!(counts.opened - counts.evicted, 2);
        world.stop();
    }
}

#[test]
fn an_icmp_error_ends_one_session_and_the_next_datagram_finds_another_endpoint() {
    for runtime in backends() {
        let (living, dying) = (Peer::new(), Peer::new());
        let addresses = [living.address(), dying.address()];
        let mut world = start(runtime, &simple(&addresses));
        // Sessions are spread over both endpoints.
        let clients: Vec<Peer> = (0..20).map(|_| Peer::of(world.address)).collect();
        clients.iter().for_each(|one| one.send(b"x"));
        let mut lost = Vec::new();
        living.0.set_nonblocking(true).unwrap();
        for _ in &clients {
            let mut block = [0; 9];
            let (one, from) = loop {
                if let Ok((_, from)) = living.0.recv_from(&mut block) {
                    break (&living, from);
                }
                dying.0.set_nonblocking(true).unwrap();
                if let Ok((_, from)) = dying.0.recv_from(&mut block) {
                    break (&dying, from);
                }
                thread::yield_now();
            };
            one.0.send_to(b"x", from).unwrap();
            if one.address() == dying.address() {
                lost.push(from);
            }
        }
        clients.iter().for_each(|one| assert_eq!(one.next().0, b"x"));
        assert!(!lost.is_empty() && lost.len() < clients.len(), "{runtime:?} {lost:?}");
        drop(dying);
        living.0.set_nonblocking(false).unwrap();
        let echo = thread::spawn(move || {
            while living.next().1.ip() == Ipv4Addr::LOCALHOST {
                living.echo();
            }
        });
        // A datagram may find the dead endpoint until enough have: clients try again, as they do.
        for client in &clients {
            client.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let answered = (0..200).any(|_| {
                client.send(b"y");
                client.0.recv(&mut [0; 9]).is_ok()
            });
            assert!(answered, "{runtime:?}");
        }
        let counts = await_counts(&mut world, |counts| counts.failed > 0);
        assert!(counts.failed as usize >= lost.len().min(3), "{counts:?}");
        drop(echo);
        world.stop();
    }
}

#[test]
fn a_session_stays_across_epochs_while_its_endpoint_is_wanted() {
    for runtime in backends() {
        let (one, other) = (Peer::new(), Peer::new());
        let mut ir = simple(&[one.address()]);
        let mut world = start(runtime, &ir);
        let client = Peer::of(world.address);
        let source = client.exchange(b"x", &one);
        // Another endpoint, another backend before it with most of the weight.
        let endpoints = vec![one.address(), other.address()];
        let both = Arc::new(ir::Backend { endpoints, ..ir::Backend::default() });
        ir.backends.insert("b".into(), both);
        world.follow(&ir, Settings::default());
        assert_eq!(client.exchange(b"x", &one), source);
        let mut shifted = config(
            LOCALHOST,
            &[&[("new", 99), ("b", 1)]],
            &[("new", &[other.address()]), ("b", &[one.address()])],
        );
        shifted.ports[0].port = world.address.port();
        world.follow(&shifted, Settings::default());
        assert_eq!(client.exchange(b"x", &one), source);
        // Gone from its backend, though another has it now.
        let mut gone = config(
            LOCALHOST,
            &[&[("b", 1)]],
            &[("b", &[other.address()]), ("else", &[one.address()])],
        );
        gone.ports[0].port = world.address.port();
        world.follow(&gone, Settings::default());
        client.exchange(b"x", &other);
        let counts = await_counts(&mut world, |counts| counts.opened == 2);
        assert_eq!((counts.evicted, counts.failed), (0, 0));
        world.stop();
    }
}

#[test]
fn what_has_nowhere_to_go_is_dropped_and_counted_by_its_reason() {
    let backend = Peer::new();
    let address = backend.address();
    for (routes, backends_, why) in [
        (&[][..], &[][..], Dropped::NoRoute),
        (&[&[][..]], &[], Dropped::BackendInvalid),
        (&[&[("-", 1)]], &[], Dropped::BackendInvalid),
        (&[&[("b", 0)]], &[("b", &[address][..])], Dropped::BackendInvalid),
        (&[&[("b", 1)]], &[("b", &[])], Dropped::NoEndpoints),
    ] {
        let ir = config(LOCALHOST, routes, backends_);
        let mut world = start(Backend::Epoll, &ir);
        let client = Peer::of(world.address);
        client.send(b"x");
        client.send(b"y");
        let counts = await_counts(&mut world, |counts| counts.dropped.iter().sum::<u64>() == 2);
        assert_eq!(counts.dropped[why as usize], 2, "{why:?}: {counts:?}");
        assert_eq!(counts.opened, 0);
        // What comes as one is several all the same.
        let mut train = Train::new();
        let bytes = vec![vec![7; 9]; 3];
        let feeder = Peer::of(train.bound.local_address().unwrap());
        bytes.iter().for_each(|one| feeder.send(one));
        train.take(&bytes);
        train.send(Some(world.address));
        await_counts(&mut world, |counts| counts.dropped[why as usize] == 5);
        // It is served as soon as there is somebody.
        let mut healed = simple(&[address]);
        healed.ports[0].port = world.address.port();
        world.follow(&healed, Settings::default());
        client.exchange(b"z", &backend);
        world.stop();
    }
}

#[test]
fn no_datagram_goes_round() {
    for address in [LOCALHOST, None] {
        let backend = Peer::new();
        let mut ir = config(address, &[&[("b", 1)]], &[("b", &[backend.address()])]);
        // A second listener, which has no route.
        let other = config(LOCALHOST, &[], &[]).ports.remove(0);
        ir.ports.push(other);
        let mut world = start(Backend::Epoll, &ir);
        // From a listener of ours: a socket that shares its address stands for it.
        let shared: SocketAddr = (Ipv4Addr::LOCALHOST, ir.ports[1].port).into();
        let forged = Bound::new(shared, Home::Here).unwrap();
        let mut batch = Batch::default();
        while batch.is_empty() {
            Peer::of(shared).send(b"for the forger, if the kernel chooses it");
            forged.receive(&mut batch).unwrap();
        }
        let before = await_counts(&mut world, |_| true).dropped[Dropped::Loop as usize];
        batch.address(0, world.address, shared.ip());
        assert_eq!(forged.send(&mut batch, &[0]).datagrams, 1);
        await_counts(&mut world, |counts| counts.dropped[Dropped::Loop as usize] == before + 1);
        drop(forged);
        // To a listener of ours.
        let mut looped = ir.clone();
        let endpoints = vec![world.address];
        let own = Arc::new(ir::Backend { endpoints, ..ir::Backend::default() });
        looped.backends.insert("b".into(), own);
        world.follow(&looped, Settings::default());
        Peer::of(world.address).send(b"to itself");
        await_counts(&mut world, |counts| counts.dropped[Dropped::Loop as usize] == before + 2);
        world.follow(&ir, Settings::default());
        Peer::of(world.address).exchange(b"x", &backend);
        world.stop();
    }
}

#[test]
fn an_idle_session_ends_and_a_used_one_does_not() {
    for runtime in backends() {
        let backend = Peer::new();
        let mut settings = Settings::default();
        settings.timeouts.udp_idle = Duration::from_millis(500);
        let mut world = World::start(runtime, &simple(&[backend.address()]), settings);
        let (quiet, busy) = (Peer::of(world.address), Peer::of(world.address));
        let first = quiet.exchange(b"x", &backend);
        let used = busy.exchange(b"x", &backend);
        while world.seen.last().is_none_or(|report| report.udp_sessions != 1) {
            // Answers alone keep a session.
            backend.0.send_to(b"news", used).unwrap();
            assert_eq!(busy.next().0, b"news");
            let next = world.wait_for(|_| true);
            world.seen.push(next);
        }
        assert_eq!(busy.exchange(b"x", &backend), used);
        assert_ne!(quiet.exchange(b"x", &backend), first);
        world.stop();
    }
}

/// Waits for the one more line of the access log that says `wanted`.
fn await_line(world: &mut World, lines: usize, wanted: &str) {
    loop {
        let log = world.seen.iter().flat_map(|report| report.activity.access_log.iter().copied());
        let log = String::from_utf8(log.collect()).unwrap();
        if log.lines().count() >= lines {
            assert_eq!(log.lines().count(), lines, "{log}");
            return assert!(log.lines().last().unwrap().contains(wanted), "{wanted}: {log}");
        }
        let next = world.wait_for(|_| true);
        world.seen.push(next);
    }
}

#[test]
fn the_access_log_has_a_line_for_each_session_that_says_why_it_ended() {
    for runtime in backends() {
        let (first, second) = (Peer::new(), Peer::new());
        let on = Settings { access_log: true, ..Settings::default() };
        let ir = simple(&[first.address()]);
        let mut world = limited(runtime, &ir, 1, (2, 2));
        // From before the log was on: it has no line.
        Peer::of(world.address).exchange(b"x", &first);
        world.follow(&ir, on.clone());
        let clients: Vec<Peer> = (0..3).map(|_| Peer::of(world.address)).collect();
        let seen = clients[0].exchange(b"hello", &first);
        first.0.send_to(b"news", seen).unwrap();
        assert_eq!(clients[0].next().0, b"news");
        clients[1].exchange(b"x", &first);
        clients[2].exchange(b"x", &first);
        let names = format!("\"backend\":\"b\",\"endpoint\":\"{}\"", first.address());
        await_line(&mut world, 1, "\"stream\":\"udp\",\"reason\":\"evicted\",\"route\":\"");
        await_line(&mut world, 1, &names);
        let counts = "\"datagrams_in\":1,\"datagrams_out\":2,\"bytes_in\":5,\"bytes_out\":9,";
        await_line(&mut world, 1, counts);
        let mut moved = ir.clone();
        let endpoints = vec![second.address()];
        moved
            .backends
            .insert("b".into(), Arc::new(ir::Backend { endpoints, ..Default::default() }));
        world.follow(&moved, on.clone());
        clients[1].exchange(b"y", &second);
        await_line(&mut world, 2, "\"reason\":\"endpoint_removed\"");
        drop(second);
        clients[1].send(b"z");
        await_line(&mut world, 3, "\"reason\":\"endpoint_failed\"");
        let mut hasty = on.clone();
        hasty.timeouts.udp_idle = Duration::from_millis(1);
        world.follow(&moved, hasty);
        await_line(&mut world, 4, "\"reason\":\"idle\"");
        world.follow(&ir, on.clone());
        clients[0].exchange(b"x", &first);
        let mut none = ir.clone();
        none.ports.clear();
        world.follow(&none, on);
        await_line(&mut world, 5, "\"reason\":\"stopped\"");
        world.stop();
    }
}

#[test]
fn a_draining_shard_relays_until_nothing_moves() {
    for runtime in backends() {
        let backend = Peer::new();
        let ir = simple(&[backend.address()]);
        let mut world = start(runtime, &ir);
        let client = Peer::of(world.address);
        let source = client.exchange(b"x", &backend);
        let drain = Settings { drain: Some(Duration::from_secs(60)), ..Settings::default() };
        world.follow(&ir, drain);
        // Far longer than a drain without anything to do takes.
        for _ in 0..40 {
            assert_eq!(client.exchange(b"x", &backend), source);
            thread::sleep(Duration::from_millis(20));
        }
        world.wait_for(|report| report.phase == Phase::Ended);
        world.shards.join();
    }
}

#[test]
fn tcp_and_udp_share_a_port_number() {
    for runtime in backends() {
        let (backend, http) = (Peer::new(), Recorded::always(OK));
        let mut ir = support::one(&http);
        let mut udp = simple(&[backend.address()]);
        udp.ports[0].port = ir.ports[0].port;
        ir.backends.insert("u".into(), Arc::clone(&udp.backends["b"]));
        let mut route = ir::StreamRoute::clone(&udp.ports[0].listeners[0].streams[0].route);
        route.backends[0].target = ir::Target::Backend("u".into());
        udp.ports[0].listeners[0].streams[0].route = Arc::new(route);
        ir.ports.push(udp.ports.remove(0));
        let mut world = start(runtime, &ir);
        let client = Peer::of(world.address);
        let source = client.exchange(b"x", &backend);
        assert!(world.exchange(GET_CLOSE).ends_with("hello"), "{runtime:?}");
        // Either goes without the other.
        let mut without = ir.clone();
        without.ports.remove(0);
        world.follow(&without, Settings::default());
        assert_eq!(client.exchange(b"x", &backend), source);
        world.follow(&ir, Settings::default());
        ir.ports.remove(1);
        world.follow(&ir, Settings::default());
        assert!(world.exchange(GET_CLOSE).ends_with("hello"), "{runtime:?}");
        let report = world.wait_for(|report| report.udp_sessions == 0);
        assert_eq!(report.listeners.len(), 1);
        assert_eq!(report.listeners[0].transport, Transport::Tcp);
        world.stop();
    }
}

#[test]
fn a_port_that_is_taken_is_reported_and_served_once_it_is_free() {
    for runtime in backends() {
        let backend = Peer::new();
        let ir = simple(&[backend.address()]);
        let empty = ir::Ir { ports: Vec::new(), ..ir.clone() };
        let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ir.ports[0].port);
        let holder = Peer::at(at);
        let mut first = ir.clone();
        first.ports[0].port = Peer::new().address().port();
        let mut world = start(runtime, &first);
        world.follow(&empty, Settings::default());
        let next = Epoch::compile(world.epoch.id + 1, &ir, Settings::default(), Some(&world.epoch));
        world.epoch = Arc::new(next);
        world.shards.publish(Arc::clone(&world.epoch));
        let id = world.epoch.id;
        let report = world.wait_for(|report| report.installed == id);
        let state = &report.listeners[0];
        assert_eq!((state.transport, state.address), (Transport::Udp, at));
        assert!(state.error.as_ref().unwrap().contains("in use"), "{state:?}");
        drop(holder);
        world.wait_for(|report| report.listeners[0].error.is_none());
        Peer::of(at).exchange(b"x", &backend);
        world.stop();
    }
}
