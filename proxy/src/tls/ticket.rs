//! Stateless session tickets whose keys are derived, not stored.
//!
//! Every shard derives the same keys from the process's seed, the listener's name, its certificates
//! and whom it trusts to name clients, so that a client which reaches another shard can resume, and a
//! ticket of one listener, or from before its trust changed, means nothing to another. It is not a cache: nothing is kept per session. Called by
//! rustls through [`ProducesTickets`]; made by `config`.
//!
//! A ticket is `period (4) · salt (32) · sealed state`. Its key is derived for that ticket alone from
//! period and salt, so no nonce can repeat under a key. Invariant: a ticket opens only in its own
//! period or the next one; after that nothing that this type accepts can open it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{aead, digest, hkdf};
use rustls::crypto::SecureRandom;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use crate::ir;

/// A ticket resumes for at least this long and at most for twice as long.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(6 * 60 * 60);

/// Sealed session state larger than this is not a ticket of ours (bytes).
const TICKET_BYTES_MAX: usize = 16 * 1024;
const PERIOD_BYTES: usize = 4;
const SALT_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

/// The process's secret, ready for derivation, and a public name for it.
pub(super) struct Seed {
    root: hkdf::Prk,
    id: [u8; 32],
}

/// Ticket keys of one listener.
pub(super) struct Tickets {
    root: hkdf::Prk,
    random: &'static dyn SecureRandom,
    time: Arc<dyn TimeProvider>,
}

/// How many bytes a derivation gives.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Seed {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"ringway tickets 1").extract(secret);
        let id = derive(&root, &[b"seed id"]);
        Self { root, id }
    }

    /// Equal exactly when the seeds are; tells nothing about them.
    pub(super) fn id(&self) -> [u8; 32] {
        self.id
    }

    /// Keys for the listener `name` with these certificates.
    pub(super) fn tickets(
        &self,
        name: &str,
        tls: &ir::Tls,
        random: &'static dyn SecureRandom,
        time: Arc<dyn TimeProvider>,
    ) -> Tickets {
        let name_len = (name.len() as u64).to_be_bytes();
        let secret: [u8; 32] =
            derive(&self.root, &[b"listener", &name_len, name.as_bytes(), &fingerprint(tls)]);
        let root = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
        Tickets { root, random, time }
    }
}

impl Tickets {
    fn period(&self) -> Option<u32> {
        let now = self.time.current_time()?.as_secs();
        u32::try_from(now / TICKET_LIFETIME.as_secs()).ok()
    }

