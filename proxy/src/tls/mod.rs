//! TLS as a buffer engine on rustls: ciphertext in, plaintext out, and back. No sockets.
//!
//! `shards` feeds received bytes and sends what [`Session::take_output`] gives. The certificate is
//! chosen by SNI among the listeners of the port; tickets are bound to their listener. Secrets never
//! appear in errors or `Debug`. Invariant: how the input is cut never changes what comes out.
//!
//! ```text
//! Secret ─► read_pem ─► ir::Certificate ─► Config (per shard and port) ─► Session (per connection)
//! ```

mod certificate;
mod clients;
mod config;
mod roots;
mod session;
mod ticket;
mod trust;

pub use certificate::{check_certificate, read_pem};
pub use config::{Claimant, Config};
pub use session::{ClientIdentity, Error, Session};
pub use ticket::TICKET_LIFETIME;
pub use trust::{ROOTS_MAX, read_roots};
