//! HAProxy's side of a comparison: one thread, `http-reuse always`, a prefix map of host and path.
//!
//! Called by `peers::start`. Invariant: a request that no entry of the map matches gets 404.

use std::fmt::Write as _;

use super::{HEADER_VALUE, HOSTS, PREFIXES, REQUEST_HEADER, RESPONSE_HEADER, Setup};

/// Writes the files; returns the arguments.
pub(super) fn prepare(setup: &Setup) -> anyhow::Result<Vec<String>> {
    let file = setup.file("haproxy.cfg", &config(setup))?;
    setup.file("routes.map", &map())?;
    if let Some(certificate) = &setup.certificate {
        setup.file("both.pem", &format!("{}{}", certificate.certificate, certificate.key))?;
    }
    Ok(["-db".to_owned(), "-f".to_owned(), file.display().to_string()].into())
}

/// The configuration.
pub(super) fn config(setup: &Setup) -> String {
    let directory = setup.directory.display();
    let tls = match setup.certificate {
        Some(_) => format!(
            " ssl crt {directory}/both.pem alpn http/1.1 ssl-min-ver TLSv1.3 no-tls-tickets"
        ),
        None => String::new(),
    };
    format!(
        "global
    nbthread 1
    maxconn 9000
    tune.ssl.cachesize 0

defaults
    mode http
    no log
    http-reuse always
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    timeout http-keep-alive 75s

frontend in
    bind 0.0.0.0:{port}{tls}
    http-request set-header {REQUEST_HEADER} {HEADER_VALUE}
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto {scheme}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-response set-header {RESPONSE_HEADER} {HEADER_VALUE}
    use_backend %[base,map_beg({directory}/routes.map,nothing)]

backend up
    server one {upstream}

backend nothing
    http-request return status 404
",
        port = setup.port,
        scheme = if setup.certificate.is_some() { "https" } else { "http" },
        upstream = setup.upstream,
    )
}

/// Host and path prefix to backend.
pub(super) fn map() -> String {
    let mut out = String::new();
    for host in 0..HOSTS {
        for prefix in PREFIXES {
            let _ = writeln!(out, "h{host}.example.com{prefix} up");
        }
    }
    out
}
