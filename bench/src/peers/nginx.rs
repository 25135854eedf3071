//! nginx's side of a comparison: one worker, 1,024 kept upstream connections, no temporary files.
//!
//! Called by `peers::start`. Invariant: a host or path that is not configured gets 404.

use std::fmt::Write as _;

use super::{HEADER_VALUE, HOSTS, PREFIXES, REQUEST_HEADER, RESPONSE_HEADER, Setup};

/// Writes the files; returns the arguments.
pub(super) fn prepare(setup: &Setup) -> anyhow::Result<Vec<String>> {
    let file = setup.file("nginx.conf", &config(setup))?;
    if let Some(certificate) = &setup.certificate {
        setup.file("cert.pem", &certificate.certificate)?;
        setup.file("key.pem", &certificate.key)?;
    }
    let directory = setup.directory.display().to_string();
    Ok(["-p", &directory, "-e", "stderr", "-c", &file.display().to_string()]
        .map(str::to_owned)
        .into())
}

/// The configuration.
pub(super) fn config(setup: &Setup) -> String {
    let directory = setup.directory.display();
    let (port, upstream) = (setup.port, setup.upstream);
    let tls = if setup.certificate.is_some() { " ssl" } else { "" };
    let mut out = format!(
        "daemon off;
pid {directory}/nginx.pid;
error_log stderr crit;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/t1;
    proxy_temp_path {directory}/t2;
    fastcgi_temp_path {directory}/t3;
    uwsgi_temp_path {directory}/t4;
    scgi_temp_path {directory}/t5;
    proxy_max_temp_file_size 0;
    proxy_buffer_size 16k;
    proxy_buffers 16 16k;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Connection \"\";
    proxy_set_header {REQUEST_HEADER} {HEADER_VALUE};
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    add_header {RESPONSE_HEADER} {HEADER_VALUE};
"
    );
    if setup.certificate.is_some() {
        let _ = write!(
            out,
            "    ssl_certificate {directory}/cert.pem;
    ssl_certificate_key {directory}/key.pem;
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    ssl_session_cache off;
"
        );
    }
    let _ = write!(
        out,
        "    upstream up {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 60s;
    }}
    server {{ listen 0.0.0.0:{port}{tls} default_server; return 404; }}
"
    );
    for host in 0..HOSTS {
        let _ = writeln!(
            out,
            "    server {{\n        listen 0.0.0.0:{port}{tls};\n        server_name h{host}.example.com;\n        location / {{ return 404; }}"
        );
        for prefix in PREFIXES {
            let _ = writeln!(out, "        location {prefix} {{ proxy_pass http://up; }}");
        }
        out.push_str("    }\n");
    }
    out.push_str("}\n");
    out
}
