//! What a gateway is set up with.
//!
//! Made by the commands that start gateways, read by each gateway's own file. Invariant: with the
//! gateway's [`Kind`](super::Kind), a [`Setup`] is all that a configuration depends on.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{PREFIXES, SERVICES};
use crate::protocol::Protocol;

impl Protocol {
    /// How the paths that each host serves begin; there are none without HTTP.
    pub(crate) fn prefixes(self) -> Vec<String> {
        match self {
            Self::Http1 | Self::Http2 => PREFIXES.map(str::to_owned).into(),
            Self::Grpc => SERVICES.map(|service| format!("/{service}/")).into(),
            Self::Tcp | Self::Udp => Vec::new(),
        }
    }
}

/// A self-signed certificate for all hosts.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Certificate {
    /// A new one: ECDSA P-256.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let names = vec!["*.example.com".to_owned()];
        let made =
            rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
        Ok(Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }
}

/// What a gateway is set up with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// An empty directory of its own.
    pub(crate) directory: PathBuf,
    /// What clients speak. The upstream speaks HTTP/1.1 for HTTP/2, too, HTTP/2 without TLS for gRPC,
    /// and what the client speaks otherwise.
    pub(crate) protocol: Protocol,
    /// The port to listen on.
    pub(crate) port: u16,
    /// The one upstream.
    pub(crate) upstream: SocketAddr,
    /// Listen with TLS; datagrams have none.
    pub(crate) certificate: Option<Certificate>,
    /// The core for all of it.
    pub(crate) core: Option<usize>,
    /// The ringway binary.
    pub(crate) ringway: PathBuf,
}

impl Setup {
    pub(super) fn file(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The scheme that clients used.
    pub(super) fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }

    /// Writes `cert.pem` and `key.pem`, if there is a certificate.
    pub(super) fn certificate_files(&self) -> anyhow::Result<()> {
        if let Some(certificate) = &self.certificate {
            self.file("cert.pem", &certificate.certificate)?;
            self.file("key.pem", &certificate.key)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_of_two_pem_blocks() {
        let made = Certificate::new().unwrap();
        assert!(made.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(made.key.contains("PRIVATE KEY"));
    }

    #[test]
    fn the_paths_of_grpc_are_its_services() {
        assert_eq!(Protocol::Grpc.prefixes()[0], "/bench.v1.Api/");
        assert_eq!(Protocol::Http2.prefixes(), PREFIXES);
    }
}
