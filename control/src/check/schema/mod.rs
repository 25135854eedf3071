//! The shapes of the kinds we read, as data: fields, types, enumerations, bounds.
//!
//! Follows the CRDs of Gateway API v1.7 and the Kubernetes API; fields of those APIs that are not
//! served are here too, so that a file that Kubernetes accepts is not called wrong for its shape.

use super::format::Format;
use crate::api::Kind;
use route::{GRPC_ROUTE, HTTP_ROUTE, STREAM_ROUTE, TLS_ROUTE};

/// The shape of a value.
#[derive(Debug)]
pub(super) enum Schema {
    /// Not looked into.
    Anything,
    /// `true` or `false`.
    Boolean,
    /// An integer within bounds.
    Integer { min: i64, max: i64 },
    /// One of some integers.
    OneOfIntegers(&'static [i64]),
    /// An integer or text.
    IntegerOrText,
    /// Text.
    Text(Text),
    /// A list; items differ in the field `unique` unless it is empty.
    List { item: &'static Self, min: usize, max: usize, unique: &'static str },
    /// An object with known fields.
    Object(&'static [Field]),
    /// An object with keys of the user's.
    Dictionary { key: Format, value: &'static Self, entries_max: usize },
}

/// Bounds of a text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) format: Format,
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) one_of: &'static [&'static str],
    /// Never shown in a message.
    pub(super) secret: bool,
}

/// A field of an object.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) schema: &'static Schema,
    pub(super) required: bool,
}

impl Schema {
    /// Its type, for a message.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Anything => "anything",
            Self::Boolean => "true or false",
            Self::Integer { .. } | Self::OneOfIntegers(_) => "an integer",
            Self::IntegerOrText => "an integer or text",
            Self::Text(_) => "text (put it in quotes if it looks like a number or true/false)",
            Self::List { .. } => "a list",
            Self::Object(_) | Self::Dictionary { .. } => "an object",
        }
    }

    /// Whether its values must not be shown.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::Text(Text { secret: true, .. }))
    }
}

/// The shape of an object of `kind`.
pub(super) fn of(kind: Kind) -> &'static Schema {
    match kind {
        Kind::BackendTlsPolicy => &BACKEND_TLS_POLICY,
        Kind::ClusterTrustBundle => &CLUSTER_TRUST_BUNDLE,
        Kind::ConfigMap => &CONFIG_MAP,
        Kind::EndpointSlice => &ENDPOINT_SLICE,
        Kind::Gateway => &GATEWAY,
        Kind::GatewayClass => &GATEWAY_CLASS,
        Kind::GrpcRoute => &GRPC_ROUTE,
        Kind::HttpRoute => &HTTP_ROUTE,
        Kind::ListenerSet => &LISTENER_SET,
        Kind::Namespace => &NAMESPACE,
        Kind::ReferenceGrant => &REFERENCE_GRANT,
        Kind::Secret => &SECRET,
        Kind::Service => &SERVICE,
        Kind::TcpRoute | Kind::UdpRoute => &STREAM_ROUTE,
        Kind::TlsRoute => &TLS_ROUTE,
    }
}

const fn text(format: Format, min: usize, max: usize) -> Schema {
    Schema::Text(Text { format, min, max, one_of: &[], secret: false })
}

const fn secret(format: Format) -> Schema {
    Schema::Text(Text { format, min: 0, max: usize::MAX, one_of: &[], secret: true })
}

const fn one_of(values: &'static [&'static str]) -> Schema {
    Schema::Text(Text {
        format: Format::Any,
        min: 0,
        max: usize::MAX,
        one_of: values,
        secret: false,
    })
}

const fn list(item: &'static Schema, min: usize, max: usize) -> Schema {
    Schema::List { item, min, max, unique: "" }
}

const fn set(item: &'static Schema, min: usize, max: usize, unique: &'static str) -> Schema {
    Schema::List { item, min, max, unique }
}

const fn required(name: &'static str, schema: &'static Schema) -> Field {
    Field { name, schema, required: true }
}

const fn optional(name: &'static str, schema: &'static Schema) -> Field {
    Field { name, schema, required: false }
}

