//! The TLS side of one port: which listener claims a ClientHello, and with which certificate.
//!
//! Built per shard at install, read by `session`. Each listener has a rustls configuration of its
//! own, and with it ticket keys of its own; a TLS listener without certificates has none, and the
//! client's TLS passes it by. Invariant: a listener that did not change keeps its
//! configuration, so resumption and memory survive an edit elsewhere.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ServerConfig};

use super::certificate;
use super::clients::Validation;
use super::suites;
use super::ticket::Seed;
use crate::epoch::Port;
use crate::ir::{self, Hostname, ListenerKind};

/// What listeners for HTTP agree to by ALPN, preferred first.
const ALPN_HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// A fatal alert, as a record (RFC 8446 section 6).
const ALERT_UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// TLS configuration of one port as one shard uses it: built per shard at install, since rustls
/// configurations hold locks and caches of their own.
pub struct Config {
    listeners: Vec<Rc<Listener>>,
    passes_some: bool,
    relays_all: bool,
    seed_id: [u8; 32],
}

/// What of a listener matters to TLS.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    /// `namespace/gateway/listener`.
    pub name: &'a Arc<str>,
    /// Whether HTTP or a relayed stream is inside.
    pub kind: ListenerKind,
    /// The hostname it claims; `None` claims every name, and clients that send none.
    pub hostname: Option<&'a Hostname>,
    /// Its certificates.
    pub tls: Option<&'a Arc<ir::Tls>>,
}

/// The answer to a ClientHello.
pub(super) enum Choice<'c> {
    /// Serve with this.
    Serve(&'c Rc<Listener>, &'c Arc<ServerConfig>),
    /// The client's TLS is for a backend of this listener to end.
    PassThrough(&'c Rc<Listener>),
    /// A listener claims the name, but has no certificate that can serve.
    Unusable,
    /// No listener claims the name; the alert to say so with. A port that only relays is nobody to
    /// the client's TLS, and says none.
    Unclaimed(&'static [u8]),
}

/// One listener as sessions know it.
pub(super) struct Listener {
    pub(super) name: Arc<str>,
    pub(super) kind: ListenerKind,
    hostname: Option<Hostname>,
    tls: Option<Arc<ir::Tls>>,
    server: Option<Server>,
}

/// What a listener with a usable certificate serves with.
#[derive(Clone)]
struct Server {
    config: Arc<ServerConfig>,
    /// The same for clients without AES instructions, whose own order of suites counts.
    portable: Arc<ServerConfig>,
    clients: Option<Arc<Validation>>,
}

/// The usable certificates of one listener, in the order of its `certificateRefs`.
struct Certificates(Vec<Arc<CertifiedKey>>);

impl Config {
    /// Configuration for an HTTPS port. `ticket_seed` is the process's secret from which each
    /// listener's ticket keys are derived (equal in all shards, so that a client which reaches
    /// another shard can resume). Listeners equal to those of `previous` keep their state.
    #[must_use]
    pub fn new(port: &Port, ticket_seed: &[u8; 32], previous: Option<&Self>) -> Self {
        let claimants = port.listeners.iter().map(|listener| Claimant {
            name: &listener.name,
            kind: listener.kind,
            hostname: listener.hostname.as_ref(),
            tls: listener.tls.as_ref(),
        });
        Self::of(claimants, ticket_seed, previous)
    }

    /// As [`Config::new`], from the listeners themselves. A certificate that cannot serve is left
    /// out; a listener left with none refuses handshakes.
    #[must_use]
    pub fn of<'a>(
        claimants: impl IntoIterator<Item = Claimant<'a>>,
        ticket_seed: &[u8; 32],
        previous: Option<&Self>,
    ) -> Self {
        let provider = Arc::new(suites::provider());
        let seed = Seed::new(ticket_seed);
        let previous = previous.filter(|previous| previous.seed_id == seed.id());
        let listeners: Vec<_> = claimants
            .into_iter()
            .map(|claimant| Listener {
                name: claimant.name.clone(),
                kind: claimant.kind,
                hostname: claimant.hostname.cloned(),
                tls: claimant.tls.cloned(),
                server: previous
                    .and_then(|previous| previous.kept(&claimant))
                    .or_else(|| server(&claimant, &seed, &provider)),
            })
            .map(Rc::new)
            .collect();
        let passes_some = listeners.iter().any(|listener| listener.passes_through());
        let relays_all = listeners.iter().all(|listener| listener.kind == ListenerKind::Stream);
        Self { listeners, passes_some, relays_all, seed_id: seed.id() }
    }

    /// Whether some listener takes the bytes of a ClientHello as they came.
    pub(super) fn passes_some(&self) -> bool {
        self.passes_some
    }

    /// The listener for a ClientHello: exact hostname, then longest wildcard, then the listener
    /// without hostname. As the API says that a listener's hostname is matched against the SNI, a
    /// client that sends none gets only a listener without hostname; otherwise it is refused.
    pub(super) fn choose(&self, sni: Option<&str>, offered: &[CipherSuite]) -> Choice<'_> {
        let mut best: Option<(usize, &Rc<Listener>)> = None;
        for listener in &self.listeners {
            let Some(rank) = rank(listener.hostname.as_ref(), sni) else { continue };
            if best.is_none_or(|(best, _)| rank > best) {
                best = Some((rank, listener));
            }
        }
        match best {
            None if self.relays_all => Choice::Unclaimed(&[]),
            None => Choice::Unclaimed(&ALERT_UNRECOGNIZED_NAME),
            Some((_, listener)) if listener.passes_through() => Choice::PassThrough(listener),
            Some((_, listener)) => match &listener.server {
                Some(server) if suites::lacks_aes(offered) => {
                    Choice::Serve(listener, &server.portable)
                }
                Some(server) => Choice::Serve(listener, &server.config),
                None => Choice::Unusable,
            },
        }
    }

    fn kept(&self, claimant: &Claimant<'_>) -> Option<Server> {
        let same = |listener: &&Rc<Listener>| {
            listener.name == *claimant.name
                && listener.kind == claimant.kind
                && match (&listener.tls, claimant.tls) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
                    _ => false,
                }
        };
        self.listeners.iter().find(same)?.server.clone()
    }
}

