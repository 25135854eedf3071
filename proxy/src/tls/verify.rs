//! Which certificates a backend may show: rustls' own check of the chain, and the names of a policy.
//!
//! A BackendTLSPolicy may ask for subject alternative names beside the SNI; that is the one rule that
//! rustls has no verifier for. Made by `identity`, called by rustls. Invariant: no name is looked at
//! before an authority that is trusted vouches for the chain.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

use crate::ir::{Hostname, SubjectAltName};

/// Accepts certificates of `roots` that bear one of `names`, whatever was sent as SNI.
#[derive(Debug)]
pub(super) struct AnyName {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) names: Vec<SubjectAltName>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _sni: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, rest, now, algorithms)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        if self.names.iter().any(|name| bears(&leaf, name)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether the certificate bears `name`. An exact DNS name is matched as for any server, so that the
/// certificate may have a wildcard; a wildcard of the policy covers DNS names of the certificate.
fn bears(leaf: &EndEntityCert<'_>, name: &SubjectAltName) -> bool {
    match name {
        SubjectAltName::Hostname(Hostname::Exact(name)) => ServerName::try_from(&**name)
            .is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok()),
        SubjectAltName::Hostname(wildcard @ Hostname::Wildcard(_)) => {
            leaf.valid_dns_names().any(|name| wildcard.covers(&name.to_ascii_lowercase()))
        }
        SubjectAltName::Uri(uri) => leaf.valid_uri_names().any(|name| name == &**uri),
    }
}
