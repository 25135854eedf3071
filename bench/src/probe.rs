//! A blocking client for one request at a time.
//!
//! Not for load. Called by `scale`, `idle` and `soak` from threads of their own. Invariant: an
//! answer is complete or an error.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::http::{self, Body};

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) head: Vec<u8>,
    pub(crate) bytes: u64,
}

/// Connects with a time-out on everything.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Asks on a connection that stays open.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    host: &str,
    path: &str,
) -> io::Result<Answered> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    read_answer(stream, 64 * 1024, Duration::ZERO)
}

/// Asks once, on a connection of its own.
pub(crate) fn ask_once(address: SocketAddr, host: &str, path: &str) -> io::Result<Answered> {
    let mut stream = connect(address)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    read_answer(&mut stream, 64 * 1024, Duration::ZERO)
}

/// Reads an answer, at most `step` bytes at a time with a pause after each.
pub(crate) fn read_answer(
    stream: &mut impl Read,
    step: usize,
    pause: Duration,
) -> io::Result<Answered> {
    let bad = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut block = vec![0; step];
    let mut head = Vec::new();
    let end = loop {
        let n = stream.read(&mut block)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&block[..n]);
        if let Some(end) = http::head_end(&head) {
            break end;
        }
    };
    let rest = head.split_off(end);
    let status = http::status(&head).map_err(bad)?;
    let mut body = Body::of_response(status, http::framing(&head).map_err(bad)?);
    let (_, mut bytes) = body.take(&rest).map_err(bad)?;
    while body != Body::Done {
        std::thread::sleep(pause);
        let n = stream.read(&mut block)?;
        if n == 0 {
            if body == Body::UntilClose {
                break;
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes += body.take(&block[..n]).map_err(bad)?.1;
    }
    Ok(Answered { status, head, bytes })
}
