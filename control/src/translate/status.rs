//! The status vocabulary of the Gateway API: conditions, reasons and the status of each kind.
//!
//! Serialises as the API writes it, without `lastTransitionTime`, which whoever writes the status
//! adds when a condition really changes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::Fault;
use super::infrastructure::Infrastructure;
use crate::api::{Kind, Name, ParentReference, RouteKind};

/// The statuses of all objects that are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statuses {
    /// GatewayClasses of our controller.
    pub gateway_classes: BTreeMap<Name, GatewayClassStatus>,
    /// Gateways of those classes.
    pub gateways: BTreeMap<Name, GatewayStatus>,
    /// GRPCRoutes that name one of those Gateways or ListenerSets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub grpc_routes: BTreeMap<Name, Arc<RouteStatus>>,
    /// HTTPRoutes that do.
    pub http_routes: BTreeMap<Name, Arc<RouteStatus>>,
    /// ListenerSets that name one of those Gateways.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listener_sets: BTreeMap<Name, ListenerSetStatus>,
    /// TCPRoutes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tcp_routes: BTreeMap<Name, Arc<RouteStatus>>,
    /// TLSRoutes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tls_routes: BTreeMap<Name, Arc<RouteStatus>>,
    /// UDPRoutes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub udp_routes: BTreeMap<Name, Arc<RouteStatus>>,
    /// BackendTLSPolicies of Services that one of those Gateways leads to.
    #[serde(rename = "backendTLSPolicies", skip_serializing_if = "BTreeMap::is_empty")]
    pub backend_tls_policies: BTreeMap<Name, Arc<PolicyStatus>>,
    /// Objects that should exist for each Gateway that is not refused.
    #[serde(skip)]
    pub infrastructure: BTreeMap<Name, Arc<Infrastructure>>,
}

impl Statuses {
    /// The statuses of the routes of a kind; `None` for other kinds.
    #[must_use]
    pub fn routes(&self, kind: Kind) -> Option<&BTreeMap<Name, Arc<RouteStatus>>> {
        match kind {
            Kind::GrpcRoute => Some(&self.grpc_routes),
            Kind::HttpRoute => Some(&self.http_routes),
            Kind::TcpRoute => Some(&self.tcp_routes),
            Kind::TlsRoute => Some(&self.tls_routes),
            Kind::UdpRoute => Some(&self.udp_routes),
            _ => None,
        }
    }
}

/// Something in an object that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    /// Kind of the object.
    pub kind: Kind,
    /// The object.
    pub object: Name,
    /// Path of the field at fault, as `spec.rules[0].backendRefs[1].name`.
    pub field: String,
    /// The API's reason.
    pub reason: Reason,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// Status of a GatewayClass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// What of the conformance suite is claimed, sorted.
    pub supported_features: Vec<Feature>,
}

/// A feature of the conformance suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
}

/// Status of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Addresses it answers on.
    pub addresses: Vec<Address>,
    /// How many ListenerSets are accepted.
    pub attached_listener_sets: usize,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// One entry per listener, in the order of the spec.
    pub listeners: Vec<ListenerStatus>,
}

/// An address of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// `IPAddress` or `Hostname`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The address.
    pub value: String,
    /// From where it can be reached; `None` where the API may lack the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routability: Option<&'static str>,
}

/// Status of a ListenerSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// One entry per listener, in the order of the spec; none if the Gateway does not take it.
    pub listeners: Vec<ListenerStatus>,
}

/// Status of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The kinds of routes that may attach.
    pub supported_kinds: Vec<RouteKind>,
    /// How many routes are attached.
    pub attached_routes: usize,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// Status of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// One entry per `parentRef` that names a Gateway or ListenerSet of ours, in the order of the spec.
    pub parents: Vec<RouteParentStatus>,
}

/// What became of one `parentRef`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The reference as the route wrote it, with the API's defaults.
    pub parent_ref: ParentReference,
    /// Ours.
    pub controller_name: &'static str,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// Status of a BackendTLSPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyStatus {
    /// One entry per Gateway of ours that leads to its target, oldest first.
    pub ancestors: Vec<PolicyAncestorStatus>,
}

/// What became of a policy below one Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    /// The Gateway.
    pub ancestor_ref: ParentReference,
    /// Ours.
    pub controller_name: &'static str,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: Cow<'static, str>,
    /// The generation of the object it speaks of.
    pub observed_generation: i64,
}

/// Types of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are the API's")]
pub enum ConditionType {
    Accepted,
    AddressesAssigned,
    Conflicted,
    InsecureFrontendValidationMode,
    #[serde(rename = "OverlappingTLSConfig")]
    OverlappingTlsConfig,
    PartiallyInvalid,
    Programmed,
    ResolvedRefs,
    SupportedVersion,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are the API's")]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// Reasons of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[allow(missing_docs, reason = "the names are the API's")]
pub enum Reason {
    Accepted,
    AddressNotAssigned,
    AddressNotUsable,
    AddressesAssigned,
    BackendNotFound,
    Conflicted,
    HostnameConflict,
    IncompatibleFilters,
    Invalid,
    ConfigurationChanged,
    InvalidCACertificateKind,
    InvalidCACertificateRef,
    InvalidCertificateRef,
    InvalidClientCertificateRef,
    InvalidKind,
    InvalidListenerFilter,
    InvalidListenerFilterRef,
    InvalidParameters,
    InvalidRouteKinds,
    ListenersNotResolved,
    ListenersNotValid,
    NoConflicts,
    NoMatchingListenerHostname,
    NoMatchingParent,
    NoResources,
    NoValidCACertificate,
    NotAllowed,
    NotAllowedByListeners,
    NotAssigned,
    OverlappingHostnames,
    ParentNotAccepted,
    ParentNotProgrammed,
    PartiallyAssigned,
    Programmed,
    ProtocolConflict,
    RefNotPermitted,
    ResolvedRefs,
    SupportedVersion,
    TargetNotFound,
    UnsupportedAddress,
    UnsupportedProtocol,
    UnsupportedValue,
    UnsupportedVersion,
}

impl Condition {
    /// A condition that is true.
    pub(crate) fn holds(
        kind: ConditionType,
        reason: Reason,
        message: impl Into<Cow<'static, str>>,
        generation: i64,
    ) -> Self {
        let status = ConditionStatus::True;
        Self { kind, status, reason, message: message.into(), observed_generation: generation }
    }

    /// A condition that is false.
    pub(crate) fn fails(
        kind: ConditionType,
        reason: Reason,
        message: impl Into<Cow<'static, str>>,
        generation: i64,
    ) -> Self {
        let status = ConditionStatus::False;
        Self { kind, status, reason, message: message.into(), observed_generation: generation }
    }

    /// True with `reason` and `message`, unless `fault` says otherwise.
    pub(super) fn unless(
        fault: Option<&Fault>,
        kind: ConditionType,
        reason: Reason,
        message: &'static str,
        generation: i64,
    ) -> Self {
        match fault {
            Some(fault) => Self::fails(kind, fault.reason, fault.message.clone(), generation),
            None => Self::holds(kind, reason, message, generation),
        }
    }
}

impl Problem {
    pub(super) fn of(kind: Kind, object: &Name, fault: &Fault) -> Self {
        Self {
            kind,
            object: object.clone(),
            field: fault.field.clone(),
            reason: fault.reason,
            message: fault.message.clone(),
        }
    }
}
