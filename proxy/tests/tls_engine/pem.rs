//! `read_pem` takes what Secrets hold, and says what is wrong without quoting it.

use proxy::tls::{check_certificate, read_pem};

fn pair(kind: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn every_supported_kind_of_key_is_read() {
    for kind in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let (chain, key) = pair(kind);
        let read = read_pem("ns/name", chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!((&*read.secret, read.chain.len()), ("ns/name", 1));
        assert_eq!(check_certificate(&read), Ok(()));
    }
}

#[test]
fn a_chain_keeps_its_order_and_text_around_it_is_ignored() {
    let ((leaf, key), (issuer, _)) = (pair(&rcgen::PKCS_ED25519), pair(&rcgen::PKCS_ED25519));
    let text = format!("# leaf\r\n{leaf}\n\nissuer:\n{issuer}");
    let read = read_pem("s", text.as_bytes(), key.as_bytes()).unwrap();
    let alone = |pem: &str| read_pem("s", pem.as_bytes(), key.as_bytes()).unwrap().chain[0].clone();
    assert_eq!(read.chain.len(), 2);
    assert_eq!(read.chain[0], alone(&leaf));
}

#[test]
fn every_mistake_is_named_and_no_error_quotes_its_input() {
    let ((chain, key), (other, other_key)) =
        (pair(&rcgen::PKCS_ED25519), pair(&rcgen::PKCS_ED25519));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let old_encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let cut = &key[..key.len() - 30];
    let torn = key.replacen("MC", "M!", 1).replacen("MF", "M!", 1);
    let wrong_key = "-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n";
    let wrong_chain = "-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n";
    let (swapped, long) = (format!("{other}{chain}"), chain.repeat(17));
    let (two, bare) = (format!("{key}{other_key}"), "-----BEGIN CERTIFICATE\nAAAA\n".to_owned());
    for (chain, key, want) in [
        ("", &*key, "holds no `-----BEGIN CERTIFICATE-----`"),
        (&key, &key, "holds no `-----BEGIN CERTIFICATE-----`"),
        (&chain, "", "holds no `-----BEGIN PRIVATE KEY-----`"),
        (&chain, &chain, "holds no `-----BEGIN PRIVATE KEY-----`"),
        (&chain, &encrypted, "is encrypted"),
        (&chain, old_encrypted, "is encrypted"),
        (&chain, &two, "holds 2 keys"),
        (&chain, &other_key, "does not belong to the certificate"),
        (&swapped, &key, "the leaf comes first"),
        (&long, &key, "17 certificates"),
        (&chain, cut, "the private key (tls.key) is not PEM: a section has no END line"),
        (&chain, &torn, "the private key (tls.key) is not PEM: its base64 is damaged"),
        (&bare, &key, "the certificate (tls.crt) is not PEM"),
        (&chain, wrong_key, "private key is"),
        (wrong_chain, &key, "not X.509"),
    ] {
        let error = read_pem("s", chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(error.contains(want), "{error:?} should say {want:?}");
        for line in chain.lines().chain(key.lines()).filter(|l| l.len() > 8 && !l.contains("-----"))
        {
            assert!(!error.contains(line) && !error.contains(&line[..8]), "{error:?}");
        }
    }
}
