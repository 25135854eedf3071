//! The requests that keep one Gateway's objects: read, and apply what is missing or different.
//!
//! No state and no retries; those are up to the [task](super::Objects). Writes are server-side
//! applies, guarded by the version that was read, so that fields of others stay theirs.

use std::collections::HashMap;

use ::kube::Client;
use ::kube::api::{GetParams, ListParams, Patch, PatchParams};
use ::kube::core::request::Request;
use serde_json::{Value, json};

use super::super::request::{FIELD_MANAGER, Fault, send};
use super::compare;
use super::objects;
use crate::api::Kind;
use crate::translate::infrastructure::{Infrastructure, MANAGED_BY, MANAGED_BY_LABEL};

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// What became of one Gateway's objects.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Writes.
    pub written: u64,
    /// An object of that name that is somebody else's.
    pub foreign: Option<String>,
}

/// Objects of ours, by kind, namespace and name.
#[derive(Debug, Default)]
pub(super) struct Listing(HashMap<(String, String, String), Value>);

impl Listing {
    /// Whether `wanted` is there as it should be, or a foreign object is in its place.
    pub(super) fn holds(&self, wanted: &Value, uid: &str) -> bool {
        let found = self.0.get(&key(wanted["kind"].as_str().unwrap_or_default(), wanted));
        found.is_some_and(|found| compare::is_owned(found, uid) && compare::is_as(found, wanted))
    }
}

fn key(kind: &str, object: &Value) -> (String, String, String) {
    let text = |field| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (kind.to_owned(), text("namespace"), text("name"))
}

/// Lists every object that carries our label.
pub(super) async fn list(client: Client) -> Result<Listing, Fault> {
    let mut listing = Listing::default();
    for kind in [Kind::Service, Kind::EndpointSlice] {
        let request = Request::new(kind.path(kind.versions()[0], None));
        let mut params =
            ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}")).limit(PAGE);
        loop {
            let mut page: Value = send(&client, request.list(&params)).await?;
            let next = page["metadata"]["continue"].as_str().map(str::to_owned);
            if let Value::Array(items) = page["items"].take() {
                listing.0.extend(items.into_iter().map(|item| (key(kind.as_str(), &item), item)));
            }
            match next.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
    }
    Ok(listing)
}

/// Brings all objects of a Gateway to what they should be.
pub(super) async fn all(client: Client, wanted: &Infrastructure) -> Result<Applied, Fault> {
    let mut done = Applied::default();
    for object in objects(wanted) {
        one(&client, object, &wanted.uid, &mut done).await?;
    }
    Ok(done)
}

async fn one(client: &Client, wanted: &Value, uid: &str, done: &mut Applied) -> Result<(), Fault> {
    let kind = if wanted["kind"] == "Service" { Kind::Service } else { Kind::EndpointSlice };
    let (_, namespace, name) = key(kind.as_str(), wanted);
    let place = Request::new(kind.path(kind.versions()[0], Some(&namespace)));
    let found: Option<Value> = match send(client, place.get(&name, &GetParams::default())).await {
        Ok(found) => Some(found),
        Err(Fault::Gone) => None,
        Err(fault) => return Err(fault),
    };
    let mut object = compare::marked(wanted);
    let mut params = PatchParams::apply(FIELD_MANAGER);
    if let Some(found) = found {
        if !compare::is_owned(&found, uid) {
            done.foreign = Some(format!("{} {namespace}/{name}", kind.as_str()));
            return Ok(());
        }
        if compare::is_as(&found, wanted) {
            return Ok(());
        }
        object["metadata"]["resourceVersion"] = json!(found["metadata"]["resourceVersion"]);
        params = params.force();
    }
    // Without force, an object that somebody created since is a conflict.
    let sent = send::<Value>(client, place.patch(&name, &params, &Patch::Apply(&object))).await;
    // A ClusterIP that the cluster cannot give: with another one the Gateway's status says so.
    let asked = object["spec"].as_object_mut().and_then(|spec| spec.remove("clusterIP"));
    match (sent, asked) {
        (Err(Fault::Refused(_)), Some(_)) => {
            send::<Value>(client, place.patch(&name, &params, &Patch::Apply(object))).await?;
        }
        (sent, _) => drop(sent?),
    }
    done.written += 1;
    Ok(())
}
