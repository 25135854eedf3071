//! Trusted authorities as rustls keeps them.
//!
//! `clients` trusts them to name clients, `identity` to name backends. It judges no certificate.
//! Invariant: what cannot be read is left out, so that one bad certificate of a bundle never takes
//! the others with it.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

/// The authorities among `certificates` (DER); none if none of them can be read.
pub(super) fn store(certificates: &[Vec<u8>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates.iter().map(|der| CertificateDer::from(&der[..])));
    store
}
