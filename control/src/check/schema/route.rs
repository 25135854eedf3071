//! The shapes of routes.

use super::{
    ANYTHING, BOOLEAN, GROUP, HOSTNAME, KIND, LABEL, META, NAME, PORT, SECTION, Schema,
    WILDCARD_HOSTNAME, list, one_of, optional, required, set, text,
};
use crate::check::format::Format;

/// A reference to a backend, with the fields that it has beside those of all.
macro_rules! backend_ref {
    ($($field:expr),* $(,)?) => {
        Schema::Object(&[
            optional("group", &GROUP),
            optional("kind", &KIND),
            required("name", &NAME),
            optional("namespace", &LABEL),
            optional("port", &PORT),
            $($field),*
        ])
    };
}

pub(super) static HTTP_ROUTE: Schema = top!(required("spec", &HTTP_ROUTE_SPEC));
static HTTP_ROUTE_SPEC: Schema = Schema::Object(&[
    optional("parentRefs", &PARENT_REFS),
    optional("hostnames", &HOSTNAMES),
    optional("rules", &RULES),
    optional("useDefaultGateways", &ANYTHING),
]);
static PARENT_REFS: Schema = list(&PARENT_REF, 0, 32);
static PARENT_REF: Schema = Schema::Object(&[
    optional("group", &GROUP),
    optional("kind", &KIND),
    optional("namespace", &LABEL),
    required("name", &NAME),
    optional("sectionName", &SECTION),
    optional("port", &PORT),
]);
static HOSTNAMES: Schema = list(&WILDCARD_HOSTNAME, 0, 16);
static RULES: Schema = set(&RULE, 1, 16, "name");
static RULE: Schema = Schema::Object(&[
    optional("name", &SECTION),
    optional("matches", &MATCHES),
    optional("filters", &FILTERS),
    optional("backendRefs", &BACKEND_REFS),
    optional("timeouts", &TIMEOUTS),
    optional("retry", &RETRY),
    optional("sessionPersistence", &ANYTHING),
]);
static TIMEOUTS: Schema =
    Schema::Object(&[optional("request", &DURATION), optional("backendRequest", &DURATION)]);
static DURATION: Schema = text(Format::Duration, 1, 32);
static RETRY: Schema = Schema::Object(&[
    optional("codes", &RETRY_CODES),
    optional("attempts", &RETRY_ATTEMPTS),
    optional("backoff", &DURATION),
]);
static RETRY_CODES: Schema = list(&RETRY_CODE, 0, 200);
static RETRY_CODE: Schema = Schema::Integer { min: 400, max: 599 };
static RETRY_ATTEMPTS: Schema =
    Schema::Integer { min: 0, max: proxy::limits::RETRY_ATTEMPTS_MAX as i64 };
static MATCHES: Schema = list(&MATCH, 0, 64);
static MATCH: Schema = Schema::Object(&[
    optional("path", &PATH_MATCH),
    optional("headers", &HEADER_MATCHES),
    optional("queryParams", &QUERY_MATCHES),
    optional("method", &METHOD),
]);
static PATH_MATCH: Schema =
    Schema::Object(&[optional("type", &PATH_TYPE), optional("value", &PATH_VALUE)]);
