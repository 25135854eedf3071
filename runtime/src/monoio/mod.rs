//! The `monoio` backend: completions by io_uring.
//!
//! `ring` sets the rings up, `net` has the sockets, which the `epoll` backend shares. An operation
//! in flight owns its buffer and its descriptor until its completion arrives, whatever becomes of
//! the future that waited for it.

pub(crate) mod net;
mod ring;
pub(crate) mod turn;

pub(crate) use self::ring::trial;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::socket::Home;
use crate::{Options, Runtime, StartError, cores};

/// Completions by io_uring(7).
#[derive(Clone, Copy, Debug)]
pub struct Monoio;

/// `main`, and then what this thread keeps for it.
pub(crate) async fn whole<F: Future>(main: impl FnOnce() -> F) -> F::Output {
    let output = main().await;
    turn::end().await;
    output
}

impl Runtime for Monoio {
    const NAME: &'static str = "monoio";
    type Listener = net::Listener;
    type Stream = net::Stream;
    type Sink = net::Sink;
    type Datagram = net::Datagram;

    fn block_on<F: Future>(
        options: &Options,
        main: impl FnOnce() -> F,
    ) -> Result<F::Output, StartError> {
        cores::pin_if(options.core)?;
        let mut runtime = ring::runtime(options.entries)?;
        Ok(runtime.block_on(whole(main)))
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        drop(::monoio::spawn(task));
    }

    fn sleep_until(deadline: Instant) -> impl Future<Output = ()> {
        ::monoio::time::sleep_until(deadline.into())
    }

    fn listen(address: SocketAddr, home: Home) -> io::Result<Self::Listener> {
        net::listen(address, home)
    }

    fn connect(
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<(Self::Sink, Self::Stream)>> {
        net::connect(address)
    }

    fn bind(address: SocketAddr, home: Home) -> io::Result<Self::Datagram> {
        net::Datagram::new(address, home)
    }

    fn readable(fd: BorrowedFd<'_>) -> impl Future<Output = io::Result<()>> {
        net::readable(fd)
    }
}
