//! The kinds this release reads, and one object of any of them.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{
    BackendTlsPolicy, ClusterTrustBundle, ConfigMap, EndpointSlice, Gateway, GatewayClass,
    GrpcRoute, HttpRoute, ListenerSet, Meta, Name, Namespace, ReferenceGrant, Secret, Service,
    StreamRoute,
};
use crate::yaml::{DecodeError, Node};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(into = "&'static str")]
pub enum Kind {
    /// Gateway API BackendTLSPolicy.
    BackendTlsPolicy,
    /// certificates.k8s.io/v1 ClusterTrustBundle.
    ClusterTrustBundle,
    /// v1 ConfigMap.
    ConfigMap,
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice,
    /// Gateway API Gateway.
    Gateway,
    /// Gateway API GatewayClass.
    GatewayClass,
    /// Gateway API GRPCRoute.
    GrpcRoute,
    /// Gateway API HTTPRoute.
    HttpRoute,
    /// Gateway API ListenerSet.
    ListenerSet,
    /// v1 Namespace.
    Namespace,
    /// Gateway API ReferenceGrant.
    ReferenceGrant,
    /// v1 Secret.
    Secret,
    /// v1 Service.
    Service,
    /// Gateway API TCPRoute.
    TcpRoute,
    /// Gateway API TLSRoute.
    TlsRoute,
    /// Gateway API UDPRoute.
    UdpRoute,
}

/// One decoded object.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each variant is its kind")]
pub enum Object {
    BackendTlsPolicy(Arc<BackendTlsPolicy>),
    ClusterTrustBundle(Arc<ClusterTrustBundle>),
    ConfigMap(Arc<ConfigMap>),
    EndpointSlice(Arc<EndpointSlice>),
    Gateway(Arc<Gateway>),
    GatewayClass(Arc<GatewayClass>),
    GrpcRoute(Arc<GrpcRoute>),
    HttpRoute(Arc<HttpRoute>),
    ListenerSet(Arc<ListenerSet>),
    Namespace(Arc<Namespace>),
    ReferenceGrant(Arc<ReferenceGrant>),
    Secret(Arc<Secret>),
    Service(Arc<Service>),
    TcpRoute(Arc<StreamRoute>),
    TlsRoute(Arc<StreamRoute>),
    UdpRoute(Arc<StreamRoute>),
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::BackendTlsPolicy,
        Self::ClusterTrustBundle,
        Self::ConfigMap,
        Self::EndpointSlice,
        Self::Gateway,
        Self::GatewayClass,
        Self::GrpcRoute,
        Self::HttpRoute,
        Self::ListenerSet,
        Self::Namespace,
        Self::ReferenceGrant,
        Self::Secret,
        Self::Service,
        Self::TcpRoute,
        Self::TlsRoute,
        Self::UdpRoute,
    ];

    /// The API's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackendTlsPolicy => "BackendTLSPolicy",
            Self::ClusterTrustBundle => "ClusterTrustBundle",
            Self::ConfigMap => "ConfigMap",
            Self::EndpointSlice => "EndpointSlice",
            Self::Gateway => "Gateway",
            Self::GatewayClass => "GatewayClass",
            Self::GrpcRoute => "GRPCRoute",
            Self::HttpRoute => "HTTPRoute",
            Self::ListenerSet => "ListenerSet",
            Self::Namespace => "Namespace",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::TcpRoute => "TCPRoute",
            Self::TlsRoute => "TLSRoute",
            Self::UdpRoute => "UDPRoute",
        }
    }

    /// The API versions under which the kind is read, the preferred one first.
    #[must_use]
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::ConfigMap | Self::Namespace | Self::Secret | Self::Service => &["v1"],
            Self::ClusterTrustBundle => &["certificates.k8s.io/v1", "certificates.k8s.io/v1beta1"],
            Self::EndpointSlice => &["discovery.k8s.io/v1"],
            Self::Gateway | Self::GatewayClass | Self::HttpRoute | Self::ReferenceGrant => {
                &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
            }
            Self::GrpcRoute | Self::ListenerSet => &["gateway.networking.k8s.io/v1"],
            Self::BackendTlsPolicy => {
                &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha3"]
            }
            Self::TcpRoute | Self::UdpRoute => {
                &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"]
            }
            Self::TlsRoute => &[
                "gateway.networking.k8s.io/v1",
                "gateway.networking.k8s.io/v1alpha3",
                "gateway.networking.k8s.io/v1alpha2",
            ],
        }
    }

    /// Whether objects of the kind live in a namespace.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::ClusterTrustBundle | Self::GatewayClass | Self::Namespace)
    }

    /// The kind of an object with this `apiVersion` and `kind`, if it is one of ours.
    #[must_use]
    pub fn of(version: &str, kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|ours| ours.as_str() == kind && ours.versions().contains(&version))
    }

    /// Decodes an object of this kind; a namespaced one without namespace is put in `default`.
    ///
    /// # Errors
    /// The tree does not have the kind's shape.
    pub fn decode<T: Tree>(self, node: &T) -> Result<Object, T::Error> {
        Ok(match self {
            Self::BackendTlsPolicy => {
                Object::BackendTlsPolicy(Arc::new(self.placed(node.decode()?)))
            }
            Self::ClusterTrustBundle => {
                Object::ClusterTrustBundle(Arc::new(self.placed(node.decode()?)))
            }
            Self::ConfigMap => Object::ConfigMap(Arc::new(self.placed(node.decode()?))),
            Self::EndpointSlice => Object::EndpointSlice(Arc::new(self.placed(node.decode()?))),
            Self::Gateway => Object::Gateway(Arc::new(self.placed(node.decode()?))),
            Self::GatewayClass => Object::GatewayClass(Arc::new(self.placed(node.decode()?))),
            Self::GrpcRoute => Object::GrpcRoute(Arc::new(self.placed(node.decode()?))),
            Self::HttpRoute => Object::HttpRoute(Arc::new(self.placed(node.decode()?))),
            Self::ListenerSet => Object::ListenerSet(Arc::new(self.placed(node.decode()?))),
            Self::Namespace => Object::Namespace(Arc::new(self.placed(node.decode()?))),
            Self::ReferenceGrant => Object::ReferenceGrant(Arc::new(self.placed(node.decode()?))),
            Self::Secret => Object::Secret(Arc::new(self.placed(node.decode()?))),
            Self::Service => Object::Service(Arc::new(self.placed(node.decode()?))),
            Self::TcpRoute => Object::TcpRoute(Arc::new(self.placed(node.decode()?))),
            Self::TlsRoute => Object::TlsRoute(Arc::new(self.placed(node.decode()?))),
            Self::UdpRoute => Object::UdpRoute(Arc::new(self.placed(node.decode()?))),
        })
    }

    /// The name of an object of this kind, read from its tree.
    #[must_use]
    pub fn name_of(self, node: &Node) -> Option<Name> {
        let meta = node.get("metadata")?;
        let namespace = match meta.text_of("namespace") {
            _ if !self.is_namespaced() => "",
            None | Some("") => DEFAULT_NAMESPACE,
            Some(namespace) => namespace,
        };
        Some(Name::new(namespace, meta.text_of("name")?))
    }

    fn placed<T: Placed>(self, mut object: T) -> T {
        let meta = object.meta_mut();
        if !self.is_namespaced() {
            meta.namespace = "".into();
        } else if meta.namespace.is_empty() {
            meta.namespace = DEFAULT_NAMESPACE.into();
        }
        object
    }
}

