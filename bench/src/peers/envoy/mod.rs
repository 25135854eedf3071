//! Envoy's side of a comparison: one worker, static configuration, neither admin port nor statistics.
//!
//! Called by `peers::start`; the sections for HTTP are in `http`. What the others do not do is off:
//! request ids, tracing, a `server` field and `x-envoy-` fields of its own, the limit of a whole
//! request. Of UDP it relays datagrams of up to 1,500 bytes, its default. Invariant: its circuit breakers limit nothing that a comparison reaches.

mod http;

use super::Setup;
use crate::protocol::Protocol;

/// Writes the files; returns the arguments.
pub(super) fn prepare(setup: &Setup) -> anyhow::Result<Vec<String>> {
    let file = setup.file("envoy.yaml", &config(setup))?;
    setup.certificate_files()?;
    // Without hot restart there is no id that two on one machine could share.
    Ok(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]
        .map(str::to_owned)
        .into_iter()
        .chain([file.display().to_string()])
        .collect())
}

/// The configuration.
pub(super) fn config(setup: &Setup) -> String {
    let listener = match setup.protocol {
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => {
            chain(setup, &http::connection_manager(setup))
        }
        Protocol::Tcp => chain(setup, TCP_PROXY),
        Protocol::Udp => UDP_PROXY.to_owned(),
    };
    let udp = if setup.protocol == Protocol::Udp { "protocol: UDP, " } else { "" };
    format!(
        "stats_config: {{ stats_matcher: {{ reject_all: true }} }}
static_resources:
  listeners:
  - name: in
    address: {{ socket_address: {{ {udp}address: 0.0.0.0, port_value: {port} }} }}
{listener}  clusters:
  - name: up
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - max_connections: 1000000
        max_pending_requests: 1000000
        max_requests: 1000000
        max_retries: 1000000
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: {address}, port_value: {upstream} }} }} }}
{options}",
        port = setup.port,
        address = setup.upstream.ip(),
        upstream = setup.upstream.port(),
        options = http::upstream_options(setup.protocol),
    )
}

/// The one filter chain of a listener, with TLS if there is a certificate.
fn chain(setup: &Setup, filter: &str) -> String {
    let directory = setup.directory.display();
    let alpn = setup.protocol.alpn().map(|name| format!("          alpn_protocols: [{name}]\n"));
    let tls = match setup.certificate {
        None => String::new(),
        Some(_) => format!(
            "      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          disable_stateless_session_resumption: true
          disable_stateful_session_resumption: true
          common_tls_context:
            tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
            tls_certificates:
            - certificate_chain: {{ filename: {directory}/cert.pem }}
              private_key: {{ filename: {directory}/key.pem }}
{}",
            alpn.map(|line| format!("  {line}")).unwrap_or_default()
        ),
    };
    format!(
        "    filter_chains:
    - filters:
{filter}{tls}"
    )
}

const TCP_PROXY: &str = "      - name: envoy.filters.network.tcp_proxy
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: in
          cluster: up
          idle_timeout: 3600s
";

const UDP_PROXY: &str = "    listener_filters:
    - name: envoy.filters.udp_listener.udp_proxy
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig
        stat_prefix: in
        idle_timeout: 60s
        matcher:
          on_no_match:
            action:
              name: route
              typed_config:
                \"@type\": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route
                cluster: up
";
