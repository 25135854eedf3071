//! DNS names that Services lead to: which there are, and their addresses.
//!
//! Names come from `ExternalName` Services and from the annotation `ringway.dev/endpoints`. The
//! control loop gives [`Resolver::update`] each snapshot and puts [`Resolver::answers`] into the
//! store; translation only reads them. Invariant: a name keeps its last good answer while DNS fails.
//! IP literals and `localhost` (127.0.0.1) need no DNS.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup_ip::LookupIp;
use thiserror::Error as ThisError;
use tokio::task::JoinSet;

use crate::store::Snapshot;

/// The annotation of a Service that lists its endpoints: `host:port,…`.
pub const ENDPOINTS_ANNOTATION: &str = "ringway.dev/endpoints";

/// An entry of the annotation that is not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{0:?} is not host:port")]
pub struct EntryError(String);

/// DNS cannot be used at all.
#[derive(Debug, ThisError)]
#[error("the system's DNS configuration cannot be read: {0}")]
pub struct StartError(String);

/// Splits the annotation into hosts and ports.
pub fn entries(text: &str) -> impl Iterator<Item = Result<(&str, u16), EntryError>> {
    let trimmed = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    trimmed.map(|entry| read_entry(entry).ok_or_else(|| EntryError(entry.to_owned())))
}

fn read_entry(entry: &str) -> Option<(&str, u16)> {
    let (host, port) = entry.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|ip| ip.parse::<IpAddr>().is_ok())?,
        None => Some(host).filter(|host| is_host(host))?,
    };
    Some((host, port))
}

fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

/// The addresses of a host: its own if it is a literal, else the last answer of DNS.
#[must_use]
pub fn addresses(snapshot: &Snapshot, host: &str) -> Vec<IpAddr> {
    literal(host).map_or_else(
        || snapshot.resolved.get(host).cloned().unwrap_or_default(),
        |address| vec![address],
    )
}

fn literal(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    host.parse().ok()
}

/// The names in a snapshot that DNS must answer.
#[must_use]
pub fn names(snapshot: &Snapshot) -> BTreeSet<Arc<str>> {
    let mut names = BTreeSet::new();
    for service in snapshot.services.values() {
        if let Some(text) = service.metadata.annotations.get(ENDPOINTS_ANNOTATION) {
            names.extend(entries(text).flatten().map(|(host, _)| host.into()));
        } else if &*service.spec.kind == "ExternalName" {
            names.extend(service.spec.external_name.clone());
        }
    }
    names.retain(|name: &Arc<str>| !name.is_empty() && literal(name).is_none());
    names
}

/// Resolves names in the background of the control thread's runtime.
#[derive(Debug)]
pub struct Resolver {
    dns: TokioResolver,
    names: HashMap<Arc<str>, State>,
    running: JoinSet<(Arc<str>, Answer)>,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct State {
    addresses: Vec<IpAddr>,
    due: Option<Instant>,
    running: bool,
}

type Answer = Result<(Vec<IpAddr>, Duration), String>;

impl Resolver {
    /// A resolver with the system's configuration.
    ///
    /// # Errors
    /// The configuration (`/etc/resolv.conf`) cannot be read.
    pub fn new() -> Result<Self, StartError> {
        let builder = TokioResolver::builder_tokio().map_err(|why| StartError(why.to_string()))?;
        Ok(Self { dns: builder.build(), names: HashMap::new(), running: JoinSet::new() })
    }

    /// Follows the names of a snapshot: starts new ones, forgets those that went.
    ///
    /// Must be called on a tokio runtime.
    pub fn update(&mut self, snapshot: &Snapshot) {
        let wanted = names(snapshot);
        self.names.retain(|name, _| wanted.contains(name));
        for name in wanted {
            self.names.entry(name).or_default();
        }
        self.start_due(Instant::now());
    }

