//! TLSRoutes, TCPRoutes and UDPRoutes: which one takes a connection, and where it goes.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "any moment will do for a test")]

mod table_kit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use proxy::balance::Local;
use proxy::epoch::Epoch;
use proxy::fault::Fault;
use proxy::ir::*;
use proxy::stream::{self, Pick};
use table_kit::{compile, hostname, port};

fn stream(name: &str, hostnames: &[&str], backends: &[(&str, u32)]) -> AttachedStream {
    let reference = |&(name, weight): &(&str, u32)| BackendRef {
        target: match name.strip_prefix('!') {
            Some(bad) => Target::Invalid(bad.into()),
            None => Target::Backend(name.into()),
        },
        weight,
        filters: Vec::new(),
    };
    let backends = backends.iter().map(reference).collect();
    AttachedStream {
        hostnames: hostnames.iter().map(|name| hostname(name)).collect(),
        route: Arc::new(StreamRoute { name: name.into(), created: 0, backends }),
    }
}

/// One listener with these routes; `a` and `b` have an endpoint each, `many` has three, `none` none.
fn config(protocol: Protocol, streams: Vec<AttachedStream>) -> Ir {
    let listener = Listener {
        name: "ns/gw/l".into(),
        kind: ListenerKind::Stream,
        streams,
        ..Listener::default()
    };
    let backend = |name: &str, ports: &[u16]| {
        let endpoints = ports.iter().map(|&port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
        (name.into(), Arc::new(Backend { endpoints, ..Backend::default() }))
    };
    let backends = [("a", &[1][..]), ("b", &[2]), ("many", &[3, 4, 5]), ("none", &[])];
    let backends = backends.map(|(name, ports)| backend(name, ports)).into();
    Ir { ports: vec![port(protocol, vec![listener])], backends }
}

fn route_of<'e>(epoch: &'e Epoch, sni: Option<&str>) -> Option<&'e str> {
    epoch.ports[0].listeners[0].stream(sni).map(|route| &*route.name)
}

fn start<'e>(epoch: &'e Epoch, local: &mut Local) -> Result<Pick<'e>, Fault> {
    let route = epoch.ports[0].listeners[0].stream(None).expect("a route without hostname");
    stream::start(route, epoch, local, Instant::now())
}

fn local(epoch: &Epoch) -> Local {
    let mut local = Local::new(0, 7);
    local.install(epoch);
    local
}

#[test]
fn sni_finds_exact_then_the_longest_wildcard_then_routes_without_hostname_and_the_oldest_of_equals()
{
    let routes = vec![
        stream("ns/any", &[], &[("a", 1)]),
        stream("ns/wide", &["*.example.com"], &[("a", 1)]),
        stream("ns/deep", &["*.deep.example.com", "second.example.org"], &[("a", 1)]),
        stream("ns/exact", &["one.example.com"], &[("a", 1)]),
        stream("ns/younger", &["one.example.com", "*.example.com"], &[("a", 1)]),
        stream("ns/any-younger", &[], &[("a", 1)]),
    ];
    let epoch = compile(1, &config(Protocol::Tls, routes), None);
    for (sni, wanted) in [
        (Some("one.example.com"), "ns/exact"),
        (Some("two.example.com"), "ns/wide"),
        (Some("x.y.example.com"), "ns/wide"),
        (Some("x.deep.example.com"), "ns/deep"),
        (Some("deep.example.com"), "ns/wide"),
        (Some("second.example.org"), "ns/deep"),
        (Some("example.com"), "ns/any"),
        (Some("else.org"), "ns/any"),
        (None, "ns/any"),
    ] {
        assert_eq!(route_of(&epoch, sni), Some(wanted), "{sni:?}");
    }
}

#[test]
fn a_name_that_no_route_covers_has_none() {
    let routes = vec![stream("ns/one", &["one.example.com"], &[("a", 1)])];
    let epoch = compile(1, &config(Protocol::Tls, routes), None);
    assert_eq!(route_of(&epoch, Some("two.example.com")), None);
    assert_eq!(route_of(&epoch, None), None);
}

#[test]
fn a_tcp_or_udp_port_has_one_route_the_oldest() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let routes = vec![stream("ns/old", &[], &[("a", 1)]), stream("ns/new", &[], &[("b", 1)])];
        let epoch = compile(1, &config(protocol, routes), None);
        assert_eq!(route_of(&epoch, None), Some("ns/old"), "{protocol:?}");
        let none = compile(1, &config(protocol, Vec::new()), None);
        assert_eq!(route_of(&none, None), None);
    }
}

