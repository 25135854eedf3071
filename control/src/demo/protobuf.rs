//! As much protobuf as the demo's gRPC backend needs: varints and length-delimited fields.
//!
//! Used by `grpc.rs` and `reflection.rs`; it is no codec for anybody's `.proto` files. Invariant:
//! what it reads may be any bytes.

/// A field with bytes: a string, a message, or bytes.
pub(super) fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(value);
    out
}

/// A field with a small number: an enum or a count, below 128.
pub(super) fn small(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// The fields of a message that hold bytes, in order; `None` if it is not protobuf.
pub(super) fn fields(mut message: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => {
                varint(&mut message)?;
            }
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (value, rest) = message.split_at_checked(length)?;
                all.push((tag >> 3, value));
                message = rest;
            }
            _ => return None,
        }
    }
    Some(all)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_refused() {
        let long = [7; 300];
        let message = [bytes(3, &long), small(1, 5), bytes(4, b"x")].concat();
        assert_eq!(fields(&message), Some(vec![(3, &long[..]), (4, &b"x"[..])]));
        assert_eq!(fields(&message[..100]), None);
        assert_eq!(fields(&[0x0a]), None);
        assert_eq!(fields(&[0xff; 11]), None);
        assert_eq!(fields(&[]), Some(Vec::new()));
    }
}
