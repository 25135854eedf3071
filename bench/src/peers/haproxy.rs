//! HAProxy's side of a comparison: one thread, `http-reuse always`, a prefix map of host and path.
//!
//! Called by `peers::start`. HTTP/2 without TLS is told from HTTP/1 by its first bytes. Invariant: a
//! request that no entry of the map matches gets 404.

use std::fmt::Write as _;

use anyhow::ensure;

use super::{HEADER_VALUE, HOSTS, REQUEST_HEADER, RESPONSE_HEADER, Setup};
use crate::protocol::Protocol;

/// Why it is left out of UDP.
pub(super) const NO_UDP: &str = "HAProxy relays no UDP";

/// Writes the files; returns the arguments.
pub(super) fn prepare(setup: &Setup) -> anyhow::Result<Vec<String>> {
    ensure!(setup.protocol != Protocol::Udp, NO_UDP);
    let file = setup.file("haproxy.cfg", &config(setup))?;
    setup.file("routes.map", &map(setup.protocol))?;
    if let Some(certificate) = &setup.certificate {
        setup.file("both.pem", &format!("{}{}", certificate.certificate, certificate.key))?;
    }
    Ok(["-db".to_owned(), "-f".to_owned(), file.display().to_string()].into())
}

/// The configuration.
pub(super) fn config(setup: &Setup) -> String {
    let sections = match setup.protocol {
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => http(setup),
        Protocol::Tcp | Protocol::Udp => stream(setup),
    };
    format!(
        "global
    nbthread 1
    maxconn 9000
    tune.ssl.cachesize 0

{sections}"
    )
}

fn bind(setup: &Setup) -> String {
    let (port, directory) = (setup.port, setup.directory.display());
    let alpn = setup.protocol.alpn().map(|name| format!(" alpn {name}")).unwrap_or_default();
    match setup.certificate {
        Some(_) => format!(
            "bind 0.0.0.0:{port} ssl crt {directory}/both.pem{alpn} ssl-min-ver TLSv1.3 no-tls-tickets"
        ),
        None => format!("bind 0.0.0.0:{port}"),
    }
}

fn http(setup: &Setup) -> String {
    format!(
        "defaults
    mode http
    no log
    http-reuse always
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    timeout http-keep-alive 75s

frontend in
    {bind}
    http-request set-header {REQUEST_HEADER} {HEADER_VALUE}
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto {scheme}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-response set-header {RESPONSE_HEADER} {HEADER_VALUE}
    use_backend %[base,map_beg({directory}/routes.map,nothing)]

backend up
    server one {upstream}{proto}

backend nothing
    http-request return status 404
",
        bind = bind(setup),
        scheme = setup.scheme(),
        directory = setup.directory.display(),
        upstream = setup.upstream,
        proto = if setup.protocol == Protocol::Grpc { " proto h2" } else { "" },
    )
}

fn stream(setup: &Setup) -> String {
    format!(
        "defaults
    mode tcp
    no log
    timeout connect 5s
    timeout client 1h
    timeout server 1h

frontend in
    {bind}
    default_backend up

backend up
    server one {upstream}
",
        bind = bind(setup),
        upstream = setup.upstream,
    )
}

/// Host and path prefix to backend.
pub(super) fn map(protocol: Protocol) -> String {
    let mut out = String::new();
    for host in 0..HOSTS {
        for prefix in protocol.prefixes() {
            let _ = writeln!(out, "h{host}.example.com{prefix} up");
        }
    }
    out
}
