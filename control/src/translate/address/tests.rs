//! Who gets which address.

use std::sync::Arc;

use serde_json::json;

use super::super::class;
use super::*;

/// A Gateway named `name`, created at `created`, that asks for `wanted` and shows `shown`.
fn gateway(name: &str, created: i64, wanted: &[&str], shown: &[&str]) -> Arc<Gateway> {
    let list = |all: &[&str]| {
        let all = all.iter().map(|value| match *value {
            "" => json!({}),
            value => json!({"value": value}),
        });
        all.collect::<Vec<_>>()
    };
    let mut object: Gateway = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"gatewayClassName": "ringway", "addresses": list(wanted),
                 "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        "status": {"addresses": list(shown)},
    }))
    .unwrap();
    object.metadata.created = created;
    Arc::new(object)
}

fn plan(addressing: &str, gateways: &[Arc<Gateway>]) -> Vec<Planned> {
    let gateways = gateways.iter().map(|one| (one.metadata.full_name(), Arc::clone(one)));
    let snapshot = Snapshot {
        gateways: Arc::new(gateways.collect()),
        implicit_class: Some("ringway".into()),
        addressing: addressing.parse().unwrap(),
        ..Snapshot::default()
    };
    let classes = class::plan(&snapshot);
    super::super::gateway::plan(&snapshot, &classes).0
}

/// Name, addresses, and the reason why not, of each Gateway in order of age.
fn given(
    addressing: &str,
    gateways: &[Arc<Gateway>],
) -> Vec<(String, Vec<String>, Option<Reason>)> {
    let planned = plan(addressing, gateways);
    let one = |gateway: &Planned| {
        let addresses: Vec<String> = gateway.shown.iter().map(|one| one.value.clone()).collect();
        let sockets: Vec<String> = gateway.site.addresses().map(|ip| ip.to_string()).collect();
        assert_eq!(addresses, sockets, "what is shown is what is bound");
        let fault = gateway.fault.as_ref().or(gateway.unassigned.as_ref());
        (gateway.name.name.to_string(), addresses, fault.map(|fault| fault.reason))
    };
    planned.iter().map(one).collect()
}

fn row(
    name: &str,
    addresses: &[&str],
    reason: Option<Reason>,
) -> (String, Vec<String>, Option<Reason>) {
    (name.to_owned(), addresses.iter().map(|&one| one.to_owned()).collect(), reason)
}

#[test]
fn each_gateway_has_its_own_address_the_oldest_the_lowest() {
    let found = given(
        "pool:10.0.0.0/29",
        &[
            gateway("new", 2, &[], &[]),
            gateway("old", 1, &[""], &[]),
            gateway("two", 3, &["", ""], &[]),
        ],
    );
    assert_eq!(
        found,
        [
            row("old", &["10.0.0.1"], None),
            row("new", &["10.0.0.2"], None),
            row("two", &["10.0.0.3", "10.0.0.4"], None),
        ]
    );
}

#[test]
fn what_a_status_shows_is_kept_whoever_is_older() {
    let found = given(
        "pool:10.0.0.0/29",
        &[
            gateway("old", 1, &[], &[]),
            gateway("middle", 2, &["10.0.0.1"], &[]),
            gateway("new", 3, &[], &["10.0.0.1"]),
            gateway("moved", 4, &[], &["192.0.2.1", "10.0.0.6"]),
        ],
    );
    assert_eq!(
        found,
        [
            row("old", &["10.0.0.2"], None),
            row("middle", &[], Some(Reason::AddressNotAssigned)),
            row("new", &["10.0.0.1"], None),
            row("moved", &["10.0.0.6"], None),
        ]
    );
}

#[test]
fn of_two_that_show_the_same_address_the_older_keeps_it() {
    let found = given(
        "pool:10.0.0.0/29",
        &[gateway("new", 2, &[], &["10.0.0.3"]), gateway("old", 1, &[], &["10.0.0.3"])],
    );
    assert_eq!(found, [row("old", &["10.0.0.3"], None), row("new", &["10.0.0.1"], None)]);
}

