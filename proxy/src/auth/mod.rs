//! External authorization (`ExternalAuth`, GEP-1494): what a server is asked, and what its answer means.
//!
//! Pure: `exchange` says when to ask, `shards` carries question and answer, and what the server wants
//! changed of a request is an [`Edits`] that is applied to its head. Invariant: only an answer that was
//! understood in whole allows; everything else is a [`Refusal`].

mod check;
mod edits;
mod http;
mod query;
mod wire;

use crate::epoch::Backend;
use crate::exchange::Provenance;
use crate::fault::Fault;
use crate::http::{HeadWriter, RequestHead, ResponseHead};
use crate::ir::{self, AuthProtocol, Target};

pub use self::edits::Edits;

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Slot in [`crate::epoch::Epoch::backends`] of the server; `None` lets nothing pass.
    pub slot: Option<u32>,
    /// How it is asked.
    pub protocol: AuthProtocol,
    /// Bytes of the request's body that it is shown; 0 shows none.
    pub body_bytes_max: usize,
}

/// What a server is asked about one request.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// By which filter.
    pub auth: &'q Auth,
    /// The request.
    pub head: &'q RequestHead,
    /// Where it comes from.
    pub provenance: Provenance<'q>,
    /// The port that the client named.
    pub port: u16,
    /// The server.
    pub server: &'q Backend,
    /// The request's body as far as it is shown; it is whole.
    pub body: &'q [u8],
}

/// What an answer means.
#[derive(Debug)]
pub enum Verdict {
    /// The request goes on, changed like this.
    Allowed(Edits),
    /// It does not.
    Denied(Denial),
}

/// What a client is told whose request is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denial {
    /// Status, 200 to 599.
    pub status: u16,
    /// Fields as lines `name: value CRLF`.
    pub fields: Vec<u8>,
    /// Body.
    pub body: Vec<u8>,
}

/// Why a request goes nowhere without an answer of the server's that could be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub Fault);

/// An answer that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// The answer of a server as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'r> {
    /// Its head.
    pub head: &'r ResponseHead,
    /// Its whole body.
    pub body: &'r [u8],
    /// Its trailers as lines `name: value CRLF`.
    pub trailers: &'r [u8],
}

impl Auth {
    /// Compiles a filter; `slot` gives the slot of a backend.
    pub(crate) fn new(
        spec: &ir::ExternalAuth,
        slot: impl FnOnce(&std::sync::Arc<str>) -> u32,
    ) -> Self {
        Self {
            slot: match &spec.target {
                Target::Backend(key) => Some(slot(key)),
                Target::Invalid(_) => None,
            },
            protocol: spec.protocol.clone(),
            body_bytes_max: spec.body_bytes_max as usize,
        }
    }
}

impl Question<'_> {
    /// The body that carries the question.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        match &self.auth.protocol {
            AuthProtocol::Http { .. } => self.body.to_vec(),
            AuthProtocol::Grpc { allowed_headers } => check::request(self, allowed_headers),
        }
    }

    /// The head that goes before `length` bytes of it.
    pub fn write_head(&self, length: usize, out: &mut impl HeadWriter) {
        match &self.auth.protocol {
            AuthProtocol::Http { path, allowed_headers, .. } => {
                http::write(self, path, allowed_headers, length, out);
            }
            AuthProtocol::Grpc { .. } => check::write(self, length, out),
        }
    }

    /// What the answer to it means.
    ///
    /// # Errors
    /// If it does not say.
    pub fn verdict(&self, reply: Reply<'_>) -> Result<Verdict, Refusal> {
        let verdict = match &self.auth.protocol {
            AuthProtocol::Http { allowed_response_headers, .. } => {
                http::verdict(reply, allowed_response_headers)
            }
            AuthProtocol::Grpc { .. } => check::verdict(reply),
        };
        verdict.map_err(|Malformed| Refusal(Fault::AuthFailed))
    }

    /// The scheme of the question.
    fn scheme(&self) -> &'static str {
        if self.server.tls.is_some() { "https" } else { "http" }
    }

    fn is_allowed(name: &[u8], allowed: &[std::sync::Arc<str>]) -> bool {
        allowed.iter().any(|allowed| allowed.as_bytes() == name)
    }
}
