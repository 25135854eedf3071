//! `ringway status` and `ringway histograms`: one GET to the admin port of a running gateway.
//!
//! A small blocking client for our own server, on loopback: HTTP/1.0 semantics, one answer, bounded
//! in size and time. It is no general HTTP client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use thiserror::Error;

use super::value::Admin;

/// Largest answer taken (bytes).
pub const ANSWER_BYTES_MAX: u64 = 256 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Error {
    /// `--admin off`.
    #[error("the gateway to ask must have an admin address; give it with --admin ADDR")]
    Off,
    /// Nobody there.
    #[error(
        "no gateway answers on {address}: {source}; is `ringway run` up, and is its --admin the same?"
    )]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Broken off.
    #[error("{address} broke off: {source}")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Not ours.
    #[error("{address} answered {status}; is that the admin port of Ringway?")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// The status line.
        status: String,
    },
}

/// The body of `path`.
///
/// # Errors
/// Nobody answers, or not with 200.
pub fn get(admin: Admin, path: &str) -> Result<String, Error> {
    let Admin::At(address) = admin else { return Err(Error::Off) };
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .map_err(|source| Error::Connect { address, source })?;
    let broken = |source| Error::Broken { address, source };
    stream.set_read_timeout(Some(TIMEOUT)).map_err(broken)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").map_err(broken)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(broken)?;
    let answer = String::from_utf8_lossy(&answer);
    let refused = |status: &str| Error::Refused { address, status: status.to_owned() };
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| refused("with something else than HTTP"))?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(refused(status));
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| length != body.len()) {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(body.to_owned())
}
