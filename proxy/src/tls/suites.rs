//! Which cipher suites are preferred: AES with keys of 128 bits, since it is the cheapest that is
//! secure and a handshake with SHA-256 costs far less than one with SHA-384.
//!
//! Used by `config` and `identity`. Invariant: nothing that rustls offers by default is left out.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite};

/// Everything that rustls has, the preferred suites first.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(rank);
    provider
}

/// Of suites that are otherwise equal, SHA-256 with AES comes first.
fn rank(suite: &SupportedCipherSuite) -> (bool, u8) {
    let cost = match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        _ if is_chacha20(suite.suite()) => 2,
        _ => 1,
    };
    (suite.tls13().is_none(), cost)
}

/// Whether a client prefers a cipher that needs no AES instructions: it has none then, and its order
/// counts more than ours.
pub(super) fn lacks_aes(offered: &[CipherSuite]) -> bool {
    let known = |suite: &&CipherSuite| !is_grease(**suite);
    offered.iter().find(known).is_some_and(|first| is_chacha20(*first))
}

fn is_chacha20(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// Values that mean nothing (RFC 8701).
fn is_grease(suite: CipherSuite) -> bool {
    let value = u16::from(suite);
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_out_and_aes_128_comes_first_in_both_versions() {
        let ours = provider().cipher_suites;
        assert_eq!(ours.len(), aws_lc_rs::default_provider().cipher_suites.len());
        let of = |tls13: bool| {
            ours.iter().find(|suite| suite.tls13().is_some() == tls13).unwrap().suite()
        };
        assert_eq!(of(true), CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(of(false), CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
        assert!(ours[0].tls13().is_some());
    }

    #[test]
    fn a_client_whose_first_suite_is_chacha20_lacks_aes() {
        let (aes, chacha) =
            (CipherSuite::TLS13_AES_256_GCM_SHA384, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
        let grease = CipherSuite::from(0x3a3a);
        assert!(lacks_aes(&[chacha, aes]) && lacks_aes(&[grease, chacha, aes]));
        assert!(!lacks_aes(&[aes, chacha]) && !lacks_aes(&[]) && !lacks_aes(&[grease]));
    }
}
