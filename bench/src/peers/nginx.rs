//! nginx's side of a comparison: one worker, 1,024 kept upstream connections, no temporary files.
//!
//! Called by `peers::start`. Invariant: a host or path that is not configured gets 404. On a port
//! with `http2` and without TLS this nginx speaks HTTP/2 alone. Its gRPC module sends the client's
//! authority as a `host` field, in place of `:authority`.

use std::fmt::Write as _;

use super::{HEADER_VALUE, HOSTS, REQUEST_HEADER, RESPONSE_HEADER, Setup};
use crate::protocol::Protocol;

/// The module for TCP and UDP, where Debian's libnginx-mod-stream has it.
pub(super) const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Writes the files; returns the arguments.
pub(super) fn prepare(setup: &Setup) -> anyhow::Result<Vec<String>> {
    let file = setup.file("nginx.conf", &config(setup))?;
    setup.certificate_files()?;
    let directory = setup.directory.display().to_string();
    Ok(["-p", &directory, "-e", "stderr", "-c", &file.display().to_string()]
        .map(str::to_owned)
        .into())
}

/// The configuration.
pub(super) fn config(setup: &Setup) -> String {
    let (module, section) = match setup.protocol {
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => (String::new(), http(setup)),
        Protocol::Tcp | Protocol::Udp => (format!("load_module {STREAM};\n"), stream(setup)),
    };
    format!(
        "{module}daemon off;
pid {directory}/nginx.pid;
error_log stderr crit;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
{section}",
        directory = setup.directory.display()
    )
}

fn http(setup: &Setup) -> String {
    let directory = setup.directory.display();
    let upstream = setup.upstream;
    let mut out = format!(
        "http {{
    access_log off;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/t1;
    proxy_temp_path {directory}/t2;
    fastcgi_temp_path {directory}/t3;
    uwsgi_temp_path {directory}/t4;
    scgi_temp_path {directory}/t5;
{}    add_header {RESPONSE_HEADER} {HEADER_VALUE};
{}    upstream up {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 60s;
    }}
",
        to_upstream(setup),
        certificate(setup),
    );
    out.push_str(&servers(setup));
    out.push_str("}\n");
    out
}

/// How requests go on: the same fields with both modules.
fn to_upstream(setup: &Setup) -> String {
    let (module, mut out) = match setup.protocol {
        // A stream's messages have no bound together.
        Protocol::Grpc => {
            ("grpc", "    client_max_body_size 0;\n    grpc_buffer_size 16k;\n".to_owned())
        }
        Protocol::Http1 | Protocol::Http2 | Protocol::Tcp | Protocol::Udp => (
            "proxy",
            "    proxy_max_temp_file_size 0;
    proxy_buffer_size 16k;
    proxy_buffers 16 16k;
    proxy_http_version 1.1;
"
            .to_owned(),
        ),
    };
    let mut set = |name: &str, value: &str| {
        let _ = writeln!(out, "    {module}_set_header {name} {value};");
    };
    set("Host", "$http_host");
    if module == "proxy" {
        set("Connection", "\"\"");
    }
    set(REQUEST_HEADER, HEADER_VALUE);
    set("X-Forwarded-For", "$remote_addr");
    set("X-Forwarded-Proto", "$scheme");
    set("X-Forwarded-Host", "$http_host");
    out
}

fn certificate(setup: &Setup) -> String {
    let directory = setup.directory.display();
    match setup.certificate {
        Some(_) => format!(
            "    ssl_certificate {directory}/cert.pem;
    ssl_certificate_key {directory}/key.pem;
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    ssl_session_cache off;
"
        ),
        None => String::new(),
    }
}

fn servers(setup: &Setup) -> String {
    let port = setup.port;
    let tls = if setup.certificate.is_some() { " ssl" } else { "" };
    let (http2, pass) = match setup.protocol {
        Protocol::Grpc => (" http2", "grpc_pass grpc://up"),
        Protocol::Http2 => (" http2", "proxy_pass http://up"),
        Protocol::Http1 | Protocol::Tcp | Protocol::Udp => ("", "proxy_pass http://up"),
    };
    let mut out =
        format!("    server {{ listen 0.0.0.0:{port}{tls}{http2} default_server; return 404; }}\n");
    for host in 0..HOSTS {
        let _ = writeln!(
            out,
            "    server {{\n        listen 0.0.0.0:{port}{tls}{http2};\n        server_name h{host}.example.com;\n        location / {{ return 404; }}"
        );
        for prefix in setup.protocol.prefixes() {
            let _ = writeln!(out, "        location {prefix} {{ {pass}; }}");
        }
        out.push_str("    }\n");
    }
    out
}

fn stream(setup: &Setup) -> String {
    let (port, upstream) = (setup.port, setup.upstream);
    let (certificate, listen, limits) = match setup.protocol {
        // As many datagrams a session as come, in both directions: the defaults.
        Protocol::Udp => (String::new(), " udp reuseport", "proxy_timeout 60s;"),
        _ if setup.certificate.is_some() => {
            (certificate(setup), " ssl", "proxy_connect_timeout 5s;\n        proxy_timeout 1h;")
        }
        _ => (String::new(), "", "proxy_connect_timeout 5s;\n        proxy_timeout 1h;"),
    };
    format!(
        "stream {{
    access_log off;
{certificate}    upstream up {{ server {upstream}; }}
    server {{
        listen 0.0.0.0:{port}{listen};
        {limits}
        proxy_pass up;
    }}
}}
"
    )
}
