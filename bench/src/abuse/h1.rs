//! Hostile HTTP/1: what each kind of abuse sends, as bytes.
//!
//! Pure; sends nothing. Called through the table of [`super::kinds`]. Invariant: but for garbage,
//! what is sent is the beginning of a good request.

use super::kinds::garbage;
use super::stage::{HOST, SMALL};

/// A path whose answer is more than all buffers on the way take.
const HUGE: &str = "/?size=4194304";
/// Bytes of a head that just fits the gateway's limit of 64 KiB.
const HEAD_BYTES: usize = 64 * 1024 - 512;

fn head(method: &str, path: &str, more: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{more}").into_bytes()
}

/// One good request.
pub(super) fn idle() -> Vec<u8> {
    head("GET", SMALL, "\r\n")
}

/// A head without its end.
pub(super) fn head_open() -> Vec<u8> {
    head("GET", SMALL, "x-slow: ")
}

/// One byte of a field value, or of a body.
pub(super) fn drip(_: u32) -> Option<Vec<u8>> {
    Some(b"x".to_vec())
}

/// A large head without its end.
pub(super) fn large_head() -> Vec<u8> {
    let mut out = head("GET", SMALL, "");
    for n in 0..100 {
        out.extend_from_slice(format!("x-{n}: {}\r\n", "h".repeat(660)).as_bytes());
    }
    out.truncate(HEAD_BYTES);
    out
}

/// A large body is announced.
pub(super) fn body_open() -> Vec<u8> {
    head("POST", SMALL, "Content-Length: 1048576\r\n\r\n")
}

/// A huge answer is asked for.
pub(super) fn ask_huge() -> Vec<u8> {
    head("GET", HUGE, "\r\n")
}

/// So many requests at once.
pub(super) fn pipeline() -> Vec<u8> {
    idle().repeat(1000)
}

/// A chunked body begins.
pub(super) fn chunks_open() -> Vec<u8> {
    head("POST", SMALL, "Transfer-Encoding: chunked\r\n\r\n")
}

/// One byte of body in a chunk with a long extension.
pub(super) fn chunk_extension(_: u32) -> Option<Vec<u8>> {
    Some(format!("1;{}\r\nx\r\n", "e".repeat(200)).into_bytes())
}

/// What is no request.
pub(super) fn garbage_bytes(n: u32) -> Option<Vec<u8>> {
    Some(garbage(n, 1024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{self, Body};

    #[test]
    fn heads_that_are_meant_to_stay_open_have_no_end() {
        assert_eq!(http::head_end(&head_open()), None);
        assert_eq!(http::head_end(&large_head()), None);
        assert_eq!(large_head().len(), HEAD_BYTES);
    }

    #[test]
    fn bodies_are_announced_and_never_whole() {
        let open = body_open();
        let framing = http::framing(&open).unwrap();
        assert_eq!((framing.length, http::head_end(&open)), (Some(1 << 20), Some(open.len())));
        let mut body = Body::of_request(http::framing(&chunks_open()).unwrap());
        let (_, content) = body.take(&chunk_extension(0).unwrap().repeat(3)).unwrap();
        assert_eq!(content, 3);
        assert_ne!(body, Body::Done);
    }

    #[test]
    fn a_pipeline_is_a_thousand_whole_requests() {
        let all = pipeline();
        assert_eq!(memchr::memmem::find_iter(&all, b"\r\n\r\nGET ").count(), 999);
        assert!(http::head_end(&all[all.len() - idle().len()..]).is_some());
        assert_eq!(http::target(&ask_huge()), Some(HUGE.as_bytes()));
    }
}
