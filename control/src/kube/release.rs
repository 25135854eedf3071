//! Which release of the Gateway API the cluster has: an annotation of the definition of GatewayClass.
//!
//! One task that reads that one object when GatewayClasses were listed and now and then afterwards;
//! nothing waits for it. Whoever may not read it, or finds none, does not know the release.
//! Invariant: an API server that is away changes nothing of what is known.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::kube::Client;
use serde::Deserialize;
use tokio::sync::{Notify, watch};

use super::rhythm::Rhythm;
use super::wire::{self, WireError};
use crate::backoff::jitter;

/// The definition is read again after this time, give or take a quarter.
pub const RELEASE_INTERVAL: Duration = Duration::from_secs(300);
/// Bytes of the definition.
const DEFINITION_BYTES_MAX: usize = 4 << 20;
/// Characters of a release.
const RELEASE_CHARS_MAX: usize = 64;
const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gatewayclasses.gateway.networking.k8s.io";
const ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";

/// What is known of the release, and how to have it looked up.
#[derive(Debug)]
pub(super) struct Release {
    pub known: watch::Receiver<Option<Arc<str>>>,
    pub look: Arc<Notify>,
}

#[derive(Deserialize)]
struct Definition<'a> {
    #[serde(borrow)]
    metadata: Head<'a>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    annotations: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

/// The release, and the task that keeps it up to date for as long as somebody wants it.
pub(super) fn follow(client: &Client) -> (Release, impl Future<Output = ()> + Send + 'static) {
    let (to, known) = watch::channel(None);
    let look = Arc::new(Notify::new());
    let task = run(client.clone(), to, Arc::clone(&look));
    (Release { known, look }, task)
}

async fn run(client: Client, to: watch::Sender<Option<Arc<str>>>, look: Arc<Notify>) {
    let mut rhythm = Rhythm::default();
    look.notified().await;
    loop {
        rhythm.start().await;
        match read(&client).await {
            Ok(release) => {
                rhythm.worked();
                to.send_if_modified(|known| {
                    let is_new = *known != release;
                    *known = release;
                    is_new
                });
                let wait = RELEASE_INTERVAL.mul_f64(jitter());
                tokio::select! {
                    () = look.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                    () = to.closed() => return,
                }
            }
            Err(error) => {
                tracing::debug!("the release of the Gateway API cannot be read: {error}");
                rhythm.failed(error.wait());
            }
        }
    }
}

async fn read(client: &Client) -> Result<Option<Arc<str>>, WireError> {
    let body = match wire::get(client, PATH).await {
        Ok(body) => body,
        Err(WireError::Refused { code: code @ (401 | 403 | 404), .. }) => {
            tracing::debug!("the release of the Gateway API is unknown: {code}");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let text = wire::whole(body, DEFINITION_BYTES_MAX).await?;
    let definition: Definition<'_> =
        serde_json::from_slice(&text).map_err(|error| WireError::garbled(&error))?;
    let annotations = definition.metadata.annotations.unwrap_or_default();
    let release = annotations.get(ANNOTATION);
    Ok(release.map(|text| text.chars().take(RELEASE_CHARS_MAX).collect::<String>().into()))
}
