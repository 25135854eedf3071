//! The HTTP/1 engine of `proxy`: heads and bodies cost no heap allocation once the reused buffers
//! have grown. It stands here because the counting allocator is `runtime`'s.

use proxy::h1::body::{BodyReader, BodyWriter};
use proxy::h1::{request, response};
use proxy::http::{Framing, Method, RequestHead, ResponseHead};
use runtime::alloc::{Counting, allocations_of_this_thread};

#[global_allocator]
static COUNTING: Counting = Counting;

fn exchange(head: &mut RequestHead, answer: &mut ResponseHead, out: &mut Vec<u8>) {
    let bytes = b"GET /a/../%62//c?d HTTP/1.1\r\nHost: A.example.:80\r\nX-A: 1\r\n\
        Connection: keep-alive, x-a\r\nTE: trailers\r\n\r\n";
    assert_eq!(request::read(bytes, head), Ok(Some(bytes.len())));
    assert_eq!((head.path(), head.authority()), ("/b/c", "a.example:80"));
    let (first, all) = (&bytes[..30], &bytes[..]);
    assert_eq!(request::read(first, head), Ok(None));
    assert_eq!(request::read(all, head), Ok(Some(bytes.len())));
    let bytes = b"HTTP/1.1 200 OK\r\nServer: s\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(response::read(bytes, Method::Get, false, answer), Ok(Some(bytes.len())));
    let mut reader = BodyReader::new(answer.framing);
    let read = reader.read(b"5;x\r\nhello\r\n0\r\n\r\n").unwrap_or_else(|error| panic!("{error}"));
    out.clear();
    let mut writer = BodyWriter::new(Framing::Chunked);
    writer.before(read.data.len(), out);
    writer.after(out);
    assert!(reader.read(b"\r\n0\r\n\r\n").is_ok_and(|read| read.done));
    writer.finish(reader.trailers(), out);
}

#[test]
fn a_second_exchange_allocates_nothing() {
    let (mut head, mut answer, mut out) = Default::default();
    exchange(&mut head, &mut answer, &mut out);
    let before = allocations_of_this_thread();
    assert!(before > 0, "the first exchange is counted");
    exchange(&mut head, &mut answer, &mut out);
    assert_eq!(allocations_of_this_thread(), before);
}
