//! From the PEM of a Secret to a certificate and key that rustls can serve with.
//!
//! `control` calls [`read_pem`] when it reads a Secret and [`check_certificate`] before a certificate
//! enters the IR; `config` loads what passed. It does not judge trust, names or dates: an expired
//! certificate serves. Invariant: no error text holds a byte of the input.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use crate::ir::{Certificate, PrivateKey};

/// Certificates of one chain.
const CHAIN_CERTIFICATES_MAX: usize = 16;

/// Proof that a certificate can serve: checked by `control` before it stands in the IR.
///
/// # Errors
/// Says what is wrong (no certificate, bad key, key and certificate differ) without any secret.
pub fn check_certificate(certificate: &Certificate) -> Result<(), String> {
    load(certificate, &rustls::crypto::aws_lc_rs::default_provider()).map(drop)
}

/// Reads PEM as Secrets of type `kubernetes.io/tls` carry it (`tls.crt`, `tls.key`) and proves that
/// the two belong together.
///
/// # Errors
/// Says what is wrong without any secret.
pub fn read_pem(secret: &str, chain: &[u8], key: &[u8]) -> Result<Certificate, String> {
    let chain = read_chain(chain)?;
    let key = PrivateKey(read_key(key)?);
    let certificate = Certificate { secret: secret.into(), chain, key };
    check_certificate(&certificate)?;
    Ok(certificate)
}

/// The certificate in the form that rustls signs with.
pub(super) fn load(
    certificate: &Certificate,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    if certificate.chain.is_empty() {
        return Err("it holds no certificate".into());
    }
    let key = PrivateKeyDer::try_from(certificate.key.0.clone())
        .map_err(|_| "the private key is not DER of PKCS#8, PKCS#1 or SEC1")?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        "the private key is damaged or of a kind that is not supported \
         (RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519)"
    })?;
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let certified = CertifiedKey::new(chain, key);
    let Some(public) = certified.key.public_key() else { return Ok(certified) };
    let mut owners = certified.cert.iter().map(|der| {
        ParsedCertificate::try_from(der).map(|parsed| parsed.subject_public_key_info() == public)
    });
    match owners.next() {
        Some(Ok(true)) => {}
        Some(Ok(false)) if owners.any(|owner| matches!(owner, Ok(true))) => {
            return Err("the key's certificate is not the first one: the leaf comes first".into());
        }
        Some(Ok(false)) => return Err("the private key does not belong to the certificate".into()),
        Some(Err(_)) | None => return Err("the first certificate is not X.509 version 3".into()),
    }
    Ok(certified)
}

fn read_chain(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut chain = Vec::new();
    for section in sections(text, "the certificate (tls.crt)")? {
        if let (SectionKind::Certificate, der) = section {
            chain.push(der);
        }
    }
    if chain.is_empty() {
        return Err("the certificate (tls.crt) holds no `-----BEGIN CERTIFICATE-----`".into());
    }
    if chain.len() > CHAIN_CERTIFICATES_MAX {
        return Err(format!(
            "the certificate (tls.crt) holds {} certificates; at most {CHAIN_CERTIFICATES_MAX} \
             make a chain",
            chain.len()
        ));
    }
    Ok(chain)
}

fn read_key(text: &[u8]) -> Result<Vec<u8>, String> {
    let holds = |marker: &[u8]| memchr::memmem::find(text, marker).is_some();
    if holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err("the private key (tls.key) is encrypted; store it without a passphrase".into());
    }
    let mut keys = Vec::new();
    for (kind, der) in sections(text, "the private key (tls.key)")? {
        match kind {
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                keys.push(der);
            }
            _ => {}
        }
    }
    match keys.len() {
        1 => Ok(keys.remove(0)),
        0 => Err("the private key (tls.key) holds no `-----BEGIN PRIVATE KEY-----`".into()),
        n => Err(format!("the private key (tls.key) holds {n} keys; exactly one is allowed")),
    }
}

/// The PEM sections of `text`. The parser's own messages quote their input, so they stay out.
pub(super) fn sections(text: &[u8], what: &str) -> Result<Vec<(SectionKind, Vec<u8>)>, String> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| {
        let wrong = match error {
            pem::Error::MissingSectionEnd { .. } => "a section has no END line",
            pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
            pem::Error::Base64Decode(_) => "its base64 is damaged",
            pem::Error::SectionTooLarge => "a section is too large",
            _ => "it cannot be read",
        };
        format!("{what} is not PEM: {wrong}")
    })
}
