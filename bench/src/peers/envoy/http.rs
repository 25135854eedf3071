//! Envoy's HTTP: the connection manager with all routes, and what is spoken to the upstream.
//!
//! Called by `envoy` for HTTP/1.1, HTTP/2 and gRPC. `codec_type: AUTO` takes the first bytes or ALPN
//! for which of them a client speaks. Invariant: the three forwarded fields say what the connection
//! says, whatever the client sent.

use std::fmt::Write as _;

use super::super::{HEADER_VALUE, HOSTS, REQUEST_HEADER, RESPONSE_HEADER, Setup};
use crate::protocol::Protocol;

/// The connection manager up to its first field for the upstream.
const MANAGER: &str = "      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: AUTO
          generate_request_id: false
          server_header_transformation: PASS_THROUGH
          common_http_protocol_options: { idle_timeout: 75s }
          http2_protocol_options: { max_concurrent_streams: 128 }
          stream_idle_timeout: 60s
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              dynamic_stats: false
              suppress_envoy_headers: true
          route_config:
            request_headers_to_add:
";

/// The network filter of the listener.
pub(super) fn connection_manager(setup: &Setup) -> String {
    let scheme = setup.scheme();
    let mut out = MANAGER.to_owned();
    for (name, value) in [
        (REQUEST_HEADER, HEADER_VALUE),
        ("X-Forwarded-For", "\"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%\""),
        ("X-Forwarded-Proto", scheme),
        ("X-Forwarded-Host", "\"%REQ(:AUTHORITY)%\""),
    ] {
        out.push_str(&set(name, value));
    }
    out.push_str("            response_headers_to_add:\n");
    out.push_str(&set(RESPONSE_HEADER, HEADER_VALUE));
    out.push_str(&virtual_hosts(setup.protocol));
    out
}

fn set(name: &str, value: &str) -> String {
    format!(
        "            - header: {{ key: {name}, value: {value} }}
              append_action: OVERWRITE_IF_EXISTS_OR_ADD
"
    )
}

fn virtual_hosts(protocol: Protocol) -> String {
    let mut out = "            virtual_hosts:\n".to_owned();
    for host in 0..HOSTS {
        let _ = write!(
            out,
            "            - name: h{host}
              domains: [h{host}.example.com]
              routes:
"
        );
        for prefix in protocol.prefixes() {
            let _ = writeln!(
                out,
                "              - {{ match: {{ prefix: {prefix} }}, route: {{ cluster: up, timeout: 0s }} }}"
            );
        }
    }
    out
}

/// What is spoken to the upstream; nothing to say without HTTP.
pub(super) fn upstream_options(protocol: Protocol) -> String {
    // What the backend will allow, said beforehand: until its SETTINGS are there, Envoy would put all
    // streams on one connection, and the backend would refuse most of them.
    let spoken = match protocol {
        Protocol::Http1 | Protocol::Http2 => "http_protocol_options: {}".to_owned(),
        Protocol::Grpc => format!(
            "http2_protocol_options: {{ max_concurrent_streams: {} }}",
            proxy::limits::H2_STREAMS_MAX
        ),
        Protocol::Tcp | Protocol::Udp => return String::new(),
    };
    format!(
        "    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {{ idle_timeout: 60s }}
        explicit_http_config: {{ {spoken} }}
"
    )
}
