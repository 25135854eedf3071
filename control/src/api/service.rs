//! v1 Service.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::Meta;

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Service {
    pub metadata: Meta,
    pub spec: ServiceSpec,
    pub status: ServiceStatus,
}

/// What became of a Service, as far as it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    pub load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    pub ingress: Vec<Ingress>,
}

/// An address of a load balancer; one of the two is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    pub ip: Option<Arc<str>>,
    pub hostname: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    pub external_name: Option<Arc<str>>,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<Arc<str>>,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<Arc<str>>,
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    pub name: Arc<str>,
    pub port: u16,
    pub target_port: Option<TargetPort>,
    pub protocol: Option<Arc<str>>,
    pub app_protocol: Option<Arc<str>>,
}

impl ServiceSpec {
    /// Its ClusterIPs, the first one first; none of a Service that is headless or new.
    #[must_use]
    pub fn cluster_addresses(&self) -> Vec<IpAddr> {
        let first = self.cluster_ip.iter().filter(|_| self.cluster_ips.is_empty());
        self.cluster_ips.iter().chain(first).filter_map(|ip| ip.parse().ok()).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TargetPort {
    Number(u16),
    Named(Arc<str>),
}
