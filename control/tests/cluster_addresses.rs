//! Addresses of Gateways in a real cluster: `pool`, `host` and `service`, from the spec to an answer.
//!
//! Started as [`cluster_faults`](../cluster_faults.rs) is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod e2e_support;

use std::net::TcpStream;
use std::path::Path;

use e2e_support::backend::Backend;
use e2e_support::bed::{kill_hard, status};
use e2e_support::gateway::Gateway;
use e2e_support::kube::{self, NODE, Namespace};
use e2e_support::wait_for;
use serde_json::Value;

/// Two addresses.
const TINY: &str = "pool:10.245.0.0/30";
const OFF: &str = "off";

/// A namespace with the Service `one`, and gateways of one address mode.
struct Place {
    namespace: Namespace,
    mode: &'static str,
}

impl Place {
    fn new(name: &str, mode: &'static str) -> Self {
        kube::class();
        let namespace = Namespace::new(name);
        namespace.service("one", &[Backend::start_on(NODE, "one").address]);
        Self { namespace, mode }
    }

    fn serve(&self, replica: &str) -> Gateway {
        self.namespace.serve_at(self.mode, replica, Path::new(OFF), &["--pod-ips", NODE])
    }

    /// A Gateway with a listener on `port` and a route; `addresses` is flow YAML.
    fn gateway(&self, name: &str, port: u16, addresses: &str) {
        self.namespace.apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: {name} }}\n\
             spec:\n  gatewayClassName: ringway\n  addresses: [{addresses}]\n  \
             listeners: [{{ name: http, protocol: HTTP, port: {port} }}]\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name} }}\n\
             spec:\n  parentRefs: [{{ name: {name} }}]\n  rules:\n  \
             - backendRefs: [{{ name: one, port: 80 }}]\n"
        ));
    }

    fn delete(&self, name: &str) {
        self.namespace.kubectl(&["delete", "gateway,httproute", name]);
    }

    /// Waits until a Gateway takes traffic, which it must then do; its address.
    fn served(&self, name: &str, port: u16) -> String {
        let address = self.namespace.programmed(name, port);
        if self.mode == "service" {
            wait_for_kube_proxy(&address);
        }
        assert_eq!(status(&address, "/"), 200, "{name} at {address} is programmed");
        address.rsplit_once(':').unwrap().0.to_owned()
    }

    fn wait_refused(&self, name: &str, reason: &str) -> Value {
        self.namespace.wait_condition("gateway", name, "Programmed", "False", reason);
        self.namespace.get("gateway", name).unwrap()
    }
}

/// Behind a Service the last step is kube-proxy's, which brings each address into force on its own
/// and tells nobody.
fn wait_for_kube_proxy(address: &str) {
    wait_for(&format!("kube-proxy to know {address}"), || TcpStream::connect(address).ok());
}

