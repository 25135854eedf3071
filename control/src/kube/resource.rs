//! Where the API server keeps each kind, and how it is asked for.
//!
//! Pure. Derived from the kind's name and versions alone, so that a new kind needs nothing here.

use crate::api::{GATEWAY_GROUP, Kind};

impl Kind {
    /// The plural by which URLs and RBAC rules name the kind.
    #[must_use]
    pub fn plural(self) -> String {
        let name = self.as_str().to_ascii_lowercase();
        match name.strip_suffix('y') {
            Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
            _ if name.ends_with('s') => format!("{name}es"),
            _ => format!("{name}s"),
        }
    }

    /// The URL path of all objects of the kind, or of those in one namespace.
    #[must_use]
    pub fn path(self, version: &str, namespace: Option<&str>) -> String {
        let root = if version.contains('/') { "/apis" } else { "/api" };
        let plural = self.plural();
        match namespace.filter(|_| self.is_namespaced()) {
            Some(namespace) => format!("{root}/{version}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{version}/{plural}"),
        }
    }

    /// Whether the kind is the Gateway API's, not Kubernetes' own.
    #[must_use]
    pub fn is_gateway_api(self) -> bool {
        let group = |version: &&str| version.split('/').next() == Some(GATEWAY_GROUP);
        self.versions().iter().any(group)
    }

    /// Whether its objects carry a status that gateways write.
    #[must_use]
    pub fn has_status(self) -> bool {
        self.is_gateway_api() && self != Self::ReferenceGrant
    }

    /// What the server shall leave out: Secrets that hold no certificate.
    pub(super) fn field_selector(self) -> Option<&'static str> {
        (self == Self::Secret).then_some("type%3Dkubernetes.io%2Ftls")
    }

    /// Whether all else is served though we may not read the kind: clusters may grant it to few.
    pub(super) fn is_dispensable(self) -> bool {
        self == Self::ClusterTrustBundle
    }

    /// Whether objects are kept only while something refers to them by name.
    pub(super) fn is_kept_by_name(self) -> bool {
        self == Self::ConfigMap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(Kind::Service.path("v1", None), "/api/v1/services");
        let slices = Kind::EndpointSlice.path("discovery.k8s.io/v1", Some("a"));
        assert_eq!(slices, "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices");
        let classes = Kind::GatewayClass.path("gateway.networking.k8s.io/v1", Some("a"));
        assert_eq!(classes, "/apis/gateway.networking.k8s.io/v1/gatewayclasses");
        assert_eq!(Kind::HttpRoute.plural(), "httproutes");
    }

    #[test]
    fn only_gateway_api_kinds_have_a_status_of_gateways() {
        assert!(Kind::Gateway.has_status() && Kind::HttpRoute.has_status());
        assert!(!Kind::ReferenceGrant.has_status() && !Kind::Service.has_status());
    }
}
