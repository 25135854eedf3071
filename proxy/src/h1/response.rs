//! Response heads from backends, RFC 9112 sections 4 to 6.

use super::error::Error;
use crate::http::{Method, ResponseHead};

/// Reads one response head from the start of `input` into `head` (cleared first), for a request
/// with method `method` that did or did not ask for a WebSocket.
///
/// Returns the bytes consumed, or `None` when the head is not complete yet.
///
/// # Errors
/// A malformed answer: the gateway answers 502 and closes the upstream connection.
pub fn read(
    input: &[u8],
    method: Method,
    websocket_asked: bool,
    head: &mut ResponseHead,
) -> Result<Option<usize>, Error> {
    let _ = (input, method, websocket_asked, head);
    todo!()
}
