//! What the control thread decided, in the Gateway API's own shape: plain, serialisable data.
//!
//! Made by `control::translate`, compared for equality to skip no-op changes, printed by golden
//! tests, and compiled by [`crate::epoch::Epoch::compile`]. It holds no sockets, no compiled
//! regular expressions and no health. Invariant: every [`BackendRef`] that names a backend names
//! one that stands in [`Ir::backends`]; a reference that may not be followed is
//! [`Target::Invalid`] and keeps its weight.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ir {
    /// Sockets to listen on, sorted by port and address, each once.
    pub ports: Vec<Port>,
    /// Every backend that some rule names, by its key `namespace/service:port`.
    pub backends: BTreeMap<Arc<str>, Arc<Backend>>,
}

/// One listening socket (opened once per shard) and the Gateway listeners that share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Local address; `None` listens on all addresses of the host, IPv4 and IPv6.
    pub address: Option<IpAddr>,
    /// Whether `address` need not be one of this host: it is a Gateway's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_anywhere: bool,
    /// TCP or UDP port.
    pub port: u16,
    /// What every connection of this port begins with; all its listeners agree.
    pub protocol: Protocol,
    /// Who may, and then must, begin a connection with a PROXY protocol header (TCP only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<Arc<ProxySources>>,
    /// The Gateway listeners of this port, most specific hostname first.
    pub listeners: Vec<Listener>,
}

/// What the connections of a port begin with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum Protocol {
    /// HTTP/1.1, or HTTP/2 with prior knowledge.
    #[default]
    Http,
    /// A TLS ClientHello, whose SNI chooses the listener: HTTPS and TLS listeners.
    Tls,
    /// Anything over TCP: the port has one listener.
    Tcp,
    /// Datagrams: the port has one listener.
    Udp,
}

/// What a listener does with the connections that it claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ListenerKind {
    /// Serves HTTP requests, one by one: HTTP and HTTPS listeners.
    #[default]
    Http,
    /// Relays whole TCP connections, TLS sessions or UDP flows: TCP, TLS and UDP listeners.
    Stream,
}

/// The peers that speak the PROXY protocol to us: each address with the length of its prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxySources(pub Vec<(IpAddr, u8)>);

/// Version of the PROXY protocol header that a backend gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// One listener of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// `namespace/gateway/listener` or `namespace/listenerset/name/listener`, the label of metrics
    /// and logs.
    pub name: Arc<str>,
    /// The port that clients name, as the Gateway declares it; a load balancer before us may map it
    /// to the socket's [`Port::port`].
    pub port: u16,
    /// What it does with connections.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: ListenerKind,
    /// The hostname it claims; `None` claims every host.
    pub hostname: Option<Hostname>,
    /// Certificates of a listener that terminates TLS. On a [`Protocol::Tls`] port a listener of
    /// kind [`ListenerKind::Stream`] without any passes the client's TLS through.
    pub tls: Option<Arc<Tls>>,
    /// What the Gateway shows to backends that it speaks TLS to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Arc<Certificate>>,
    /// Filters before routing (`ExternalAuth` only), in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// HTTPRoutes and GRPCRoutes attached to it, in the API's precedence: oldest first, then by
    /// namespace/name.
    pub routes: Vec<AttachedRoute>,
    /// TLSRoutes, TCPRoutes and UDPRoutes attached to it, in the same precedence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<AttachedStream>,
}

/// A route as attached to one listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedRoute {
    /// The route's hostnames that meet the listener's, as wide as the route wrote them (a request
    /// reaches the listener by a host that it claims); empty means every host of the listener.
    pub hostnames: Vec<Hostname>,
    /// The route, shared between the listeners it is attached to.
    pub route: Arc<Route>,
}

/// A TLSRoute, TCPRoute or UDPRoute as attached to one listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedStream {
    /// The hostnames that SNI is matched against (TLSRoute); empty means all that the listener
    /// claims.
    pub hostnames: Vec<Hostname>,
    /// The route, shared between the listeners it is attached to.
    pub route: Arc<StreamRoute>,
}

/// A TLSRoute, TCPRoute or UDPRoute: all connections or flows of one go to its backends by weight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRoute {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Creation time, seconds since the Unix epoch; 0 where files give none.
    pub created: i64,
    /// Weighted backends; their filters are empty. With none, connections are refused.
    pub backends: Vec<BackendRef>,
}

/// A hostname, lower case, without trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hostname {
    /// `a.example.com`.
    Exact(Arc<str>),
    /// `*.example.com`, kept as `example.com`: one or more labels may stand before it.
    Wildcard(Arc<str>),
}

/// Key and certificate chain of an HTTPS listener. Never logged: `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Certificates in the order of the listener's `certificateRefs`.
    pub certificates: Vec<Certificate>,
    /// What is asked of clients; `None` asks for no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientValidation>,
}