#[test]
fn a_named_address_is_given_and_one_that_cannot_be_is_said() {
    let found = given(
        "pool:10.0.0.0/29",
        &[
            gateway("a", 1, &["10.0.0.5"], &[]),
            gateway("b", 2, &["192.0.2.9", "10.0.0.6"], &[]),
            gateway("c", 3, &["10.0.0.5"], &[]),
            gateway("d", 4, &["10.0.0.0"], &[]),
            gateway("e", 5, &["10.0.0.2", "10.0.0.2", ""], &[]),
        ],
    );
    assert_eq!(
        found,
        [
            row("a", &["10.0.0.5"], None),
            row("b", &["10.0.0.6"], Some(Reason::AddressNotUsable)),
            row("c", &[], Some(Reason::AddressNotAssigned)),
            row("d", &[], Some(Reason::AddressNotAssigned)),
            row("e", &["10.0.0.2", "10.0.0.1"], None),
        ]
    );
}

#[test]
fn an_address_asked_for_replaces_the_one_a_gateway_had() {
    let found = given(
        "pool:10.0.0.0/29",
        &[gateway("a", 1, &["10.0.0.5"], &["10.0.0.1"]), gateway("b", 2, &[], &[])],
    );
    assert_eq!(found, [row("a", &["10.0.0.5"], None), row("b", &["10.0.0.1"], None)]);
}

#[test]
fn an_exhausted_pool_is_a_condition_of_the_youngest() {
    let found = given(
        "pool:10.0.0.0/30",
        &[gateway("a", 1, &[], &[]), gateway("b", 2, &[], &[]), gateway("c", 3, &[], &[])],
    );
    assert_eq!(found[1], row("b", &["10.0.0.2"], None));
    assert_eq!(found[2], row("c", &[], Some(Reason::AddressNotAssigned)));
}

#[test]
fn assignment_is_stable_once_its_result_is_shown() {
    let before = [gateway("a", 2, &[], &[]), gateway("b", 1, &[], &[]), gateway("c", 3, &[], &[])];
    let first = given("pool:10.0.0.0/29,fd00::/64", &before);
    let shown = |name: &str, created| {
        let (_, addresses, _) = first.iter().find(|(found, ..)| found == name).unwrap();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        gateway(name, created, &[], &addresses)
    };
    // One is deleted, an older one appears: the others stay where they are.
    let second = given(
        "pool:10.0.0.0/29,fd00::/64",
        &[shown("a", 2), shown("c", 3), gateway("z", 0, &[], &[])],
    );
    for name in ["a", "c"] {
        let of = |all: &[(String, Vec<String>, Option<Reason>)]| {
            all.iter().find(|(found, ..)| found == name).unwrap().1.clone()
        };
        assert_eq!(of(&first), of(&second), "{name}");
    }
}

#[test]
fn an_ipv6_pool_serves_ipv6() {
    let found =
        given("pool:fd00::/64", &[gateway("a", 1, &[], &[]), gateway("b", 2, &["fd00::ff"], &[])]);
    assert_eq!(found, [row("a", &["fd00::1"], None), row("b", &["fd00::ff"], None)]);
}

#[test]
fn types_and_values_that_are_no_addresses_are_not_accepted() {
    for mode in ["host", "pool:10.0.0.0/29", "service"] {
        let mut named = Gateway::clone(&gateway("a", 1, &["x"], &[]));
        let planned = plan(mode, &[Arc::new(named.clone())]);
        assert_eq!(planned[0].fault.as_ref().unwrap().reason, Reason::UnsupportedAddress);
        named.spec.addresses[0].kind = AddressType::Unknown("test/fake".into());
        let planned = plan(mode, &[Arc::new(named)]);
        assert_eq!(planned[0].fault.as_ref().unwrap().reason, Reason::UnsupportedAddress);
        assert!(planned[0].shown.is_empty() && planned[0].site.is_nowhere());
    }
}

