//! The writer against a scripted API server.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::fake::{Fake, until};
use super::*;
use crate::api::{Kind, Name};
use crate::kube::Observed;
use crate::state::{About, State};
use crate::translate::status::{
    Condition, ConditionType, GatewayClassStatus, GatewayStatus, ListenerStatus, Reason,
};

const VERSION: &str = "gateway.networking.k8s.io/v1";

struct Rig {
    fake: Fake,
    observed: ObservedStatuses,
    statuses: watch::Sender<Arc<Statuses>>,
    leads: watch::Sender<bool>,
    state: Shared,
}

fn path(name: &str) -> String {
    format!("{}/{name}", Kind::GatewayClass.path(VERSION, None))
}

impl Rig {
    async fn start() -> Self {
        let (fake, client) = Fake::start().await;
        let observed = ObservedStatuses::default();
        observed.set_version(Kind::GatewayClass, Some(VERSION));
        observed.set_live(true);
        let (statuses, installed) = watch::channel(Arc::default());
        let (leads, leading) = watch::channel(false);
        let about = About {
            runtime: "epoll",
            runtime_reason: String::new(),
            cores: Vec::new(),
            admin: None,
            started: std::time::SystemTime::UNIX_EPOCH,
        };
        let state = Shared::new(State::new(about));
        let parts = Parts {
            client,
            observed: observed.clone(),
            statuses: installed,
            leads: leading,
            state: state.clone(),
        };
        tokio::spawn(Writer::new(parts).run());
        Self { fake, observed, statuses, leads, state }
    }

    /// The server has a class, and the watch shows it.
    fn class(&self, name: &str, status: Value) {
        let object = json!({"metadata": {"name": name, "uid": name, "generation": 1},
                            "status": status});
        self.fake.put(&path(name), object);
        self.show(name);
    }

    /// The watch shows what the server has.
    fn show(&self, name: &str) {
        let object = self.fake.object(&path(name));
        let text = |value: &Value| value.as_str().unwrap().into();
        let observed = Observed {
            uid: text(&object["metadata"]["uid"]),
            resource_version: text(&object["metadata"]["resourceVersion"]),
            generation: 1,
            status: serde_json::value::to_raw_value(&object["status"]).ok(),
            fault: None,
        };
        self.observed.put(Kind::GatewayClass, Name::new("", name), observed);
    }

    /// Every shard runs a configuration in which these classes are accepted, with `message`.
    fn want(&self, names: &[&str], message: &str) {
        let status = || {
            let message = message.to_owned();
            let accepted = ConditionType::Accepted;
            let condition = Condition::holds(accepted, Reason::Accepted, message, 1);
            GatewayClassStatus { conditions: vec![condition], supported_features: Vec::new() }
        };
        let gateway_classes: BTreeMap<_, _> =
            names.iter().map(|name| (Name::new("", name), status())).collect();
        self.statuses.send_replace(Arc::new(Statuses { gateway_classes, ..Statuses::default() }));
    }

    fn message(&self, name: &str) -> Value {
        self.fake.object(&path(name))["status"]["conditions"][0]["message"].clone()
    }
}

#[tokio::test]
async fn nothing_is_written_before_we_lead_and_each_status_once_then() {
    let rig = Rig::start().await;
    rig.class("a", json!({}));
    rig.class("b", json!({}));
    rig.want(&["a", "b"], "one");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.fake.lock().log.len(), 0);
    rig.leads.send_replace(true);
    until("both are written", || rig.message("a") == "one" && rig.message("b") == "one").await;
    rig.show("a");
    rig.show("b");
    rig.want(&["a", "b"], "one");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.fake.lock().log.len(), 2, "equal statuses cost nothing");
    assert_eq!(rig.state.lock().status_writes.written, 2);
}

