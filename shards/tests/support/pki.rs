//! Authorities, certificates and TLS ends of connections for tests: rcgen and rustls.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use proxy::ir;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for `names` (DNS names and addresses).
    pub(crate) fn issue(&self, names: &[&str]) -> ir::Certificate {
        self.issue_by(names, |_| {})
    }

    pub(crate) fn issue_by(
        &self,
        names: &[&str],
        edit: impl Fn(&mut CertificateParams),
    ) -> ir::Certificate {
        let names: Vec<_> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        ir::Certificate {
            secret: "default/secret".into(),
            chain: vec![certificate.der().to_vec()],
            key: ir::PrivateKey(key.serialize_der()),
        }
    }

    fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from(self.der())).unwrap();
        store
    }

    /// What a backend's policy says of certificates that this authority signs.
    pub(crate) fn policy(&self, server_name: &str) -> ir::BackendTls {
        ir::BackendTls {
            server_name: server_name.into(),
            sans: Vec::new(),
            roots: ir::Roots::Certificates(Arc::new(vec![self.der()])),
        }
    }
}

fn parts(certificate: &ir::Certificate) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    (chain, PrivateKeyDer::try_from(certificate.key.0.clone()).unwrap())
}

/// A server that shows `certificate`, asks clients for one of `clients` if that is given, and
/// agrees to `alpn`.
pub(crate) fn server(
    certificate: &ir::Certificate,
    clients: Option<&Authority>,
    alpn: &[&[u8]],
) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(authority.store()), provider)
                .build()
                .unwrap(),
        ),
    };
    let (chain, key) = parts(certificate);
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// A client that trusts `authority` and shows `certificate`, if that is given.
pub(crate) fn client(
    authority: &Authority,
    certificate: Option<&ir::Certificate>,
    alpn: &[&[u8]],
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.store());
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let (chain, key) = parts(certificate);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

pub(crate) type ServerStream = StreamOwned<ServerConnection, TcpStream>;
pub(crate) type ClientStream = StreamOwned<ClientConnection, TcpStream>;

/// The server's end, before its handshake.
pub(crate) fn accept(config: &Arc<ServerConfig>, stream: TcpStream) -> ServerStream {
    StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)
}

/// The client's end, before its handshake.
pub(crate) fn connect(config: &Arc<ClientConfig>, name: &str, stream: TcpStream) -> ClientStream {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), stream)
}

/// Reads one head; `None` when there is none.
pub(crate) fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A body of exactly `length` bytes.
pub(crate) fn read_body(stream: &mut impl Read, length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match stream.read(&mut body[filled..]) {
            Ok(0) => panic!("closed after {filled} of {length} bytes"),
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => panic!("{error} after {filled} of {length} bytes"),
        }
    }
    body
}

/// Sends `request` and gives back the head and body (by its length) of the answer.
pub(crate) fn ask(stream: &mut (impl Read + Write), request: &[u8]) -> (String, Vec<u8>) {
    stream.write_all(request).unwrap();
    stream.flush().unwrap();
    let head = read_head(stream).expect("an answer");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |value| value.parse().unwrap());
    let body = read_body(stream, length);
    (head, body)
}