#[test]
fn connections_are_shared_out_by_weight_and_a_weight_of_zero_takes_none() {
    let backends = [("a", 3), ("b", 1), ("many", 0)];
    let epoch = compile(1, &config(Protocol::Tcp, vec![stream("ns/r", &[], &backends)]), None);
    let mut local = local(&epoch);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..40 {
        let pick = start(&epoch, &mut local).expect("both have an endpoint");
        *seen.entry(pick.backend.name.to_string()).or_insert(0) += 1;
    }
    assert_eq!(seen, [("a".to_owned(), 30), ("b".to_owned(), 10)].into());
}

#[test]
fn what_cannot_be_reached_is_refused_by_its_own_reason() {
    for (backends, wanted) in [
        (&[][..], Fault::BackendInvalid),
        (&[("a", 0)], Fault::BackendInvalid),
        (&[("!missing", 1)], Fault::BackendInvalid),
        (&[("none", 1)], Fault::NoEndpoints),
    ] {
        let epoch = compile(1, &config(Protocol::Tcp, vec![stream("ns/r", &[], backends)]), None);
        let refused = start(&epoch, &mut local(&epoch)).map(|pick| pick.address);
        assert_eq!(refused, Err(wanted), "{backends:?}");
    }
}

#[test]
fn an_invalid_reference_keeps_its_share() {
    let backends = [("a", 1), ("!missing", 1)];
    let epoch = compile(1, &config(Protocol::Tcp, vec![stream("ns/r", &[], &backends)]), None);
    let mut local = local(&epoch);
    let refused = (0..10).filter(|_| start(&epoch, &mut local).is_err()).count();
    assert_eq!(refused, 5);
}

#[test]
fn another_try_goes_to_another_endpoint_of_the_same_backend_or_nowhere() {
    let one = compile(1, &config(Protocol::Tcp, vec![stream("ns/r", &[], &[("a", 1)])]), None);
    let mut state = local(&one);
    let pick = start(&one, &mut state).expect("an endpoint");
    assert!(pick.elsewhere(&mut state, Instant::now()).is_none());

    let many = compile(1, &config(Protocol::Tcp, vec![stream("ns/r", &[], &[("many", 1)])]), None);
    let mut state = local(&many);
    let pick = start(&many, &mut state).expect("an endpoint");
    let other = pick.elsewhere(&mut state, Instant::now()).expect("two others");
    assert_ne!(other.address, pick.address);
    assert_eq!(other.backend.name, pick.backend.name);
}

#[test]
fn an_equal_route_is_shared_and_keeps_its_cycle_when_another_changes() {
    let equal = || stream("ns/same", &["same.example"], &[("a", 1), ("b", 1)]);
    let first = compile(
        1,
        &config(Protocol::Tls, vec![equal(), stream("ns/x", &["x.example"], &[("a", 1)])]),
        None,
    );
    let edited = config(Protocol::Tls, vec![stream("ns/x", &["x.example"], &[("b", 1)]), equal()]);
    let second = compile(2, &edited, Some(&first));
    let of = |epoch: &Epoch, sni| {
        let route = epoch.ports[0].listeners[0].stream(Some(sni)).expect("a route");
        (std::ptr::from_ref(route).addr(), route.cursor)
    };
    assert_eq!(of(&first, "same.example"), of(&second, "same.example"));
    assert_ne!(of(&first, "x.example").0, of(&second, "x.example").0);
    let third = compile(3, &edited, Some(&second));
    assert!(Arc::ptr_eq(&second.ports[0], &third.ports[0]), "nothing changed");
}

#[test]
fn routes_of_different_kinds_with_one_name_have_cycles_of_their_own() {
    let route = || vec![stream("ns/r", &[], &[("a", 1), ("b", 1)])];
    let mut both = config(Protocol::Tcp, route());
    both.ports.extend(config(Protocol::Udp, route()).ports);
    let epoch = compile(1, &both, None);
    let cursor = |at: usize| epoch.ports[at].listeners[0].stream(None).expect("a route").cursor;
    assert_ne!(cursor(0), cursor(1));
}
