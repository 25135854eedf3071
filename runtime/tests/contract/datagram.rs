//! The contract's part about datagrams. Peers are plain blocking sockets of this process.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use runtime::datagram::{BATCH_MAX, Batch, Bound, Connected, Ready};
use runtime::socket::Home;
use runtime::{Datagram, Runtime};

use super::{A_WHILE, a_while, bytes_go_both_ways, loopback, pattern, settles_at, within};

/// A bound socket with everything that a test wants of it.
struct World<R: Runtime> {
    datagram: R::Datagram,
    batch: Batch,
    ready: Vec<Ready>,
}

impl<R: Runtime> World<R> {
    fn at(address: &str) -> Self {
        let datagram = R::bind(address.parse().unwrap(), Home::Here).unwrap();
        Self { datagram, batch: Batch::default(), ready: Vec::new() }
    }

    fn bound(&self) -> Rc<Bound> {
        Rc::clone(self.datagram.bound())
    }

    fn address(&self) -> SocketAddr {
        self.bound().local_address().unwrap()
    }

    /// Waits until something is ready and says what.
    async fn next(&mut self) -> &[Ready] {
        self.datagram.ready().await.unwrap();
        self.bound().ready(&mut self.ready);
        &self.ready
    }

    /// Waits until the bound socket has received `count` datagrams into the batch.
    async fn receive(&mut self, count: usize) {
        while self.batch.len() < count {
            assert_eq!(self.next().await, [Ready::Bound]);
            self.bound().receive(&mut self.batch).unwrap();
        }
    }

    /// Sends everything in the batch back to where it came from.
    fn echo(&mut self) {
        let places: Vec<u16> = (0..self.batch.len()).map(|place| place as u16).collect();
        let bytes: usize = places.iter().map(|&at| self.batch.bytes(at.into()).len()).sum();
        let datagrams: usize = places.iter().map(|&at| self.batch.count(at.into())).sum();
        let sent = self.bound().send(&mut self.batch, &places);
        assert_eq!((sent.places, sent.datagrams as usize), (places.len(), datagrams));
        assert_eq!(sent.lost, 0);
        assert_eq!(sent.bytes, bytes as u64);
    }
}