fn ip(value: &str) -> String {
    format!("{{ type: IPAddress, value: {value} }}")
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn a_pool_gives_what_it_has_and_says_when_it_is_empty() {
    let place = Place::new("pool", TINY);
    let gateway = place.serve("a");
    place.gateway("named", 8088, &ip("10.245.0.1"));
    assert_eq!(place.served("named", 8088), "10.245.0.1");

    place.gateway("any", 8088, "{ type: IPAddress }");
    assert_eq!(place.served("any", 8088), "10.245.0.2");
    place.gateway("late", 8088, "");
    let late = place.wait_refused("late", "AddressNotAssigned");
    assert!(late["status"]["addresses"].as_array().is_none_or(Vec::is_empty), "{late}");
    let message = condition(&late, "Programmed")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("10.245.0.0/30") && message.contains("taken"), "{message}");
    place.gateway("outside", 8088, &ip("10.245.0.9"));
    place.wait_refused("outside", "AddressNotAssigned");
    place.gateway("second", 8088, &ip("10.245.0.2"));
    let message =
        condition(&place.wait_refused("second", "AddressNotAssigned"), "Programmed").to_string();
    assert!(message.contains("/any"), "it says who has it: {message}");
    for address in ["10.245.0.1:8088", "10.245.0.2:8088"] {
        assert_eq!(status(address, "/"), 200, "{address}");
    }
    place.delete("second");
    place.delete("named");
    assert_eq!(place.served("late", 8088), "10.245.0.1", "what becomes free goes to who waits");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn an_address_of_a_pool_stays_through_restarts_and_leaders() {
    let place = Place::new("stable", TINY);
    let mut first = place.serve("a");
    place.gateway("gone", 8088, "");
    assert_eq!(place.served("gone", 8088), "10.245.0.1");
    place.gateway("kept", 8088, "");
    assert_eq!(place.served("kept", 8088), "10.245.0.2");
    place.delete("gone");
    // Alone now, it would be given the first address if it were new.
    kill_hard(&mut first);
    first = place.serve("a");
    assert_eq!(place.served("kept", 8088), "10.245.0.2", "after a restart");
    let second = place.serve("b");
    first.signal("-TERM");
    assert_eq!(first.end().0, Some(0));
    second.wait_log("b holds the Lease");
    place.gateway("new", 8088, "");
    assert_eq!(place.served("new", 8088), "10.245.0.1");
    assert_eq!(place.served("kept", 8088), "10.245.0.2", "under another leader");
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn gateways_on_the_host_have_its_addresses() {
    let place = Place::new("host", "host");
    let _gateway = place.serve("a");
    place.gateway("every", 8090, "");
    assert_eq!(place.served("every", 8090), NODE);
    assert_eq!(status("127.0.0.1:8090", "/"), 200, "on every address of the host");
    place.gateway("named", 8091, &ip(NODE));
    assert_eq!(place.served("named", 8091), NODE);
    assert!(TcpStream::connect("127.0.0.1:8091").is_err(), "on that address only");
    place.gateway("younger", 8090, "");
    let younger = place.wait_refused("younger", "Invalid");
    let listener = younger["status"]["listeners"][0].to_string();
    assert!(listener.contains("/every"), "it says who has the port: {listener}");
    place.gateway("strange", 8092, &ip("192.0.2.1"));
    place.wait_refused("strange", "AddressNotAssigned");
    assert_eq!(status(&format!("{NODE}:8090"), "/"), 200, "the older one keeps the port");
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn gateways_behind_services_answer_at_the_load_balancers_address() {
    let place = Place::new("service", "service");
    let mut gateway = place.serve("a");
    place.gateway("any", 80, "");
    let address = place.served("any", 80);
    assert!(address.starts_with("10.246.0."), "{address}");
    let service = place.namespace.get("service", "ringway-any").unwrap();
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], *address);
    let inside = format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap());
    wait_for_kube_proxy(&inside);
    assert_eq!(status(&inside, "/"), 200, "by its name in the cluster");
    place.gateway("named", 80, &ip("10.246.0.77"));
    assert_eq!(place.served("named", 80), "10.246.0.77");
    kill_hard(&mut gateway);
    gateway = place.serve("a");
    assert_eq!(
        (place.served("any", 80), place.served("named", 80)),
        (address, "10.246.0.77".into())
    );
    let after = place.namespace.get("service", "ringway-any").unwrap();
    assert_eq!(after, service, "a restart changes nothing");
    place.delete("named");
    // The garbage collector of a young cluster looks for new kinds twice a minute.
    let gone = ["wait", "--for=delete", "service/ringway-named", "--timeout=90s"];
    place.namespace.kubectl(&gone);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[test]
#[ignore = "needs a cluster: k8s/cluster/test"]
fn a_gateway_has_the_routability_that_it_asks_for_or_says_so() {
    const CLUSTER: &str = "{ type: IPAddress, routability: Cluster }";
    let place = Place::new("routability", TINY);
    let gateway = place.serve("a");
    place.gateway("inside", 8088, CLUSTER);
    let inside = place.namespace.programmed("inside", 8088);
    wait_for_kube_proxy(&inside);
    assert_eq!(status(&inside, "/"), 200);
    let service = place.namespace.get("service", "ringway-inside").unwrap();
    let cluster_ip = service["spec"]["clusterIP"].as_str().unwrap();
    assert_eq!(inside, format!("{cluster_ip}:8088"));
    assert_eq!(routabilities(&place, "inside"), ["Cluster"]);

    place.gateway("both", 8088, &format!("{CLUSTER}, {{ type: IPAddress }}"));
    place.namespace.wait_condition(
        "gateway",
        "both",
        "AddressesAssigned",
        "True",
        "AddressesAssigned",
    );
    assert_eq!(routabilities(&place, "both"), ["", "Cluster"]);
    place.delete("both");

    let outside = "{ type: IPAddress, value: 203.0.113.1, routability: Cluster }";
    place.gateway("partly", 8088, &format!("{outside}, {{ type: IPAddress }}"));
    let reason = "PartiallyAssigned";
    place.namespace.wait_condition("gateway", "partly", "AddressesAssigned", "False", reason);
    place.served("partly", 8088);
    assert_eq!(routabilities(&place, "partly"), [""]);
    place.gateway("nowhere", 8088, outside);
    let nowhere = place.wait_refused("nowhere", "AddressNotAssigned");
    assert_eq!(condition(&nowhere, "AddressesAssigned")["reason"], "NotAssigned");
    place.gateway("scoped", 8088, "{ type: IPAddress, routability: example.com/wan }");
    place.wait_refused("scoped", "AddressNotAssigned");

    // An address that was just given back is free.
    place.delete("inside");
    place.namespace.kubectl(&["delete", "service", "ringway-inside", "--ignore-not-found"]);
    let named = format!("{{ type: IPAddress, value: {cluster_ip}, routability: Cluster }}");
    place.gateway("named", 8088, &named);
    assert_eq!(place.namespace.programmed("named", 8088), inside);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

/// What the status says of the addresses of a Gateway, sorted.
fn routabilities(place: &Place, name: &str) -> Vec<String> {
    let gateway = place.namespace.get("gateway", name).unwrap();
    let all = gateway["status"]["addresses"].as_array().unwrap().iter();
    let mut all: Vec<_> = all.map(|one| one["routability"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

fn condition<'a>(object: &'a Value, name: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array().unwrap();
    all.iter().find(|one| one["type"] == name).unwrap()
}