#[test]
fn ports_of_services_are_our_own_distinct_and_the_same_each_time() {
    let many: Vec<_> = (0..300).map(|n| gateway(&format!("gw{n}"), n, &[], &[])).collect();
    let ports = |gateways: &[Arc<Gateway>]| {
        let all = plan("service", gateways);
        let socket = |one: &Planned| (one.name.clone(), one.site.sockets(80));
        all.iter().map(socket).collect::<BTreeMap<_, _>>()
    };
    let found = ports(&many);
    let all: BTreeSet<u16> = found.values().map(|sockets| sockets[0].1).collect();
    assert_eq!(all.len(), 300);
    assert!(all.iter().all(|port| SERVICE_PORTS.contains(port)));
    assert_eq!(found, ports(&many));
}

#[test]
fn a_service_of_ours_keeps_its_port_and_its_address_is_the_gateways() {
    let object = gateway("a", 1, &[], &[]);
    let name = object.metadata.full_name();
    let service = |labels: serde_json::Value| -> Arc<Service> {
        let service = json!({
            "metadata": {"name": "ringway-a", "namespace": "ns", "labels": labels},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": 20_007}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}, {"hostname": "lb.example"}]}},
        });
        Arc::new(serde_json::from_value(service).unwrap())
    };
    let find = |service: Arc<Service>| {
        let snapshot = Snapshot {
            gateways: Arc::new([(name.clone(), Arc::clone(&object))].into()),
            services: Arc::new([(Name::new("ns", "ringway-a"), service)].into()),
            implicit_class: Some("ringway".into()),
            addressing: Addressing::Service,
            ..Snapshot::default()
        };
        super::super::gateway::plan(&snapshot, &class::plan(&snapshot)).0.remove(0)
    };
    let ours = find(service(json!({
        infrastructure::MANAGED_BY_LABEL: "ringway", infrastructure::GATEWAY_LABEL: "a"})));
    assert_eq!(ours.site.sockets(80), [(None, 20_007)]);
    let values: Vec<_> = ours.shown.iter().map(|one| (one.kind, &*one.value)).collect();
    assert_eq!(values, [("IPAddress", "192.0.2.8"), ("Hostname", "lb.example")]);
    assert_eq!(ours.unassigned, None);
    let foreign = find(service(json!({})));
    assert_eq!(foreign.unassigned.unwrap().reason, Reason::AddressNotAssigned);
    assert!(foreign.shown.is_empty());
}

/// What a status shows of a Gateway that asks for `addresses` and whose Service has `cluster_ips`,
/// what it lacks, and its port 80.
fn asked(
    mode: &str,
    addresses: serde_json::Value,
    cluster_ips: &[&str],
) -> (Vec<(String, &'static str)>, usize, Planned) {
    let mut object = Gateway::clone(&gateway("a", 1, &[], &[]));
    object.spec.addresses = serde_json::from_value(addresses).unwrap();
    let labels =
        json!({infrastructure::MANAGED_BY_LABEL: "ringway", infrastructure::GATEWAY_LABEL: "a"});
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "ringway-a", "namespace": "ns", "labels": labels},
        "spec": {"clusterIP": cluster_ips.first(), "clusterIPs": cluster_ips},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}]}},
    }))
    .unwrap();
    let services =
        (!cluster_ips.is_empty()).then(|| (Name::new("ns", "ringway-a"), Arc::new(service)));
    let snapshot = Snapshot {
        gateways: Arc::new([(object.metadata.full_name(), Arc::new(object))].into()),
        services: Arc::new(services.into_iter().collect()),
        host_addresses: ["192.0.2.1".parse().unwrap()].into(),
        implicit_class: Some("ringway".into()),
        addressing: mode.parse().unwrap(),
        is_cluster: true,
        ..Snapshot::default()
    };
    let planned = super::super::gateway::plan(&snapshot, &class::plan(&snapshot)).0.remove(0);
    let shown = planned.shown.iter();
    let shown = shown.map(|one| (one.value.clone(), one.routability.unwrap())).collect();
    (shown, planned.lacking.len(), planned)
}

