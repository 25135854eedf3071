//! The contract of `Runtime`, run against every backend that this machine can start.
//!
//! Each test is one generic function; `contract!` makes a test of it per backend. Where io_uring is
//! not usable the ring backends' tests do not run, and each says so on standard error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::net::SocketAddr;

use runtime::{Epoll, Listener, Options, Runtime, Sink, Size, Stream};

/// Runs `main` on `R`, or says why not.
fn on<R: Runtime, F: Future>(main: impl FnOnce() -> F) -> Option<F::Output> {
    match R::block_on(&Options::default(), main) {
        Ok(output) => Some(output),
        Err(error) if R::NAME != Epoll::NAME => {
            eprintln!("NOT RUN on {}: {error}", R::NAME);
            None
        }
        Err(error) => panic!("{} must start everywhere: {error}", R::NAME),
    }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod monoio { $(#[test] fn $test() { super::on::<runtime::Monoio, _>(super::$test::<runtime::Monoio>); })* }
        mod glommio { $(#[test] fn $test() { super::on::<runtime::Glommio, _>(super::$test::<runtime::Glommio>); })* }
        mod epoll { $(#[test] fn $test() { super::on::<runtime::Epoll, _>(super::$test::<runtime::Epoll>); })* }
    };
}

contract! { bytes_go_both_ways }

async fn bytes_go_both_ways<R: Runtime>() {
    let mut listener = R::listen(loopback()).unwrap();
    let address = listener.local_address().unwrap();
    R::spawn(async move {
        let (mut sink, mut stream, _) = listener.accept().await.unwrap();
        loop {
            let buf = stream.recv(Size::Small).await.unwrap();
            if buf.is_empty() {
                break;
            }
            sink.send_buf(buf).await.unwrap();
        }
    });
    let (mut sink, mut stream) = R::connect(address).await.unwrap();
    for _ in 0..100 {
        let sent = sink.send(b"hello".to_vec()).await.unwrap();
        assert_eq!(sent, b"hello");
        assert_eq!(&*stream.recv(Size::Large).await.unwrap(), b"hello");
    }
}