static ANYTHING: Schema = Schema::Anything;
static BOOLEAN: Schema = Schema::Boolean;
static PORT: Schema = Schema::Integer { min: 1, max: 65535 };
static NAME: Schema = text(Format::Subdomain, 1, 253);
static GROUP: Schema = text(Format::Group, 0, 253);
static KIND: Schema = text(Format::Kind, 1, 63);
static LABEL: Schema = text(Format::Label, 1, 63);
static SECTION: Schema = text(Format::Subdomain, 1, 253);
static FREE_TEXT: Schema = text(Format::Any, 0, usize::MAX);

/// The fields of `metadata`, for names of this shape.
macro_rules! meta {
    ($name:expr) => {
        Schema::Object(&[
            required("name", $name),
            optional("namespace", &LABEL),
            optional("labels", &LABELS),
            optional("annotations", &ANNOTATIONS),
            optional("creationTimestamp", &TIME),
            optional("generation", &GENERATION),
            optional("uid", &ANYTHING),
            optional("resourceVersion", &ANYTHING),
            optional("generateName", &ANYTHING),
            optional("managedFields", &ANYTHING),
            optional("ownerReferences", &ANYTHING),
            optional("finalizers", &ANYTHING),
            optional("deletionTimestamp", &ANYTHING),
            optional("deletionGracePeriodSeconds", &ANYTHING),
            optional("selfLink", &ANYTHING),
        ])
    };
}
static META: Schema = meta!(&NAME);
static LABELS: Schema =
    Schema::Dictionary { key: Format::LabelKey, value: &LABEL_VALUE, entries_max: usize::MAX };
static LABEL_VALUE: Schema = text(Format::LabelValue, 0, 63);
static ANNOTATIONS: Schema =
    Schema::Dictionary { key: Format::LabelKey, value: &FREE_TEXT, entries_max: usize::MAX };
static TIME: Schema = text(Format::Time, 1, 64);
static GENERATION: Schema = Schema::Integer { min: 0, max: i64::MAX };

macro_rules! top {
    ($($field:expr),* $(,)?) => { top!(&META; $($field),*) };
    ($meta:expr; $($field:expr),*) => {
        Schema::Object(&[
            required("apiVersion", &ANYTHING),
            required("kind", &ANYTHING),
            required("metadata", $meta),
            optional("status", &ANYTHING),
            $($field),*
        ])
    };
}

mod route;

static NAMESPACE: Schema = top!(optional("spec", &ANYTHING));
static CONFIG_MAP: Schema = top!(
    optional("data", &TEXTS),
    optional("binaryData", &ANYTHING),
    optional("immutable", &BOOLEAN),
);
// Names hold colons: `example.com:signer:name`.
static CLUSTER_TRUST_BUNDLE: Schema =
    top!(&BUNDLE_META; required("spec", &CLUSTER_TRUST_BUNDLE_SPEC));
static BUNDLE_META: Schema = meta!(&OBJECT_NAME);
static CLUSTER_TRUST_BUNDLE_SPEC: Schema =
    Schema::Object(&[optional("signerName", &FREE_TEXT), required("trustBundle", &TRUST_BUNDLE)]);
static TRUST_BUNDLE: Schema = text(Format::Any, 1, usize::MAX);
static TEXTS: Schema =
    Schema::Dictionary { key: Format::Any, value: &FREE_TEXT, entries_max: usize::MAX };

static SECRET: Schema = top!(
    optional("type", &FREE_TEXT),
    optional("data", &SECRET_DATA),
    optional("stringData", &SECRET_TEXTS),
    optional("immutable", &BOOLEAN),
);
static SECRET_DATA: Schema =
    Schema::Dictionary { key: Format::Any, value: &SECRET_BYTES, entries_max: usize::MAX };
static SECRET_BYTES: Schema = secret(Format::Base64);
static SECRET_TEXTS: Schema =
    Schema::Dictionary { key: Format::Any, value: &SECRET_TEXT, entries_max: usize::MAX };
static SECRET_TEXT: Schema = secret(Format::Any);

