//! discovery.k8s.io/v1 EndpointSlice.

use std::sync::Arc;

use serde::Deserialize;

use super::Meta;

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    pub metadata: Meta,
    pub address_type: Arc<str>,
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<EndpointPort>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    pub addresses: Vec<Arc<str>>,
    pub conditions: EndpointConditions,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointConditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointPort {
    pub name: Arc<str>,
    pub port: Option<u16>,
    pub protocol: Option<Arc<str>>,
}

impl EndpointSlice {
    /// The Service whose endpoints these are.
    #[must_use]
    pub fn service(&self) -> Option<&Arc<str>> {
        self.metadata.labels.get("kubernetes.io/service-name")
    }
}
