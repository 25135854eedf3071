//! The source of a cluster against a scripted API server: what a real one cannot do on demand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake;
mod snapshot;

use std::time::{Duration, Instant};

use control::api::{Kind, Name};
use control::kube::{KubeSource, Options, START_INTERVAL};
use control::source::{Built, Source};
use control::translate::status::ConditionType;
use fake::{Fake, Fault, bookmark, next, until};

/// The first start comes at once, each other at least an interval after the one before, and a
/// request is counted no earlier than it was sent: so this holds on any machine, however slow.
fn assert_bounded(requests: usize, since: Instant) {
    let intervals = since.elapsed().as_secs_f64() / START_INTERVAL.as_secs_f64();
    assert!(requests as f64 <= intervals + 1.0, "{requests} in {intervals} intervals");
}

fn routes(built: &Built) -> usize {
    built.statuses.http_routes.len()
}

async fn started(fake: &Fake, expected: usize) -> KubeSource {
    let mut source = fake.source(Options::default()).await;
    let built = next(&mut source).await;
    assert_eq!(routes(&built), expected, "the first build holds everything: {:?}", built.problems);
    source
}

/// Follows the source until `count` routes are there; a build with fewer than `least` fails.
async fn follow(source: &mut KubeSource, least: usize, count: usize) -> Built {
    until(source, |built| {
        assert!(routes(built) >= least, "a part was built: {}", routes(built));
        routes(built) == count
    })
    .await
}

#[tokio::test]
async fn a_watch_that_expires_is_listed_again_and_nothing_is_missed() {
    let fake = Fake::start(3).await;
    let mut source = started(&fake, 3).await;
    fake.cut("httproutes", true);
    fake.put_route("late", "s");
    follow(&mut source, 3, 4).await;
    let expired = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
    fake.send("httproutes", &format!("{expired}\n"));
    fake.put_route("later", "s");
    let built = follow(&mut source, 4, 5).await;
    assert!(built.problems.iter().all(|line| !line.contains("API server")), "{built:?}");
}