    /// Waits until some answer changed. Cancel-safe: dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            self.start_due(Instant::now());
            let due = self.names.values().filter_map(|state| state.due).min();
            let pause = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
            tokio::select! {
                Some(Ok((name, answer))) = self.running.join_next() => {
                    if self.take(&name, answer) {
                        return;
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The last good answer of every name that has one.
    #[must_use]
    pub fn answers(&self) -> HashMap<Arc<str>, Vec<IpAddr>> {
        let known = self.names.iter().filter(|(_, state)| !state.addresses.is_empty());
        known.map(|(name, state)| (Arc::clone(name), state.addresses.clone())).collect()
    }

    fn start_due(&mut self, now: Instant) {
        for (name, state) in &mut self.names {
            if !state.running && state.due.is_none_or(|due| due <= now) {
                state.running = true;
                state.due = None;
                let (dns, name) = (self.dns.clone(), Arc::clone(name));
                self.running.spawn(async move {
                    let answer = dns.lookup_ip(&*name).await;
                    (name, answer.map(read_answer).map_err(|why| why.to_string()))
                });
            }
        }
    }

    /// Takes an answer; says whether the addresses changed.
    fn take(&mut self, name: &Arc<str>, answer: Answer) -> bool {
        let Some(state) = self.names.get_mut(name) else { return false };
        state.running = false;
        match answer {
            Ok((addresses, ttl)) => {
                state.due = Some(Instant::now() + ttl);
                let changed = state.addresses != addresses;
                state.addresses = addresses;
                changed
            }
            Err(why) => {
                let kept = state.addresses.len();
                tracing::warn!(%name, kept, "DNS name not resolved: {why}");
                state.due = Some(Instant::now() + RETRY);
                false
            }
        }
    }
}

fn read_answer(answer: LookupIp) -> (Vec<IpAddr>, Duration) {
    let ttl = answer.valid_until().saturating_duration_since(Instant::now());
    let mut addresses: Vec<_> = answer.iter().collect();
    addresses.sort();
    addresses.dedup();
    (addresses, ttl.clamp(TTL_MIN, TTL_MAX))
}

/// Bounds of the time after which a name is resolved again.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(300);

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Pause while there is nothing to resolve.
const IDLE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_host_and_port_with_ipv6_in_brackets() {
        let read: Vec<_> = entries("10.0.0.1:80, [::1]:81,a.example:82,").flatten().collect();
        assert_eq!(read, [("10.0.0.1", 80), ("::1", 81), ("a.example", 82)]);
        for bad in
            ["10.0.0.1", "a:0", "a:70000", ":80", "a b:80", "[a]:80", "::1:80", "http://a:80"]
        {
            assert!(entries(bad).any(|entry| entry.is_err()), "{bad}");
        }
    }

    #[test]
    fn literals_and_localhost_need_no_dns() {
        let snapshot = Snapshot::default();
        assert_eq!(addresses(&snapshot, "::1"), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses(&snapshot, "localhost"), [IpAddr::from([127, 0, 0, 1])]);
        assert!(addresses(&snapshot, "a.example").is_empty());
    }

    fn resolver() -> Resolver {
        let provider = hickory_resolver::name_server::TokioConnectionProvider::default();
        let config = hickory_resolver::config::ResolverConfig::new();
        let dns = TokioResolver::builder_with_config(config, provider).build();
        Resolver { dns, names: HashMap::new(), running: JoinSet::new() }
    }

    #[test]
    fn a_failure_keeps_the_last_good_answer() {
        let mut resolver = resolver();
        let name: Arc<str> = "a.example".into();
        resolver.names.insert(Arc::clone(&name), State::default());
        let good = vec![IpAddr::from([10, 0, 0, 1])];
        assert!(resolver.take(&name, Ok((good.clone(), TTL_MIN))));
        assert!(!resolver.take(&name, Err("timed out".to_owned())));
        assert_eq!(resolver.answers()[&name], good);
        assert!(!resolver.take(&name, Ok((good, TTL_MIN))), "the same answer is no change");
    }

    #[test]
    fn an_answer_for_a_name_that_went_is_dropped() {
        let mut resolver = resolver();
        assert!(!resolver.take(&"gone.example".into(), Ok((vec![], TTL_MIN))));
        assert!(resolver.answers().is_empty());
    }
}
