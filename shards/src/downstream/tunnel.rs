//! After 101: bytes both ways until both sides have ended. No HTTP here any more.

use std::rc::Rc;

use runtime::{Runtime, Sink, Size};

use super::{Downstream, Reader, Writer};
use crate::race::both;
use crate::relay::Incoming;
use crate::shard::Shard;
use crate::upstream::Upstream;

/// Relays until both directions have ended; a half-close on one side is passed to the other.
pub(super) async fn run<R: Runtime>(
    shard: &Rc<Shard<R>>,
    client: &mut Downstream<R>,
    mut upstream: Upstream<R>,
) {
    let guard = shard.deadlines.register(upstream.abort.clone());
    let (sink, incoming, _) = upstream.halves();
    both(to_backend::<R>(&mut client.reader, sink), to_client(incoming, &mut client.writer)).await;
    drop(guard);
}

async fn to_backend<R: Runtime>(client: &mut Reader<R>, sink: &mut R::Sink) {
    let mut out = Vec::new();
    loop {
        if !client.input.is_empty() {
            let sent = match client.input.take_block() {
                Some(block) => sink.send_buf(block).await,
                None => {
                    out.extend_from_slice(client.input.bytes());
                    client.input.consume(client.input.bytes().len());
                    match sink.send(std::mem::take(&mut out)).await {
                        Ok(mut empty) => {
                            empty.clear();
                            out = empty;
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            if sent.is_err() {
                return;
            }
        }
        if !client.fill(Size::Small).await.unwrap_or(false) {
            return sink.finish();
        }
    }
}

async fn to_client<R: Runtime>(mut upstream: Incoming<'_, R>, writer: &mut Writer<R>) {
    let mut out = Vec::new();
    loop {
        if !upstream.input.is_empty() {
            let sent = match upstream.input.take_block() {
                Some(block) => writer.send_block(block).await.map(|()| Vec::new()),
                None => {
                    out.extend_from_slice(upstream.input.bytes());
                    upstream.input.consume(upstream.input.bytes().len());
                    writer.send(out).await
                }
            };
            match sent {
                Ok(empty) => out = empty,
                Err(_) => return,
            }
        }
        if !upstream.fill(Size::Small).await.unwrap_or(false) {
            return writer.finish().await;
        }
    }
}
