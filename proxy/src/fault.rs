//! Why the gateway itself answered or ended an exchange: one closed list of reason codes.
//!
//! The same code stands in the access log, the `x-ringway-reason` response field, the metric
//! `ringway_faults_total` and the documentation. It knows no sockets; `shards` and `exchange` make
//! the values. Invariant: [`Fault::status`] and [`Fault::code`] are total and never change meaning.

use crate::tls::Reason;

/// Why an exchange did not end with the backend's own, whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The request's body is larger than its authorization server may be shown.
    AuthBodyTooLarge,
    /// The authorization server denied the request; the status is its own.
    AuthDenied(u16),
    /// The authorization server could not be asked, or gave no answer that could be understood.
    AuthFailed,
    /// The authorization server may not be asked.
    AuthInvalid,
    /// The authorization server took too long.
    AuthTimeout,
    /// The rule names no usable backend.
    BackendInvalid,
    /// A try at the backend took longer than the rule allows.
    BackendTimeout,
    /// A request body that came slower than the least rate.
    BodyTooSlow,
    /// The client left before its answer was complete.
    ClientGone,
    /// A client that took its response slower than the least rate.
    ClientTooSlow,
    /// No endpoint could be connected to.
    ConnectFailed,
    /// Connecting took too long.
    ConnectTimeout,
    /// The message's head is larger than the other side says it reads.
    HeadTooLarge(u16),
    /// The request head did not arrive in time.
    HeaderTimeout,
    /// No listener claims the host.
    HostUnclaimed,
    /// The client's message was refused; the status says more.
    Malformed(u16),
    /// Another listener than the TLS session's claims the host.
    Misdirected,
    /// The backend exists but none of its endpoints is ready.
    NoEndpoints,
    /// No rule matches.
    NoRoute,
    /// The rule's CORS filter answers a preflight.
    Preflight,
    /// A peer that must send a PROXY protocol header sent none, or a malformed one.
    ProxyHeader,
    /// The rule answers by a redirect.
    Redirect(u16),
    /// The exchange took longer than the rule allows.
    RequestTimeout,
    /// Nothing moved on a stream for its idle limit.
    StreamIdle,
    /// The TLS handshake failed.
    TlsHandshake,
    /// The backend's answer was malformed.
    UpstreamMalformed,
    /// The backend closed or reset before a whole head.
    UpstreamReset,
    /// No TLS session with the backend came about, for this reason.
    UpstreamTls(Reason),
    /// The backend's body ended early; the client's message ends incomplete.
    UpstreamTruncated,
    /// The client asks for a WebSocket and the backend is spoken to in HTTP/2.
    WebsocketUnsupported,
}

impl Fault {
    /// Every fault once, with representative statuses, for documentation and tests.
    pub const ALL: [Self; 30] = [
        Self::AuthBodyTooLarge,
        Self::AuthDenied(403),
        Self::AuthFailed,
        Self::AuthInvalid,
        Self::AuthTimeout,
        Self::BackendInvalid,
        Self::BackendTimeout,
        Self::BodyTooSlow,
        Self::ClientGone,
        Self::ClientTooSlow,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::HeadTooLarge(502),
        Self::HeaderTimeout,
        Self::HostUnclaimed,
        Self::Malformed(400),
        Self::Misdirected,
        Self::NoEndpoints,
        Self::NoRoute,
        Self::Preflight,
        Self::ProxyHeader,
        Self::Redirect(302),
        Self::RequestTimeout,
        Self::StreamIdle,
        Self::TlsHandshake,
        Self::UpstreamMalformed,
        Self::UpstreamReset,
        Self::UpstreamTls(Reason::Untrusted),
        Self::UpstreamTruncated,
        Self::WebsocketUnsupported,
    ];

