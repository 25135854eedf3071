//! Trailers, RFC 9113 section 8.1: checked like fields, without pseudo-fields, written as the lines
//! that HTTP/1 trailers are, so that exchanges know one form.
//!
//! It merges nothing into heads. Invariant: what is kept may arrive late.

use super::{Flaw, Size, check};
use crate::h1::error::Error as Refusal;
use crate::h2::hpack::{self, Decoder};
use crate::http::trailer::may_arrive_late;
use crate::http::write::push_line;
use crate::limits::TRAILER_BYTES_MAX;

/// Decodes `block` into `lines`, the table in any case.
///
/// # Errors
/// An error of compression ends the connection; a [`Flaw`] the stream.
pub(in crate::h2) fn collect(
    decoder: &mut Decoder,
    block: &[u8],
    lines: &mut Vec<u8>,
) -> Result<Result<(), Flaw>, hpack::Error> {
    let mut size = Size::default();
    let decoded = decoder.decode(block, |field| {
        if !size.add(field.name, field.value, TRAILER_BYTES_MAX) {
            return Err(Refusal::HeadTooLarge.into());
        }
        check(field.name, field.value)?;
        if may_arrive_late(field.name) {
            push_line(field.name, field.value, field.never_indexed, lines);
        }
        Ok(())
    });
    match decoded {
        Ok(()) => Ok(Ok(())),
        Err(hpack::DecodeError::Refused(flaw)) => Ok(Err(flaw)),
        Err(hpack::DecodeError::Compression(error)) => Err(error),
    }
}
