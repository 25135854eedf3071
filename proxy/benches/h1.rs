//! Time per head of the HTTP/1 engine on this machine: `cargo bench -p proxy --bench h1`.
//!
//! It prints figures and judges none. The fastest of several rounds is printed, since anything slower
//! was disturbed.

mod timing;

use std::hint::black_box;

use proxy::h1::body::BodyReader;
use proxy::h1::{request, response};
use proxy::http::{Framing, Method, RequestHead, ResponseHead};

use self::timing::time;

const SMALL: &[u8] =
    b"GET /api/v1/items/42 HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /assets/app/main.4f3a9c.js?v=20240501 HTTP/1.1\r\n\
Host: www.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: */*\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://www.example.com/start/page?with=query\r\n\
Connection: keep-alive\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\
Sec-Fetch-Dest: script\r\n\
Sec-Fetch-Mode: no-cors\r\n\
Sec-Fetch-Site: same-origin\r\n\
\r\n";

const ESCAPED: &[u8] =
    b"GET /a%20b/../c%61t//d HTTP/1.1\r\nHost: WWW.example.com.\r\nAccept: */*\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: nginx\r\n\
Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
Content-Type: text/plain\r\n\
Content-Length: 13\r\n\
Connection: keep-alive\r\n\
\r\n";

fn main() {
    let mut head = RequestHead::default();
    for (name, bytes) in [("small", SMALL), ("browser", BROWSER), ("escaped path", ESCAPED)] {
        time(&format!("request head, {name}, {} B", bytes.len()), || {
            request::read(black_box(bytes), &mut head).is_ok_and(|read| read.is_some())
        });
    }
    let mut answer = ResponseHead::default();
    time(&format!("response head, {} B", ANSWER.len()), || {
        response::read(black_box(ANSWER), Method::Get, false, &mut answer)
            .is_ok_and(|read| read.is_some())
    });
    let mut chunked = b"400\r\n".to_vec();
    chunked.resize(1024 + 5, b'x');
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    time("chunked body, one chunk of 1 KiB", || {
        let mut reader = BodyReader::new(Framing::Chunked);
        let mut rest = black_box(&chunked[..]);
        while let Ok(read) = reader.read(rest) {
            rest = &rest[read.consumed..];
            if read.done {
                return rest.is_empty();
            }
        }
        false
    });
}