/// A peer at a free port of `ip` that sends to `to`.
fn peer(ip: &str, to: SocketAddr) -> UdpSocket {
    let ip: IpAddr = ip.parse().unwrap();
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// The next datagram, whatever signals come meanwhile.
fn next(socket: &UdpSocket) -> Vec<u8> {
    let mut block = vec![0; 70_000];
    loop {
        match socket.recv(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => {
                block.truncate(other.unwrap());
                return block;
            }
        }
    }
}

pub(super) async fn datagrams_keep_their_bounds_and_their_order<R: Runtime>() {
    // Runs of equal ones, which travel together, beside all others.
    let sizes =
        [0, 1, 1, 1200, 1200, 1200, 700, 1200, 0, 0, 5, 1400, 1400, 1401, 1401, 9000, 65_507];
    let mut world = World::<R>::at("127.0.0.1:0");
    let one = peer("127.0.0.1", world.address());
    for (i, &size) in sizes.iter().enumerate() {
        one.send(&pattern(size, i)).unwrap();
    }
    world.receive(sizes.len()).await;
    for (i, &size) in sizes.iter().enumerate() {
        assert_eq!(world.batch.bytes(i), pattern(size, i), "{i}");
        assert_eq!(world.batch.peer(i), one.local_addr().unwrap());
        assert_eq!(world.batch.local(i), world.address().ip());
    }
    world.echo();
    for (i, &size) in sizes.iter().enumerate() {
        assert_eq!(next(&one), pattern(size, i), "{i}");
    }
}

pub(super) async fn a_connected_socket_carries_whole_batches_both_ways<R: Runtime>() {
    let far = UdpSocket::bind(loopback()).unwrap();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut world = World::<R>::at("127.0.0.1:0");
    let one = peer("127.0.0.1", world.address());
    for i in 0..BATCH_MAX {
        one.send(&pattern(1300, i)).unwrap();
    }
    world.receive(BATCH_MAX).await;
    assert!(world.batch.is_full());
    assert_eq!(world.bound().receive(&mut world.batch).unwrap(), 0, "no room is no error");
    let connected = world.bound().connect(far.local_addr().unwrap(), 7).unwrap();
    // In an order of the caller's.
    let places: Vec<u16> = (0..BATCH_MAX as u16).rev().collect();
    let sent = connected.send(&mut world.batch, &places);
    assert_eq!((sent.datagrams as usize, sent.lost), (BATCH_MAX, 0));
    far.connect(connected.local_address().unwrap()).unwrap();
    for i in (0..BATCH_MAX).rev() {
        assert_eq!(next(&far), pattern(1300, i));
        far.send(&pattern(500, i)).unwrap();
    }
    world.batch.clear();
    while !world.batch.is_full() {
        assert_eq!(world.next().await, [Ready::Connected(7)]);
        assert!(connected.receive(&mut world.batch).unwrap() > 0);
    }
    for (place, i) in (0..BATCH_MAX).rev().enumerate() {
        assert_eq!(world.batch.bytes(place), pattern(500, i));
        world.batch.address(place, one.local_addr().unwrap(), world.address().ip());
    }
    world.echo();
    (0..BATCH_MAX).rev().for_each(|i| assert_eq!(next(&one), pattern(500, i)));
}

pub(super) async fn what_travels_as_one_keeps_the_bounds_of_its_datagrams<R: Runtime>() {
    let sizes = [100, 100, 100, 40];
    let wanted: Vec<_> = sizes.iter().enumerate().map(|(i, &size)| pattern(size, i)).collect();
    for address in ["127.0.0.1:0", "[::]:0"] {
        let mut far = World::<R>::at(address);
        let mut world = World::<R>::at("127.0.0.1:0");
        let one = peer("127.0.0.1", world.address());
        wanted.iter().for_each(|bytes| assert_eq!(one.send(bytes).unwrap(), bytes.len()));
        world.receive(sizes.len()).await;
        let to = SocketAddr::new([127, 0, 0, 1].into(), far.address().port());
        let connected = world.bound().connect(to, 7).unwrap();
        let sent = connected.send(&mut world.batch, &[0, 1, 2, 3]);
        assert_eq!((sent.places, sent.datagrams, sent.bytes, sent.lost), (4, 4, 340, 0));
        far.receive(1).await;
        assert_eq!(far.batch.len(), 1);
        assert_eq!(far.batch.datagrams(0).collect::<Vec<_>>(), wanted);
        assert_eq!(far.batch.peer(0), connected.local_address().unwrap());
        assert_eq!(far.batch.local(0), to.ip());
        far.echo();
        world.batch.clear();
        assert_eq!(world.next().await, [Ready::Connected(7)]);
        assert_eq!(connected.receive(&mut world.batch).unwrap(), 1);
        assert_eq!(world.batch.datagrams(0).collect::<Vec<_>>(), wanted);
        world.batch.address(0, one.local_addr().unwrap(), world.address().ip());
        world.echo();
        wanted.iter().for_each(|bytes| assert_eq!(next(&one), *bytes));
    }
}

pub(super) async fn an_answer_leaves_from_the_address_that_was_asked<R: Runtime>() {
    for (bound, ips) in
        [("0.0.0.0:0", &["127.0.0.1", "127.0.0.2"][..]), ("[::]:0", &["127.0.0.3", "::1"])]
    {
        let mut world = World::<R>::at(bound);
        let port = world.address().port();
        for ip in ips {
            let asked: SocketAddr = (ip.parse::<IpAddr>().unwrap(), port).into();
            if asked.is_ipv6() && !world.address().is_ipv6() {
                continue; // a host without IPv6
            }
            let from = if asked.is_ipv6() { "::1" } else { "127.0.0.1" };
            // It is connected, so it takes nothing from any other address.
            let one = peer(from, asked);
            one.send(b"who?").unwrap();
            world.batch.clear();
            world.receive(1).await;
            assert_eq!(world.batch.local(0), asked.ip());
            assert_eq!(world.batch.peer(0), one.local_addr().unwrap(), "canonical");
            world.echo();
            assert_eq!(next(&one), b"who?");
        }
    }
}

pub(super) async fn many_connected_sockets_are_waited_for_at_once<R: Runtime>() {
    const COUNT: u32 = 200;
    let far = UdpSocket::bind(loopback()).unwrap();
    let mut world = World::<R>::at("127.0.0.1:0");
    let all: Vec<Connected> = (0..COUNT)
        .map(|token| world.bound().connect(far.local_addr().unwrap(), token).unwrap())
        .collect();
    for one in &all {
        far.send_to(b"hello", one.local_address().unwrap()).unwrap();
    }
    let mut seen = vec![0; COUNT as usize];
    while seen.contains(&0) {
        for ready in world.next().await.to_vec() {
            let Ready::Connected(token) = ready else { panic!("nobody wrote to it") };
            world.batch.clear();
            assert_eq!(all[token as usize].receive(&mut world.batch).unwrap(), 1);
            seen[token as usize] += 1;
        }
    }
    assert!(seen.iter().all(|&times| times == 1));
    drop(all);
    assert!(within::<R, _>(A_WHILE, world.datagram.ready()).await.is_none());
}

pub(super) async fn an_icmp_error_is_told_once_by_the_socket_it_concerns<R: Runtime>() {
    let nobody = UdpSocket::bind(loopback()).unwrap().local_addr().unwrap();
    let far = UdpSocket::bind(loopback()).unwrap();
    let mut world = World::<R>::at("127.0.0.1:0");
    let one = peer("127.0.0.1", world.address());
    one.send(b"x").unwrap();
    one.send(b"y").unwrap();
    world.receive(2).await;
    let dead = world.bound().connect(nobody, 1).unwrap();
    let living = world.bound().connect(far.local_addr().unwrap(), 2).unwrap();
    for round in 0..2 {
        assert_eq!(dead.send(&mut world.batch, &[0]).datagrams, 1, "the kernel took it");
        assert_eq!(world.next().await, [Ready::Connected(1)]);
        let error = if round == 0 {
            let error = dead.receive(&mut Batch::default()).unwrap_err();
            assert_eq!(dead.receive(&mut Batch::default()).unwrap(), 0, "told once");
            error
        } else {
            let sent = dead.send(&mut world.batch, &[0, 1]);
            assert_eq!((sent.datagrams, sent.lost), (0, 0));
            sent.error.unwrap()
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
    assert_eq!(living.send(&mut world.batch, &[1]).datagrams, 1);
    assert_eq!(next(&far), b"y");
    // A peer that is gone is no concern of the bound socket's.
    let gone = one.local_addr().unwrap();
    drop(one);
    world.echo();
    world.echo();
    let other = peer("127.0.0.1", world.address());
    assert_ne!(other.local_addr().unwrap(), gone);
    other.send(b"z").unwrap();
    world.batch.clear();
    world.receive(1).await;
}

pub(super) async fn datagrams_that_found_no_room_are_counted<R: Runtime>() {
    let mut world = World::<R>::at("127.0.0.1:0");
    let one = peer("127.0.0.1", world.address());
    assert_eq!(world.bound().overrun(), 0);
    let mut sent = 0;
    while world.bound().overrun() == 0 {
        one.send(&pattern(9000, 0)).unwrap();
        sent += 1;
    }
    let lost = world.bound().overrun() as usize;
    let mut received = 0;
    while received + lost < sent {
        world.batch.clear();
        world.receive(1).await;
        received += world.batch.len();
    }
    assert_eq!(received + lost, sent);
}

pub(super) async fn waiting_for_datagrams_consumes_nothing_and_may_be_dropped<R: Runtime>() {
    let mut world = World::<R>::at("127.0.0.1:0");
    let one = peer("127.0.0.1", world.address());
    for _ in 0..10 {
        let waited = within::<R, _>(Duration::from_millis(1), world.datagram.ready()).await;
        assert!(waited.is_none());
    }
    one.send(b"here").unwrap();
    world.datagram.ready().await.unwrap();
    world.datagram.ready().await.unwrap();
    world.receive(1).await;
    assert_eq!(world.batch.bytes(0), b"here");
    assert!(within::<R, _>(A_WHILE, world.datagram.ready()).await.is_none());
}

pub(super) async fn abort_ends_the_waiting_for_datagrams<R: Runtime>() {
    let mut world = World::<R>::at("127.0.0.1:0");
    let port = world.address().port();
    let abort = world.bound().abort_handle();
    let (ready, ()) = super::both(world.datagram.ready(), async {
        a_while::<R>().await;
        abort.abort();
    })
    .await;
    ready.unwrap();
    let far = UdpSocket::bind(loopback()).unwrap();
    let connected = world.bound().connect(far.local_addr().unwrap(), 1).unwrap();
    let theirs = connected.local_address().unwrap().port();
    drop((world, connected));
    settles_at::<R>(port, 0).await;
    settles_at::<R>(theirs, 0).await;
    abort.abort(); // does nothing
}

pub(super) async fn sockets_that_share_an_address_each_keep_their_peers<R: Runtime>() {
    let mut world = World::<R>::at("127.0.0.1:0");
    let address = world.address();
    let mut other = World::<R>::at(&address.to_string());
    let peers: Vec<UdpSocket> = (0..64).map(|_| peer("127.0.0.1", address)).collect();
    let mut homes = Vec::new();
    for _ in 0..2 {
        for one in &peers {
            one.send(b"x").unwrap();
        }
        let mut home = Vec::new();
        for world in [&mut world, &mut other] {
            world.batch.clear();
            while within::<R, _>(A_WHILE, world.datagram.ready()).await.is_some() {
                world.bound().receive(&mut world.batch).unwrap();
            }
            let mut here: Vec<_> = (0..world.batch.len()).map(|i| world.batch.peer(i)).collect();
            here.sort();
            home.push(here);
        }
        // The kernel spreads peers over both: with this many, each gets some.
        assert!(!home[0].is_empty() && !home[1].is_empty());
        assert_eq!(home[0].len() + home[1].len(), peers.len());
        homes.push(home);
    }
    assert_eq!(homes[0], homes[1]);
}

pub(super) async fn a_taken_datagram_address_is_in_use<R: Runtime>() {
    let taken = UdpSocket::bind(loopback()).unwrap();
    let error = R::bind(taken.local_addr().unwrap(), Home::Here).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let absent = "192.0.2.1:0".parse().unwrap();
    let error = R::bind(absent, Home::Here).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    R::bind(absent, Home::Anywhere).unwrap();
}

pub(super) async fn busy_datagrams_leave_time_for_others<R: Runtime>() {
    let mut world = World::<R>::at("127.0.0.1:0");
    peer("127.0.0.1", world.address()).send(b"never taken").unwrap();
    let over = Rc::new(std::cell::Cell::new(false));
    let stop = Rc::clone(&over);
    R::spawn(async move {
        while !stop.get() {
            world.next().await;
        }
    });
    for _ in 0..10 {
        R::sleep_until(R::now() + Duration::from_millis(1)).await;
        bytes_go_both_ways::<R>().await;
    }
    over.set(true);
}
