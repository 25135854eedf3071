//! The demo's UDP backend: it answers DNS queries, and sends every other datagram back.
//!
//! Whatever is asked for an IPv4 address gets [`ADDRESS`], which is nobody's; of other types there
//! is nothing. `backends.rs` serves it. Invariant: an answer is no longer than its question and one
//! record, so it cannot be used to amplify much.

use std::net::Ipv4Addr;

use tokio::net::UdpSocket;

/// Every name has this address: one of those that documents may use (RFC 5737).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HEAD: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
const CLASS_IN: [u8; 2] = [0, 1];

pub(super) async fn serve(socket: UdpSocket) {
    let mut datagram = vec![0; 64 * 1024];
    loop {
        // An error is that of one peer that has left.
        if let Ok((length, peer)) = socket.recv_from(&mut datagram).await {
            let datagram = &datagram[..length];
            let answer = resolve(datagram);
            let _ = socket.send_to(answer.as_deref().unwrap_or(datagram), peer).await;
        }
    }
}

/// The answer to a query with one question; `None` for what is none.
fn resolve(query: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = query.split_first_chunk::<HEAD>()?;
    let is_query = head[2] & 0xf8 == 0;
    if !is_query || head[4..6] != [0, 1] {
        return None;
    }
    let mut length = 0;
    while rest.get(length)? != &0 {
        length += 1 + usize::from(rest[length]);
    }
    let question = rest.get(..length + 5)?;
    let is_address = question.ends_with(&[TYPE_A, CLASS_IN].concat());
    let recursion_desired = head[2] & 1;
    let mut answer = vec![head[0], head[1], 0x84 | recursion_desired, 0];
    answer.extend([0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        let name = [0xc0, HEAD as u8];
        let ttl = 60_u32.to_be_bytes();
        answer.extend([&name[..], &TYPE_A, &CLASS_IN, &ttl, &[0, 4], &ADDRESS.octets()].concat());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x07example\x03com\0\0\x01\0\x01\0\0\x29";

    #[test]
    fn a_name_has_the_address_and_nothing_else() {
        let answer = resolve(QUERY).unwrap();
        assert_eq!(answer[..12], *b"\x12\x34\x85\0\0\x01\0\x01\0\0\0\0");
        assert!(answer.ends_with(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01"));
        let other: Vec<u8> = [&QUERY[..26], b"\x1c", &QUERY[27..]].concat();
        assert_eq!(resolve(&other).unwrap()[6..8], [0, 0]);
    }

    #[test]
    fn what_is_no_query_is_none_wherever_it_ends() {
        assert_eq!(resolve(b"hello\n"), None);
        assert_eq!(resolve(b"a longer text that is no query either\n"), None);
        for cut in 0..29 {
            assert_eq!(resolve(&QUERY[..cut]), None, "{cut}");
        }
        let answered: Vec<u8> = [&QUERY[..2], b"\x81", &QUERY[3..]].concat();
        assert_eq!(resolve(&answered), None);
    }
}
