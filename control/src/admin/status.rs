//! `/status`: the state as one JSON document for people and scripts, and its printed form.
//!
//! Fields may be added in a release, never renamed or removed. It holds no secrets, since the state
//! holds none. Called by the admin pages (JSON) and by `ringway status` (text).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use runtime::cores::CoreId;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::Name;
use crate::listening;
use crate::report::Phase;
use crate::state::{ShardState, State};
use crate::translate::status::{
    GatewayClassStatus, GatewayStatus, ListenerSetStatus, PolicyStatus, RouteStatus,
};

/// The document.
#[must_use]
pub fn json(state: &State) -> String {
    let about = &state.about;
    let shards = state.shards.iter().zip(&about.cores).enumerate();
    let started = about.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let document = Document {
        version: env!("CARGO_PKG_VERSION"),
        started: jiff::Timestamp::from_second(started.as_secs().try_into().unwrap_or(0))
            .ok()
            .map(|at| at.to_string()),
        ready: state.ready().is_ok(),
        reason: state.ready().err(),
        runtime: json!({ "name": about.runtime, "reason": about.runtime_reason }),
        admin: about.admin.map(|address| address.to_string()),
        epoch: json!({ "published": state.published, "installed": state.installed() }),
        shards: shards.map(|(i, (shard, core))| shard_json(i, *core, shard)).collect(),
        gateways: state.gateways,
        status_writes: json!({
            "written": state.status_writes.written,
            "conflicts": state.status_writes.conflicts,
            "failed": state.status_writes.failed,
        }),
        problems: &state.problems,
        objects: Objects {
            gateway_classes: &state.statuses.gateway_classes,
            gateways: listening::gateways(state),
            grpc_routes: &state.statuses.grpc_routes,
            http_routes: &state.statuses.http_routes,
            listener_sets: &state.statuses.listener_sets,
            tcp_routes: &state.statuses.tcp_routes,
            tls_routes: &state.statuses.tls_routes,
            udp_routes: &state.statuses.udp_routes,
            backend_tls_policies: &state.statuses.backend_tls_policies,
        },
    };
    let mut text = serde_json::to_string_pretty(&document).expect("plain values serialise");
    text.push('\n');
    text
}

/// Written field by field, so that ten thousand routes make no tree of values on the way.
#[derive(Serialize)]
struct Document<'s> {
    version: &'static str,
    started: Option<String>,
    ready: bool,
    reason: Option<String>,
    runtime: Value,
    admin: Option<String>,
    epoch: Value,
    shards: Vec<Value>,
    gateways: usize,
    status_writes: Value,
    problems: &'s [String],
    objects: Objects<'s>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Objects<'s> {
    gateway_classes: &'s BTreeMap<Name, GatewayClassStatus>,
    gateways: BTreeMap<Name, GatewayStatus>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    grpc_routes: &'s BTreeMap<Name, Arc<RouteStatus>>,
    http_routes: &'s BTreeMap<Name, Arc<RouteStatus>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    listener_sets: &'s BTreeMap<Name, ListenerSetStatus>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tcp_routes: &'s BTreeMap<Name, Arc<RouteStatus>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tls_routes: &'s BTreeMap<Name, Arc<RouteStatus>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    udp_routes: &'s BTreeMap<Name, Arc<RouteStatus>>,
    #[serde(rename = "backendTLSPolicies", skip_serializing_if = "BTreeMap::is_empty")]
    backend_tls_policies: &'s BTreeMap<Name, Arc<PolicyStatus>>,
}

fn shard_json(index: usize, core: Option<CoreId>, shard: &ShardState) -> Value {
    let listeners = shard.listeners.iter();
    json!({
        "shard": index,
        "core": core.map(|CoreId(core)| core),
        "installed": shard.installed,
        "install_lag_ms": shard.install_lag.as_secs_f64() * 1e3,
        "phase": phase(shard.phase),
        "connections": shard.connections,
        "udp_sessions": shard.udp_sessions,
        "upstream_idle": shard.upstream_idle,
        "listeners": listeners
            .map(|l| json!({
                "transport": l.transport.name().to_ascii_lowercase(),
                "address": l.address.to_string(),
                "error": l.error,
            }))
            .collect::<Vec<_>>(),
    })
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Serving => "serving",
        Phase::Draining => "draining",
        Phase::Ended => "ended",
    }
}

