//! The API's rules across fields, which the CRDs state in CEL, and ours for annotations.

mod listener;

use super::Finding;
use super::format::Format;
use crate::api::Kind;
use crate::resolve::ENDPOINTS_ANNOTATION;
use crate::translate::proxy_protocol;
use crate::yaml::{Node, quote};

/// Applies the rules of `kind`. Looks only at what has the right shape; the rest is reported by
/// the walk.
pub(super) fn apply(kind: Kind, object: &Node, findings: &mut Vec<Finding>) {
    let mut rules = Rules { object, findings };
    match kind {
        Kind::Gateway => rules.gateway(),
        Kind::ListenerSet => rules.listeners(),
        Kind::GrpcRoute => rules.grpc_route(),
        Kind::HttpRoute => rules.http_route(),
        Kind::Service => rules.service(),
        Kind::TcpRoute | Kind::UdpRoute => rules.stream_route(),
        Kind::TlsRoute => rules.tls_route(),
        Kind::BackendTlsPolicy => rules.backend_tls_policy(),
        Kind::ClusterTrustBundle
        | Kind::ConfigMap
        | Kind::EndpointSlice
        | Kind::GatewayClass
        | Kind::Namespace
        | Kind::ReferenceGrant
        | Kind::Secret => {}
    }
}

struct Rules<'r> {
    object: &'r Node,
    findings: &'r mut Vec<Finding>,
}

