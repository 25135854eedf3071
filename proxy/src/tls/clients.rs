//! How a listener validates the certificates of its clients.
//!
//! The check itself is rustls' own (`WebPkiClientVerifier`); what is added is what the API wants
//! beyond it: without any authority every client is refused, and `AllowInsecureFallback` serves
//! whoever comes. Made by `config`, called by rustls. Invariant: only a certificate that the strict
//! check accepts is ever called verified.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::roots;
use crate::ir;

/// What is asked of clients.
#[derive(Debug)]
pub(super) struct Validation {
    /// `None`: nobody is trusted.
    strict: Option<Arc<dyn ClientCertVerifier>>,
    is_optional: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Validation {
    pub(super) fn new(clients: &ir::ClientValidation, provider: &Arc<CryptoProvider>) -> Self {
        let roots = Arc::new(roots::store(&clients.roots));
        let strict = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
        let algorithms = provider.signature_verification_algorithms;
        Self { strict: strict.ok(), is_optional: clients.is_optional, algorithms }
    }

    /// The strict check, whether the listener insists on it or not.
    pub(super) fn check(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let Some((leaf, rest)) = chain.split_first() else {
            return Err(Error::NoCertificatesPresented);
        };
        match &self.strict {
            Some(strict) => strict.verify_client_cert(leaf, rest, now).map(drop),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

impl ClientCertVerifier for Validation {
    fn client_auth_mandatory(&self) -> bool {
        !self.is_optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.as_ref().map_or(&[], |strict| strict.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match &self.strict {
            _ if self.is_optional => Ok(ClientCertVerified::assertion()),
            Some(strict) => strict.verify_client_cert(leaf, rest, now),
            None => Err(CertificateError::UnknownIssuer.into()),
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
