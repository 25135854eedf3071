//! The contract of `Runtime`, run against every backend that this machine can start.
//!
//! Each test is one generic function; `contract!` makes a test of it per backend. Where io_uring is
//! not usable the ring backends' tests do not run, and each says so on standard error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod datagram;

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use runtime::mailbox::mailbox;
use runtime::socket::Home;
use runtime::{Epoll, Listener, Options, Runtime, Sink, Size, Stream, buf};

use datagram::{
    a_connected_socket_carries_whole_batches_both_ways, a_taken_datagram_address_is_in_use,
    abort_ends_the_waiting_for_datagrams, an_answer_leaves_from_the_address_that_was_asked,
    an_icmp_error_is_told_once_by_the_socket_it_concerns, busy_datagrams_leave_time_for_others,
    datagrams_keep_their_bounds_and_their_order, datagrams_that_found_no_room_are_counted,
    many_connected_sockets_are_waited_for_at_once,
    sockets_that_share_an_address_each_keep_their_peers,
    waiting_for_datagrams_consumes_nothing_and_may_be_dropped,
    what_travels_as_one_keeps_the_bounds_of_its_datagrams,
};

/// How long a test waits for something that must happen before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a test lets something pend that must not happen by itself.
const A_WHILE: Duration = Duration::from_millis(20);

/// Runs `main` on a thread of its own on `R`, or says why not.
fn on<R: Runtime, F: Future + 'static>(main: fn() -> F) {
    let outcome = std::thread::spawn(move || {
        R::block_on(&Options::default(), || async move {
            assert!(within::<R, _>(PATIENCE, main()).await.is_some(), "the test hangs");
        })
    });
    match outcome.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) if R::NAME != Epoll::NAME => eprintln!("NOT RUN on {}: {error}", R::NAME),
        Ok(Err(error)) => panic!("{} must start everywhere: {error}", R::NAME),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod monoio {
            $(#[test] fn $test() { super::on::<runtime::Monoio, _>(super::$test::<runtime::Monoio>); })*
        }
        mod epoll {
            $(#[test] fn $test() { super::on::<runtime::Epoll, _>(super::$test::<runtime::Epoll>); })*
        }
        mod glommio {
            $(#[test] fn $test() { super::on::<runtime::Glommio, _>(super::$test::<runtime::Glommio>); })*
        }
    };
}

contract! {
    bytes_go_both_ways,
    large_transfers_arrive_complete_in_both_directions_at_once,
    many_connections_live_side_by_side,
    fin_closes_one_direction_and_the_other_goes_on,
    a_reset_is_an_error_not_an_end,
    sending_nothing_gives_the_buffer_back,
    sending_to_a_closed_peer_fails_in_the_end,
    a_dropped_recv_poisons_its_half_only,
    a_dropped_send_poisons_its_half_only,
    abort_ends_a_waiting_recv,
    abort_ends_a_waiting_send,
    abort_after_the_connection_is_gone_does_nothing,
    an_aborted_peer_sees_the_end,
    cancelled_accepts_and_connects_leak_no_descriptor,
    closed_connections_leak_no_descriptor,
    a_waiting_recv_pins_at_most_one_small_block,
    a_refused_connect_is_an_error,
    accept_tells_the_peers_address_and_sets_nodelay,
    two_listeners_share_an_address,
    a_taken_address_is_in_use,
    ipv4_peers_reach_a_dual_stack_listener_under_their_own_address,
    an_idle_connection_is_stale_once_its_peer_closes_or_speaks,
    sleep_ends_at_its_deadline_not_before,
    a_mailbox_wakes_from_another_thread_and_the_latest_wins,
    readable_consumes_nothing_and_may_be_dropped,
    a_busy_relay_leaves_time_for_others,
    tasks_run_on_after_their_creator,
    datagrams_keep_their_bounds_and_their_order,
    a_connected_socket_carries_whole_batches_both_ways,
    what_travels_as_one_keeps_the_bounds_of_its_datagrams,
    an_answer_leaves_from_the_address_that_was_asked,
    many_connected_sockets_are_waited_for_at_once,
    an_icmp_error_is_told_once_by_the_socket_it_concerns,
    datagrams_that_found_no_room_are_counted,
    waiting_for_datagrams_consumes_nothing_and_may_be_dropped,
    abort_ends_the_waiting_for_datagrams,
    sockets_that_share_an_address_each_keep_their_peers,
    a_taken_datagram_address_is_in_use,
    busy_datagrams_leave_time_for_others,
}

/// `future`, or `None` when it takes longer than `limit`.
async fn within<R: Runtime, F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = pin!(R::sleep_until(R::now() + limit));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Both at once.
async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut one, mut two) = (None, None);
    poll_fn(|cx| {
        if one.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            one = Some(output);
        }
        if two.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            two = Some(output);
        }
        if one.is_some() && two.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (one.unwrap(), two.unwrap())
}

