//! The PROXY protocol, versions 1 and 2.
//!
//! Held: every beginning of an input gets no answer until one that stays, whatever follows; an answer
//! comes within the largest header; what a header says is read again from either version of it.

use proxy::ir::ProxyVersion;
use proxy::limits::PROXY_HEADER_BYTES_MAX;
use proxy::proxy_protocol::{read, write};

/// Beginnings that are tried one by one.
const CUTS_MAX: usize = 600;

/// The bytes of a connection whose peer must send a header.
pub fn header(input: &[u8]) {
    let whole = read(input);
    let mut known = Ok(None);
    for cut in (0..=input.len().min(CUTS_MAX)).chain([input.len()]) {
        let now = read(&input[..cut]);
        assert!(known == Ok(None) || known == now, "{now:?} after {known:?}");
        assert!(now == Ok(None) || now == whole, "{now:?} before {whole:?}");
        known = now;
    }
    if input.len() >= PROXY_HEADER_BYTES_MAX {
        assert_ne!(whole, Ok(None), "it waits for more than a header can be");
    }
    let Ok(Some(header)) = whole else { return };
    assert!(header.length <= input.len() && header.length <= PROXY_HEADER_BYTES_MAX);
    let Some(ends) = header.ends else { return };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut out = Vec::new();
        write(version, ends, &mut out);
        let again = read(&out).ok().flatten();
        assert_eq!(again.map(|again| (again.ends, again.length)), Some((Some(ends), out.len())));
    }
}
