//! The Kubernetes objects that the benchmark makes.
//!
//! Pure. Called by the other files here. Invariant: everything is in the benchmark's own namespaces,
//! and everything that a controller does with these objects shows in an answer: the field
//! [`VERSION`] is set by the route and echoed by the backend, which names itself in [`BACKEND`].

use serde_json::{Value, json};

/// Set on requests by the routes; comes back as `x-bench-version-echo`.
pub(crate) const VERSION: &str = "x-bench-version";
/// The echo.
pub(crate) const VERSION_ECHO: &str = "x-bench-version-echo";
/// The backend's own name.
pub(crate) const BACKEND: &str = "x-bench-backend";
/// The Gateway's name.
pub(crate) const GATEWAY: &str = "bench";

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the kind")]
pub(crate) enum Kind {
    ConfigMap,
    EndpointSlice,
    Gateway,
    GatewayClass,
    HttpRoute,
    Lease,
    Namespace,
    Node,
    Secret,
    Service,
}

impl Kind {
    fn group(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::Namespace | Self::Node | Self::Secret | Self::Service => {
                "api/v1"
            }
            Self::EndpointSlice => "apis/discovery.k8s.io/v1",
            Self::Gateway | Self::GatewayClass | Self::HttpRoute => {
                "apis/gateway.networking.k8s.io/v1"
            }
            Self::Lease => "apis/coordination.k8s.io/v1",
        }
    }

    /// The plural in paths.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::EndpointSlice => "endpointslices",
            Self::Gateway => "gateways",
            Self::GatewayClass => "gatewayclasses",
            Self::HttpRoute => "httproutes",
            Self::Lease => "leases",
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Secret => "secrets",
            Self::Service => "services",
        }
    }

    /// The path of the collection, in a namespace unless that is empty.
    pub(crate) fn path(self, namespace: &str) -> String {
        match namespace {
            "" => format!("/{}/{}", self.group(), self.plural()),
            _ => format!("/{}/namespaces/{namespace}/{}", self.group(), self.plural()),
        }
    }

    fn object(self, kind: &str, namespace: &str, name: &str) -> Value {
        let group = self.group();
        let version = group.trim_start_matches("apis/").trim_start_matches("api/");
        let mut metadata = json!({"name": name});
        if !namespace.is_empty() {
            metadata["namespace"] = namespace.into();
        }
        json!({"apiVersion": version, "kind": kind, "metadata": metadata})
    }
}

/// A namespace.
pub(crate) fn namespace(name: &str) -> Value {
    Kind::Namespace.object("Namespace", "", name)
}

/// A class of `controller`.
pub(crate) fn class(name: &str, controller: &str) -> Value {
    let mut object = Kind::GatewayClass.object("GatewayClass", "", name);
    object["spec"] = json!({"controllerName": controller});
    object
}

/// The Gateway with one HTTP listener.
pub(crate) fn gateway(namespace: &str, class: &str, port: u16) -> Value {
    let mut object = Kind::Gateway.object("Gateway", namespace, GATEWAY);
    object["spec"] = json!({
        "gatewayClassName": class,
        "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}],
    });
    object
}

/// A Service without selector, and the EndpointSlice that leads to `address`.
pub(crate) fn service(
    namespace: &str,
    name: &str,
    (address, port): (&str, u16),
) -> [(Kind, Value); 2] {
    let mut service = Kind::Service.object("Service", namespace, name);
    service["spec"] = json!({"ports": [{"name": "http", "port": 80, "targetPort": port}]});
    let mut slice = Kind::EndpointSlice.object("EndpointSlice", namespace, name);
    slice["metadata"]["labels"] = json!({
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": "bench",
    });
    slice["addressType"] = if address.contains(':') { "IPv6" } else { "IPv4" }.into();
    slice["endpoints"] = json!([{"addresses": [address], "conditions": {"ready": true}}]);
    slice["ports"] = json!([{"name": "http", "port": port, "protocol": "TCP"}]);
    [(Kind::Service, service), (Kind::EndpointSlice, slice)]
}