    /// The key and nonce of the one ticket with this header.
    fn key(&self, header: &[u8]) -> Option<(aead::LessSafeKey, aead::Nonce)> {
        let bytes: [u8; KEY_BYTES + aead::NONCE_LEN] = derive(&self.root, &[b"ticket", header]);
        let (key, nonce) = bytes.split_at(KEY_BYTES);
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key).ok()?;
        Some((aead::LessSafeKey::new(key), aead::Nonce::try_assume_unique_for_key(nonce).ok()?))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_LIFETIME.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut header = [0; PERIOD_BYTES + SALT_BYTES];
        header[..PERIOD_BYTES].copy_from_slice(&self.period()?.to_be_bytes());
        self.random.fill(&mut header[PERIOD_BYTES..]).ok()?;
        let (key, nonce) = self.key(&header)?;
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(nonce, aead::Aad::from(&header), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(header.len() + sealed.len());
        ticket.extend_from_slice(&header);
        ticket.extend_from_slice(&sealed);
        (ticket.len() <= TICKET_BYTES_MAX).then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (header, sealed) = ticket.split_at_checked(PERIOD_BYTES + SALT_BYTES)?;
        let made = u32::from_be_bytes(header[..PERIOD_BYTES].try_into().ok()?);
        let now = self.period()?;
        if made != now && made.checked_add(1) != Some(now) {
            return None;
        }
        let (key, nonce) = self.key(header)?;
        let mut state = sealed.to_vec();
        let length = key.open_in_place(nonce, aead::Aad::from(header), &mut state).ok()?.len();
        state.truncate(length);
        Some(state)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

/// Names the certificates of a listener, in their order, and how it validates clients; private keys
/// do not enter.
fn fingerprint(tls: &ir::Tls) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    let list = |context: &mut digest::Context, ders: &[Vec<u8>]| {
        context.update(&(ders.len() as u64).to_be_bytes());
        for der in ders {
            context.update(&(der.len() as u64).to_be_bytes());
            context.update(der);
        }
    };
    for certificate in &tls.certificates {
        list(&mut context, &certificate.chain);
    }
    if let Some(clients) = &tls.clients {
        // No chain has such a length, so none reads like this.
        let mark = if clients.is_optional { u64::MAX } else { u64::MAX - 1 };
        context.update(&mark.to_be_bytes());
        list(&mut context, &clients.roots);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

fn derive<const N: usize>(root: &hkdf::Prk, info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    root.expand(info, Length(N))
        .and_then(|okm| okm.fill(&mut out))
        .expect("N is far below the 255 hashes that HKDF can give");
    out
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::UnixTime;

    use super::*;

    #[derive(Debug)]
    struct At(u64);

    impl TimeProvider for At {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
        }
    }

    fn tls(chain: &[&[u8]]) -> ir::Tls {
        let chain = chain.iter().map(|der| der.to_vec()).collect();
        let key = ir::PrivateKey::default();
        let certificates = vec![ir::Certificate { secret: "a/b".into(), chain, key }];
        ir::Tls { certificates, clients: None }
    }

    fn keys(clients: Option<ir::ClientValidation>) -> Tickets {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = ir::Tls { clients, ..tls(&[b"xy"]) };
        Seed::new(&[1; 32]).tickets("a", &tls, provider.secure_random, Arc::new(At(0)))
    }

    #[test]
    fn a_ticket_opens_only_under_the_trust_that_it_was_made_under() {
        let validation = |roots: &[&[u8]], is_optional| {
            let roots = Arc::new(roots.iter().map(|der| der.to_vec()).collect());
            Some(ir::ClientValidation { roots, is_optional })
        };
        let all = [
            None,
            validation(&[], false),
            validation(&[], true),
            validation(&[b"ca"], false),
            validation(&[b"ca"], true),
            validation(&[b"ca", b"cb"], false),
            validation(&[b"cb", b"ca"], false),
        ];
        for (made, of) in all.iter().enumerate() {
            let ticket = keys(of.clone()).encrypt(b"state").expect("sealed");
            for (at, under) in all.iter().enumerate() {
                let opens = keys(under.clone()).decrypt(&ticket).is_some();
                assert_eq!(opens, made == at, "made under {of:?}, shown under {under:?}");
            }
        }
    }

    fn tickets(seed: u8, name: &str, chain: &[&[u8]], at: u64) -> Tickets {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Seed::new(&[seed; 32]).tickets(name, &tls(chain), provider.secure_random, Arc::new(At(at)))
    }

    #[test]
    fn a_ticket_opens_only_with_the_same_seed_name_and_certificates() {
        let ticket = tickets(1, "a", &[b"xy", b"z"], 0).encrypt(b"state").expect("sealed");
        let open = |t: Tickets| t.decrypt(&ticket);
        assert_eq!(open(tickets(1, "a", &[b"xy", b"z"], 0)).as_deref(), Some(&b"state"[..]));
        assert_eq!(open(tickets(2, "a", &[b"xy", b"z"], 0)), None);
        assert_eq!(open(tickets(1, "b", &[b"xy", b"z"], 0)), None);
        assert_eq!(open(tickets(1, "a", &[b"x", b"yz"], 0)), None);
        assert_eq!(open(tickets(1, "a", &[b"xy"], 0)), None);
    }

    #[test]
    fn a_ticket_lives_at_least_one_period_and_less_than_two() {
        let life = TICKET_LIFETIME.as_secs();
        for made in [5 * life, 5 * life + 7, 6 * life - 1] {
            let ticket = tickets(1, "a", &[], made).encrypt(b"s").expect("sealed");
            let opens = |at| tickets(1, "a", &[], at).decrypt(&ticket).is_some();
            assert!(opens(made) && opens(made + life));
            assert!(!opens(made + 2 * life));
            assert!(!opens(made - life), "a ticket from the future");
        }
    }

    #[test]
    fn a_changed_or_cut_ticket_does_not_open() {
        let keys = tickets(1, "a", &[], 0);
        let ticket = keys.encrypt(b"state").expect("sealed");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(keys.decrypt(&changed), None, "byte {at}");
            assert_eq!(keys.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        assert_eq!(keys.decrypt(&vec![0; TICKET_BYTES_MAX + 1]), None);
    }

    #[test]
    fn two_tickets_for_the_same_state_differ_and_show_nothing_in_debug() {
        let keys = tickets(1, "a", &[], 0);
        assert_ne!(keys.encrypt(b"state"), keys.encrypt(b"state"));
        assert_eq!(format!("{keys:?} {:?}", Seed::new(&[7; 32])), "Tickets(…) Seed(…)");
    }
}
