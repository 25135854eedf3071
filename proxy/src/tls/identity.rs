//! Who the gateway is towards backends that it speaks TLS to, and whom it trusts there.
//!
//! An [`Identity`] is what two connections must share for one to stand in for the other: the policy of
//! the backend, the Gateway's own certificate and the protocol offered. Each shard keeps its
//! [`Identities`]; equal ones are one, from epoch to epoch, so that pooled connections and resumption
//! live on. It opens no connections. Invariant: an identity never changes, and its number is never
//! given again.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::FixedState;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use super::verify::AnyName;
use super::{Error, certificate, roots, suites};
use crate::epoch::Epoch;
use crate::ir::{BackendTls, Certificate, Hostname, Roots, SubjectAltName};

/// Sessions that may be resumed, of one identity.
const RESUMED_SESSIONS_MAX: usize = 8;

/// What is offered to a backend by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `http/1.1`; a backend that does not answer speaks it too.
    Http1,
    /// `h2`, which must be agreed.
    Http2,
    /// Nothing: what is inside is not ours to know.
    Nothing,
}

/// One way to be towards a backend.
pub struct Identity {
    id: u32,
    key: Key,
    is_wanted: Cell<bool>,
    pub(super) name: ServerName<'static>,
    pub(super) config: Arc<ClientConfig>,
}

/// The identities of one shard.
pub struct Identities {
    known: HashMap<Key, Rc<Identity>, FixedState>,
    /// The same by the addresses of what they were asked for by, which this epoch's `Arc`s pin.
    asked: HashMap<Asked, (Key, Rc<Identity>), FixedState>,
    system: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    next: u32,
}

/// The addresses of a policy and a certificate, and what is offered.
type Asked = (usize, usize, Alpn);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    tls: Arc<BackendTls>,
    certificate: Option<Arc<Certificate>>,
    alpn: Alpn,
}

/// Equal keys have equal names; the certificates are long, and seldom all that differs.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tls.server_name.hash(state);
        self.certificate.as_ref().map(|certificate| &certificate.secret).hash(state);
        self.alpn.hash(state);
    }
}

impl Identity {
    /// Its number, for maps: 1 and up.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether the newest epoch can still ask for it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.get()
    }

    /// What is offered by ALPN.
    #[must_use]
    pub fn alpn(&self) -> Alpn {
        self.key.alpn
    }
}

impl Identities {
    /// None yet. `system` are the authorities that the machine trusts.
    #[must_use]
    pub fn new(system: &[Vec<u8>]) -> Self {
        Self {
            known: HashMap::default(),
            asked: HashMap::default(),
            system: Arc::new(roots::store(system)),
            provider: Arc::new(suites::provider()),
            next: 1,
        }
    }

    /// The identity for a backend with this policy, behind a Gateway with this certificate.
    ///
    /// # Errors
    /// The policy or the certificate cannot be used.
    pub fn get(
        &mut self,
        tls: &Arc<BackendTls>,
        certificate: Option<&Arc<Certificate>>,
        alpn: Alpn,
    ) -> Result<Rc<Identity>, Error> {
        let certificate_at = certificate.map_or(0, |certificate| Arc::as_ptr(certificate).addr());
        let at = (Arc::as_ptr(tls).addr(), certificate_at, alpn);
        if let Some((_, identity)) = self.asked.get(&at) {
            return Ok(identity.clone());
        }
        let key = Key { tls: tls.clone(), certificate: certificate.cloned(), alpn };
        let identity = match self.known.get(&key) {
            Some(identity) => identity.clone(),
            None => self.add(key.clone())?,
        };
        self.asked.insert(at, (key, identity.clone()));
        Ok(identity)
    }

    /// Forgets what `epoch` cannot ask for any more; what is left keeps its state.
    pub fn install(&mut self, epoch: &Epoch) {
        self.asked.clear();
        if self.known.is_empty() {
            return;
        }
        let backends = epoch.backends.iter().flatten();
        let policies = distinct(backends.filter_map(|b| b.tls.as_ref()), |tls| &tls.server_name);
        let listeners = epoch.ports.iter().flat_map(|port| &port.listeners);
        let certificates = distinct(listeners.map(|l| l.client_certificate.as_ref()), secret);
        self.known.retain(|key, identity| {
            let certificate = key.certificate.as_ref();
            let policies = policies.get(&key.tls.server_name);
            let certificates = certificates.get(&secret(&certificate));
            let wanted = policies.is_some_and(|policies| policies.contains(&&key.tls))
                && certificates.is_some_and(|shown| shown.contains(&certificate));
            identity.is_wanted.set(wanted);
            wanted
        });
    }

    fn add(&mut self, key: Key) -> Result<Rc<Identity>, Error> {
        let name = ServerName::try_from(key.tls.server_name.to_string())
            .map_err(|_| Error::Settings("the server name is no DNS name"))?;
        let roots = self.roots(&key.tls.roots);
        let config = Arc::new(client_config(&key, roots, &self.provider)?);
        let id = self.next;
        self.next += 1;
        let identity =
            Rc::new(Identity { id, key: key.clone(), is_wanted: Cell::new(true), name, config });
        self.known.insert(key, identity.clone());
        Ok(identity)
    }

    fn roots(&self, roots: &Roots) -> Arc<RootCertStore> {
        match roots {
            Roots::System => self.system.clone(),
            Roots::Certificates(certificates) => Arc::new(roots::store(certificates)),
        }
    }
}

/// Each of `values` once, by its name: only what has the same name is compared.
fn distinct<'v, V: Copy + PartialEq + 'v, N: Eq + Hash>(
    values: impl Iterator<Item = V>,
    name: impl Fn(&V) -> N,
) -> HashMap<N, Vec<V>, FixedState> {
    let mut by_name: HashMap<N, Vec<V>, FixedState> = HashMap::default();
    for value in values {
        let same_name = by_name.entry(name(&value)).or_default();
        if !same_name.contains(&value) {
            same_name.push(value);
        }
    }
    by_name
}

fn secret<'c>(certificate: &Option<&'c Arc<Certificate>>) -> Option<&'c Arc<str>> {
    certificate.map(|certificate| &certificate.secret)
}

fn client_config(
    key: &Key,
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, Error> {
    let tls = &key.tls;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = if tls.sans.is_empty() && !roots.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        let names = if tls.sans.is_empty() {
            vec![SubjectAltName::Hostname(Hostname::Exact(tls.server_name.clone()))]
        } else {
            tls.sans.clone()
        };
        let algorithms = provider.signature_verification_algorithms;
        let verifier = AnyName { roots, names, algorithms };
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    };
    let mut config = match &key.certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let certified = certificate::load(certificate, provider)
                .map_err(|_| Error::Settings("the Gateway's own certificate"))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    config.resumption = Resumption::in_memory_sessions(RESUMED_SESSIONS_MAX);
    config.alpn_protocols = match key.alpn {
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
        Alpn::Http2 => vec![b"h2".to_vec()],
        Alpn::Nothing => Vec::new(),
    };
    Ok(config)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("id", &self.id)
            .field("tls", &self.key.tls)
            .field("certificate", &self.key.certificate)
            .field("alpn", &self.key.alpn)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.values()).finish()
    }
}