async fn a_while<R: Runtime>() {
    R::sleep_until(R::now() + A_WHILE).await;
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

struct Pair<R: Runtime> {
    near: (R::Sink, R::Stream),
    far: (R::Sink, R::Stream),
}

/// A connection with both ends on this runtime.
async fn pair<R: Runtime>() -> Pair<R> {
    let mut listener = R::listen(loopback(), Home::Here).unwrap();
    let address = listener.local_address().unwrap();
    let (accepted, near) = both(listener.accept(), R::connect(address)).await;
    let (sink, stream, _) = accepted.unwrap();
    Pair { near: near.unwrap(), far: (sink, stream) }
}

/// A connection to a plain blocking socket of the standard library.
async fn with_plain<R: Runtime>() -> (R::Sink, R::Stream, TcpStream) {
    let listener = TcpListener::bind(loopback()).unwrap();
    let (sink, stream) = R::connect(listener.local_addr().unwrap()).await.unwrap();
    (sink, stream, listener.accept().unwrap().0)
}

/// Bytes whose place in the stream shows.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + i / 253 + seed) % 251) as u8).collect()
}

async fn receive_all<R: Runtime>(stream: &mut R::Stream, size: Size) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let buf = stream.recv(size).await?;
        if buf.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&buf);
    }
}

/// Sends until nothing more fits, and leaves the last `send` unfinished and dropped.
async fn fill<R: Runtime>(sink: &mut R::Sink) {
    while let Some(sent) = within::<R, _>(A_WHILE, sink.send(vec![7; 1 << 20])).await {
        sent.unwrap();
    }
}

async fn bytes_go_both_ways<R: Runtime>() {
    let Pair { near: (mut sink, mut stream), far: (mut echo_sink, mut echo_stream) } =
        pair::<R>().await;
    R::spawn(async move {
        loop {
            let buf = echo_stream.recv(Size::Small).await.unwrap();
            if buf.is_empty() {
                break;
            }
            echo_sink.send_buf(buf).await.unwrap();
        }
    });
    for round in 0..100 {
        let sent = sink.send(b"hello".to_vec()).await.unwrap();
        assert_eq!(sent, b"hello");
        let size = if round % 2 == 0 { Size::Small } else { Size::Large };
        assert_eq!(&*stream.recv(size).await.unwrap(), b"hello");
    }
}

async fn large_transfers_arrive_complete_in_both_directions_at_once<R: Runtime>() {
    const LEN: usize = 5 << 20;
    let Pair { near: (mut a_sink, mut a_stream), far: (mut b_sink, mut b_stream) } =
        pair::<R>().await;
    let sending = both(
        async {
            a_sink.send(pattern(LEN, 1)).await.unwrap();
            a_sink.finish();
        },
        async {
            // In many pieces, some of them received blocks.
            for piece in pattern(LEN, 2).chunks(50_000) {
                b_sink.send_buf(piece.into()).await.unwrap();
            }
            b_sink.finish();
        },
    );
    let receiving = both(
        receive_all::<R>(&mut b_stream, Size::Large),
        receive_all::<R>(&mut a_stream, Size::Small),
    );
    let (_, (at_b, at_a)) = both(sending, receiving).await;
    assert!(at_b.unwrap() == pattern(LEN, 1), "bytes changed on the way");
    assert!(at_a.unwrap() == pattern(LEN, 2), "bytes changed on the way");
}

