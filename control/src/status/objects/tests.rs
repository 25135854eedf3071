//! The objects of Gateways against a scripted API server.

use serde_json::json;

use super::super::fake::Fake;
use super::*;

const SERVICE: &str = "/api/v1/namespaces/ns/services/ringway-a";

fn wanted(port: u16) -> Infrastructure {
    let owners = json!([{"kind": "Gateway", "name": "a", "uid": "u", "controller": true}]);
    Infrastructure {
        uid: "u".into(),
        service: json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "ringway-a", "namespace": "ns", "annotations": {},
                         "ownerReferences": owners},
            "spec": {"ports": [{"port": port}]}}),
        slices: vec![json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "ringway-a-ipv4", "namespace": "ns", "annotations": {},
                         "ownerReferences": owners},
            "addressType": "IPv4", "endpoints": []})],
    }
}

#[tokio::test]
async fn what_is_missing_is_made_and_what_is_equal_is_not_written() {
    let (fake, client) = Fake::start().await;
    assert_eq!(apply::all(client.clone(), &wanted(80)).await.unwrap().written, 2);
    assert_eq!(fake.object(SERVICE)["spec"]["ports"][0]["port"], 80);
    assert_eq!(apply::all(client.clone(), &wanted(80)).await.unwrap().written, 0);
    assert_eq!(apply::all(client.clone(), &wanted(81)).await.unwrap().written, 1);
    let listing = apply::list(client).await.unwrap();
    let (old, new) = (wanted(80), wanted(81));
    assert!(objects(&new).all(|object| listing.holds(object, "u")));
    assert!(!listing.holds(&old.service, "u"));
    assert!(!listing.holds(&new.service, "of another Gateway of that name"));
}

#[tokio::test]
async fn a_foreign_object_of_that_name_is_left_alone() {
    let (fake, client) = Fake::start().await;
    let foreign = json!({"metadata": {"name": "ringway-a", "namespace": "ns"}, "spec": {"a": 1}});
    fake.put(SERVICE, foreign.clone());
    let applied = apply::all(client, &wanted(80)).await.unwrap();
    assert_eq!(applied.foreign.unwrap(), "Service ns/ringway-a");
    assert_eq!(fake.object(SERVICE)["spec"], foreign["spec"]);
    assert_eq!(applied.written, 1, "the slice");
}

#[tokio::test]
async fn somebody_who_writes_at_the_same_time_is_a_conflict() {
    let (fake, client) = Fake::start().await;
    fake.lock().faults = [404, 409].into();
    let outcome = apply::all(client, &wanted(80)).await;
    assert!(matches!(outcome, Err(Fault::Conflict)), "{outcome:?}");
}

#[tokio::test]
async fn a_cluster_ip_that_is_refused_is_left_to_the_cluster() {
    let (fake, client) = Fake::start().await;
    let mut wanted = wanted(80);
    wanted.service["spec"]["clusterIP"] = json!("203.0.113.1");
    fake.lock().faults = [404, 422].into();
    assert_eq!(apply::all(client.clone(), &wanted).await.unwrap().written, 2);
    let there = fake.object(SERVICE);
    assert_eq!(
        (&there["spec"]["clusterIP"], &there["spec"]["ports"][0]["port"]),
        (&json!(null), &json!(80))
    );
    wanted.service["spec"]["clusterIP"] = json!("10.96.0.9");
    assert_eq!(apply::all(client, &wanted).await.unwrap().written, 1);
    assert_eq!(fake.object(SERVICE)["spec"]["clusterIP"], "10.96.0.9");
}