/// How clients' certificates are validated (`spec.tls.frontend` of a Gateway).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientValidation {
    /// DER certificates of the authorities that are trusted; with none, every client is refused.
    pub roots: Arc<Vec<Vec<u8>>>,
    /// `AllowInsecureFallback`: a client without a valid certificate is served all the same.
    pub is_optional: bool,
}

/// One certificate chain with its private key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// `namespace/name` of the Secret.
    pub secret: Arc<str>,
    /// DER certificates, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// DER private key (PKCS#8, PKCS#1 or SEC1). Left out of every serialisation.
    #[serde(skip)]
    pub key: PrivateKey,
}

/// A DER private key that never shows itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PrivateKey(pub Vec<u8>);

/// A route: its identity for precedence and logs, and its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Creation time, seconds since the Unix epoch; 0 where files give none.
    pub created: i64,
    /// A GRPCRoute: what we answer ourselves is a gRPC status.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grpc: bool,
    /// Rules in the route's order.
    pub rules: Vec<Rule>,
}

/// One rule of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Optional rule name.
    pub name: Option<Arc<str>>,
    /// Alternatives; never empty (no match means prefix `/`).
    pub matches: Vec<Match>,
    /// Filters in order.
    pub filters: Vec<Filter>,
    /// Weighted backends; empty with a redirect filter, else answers 500.
    pub backends: Vec<BackendRef>,
    /// Time limits.
    #[serde(default, skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
    /// When to try again; `None` never does for the route's sake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// `HTTPRouteTimeouts`; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the request's head to the end of its response; a retry is within it.
    pub request: Option<Duration>,
    /// Of one try at a backend.
    pub backend_request: Option<Duration>,
}

/// `HTTPRouteRetry`. Connection errors are always among its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Statuses of a backend that are tried again, sorted.
    pub codes: Vec<u16>,
    /// Tries after the first one.
    pub attempts: u32,
    /// The least wait before a retry; it grows from there, with jitter.
    pub backoff: Duration,
}

/// One `HTTPRouteMatch`: every part must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Path condition.
    pub path: PathMatch,
    /// Method, upper case.
    pub method: Option<Arc<str>>,
    /// Header conditions; names lower case, each once.
    pub headers: Vec<ValueMatch>,
    /// Query parameter conditions; names as written, each once.
    pub query: Vec<ValueMatch>,
}

/// A path condition on the canonical path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathMatch {
    /// Equal, case sensitive.
    Exact(Arc<str>),
    /// Whole path elements; a trailing `/` of the prefix does not count.
    Prefix(Arc<str>),
    /// A regular expression that matches the whole path.
    Regex(Arc<str>),
}

/// A condition on the value of a header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueMatch {
    /// Name.
    pub name: Arc<str>,
    /// Condition on the (comma-joined) value.
    pub value: ValueCondition,
}

/// How a value is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueCondition {
    /// Equal, case sensitive.
    Exact(Arc<str>),
    /// A regular expression that matches the whole value.
    Regex(Arc<str>),
}

/// A filter, named as in the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// `RequestHeaderModifier`.
    RequestHeaderModifier(HeaderModifier),
    /// `ResponseHeaderModifier`.
    ResponseHeaderModifier(HeaderModifier),
    /// `RequestRedirect`.
    RequestRedirect(Redirect),
    /// `URLRewrite`.
    UrlRewrite(Rewrite),
    /// `RequestMirror`.
    RequestMirror(Mirror),
    /// `CORS`.
    Cors(Cors),
    /// `ExternalAuth`.
    ExternalAuth(ExternalAuth),
}

/// `HTTPExternalAuthFilter` (GEP-1494): nothing passes that the server did not allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAuth {
    /// The authorization server; an invalid one lets nothing pass.
    pub target: Target,
    /// How it is asked.
    pub protocol: AuthProtocol,
    /// Bytes of the request's body that it is shown; 0 shows none.
    pub body_bytes_max: u32,
}

/// How an authorization server is asked. Names are lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthProtocol {
    /// Envoy's `envoy.service.auth.v3.Authorization/Check`.
    Grpc {
        /// Request headers that it is shown; empty shows all.
        allowed_headers: Vec<Arc<str>>,
    },
    /// A request of the same method; 200 allows.
    Http {
        /// Prefix of the path that it is asked by.
        path: Arc<str>,
        /// Request headers that it is shown, beside the ones that the API always shows.
        allowed_headers: Vec<Arc<str>>,
        /// Headers of its answer that the backend gets; empty passes all.
        allowed_response_headers: Vec<Arc<str>>,
    },
}

/// `HTTPRequestMirrorFilter`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Who gets the copies; an invalid one gets none.
    pub target: Target,
    /// The share of requests that is mirrored: `numerator / denominator`, not above 1.
    pub numerator: u32,
    /// Never 0.
    pub denominator: u32,
}

