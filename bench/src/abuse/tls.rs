//! Hostile TLS: a ClientHello to cut up, and a client that goes on asking for new keys.
//!
//! Sans I/O towards `life`, which owns the socket. Invariant: certificates are never verified; this
//! client trusts nobody and sends no secret.

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::ClientConfig;
use rustls::client::ClientConnection;
use rustls::pki_types::ServerName;

use super::stage::HOST;
use crate::load::link;
use crate::protocol::Protocol;

static CONFIG: LazyLock<Option<Arc<ClientConfig>>> =
    LazyLock::new(|| link::client_config(Protocol::Http1, false).ok());
static HELLO: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let hello = session().and_then(|mut session| pending(&mut session));
    hello.unwrap_or_default()
});

/// A client that is about to greet.
pub(super) fn session() -> io::Result<ClientConnection> {
    let config = CONFIG.clone().ok_or_else(|| io::Error::other("TLS cannot be set up"))?;
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    ClientConnection::new(config, name).map_err(io::Error::other)
}

/// What the session wants to send now.
pub(super) fn pending(session: &mut ClientConnection) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut out)?;
    }
    Ok(out)
}

/// Feeds what arrived to the session; what it carries is not looked at.
pub(super) fn take_in(session: &mut ClientConnection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        session.read_tls(&mut bytes)?;
        session.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

/// The nth byte of a ClientHello; the last one is kept back.
pub(super) fn hello_byte(n: u32) -> Option<Vec<u8>> {
    let at = n as usize;
    (at + 1 < HELLO.len()).then(|| vec![HELLO[at]])
}

#[cfg(test)]
mod tests {
    use rustls::server::Acceptor;

    use super::*;

    #[test]
    fn a_hello_in_pieces_is_one_that_a_server_waits_for() {
        let mut acceptor = Acceptor::default();
        let mut n = 0;
        while let Some(byte) = hello_byte(n) {
            acceptor.read_tls(&mut &byte[..]).unwrap();
            assert!(acceptor.accept().unwrap().is_none());
            n += 1;
        }
        assert!(n > 100, "{n} bytes");
        acceptor.read_tls(&mut &HELLO[n as usize..]).unwrap();
        let accepted = acceptor.accept().unwrap().expect("the hello is whole now");
        assert_eq!(accepted.client_hello().server_name(), Some(HOST));
    }
}
