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
const VERSION: &str = "gateway.networking.k8s.io/bundle-version";
const CHANNEL: &str = "gateway.networking.k8s.io/channel";

/// What is known of the release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub version: Option<Arc<str>>,
    /// The definitions are those of the experimental channel.
    pub is_experimental: bool,
}

impl Known {
    /// Whether addresses of Gateways have the field `routability`: in the experimental channel since
    /// 1.7.
    pub(super) fn has_routability(&self) -> bool {
        let minor = self.version.as_deref().and_then(|version| version.strip_prefix("v1."));
        let minor = minor.and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        self.is_experimental && minor.is_some_and(|minor| minor >= 7)
    }
}

/// What is known of the release, and how to have it looked up.
#[derive(Debug)]
pub(super) struct Release {
    pub known: watch::Receiver<Known>,
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
    let (to, known) = watch::channel(Known::default());
    let look = Arc::new(Notify::new());
    let task = run(client.clone(), to, Arc::clone(&look));
    (Release { known, look }, task)
}

async fn run(client: Client, to: watch::Sender<Known>, look: Arc<Notify>) {
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

async fn read(client: &Client) -> Result<Known, WireError> {
    let body = match wire::get(client, PATH).await {
        Ok(body) => body,
        Err(WireError::Refused { code: code @ (401 | 403 | 404), .. }) => {
            tracing::debug!("the release of the Gateway API is unknown: {code}");
            return Ok(Known::default());
        }
        Err(error) => return Err(error),
    };
    let text = wire::whole(body, DEFINITION_BYTES_MAX).await?;
    let definition: Definition<'_> =
        serde_json::from_slice(&text).map_err(|error| WireError::garbled(&error))?;
    let annotations = definition.metadata.annotations.unwrap_or_default();
    let version = annotations.get(VERSION);
    Ok(Known {
        version: version
            .map(|text| text.chars().take(RELEASE_CHARS_MAX).collect::<String>().into()),
        is_experimental: annotations.get(CHANNEL).is_some_and(|channel| channel == "experimental"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_routability_in_the_experimental_channel_since_1_7() {
        let known = |version: &str, is_experimental| Known {
            version: (!version.is_empty()).then(|| version.into()),
            is_experimental,
        };
        for (version, is_experimental, expected) in [
            ("v1.7.0", true, true),
            ("v1.12.3", true, true),
            ("v1.7.0", false, false),
            ("v1.6.1", true, false),
            ("main", true, false),
            ("", true, false),
        ] {
            let found = known(version, is_experimental).has_routability();
            assert_eq!(found, expected, "{version} {is_experimental}");
        }
    }
}
