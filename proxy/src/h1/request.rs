//! Request heads, RFC 9112 sections 2 to 6, with the refusals of the public policy.

use super::error::Error;
use crate::http::RequestHead;

/// Reads one request head from the start of `input` into `head` (cleared first).
///
/// Returns the bytes consumed, or `None` when the head is not complete yet: call again with more.
/// Empty lines before the request line are skipped (RFC 9112 section 2.2), at most one.
///
/// # Errors
/// Any violation of the public policy; [`Error::status`] is the answer, and the connection closes.
pub fn read(input: &[u8], head: &mut RequestHead) -> Result<Option<usize>, Error> {
    let _ = (input, head);
    todo!()
}
