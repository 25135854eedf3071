//! The Kubernetes and Gateway API objects this release reads, as plain types decoded by serde.
//!
//! One file per noun, fields named as in the API (v1.7), defaults of the API applied while
//! decoding. Not complete: only the fields that something here obeys, refuses or reports. Invariant:
//! a value outside an enumeration is kept as `Unknown` and never fails the whole object.

/// Declares an enumeration of the API that keeps values it does not know.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? } default $default:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
        #[serde(from = "std::sync::Arc<str>")]
        pub enum $name { $($variant,)+ Unknown(std::sync::Arc<str>) }

        impl $name {
            /// The API's spelling.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)+ Self::Unknown(text) => text }
            }
        }

        impl From<std::sync::Arc<str>> for $name {
            fn from(text: std::sync::Arc<str>) -> Self {
                match &*text { $($text => Self::$variant,)+ _ => Self::Unknown(text) }
            }
        }

        impl Default for $name {
            fn default() -> Self { Self::$default }
        }
    };
}

#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod backend_tls_policy;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod cluster_trust_bundle;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod config_map;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod endpoint_slice;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod filter;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod gateway;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod gateway_class;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod grpc_route;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod http_route;
mod kind;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod listener_set;
mod meta;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod namespace;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod reference;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod reference_grant;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod secret;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod service;
#[allow(missing_docs, reason = "the fields are the API's, documented there")]
mod stream_route;

pub use backend_tls_policy::{
    BackendTlsPolicy, BackendTlsPolicySpec, BackendValidation, PolicyTarget, SubjectAltName,
    SubjectAltNameType,
};
pub use cluster_trust_bundle::{ClusterTrustBundle, ClusterTrustBundleSpec};
pub use config_map::{ConfigMap, ConfigMapData};
pub use endpoint_slice::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
pub use filter::{
    AuthProtocol, Cors, ExternalAuth, Filter, FilterType, ForwardBody, Fraction, GrpcAuth,
    HeaderModifier, HeaderValue, HttpAuth, ListenerFilter, ListenerFilterType, ListenerFilters,
    Mirror, PathModifier, PathModifierType, Redirect, Rewrite,
};
pub use gateway::{
    AddressType, AllowedListeners, AllowedRoutes, BackendTls, CertificateRef, FromNamespaces,
    FrontendTls, FrontendValidation, Gateway, GatewayAddress, GatewayObserved, GatewaySpec,
    GatewayTls, Infrastructure, LabelSelector, Listener, ListenerNamespaces, ListenerTls,
    NamespaceScope, Operator, PortTls, Protocol, Routability, RouteKind, SelectorRequirement,
    TlsConfig, TlsMode, ValidationMode,
};
pub use gateway_class::{GatewayClass, GatewayClassSpec};
pub use grpc_route::{GrpcMatch, GrpcRoute, GrpcRouteSpec, GrpcRule, MethodMatch, MethodMatchType};
pub use http_route::{
    HeaderMatch, HttpRoute, HttpRouteSpec, Match, PathMatch, PathMatchType, QueryMatch, Retry,
    Rule, Timeouts, ValueMatchType,
};
pub use kind::{Kind, Object, Tree};
pub use listener_set::{ListenerSet, ListenerSetSpec, ParentGateway};
pub use meta::{Meta, Name};
pub use namespace::Namespace;
pub use reference::{BackendRef, CaCertificateRef, ParentReference};
pub use reference_grant::{GrantFrom, GrantTo, ReferenceGrant, ReferenceGrantSpec};
pub use secret::Secret;
pub use service::{
    Ingress, LoadBalancer, Service, ServicePort, ServiceSpec, ServiceStatus, TargetPort,
};
pub use stream_route::{StreamRoute, StreamRouteSpec, StreamRule};

/// The group of every Gateway API kind.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
