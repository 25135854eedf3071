//! Sends back what comes, on byte streams and by datagrams.
//!
//! Called by `backend`. Invariant: nothing is copied.

use std::io;
use std::net::SocketAddr;

use anyhow::Context as _;
use runtime::datagram::{Batch, Ready};
use runtime::socket::Home;
use runtime::{Datagram as _, Runtime, Sink as _, Size, Stream as _};

/// Echoes one connection until its peer ends it.
pub(super) async fn stream<R: Runtime>(mut sink: R::Sink, mut stream: R::Stream) -> io::Result<()> {
    loop {
        let block = stream.recv(Size::Small).await?;
        if block.is_empty() {
            sink.finish();
            return Ok(());
        }
        sink.send_buf(block).await?;
    }
}

/// Echoes datagrams until killed.
pub(super) async fn datagrams<R: Runtime>(address: SocketAddr) -> anyhow::Result<()> {
    let mut socket =
        R::bind(address, Home::Here).with_context(|| format!("cannot bind {address}"))?;
    super::say_ready::<R>(socket.bound().local_address()?);
    let mut batch = Batch::default();
    let mut ready: Vec<Ready> = Vec::new();
    let mut places = Vec::new();
    loop {
        socket.ready().await?;
        let bound = socket.bound();
        bound.ready(&mut ready);
        batch.clear();
        // An error is about an earlier datagram; the socket goes on.
        if bound.receive(&mut batch).is_ok() {
            places.clear();
            places.extend(0..batch.len() as u16);
            bound.send(&mut batch, &places);
        }
    }
}