/// The document as `ringway status` prints it.
#[must_use]
pub fn text(document: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut out = String::new();
    let ready = match document["reason"].as_str() {
        None => "ready".to_owned(),
        Some(why) => format!("not ready: {why}"),
    };
    let _ = writeln!(out, "ringway {}: {ready}", word(&document["version"]));
    let runtime = &document["runtime"];
    let _ = writeln!(out, "runtime   {} ({})", word(&runtime["name"]), word(&runtime["reason"]));
    let _ = writeln!(out, "started   {}", word(&document["started"]));
    let epoch = &document["epoch"];
    let _ = writeln!(
        out,
        "epoch     {} published, {} installed everywhere",
        word(&epoch["published"]),
        word(&epoch["installed"])
    );
    let _ = writeln!(out, "gateways  {}", word(&document["gateways"]));
    out.push_str("\nshard  core  phase      epoch  connections  listeners\n");
    for shard in document["shards"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "{:>5}  {:>4}  {:<9}  {:>5}  {:>11}  {}",
            word(&shard["shard"]),
            word(&shard["core"]),
            word(&shard["phase"]),
            word(&shard["installed"]),
            word(&shard["connections"]),
            listeners_text(&shard["listeners"]),
        );
    }
    objects_text(&mut out, &document["objects"]);
    problems_text(&mut out, &document["problems"]);
    out
}

fn listeners_text(listeners: &Value) -> String {
    let listeners = listeners.as_array().into_iter().flatten();
    let words: Vec<String> = listeners
        .map(|listener| {
            let address = listener["address"].as_str().unwrap_or("?");
            match listener["error"].as_str() {
                None => address.to_owned(),
                Some(error) => format!("{address} ({error})"),
            }
        })
        .collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// The maps of the statuses, and the kind of what they hold by name.
const KINDS: [(&str, &str); 7] = [
    ("gatewayClasses", "GatewayClass"),
    ("gateways", "Gateway"),
    ("listenerSets", "ListenerSet"),
    ("httpRoutes", "HTTPRoute"),
    ("tcpRoutes", "TCPRoute"),
    ("tlsRoutes", "TLSRoute"),
    ("udpRoutes", "UDPRoute"),
];

fn objects_text(out: &mut String, objects: &Value) {
    let lines = conditions(objects);
    if !lines.is_empty() {
        out.push_str("\nobjects\n");
        for line in lines {
            let _ = writeln!(out, "  {line}");
        }
    }
}

/// One line per condition, with the object, and the listener or parent, that it belongs to.
fn conditions(objects: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (field, kind) in KINDS {
        for (name, status) in objects[field].as_object().into_iter().flatten() {
            let object = format!("{kind} {}", name.trim_start_matches('/'));
            add(&mut lines, &object, status);
            for listener in status["listeners"].as_array().into_iter().flatten() {
                let name = listener["name"].as_str().unwrap_or("?");
                add(&mut lines, &format!("{object} listener {name}"), listener);
            }
            for parent in status["parents"].as_array().into_iter().flatten() {
                let name = parent["parentRef"]["name"].as_str().unwrap_or("?");
                add(&mut lines, &format!("{object} at {name}"), parent);
            }
        }
    }
    lines
}

fn add(lines: &mut Vec<String>, path: &str, holder: &Value) {
    let conditions = holder["conditions"].as_array().into_iter().flatten();
    lines.extend(conditions.map(|condition| line(path, condition)));
}

fn line(path: &str, condition: &Value) -> String {
    let of = |key: &str| condition[key].as_str().unwrap_or("?");
    let message = condition["message"].as_str().filter(|message| !message.is_empty());
    let base = format!("{path}: {}={} ({})", of("type"), of("status"), of("reason"));
    match message {
        Some(message) if of("status") != "True" => format!("{base}: {message}"),
        Some(_) | None => base,
    }
}

fn problems_text(out: &mut String, problems: &Value) {
    let problems = problems.as_array().map_or(&[][..], Vec::as_slice);
    if !problems.is_empty() {
        let _ = writeln!(out, "\nproblems ({})", problems.len());
        for problem in problems {
            let _ = writeln!(out, "  {}", problem.as_str().unwrap_or("?"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_found_with_the_object_they_belong_to() {
        let objects = json!({
            "gateways": { "a/web": {
                "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}],
                "listeners": [{"name": "http", "conditions": [
                    {"type": "Programmed", "status": "False", "reason": "Invalid", "message": "why"}
                ]}]
            }},
            "httpRoutes": { "a/shop": { "parents": [{
                "parentRef": {"name": "web"},
                "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]
            }]}}
        });
        assert_eq!(
            conditions(&objects),
            [
                "Gateway a/web: Accepted=True (Accepted)",
                "Gateway a/web listener http: Programmed=False (Invalid): why",
                "HTTPRoute a/shop at web: Accepted=True (Accepted)",
            ]
        );
    }
}
