//! From all objects to what the data plane does and what their statuses say.
//!
//! Pure and total: no clock, no I/O, no error; what cannot be obeyed becomes a condition and an
//! invalid target. Called by the control loop on every change, and by [`crate::check`]. Invariant:
//! the result depends on the snapshot alone; [`Cache`] only saves work, never changes an answer
//! (golden tests run with and without it).
//!
//! A Secret that turned bad is not remembered here: the store keeps its last good certificate, so
//! the snapshot holds both the certificate and what is wrong with the Secret.

mod address;
mod assemble;
mod attach;
mod backend;
mod backend_tls;
mod class;
mod conflict;
mod cors;
mod duration;
mod external_auth;
mod features;
mod filter;
mod frontend;
mod gateway;
mod grant;
mod grpc;
mod hostname;
pub mod infrastructure;
mod listener;
mod listener_filter;
mod listener_set;
mod matching;
mod parent;
mod pool;
pub(crate) mod proxy_protocol;
mod reach;
mod rival;
mod route;
mod scope;
pub mod status;
mod stream_route;
mod trust;

use std::sync::Arc;

use proxy::ir::Ir;

use crate::store::Snapshot;
pub use address::{Addressing, SERVICE_PORTS};
pub(crate) use cors::is_origin;
pub(crate) use duration::is_duration;
pub use features::ALL as FEATURES;
pub use pool::Pool;
pub use status::{Problem, Statuses};

/// What a snapshot means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What the data plane does.
    pub ir: Ir,
    /// What the objects' statuses say.
    pub statuses: Statuses,
    /// Everything that is refused, with the field at fault; a condition tells each of them too,
    /// except references to Gateways that do not exist.
    pub problems: Vec<Problem>,
}

/// Work of earlier translations that may be used again.
///
/// It holds the very objects an answer was made from, so their addresses cannot be reused while it
/// compares them.
#[derive(Debug, Default)]
pub struct Cache {
    routes: attach::RouteCache,
    backends: backend::BackendCache,
}

/// Translates a snapshot.
#[must_use]
pub fn translate(snapshot: &Snapshot, cache: &mut Cache) -> Translation {
    let classes = class::plan(snapshot);
    let (mut gateways, strays) = gateway::plan(snapshot, &classes);
    let policies = backend_tls::plan(snapshot);
    let filters = listener_filter::resolve(snapshot, &policies, &mut gateways);
    let routes = attach::plan(snapshot, &gateways, policies, &mut cache.routes);
    let (backends, barred) = backend::plan(
        snapshot,
        routes.targets().chain(filters.targets()),
        reach::Reach::new(snapshot, &gateways),
        &mut cache.backends,
    );
    let uses = routes.uses().chain(filters.uses());
    let mut policies = cache.routes.policies().statuses(snapshot, &gateways, uses);
    policies.1.extend(barred);
    let parts = assemble::Parts { classes, gateways, strays, routes, policies };
    assemble::assemble(snapshot, parts, backends)
}

/// The controller whose GatewayClasses are ours.
pub const CONTROLLER_NAME: &str = "ringway.dev/gateway-controller";
/// The same as the value of a label, which takes no `/`.
pub(crate) const CONTROLLER_NAME_LABEL: &str = "ringway.dev";

/// A refusal in the making: which field, why, and in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    reason: status::Reason,
    field: String,
    message: String,
}

impl Fault {
    fn new(reason: status::Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, field: field.into(), message: message.into() }
    }
}

/// Whether two shared values are one and the same.
fn same<T: ?Sized>(left: &Arc<T>, right: &Arc<T>) -> bool {
    Arc::ptr_eq(left, right)
}