async fn many_connections_live_side_by_side<R: Runtime>() {
    const COUNT: usize = 300;
    let mut listener = R::listen(loopback(), Home::Here).unwrap();
    let address = listener.local_address().unwrap();
    R::spawn(async move {
        for _ in 0..COUNT {
            let (mut sink, mut stream, _) = listener.accept().await.unwrap();
            R::spawn(async move {
                let all = receive_all::<R>(&mut stream, Size::Small).await.unwrap();
                sink.send(all).await.unwrap();
            });
        }
    });
    let mut open = Vec::new();
    for _ in 0..COUNT {
        open.push(R::connect(address).await.unwrap());
    }
    for (i, (sink, _)) in open.iter_mut().enumerate() {
        sink.send(pattern(1000, i)).await.unwrap();
        sink.finish();
    }
    for (i, (_, stream)) in open.iter_mut().enumerate() {
        assert_eq!(receive_all::<R>(stream, Size::Small).await.unwrap(), pattern(1000, i));
    }
}

async fn fin_closes_one_direction_and_the_other_goes_on<R: Runtime>() {
    let Pair { near: (mut a_sink, mut a_stream), far: (mut b_sink, mut b_stream) } =
        pair::<R>().await;
    a_sink.finish();
    assert!(b_stream.recv(Size::Small).await.unwrap().is_empty());
    assert!(b_stream.recv(Size::Large).await.unwrap().is_empty(), "FIN stays");
    b_sink.send(b"still here".to_vec()).await.unwrap();
    assert_eq!(&*a_stream.recv(Size::Small).await.unwrap(), b"still here");
    assert!(a_sink.send(b"late".to_vec()).await.is_err(), "nothing may follow FIN");
}

