//! One listener's accept loop.
//!
//! Runs until the listener is stopped. Refuses at once when the shard is full or out of descriptors,
//! and never spins on an error.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proxy::ir::Protocol;
use runtime::{Listener, Runtime};

use crate::install::PortKey;
use crate::shard::Shard;
use crate::{downstream, stream};

pub(crate) async fn run<R: Runtime>(
    shard: Rc<Shard<R>>,
    port: PortKey,
    mut listener: R::Listener,
    stopped: Rc<Cell<bool>>,
) {
    while !stopped.get() {
        match listener.accept().await {
            Ok(connection) if shard.admit() => {
                let protocol = shard.installed().port(port).map(|port| port.protocol);
                let shard = Rc::clone(&shard);
                match protocol {
                    Some(Protocol::Tcp) => R::spawn(stream::serve(shard, port, connection)),
                    Some(Protocol::Http | Protocol::Tls | Protocol::Udp) | None => {
                        R::spawn(downstream::serve(shard, port, connection));
                    }
                }
            }
            Ok(_full) => shard.recorder.refused(),
            Err(_) if stopped.get() => return,
            Err(error) => {
                if is_exhaustion(&error) {
                    shard.recorder.refused();
                    R::sleep_until(R::now() + ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

/// Whether waiting may help; other errors concern the one connection that was not accepted.
fn is_exhaustion(error: &std::io::Error) -> bool {
    !matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::Interrupted
    )
}

const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
