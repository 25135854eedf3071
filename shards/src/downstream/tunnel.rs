//! After a switch of protocols: bytes both ways until both sides have ended. No HTTP here any more.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use runtime::Runtime;

use super::client::Client;
use crate::race::both;
use crate::relay;
use crate::shard::Shard;
use crate::trace::Trace;
use crate::upstream::Backend;

/// Relays until both directions have ended; a half-close on one side is passed to the other, a
/// broken side ends both. The bytes of each direction are counted as they come.
pub(super) async fn run<R: Runtime, C: Client<R>, U: Backend<R>>(
    shard: &Rc<Shard<R>>,
    client: &mut C,
    mut upstream: U,
    trace: &mut Trace<'_>,
) {
    let (one, other) = (upstream.cut(), client.cut());
    let guard = shard.deadlines.register(one.clone());
    let uncut = Cell::new(None);
    let (sink, mut incoming) = upstream.tunnel(&uncut);
    let (mut outgoing, response) = client.tunnel();
    let up = async {
        if relay::pipe(&mut outgoing, sink, &mut trace.bytes_in).await.is_err() {
            one.end();
        }
    };
    let down = async {
        if relay::pipe(&mut incoming, response, &mut trace.bytes_out).await.is_err() {
            other.end();
        }
    };
    both(pin!(up), pin!(down)).await;
    drop(guard);
}