static PATH_TYPE: Schema = one_of(&["Exact", "PathPrefix", "RegularExpression"]);
static PATH_VALUE: Schema = text(Format::Any, 0, 1024);
static HEADER_MATCHES: Schema = set(&HEADER_MATCH, 0, 16, "name");
static HEADER_MATCH: Schema = Schema::Object(&[
    optional("type", &VALUE_TYPE),
    required("name", &HEADER_NAME),
    required("value", &HEADER_VALUE),
]);
static QUERY_MATCHES: Schema = set(&QUERY_MATCH, 0, 16, "name");
static QUERY_MATCH: Schema = Schema::Object(&[
    optional("type", &VALUE_TYPE),
    required("name", &HEADER_NAME),
    required("value", &QUERY_VALUE),
]);
static VALUE_TYPE: Schema = one_of(&["Exact", "RegularExpression"]);
static HEADER_NAME: Schema = text(Format::HeaderName, 1, 256);
static HEADER_VALUE: Schema = text(Format::Any, 1, 4096);
static QUERY_VALUE: Schema = text(Format::Any, 1, 1024);
static METHOD: Schema =
    one_of(&["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]);
static BACKEND_REFS: Schema = list(&BACKEND_REF, 0, 16);
static BACKEND_REF: Schema =
    backend_ref!(optional("weight", &WEIGHT), optional("filters", &FILTERS));
static WEIGHT: Schema = Schema::Integer { min: 0, max: 1_000_000 };
static FILTERS: Schema = list(&FILTER, 0, 16);
static FILTER: Schema = Schema::Object(&[
    required("type", &FILTER_TYPE),
    optional("requestHeaderModifier", &HEADER_MODIFIER),
    optional("responseHeaderModifier", &HEADER_MODIFIER),
    optional("requestMirror", &MIRROR),
    optional("requestRedirect", &REDIRECT),
    optional("urlRewrite", &REWRITE),
    optional("cors", &CORS),
    optional("externalAuth", &EXTERNAL_AUTH),
    optional("extensionRef", &ANYTHING),
]);
static FILTER_TYPE: Schema = one_of(&[
    "CORS",
    "ExtensionRef",
    "ExternalAuth",
    "RequestHeaderModifier",
    "RequestMirror",
    "RequestRedirect",
    "ResponseHeaderModifier",
    "URLRewrite",
]);
static HEADER_MODIFIER: Schema = Schema::Object(&[
    optional("set", &HEADER_VALUES),
    optional("add", &HEADER_VALUES),
    optional("remove", &HEADER_NAMES),
]);
static HEADER_VALUES: Schema = set(&HEADER_ENTRY, 0, 16, "name");
static HEADER_ENTRY: Schema =
    Schema::Object(&[required("name", &HEADER_NAME), required("value", &HEADER_VALUE)]);
static HEADER_NAMES: Schema = list(&HEADER_NAME, 0, 16);
static REDIRECT: Schema = Schema::Object(&[
    optional("scheme", &SCHEME),
    optional("hostname", &HOSTNAME),
    optional("path", &PATH_MODIFIER),
    optional("port", &PORT),
    optional("statusCode", &REDIRECT_STATUS),
]);
static SCHEME: Schema = one_of(&["http", "https"]);
static REDIRECT_STATUS: Schema = Schema::OneOfIntegers(&[301, 302, 303, 307, 308]);
static REWRITE: Schema =
    Schema::Object(&[optional("hostname", &HOSTNAME), optional("path", &PATH_MODIFIER)]);
static PATH_MODIFIER: Schema = Schema::Object(&[
    required("type", &PATH_MODIFIER_TYPE),
    optional("replaceFullPath", &NEW_PATH),
    optional("replacePrefixMatch", &NEW_PREFIX),
]);
static PATH_MODIFIER_TYPE: Schema = one_of(&["ReplaceFullPath", "ReplacePrefixMatch"]);
static NEW_PATH: Schema = text(Format::Path, 1, 1024);
// The API allows an empty or relative replacement of a prefix.
static NEW_PREFIX: Schema = text(Format::Any, 0, 1024);
static MIRROR: Schema = Schema::Object(&[
    required("backendRef", &MIRROR_BACKEND),
    optional("percent", &PERCENT),
    optional("fraction", &FRACTION),
]);
static MIRROR_BACKEND: Schema = backend_ref!();
static PERCENT: Schema = Schema::Integer { min: 0, max: 100 };
static FRACTION: Schema =
    Schema::Object(&[required("numerator", &NUMERATOR), optional("denominator", &DENOMINATOR)]);
static NUMERATOR: Schema = Schema::Integer { min: 0, max: i32::MAX as i64 };
static DENOMINATOR: Schema = Schema::Integer { min: 1, max: i32::MAX as i64 };
/// Filters of listeners.
pub(super) static LISTENER_FILTERS: Schema =
    Schema::Object(&[optional("requests", &LISTENER_REQUESTS)]);
static LISTENER_REQUESTS: Schema = list(&LISTENER_FILTER, 0, 16);
static LISTENER_FILTER: Schema = Schema::Object(&[
    required("type", &LISTENER_FILTER_TYPE),
    optional("externalAuth", &EXTERNAL_AUTH),
    optional("extensionRef", &ANYTHING),
]);
static LISTENER_FILTER_TYPE: Schema = one_of(&["ExtensionRef", "ExternalAuth"]);
static EXTERNAL_AUTH: Schema = Schema::Object(&[
    required("protocol", &AUTH_PROTOCOL),
    required("backendRef", &MIRROR_BACKEND),
    optional("grpc", &GRPC_AUTH),
    optional("http", &HTTP_AUTH),
    optional("forwardBody", &FORWARD_BODY),
]);
static AUTH_PROTOCOL: Schema = one_of(&["GRPC", "HTTP"]);
static GRPC_AUTH: Schema = Schema::Object(&[optional("allowedHeaders", &AUTH_HEADERS)]);
static HTTP_AUTH: Schema = Schema::Object(&[
    optional("path", &AUTH_PATH),
    optional("allowedHeaders", &AUTH_HEADERS),
    optional("allowedResponseHeaders", &AUTH_HEADERS),
]);
static AUTH_HEADERS: Schema = list(&AUTH_HEADER, 0, 64);
static AUTH_HEADER: Schema = text(Format::Any, 0, 4096);
static AUTH_PATH: Schema = text(Format::Any, 0, 1024);
static FORWARD_BODY: Schema = Schema::Object(&[optional("maxSize", &BODY_SIZE)]);
static BODY_SIZE: Schema = Schema::Integer { min: 0, max: i32::MAX as i64 };
static CORS: Schema = Schema::Object(&[
    optional("allowOrigins", &ORIGINS),
    optional("allowCredentials", &BOOLEAN),
    optional("allowMethods", &CORS_METHODS),
    optional("allowHeaders", &CORS_HEADERS),
    optional("exposeHeaders", &CORS_HEADERS),
    optional("maxAge", &MAX_AGE),
]);
static ORIGINS: Schema = list(&ORIGIN, 0, 64);
static ORIGIN: Schema = text(Format::Origin, 1, 253);
static CORS_METHODS: Schema = list(&CORS_METHOD, 0, 9);
static CORS_METHOD: Schema =
    one_of(&["*", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]);
static CORS_HEADERS: Schema = list(&HEADER_NAME, 0, 64);
static MAX_AGE: Schema = Schema::Integer { min: 1, max: i32::MAX as i64 };

pub(super) static GRPC_ROUTE: Schema = top!(required("spec", &GRPC_ROUTE_SPEC));
static GRPC_ROUTE_SPEC: Schema = Schema::Object(&[
    optional("parentRefs", &PARENT_REFS),
    optional("hostnames", &HOSTNAMES),
    optional("rules", &GRPC_RULES),
    optional("useDefaultGateways", &ANYTHING),
]);
static GRPC_RULES: Schema = set(&GRPC_RULE, 0, 16, "name");
static GRPC_RULE: Schema = Schema::Object(&[
    optional("name", &SECTION),
    optional("matches", &GRPC_MATCHES),
    optional("filters", &GRPC_FILTERS),
    optional("backendRefs", &GRPC_BACKEND_REFS),
    optional("sessionPersistence", &ANYTHING),
]);
static GRPC_MATCHES: Schema = list(&GRPC_MATCH, 0, 64);
static GRPC_MATCH: Schema =
    Schema::Object(&[optional("method", &METHOD_MATCH), optional("headers", &HEADER_MATCHES)]);
static METHOD_MATCH: Schema = Schema::Object(&[
    optional("type", &VALUE_TYPE),
    optional("service", &GRPC_NAME),
    optional("method", &GRPC_NAME),
]);
static GRPC_NAME: Schema = text(Format::Any, 0, 1024);
static GRPC_FILTERS: Schema = list(&GRPC_FILTER, 0, 16);
static GRPC_FILTER: Schema = Schema::Object(&[
    required("type", &GRPC_FILTER_TYPE),
    optional("requestHeaderModifier", &HEADER_MODIFIER),
    optional("responseHeaderModifier", &HEADER_MODIFIER),
    optional("requestMirror", &MIRROR),
    optional("extensionRef", &ANYTHING),
]);
static GRPC_FILTER_TYPE: Schema =
    one_of(&["ExtensionRef", "RequestHeaderModifier", "RequestMirror", "ResponseHeaderModifier"]);
static GRPC_BACKEND_REFS: Schema = list(&GRPC_BACKEND_REF, 0, 16);
static GRPC_BACKEND_REF: Schema =
    backend_ref!(optional("weight", &WEIGHT), optional("filters", &GRPC_FILTERS));

pub(super) static STREAM_ROUTE: Schema = top!(required("spec", &STREAM_ROUTE_SPEC));
static STREAM_ROUTE_SPEC: Schema = Schema::Object(&[
    optional("parentRefs", &PARENT_REFS),
    required("rules", &STREAM_RULES),
    optional("useDefaultGateways", &ANYTHING),
]);
static STREAM_RULES: Schema = list(&STREAM_RULE, 1, 1);
static STREAM_RULE: Schema =
    Schema::Object(&[optional("name", &SECTION), required("backendRefs", &STREAM_BACKEND_REFS)]);
static STREAM_BACKEND_REFS: Schema = list(&STREAM_BACKEND_REF, 1, 16);
static STREAM_BACKEND_REF: Schema = backend_ref!(optional("weight", &WEIGHT));
pub(super) static TLS_ROUTE: Schema = top!(required("spec", &TLS_ROUTE_SPEC));
// Versions before v1 need no hostnames, so the rules ask for them.
static TLS_ROUTE_SPEC: Schema = Schema::Object(&[
    optional("parentRefs", &PARENT_REFS),
    optional("hostnames", &TLS_HOSTNAMES),
    required("rules", &STREAM_RULES),
    optional("useDefaultGateways", &ANYTHING),
]);
static TLS_HOSTNAMES: Schema = list(&WILDCARD_HOSTNAME, 0, 1024);