async fn a_reset_is_an_error_not_an_end<R: Runtime>() {
    for size in [Size::Small, Size::Late, Size::Large] {
        let (_sink, mut stream, plain) = with_plain::<R>().await;
        reset(plain);
        let error = stream.recv(size).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

/// Closes with RST.
fn reset(plain: TcpStream) {
    let socket = socket2::Socket::from(plain);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

async fn sending_nothing_gives_the_buffer_back<R: Runtime>() {
    let Pair { near: (mut sink, _stream), far } = pair::<R>().await;
    let back = sink.send(Vec::with_capacity(123)).await.unwrap();
    assert!(back.is_empty() && back.capacity() >= 123);
    drop(far);
}

async fn sending_to_a_closed_peer_fails_in_the_end<R: Runtime>() {
    let Pair { near: (mut sink, _stream), far } = pair::<R>().await;
    drop(far);
    loop {
        // The first may still be taken by the kernel; what comes after the peer's RST is not.
        if sink.send(b"anyone?".to_vec()).await.is_err() {
            break;
        }
        a_while::<R>().await;
    }
}

async fn a_dropped_recv_poisons_its_half_only<R: Runtime>() {
    for size in [Size::Small, Size::Late, Size::Large] {
        let Pair { near: (mut sink, mut stream), far: (mut far_sink, mut far_stream) } =
            pair::<R>().await;
        drop(stream.recv(size)); // never begun: harmless
        assert!(within::<R, _>(A_WHILE, stream.recv(size)).await.is_none());
        far_sink.send(b"too late".to_vec()).await.unwrap();
        let error = stream.recv(size).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        sink.send(b"the other half works".to_vec()).await.unwrap();
        assert_eq!(&*far_stream.recv(Size::Small).await.unwrap(), b"the other half works");
    }
}

async fn a_dropped_send_poisons_its_half_only<R: Runtime>() {
    let Pair { near: (mut sink, mut stream), far: (mut far_sink, _far_stream) } = pair::<R>().await;
    fill::<R>(&mut sink).await;
    let error = sink.send(b"more".to_vec()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    far_sink.send(b"the other half works".to_vec()).await.unwrap();
    assert_eq!(&*stream.recv(Size::Small).await.unwrap(), b"the other half works");
}

async fn abort_ends_a_waiting_recv<R: Runtime>() {
    for size in [Size::Small, Size::Late, Size::Large] {
        let Pair { near: (_sink, mut stream), far: _far } = pair::<R>().await;
        let abort = stream.abort_handle();
        let (received, ()) = both(stream.recv(size), async {
            a_while::<R>().await;
            abort.abort();
        })
        .await;
        assert!(received.is_err() || received.unwrap().is_empty());
    }
}

async fn abort_ends_a_waiting_send<R: Runtime>() {
    let Pair { near: (mut sink, stream), far: _far } = pair::<R>().await;
    let abort = stream.abort_handle();
    // Far more than the buffers of both sockets hold, and nobody receives.
    let (sent, ()) = both(sink.send(vec![7; 64 << 20]), async {
        a_while::<R>().await;
        abort.abort();
    })
    .await;
    assert!(sent.is_err());
}

async fn abort_after_the_connection_is_gone_does_nothing<R: Runtime>() {
    let Pair { near: (sink, stream), far } = pair::<R>().await;
    let abort = stream.abort_handle();
    drop((sink, stream, far));
    a_while::<R>().await; // the descriptors close, and the next connection takes their numbers
    let Pair { near: (mut sink, _stream), far: (_far_sink, mut far_stream) } = pair::<R>().await;
    abort.abort();
    sink.send(b"unharmed".to_vec()).await.unwrap();
    assert_eq!(&*far_stream.recv(Size::Small).await.unwrap(), b"unharmed");
}

async fn an_aborted_peer_sees_the_end<R: Runtime>() {
    let Pair { near: (_sink, stream), far: (_far_sink, mut far_stream) } = pair::<R>().await;
    stream.abort_handle().abort();
    let end = far_stream.recv(Size::Small).await;
    assert!(end.is_err() || end.unwrap().is_empty());
}

/// The socket descriptors of this process that have an end at `port`.
fn sockets_at(port: u16) -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd: &i32| ports_of(fd).is_some_and(|(local, peer)| local == port || peer == port))
        .count()
}

/// The ports of a socket of TCP, its own and its peer's.
fn ports_of(fd: i32) -> Option<(u16, u16)> {
    // SAFETY: only looked at, by calls that fail on a descriptor that is gone meanwhile.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let socket = socket2::SockRef::from(&fd);
    let port = |address: io::Result<socket2::SockAddr>| {
        address.ok().and_then(|address| Some(address.as_socket()?.port()))
    };
    socket.r#type().ok().filter(|kind| *kind == socket2::Type::STREAM)?;
    Some((port(socket.local_addr())?, port(socket.peer_addr()).unwrap_or(0)))
}

/// Waits until the sockets at `port` are `count`: a ring closes a little later.
async fn settles_at<R: Runtime>(port: u16, count: usize) {
    while sockets_at(port) != count {
        a_while::<R>().await;
    }
}

async fn cancelled_accepts_and_connects_leak_no_descriptor<R: Runtime>() {
    const ROUNDS: usize = 50;
    let mut listener = R::listen(loopback(), Home::Here).unwrap();
    let port = listener.local_address().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    for round in 0..ROUNDS {
        // Dropped while it waits, and dropped in a race with a connection that comes.
        let waiting = within::<R, _>(Duration::from_millis(1), listener.accept()).await;
        assert!(waiting.is_none());
        let mut accept = Box::pin(listener.accept());
        let polled = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_pending())).await;
        assert!(polled);
        let plain = TcpStream::connect(address).unwrap();
        if round % 2 == 0 {
            a_while::<R>().await;
        }
        drop(accept);
        let accepted = listener.accept().await.unwrap();
        drop((plain, accepted));
    }
    for _ in 0..ROUNDS {
        let mut connect = Box::pin(R::connect(address));
        poll_fn(|cx| {
            let _ = connect.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
        drop(connect);
    }
    drop(listener);
    settles_at::<R>(port, 0).await;
}

async fn closed_connections_leak_no_descriptor<R: Runtime>() {
    let mut listener = R::listen(loopback(), Home::Here).unwrap();
    let address = listener.local_address().unwrap();
    for _ in 0..100 {
        let (accepted, near) = both(listener.accept(), R::connect(address)).await;
        let (sink, mut stream, _) = accepted.unwrap();
        // One of the halves goes while a recv is waiting in it.
        let _ = poll_fn(|cx| Poll::Ready(pin!(stream.recv(Size::Small)).poll(cx))).await;
        drop((sink, stream, near));
    }
    settles_at::<R>(address.port(), 1).await;
}

async fn a_waiting_recv_pins_at_most_one_small_block<R: Runtime>() {
    for size in [Size::Small, Size::Late, Size::Large] {
        let Pair { near: (_sink, mut stream), far: (mut far_sink, _far_stream) } =
            pair::<R>().await;
        assert_eq!(buf::lent(), buf::Lent::default());
        let (received, ()) = both(stream.recv(size), async {
            a_while::<R>().await;
            let lent = buf::lent();
            assert!(lent.large == 0 && lent.small <= 1, "{lent:?}");
            far_sink.send(b"now".to_vec()).await.unwrap();
        })
        .await;
        assert_eq!(&*received.unwrap(), b"now");
    }
    assert_eq!(buf::lent(), buf::Lent::default());
}

async fn a_refused_connect_is_an_error<R: Runtime>() {
    let nobody = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let error = R::connect(nobody).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

async fn accept_tells_the_peers_address_and_sets_nodelay<R: Runtime>() {
    let mut listener = R::listen(loopback(), Home::Here).unwrap();
    let port = listener.local_address().unwrap().port();
    let plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (_sink, _stream, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, plain.local_addr().unwrap());
    let (_near_sink, _near_stream) =
        R::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    let mut delaying = 0;
    for fd in 0..4096 {
        let Some((local, far)) = ports_of(fd) else { continue };
        // SAFETY: as in `ports_of`.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let is_plain = local == peer.port();
        let is_ours = far != 0 && (local == port || far == port) && !is_plain;
        // Whatever else is open belongs to other tests and may be gone by now.
        if is_ours && !socket2::SockRef::from(&fd).tcp_nodelay().unwrap() {
            delaying += 1;
        }
    }
    assert_eq!(delaying, 0);
}

async fn two_listeners_share_an_address<R: Runtime>() {
    let mut one = R::listen(loopback(), Home::Here).unwrap();
    let address = one.local_address().unwrap();
    let mut two = R::listen(address, Home::Here).unwrap();
    // The kernel spreads connections over both: with this many, each gets some.
    let plain: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    let (mut at_one, mut at_two) = (0, 0);
    while within::<R, _>(A_WHILE, one.accept()).await.is_some() {
        at_one += 1;
    }
    while within::<R, _>(A_WHILE, two.accept()).await.is_some() {
        at_two += 1;
    }
    assert!(at_one > 0 && at_two > 0, "{at_one} and {at_two}");
    assert_eq!(at_one + at_two, plain.len());
}

async fn a_taken_address_is_in_use<R: Runtime>() {
    let taken = TcpListener::bind(loopback()).unwrap();
    let error = R::listen(taken.local_addr().unwrap(), Home::Here).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

async fn ipv4_peers_reach_a_dual_stack_listener_under_their_own_address<R: Runtime>() {
    let mut listener = R::listen("[::]:0".parse().unwrap(), Home::Here).unwrap();
    let port = listener.local_address().unwrap().port();
    let plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (_sink, _stream, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, plain.local_addr().unwrap());
}

async fn an_idle_connection_is_stale_once_its_peer_closes_or_speaks<R: Runtime>() {
    let Pair { near: (_sink, stream), far: (mut far_sink, _far_stream) } = pair::<R>().await;
    assert!(!stream.is_stale());
    far_sink.send(b"unasked".to_vec()).await.unwrap();
    while !stream.is_stale() {
        a_while::<R>().await;
    }
    let Pair { near: (_sink, mut stream), far } = pair::<R>().await;
    assert!(!stream.is_stale());
    drop(far);
    while !stream.is_stale() {
        a_while::<R>().await;
    }
    assert!(stream.recv(Size::Small).await.unwrap().is_empty());
}

async fn sleep_ends_at_its_deadline_not_before<R: Runtime>() {
    for millis in [0, 1, 5, 30] {
        let deadline = R::now() + Duration::from_millis(millis);
        R::sleep_until(deadline).await;
        assert!(R::now() >= deadline);
    }
    let long_ago = R::now();
    a_while::<R>().await;
    R::sleep_until(long_ago).await;
}

async fn a_mailbox_wakes_from_another_thread_and_the_latest_wins<R: Runtime>() {
    let (sender, receiver) = mailbox().unwrap();
    let (back, at_thread) = mailbox().unwrap();
    let thread = std::thread::spawn(move || {
        for round in 0..20 {
            assert!(sender.send(round * 2));
            assert!(sender.send(round * 2 + 1));
            while at_thread.try_recv() != Some(round) {
                std::thread::yield_now();
            }
        }
    });
    for round in 0..20 {
        let mut latest = None;
        while latest != Some(round * 2 + 1) {
            receiver.wait::<R>().await.unwrap();
            latest = receiver.try_latest().or(latest);
        }
        assert!(back.send(round));
    }
    thread.join().unwrap();
}

async fn readable_consumes_nothing_and_may_be_dropped<R: Runtime>() {
    use std::os::fd::AsFd;
    let (sender, receiver) = mailbox().unwrap();
    for _ in 0..10 {
        assert!(
            within::<R, _>(Duration::from_millis(1), R::readable(receiver.as_fd())).await.is_none()
        );
    }
    sender.send(1);
    R::readable(receiver.as_fd()).await.unwrap();
    R::readable(receiver.as_fd()).await.unwrap();
    receiver.clear_wake();
    assert!(within::<R, _>(A_WHILE, R::readable(receiver.as_fd())).await.is_none());
}

async fn a_busy_relay_leaves_time_for_others<R: Runtime>() {
    let Pair { near: (mut sink, _stream), far: (_far_sink, mut far_stream) } = pair::<R>().await;
    let over = std::rc::Rc::new(std::cell::Cell::new(false));
    let stop = std::rc::Rc::clone(&over);
    R::spawn(async move { while !stop.get() && sink.send(vec![7; 1000]).await.is_ok() {} });
    let stop = std::rc::Rc::clone(&over);
    R::spawn(async move {
        while !stop.get() && far_stream.recv(Size::Small).await.is_ok_and(|b| !b.is_empty()) {}
    });
    // Timers and other connections go on meanwhile.
    for _ in 0..10 {
        R::sleep_until(R::now() + Duration::from_millis(1)).await;
        bytes_go_both_ways::<R>().await;
    }
    over.set(true);
}

async fn tasks_run_on_after_their_creator<R: Runtime>() {
    let done = std::rc::Rc::new(std::cell::Cell::new(false));
    let inner = std::rc::Rc::clone(&done);
    R::spawn(async move {
        R::spawn(async move {
            a_while::<R>().await;
            inner.set(true);
        });
    });
    while !done.get() {
        a_while::<R>().await;
    }
}
