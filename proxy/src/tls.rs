//! TLS as a buffer engine on rustls: ciphertext in, plaintext out, and back. No sockets.
//!
//! `shards` feeds received bytes and sends what [`Session::take_output`] gives. The certificate is
//! chosen by SNI among the listeners of the port; tickets are bound to their listener. Secrets never
//! appear in errors or `Debug`. Invariant: how the input is cut never changes what comes out.

use std::rc::Rc;

use thiserror::Error as ThisError;

use crate::epoch::Port;

/// TLS configuration of one port as one shard uses it: built per shard at install, since rustls
/// configurations hold locks and caches of their own.
#[derive(Debug)]
pub struct Config {}

/// One server-side TLS session.
#[derive(Debug)]
pub struct Session {}

/// Why a session failed. After an error, send [`Session::take_output`] (the alert) and close.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The client's bytes are not TLS (plain HTTP on a TLS port).
    #[error("not TLS")]
    NotTls,
    /// No listener claims the SNI name, or its certificate is unusable.
    #[error("no certificate for the requested name")]
    NoCertificate,
    /// The client broke the protocol or shares no parameters with us.
    #[error("handshake failed: {0}")]
    Protocol(String),
}

/// Proof that a certificate can serve: checked by `control` before it stands in the IR.
///
/// # Errors
/// Says what is wrong (no certificate, bad key, key and certificate differ) without any secret.
pub fn check_certificate(certificate: &crate::ir::Certificate) -> Result<(), String> {
    let _ = certificate;
    todo!()
}

/// Reads PEM as Secrets of type `kubernetes.io/tls` carry it.
///
/// # Errors
/// Says what is wrong without any secret.
pub fn read_pem(secret: &str, chain: &[u8], key: &[u8]) -> Result<crate::ir::Certificate, String> {
    let _ = (secret, chain, key);
    todo!()
}

impl Config {
    /// Configuration for an HTTPS port. `ticket_seed` is the process's secret from which each
    /// listener's ticket keys are derived (equal in all shards, so that a client which reaches
    /// another shard can resume). Listeners equal to those of `previous` keep their state.
    #[must_use]
    pub fn new(port: &Port, ticket_seed: &[u8; 32], previous: Option<&Self>) -> Self {
        let _ = (port, ticket_seed, previous);
        todo!()
    }
}

impl Session {
    /// A session that waits for its ClientHello.
    #[must_use]
    pub fn new(config: &Rc<Config>) -> Self {
        let _ = config;
        todo!()
    }

    /// Takes received ciphertext; appends decrypted bytes to `plain`.
    ///
    /// # Errors
    /// The session is over; see [`Error`].
    pub fn read(&mut self, input: &[u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        let _ = (input, plain);
        todo!()
    }

    /// Encrypts `plain`, appending records to `out` (handshake output that is due goes first).
    ///
    /// # Errors
    /// The session cannot take application data.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let _ = (plain, out);
        todo!()
    }

    /// Appends handshake messages, tickets and alerts that are due; returns whether there were any.
    pub fn take_output(&mut self, out: &mut Vec<u8>) -> bool {
        let _ = out;
        todo!()
    }

    /// Appends `close_notify`.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }

    /// The handshake is complete.
    #[must_use]
    pub fn is_established(&self) -> bool {
        todo!()
    }

    /// The client said `close_notify`: a clean end of its bytes.
    #[must_use]
    pub fn is_closed_by_peer(&self) -> bool {
        todo!()
    }

    /// The SNI name, lower case, if the client sent one.
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        todo!()
    }

    /// The protocol agreed by ALPN, if any (`http/1.1` for now).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        todo!()
    }
}