/// `HTTPCORSFilter` (the Fetch standard's CORS protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// `*`, or origins `scheme://host[:port]`, lower case, whose host may begin with `*.`.
    pub allow_origins: Vec<Arc<str>>,
    /// Whether credentials may be sent.
    pub allow_credentials: bool,
    /// Methods, or `*`.
    pub allow_methods: Vec<Arc<str>>,
    /// Request header names, or `*`.
    pub allow_headers: Vec<Arc<str>>,
    /// Response header names that scripts may read, or `*`.
    pub expose_headers: Vec<Arc<str>>,
    /// How long a preflight may be remembered, seconds.
    pub max_age: u32,
}

/// Header edits; names lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderModifier {
    /// Replace all lines of the name by this one.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// Add after what is there.
    pub add: Vec<(Arc<str>, Arc<str>)>,
    /// Remove all lines of the name.
    pub remove: Vec<Arc<str>>,
}

/// `HTTPRequestRedirectFilter`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// `http` or `https`; `None` keeps the request's.
    pub scheme: Option<Arc<str>>,
    /// Host; `None` keeps the request's.
    pub hostname: Option<Arc<str>>,
    /// Path; `None` keeps the request's.
    pub path: Option<PathModifier>,
    /// Port; `None` follows the specification: the new scheme's default, else the listener's.
    pub port: Option<u16>,
    /// Status code: 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `HTTPURLRewriteFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// New Host.
    pub hostname: Option<Arc<str>>,
    /// New path.
    pub path: Option<PathModifier>,
}

/// `HTTPPathModifier`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathModifier {
    /// The whole path.
    ReplaceFullPath(Arc<str>),
    /// The matched prefix.
    ReplacePrefixMatch(Arc<str>),
}

/// One weighted backend of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRef {
    /// What it names.
    pub target: Target,
    /// Share; 0 takes no traffic.
    pub weight: u32,
    /// Filters of this backend only.
    pub filters: Vec<Filter>,
}

/// Where a backend reference leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A key of [`Ir::backends`].
    Backend(Arc<str>),
    /// It may not be followed; its share of requests answers 500.
    Invalid(Arc<str>),
}

/// A Service port with its endpoints, as routes of one protocol use it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Whether WebSocket upgrades may go here (true unless `appProtocol` says otherwise).
    pub websocket: bool,
    /// What HTTP requests are sent in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: BackendProtocol,
    /// TLS towards the endpoints, as a BackendTLSPolicy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Arc<BackendTls>>,
    /// Connections begin with a PROXY protocol header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyVersion>,
    /// Ready endpoints, sorted and unique; empty answers 503.
    pub endpoints: Vec<SocketAddr>,
}

/// What HTTP requests to a backend are sent in; with TLS, also what is offered by ALPN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, with prior knowledge where there is no TLS.
    Http2,
}

/// What a BackendTLSPolicy asks of a backend's certificate.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackendTls {
    /// Sent as SNI; also the name in the certificate, unless `sans` are given.
    pub server_name: Arc<str>,
    /// Names one of which the certificate must bear; empty asks for `server_name`.
    pub sans: Vec<SubjectAltName>,
    /// Who must have signed it.
    pub roots: Roots,
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SubjectAltName {
    /// A DNS name, which may begin with `*.`.
    Hostname(Hostname),
    /// A URI, compared as text.
    Uri(Arc<str>),
}

/// Trusted authorities.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Roots {
    /// Those of the machine.
    System,
    /// These DER certificates, shared by all that trust one bundle.
    Certificates(Arc<Vec<Vec<u8>>>),
}

/// Whether a value is what it would be if it were left out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Timeouts {
    /// No limit at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.request.is_none() && self.backend_request.is_none()
    }
}

impl ProxySources {
    /// Whether `peer` is among them.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|&(network, prefix)| is_within(peer.to_canonical(), network, prefix))
    }
}

fn is_within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let equal = |a: u128, b: u128, bits: u32| {
        let away = bits.saturating_sub(u32::from(prefix));
        away >= bits || a >> away == b >> away
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => equal(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => equal(a.to_bits(), b.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

impl Hostname {
    /// Whether `host` (lower case, no port) is covered by this hostname.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => &**name == host,
            Self::Wildcard(suffix) => host
                .strip_suffix(&**suffix)
                .is_some_and(|left| left.len() > 1 && left.ends_with('.')),
        }
    }
}

impl std::fmt::Display for Hostname {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.certificates).finish()
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({})", self.secret)
    }
}

impl std::fmt::Debug for ClientValidation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientValidation")
            .field("roots", &self.roots.len())
            .field("is_optional", &self.is_optional)
            .finish()
    }
}

impl std::fmt::Debug for BackendTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendTls")
            .field("server_name", &self.server_name)
            .field("sans", &self.sans)
            .field("roots", &self.roots)
            .finish()
    }
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::Certificates(roots) => write!(f, "Certificates({})", roots.len()),
        }
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}