impl From<Kind> for &'static str {
    fn from(kind: Kind) -> Self {
        kind.as_str()
    }
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::BackendTlsPolicy(_) => Kind::BackendTlsPolicy,
            Self::ClusterTrustBundle(_) => Kind::ClusterTrustBundle,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Gateway(_) => Kind::Gateway,
            Self::GatewayClass(_) => Kind::GatewayClass,
            Self::GrpcRoute(_) => Kind::GrpcRoute,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::ListenerSet(_) => Kind::ListenerSet,
            Self::Namespace(_) => Kind::Namespace,
            Self::ReferenceGrant(_) => Kind::ReferenceGrant,
            Self::Secret(_) => Kind::Secret,
            Self::Service(_) => Kind::Service,
            Self::TcpRoute(_) => Kind::TcpRoute,
            Self::TlsRoute(_) => Kind::TlsRoute,
            Self::UdpRoute(_) => Kind::UdpRoute,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        match self {
            Self::BackendTlsPolicy(object) => &object.metadata,
            Self::ClusterTrustBundle(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Gateway(object) => &object.metadata,
            Self::GatewayClass(object) => &object.metadata,
            Self::GrpcRoute(object) => &object.metadata,
            Self::HttpRoute(object) => &object.metadata,
            Self::ListenerSet(object) => &object.metadata,
            Self::Namespace(object) => &object.metadata,
            Self::ReferenceGrant(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::TcpRoute(object) | Self::TlsRoute(object) | Self::UdpRoute(object) => {
                &object.metadata
            }
        }
    }
}

/// The text of an object in some form that serde can read.
pub trait Tree {
    /// Why it cannot be decoded.
    type Error;

    /// Decodes the whole of it.
    ///
    /// # Errors
    /// It does not have the shape of `T`.
    fn decode<T: DeserializeOwned>(&self) -> Result<T, Self::Error>;
}

impl Tree for Node {
    type Error = DecodeError;

    fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        Self::decode(self)
    }
}

trait Placed {
    fn meta_mut(&mut self) -> &mut Meta;
}

macro_rules! placed {
    ($($kind:ty),+) => {
        $(impl Placed for $kind {
            fn meta_mut(&mut self) -> &mut Meta { &mut self.metadata }
        })+
    };
}

placed!(
    BackendTlsPolicy,
    ClusterTrustBundle,
    ConfigMap,
    EndpointSlice,
    Gateway,
    GatewayClass,
    GrpcRoute,
    HttpRoute,
    ListenerSet,
    Namespace,
    ReferenceGrant,
    Secret,
    Service,
    StreamRoute
);

/// Where `kubectl apply` puts an object that names no namespace.
const DEFAULT_NAMESPACE: &str = "default";
