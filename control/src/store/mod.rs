//! The newest version of every object, and cheap snapshots of all of them.
//!
//! Filled by [`crate::files`] (and later by watchers), read by [`crate::translate`]. Keeps one thing
//! beside the objects: the last certificate of each Secret that could be used, so that a Secret which
//! turns bad keeps serving while translation stays a pure function of the snapshot. A trust bundle that
//! turns bad is trusted no longer. Invariant: a snapshot never changes, and a map that did not change
//! keeps its address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use proxy::ir;

use crate::api::{
    BackendTlsPolicy, ClusterTrustBundle, ConfigMap, EndpointSlice, Gateway, GatewayClass,
    GrpcRoute, HttpRoute, Kind, ListenerSet, Name, Namespace, Object, ReferenceGrant, Secret,
    Service, StreamRoute,
};
use crate::translate::Addressing;

/// All objects at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// BackendTLSPolicies.
    pub backend_tls_policies: Arc<BTreeMap<Name, Arc<BackendTlsPolicy>>>,
    /// ClusterTrustBundles.
    pub cluster_trust_bundles: Arc<BTreeMap<Name, Arc<ClusterTrustBundle>>>,
    /// ConfigMaps.
    pub config_maps: Arc<BTreeMap<Name, Arc<ConfigMap>>>,
    /// EndpointSlices.
    pub endpoint_slices: Arc<BTreeMap<Name, Arc<EndpointSlice>>>,
    /// Gateways.
    pub gateways: Arc<BTreeMap<Name, Arc<Gateway>>>,
    /// GatewayClasses.
    pub gateway_classes: Arc<BTreeMap<Name, Arc<GatewayClass>>>,
    /// GRPCRoutes.
    pub grpc_routes: Arc<BTreeMap<Name, Arc<GrpcRoute>>>,
    /// HTTPRoutes.
    pub http_routes: Arc<BTreeMap<Name, Arc<HttpRoute>>>,
    /// ListenerSets.
    pub listener_sets: Arc<BTreeMap<Name, Arc<ListenerSet>>>,
    /// Namespaces.
    pub namespaces: Arc<BTreeMap<Name, Arc<Namespace>>>,
    /// ReferenceGrants.
    pub reference_grants: Arc<BTreeMap<Name, Arc<ReferenceGrant>>>,
    /// Secrets.
    pub secrets: Arc<BTreeMap<Name, Arc<Secret>>>,
    /// Services.
    pub services: Arc<BTreeMap<Name, Arc<Service>>>,
    /// TCPRoutes.
    pub tcp_routes: Arc<BTreeMap<Name, Arc<StreamRoute>>>,
    /// TLSRoutes.
    pub tls_routes: Arc<BTreeMap<Name, Arc<StreamRoute>>>,
    /// UDPRoutes.
    pub udp_routes: Arc<BTreeMap<Name, Arc<StreamRoute>>>,
    /// The certificate of each TLS Secret.
    pub certificates: Arc<BTreeMap<Name, SecretCertificate>>,
    /// What each object that may hold a trust bundle holds.
    pub bundles: Arc<BTreeMap<(Kind, Name), Bundle>>,
    /// Addresses of DNS names that Services lead to.
    pub resolved: Arc<HashMap<Arc<str>, Vec<IpAddr>>>,
    /// A class that needs no GatewayClass object (`--class`), for running from files.
    pub implicit_class: Option<Arc<str>>,
    /// Version of the Gateway API's definitions in the cluster (`v1.7.0`), if it is known.
    pub bundle_version: Option<Arc<str>>,
    /// Statuses of Gateways in the cluster may lack the field `routability`.
    pub lacks_routability: bool,
    /// The cluster does not have the kind ClusterTrustBundle.
    pub lacks_trust_bundles: bool,
    /// Addresses to show in the status of Gateways that ask for none.
    pub host_addresses: Arc<[IpAddr]>,
    /// Where the addresses of Gateways come from.
    pub addressing: Addressing,
    /// The Service that selects our own replicas, if there is one.
    pub replicas: Option<Name>,
    /// Objects come from a cluster, whose users are not the operator of this process.
    pub is_cluster: bool,
}

/// What became of the certificate in a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretCertificate {
    /// The newest certificate that could be used; `None` if there never was one.
    pub usable: Option<Arc<ir::Certificate>>,
    /// Why the Secret's present content cannot be used, if so.
    pub fault: Option<Arc<str>>,
}

/// DER certificates of the authorities in a trust bundle, or why there are none.
pub type Bundle = Result<Arc<Vec<Vec<u8>>>, Arc<str>>;

/// The store.
#[derive(Debug, Default)]
pub struct Store {
    snapshot: Snapshot,
}

