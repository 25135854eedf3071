//! The admin pages: health, metrics, status and histograms over plain HTTP/1.1.
//!
//! It runs on the control thread and is bounded in connections, header size and time, so that no
//! caller can hold it up. It only reads; nothing can be changed through it. Started by `main.rs`.
//! Invariant: every answer is made from one consistent state.

mod pages;
pub mod status;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::socket::{Transport, owner_of};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::state::Shared;

/// Connections served at one time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 32;
/// Bytes of a request head.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A request head must arrive within this time; an idle connection is closed after it.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection lives no longer than this.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there can be no admin pages.
#[derive(Debug, Error)]
pub enum Error {
    /// The port belongs to another process.
    #[error(
        "the admin address {address} is in use{by}; choose another with --admin ADDR, or --admin off"
    )]
    InUse {
        /// Where.
        address: SocketAddr,
        /// ` by NAME (pid N)` where it is known.
        by: String,
    },
    /// Anything else.
    #[error(
        "cannot listen on the admin address {address}: {source}; choose another with --admin ADDR, or --admin off"
    )]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A bound admin port.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Binds `address`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be had; the error names the owner of the port if it can.
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        let bound = std::net::TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        match bound {
            Ok(listener) => Ok(Self { listener }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Error::InUse {
                address,
                by: owner_of(Transport::Tcp, address.port())
                    .map_or_else(String::new, |owner| format!(" by {owner}")),
            }),
            Err(source) => Err(Error::Bind { address, source }),
        }
    }

    /// The bound address.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until dropped.
    pub async fn serve(self, state: Shared) {
        let metrics = Arc::new(Metrics::new(state.clone()));
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await;
            let slot = slot.expect("the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (state, metrics) = (state.clone(), Arc::clone(&metrics));
                    tokio::spawn(async move {
                        connection(stream, state, metrics).await;
                        drop(slot);
                    });
                }
                // Out of descriptors: the waiting connection would be reported again at once.
                Err(error) => {
                    tracing::warn!("admin: cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, state: Shared, metrics: Arc<Metrics>) {
    let service = service_fn(move |request| {
        let answer = pages::answer(&request, &state, &metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("admin: {error}"),
        Err(_) => tracing::debug!("admin: a connection lasted too long"),
    }
}
