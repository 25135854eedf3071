//! Rules of Gateways and ListenerSets: their listeners, addresses and annotations.

use super::Rules;
use crate::check::Finding;
use crate::translate::proxy_protocol;
use crate::yaml::{Node, quote};

impl Rules<'_> {
    /// What Gateways say of themselves and their listeners.
    pub(super) fn gateway(&mut self) {
        self.listeners();
        self.proxies();
        let spec = self.object.get("spec");
        if let Some(namespaces) = self.object.at_path(&["spec", "allowedListeners", "namespaces"]) {
            self.namespaces(namespaces, "spec.allowedListeners.namespaces", "None");
        }
        let addresses = spec.map_or(&[][..], |spec| spec.items_of("addresses"));
        for (index, address) in addresses.iter().enumerate() {
            let is_ip = address.text_of("type").unwrap_or("IPAddress") == "IPAddress";
            let value = address.text_of("value").filter(|value| !value.is_empty());
            if let Some(value) = value.filter(|_| is_ip)
                && value.parse::<std::net::IpAddr>().is_err()
            {
                let what = format!("found {}, allowed: an IP address", quote(value));
                self.add(&format!("spec.addresses[{index}].value"), what);
            }
        }
    }

    /// Who speaks the PROXY protocol.
    fn proxies(&mut self) {
        let annotations = self.object.at_path(&["metadata", "annotations"]);
        for (key, value) in annotations.map_or(&[][..], Node::entries) {
            let Some(end) = key.name.strip_prefix(proxy_protocol::FROM_ANNOTATION) else {
                continue;
            };
            let wrong = match (end, proxy_protocol::port(end)) {
                ("", _) | (_, Some(_)) => {
                    proxy_protocol::sources(value.text().unwrap_or_default()).err()
                }
                (_, None) => Some(format!(
                    "names no port, allowed: {0} and {0}.PORT",
                    proxy_protocol::FROM_ANNOTATION
                )),
            };
            if let Some(what) = wrong {
                let field = proxy_protocol::field(&key.name);
                self.findings.push(Finding { at: key.at, field, what });
            }
        }
    }

    /// Each listener, and all of them beside each other.
    pub(super) fn listeners(&mut self) {
        let object = self.object;
        let spec = object.get("spec");
        let listeners = spec.map_or(&[][..], |spec| spec.items_of("listeners"));
        for (index, listener) in listeners.iter().enumerate() {
            self.listener(listener, &format!("spec.listeners[{index}]"));
        }
        let key = |listener: &Node| {
            let port = listener.get("port").map(Node::describe);
            let hostname = listener.text_of("hostname").unwrap_or_default().to_owned();
            (port, listener.text_of("protocol").map(str::to_owned), hostname)
        };
        for (index, listener) in listeners.iter().enumerate() {
            let own = key(listener);
            if let Some(first) = listeners[..index].iter().position(|other| key(other) == own) {
                let what = format!(
                    "has the port, protocol and hostname of spec.listeners[{first}]; one of them must differ"
                );
                self.add(&format!("spec.listeners[{index}].port"), what);
            }
        }
    }

    fn listener(&mut self, listener: &Node, field: &str) {
        let protocol = listener.text_of("protocol").unwrap_or_default();
        let tls = listener.get("tls");
        if tls.is_some() && matches!(protocol, "HTTP" | "TCP" | "UDP") {
            self.add(&format!("{field}.tls"), format!("is not allowed with protocol {protocol}"));
        }
        if listener.get("hostname").is_some() && matches!(protocol, "TCP" | "UDP") {
            let what = format!("is not allowed with protocol {protocol}");
            self.add(&format!("{field}.hostname"), what);
        }
        let mode = tls.and_then(|tls| tls.text_of("mode")).unwrap_or("Terminate");
        if protocol == "TLS" && tls.is_none_or(|tls| tls.get("mode").is_none()) {
            let what = "is required with protocol TLS: Passthrough or Terminate";
            self.add(&format!("{field}.tls.mode"), what);
        }
        if matches!(protocol, "HTTPS" | "TLS") {
            if protocol == "HTTPS" && mode == "Passthrough" {
                let what = "found \"Passthrough\", allowed with protocol HTTPS: Terminate";
                self.add(&format!("{field}.tls.mode"), what);
            }
            let certified = tls.is_some_and(|tls| {
                !tls.items_of("certificateRefs").is_empty() || tls.get("options").is_some()
            });
            if mode == "Terminate" && !certified {
                let what = format!(
                    "is required with protocol {protocol} and mode Terminate: name a Secret with the certificate"
                );
                self.add(&format!("{field}.tls.certificateRefs"), what);
            }
        }
        if let Some(filters) = listener.get("filters") {
            self.listener_filters(filters, protocol, &format!("{field}.filters"));
        }
        if let Some(namespaces) = listener.at_path(&["allowedRoutes", "namespaces"]) {
            self.namespaces(namespaces, &format!("{field}.allowedRoutes.namespaces"), "Same");
        }
    }

    fn listener_filters(&mut self, filters: &Node, protocol: &str, field: &str) {
        if !matches!(protocol, "HTTP" | "HTTPS") {
            self.add(field, format!("is not allowed with protocol {protocol}"));
        }
        for (index, filter) in filters.items_of("requests").iter().enumerate() {
            if let Some(auth) = filter.get("externalAuth") {
                self.external_auth(auth, &format!("{field}.requests[{index}].externalAuth"));
            }
        }
    }

    fn namespaces(&mut self, namespaces: &Node, field: &str, default: &str) {
        let from = namespaces.text_of("from").unwrap_or(default);
        let field = format!("{field}.selector");
        match (from, namespaces.get("selector").is_some()) {
            ("Selector", false) => self.add(&field, "is required with from: Selector"),
            ("Selector", true) | (_, false) => {}
            (from, true) => {
                let what = format!("has no effect with from: {from}; use from: Selector");
                self.add(&field, what);
            }
        }
        self.expressions(namespaces, &field);
    }

    fn expressions(&mut self, namespaces: &Node, field: &str) {
        let Some(selector) = namespaces.get("selector") else { return };
        for (index, expression) in selector.items_of("matchExpressions").iter().enumerate() {
            let field = format!("{field}.matchExpressions[{index}].values");
            let given = !expression.items_of("values").is_empty();
            match (expression.text_of("operator"), given) {
                (Some("In" | "NotIn"), false) => {
                    self.add(&field, "is required with operator In and NotIn");
                }
                (Some("Exists" | "DoesNotExist"), true) => {
                    self.add(&field, "must be empty with operator Exists and DoesNotExist");
                }
                _ => {}
            }
        }
    }
}