impl Store {
    /// An empty store for one process.
    #[must_use]
    pub fn new(implicit_class: Option<Arc<str>>, host_addresses: Arc<[IpAddr]>) -> Self {
        Self { snapshot: Snapshot { implicit_class, host_addresses, ..Snapshot::default() } }
    }

    /// With the addresses of Gateways from `addressing`, and `replicas` as the Service that selects
    /// the replicas of this process.
    #[must_use]
    pub fn with_addressing(mut self, addressing: Addressing, replicas: Option<Name>) -> Self {
        self.snapshot.addressing = addressing;
        self.snapshot.replicas = replicas;
        self
    }

    /// For the objects of a cluster, whose users are not the operator of this process.
    #[must_use]
    pub fn of_cluster(mut self) -> Self {
        self.snapshot.is_cluster = true;
        self
    }

    /// Everything as it is now; costs a few reference counts.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// Adds or replaces an object; says whether that changed anything.
    pub fn put(&mut self, object: Object) -> bool {
        let name = object.meta().full_name();
        let kind = object.kind();
        let all = &mut self.snapshot;
        match object {
            Object::BackendTlsPolicy(object) => insert(&mut all.backend_tls_policies, name, object),
            Object::ClusterTrustBundle(object) => {
                if all.cluster_trust_bundles.get(&name) == Some(&object) {
                    return false;
                }
                let bundle = read_bundle(&object.spec.trust_bundle);
                insert(&mut all.bundles, (kind, name.clone()), bundle);
                insert(&mut all.cluster_trust_bundles, name, object)
            }
            Object::ConfigMap(object) => {
                if all.config_maps.get(&name) == Some(&object) {
                    return false;
                }
                let text = object.data.ca.as_deref();
                let bundle = text.map_or_else(|| Err("it has no key ca.crt".into()), read_bundle);
                insert(&mut all.bundles, (kind, name.clone()), bundle);
                insert(&mut all.config_maps, name, object)
            }
            Object::EndpointSlice(object) => insert(&mut all.endpoint_slices, name, object),
            Object::Gateway(object) => insert(&mut all.gateways, name, object),
            Object::GatewayClass(object) => insert(&mut all.gateway_classes, name, object),
            Object::HttpRoute(object) => insert(&mut all.http_routes, name, object),
            Object::ListenerSet(object) => insert(&mut all.listener_sets, name, object),
            Object::GrpcRoute(object) => insert(&mut all.grpc_routes, name, object),
            Object::Namespace(object) => insert(&mut all.namespaces, name, object),
            Object::ReferenceGrant(object) => insert(&mut all.reference_grants, name, object),
            Object::Secret(object) => {
                if all.secrets.get(&name) == Some(&object) {
                    return false;
                }
                self.put_certificate(&name, &object);
                insert(&mut self.snapshot.secrets, name, object)
            }
            Object::Service(object) => insert(&mut all.services, name, object),
            Object::TcpRoute(object) => insert(&mut all.tcp_routes, name, object),
            Object::TlsRoute(object) => insert(&mut all.tls_routes, name, object),
            Object::UdpRoute(object) => insert(&mut all.udp_routes, name, object),
        }
    }

    /// Removes an object; a Secret's last good certificate goes with it. Says whether it was there.
    pub fn remove(&mut self, kind: Kind, name: &Name) -> bool {
        let all = &mut self.snapshot;
        match kind {
            Kind::BackendTlsPolicy => remove(&mut all.backend_tls_policies, name),
            Kind::ClusterTrustBundle => {
                remove(&mut all.bundles, &(kind, name.clone()));
                remove(&mut all.cluster_trust_bundles, name)
            }
            Kind::ConfigMap => {
                remove(&mut all.bundles, &(kind, name.clone()));
                remove(&mut all.config_maps, name)
            }
            Kind::EndpointSlice => remove(&mut all.endpoint_slices, name),
            Kind::Gateway => remove(&mut all.gateways, name),
            Kind::GatewayClass => remove(&mut all.gateway_classes, name),
            Kind::HttpRoute => remove(&mut all.http_routes, name),
            Kind::ListenerSet => remove(&mut all.listener_sets, name),
            Kind::GrpcRoute => remove(&mut all.grpc_routes, name),
            Kind::Namespace => remove(&mut all.namespaces, name),
            Kind::ReferenceGrant => remove(&mut all.reference_grants, name),
            Kind::Secret => {
                remove(&mut all.certificates, name);
                remove(&mut all.secrets, name)
            }
            Kind::Service => remove(&mut all.services, name),
            Kind::TcpRoute => remove(&mut all.tcp_routes, name),
            Kind::TlsRoute => remove(&mut all.tls_routes, name),
            Kind::UdpRoute => remove(&mut all.udp_routes, name),
        }
    }

