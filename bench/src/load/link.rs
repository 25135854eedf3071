//! One client connection, plain or TLS, on whatever backend the generator runs.
//!
//! Knows bytes, not HTTP. Called by `load::client`. Invariant: sending and receiving on a plain
//! connection copies and allocates nothing.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use runtime::{Abort, Runtime, Sink as _, Size, Stream as _};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::load::record::Failure;

/// A connection and what TLS needs.
pub(crate) struct Link<R: Runtime> {
    sink: R::Sink,
    stream: R::Stream,
    tls: Option<Box<Tls>>,
}

struct Tls {
    session: ClientConnection,
    plain: Vec<u8>,
    out: Vec<u8>,
}

/// How much plaintext is taken at once.
const PLAIN: usize = 64 * 1024;

impl<R: Runtime> Link<R> {
    /// Connects, and completes the handshake when `tls` names a server.
    pub(crate) async fn connect(
        address: SocketAddr,
        tls: Option<(&Arc<ClientConfig>, &str)>,
    ) -> Result<Self, (Failure, io::Error)> {
        let connected = R::connect(address).await;
        let (sink, stream) = connected.map_err(|error| (Failure::Connect, error))?;
        let mut link = Self { sink, stream, tls: None };
        if let Some((config, name)) = tls {
            link.handshake(config, name).await.map_err(|error| (Failure::Tls, error))?;
        }
        Ok(link)
    }

    async fn handshake(&mut self, config: &Arc<ClientConfig>, name: &str) -> io::Result<()> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut tls = Box::new(Tls { session, plain: vec![0; PLAIN], out: Vec::new() });
        loop {
            flush::<R>(&mut tls, &mut self.sink).await?;
            if !tls.session.is_handshaking() {
                break;
            }
            let block = self.stream.recv(Size::Small).await?;
            if block.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            take_in(&mut tls.session, &block)?;
        }
        self.tls = Some(tls);
        Ok(())
    }

    /// Ends both halves from elsewhere.
    pub(crate) fn abort_handle(&self) -> Abort {
        self.stream.abort_handle()
    }

    /// Sends all of `request` and gives it back.
    pub(crate) async fn send(&mut self, request: Vec<u8>) -> io::Result<Vec<u8>> {
        let Some(tls) = &mut self.tls else {
            return self.sink.send(request).await;
        };
        tls.session.writer().write_all(&request)?;
        flush::<R>(tls, &mut self.sink).await?;
        Ok(request)
    }

    /// Hands what arrived to `take`; nothing when the peer has closed.
    pub(crate) async fn recv<T>(
        &mut self,
        size: Size,
        mut take: impl FnMut(&[u8]) -> T,
    ) -> io::Result<Option<T>> {
        loop {
            if let Some(tls) = &mut self.tls {
                match tls.session.reader().read(&mut tls.plain) {
                    Ok(0) => return Ok(None),
                    Ok(n) => return Ok(Some(take(&tls.plain[..n]))),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            let block = self.stream.recv(size).await?;
            if block.is_empty() {
                return Ok(None);
            }
            match &mut self.tls {
                None => return Ok(Some(take(&block))),
                Some(tls) => take_in(&mut tls.session, &block)?,
            }
        }
    }
}

/// Feeds what arrived to the session.
fn take_in(session: &mut ClientConnection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        session.read_tls(&mut bytes)?;
        session.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

async fn flush<R: Runtime>(tls: &mut Tls, sink: &mut R::Sink) -> io::Result<()> {
    while tls.session.wants_write() {
        tls.out.clear();
        tls.session.write_tls(&mut tls.out)?;
        tls.out = sink.send(std::mem::take(&mut tls.out)).await?;
    }
    Ok(())
}

/// A client that accepts every certificate and resumes no session: it measures, it trusts nobody.
pub(crate) fn client_config() -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
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
