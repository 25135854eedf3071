//! A request that waits for authorization: whom to ask, and how it goes on.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Client, Course, Provenance, Step};
use crate::auth::{Auth, Question};
use crate::balance::{EndpointId, Local};
use crate::epoch::{Backend, Listener};
use crate::fault::Fault;
use crate::http::RequestHead;
use crate::ir::Timeouts;
use crate::table::{Hit, Rule};

/// A request that goes on only when servers allow it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'e> {
    /// The filters, one after the other; never empty.
    pub auth: &'e [Auth],
    pub(super) course: Course<'e>,
    /// `None` before routing.
    pub(super) hit: Option<Hit<'e>>,
}

/// An endpoint of an authorization server.
#[derive(Clone, Copy, Debug)]
pub struct Server<'e> {
    /// The backend that it belongs to.
    pub backend: &'e Backend,
    /// The endpoint that was picked.
    pub endpoint: EndpointId,
    /// Its address.
    pub address: SocketAddr,
}

impl<'e> Ask<'e> {
    /// The listener that the request belongs to.
    #[must_use]
    pub fn listener(&self) -> &'e Listener {
        self.course.listener
    }

    /// The rule that matched, if it was asked for.
    #[must_use]
    pub fn rule(&self) -> Option<&'e Rule> {
        self.hit.map(|hit| hit.rule)
    }

    /// The time limits of that rule.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        let policy = self.rule().and_then(|rule| rule.policy.as_ref());
        policy.map(|policy| policy.timeouts).unwrap_or_default()
    }

    /// Picks an endpoint of the server of `auth`, not `not` where there is another.
    ///
    /// # Errors
    /// Why nobody can be asked.
    pub fn server(
        &self,
        auth: &Auth,
        local: &mut Local,
        not: Option<EndpointId>,
        now: Instant,
    ) -> Result<Server<'e>, Fault> {
        let backends = &self.course.epoch.backends;
        let known =
            auth.slot.and_then(|slot| Some((slot, backends.get(slot as usize)?.as_deref()?)));
        let (slot, backend) = known.ok_or(Fault::AuthInvalid)?;
        let picked = local.pick_endpoint(slot, not, now);
        let (endpoint, address) = picked.ok_or(Fault::AuthFailed)?;
        Ok(Server { backend, endpoint, address })
    }

    /// What that server is asked.
    #[must_use]
    pub fn question<'q>(
        &'q self,
        auth: &'q Auth,
        server: &Server<'q>,
        head: &'q RequestHead,
        client: Client<'q>,
        body: &'q [u8],
    ) -> Question<'q> {
        let Course { epoch, port, listener } = self.course;
        let trusted = epoch.settings.trusted_hops > 0;
        Question {
            auth,
            head,
            provenance: Provenance { client, protocol: port.protocol, trusted },
            port: listener.port,
            server: server.backend,
            body,
        }
    }

    /// Goes on with a request that every server allowed.
    #[must_use]
    pub fn allowed(self, head: &RequestHead, local: &mut Local, now: Instant) -> Step<'e> {
        match self.hit {
            None => self.course.route(head, local, now),
            Some(hit) => self.course.pick(hit, head, local, now),
        }
    }
}
