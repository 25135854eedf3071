//! One client connection, plain or TLS, on whatever backend the generator runs.
//!
//! Knows bytes, not HTTP. Called by the protocols of `load`. Invariant: sending and receiving on a
//! plain connection copies and allocates nothing; no borrow of a session lives across an await.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use runtime::{Abort, Buf, Runtime, Sink as _, Size, Stream as _};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::load::record::Failure;
use crate::protocol::Protocol;

/// A connection.
pub(crate) struct Link<R: Runtime> {
    /// Towards the server.
    pub(crate) outgoing: Outgoing<R>,
    /// From the server.
    pub(crate) incoming: Incoming<R>,
}

/// The half that sends.
pub(crate) struct Outgoing<R: Runtime> {
    sink: R::Sink,
    tls: Option<Session>,
    records: Vec<u8>,
}

/// The half that receives.
pub(crate) struct Incoming<R: Runtime> {
    stream: R::Stream,
    tls: Option<Session>,
    /// Records that the session has not taken yet: it takes more once its plaintext is read.
    records: Option<Buf>,
    plain: Vec<u8>,
}

type Session = Rc<RefCell<ClientConnection>>;

/// How much plaintext is taken at once.
const PLAIN: usize = 64 * 1024;
/// How much is given to a session before its records are sent.
const PIECE: usize = 32 * 1024;

impl<R: Runtime> Link<R> {
    /// Connects, and completes the handshake when `tls` names a server.
    pub(crate) async fn connect(
        address: SocketAddr,
        tls: Option<(&Arc<ClientConfig>, &str)>,
    ) -> Result<Self, (Failure, io::Error)> {
        let connected = R::connect(address).await;
        let (sink, stream) = connected.map_err(|error| (Failure::Connect, error))?;
        let mut link = Self {
            outgoing: Outgoing { sink, tls: None, records: Vec::new() },
            incoming: Incoming { stream, tls: None, records: None, plain: Vec::new() },
        };
        if let Some((config, name)) = tls {
            link.handshake(config, name).await.map_err(|error| (Failure::Tls, error))?;
        }
        Ok(link)
    }

    async fn handshake(&mut self, config: &Arc<ClientConfig>, name: &str) -> io::Result<()> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let session = Rc::new(RefCell::new(session));
        self.outgoing.tls = Some(Rc::clone(&session));
        self.incoming.tls = Some(Rc::clone(&session));
        self.incoming.plain = vec![0; PLAIN];
        loop {
            self.outgoing.flush().await?;
            if !session.borrow().is_handshaking() {
                break;
            }
            let block = self.incoming.stream.recv(Size::Small).await?;
            if block.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut rest: &[u8] = &block;
            while !rest.is_empty() {
                let taken = take_some(&mut session.borrow_mut(), rest)?;
                rest = &rest[taken..];
            }
        }
        let wanted = config.alpn_protocols.first().map(Vec::as_slice);
        let chosen = session.borrow().alpn_protocol().map(<[u8]>::to_vec);
        if wanted == Some(b"h2") && chosen.as_deref() != wanted {
            return Err(io::Error::other("the server did not choose h2 by ALPN"));
        }
        Ok(())
    }

    /// Ends both halves from elsewhere.
    pub(crate) fn abort_handle(&self) -> Abort {
        self.incoming.stream.abort_handle()
    }
}

impl<R: Runtime> Outgoing<R> {
    /// Sends all of `bytes` and gives the memory back.
    pub(crate) async fn send(&mut self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let Some(tls) = &self.tls else {
            return self.sink.send(bytes).await;
        };
        let tls = Rc::clone(tls);
        // The session holds little that is not sent yet.
        for piece in bytes.chunks(PIECE) {
            tls.borrow_mut().writer().write_all(piece)?;
            self.flush().await?;
        }
        Ok(bytes)
    }

    async fn flush(&mut self) -> io::Result<()> {
        loop {
            let Some(tls) = &self.tls else { return Ok(()) };
            self.records.clear();
            {
                let mut session = tls.borrow_mut();
                while session.wants_write() {
                    session.write_tls(&mut self.records)?;
                }
            }
            if self.records.is_empty() {
                return Ok(());
            }
            self.records = self.sink.send(std::mem::take(&mut self.records)).await?;
        }
    }
}

impl<R: Runtime> Incoming<R> {
    /// Hands what arrived to `take`; nothing when the peer has closed.
    pub(crate) async fn recv<T>(
        &mut self,
        size: Size,
        mut take: impl FnMut(&[u8]) -> T,
    ) -> io::Result<Option<T>> {
        loop {
            if let Some(tls) = &self.tls {
                match tls.borrow_mut().reader().read(&mut self.plain) {
                    Ok(0) => return Ok(None),
                    Ok(n) => return Ok(Some(take(&self.plain[..n]))),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
                if let Some(records) = &mut self.records {
                    let taken = take_some(&mut tls.borrow_mut(), records)?;
                    records.advance(taken);
                    if records.is_empty() {
                        self.records = None;
                    }
                    continue;
                }
            }
            let block = self.stream.recv(size).await?;
            if block.is_empty() {
                return Ok(None);
            }
            if self.tls.is_none() {
                return Ok(Some(take(&block)));
            }
            self.records = Some(block);
        }
    }
}

/// Feeds some of what arrived to the session; how many bytes.
fn take_some(session: &mut ClientConnection, mut bytes: &[u8]) -> io::Result<usize> {
    let taken = session.read_tls(&mut bytes)?;
    session.process_new_packets().map_err(io::Error::other)?;
    Ok(taken)
}

/// A client that accepts every certificate: it measures, it trusts nobody. Without `resume` every
/// handshake is a full one.
pub(crate) fn client_config(protocol: Protocol, resume: bool) -> anyhow::Result<Arc<ClientConfig>> {
    let mut provider = aws_lc_rs::default_provider();
    // As browsers offer them: AES with 128 bits first.
    provider.cipher_suites.sort_by_key(|suite| {
        use rustls::CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
        match suite.suite() {
            TLS13_AES_128_GCM_SHA256 => 0,
            TLS13_AES_256_GCM_SHA384 => 1,
            _ => 2,
        }
    });
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        .with_no_client_auth();
    if !resume {
        config.resumption = Resumption::disabled();
    }
    config.alpn_protocols = protocol.alpn().iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
