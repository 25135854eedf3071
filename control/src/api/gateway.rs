//! Gateway.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CaCertificateRef, GATEWAY_GROUP, ListenerFilters, Meta};

/// A Gateway.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gateway {
    pub metadata: Meta,
    pub spec: GatewaySpec,
    pub status: GatewayObserved,
}

/// What the status of a Gateway shows, as far as it is read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GatewayObserved {
    pub addresses: Vec<GatewayAddress>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewaySpec {
    pub gateway_class_name: Arc<str>,
    pub listeners: Vec<Listener>,
    pub addresses: Vec<GatewayAddress>,
    pub infrastructure: Infrastructure,
    pub allowed_listeners: AllowedListeners,
    pub tls: GatewayTls,
    /// Routes that need not name it; not supported, kept so that it is told.
    pub default_scope: Option<Arc<str>>,
}

/// Which ListenerSets may add listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AllowedListeners {
    pub namespaces: ListenerNamespaces,
}

/// Like [`NamespaceScope`], but none unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ListenerNamespaces {
    pub from: FromNamespaces,
    pub selector: Option<LabelSelector>,
}

impl Default for ListenerNamespaces {
    fn default() -> Self {
        Self { from: FromNamespaces::None, selector: None }
    }
}

/// Client certificates, either side.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewayTls {
    pub backend: BackendTls,
    pub frontend: FrontendTls,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BackendTls {
    /// What backends that are spoken to by TLS are shown.
    pub client_certificate_ref: Option<CertificateRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FrontendTls {
    #[serde(rename = "default")]
    pub base: TlsConfig,
    /// Instead of the default on that port.
    pub per_port: Vec<PortTls>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TlsConfig {
    pub validation: Option<FrontendValidation>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FrontendValidation {
    pub ca_certificate_refs: Vec<CaCertificateRef>,
    pub mode: ValidationMode,
}

open_enum! {
    /// What becomes of clients without a valid certificate.
    ValidationMode {
        AllowValidOnly = "AllowValidOnly",
        AllowInsecureFallback = "AllowInsecureFallback",
    } default AllowValidOnly
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PortTls {
    pub port: u16,
    pub tls: TlsConfig,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Infrastructure {
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    pub parameters_ref: Option<serde_json::Value>,
}

/// A listener of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Listener {
    pub name: Arc<str>,
    pub hostname: Option<Arc<str>>,
    pub port: u16,
    pub protocol: Protocol,
    pub tls: Option<ListenerTls>,
    pub allowed_routes: AllowedRoutes,
    /// Filters before routing.
    pub filters: Option<ListenerFilters>,
}

open_enum! {
    /// What a listener speaks.
    Protocol {
        Http = "HTTP",
        Https = "HTTPS",
        Tcp = "TCP",
        Tls = "TLS",
        Udp = "UDP",
    } default Http
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListenerTls {
    pub mode: TlsMode,
    pub certificate_refs: Vec<CertificateRef>,
    /// Other implementations' settings; not supported, kept so that it is told.
    pub options: Option<serde_json::Value>,
}

open_enum! {
    /// Who ends TLS.
    TlsMode {
        Terminate = "Terminate",
        Passthrough = "Passthrough",
    } default Terminate
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    #[serde(default)]
    pub group: Arc<str>,
    #[serde(default = "secret_kind")]
    pub kind: Arc<str>,
    #[serde(default)]
    pub name: Arc<str>,
    #[serde(default)]
    pub namespace: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AllowedRoutes {
    pub namespaces: NamespaceScope,
    pub kinds: Vec<RouteKind>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamespaceScope {
    pub from: FromNamespaces,
    pub selector: Option<LabelSelector>,
}

open_enum! {
    /// From which namespaces routes may attach.
    FromNamespaces {
        All = "All",
        None = "None",
        Same = "Same",
        Selector = "Selector",
    } default Same
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteKind {
    #[serde(default = "gateway_group")]
    pub group: Arc<str>,
    #[serde(default)]
    pub kind: Arc<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    pub match_labels: BTreeMap<Arc<str>, Arc<str>>,
    pub match_expressions: Vec<SelectorRequirement>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SelectorRequirement {
    pub key: Arc<str>,
    pub operator: Operator,
    pub values: Vec<Arc<str>>,
}

open_enum! {
    /// How a label is compared.
    Operator {
        In = "In",
        NotIn = "NotIn",
        Exists = "Exists",
        DoesNotExist = "DoesNotExist",
    } default In
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewayAddress {
    #[serde(rename = "type")]
    pub kind: AddressType,
    pub value: Option<Arc<str>>,
    pub routability: Routability,
}

open_enum! {
    /// From where an address can be reached.
    Routability {
        Default = "",
        Cluster = "Cluster",
        Sentinel = "testing.x-k8s.io/sentinel",
    } default Default
}

open_enum! {
    /// What a Gateway's address is.
    AddressType {
        IpAddress = "IPAddress",
        Hostname = "Hostname",
    } default IpAddress
}

impl LabelSelector {
    /// Whether it selects an object with these labels. An unknown operator selects nothing.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<Arc<str>, Arc<str>>) -> bool {
        let equal = self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        equal
            && self.match_expressions.iter().all(|requirement| {
                let label = labels.get(&requirement.key);
                let listed = label.is_some_and(|label| requirement.values.contains(label));
                match requirement.operator {
                    Operator::In => listed,
                    Operator::NotIn => !listed,
                    Operator::Exists => label.is_some(),
                    Operator::DoesNotExist => label.is_none(),
                    Operator::Unknown(_) => false,
                }
            })
    }
}

fn gateway_group() -> Arc<str> {
    GATEWAY_GROUP.into()
}

fn secret_kind() -> Arc<str> {
    "Secret".into()
}
