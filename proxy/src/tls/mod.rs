//! TLS as a buffer engine on rustls: ciphertext in, plaintext out, and back. No sockets.
//!
//! `shards` feeds received bytes and sends what [`Session::take_output`] gives. Towards clients the
//! certificate is chosen by SNI among the listeners of the port; tickets are bound to their listener.
//! Towards backends an [`Identity`] says whom to trust and what to show. Secrets never
//! appear in errors or `Debug`. Invariant: how the input is cut never changes what comes out.
//!
//! ```text
//! Secret ─► read_pem ─► ir::Certificate ─► Config (per shard and port) ──────► Session (per client)
//! BackendTLSPolicy ─► ir::BackendTls ─► Identity (per shard and way of use) ─► Session (per backend)
//! ```

mod certificate;
mod clients;
mod config;
mod error;
mod identity;
mod roots;
mod session;
mod suites;
mod ticket;
mod trust;
mod verify;

pub use certificate::{check_certificate, read_pem};
pub use config::{Claimant, Config};
pub use error::{Error, Reason};
pub use identity::{Alpn, Identities, Identity};
pub use session::{ClientIdentity, Session};
pub use ticket::TICKET_LIFETIME;
pub use trust::{ROOTS_MAX, read_roots};