static SERVICE: Schema = top!(optional("spec", &SERVICE_SPEC));
static SERVICE_SPEC: Schema = Schema::Object(&[
    optional("type", &SERVICE_TYPE),
    optional("externalName", &NAME),
    optional("ports", &SERVICE_PORTS),
    optional("selector", &ANYTHING),
    optional("clusterIP", &ANYTHING),
    optional("clusterIPs", &ANYTHING),
    optional("ipFamilies", &ANYTHING),
    optional("ipFamilyPolicy", &ANYTHING),
    optional("internalTrafficPolicy", &ANYTHING),
    optional("externalTrafficPolicy", &ANYTHING),
    optional("externalIPs", &ANYTHING),
    optional("sessionAffinity", &ANYTHING),
    optional("sessionAffinityConfig", &ANYTHING),
    optional("loadBalancerIP", &ANYTHING),
    optional("loadBalancerClass", &ANYTHING),
    optional("loadBalancerSourceRanges", &ANYTHING),
    optional("allocateLoadBalancerNodePorts", &ANYTHING),
    optional("healthCheckNodePort", &ANYTHING),
    optional("publishNotReadyAddresses", &ANYTHING),
    optional("trafficDistribution", &ANYTHING),
]);
static SERVICE_TYPE: Schema = one_of(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
static SERVICE_PORTS: Schema = list(&SERVICE_PORT, 0, usize::MAX);
static SERVICE_PORT: Schema = Schema::Object(&[
    optional("name", &LABEL),
    required("port", &PORT),
    optional("targetPort", &Schema::IntegerOrText),
    optional("protocol", &TRANSPORT),
    optional("appProtocol", &FREE_TEXT),
    optional("nodePort", &ANYTHING),
]);
static TRANSPORT: Schema = one_of(&["SCTP", "TCP", "UDP"]);

static ENDPOINT_SLICE: Schema = top!(
    required("addressType", &ADDRESS_FAMILY),
    optional("endpoints", &ENDPOINTS),
    optional("ports", &ENDPOINT_PORTS),
);
static ADDRESS_FAMILY: Schema = one_of(&["FQDN", "IPv4", "IPv6"]);
static ENDPOINTS: Schema = list(&ENDPOINT, 0, 1000);
static ENDPOINT: Schema = Schema::Object(&[
    required("addresses", &ENDPOINT_ADDRESSES),
    optional("conditions", &ENDPOINT_CONDITIONS),
    optional("hostname", &ANYTHING),
    optional("targetRef", &ANYTHING),
    optional("deprecatedTopology", &ANYTHING),
    optional("nodeName", &ANYTHING),
    optional("zone", &ANYTHING),
    optional("hints", &ANYTHING),
]);
static ENDPOINT_ADDRESSES: Schema = list(&FREE_TEXT, 1, 100);
static ENDPOINT_CONDITIONS: Schema = Schema::Object(&[
    optional("ready", &BOOLEAN),
    optional("serving", &BOOLEAN),
    optional("terminating", &BOOLEAN),
]);
static ENDPOINT_PORTS: Schema = list(&ENDPOINT_PORT, 0, 100);
static ENDPOINT_PORT: Schema = Schema::Object(&[
    optional("name", &FREE_TEXT),
    optional("port", &PORT),
    optional("protocol", &TRANSPORT),
    optional("appProtocol", &FREE_TEXT),
]);

static GATEWAY_CLASS: Schema = top!(required("spec", &GATEWAY_CLASS_SPEC));
static GATEWAY_CLASS_SPEC: Schema = Schema::Object(&[
    required("controllerName", &CONTROLLER_NAME),
    optional("description", &DESCRIPTION),
    optional("parametersRef", &PARAMETERS_REF),
]);
static CONTROLLER_NAME: Schema = text(Format::ControllerName, 1, 253);
static DESCRIPTION: Schema = text(Format::Any, 0, 64);
static PARAMETERS_REF: Schema = Schema::Object(&[
    required("group", &GROUP),
    required("kind", &KIND),
    required("name", &NAME),
    optional("namespace", &LABEL),
]);

static REFERENCE_GRANT: Schema = top!(required("spec", &REFERENCE_GRANT_SPEC));
static REFERENCE_GRANT_SPEC: Schema =
    Schema::Object(&[required("from", &GRANTS_FROM), required("to", &GRANTS_TO)]);
static GRANTS_FROM: Schema = list(&GRANT_FROM, 1, 16);
static GRANT_FROM: Schema = Schema::Object(&[
    required("group", &GROUP),
    required("kind", &KIND),
    required("namespace", &LABEL),
]);
static GRANTS_TO: Schema = list(&GRANT_TO, 1, 16);
static GRANT_TO: Schema =
    Schema::Object(&[required("group", &GROUP), required("kind", &KIND), optional("name", &NAME)]);

static GATEWAY: Schema = top!(required("spec", &GATEWAY_SPEC));
static GATEWAY_SPEC: Schema = Schema::Object(&[
    required("gatewayClassName", &NAME),
    required("listeners", &LISTENERS),
    optional("addresses", &ADDRESSES),
    optional("infrastructure", &INFRASTRUCTURE),
    optional("allowedListeners", &ALLOWED_LISTENERS),
    optional("defaultScope", &ANYTHING),
    optional("tls", &GATEWAY_TLS),
]);
static ALLOWED_LISTENERS: Schema = Schema::Object(&[optional("namespaces", &NAMESPACES)]);
static GATEWAY_TLS: Schema =
    Schema::Object(&[optional("backend", &BACKEND_TLS), optional("frontend", &FRONTEND_TLS)]);
static BACKEND_TLS: Schema = Schema::Object(&[optional("clientCertificateRef", &CERTIFICATE_REF)]);
static FRONTEND_TLS: Schema =
    Schema::Object(&[required("default", &TLS_CONFIG), optional("perPort", &PORTS_TLS)]);
static TLS_CONFIG: Schema = Schema::Object(&[optional("validation", &FRONTEND_VALIDATION)]);
static FRONTEND_VALIDATION: Schema =
    Schema::Object(&[required("caCertificateRefs", &CA_REFS), optional("mode", &FRONTEND_MODE)]);
static FRONTEND_MODE: Schema = one_of(&["AllowInsecureFallback", "AllowValidOnly"]);
static CA_REFS: Schema = list(&CA_REF, 1, 16);
static CA_REF: Schema = Schema::Object(&[
    required("group", &GROUP),
    required("kind", &KIND),
    required("name", &OBJECT_NAME),
    optional("namespace", &LABEL),
]);
static PORTS_TLS: Schema = set(&PORT_TLS, 0, 64, "port");
static PORT_TLS: Schema = Schema::Object(&[required("port", &PORT), required("tls", &TLS_CONFIG)]);

static LISTENER_SET: Schema = top!(required("spec", &LISTENER_SET_SPEC));
static LISTENER_SET_SPEC: Schema =
    Schema::Object(&[required("parentRef", &PARENT_GATEWAY), required("listeners", &LISTENERS)]);
static PARENT_GATEWAY: Schema = Schema::Object(&[
    optional("group", &GROUP),
    optional("kind", &KIND),
    required("name", &NAME),
    optional("namespace", &LABEL),
]);

static BACKEND_TLS_POLICY: Schema = top!(required("spec", &BACKEND_TLS_POLICY_SPEC));
static BACKEND_TLS_POLICY_SPEC: Schema = Schema::Object(&[
    required("targetRefs", &POLICY_TARGETS),
    required("validation", &BACKEND_VALIDATION),
    optional("options", &ANYTHING),
]);
static BACKEND_VALIDATION: Schema = Schema::Object(&[
    optional("caCertificateRefs", &LOCAL_CA_REFS),
    optional("wellKnownCACertificates", &WELL_KNOWN),
    required("hostname", &HOSTNAME),
    optional("subjectAltNames", &SUBJECT_ALT_NAMES),
]);
static LOCAL_CA_REFS: Schema = list(&LOCAL_CA_REF, 0, 8);
static LOCAL_CA_REF: Schema = Schema::Object(&[
    required("group", &GROUP),
    required("kind", &KIND),
    required("name", &OBJECT_NAME),
]);
static OBJECT_NAME: Schema = text(Format::Any, 1, 253);
static WELL_KNOWN: Schema = text(Format::Any, 1, 253);
static SUBJECT_ALT_NAMES: Schema = list(&SUBJECT_ALT_NAME, 0, 5);
static SUBJECT_ALT_NAME: Schema = Schema::Object(&[
    required("type", &SUBJECT_ALT_NAME_TYPE),
    optional("hostname", &WILDCARD_HOSTNAME),
    optional("uri", &SUBJECT_ALT_NAME_URI),
]);
static SUBJECT_ALT_NAME_TYPE: Schema = one_of(&["Hostname", "URI"]);
static SUBJECT_ALT_NAME_URI: Schema = text(Format::AbsoluteUri, 1, 253);
static POLICY_TARGETS: Schema = list(&POLICY_TARGET, 1, 16);
static POLICY_TARGET: Schema = Schema::Object(&[
    required("group", &GROUP),
    required("kind", &KIND),
    required("name", &NAME),
    optional("sectionName", &SECTION),
]);

static LISTENERS: Schema = set(&LISTENER, 1, 64, "name");
static LISTENER: Schema = Schema::Object(&[
    required("name", &SECTION),
    optional("hostname", &WILDCARD_HOSTNAME),
    required("port", &PORT),
    required("protocol", &PROTOCOL),
    optional("tls", &LISTENER_TLS),
    optional("allowedRoutes", &ALLOWED_ROUTES),
    optional("filters", &route::LISTENER_FILTERS),
]);
static HOSTNAME: Schema = text(Format::Hostname, 1, 253);
static WILDCARD_HOSTNAME: Schema = text(Format::WildcardHostname, 1, 253);
static PROTOCOL: Schema = text(Format::Protocol, 1, 255);
static LISTENER_TLS: Schema = Schema::Object(&[
    optional("mode", &TLS_MODE),
    optional("certificateRefs", &CERTIFICATE_REFS),
    optional("options", &ANYTHING),
]);
static TLS_MODE: Schema = one_of(&["Passthrough", "Terminate"]);
static CERTIFICATE_REFS: Schema = list(&CERTIFICATE_REF, 0, 64);
static CERTIFICATE_REF: Schema = Schema::Object(&[
    optional("group", &GROUP),
    optional("kind", &KIND),
    required("name", &NAME),
    optional("namespace", &LABEL),
]);
static ALLOWED_ROUTES: Schema =
    Schema::Object(&[optional("namespaces", &NAMESPACES), optional("kinds", &ROUTE_KINDS)]);
static NAMESPACES: Schema =
    Schema::Object(&[optional("from", &FROM_NAMESPACES), optional("selector", &SELECTOR)]);
static FROM_NAMESPACES: Schema = one_of(&["All", "None", "Same", "Selector"]);
static SELECTOR: Schema =
    Schema::Object(&[optional("matchLabels", &LABELS), optional("matchExpressions", &EXPRESSIONS)]);
static EXPRESSIONS: Schema = list(&EXPRESSION, 0, usize::MAX);
static EXPRESSION: Schema = Schema::Object(&[
    required("key", &LABEL_KEY),
    required("operator", &OPERATOR),
    optional("values", &LABEL_VALUES),
]);
static LABEL_KEY: Schema = text(Format::LabelKey, 1, 317);
static OPERATOR: Schema = one_of(&["DoesNotExist", "Exists", "In", "NotIn"]);
static LABEL_VALUES: Schema = list(&LABEL_VALUE, 0, usize::MAX);
static ROUTE_KINDS: Schema = list(&ROUTE_KIND, 0, 8);
static ROUTE_KIND: Schema = Schema::Object(&[optional("group", &GROUP), required("kind", &KIND)]);
static ADDRESSES: Schema = list(&ADDRESS, 0, 16);
static ADDRESS: Schema = Schema::Object(&[
    optional("type", &FREE_TEXT),
    optional("value", &ADDRESS_VALUE),
    optional("routability", &ROUTABILITY),
]);
static ROUTABILITY: Schema = text(Format::Routability, 0, 253);
static ADDRESS_VALUE: Schema = text(Format::Any, 0, 253);
static INFRASTRUCTURE: Schema = Schema::Object(&[
    optional("labels", &LABELS),
    optional("annotations", &ANNOTATIONS),
    optional("parametersRef", &PARAMETERS_REF),
]);