    /// Takes note of the version of the Gateway API's definitions.
    pub fn set_bundle_version(&mut self, version: Option<Arc<str>>) {
        self.snapshot.bundle_version = version;
    }

    /// Takes note of whether statuses of Gateways may lack the field `routability`.
    pub fn set_lacks_routability(&mut self, lacks: bool) {
        self.snapshot.lacks_routability = lacks;
    }

    /// Takes note of whether the cluster lacks the kind ClusterTrustBundle.
    pub fn set_lacks_trust_bundles(&mut self, lacks: bool) {
        self.snapshot.lacks_trust_bundles = lacks;
    }

    /// Takes new answers of the resolver.
    pub fn set_resolved(&mut self, resolved: HashMap<Arc<str>, Vec<IpAddr>>) {
        if *self.snapshot.resolved != resolved {
            self.snapshot.resolved = Arc::new(resolved);
        }
    }

    fn put_certificate(&mut self, name: &Name, secret: &Secret) {
        if &*secret.kind != TLS_SECRET_TYPE {
            remove(&mut self.snapshot.certificates, name);
            return;
        }
        let before = self.snapshot.certificates.get(name).and_then(|entry| entry.usable.clone());
        let entry = match read_certificate(name, secret) {
            Ok(certificate) => {
                let same = before.filter(|before| **before == certificate);
                let usable = same.unwrap_or_else(|| Arc::new(certificate));
                SecretCertificate { usable: Some(usable), fault: None }
            }
            Err(fault) => SecretCertificate { usable: before, fault: Some(fault.into()) },
        };
        insert(&mut self.snapshot.certificates, name.clone(), entry);
    }
}

fn read_certificate(name: &Name, secret: &Secret) -> Result<ir::Certificate, String> {
    let chain = secret.bytes("tls.crt")?;
    let key = secret.bytes("tls.key")?;
    let certificate = proxy::tls::read_pem(&name.to_string(), &chain, &key)?;
    proxy::tls::check_certificate(&certificate)?;
    Ok(certificate)
}

fn read_bundle(text: &str) -> Bundle {
    proxy::tls::read_roots(text.as_bytes()).map(Arc::new).map_err(Arc::from)
}

fn insert<K, T>(map: &mut Arc<BTreeMap<K, T>>, name: K, value: T) -> bool
where
    K: Clone + Ord,
    T: Clone + PartialEq,
{
    let is_new = map.get(&name) != Some(&value);
    if is_new {
        Arc::make_mut(map).insert(name, value);
    }
    is_new
}

fn remove<K: Clone + Ord, T: Clone>(map: &mut Arc<BTreeMap<K, T>>, name: &K) -> bool {
    let is_there = map.contains_key(name);
    if is_there {
        Arc::make_mut(map).remove(name);
    }
    is_there
}

/// The Secrets that hold a certificate.
pub const TLS_SECRET_TYPE: &str = "kubernetes.io/tls";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Node;

    const SECRET: &str = include_str!("../../../k8s/examples/quickstart/secret.yaml");

    fn put(store: &mut Store, text: &str) -> SecretCertificate {
        let node: Node = crate::yaml::parse(text).0.remove(0);
        store.put(Kind::Secret.decode(&node).unwrap());
        store.snapshot().certificates[&Name::new("default", "quickstart-tls")].clone()
    }

    #[test]
    fn a_secret_that_turned_bad_keeps_its_last_good_certificate() {
        let mut store = Store::default();
        let good = put(&mut store, SECRET);
        assert!(good.usable.is_some() && good.fault.is_none());
        let bad = put(&mut store, &SECRET.replace("tls.key: ", "tls.key: AAAA"));
        assert!(bad.fault.is_some(), "the key is broken");
        let (good, bad) = (good.usable.unwrap(), bad.usable.unwrap());
        assert!(Arc::ptr_eq(&good, &bad));
        let healed = put(&mut store, SECRET);
        assert!(healed.fault.is_none() && Arc::ptr_eq(&good, &healed.usable.unwrap()));
    }

    #[test]
    fn a_secret_that_was_never_good_has_no_certificate_and_a_removed_one_is_forgotten() {
        let mut store = Store::default();
        let broken = SECRET.replace("tls.crt: ", "tls.crt: AAAA");
        assert_eq!(put(&mut store, &broken).usable, None);
        put(&mut store, SECRET);
        store.remove(Kind::Secret, &Name::new("default", "quickstart-tls"));
        assert_eq!(put(&mut store, &broken).usable, None);
    }
}
