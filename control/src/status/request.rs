//! One request to the API server, and what its answer means: those about one status, and the sending
//! of any.
//!
//! No state and no retries; those are up to the [writer](super::writer). A write names the version and
//! the identity it was made for, so that it never meets an object that changed meanwhile.

use std::time::Duration;

use ::kube::Client;
use ::kube::api::{GetParams, Patch, PatchParams};
use ::kube::core::request::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api::Name;
use crate::kube::Observed;

/// Who writes, as the API server notes it.
pub(super) const FIELD_MANAGER: &str = "ringway";
/// The longest that one request takes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request was not obeyed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The object changed since it was read.
    Conflict,
    /// The object does not exist any more.
    Gone,
    /// The server is away or has too much to do; it may say when to come again.
    Busy(String, Option<Duration>),
    /// We may not.
    Denied(String),
    /// The server failed at this request, which says little about others.
    Broken(String),
    /// The server does not take this.
    Refused(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    metadata: AnswerMeta,
    #[serde(default)]
    status: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerMeta {
    uid: Box<str>,
    resource_version: Box<str>,
    #[serde(default)]
    generation: i64,
}

/// Changes the status of an object that is as `seen`.
pub(super) async fn patch(
    client: Client,
    path: String,
    name: Name,
    seen: std::sync::Arc<Observed>,
    status: Value,
) -> Result<Observed, Fault> {
    let body = json!({
        "metadata": {"resourceVersion": seen.resource_version, "uid": seen.uid},
        "status": status,
    });
    let params =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let request =
        Request::new(path).patch_subresource("status", &name.name, &params, &Patch::Merge(body));
    send::<Answer>(&client, request).await.map(Observed::from)
}

/// Reads an object.
pub(super) async fn get(client: Client, path: String, name: Name) -> Result<Observed, Fault> {
    let request = Request::new(path).get(&name.name, &GetParams::default());
    send::<Answer>(&client, request).await.map(Observed::from)
}

/// Sends one request; an answer that does not come in time counts as a server that is busy.
pub(super) async fn send<T: DeserializeOwned>(
    client: &Client,
    request: Result<hyper::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<T, Fault> {
    let request = request.map_err(|error| Fault::Refused(error.to_string()))?;
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, client.request(request)).await;
    answer.map_err(|_| Fault::Busy("no answer".to_owned(), None))?.map_err(Fault::of)
}

impl From<Answer> for Observed {
    fn from(Answer { metadata, status }: Answer) -> Self {
        Self {
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            status,
            fault: None,
        }
    }
}

impl Fault {
    /// What an error of the client means.
    pub(super) fn of(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Busy(error.to_string(), None) };
        let again = status.details.as_ref().map(|details| details.retry_after_seconds);
        let again = again.filter(|seconds| *seconds > 0).map(|s| Duration::from_secs(s.into()));
        match status.code {
            404 => Self::Gone,
            // Nothing new can be in a namespace that goes.
            403 if status.message.contains("being terminated") => Self::Gone,
            409 => Self::Conflict,
            401 | 403 => Self::Denied(status.message.clone()),
            500 => Self::Broken(status.message.clone()),
            429 | 501.. => Self::Busy(status.message.clone(), again),
            _ => Self::Refused(status.message.clone()),
        }
    }
}
