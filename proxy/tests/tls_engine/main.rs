//! The TLS engine against a rustls client, over buffers in memory.
//!
//! This file makes certificates, listeners and clients and carries bytes between the two sides; the
//! modules hold the claims. No sockets, no clock but rustls' own.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod backend;
mod choose;
mod clients;
mod handshake;
mod pass;
mod pem;
mod refuse;
mod resume;

use std::io::Read;
use std::rc::Rc;
use std::sync::Arc;

use proxy::ir::{Certificate, Hostname, ListenerKind, Tls};
use proxy::tls::{Claimant, Config, Error, Session, read_pem};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

const SEED: [u8; 32] = [7; 32];
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A self-signed certificate for `names`.
fn certificate(names: &[&str]) -> Certificate {
    certificate_of(names, &rcgen::PKCS_ECDSA_P256_SHA256)
}

fn certificate_of(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> Certificate {
    let names: Vec<_> = names.iter().map(|name| name.to_string()).collect();
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    read_pem("test/secret", certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

/// An authority, and a way to have certificates signed by it.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

/// A certificate with its key.
struct Card(CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        Self(rcgen::CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A certificate of a client.
    fn card(&self) -> Card {
        self.sign(&["client"], rcgen::ExtendedKeyUsagePurpose::ClientAuth, |_| {})
    }

    /// A certificate of a server with these names.
    fn backend(&self, names: &[&str]) -> Card {
        self.sign(names, rcgen::ExtendedKeyUsagePurpose::ServerAuth, |_| {})
    }

    fn sign(
        &self,
        names: &[&str],
        usage: rcgen::ExtendedKeyUsagePurpose,
        edit: impl Fn(&mut rcgen::CertificateParams),
    ) -> Card {
        let names: Vec<_> = names.iter().map(|name| name.to_string()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        edit(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Card(certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn root(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }
}

/// A listener: name, hostname as in the API, certificates.
struct Listener(Arc<str>, Option<Hostname>, Option<Arc<Tls>>);

fn listener(name: &str, hostname: Option<&str>, certificates: &[&Certificate]) -> Listener {
    let hostname = hostname.map(|hostname| match hostname.strip_prefix("*.") {
        Some(suffix) => Hostname::Wildcard(suffix.into()),
        None => Hostname::Exact(hostname.into()),
    });
    let certificates = certificates.iter().map(|certificate| (*certificate).clone()).collect();
    Listener(name.into(), hostname, Some(Arc::new(Tls { certificates, clients: None })))
}

fn config(listeners: &[Listener]) -> Rc<Config> {
    config_after(listeners, &SEED, None)
}

fn config_after(listeners: &[Listener], seed: &[u8; 32], previous: Option<&Config>) -> Rc<Config> {
    let claimants = listeners.iter().map(|Listener(name, hostname, tls)| Claimant {
        name,
        kind: ListenerKind::Http,
        hostname: hostname.as_ref(),
        tls: tls.as_ref(),
    });
    Rc::new(Config::of(claimants, seed, previous))
}

/// A client configuration that trusts exactly `trusted`.
fn client_config(
    trusted: &[&Certificate],
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    client_config_with(trusted, version, aws_lc_rs::default_provider())
}

fn client_config_with(
    trusted: &[&Certificate],
    version: &'static SupportedProtocolVersion,
    provider: CryptoProvider,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(CertificateDer::from(certificate.chain[0].clone())).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn client(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(config.clone(), name).unwrap();
    client.set_buffer_limit(None);
    client
}

/// What the client sends now.
fn flight(client: &mut ClientConnection) -> Vec<u8> {
    let mut out = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut out).unwrap();
    }
    out
}

/// Gives the client ciphertext; returns the plaintext it read.
fn deliver(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets()?;
        let _ = client.reader().read_to_end(&mut plain);
    }
    Ok(plain)
}

/// Carries bytes both ways until neither side has any; returns what the server read. The client's
/// bytes arrive in pieces of at most `piece`.
fn carry(
    client: &mut ClientConnection,
    session: &mut Session,
    piece: usize,
) -> Result<Vec<u8>, Error> {
    let (mut plain, mut moved) = (Vec::new(), true);
    while moved {
        moved = false;
        for bytes in flight(client).chunks(piece) {
            moved = true;
            session.read(bytes, &mut plain)?;
        }
        let mut out = Vec::new();
        moved |= session.take_output(&mut out);
        deliver(client, &out).expect("the server's bytes are valid");
    }
    Ok(plain)
}

/// A finished handshake.
fn established(
    server: &Rc<Config>,
    client_config: &Arc<ClientConfig>,
    name: &str,
) -> (ClientConnection, Session) {
    let (mut client, mut session) = (client(client_config, name), Session::new(server));
    assert_eq!(carry(&mut client, &mut session, usize::MAX), Ok(Vec::new()));
    assert!(session.is_established() && !client.is_handshaking());
    (client, session)
}

/// The certificate that the server showed.
fn shown(client: &ClientConnection) -> Vec<u8> {
    client.peer_certificates().unwrap()[0].to_vec()
}
