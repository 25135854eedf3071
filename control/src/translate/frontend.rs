//! What a Gateway asks of clients under TLS (`spec.tls.frontend`): whom it trusts, by port.
//!
//! Planned once a Gateway, for its own listeners and those of its ListenerSets alike; references are
//! the Gateway's own, whichever listener they are for. Invariant: where authorities are asked for and
//! none is left, no client is let in.

use proxy::ir;

use super::Fault;
use super::status::Reason;
use super::trust::{self, Referrer};
use crate::api::{FrontendTls, FrontendValidation, Kind, Name, ValidationMode};
use crate::store::Snapshot;

/// What is asked of the clients of a Gateway.
#[derive(Debug, Default)]
pub(super) struct Frontend {
    base: Clients,
    by_port: Vec<(u16, Clients)>,
}

/// What is asked of the clients of a port.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// `None` asks for no certificate.
    pub validation: Option<ir::ClientValidation>,
    /// Why nobody can be let in, if so.
    pub refusal: Option<Fault>,
    /// What in its references is wrong.
    pub unresolved: Vec<Fault>,
}

impl Frontend {
    /// Plans what the Gateway `name` asks.
    pub(super) fn plan(snapshot: &Snapshot, name: &Name, spec: &FrontendTls) -> Self {
        let plan = |validation: &Option<FrontendValidation>, field: &str| match validation {
            None => Clients::default(),
            Some(validation) => Clients::plan(snapshot, name, validation, field),
        };
        let field = "spec.tls.frontend";
        let by_port = spec.per_port.iter().enumerate().map(|(index, own)| {
            let field = format!("{field}.perPort[{index}].tls.validation");
            (own.port, plan(&own.tls.validation, &field))
        });
        Self {
            base: plan(&spec.base.validation, &format!("{field}.default.validation")),
            by_port: by_port.collect(),
        }
    }

    /// What is asked on a port: its own setting goes instead of the default.
    pub(super) fn of(&self, port: u16) -> &Clients {
        let own = self.by_port.iter().find(|(own, _)| *own == port);
        own.map_or(&self.base, |(_, clients)| clients)
    }
}

/// Whether clients without a valid certificate are served somewhere though one is asked for.
pub(super) fn is_insecure(spec: &FrontendTls) -> bool {
    let ports = spec.per_port.iter().map(|own| &own.tls);
    let all = std::iter::once(&spec.base).chain(ports);
    all.filter_map(|config| config.validation.as_ref())
        .any(|validation| validation.mode == ValidationMode::AllowInsecureFallback)
}

impl Clients {
    fn plan(snapshot: &Snapshot, name: &Name, spec: &FrontendValidation, field: &str) -> Self {
        let referrer = Referrer {
            kind: Kind::Gateway,
            namespace: &name.namespace,
            wrong_kind: Reason::InvalidCACertificateKind,
        };
        let field = format!("{field}.caCertificateRefs");
        let references = &spec.ca_certificate_refs;
        let (roots, mut unresolved) = trust::follow(snapshot, referrer, references, &field);
        if references.is_empty() {
            let message = format!("{field} is empty: name a ConfigMap");
            unresolved.push(Fault::new(Reason::InvalidCACertificateRef, &*field, message));
        }
        let is_optional = spec.mode == ValidationMode::AllowInsecureFallback;
        let validation = roots.map(|roots| ir::ClientValidation { roots, is_optional });
        let refusal = validation.is_none().then(|| {
            let why = unresolved.first().map_or(&*field, |fault| &fault.message);
            let message = format!("no authority is left to trust clients by: {why}");
            Fault::new(Reason::NoValidCACertificate, field.clone(), message)
        });
        Self { validation, refusal, unresolved }
    }
}