    /// The reason code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::AuthBodyTooLarge => "auth_body_too_large",
            Self::AuthDenied(_) => "auth_denied",
            Self::AuthFailed => "auth_failed",
            Self::AuthInvalid => "auth_invalid",
            Self::AuthTimeout => "auth_timeout",
            Self::BackendInvalid => "backend_invalid",
            Self::BackendTimeout => "backend_timeout",
            Self::BodyTooSlow => "body_too_slow",
            Self::ClientGone => "client_gone",
            Self::ClientTooSlow => "client_too_slow",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::HeadTooLarge(_) => "head_too_large",
            Self::HeaderTimeout => "header_timeout",
            Self::HostUnclaimed => "host_unclaimed",
            Self::Malformed(_) => "malformed_request",
            Self::Misdirected => "misdirected",
            Self::NoEndpoints => "no_endpoints",
            Self::NoRoute => "no_route",
            Self::Preflight => "cors_preflight",
            Self::ProxyHeader => "proxy_header",
            Self::Redirect(_) => "redirect",
            Self::RequestTimeout => "request_timeout",
            Self::StreamIdle => "stream_idle",
            Self::TlsHandshake => "tls_handshake",
            Self::UpstreamMalformed => "upstream_malformed",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamTls(_) => "upstream_tls",
            Self::UpstreamTruncated => "upstream_truncated",
            Self::WebsocketUnsupported => "websocket_unsupported",
        }
    }

    /// The status to answer with; `None` when no answer can or should be sent.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Self::AuthBodyTooLarge => Some(413),
            Self::AuthInvalid | Self::BackendInvalid => Some(500),
            Self::BodyTooSlow | Self::HeaderTimeout => Some(408),
            Self::ConnectFailed
            | Self::UpstreamMalformed
            | Self::UpstreamReset
            | Self::UpstreamTls(_)
            | Self::WebsocketUnsupported => Some(502),
            Self::AuthTimeout
            | Self::BackendTimeout
            | Self::ConnectTimeout
            | Self::RequestTimeout => Some(504),
            Self::HostUnclaimed | Self::NoRoute => Some(404),
            Self::AuthDenied(status)
            | Self::HeadTooLarge(status)
            | Self::Malformed(status)
            | Self::Redirect(status) => Some(status),
            Self::Misdirected => Some(421),
            Self::AuthFailed | Self::NoEndpoints => Some(503),
            Self::Preflight => Some(204),
            Self::ClientGone
            | Self::ClientTooSlow
            | Self::ProxyHeader
            | Self::StreamIdle
            | Self::TlsHandshake
            | Self::UpstreamTruncated => None,
        }
    }

    /// What the access log says beside the code.
    #[must_use]
    pub fn detail(self) -> Option<&'static str> {
        match self {
            Self::UpstreamTls(reason) => Some(reason.code()),
            _ => None,
        }
    }

    /// Whether it speaks against the endpoint that was asked. What a client does must never count
    /// there: it could have healthy endpoints ejected. A rule's own time limit does not count either:
    /// clients choose which requests are slow.
    #[must_use]
    pub fn is_endpoints(self) -> bool {
        match self {
            Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::UpstreamMalformed
            | Self::UpstreamReset
            | Self::UpstreamTls(_)
            | Self::UpstreamTruncated => true,
            Self::AuthBodyTooLarge
            | Self::AuthDenied(_)
            | Self::AuthFailed
            | Self::AuthInvalid
            | Self::AuthTimeout
            | Self::BackendInvalid
            | Self::BackendTimeout
            | Self::BodyTooSlow
            | Self::ClientGone
            | Self::ClientTooSlow
            | Self::HeadTooLarge(_)
            | Self::HeaderTimeout
            | Self::HostUnclaimed
            | Self::Malformed(_)
            | Self::Misdirected
            | Self::NoEndpoints
            | Self::NoRoute
            | Self::Preflight
            | Self::ProxyHeader
            | Self::Redirect(_)
            | Self::RequestTimeout
            | Self::StreamIdle
            | Self::TlsHandshake
            | Self::WebsocketUnsupported => false,
        }
    }

    /// One sentence for documentation.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::AuthBodyTooLarge => {
                "The request body is larger than the ExternalAuth filter's `forwardBody.maxSize`."
            }
            Self::AuthDenied(_) => "The authorization server denied the request.",
            Self::AuthFailed => {
                "The authorization server could not be asked, or its answer says nothing."
            }
            Self::AuthInvalid => "The ExternalAuth filter names a server that may not be asked.",
            Self::AuthTimeout => "The authorization server took too long.",
            Self::BackendInvalid => "The rule names no backend, or one that may not be used.",
            Self::BackendTimeout => {
                "A try at the backend took longer than the rule's `timeouts.backendRequest`."
            }
            Self::BodyTooSlow => "The request body came slower than the least rate.",
            Self::ClientGone => {
                "The client left before its answer was complete, or reset its stream."
            }
            Self::ClientTooSlow => "The client took its response slower than the least rate.",
            Self::ConnectFailed => "No endpoint of the backend accepted a connection.",
            Self::ConnectTimeout => {
                "Connecting to the backend took longer than the connect timeout."
            }
            Self::HeadTooLarge(_) => {
                "The head is larger than the client (502) or the backend (431) says in its HTTP/2 settings."
            }
            Self::HeaderTimeout => "The request head did not arrive whole in time.",
            Self::HostUnclaimed => "No listener of this port claims the request's host.",
            Self::Malformed(_) => "The request breaks HTTP or a public limit.",
            Self::Misdirected => "The host belongs to another listener than the TLS session's.",
            Self::NoEndpoints => "The backend has no ready endpoint.",
            Self::NoRoute => "No rule matches the request, or no route takes the stream.",
            Self::Preflight => "A CORS filter answered a preflight request.",
            Self::ProxyHeader => {
                "A peer that must begin with a PROXY protocol header sent none, or a malformed one."
            }
            Self::Redirect(_) => "A RequestRedirect filter answered.",
            Self::RequestTimeout => "The exchange took longer than the rule's `timeouts.request`.",
            Self::StreamIdle => "Nothing moved on a TCP or TLS stream for the idle limit.",
            Self::TlsHandshake => "The TLS handshake failed.",
            Self::UpstreamMalformed => "The backend's answer breaks HTTP.",
            Self::UpstreamReset => {
                "The backend closed the connection before it answered, or reset a stream."
            }
            Self::UpstreamTls(_) => {
                "The TLS handshake with the backend failed, or its certificate was refused."
            }
            Self::WebsocketUnsupported => {
                "The client asks for a WebSocket, and the backend's Service says `kubernetes.io/h2c`."
            }
            Self::UpstreamTruncated => "The backend's body ended early.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_the_upstream_counts_against_an_endpoint() {
        for fault in Fault::ALL {
            let upstreams =
                fault.code().starts_with("upstream") || fault.code().starts_with("connect");
            assert_eq!(fault.is_endpoints(), upstreams, "{fault:?}");
        }
    }
}
