//! From the PEM of a trust bundle to the certificates of the authorities in it.
//!
//! `control` calls [`read_roots`] when it reads a ConfigMap or a ClusterTrustBundle; both sides of the
//! gateway trust what passed. It does not judge dates or whether a certificate calls itself an
//! authority: who put it into a bundle says so. Invariant: a bundle is taken whole or not at all.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::SectionKind;

use super::certificate::sections;

/// Authorities in one bundle.
pub const ROOTS_MAX: usize = 1024;

/// The DER certificates of a bundle, each once, in its order.
///
/// # Errors
/// Says what is wrong without quoting the text.
pub fn read_roots(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut roots: Vec<Vec<u8>> = Vec::new();
    for (kind, der) in sections(text, "it")? {
        if kind == SectionKind::Certificate && !roots.contains(&der) {
            roots.push(der);
        }
    }
    if roots.is_empty() {
        return Err("it holds no `-----BEGIN CERTIFICATE-----`".into());
    }
    if roots.len() > ROOTS_MAX {
        return Err(format!("it holds {} certificates; at most {ROOTS_MAX} are read", roots.len()));
    }
    for (at, der) in roots.iter().enumerate() {
        let added = RootCertStore::empty().add(CertificateDer::from(der.as_slice()));
        added.map_err(|_| format!("its certificate {} cannot be read", at + 1))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(name: &str) -> String {
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn a_bundle_gives_each_certificate_once_and_skips_what_is_none() {
        let (a, b) = (authority("a"), authority("b"));
        let text = format!("# who we trust\n{a}\n{b}{a}");
        assert_eq!(read_roots(text.as_bytes()).unwrap().len(), 2);
        assert_eq!(read_roots(a.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn a_bundle_with_anything_wrong_in_it_gives_nothing() {
        let good = authority("a");
        let torn = good.replace("-----END CERTIFICATE-----", "");
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, why) in [
            (String::new(), "holds no"),
            ("not PEM".to_owned(), "holds no"),
            (torn, "is not PEM"),
            (good.replace("MII", "!!!"), "is not PEM"),
            (format!("{good}{no_certificate}"), "certificate 2 cannot be read"),
        ] {
            let error = read_roots(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
