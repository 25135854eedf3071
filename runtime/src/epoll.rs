//! The `epoll` backend: monoio's readiness driver, for kernels and containers without io_uring.
//!
//! It shares its sockets with the `monoio` backend; only the driver differs. Nothing is ever in
//! flight in the kernel here, so dropping a future is harmless, but the contract is the same.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use ::monoio::{LegacyDriver, RuntimeBuilder};

use crate::monoio::{net, whole};
use crate::socket::Home;
use crate::{Options, Runtime, StartError, cores};

/// Readiness by epoll(7).
#[derive(Clone, Copy, Debug)]
pub struct Epoll;

impl Runtime for Epoll {
    const NAME: &'static str = "epoll";
    type Listener = net::Listener;
    type Stream = net::Stream;
    type Sink = net::Sink;
    type Datagram = net::Datagram;

    fn block_on<F: Future>(
        options: &Options,
        main: impl FnOnce() -> F,
    ) -> Result<F::Output, StartError> {
        cores::pin_if(options.core)?;
        let mut runtime =
            RuntimeBuilder::<LegacyDriver>::new().enable_timer().build().map_err(|error| {
                StartError::Backend {
                    backend: Self::NAME,
                    cause: error.to_string(),
                    remedy: "raise the limit of open files (ulimit -n)",
                }
            })?;
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