/// A rule for a path: it sets the version and leads to a backend.
pub(crate) fn rule(path: &str, fields: &[(&str, &str)], backend: &str) -> Value {
    let set: Vec<Value> =
        fields.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "matches": [{"path": {"type": "PathPrefix", "value": path}}],
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": set}}],
        "backendRefs": [{"name": backend, "port": 80}],
    })
}

/// A route of our Gateway.
pub(crate) fn route(namespace: &str, name: &str, host: &str, rules: Vec<Value>) -> Value {
    let mut object = Kind::HttpRoute.object("HTTPRoute", namespace, name);
    object["spec"] = json!({
        "parentRefs": [{"name": GATEWAY}],
        "hostnames": [host],
        "rules": rules,
    });
    object
}

/// The name and host of one of the many other routes.
pub(crate) fn other(index: usize) -> (String, String) {
    (format!("r{index}"), format!("h{index}.bench.example"))
}

/// One of the many other routes.
pub(crate) fn other_route(namespace: &str, index: usize) -> Value {
    let (name, host) = other(index);
    route(namespace, &name, &host, vec![rule("/", &[(VERSION, &name)], "a")])
}

/// Objects that no gateway is interested in, and what to change in each.
pub(crate) fn unrelated(namespace: &str) -> Vec<(Kind, Value)> {
    let name = "unrelated";
    let mut secret = Kind::Secret.object("Secret", namespace, name);
    secret["stringData"] = json!({"key": "value"});
    let mut map = Kind::ConfigMap.object("ConfigMap", namespace, name);
    map["data"] = json!({"key": "value"});
    let mut lease = Kind::Lease.object("Lease", namespace, name);
    lease["spec"] = json!({"holderIdentity": "bench"});
    let mut service = Kind::Service.object("Service", namespace, name);
    service["spec"] = json!({"ports": [{"port": 80}]});
    vec![
        (Kind::Secret, secret),
        (Kind::ConfigMap, map),
        (Kind::Lease, lease),
        (Kind::Service, service),
    ]
}

/// Whether a status (of a Gateway, or of one parent of a route) holds a true condition.
pub(crate) fn holds(status: &Value, condition: &str) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == condition && one["status"] == "True")
}

/// Whether any controller accepted this generation of a route.
pub(crate) fn is_accepted(route: &Value) -> bool {
    let parents = route["status"]["parents"].as_array();
    parents.into_iter().flatten().any(|parent| holds(parent, "Accepted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_versions_follow_the_group() {
        assert_eq!(Kind::Secret.path("ns"), "/api/v1/namespaces/ns/secrets");
        assert_eq!(Kind::Lease.path(""), "/apis/coordination.k8s.io/v1/leases");
        assert_eq!(namespace("n")["apiVersion"], "v1");
        let route = other_route("ns", 7);
        assert_eq!(route["apiVersion"], "gateway.networking.k8s.io/v1");
        assert_eq!(route["metadata"], json!({"name": "r7", "namespace": "ns"}));
        assert_eq!(route["spec"]["hostnames"], json!(["h7.bench.example"]));
    }

    #[test]
    fn a_route_is_accepted_when_a_parent_says_true() {
        let route = |status: &str| {
            json!({"status": {"parents": [
                {"conditions": [{"type": "ResolvedRefs", "status": "True"}]},
                {"conditions": [{"type": "Accepted", "status": status}]},
            ]}})
        };
        assert!(is_accepted(&route("True")));
        assert!(!is_accepted(&route("False")));
        assert!(!is_accepted(&json!({})));
    }

    #[test]
    fn an_endpoint_has_the_family_of_its_address() {
        let [_, (_, slice)] = service("ns", "a", ("fd00::1", 9000));
        assert_eq!(slice["addressType"], "IPv6");
        let [_, (_, slice)] = service("ns", "a", ("10.0.0.1", 9000));
        assert_eq!(
            (&slice["addressType"], &slice["ports"][0]["port"]),
            (&json!("IPv4"), &json!(9000))
        );
    }
}
