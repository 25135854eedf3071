//! The Lease against a scripted API server.

use serde_json::json;
use tokio::sync::oneshot;

use super::*;
use crate::status::fake::{Fake, until};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/ringway";

fn lease(holder: &str) -> serde_json::Value {
    json!({"metadata": {"name": "ringway", "namespace": "ns"},
           "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}})
}

fn holder(fake: &Fake) -> serde_json::Value {
    fake.object(PATH)["spec"]["holderIdentity"].clone()
}

#[tokio::test]
async fn the_first_candidate_leads_and_gives_the_lease_back_at_the_end() {
    let (fake, client) = Fake::start().await;
    let (lease, leads) = Lease::new(client, "ns", "me");
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(lease.keep(async move { drop(stopped.await) }));
    until("it leads", || *leads.borrow()).await;
    assert_eq!(holder(&fake), "me");
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(holder(&fake), "");
    assert!(!*leads.borrow());
}

#[tokio::test]
async fn a_lease_that_was_given_back_is_taken_at_once() {
    let (fake, client) = Fake::start().await;
    fake.put(PATH, lease(""));
    let (lease, leads) = Lease::new(client, "ns", "me");
    tokio::spawn(lease.keep(std::future::pending()));
    until("it leads", || *leads.borrow()).await;
    assert_eq!(fake.object(PATH)["spec"]["leaseTransitions"], 0);
}

#[tokio::test]
async fn a_lease_of_another_is_respected_and_a_stolen_one_ends_the_lead() {
    let (fake, client) = Fake::start().await;
    fake.put(PATH, lease("other"));
    let (mut candidate, leads) = Lease::new(client, "ns", "me");
    candidate.turn().await;
    assert!(!*leads.borrow() && fake.count("PUT") == 0);
    fake.put(PATH, lease(""));
    candidate.turn().await;
    assert!(*leads.borrow());
    candidate.turn().await;
    assert_eq!((fake.count("PUT"), fake.count("GET")), (2, 2), "a renewal reads nothing");
    fake.put(PATH, lease("thief"));
    candidate.turn().await;
    assert!(!*leads.borrow(), "stolen");
    assert_eq!(holder(&fake), "thief");
}

#[tokio::test]
async fn a_race_for_the_lease_is_lost_quietly() {
    let (fake, client) = Fake::start().await;
    fake.put(PATH, lease(""));
    // The read succeeds, the write meets a newer version.
    fake.lock().faults = [0, 409].into();
    let (mut candidate, leads) = Lease::new(client, "ns", "me");
    candidate.turn().await;
    assert!(!*leads.borrow());
    candidate.turn().await;
    assert!(*leads.borrow());
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_lead_until_the_deadline_only() {
    let (fake, client) = Fake::start().await;
    let (mut candidate, leads) = Lease::new(client, "ns", "me");
    candidate.turn().await;
    assert!(*leads.borrow());
    fake.lock().is_away = true;
    candidate.turn().await;
    assert!(*leads.borrow(), "one failure is not the end");
    candidate.renewed = candidate.renewed.map(|at| at.checked_sub(RENEW_DEADLINE).unwrap());
    candidate.turn().await;
    assert!(!*leads.borrow());
    fake.lock().is_away = false;
    candidate.turn().await;
    assert!(*leads.borrow(), "our own Lease from before is ours again");
    assert_eq!(fake.object(PATH)["spec"]["leaseTransitions"], 0);
}