#[tokio::test]
async fn what_the_watch_does_not_show_yet_is_known_from_the_answer() {
    let rig = Rig::start().await;
    rig.class("a", json!({}));
    rig.leads.send_replace(true);
    for message in ["one", "two", "three"] {
        rig.want(&["a"], message);
        until("it is written", || rig.message("a") == message).await;
        // The answer is on its way to the writer.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((rig.fake.count("PATCH"), rig.fake.count("GET")), (3, 0));
    assert_eq!(rig.state.lock().status_writes.conflicts, 0);
}

#[tokio::test]
async fn a_conflict_is_answered_from_a_fresh_read_that_keeps_what_others_wrote() {
    let rig = Rig::start().await;
    rig.class("a", json!({}));
    let foreign = json!({"type": "example.com/Seeded", "status": "True"});
    let object = json!({"metadata": {"name": "a", "uid": "a"},
                        "status": {"conditions": [foreign]}});
    rig.fake.put(&path("a"), object);
    rig.leads.send_replace(true);
    rig.want(&["a"], "one");
    let status = || rig.fake.object(&path("a"))["status"]["conditions"].clone();
    until("it is written", || status().as_array().is_some_and(|all| all.len() == 2)).await;
    assert_eq!(status()[0], foreign);
    assert_eq!(rig.state.lock().status_writes.conflicts, 1);
}

#[tokio::test]
async fn an_object_that_went_meanwhile_is_dropped() {
    let rig = Rig::start().await;
    rig.class("a", json!({}));
    rig.fake.lock().objects.clear();
    rig.leads.send_replace(true);
    rig.want(&["a"], "one");
    until("it was tried", || rig.fake.count("PATCH") == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.fake.lock().log.len(), 1);
}

#[tokio::test]
async fn a_server_that_is_overloaded_or_away_is_asked_now_and_then_and_gets_everything_later() {
    let rig = Rig::start().await;
    let names: Vec<String> = (0..40).map(|n| format!("c{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.iter().for_each(|name| rig.class(name, json!({})));
    rig.fake.lock().is_away = true;
    rig.leads.send_replace(true);
    rig.want(&names, "one");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tries = rig.fake.lock().log.len();
    // One moment's worth of requests, then one for every pause of at least 50 ms that doubles.
    assert!((1..=IN_FLIGHT_MAX * 2 + 12).contains(&tries), "{tries} requests in a second");
    {
        let mut server = rig.fake.lock();
        server.is_away = false;
        server.faults = [429, 500].into();
    }
    until("all are written", || names.iter().all(|name| rig.message(name) == "one")).await;
}

#[tokio::test]
async fn a_status_that_the_server_does_not_take_holds_up_no_other() {
    let rig = Rig::start().await;
    rig.class("a", json!({}));
    rig.class("b", json!({}));
    rig.fake.lock().faults = [422].into();
    rig.leads.send_replace(true);
    rig.want(&["a", "b"], "one");
    until("one is written", || rig.fake.count("PATCH") == 2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.fake.count("PATCH"), 2, "the other waits");
    rig.want(&["a", "b"], "two");
    until("both are written", || rig.message("a") == "two" && rig.message("b") == "two").await;
}

#[tokio::test]
async fn whoever_no_longer_leads_stops_at_once() {
    let rig = Rig::start().await;
    rig.class("a", json!({}));
    rig.leads.send_replace(true);
    rig.want(&["a"], "one");
    until("it is written", || rig.message("a") == "one").await;
    rig.leads.send_replace(false);
    rig.want(&["a"], "two");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.message("a"), "one");
    rig.leads.send_replace(true);
    until("it is written again", || rig.message("a") == "two").await;
}

#[tokio::test]
async fn nothing_is_written_from_a_snapshot_of_another_day() {
    let rig = Rig::start().await;
    rig.class("a", json!({}));
    rig.observed.set_live(false);
    rig.leads.send_replace(true);
    rig.want(&["a"], "old");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.fake.lock().log.len(), 0);
    rig.observed.set_live(true);
    until("it is written", || rig.message("a") == "old").await;
}

impl Rig {
    /// Every shard runs a configuration in which `count` routes are attached to the Gateway `g`.
    fn want_attached(&self, count: usize) {
        let listener = ListenerStatus {
            name: "http".into(),
            supported_kinds: Vec::new(),
            attached_routes: count,
            conditions: Vec::new(),
        };
        let status = GatewayStatus {
            addresses: Vec::new(),
            attached_listener_sets: 0,
            conditions: Vec::new(),
            listeners: vec![listener],
        };
        let gateways = BTreeMap::from([(Name::new("ns", "g"), status)]);
        self.statuses.send_replace(Arc::new(Statuses { gateways, ..Statuses::default() }));
    }
}

#[tokio::test]
async fn a_count_of_routes_is_written_at_most_once_a_second_and_always_at_last() {
    let rig = Rig::start().await;
    rig.observed.set_version(Kind::Gateway, Some(VERSION));
    let path = format!("{}/g", Kind::Gateway.path(VERSION, Some("ns")));
    rig.fake.put(&path, json!({"metadata": {"name": "g", "uid": "g"}, "status": {}}));
    let observed = Observed {
        uid: "g".into(),
        resource_version: "1".into(),
        generation: 1,
        status: None,
        fault: None,
    };
    rig.observed.put(Kind::Gateway, Name::new("ns", "g"), observed);
    rig.leads.send_replace(true);
    let since = std::time::Instant::now();
    for count in 1..=60 {
        rig.want_attached(count);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let attached = || {
        let object = rig.fake.object(&path);
        object["status"]["listeners"][0]["attachedRoutes"].clone()
    };
    until("the last count is written", || attached() == 60).await;
    let seconds = since.elapsed().as_secs_f64();
    let writes = rig.fake.count("PATCH");
    assert!(writes as f64 <= seconds + 1.0, "{writes} in {seconds} s");
}

#[tokio::test]
async fn an_object_that_cannot_be_written_holds_up_no_other_and_is_tried_now_and_then() {
    for code in [403, 500] {
        let rig = Rig::start().await;
        rig.class("a", json!({}));
        rig.class("b", json!({}));
        rig.fake.lock().refused = Some((path("a"), code));
        rig.leads.send_replace(true);
        for message in ["one", "two", "three"] {
            rig.want(&["a", "b"], message);
            until("the other is written", || rig.message("b") == message).await;
            rig.show("b");
        }
        let tries = rig.fake.count("PATCH");
        assert!(tries <= 2 * 3 + 3, "{tries} writes");
        rig.fake.lock().refused = None;
        until("it is written in the end", || rig.message("a") == "three").await;
    }
}

#[tokio::test]
async fn two_who_change_back_what_the_other_wrote_do_not_spin() {
    let rig = Rig::start().await;
    rig.class("a", json!({}));
    rig.leads.send_replace(true);
    rig.want(&["a"], "ours");
    for round in 1..=REPEATS_MAX as usize {
        until("it is written", || rig.fake.count("PATCH") == round).await;
        rig.class("a", json!({}));
    }
    let since = std::time::Instant::now();
    for _ in 0..20 {
        rig.class("a", json!({}));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let more = rig.fake.count("PATCH") - REPEATS_MAX as usize;
    // The first wait is half a second at least.
    assert!(more as f64 <= since.elapsed().as_secs_f64() / 0.5 + 1.0, "{more} more writes");
    until("it is written again", || rig.message("a") == "ours").await;
}