#[tokio::test]
async fn a_service_that_names_this_machine_leads_nowhere() {
    let fake = Fake::start(1).await;
    for (host, expected) in [("localhost", 0), ("169.254.169.254", 0), ("192.0.2.1", 1)] {
        let spec =
            format!(r#"{{"type":"ExternalName","externalName":"{host}","ports":[{{"port":80}}]}}"#);
        fake.put("services", "s", &spec);
        let mut source = started(&fake, 1).await;
        let built = source.build().unwrap();
        let found: Vec<_> = built.ir.backends.values().flat_map(|one| &one.endpoints).collect();
        assert_eq!(found.len(), expected, "{host}: {found:?}");
        let told = built.problems.iter().any(|line| line.starts_with("Service a/s: "));
        assert_eq!(told, expected == 0, "{:?}", built.problems);
    }
}

const DEFINITION: &str = "gatewayclasses.gateway.networking.k8s.io";

fn version(built: &Built) -> String {
    let class = built.statuses.gateway_classes.values().next().unwrap();
    let is_version = |kind| kind == ConditionType::SupportedVersion;
    let found = class.conditions.iter().find(|one| is_version(one.kind)).unwrap();
    format!("{:?}: {}", found.status, found.message)
}

#[tokio::test]
async fn a_class_says_that_the_installed_release_is_not_supported() {
    let fake = Fake::start(0).await;
    let annotations = r#"{"gateway.networking.k8s.io/bundle-version":"v9.8.7"}"#;
    fake.set_whole(
        DEFINITION,
        &format!(r#"{{"metadata":{{"annotations":{annotations}}},"spec":{{}}}}"#),
    );
    let mut source = fake.source(Options::default()).await;
    let built = until(&mut source, |built| version(built).starts_with("False")).await;
    assert!(version(&built).contains("v9.8.7"), "{}", version(&built));
}

#[tokio::test]
async fn whoever_may_not_read_the_release_takes_it_for_a_supported_one() {
    let fake = Fake::start(1).await;
    fake.fail(DEFINITION, &[Fault::Status(403)]);
    let mut source = started(&fake, 1).await;
    let asked = || fake.asked(DEFINITION) > 0;
    while !asked() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fake.put_route("after", "s");
    let built = follow(&mut source, 1, 2).await;
    assert!(version(&built).starts_with("True") && built.problems.is_empty(), "{built:?}");
}

#[tokio::test]
async fn half_a_line_is_dropped_and_the_watch_resumed_where_it_was() {
    let fake = Fake::start(1).await;
    let mut source = started(&fake, 1).await;
    fake.put_route("whole", "s");
    follow(&mut source, 1, 2).await;
    fake.send("httproutes", r#"{"type":"DELETED","object":{"metadata":{"name":"r0","#);
    fake.cut("httproutes", false);
    fake.put_route("after", "s");
    follow(&mut source, 2, 3).await;
    let last = fake.requests("httproutes").pop().unwrap();
    assert!(last.contains("resourceVersion=") && !last.contains("sendInitialEvents"), "{last}");
}

#[tokio::test]
async fn a_line_that_is_no_json_is_followed_by_a_list() {
    let fake = Fake::start(1).await;
    let mut source = started(&fake, 1).await;
    fake.send("httproutes", "<html>\n");
    fake.put_route("after", "s");
    follow(&mut source, 1, 2).await;
    let last = fake.requests("httproutes").pop().unwrap();
    assert!(last.contains("sendInitialEvents"), "{last}");
}

#[tokio::test]
async fn a_silent_watch_is_replaced_and_a_bookmark_keeps_one() {
    let fake = Fake::start(1).await;
    let options = Options { silence: Duration::from_millis(700), ..Options::default() };
    let mut source = fake.source(options).await;
    next(&mut source).await;
    fake.fail("httproutes", &[Fault::Silence]);
    fake.cut("httproutes", false);
    fake.put_route("unheard", "s");
    // Another kind's watch hears a bookmark again and again: it is not replaced.
    let noisy = fake.clone();
    let noise = tokio::spawn(async move {
        loop {
            noisy.send("gateways", &bookmark(1_000, false));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    follow(&mut source, 1, 2).await;
    noise.abort();
    assert_eq!(fake.requests("gateways").len(), 1);
    assert!(fake.requests("httproutes").len() > 2);
}

#[tokio::test]
async fn a_server_that_streams_no_lists_is_read_page_by_page() {
    let fake = Fake::start(5).await;
    fake.set_no_streaming();
    let mut source = started(&fake, 5).await;
    let requests = fake.requests("httproutes");
    let pages = requests.iter().filter(|uri| uri.contains("limit=500")).count();
    assert_eq!(pages, 3, "two on a page");
    fake.put_route("watched", "s");
    follow(&mut source, 5, 6).await;
}

#[tokio::test]
async fn a_server_that_says_once_to_come_back_is_not_away() {
    let fake = Fake::start(1).await;
    fake.fail("httproutes", &[Fault::Status(429)]);
    let mut source = fake.source(Options::default()).await;
    loop {
        source.changed().await;
        assert!(!source.awaits().is_some_and(|what| what.contains("away")), "{source:?}");
        if let Some(built) = source.build() {
            assert_eq!((routes(&built), &built.problems[..]), (1, &[][..]));
            return;
        }
    }
}

#[tokio::test]
async fn a_list_whose_second_page_fails_gives_nothing_until_it_is_whole() {
    let fake = Fake::start(5).await;
    fake.set_no_streaming();
    fake.fail("httproutes", &[Fault::SecondPage]);
    started(&fake, 5).await;
    let first = |uri: &String| uri.contains("limit=500") && !uri.contains("continue");
    let lists = fake.requests("httproutes").iter().filter(|uri| first(uri)).count();
    assert_eq!(lists, 2);
}

#[tokio::test]
async fn a_server_that_refuses_is_asked_at_most_once_a_second_and_nothing_is_built() {
    let since = Instant::now();
    let fake = Fake::start(1).await;
    fake.fail("httproutes", &[Fault::Status(500), Fault::Status(429), Fault::Status(503)]);
    let mut source = fake.source(Options::default()).await;
    assert!(source.build().is_none());
    let mut awaited = Vec::new();
    while source.build().is_none() {
        awaited.extend(source.awaits());
        source.changed().await;
    }
    assert!(awaited.last().unwrap().contains("HTTPRoute"), "{awaited:?}");
    assert_eq!(source.awaits(), None);
    let requests = fake.requests("httproutes");
    assert_eq!(requests.len(), 4);
    assert_bounded(requests.len(), since);
}

#[tokio::test]
async fn a_watch_that_ends_again_and_again_is_no_hot_loop() {
    let since = Instant::now();
    let fake = Fake::start(1).await;
    fake.set_ends_watches("httproutes");
    let mut source = fake.source(Options::default()).await;
    next(&mut source).await;
    fake.put_route("a", "s");
    follow(&mut source, 1, 2).await;
    fake.put_route("b", "s");
    follow(&mut source, 2, 3).await;
    assert_bounded(fake.requests("httproutes").len(), since);
}

#[tokio::test]
async fn reading_again_lists_every_kind_once_more_and_misses_nothing() {
    let since = Instant::now();
    let fake = Fake::start(2).await;
    let mut source = started(&fake, 2).await;
    // The watch never hears of what is shown again.
    let all = fake.hide("httproutes", 1);
    source.reread();
    follow(&mut source, 1, 1).await;
    fake.show("httproutes", all);
    source.reread();
    follow(&mut source, 1, 2).await;
    let asked = fake.requests("httproutes");
    assert_eq!(asked.len(), 3);
    assert_bounded(asked.len(), since);
}

#[tokio::test]
async fn a_kind_without_crd_is_empty_until_it_appears() {
    let fake = Fake::start(2).await;
    fake.set_missing("httproutes", true);
    let mut source = started(&fake, 0).await;
    fake.set_missing("httproutes", false);
    follow(&mut source, 0, 2).await;
    let asked = fake.requests("httproutes");
    assert!(asked.iter().any(|uri| uri.contains("/v1beta1/")), "every version is tried");
}

#[tokio::test]
async fn a_list_that_lost_most_objects_is_believed_only_when_repeated() {
    let fake = Fake::start(12).await;
    let mut source = started(&fake, 12).await;
    let all = fake.hide("httproutes", 2);
    let lists = || fake.requests("httproutes").len();
    let before = lists();
    fake.cut("httproutes", true);
    let healer = {
        let fake = fake.clone();
        tokio::spawn(async move {
            while fake.requests("httproutes").len() < before + 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            fake.show("httproutes", all);
        })
    };
    // The resumed watch is refused, then comes the list that lacks ten.
    tokio::select! {
        _ = follow(&mut source, 12, usize::MAX) => unreachable!(),
        () = async {
            while lists() < before + 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
    healer.await.unwrap();
    fake.put_route("more", "s");
    follow(&mut source, 12, 13).await;
    // A loss that a second list confirms is true.
    fake.hide("httproutes", 3);
    fake.cut("httproutes", true);
    follow(&mut source, 3, 3).await;
}

#[tokio::test]
async fn statuses_and_unrelated_objects_cost_no_build_but_the_writer_hears_of_statuses() {
    let fake = Fake::start(1).await;
    let mut source = started(&fake, 1).await;
    let statuses = source.statuses();
    assert!(statuses.is_live());
    assert_eq!(statuses.version(Kind::HttpRoute), Some("gateway.networking.k8s.io/v1"));
    let name = Name::new("a", "r0");
    let before = statuses.get(Kind::HttpRoute, &name).unwrap();
    drop(statuses.take_noted());
    fake.put("services", "unused", r#"{"ports":[{"port":1}]}"#);
    fake.put("secrets", "unused", "{}");
    let spec =
        r#"{"parentRefs":[{"name":"g"}],"rules":[{"backendRefs":[{"name":"s","port":80}]}]}"#;
    fake.put_with("httproutes", "r0", spec, r#"{"parents":[1]}"#);
    tokio::select! {
        () = source.changed() => panic!("nothing changed that matters"),
        () = async { while statuses.get(Kind::HttpRoute, &name).unwrap().status.is_none()
                || !statuses.take_noted().contains(&(Kind::HttpRoute, name.clone())) {
            statuses.changed().await;
        } } => {}
    }
    let now = statuses.get(Kind::HttpRoute, &name).unwrap();
    assert_ne!(before.resource_version, now.resource_version);
    assert_eq!(now.status.as_ref().unwrap().get(), r#"{"parents":[1]}"#);
    let quiet = tokio::time::timeout(Duration::from_millis(100), source.changed()).await;
    assert!(quiet.is_err(), "nothing changed that matters");
    fake.delete("httproutes", "r0");
    follow(&mut source, 0, 0).await;
    assert!(statuses.get(Kind::HttpRoute, &name).is_none());
}

#[tokio::test]
async fn an_object_of_the_wrong_shape_keeps_its_last_good_version_and_holds_up_no_other() {
    let fake = Fake::start(2).await;
    let mut source = started(&fake, 2).await;
    fake.put("httproutes", "r0", r#"{"rules":7}"#);
    let told = |built: &Built| {
        built.problems.iter().filter(|line| line.contains("HTTPRoute a/r0: generation")).count()
    };
    let built = until(&mut source, |built| told(built) == 1).await;
    assert_eq!(routes(&built), 2);
    fake.put_route("other", "s");
    let built = follow(&mut source, 2, 3).await;
    assert_eq!(told(&built), 1);
    let observed = source.statuses().get(Kind::HttpRoute, &Name::new("a", "r0")).unwrap();
    assert!(observed.fault.is_some());
    fake.put_route("r0", "s");
    until(&mut source, |built| told(built) == 0).await;
}

#[tokio::test]
async fn config_maps_are_asked_for_only_when_named() {
    let fake = Fake::start(1).await;
    fake.put("configmaps", "m", "{}");
    let mut source = started(&fake, 1).await;
    assert!(fake.requests("configmaps").is_empty());
    let spec = r#"{"parentRefs":[{"name":"g"}],"rules":[{"filters":[{"type":"ExtensionRef","extensionRef":{"group":"","kind":"ConfigMap","name":"m"}}]}]}"#;
    fake.put("httproutes", "named", spec);
    follow(&mut source, 1, 2).await;
    while fake.requests("configmaps").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fake.requests("configmaps").len(), 1);
}

#[tokio::test]
async fn a_config_map_that_may_not_be_read_holds_up_nobody() {
    let fake = Fake::start(1).await;
    fake.fail("configmaps", &[const { Fault::Status(403) }; 8]);
    let mut source = started(&fake, 1).await;
    let spec = r#"{"parentRefs":[{"name":"g"}],"rules":[{"filters":[{"type":"ExtensionRef","extensionRef":{"group":"","kind":"ConfigMap","name":"m"}}]}]}"#;
    fake.put("httproutes", "named", spec);
    let built = follow(&mut source, 1, 2).await;
    let told = |built: &Built| built.problems.iter().any(|line| line.contains("grant get, list"));
    if !told(&built) {
        until(&mut source, told).await;
    }
}

#[tokio::test]
async fn secrets_of_named_namespaces_only_are_asked_for_there() {
    let fake = Fake::start(1).await;
    let options = Options { secret_namespaces: vec!["a".into(), "b".into()], ..Options::default() };
    let mut source = fake.source(options).await;
    next(&mut source).await;
    let asked = fake.requests("secrets");
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|uri| uri.contains("/namespaces/")), "{asked:?}");
    assert!(asked.iter().all(|uri| uri.contains("fieldSelector=type%3D")), "{asked:?}");
}

const BUNDLES: &str = "clustertrustbundles";

/// A fake whose one Service is protected by a policy that trusts a ClusterTrustBundle.
async fn protected() -> Fake {
    let fake = Fake::start(1).await;
    let reference =
        r#"{"group":"certificates.k8s.io","kind":"ClusterTrustBundle","name":"example.com:ca"}"#;
    let policy = format!(
        r#"{{"targetRefs":[{{"group":"","kind":"Service","name":"s"}}],"validation":{{"hostname":"s.example.com","caCertificateRefs":[{reference}]}}}}"#
    );
    fake.put("backendtlspolicies", "p", &policy);
    fake
}

/// Whether the Service is spoken to, and how the policy's references are told of.
fn trust(built: &Built) -> (bool, String) {
    let policy = &built.statuses.backend_tls_policies[&Name::new("a", "p")];
    let mut conditions = policy.ancestors[0].conditions.iter();
    let found = conditions.find(|one| one.kind == ConditionType::ResolvedRefs).unwrap();
    let spoken = built.ir.backends.values().any(|backend| backend.tls.is_some());
    (spoken, format!("{:?}", found.reason))
}

fn put_bundle(fake: &Fake, pem: &str) {
    let spec = serde_json::json!({"signerName": "example.com/ca", "trustBundle": pem});
    fake.put(BUNDLES, "example.com:ca", &spec.to_string());
}

#[tokio::test]
async fn a_cluster_trust_bundle_is_trusted_as_it_is_now() {
    let fake = protected().await;
    let mut source = started(&fake, 1).await;
    let pem = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
    for (text, expected) in [
        (None, (false, "InvalidCACertificateRef")),
        (Some(&*pem), (true, "ResolvedRefs")),
        (Some("no PEM"), (false, "InvalidCACertificateRef")),
        (Some(&*pem), (true, "ResolvedRefs")),
    ] {
        if let Some(text) = text {
            put_bundle(&fake, text);
        } else {
            fake.put_route("wakes", "s");
        }
        let expected = (expected.0, expected.1.to_owned());
        until(&mut source, |built| trust(built) == expected).await;
    }
}

#[tokio::test]
async fn a_cluster_without_trust_bundles_is_served_and_says_so_until_it_has_them() {
    let fake = protected().await;
    fake.set_missing(BUNDLES, true);
    let mut source = fake.source(Options::default()).await;
    let built = next(&mut source).await;
    assert_eq!(trust(&built), (false, "InvalidKind".to_owned()));
    assert_eq!(routes(&built), 1);
    fake.set_missing(BUNDLES, false);
    source.reread();
    until(&mut source, |built| trust(built).1 == "InvalidCACertificateRef").await;
}

#[tokio::test]
async fn whoever_may_not_read_trust_bundles_serves_all_else() {
    let fake = protected().await;
    fake.fail(BUNDLES, &vec![Fault::Status(403); 100]);
    let mut source = fake.source(Options::default()).await;
    let built = until(&mut source, |built| trust(built).1 == "InvalidCACertificateRef").await;
    let grants = |line: &String| line.contains("grant get, list and watch on clustertrustbundles");
    assert!(built.problems.iter().any(grants), "{:?}", built.problems);
}