#[test]
fn a_cluster_ip_is_the_services_in_every_mode_and_takes_nothing_of_the_mode() {
    for (mode, own) in
        [("host", "192.0.2.1"), ("pool:10.0.0.0/29", "10.0.0.1"), ("service", "192.0.2.8")]
    {
        let cluster = json!([{"routability": "Cluster"}]);
        let (shown, lacking, planned) = asked(mode, cluster.clone(), &[]);
        assert_eq!((shown, lacking), (vec![], 1), "{mode}: its Service is not there yet");
        assert_eq!(planned.unassigned.unwrap().reason, Reason::AddressNotAssigned);
        let waiting = planned.site.sockets(80);
        assert!(SERVICE_PORTS.contains(&waiting[0].1), "{mode}");

        let (shown, lacking, planned) = asked(mode, cluster, &["10.96.0.9"]);
        assert_eq!((shown, lacking), (vec![("10.96.0.9".to_owned(), "Cluster")], 0), "{mode}");
        assert_eq!((planned.unassigned, planned.site.sockets(80)), (None, waiting), "{mode}");

        let both = json!([{"routability": "Cluster"}, {"routability": ""}]);
        let (mut shown, lacking, planned) = asked(mode, both, &["10.96.0.9"]);
        shown.sort_by_key(|one| one.1);
        let expected = [(own.to_owned(), ""), ("10.96.0.9".to_owned(), "Cluster")];
        assert_eq!((&shown[..], lacking), (&expected[..], 0), "{mode}");
        assert_eq!(planned.unassigned, None, "{mode}");

        let sentinel = json!([{"routability": "testing.x-k8s.io/sentinel"}]);
        let (shown, ..) = asked(mode, sentinel, &["10.96.0.9"]);
        assert_eq!(shown, [(own.to_owned(), "testing.x-k8s.io/sentinel")], "{mode}");
    }
}

#[test]
fn what_cannot_be_a_cluster_ip_is_lacking_and_the_rest_is_served() {
    let (mode, ips) = ("pool:10.0.0.0/29", ["10.96.0.9"]);
    let wrong = json!({"value": "203.0.113.1", "routability": "Cluster"});
    for unsatisfied in [wrong, json!({"routability": "example.com/wan"})] {
        let (shown, lacking, planned) = asked(mode, json!([unsatisfied]), &ips);
        assert_eq!((shown, lacking), (vec![], 1), "{unsatisfied}");
        assert_eq!(planned.unassigned.as_ref().unwrap().reason, Reason::AddressNotAssigned);
        assert!(planned.site.is_nowhere(), "{unsatisfied}");

        let (shown, lacking, planned) = asked(mode, json!([{}, unsatisfied]), &ips);
        assert_eq!((shown, lacking), (vec![("10.0.0.1".to_owned(), "")], 1), "{unsatisfied}");
        assert_eq!(planned.unassigned, None, "{unsatisfied}");
        assert!(planned.lacking[0].message.starts_with("spec.addresses[1]."));
    }
    let twice =
        json!([{"routability": "Cluster"}, {"value": "10.96.0.9", "routability": "Cluster"}]);
    let (shown, lacking, _) = asked(mode, twice.clone(), &ips);
    assert_eq!((shown, lacking), (vec![("10.96.0.9".to_owned(), "Cluster")], 1));
    let (shown, lacking, _) = asked(mode, twice, &["10.96.0.9", "fd00::9"]);
    assert_eq!((shown.len(), lacking), (2, 0), "one of each family");
}
