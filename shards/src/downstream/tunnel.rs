//! After 101: bytes both ways until both sides have ended. No HTTP here any more.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use runtime::{Runtime, Size};

use super::{Downstream, Reader, Writer};
use crate::race::both;
use crate::relay::Incoming;
use crate::shard::Shard;
use crate::transport::SendHalf;
use crate::upstream::Upstream;

/// Relays until both directions have ended; a half-close on one side is passed to the other, a
/// broken side ends both.
pub(super) async fn run<R: Runtime>(
    shard: &Rc<Shard<R>>,
    client: &mut Downstream<R>,
    mut upstream: Upstream<R>,
) {
    let guard = shard.deadlines.register(upstream.abort.clone());
    let uncut = Cell::new(None);
    let (sink, incoming, upstream_abort) = upstream.halves(&uncut);
    let (one, other) = (upstream_abort.clone(), client.writer.abort.clone());
    let up = async {
        if to_backend::<R>(&mut client.reader, sink).await.is_err() {
            one.abort();
        }
    };
    let down = async {
        if to_client(incoming, &mut client.writer).await.is_err() {
            other.abort();
        }
    };
    both(up, down).await;
    drop(guard);
}

async fn to_backend<R: Runtime>(client: &mut Reader<R>, sink: &mut SendHalf<R>) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        if !client.input.is_empty() {
            match client.input.take_block() {
                Some(block) => sink.send_block(block).await?,
                None => {
                    out.extend_from_slice(client.input.bytes());
                    client.input.consume(client.input.bytes().len());
                    out = sink.send(out).await?;
                }
            }
        }
        if !client.fill(Size::Small).await? {
            return sink.finish().await;
        }
    }
}

async fn to_client<R: Runtime>(
    mut upstream: Incoming<'_, R>,
    writer: &mut Writer<R>,
) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        if !upstream.input.is_empty() {
            match upstream.input.take_block() {
                Some(block) => writer.send_block(block).await?,
                None => {
                    out.extend_from_slice(upstream.input.bytes());
                    upstream.input.consume(upstream.input.bytes().len());
                    out = writer.send(out).await?;
                }
            }
        }
        if !upstream.fill(Size::Small).await? {
            writer.finish().await;
            return Ok(());
        }
    }
}
