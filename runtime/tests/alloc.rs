//! Steady-state `recv` and `send` allocate nothing, counted by the allocator of this very binary.
//!
//! For the backends of the hot path. glommio is not among them: it allocates an operation of its own
//! for every wait.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use runtime::alloc::{Counting, allocations_of_this_thread};
use runtime::socket::Home;
use runtime::{Epoll, Listener, Monoio, Options, Runtime, Sink, Size, StartError, Stream};

const WARM_UP: usize = 5_000;
const ROUNDS: usize = 20_000;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread in `ROUNDS` round trips through an echo, both ends here.
fn allocations<R: Runtime>(size: Size, bytes: usize) -> Result<u64, StartError> {
    R::block_on(&Options::default(), || async move {
        let mut listener = R::listen("127.0.0.1:0".parse().unwrap(), Home::Here).unwrap();
        let address = listener.local_address().unwrap();
        R::spawn(async move {
            let (mut sink, mut stream, _) = listener.accept().await.unwrap();
            loop {
                let buf = stream.recv(size).await.unwrap();
                if buf.is_empty() {
                    break;
                }
                sink.send_buf(buf).await.unwrap();
            }
        });
        let (mut sink, mut stream) = R::connect(address).await.unwrap();
        let mut message = vec![7; bytes];
        let mut before = 0;
        for round in 0..WARM_UP + ROUNDS {
            if round == WARM_UP {
                before = allocations_of_this_thread();
            }
            message = sink.send(message).await.unwrap();
            let mut received = 0;
            while received < bytes {
                let buf = stream.recv(size).await.unwrap();
                assert!(!buf.is_empty());
                received += buf.len();
            }
        }
        allocations_of_this_thread() - before
    })
}

fn none_on<R: Runtime>() {
    for (size, bytes) in [(Size::Small, 200), (Size::Small, 5_000), (Size::Large, 20_000)] {
        match allocations::<R>(size, bytes) {
            Ok(count) => assert_eq!(count, 0, "{} {size:?} {bytes}", R::NAME),
            Err(error) if R::NAME == Monoio::NAME => {
                eprintln!("NOT RUN on {}: {error}", R::NAME);
            }
            Err(error) => panic!("{} must start everywhere: {error}", R::NAME),
        }
    }
}

#[test]
fn the_counter_counts() {
    let before = allocations_of_this_thread();
    drop(std::hint::black_box(Box::new(1)));
    assert!(allocations_of_this_thread() > before);
}

#[test]
fn receiving_and_sending_on_io_uring_allocates_nothing() {
    none_on::<Monoio>();
}

#[test]
fn receiving_and_sending_on_epoll_allocates_nothing() {
    none_on::<Epoll>();
}