impl Rules<'_> {
    fn add(&mut self, field: &str, what: impl Into<String>) {
        let at = self.object.locate(field);
        self.findings.push(Finding { at, field: field.to_owned(), what: what.into() });
    }

    fn http_route(&mut self) {
        let object = self.object;
        let Some(spec) = object.get("spec") else { return };
        self.parent_refs(spec.items_of("parentRefs"));
        let rules = spec.items_of("rules");
        let matches: usize = rules.iter().map(|rule| rule.items_of("matches").len()).sum();
        if matches > MATCHES_MAX {
            let what = format!("found {matches} matches in all rules, allowed: {MATCHES_MAX}");
            self.add("spec.rules", what);
        }
        for (index, rule) in rules.iter().enumerate() {
            self.rule(rule, &format!("spec.rules[{index}]"));
        }
    }

    fn grpc_route(&mut self) {
        let object = self.object;
        let Some(spec) = object.get("spec") else { return };
        self.parent_refs(spec.items_of("parentRefs"));
        for (index, rule) in spec.items_of("rules").iter().enumerate() {
            let field = format!("spec.rules[{index}]");
            for (index, one) in rule.items_of("matches").iter().enumerate() {
                self.grpc_match(one, &format!("{field}.matches[{index}]"));
            }
            self.filters(rule.items_of("filters"), &format!("{field}.filters"), false);
            self.backend_ports(rule, &field);
        }
    }

    fn grpc_match(&mut self, one: &Node, field: &str) {
        self.header_names(one, field);
        self.patterns(one, "headers", field);
        let Some(method) = one.get("method") else { return };
        let field = format!("{field}.method");
        let part = |name: &str| method.text_of(name).filter(|part| !part.is_empty());
        if part("service").is_none() && part("method").is_none() {
            self.add(&field, "names neither a service nor a method: name one of them");
        }
        for name in ["service", "method"] {
            let (Some(part), field) = (part(name), format!("{field}.{name}")) else { continue };
            if method.text_of("type") == Some("RegularExpression") {
                self.pattern(Some(part), &field);
            } else if !part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
            {
                let what =
                    format!("found {}, allowed: letters, digits, \"_\" and \".\"", quote(part));
                self.add(&field, what);
            }
        }
    }

    /// What TCPRoutes, TLSRoutes and UDPRoutes have in common.
    fn stream_route(&mut self) {
        let object = self.object;
        let Some(spec) = object.get("spec") else { return };
        self.parent_refs(spec.items_of("parentRefs"));
        for (index, rule) in spec.items_of("rules").iter().enumerate() {
            self.backend_ports(rule, &format!("spec.rules[{index}]"));
        }
    }

    fn tls_route(&mut self) {
        let object = self.object;
        let Some(spec) = object.get("spec") else { return };
        let is_old =
            object.text_of("apiVersion").is_some_and(|version| version.ends_with("v1alpha2"));
        if !is_old && spec.items_of("hostnames").is_empty() {
            self.add(
                "spec.hostnames",
                "is required: name at least one that SNI is matched against",
            );
        }
        self.stream_route();
    }

    fn backend_ports(&mut self, rule: &Node, field: &str) {
        for (index, backend) in rule.items_of("backendRefs").iter().enumerate() {
            let is_service = backend.text_of("kind").unwrap_or("Service") == "Service"
                && backend.text_of("group").unwrap_or_default().is_empty();
            if is_service && backend.get("port").is_none() {
                let field = format!("{field}.backendRefs[{index}].port");
                self.add(&field, "is required for a Service");
            }
        }
    }

    /// Several references to one Gateway must differ in section name or port.
    fn parent_refs(&mut self, references: &[Node]) {
        let text = |node: &Node, name: &str, default: &str| {
            node.text_of(name).unwrap_or(default).to_owned()
        };
        let key = |node: &Node| {
            let port = node.get("port").map(Node::describe);
            let names = ["namespace", "name", "sectionName"].map(|name| text(node, name, ""));
            (text(node, "kind", "Gateway"), names, port)
        };
        for (index, reference) in references.iter().enumerate() {
            let own = key(reference);
            if let Some(first) = references[..index].iter().position(|other| key(other) == own) {
                let what = format!("is the same as spec.parentRefs[{first}]");
                self.add(&format!("spec.parentRefs[{index}]"), what);
            }
        }
    }

    fn rule(&mut self, rule: &Node, field: &str) {
        for (index, one) in rule.items_of("matches").iter().enumerate() {
            self.one_match(one, &format!("{field}.matches[{index}]"));
        }
        let filters = rule.items_of("filters");
        let redirects = has_filter(filters, "RequestRedirect");
        if redirects && !rule.items_of("backendRefs").is_empty() {
            let what = "must be empty with a RequestRedirect filter: a redirect is answered here";
            self.add(&format!("{field}.backendRefs"), what);
        }
        let prefix_only = is_prefix_only(rule);
        self.filters(filters, &format!("{field}.filters"), prefix_only);
        self.backend_ports(rule, field);
        for (index, backend) in rule.items_of("backendRefs").iter().enumerate() {
            let field = format!("{field}.backendRefs[{index}]");
            let filters = backend.items_of("filters");
            self.filters(filters, &format!("{field}.filters"), prefix_only);
        }
    }

    fn one_match(&mut self, one: &Node, field: &str) {
        self.path(one, &format!("{field}.path"));
        self.header_names(one, field);
        for list in ["headers", "queryParams"] {
            self.patterns(one, list, field);
        }
    }

    /// The same name in another case is the same header.
    fn header_names(&mut self, one: &Node, field: &str) {
        let headers = one.items_of("headers");
        for (index, header) in headers.iter().enumerate() {
            let Some(own) = header.text_of("name") else { continue };
            let earlier = || headers[..index].iter().filter_map(|other| other.text_of("name"));
            let differs = earlier().all(|other| other != own);
            if differs && earlier().any(|other| other.eq_ignore_ascii_case(own)) {
                let what = "is matched already; header names do not differ by case";
                self.add(&format!("{field}.headers[{index}].name"), what);
            }
        }
    }

    fn patterns(&mut self, one: &Node, list: &str, field: &str) {
        for (index, entry) in one.items_of(list).iter().enumerate() {
            if entry.text_of("type") == Some("RegularExpression") {
                let field = format!("{field}.{list}[{index}].value");
                self.pattern(entry.text_of("value"), &field);
            }
        }
    }

    fn path(&mut self, one: &Node, field: &str) {
        let Some(path) = one.get("path") else { return };
        let value = path.text_of("value").unwrap_or("/");
        let value_field = format!("{field}.value");
        match path.text_of("type").unwrap_or("PathPrefix") {
            "Exact" | "PathPrefix" => {
                if !value.starts_with('/') {
                    let what =
                        format!("found {}, allowed: {}", quote(value), Format::Path.allowed());
                    self.add(&value_field, what);
                }
                let lower = value.to_ascii_lowercase();
                let inside = ["//", "/./", "/../", "%2f", "#"].into_iter();
                let at_end = ["/..", "/."].into_iter();
                let bad = inside
                    .filter(|part| lower.contains(part))
                    .chain(at_end.filter(|part| lower.ends_with(part)));
                for part in bad {
                    let what =
                        format!("found {}, which must not contain {}", quote(value), quote(part));
                    self.add(&value_field, what);
                }
                let unusual = |byte: u8| {
                    !(byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@%#".contains(&byte))
                };
                if value.bytes().any(unusual) {
                    let what = format!(
                        "found {}, allowed: the characters of a URL path, others percent-encoded",
                        quote(value)
                    );
                    self.add(&value_field, what);
                }
            }
            "RegularExpression" => self.pattern(Some(value), &value_field),
            _ => {}
        }
    }

    fn pattern(&mut self, value: Option<&str>, field: &str) {
        let Some(value) = value else { return };
        if let Err(why) = proxy::table::regex::check(value) {
            self.add(field, format!("found {}, not a regular expression: {why}", quote(value)));
        }
    }

    fn filters(&mut self, filters: &[Node], field: &str, prefix_only: bool) {
        if has_filter(filters, "RequestRedirect") && has_filter(filters, "URLRewrite") {
            self.add(field, "holds both RequestRedirect and URLRewrite: keep one of them");
        }
        for (index, filter) in filters.iter().enumerate() {
            let field = format!("{field}[{index}]");
            let Some(kind) = filter.text_of("type") else { continue };
            let repeated = filters[..index].iter().any(|other| other.text_of("type") == Some(kind));
            if repeated && !matches!(kind, "RequestMirror" | "ExtensionRef") {
                let what = format!("{kind} is used already; it may be used once here");
                self.add(&format!("{field}.type"), what);
            }
            let Some((_, own)) = PAYLOADS.iter().find(|(known, _)| *known == kind) else {
                continue;
            };
            if filter.get(own).is_none() {
                self.add(&format!("{field}.{own}"), format!("is required with type {kind}"));
            }
            for (_, other) in PAYLOADS.iter().filter(|(_, name)| name != own) {
                if filter.get(other).is_some() {
                    let what = format!("is not allowed with type {kind}");
                    self.add(&format!("{field}.{other}"), what);
                }
            }
            if let Some(cors) = filter.get("cors") {
                self.cors(cors, &format!("{field}.cors"));
            }
            if let Some(auth) = filter.get("externalAuth") {
                self.external_auth(auth, &format!("{field}.externalAuth"));
            }
            if let Some(mirror) = filter.get("requestMirror") {
                self.mirror(mirror, &format!("{field}.requestMirror"));
            }
            for payload in ["requestRedirect", "urlRewrite"] {
                if let Some(path) = filter.at_path(&[payload, "path"]) {
                    self.path_modifier(path, &format!("{field}.{payload}.path"), prefix_only);
                }
            }
            for payload in ["requestHeaderModifier", "responseHeaderModifier"] {
                if let Some(modifier) = filter.get(payload) {
                    self.header_modifier(modifier, &format!("{field}.{payload}"));
                }
            }
        }
    }

    fn cors(&mut self, cors: &Node, field: &str) {
        for list in ["allowOrigins", "allowMethods", "allowHeaders"] {
            let items = cors.items_of(list);
            if items.len() > 1 && items.iter().any(|item| item.text() == Some("*")) {
                self.add(&format!("{field}.{list}"), "holds \"*\" beside others: keep it alone");
            }
        }
    }

    fn mirror(&mut self, mirror: &Node, field: &str) {
        if mirror.get("percent").is_some() && mirror.get("fraction").is_some() {
            self.add(&format!("{field}.fraction"), "is not allowed beside percent");
        }
    }

    fn path_modifier(&mut self, path: &Node, field: &str, prefix_only: bool) {
        let Some(kind) = path.text_of("type") else { return };
        let pairs =
            [("ReplaceFullPath", "replaceFullPath"), ("ReplacePrefixMatch", "replacePrefixMatch")];
        for (owner, name) in pairs {
            match (owner == kind, path.get(name).is_some()) {
                (true, false) => {
                    self.add(&format!("{field}.{name}"), format!("is required with type {kind}"));
                }
                (false, true) => {
                    self.add(
                        &format!("{field}.{name}"),
                        format!("is not allowed with type {kind}"),
                    );
                }
                _ => {}
            }
        }
        if kind == "ReplacePrefixMatch" && !prefix_only {
            let what =
                "ReplacePrefixMatch needs a rule with exactly one match, of path type PathPrefix";
            self.add(&format!("{field}.type"), what);
        }
    }

    /// A header may be set, added or removed, but only one of these.
    fn header_modifier(&mut self, modifier: &Node, field: &str) {
        let mut seen: Vec<(String, String)> = Vec::new();
        for action in ["set", "add", "remove"] {
            for (index, entry) in modifier.items_of(action).iter().enumerate() {
                let Some(name) = entry.text().or_else(|| entry.text_of("name")) else { continue };
                let (name, place) = (name.to_ascii_lowercase(), format!("{action}[{index}]"));
                if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
                    let what = format!("header {} is edited by {first} already", quote(&name));
                    self.add(&format!("{field}.{place}"), what);
                }
                seen.push((name, place));
            }
        }
    }

    fn backend_tls_policy(&mut self) {
        let object = self.object;
        let Some(spec) = object.get("spec") else { return };
        self.policy_targets(spec.items_of("targetRefs"));
        let Some(validation) = spec.get("validation") else { return };
        let field = "spec.validation";
        let by_name = validation.text_of("wellKnownCACertificates").is_some();
        match (validation.items_of("caCertificateRefs").is_empty(), by_name) {
            (true, false) => {
                let what = "is required, unless wellKnownCACertificates is given";
                self.add(&format!("{field}.caCertificateRefs"), what);
            }
            (false, true) => {
                let what = "is not allowed beside caCertificateRefs";
                self.add(&format!("{field}.wellKnownCACertificates"), what);
            }
            _ => {}
        }
        for (index, san) in validation.items_of("subjectAltNames").iter().enumerate() {
            let field = format!("{field}.subjectAltNames[{index}]");
            let Some(kind) = san.text_of("type") else { continue };
            for (owner, name) in [("Hostname", "hostname"), ("URI", "uri")] {
                match (owner == kind, san.get(name).is_some()) {
                    (true, false) => {
                        let what = format!("is required with type {kind}");
                        self.add(&format!("{field}.{name}"), what);
                    }
                    (false, true) => {
                        let what = format!("is not allowed with type {kind}");
                        self.add(&format!("{field}.{name}"), what);
                    }
                    _ => {}
                }
            }
        }
    }

    fn external_auth(&mut self, auth: &Node, field: &str) {
        let Some(protocol) = auth.text_of("protocol") else { return };
        for (owner, name) in [("GRPC", "grpc"), ("HTTP", "http")] {
            let own = owner == protocol;
            if own != auth.get(name).is_some() {
                let what = if own { "is required" } else { "is not allowed" };
                self.add(&format!("{field}.{name}"), format!("{what} with protocol {protocol}"));
            }
        }
    }

    /// Several references to one object must each name another port of it.
    fn policy_targets(&mut self, targets: &[Node]) {
        let of = |node: &Node, name: &str| node.text_of(name).unwrap_or_default().to_owned();
        let key = |node: &Node| ["group", "kind", "name"].map(|name| of(node, name));
        for (index, target) in targets.iter().enumerate() {
            let own = of(target, "sectionName");
            let clashes = |other: &&Node| {
                let theirs = of(other, "sectionName");
                key(other) == key(target) && (theirs == own || theirs.is_empty() || own.is_empty())
            };
            if targets[..index].iter().any(|other| clashes(&other)) {
                let what = "names a target twice: give each another sectionName";
                self.add(&format!("spec.targetRefs[{index}]"), what);
            }
        }
    }

    fn service(&mut self) {
        let object = self.object;
        let annotations = object.at_path(&["metadata", "annotations"]);
        if let Some((key, value)) = annotations.and_then(|annotations| {
            annotations.entries().iter().find(|(key, _)| key.name == ENDPOINTS_ANNOTATION)
        }) {
            let text = value.text().unwrap_or_default();
            for error in crate::resolve::entries(text).filter_map(Result::err) {
                self.findings.push(Finding {
                    at: key.at,
                    field: format!("metadata.annotations.{ENDPOINTS_ANNOTATION}"),
                    what: format!("{error}; allowed: {}", Format::Endpoints.allowed()),
                });
            }
        }
        let version = annotations.and_then(|annotations| {
            annotations.entries().iter().find(|(key, _)| key.name == proxy_protocol::TO_ANNOTATION)
        });
        if let Some((key, value)) = version
            && let Err(what) = proxy_protocol::read_version(value.text().unwrap_or_default())
        {
            let field = proxy_protocol::field(&key.name);
            self.findings.push(Finding { at: key.at, field, what });
        }
        let Some(spec) = object.get("spec") else { return };
        let external = spec.text_of("type") == Some("ExternalName");
        if external && spec.get("externalName").is_none() {
            self.add("spec.externalName", "is required with type ExternalName");
        }
        let ports = spec.items_of("ports");
        let key = |port: &Node| {
            let protocol = port.text_of("protocol").unwrap_or("TCP").to_owned();
            (port.get("port").map(Node::describe), protocol)
        };
        for (index, port) in ports.iter().enumerate() {
            if ports[..index].iter().any(|other| key(other) == key(port)) {
                self.add(&format!("spec.ports[{index}].port"), "is given twice");
            }
            if ports.len() > 1 && port.get("name").is_none() {
                self.add(&format!("spec.ports[{index}].name"), "is required with several ports");
            }
        }
    }
}

fn has_filter(filters: &[Node], kind: &str) -> bool {
    filters.iter().any(|filter| filter.text_of("type") == Some(kind))
}

/// Whether a rule has exactly one match, by path prefix; without matches it has the default one.
fn is_prefix_only(rule: &Node) -> bool {
    match rule.items_of("matches") {
        [] => true,
        [one] => {
            let kind = one.get("path").and_then(|path| path.text_of("type"));
            kind.unwrap_or("PathPrefix") == "PathPrefix"
        }
        _ => false,
    }
}

/// Filter types and the field that belongs to each.
const PAYLOADS: [(&str, &str); 8] = [
    ("CORS", "cors"),
    ("ExtensionRef", "extensionRef"),
    ("ExternalAuth", "externalAuth"),
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("RequestRedirect", "requestRedirect"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("URLRewrite", "urlRewrite"),
];

/// Matches of a whole route.
const MATCHES_MAX: usize = 128;