impl Listener {
    fn passes_through(&self) -> bool {
        self.kind == ListenerKind::Stream && self.tls.is_none()
    }

    /// Whether an authority that it trusts vouches for this client.
    pub(super) fn trusts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some(Server { config, clients: Some(clients), .. }) = &self.server else {
            return false;
        };
        let now = config.time_provider.current_time();
        now.is_some_and(|now| clients.check(chain, now).is_ok())
    }
}

/// How specifically `hostname` claims `sni`; `None` if it does not.
fn rank(hostname: Option<&Hostname>, sni: Option<&str>) -> Option<usize> {
    match (hostname, sni) {
        (None, _) => Some(0),
        (Some(_), None) => None,
        (Some(hostname), Some(sni)) => hostname.covers(sni).then(|| match hostname {
            Hostname::Exact(_) => usize::MAX,
            Hostname::Wildcard(suffix) => 1 + suffix.len(),
        }),
    }
}

fn server(claimant: &Claimant<'_>, seed: &Seed, provider: &Arc<CryptoProvider>) -> Option<Server> {
    let tls = claimant.tls?;
    let usable: Vec<_> = tls
        .certificates
        .iter()
        .filter_map(|certificate| certificate::load(certificate, provider).ok())
        .map(Arc::new)
        .collect();
    if usable.is_empty() {
        return None;
    }
    let clients = tls.clients.as_ref().map(|clients| Arc::new(Validation::new(clients, provider)));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .ok()?;
    let mut config = match &clients {
        Some(clients) => builder.with_client_cert_verifier(clients.clone()),
        None => builder.with_no_client_auth(),
    }
    .with_cert_resolver(Arc::new(Certificates(usable)));
    let random = provider.secure_random;
    let time = config.time_provider.clone();
    config.ticketer = Arc::new(seed.tickets(claimant.name, tls, random, time));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.alpn_protocols = match claimant.kind {
        ListenerKind::Http => ALPN_HTTP.iter().map(|protocol| protocol.to_vec()).collect(),
        // What is inside is for the backend to say.
        ListenerKind::Stream => Vec::new(),
    };
    let portable = Arc::new(config.clone());
    config.ignore_client_order = true;
    Some(Server { config: Arc::new(config), portable, clients })
}

impl ResolvesServerCert for Certificates {
    /// Of the certificates that the client can verify a signature of, the first that names the
    /// host, else the first. With none the handshake fails on the first certificate's terms.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let [only] = &self.0[..] {
            return Some(only.clone());
        }
        let signs =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let names = |key: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| names(key, name));
        let able = || self.0.iter().filter(signs);
        able().find(names).or_else(|| able().next()).or_else(|| self.0.first()).cloned()
    }
}

fn names(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.listeners).finish()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("hostname", &self.hostname)
            .field("tls", &self.tls)
            .field("usable", &self.server.is_some())
            .finish()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({})", self.0.len())
    }
}
