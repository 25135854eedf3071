//! The Kubernetes API as this benchmark uses it: plain JSON by path, blocking calls, watches that
//! hand over raw events.
//!
//! Requests run on one thread of their own; callers block on their answers. Called by the other
//! files here. Invariant: every call and every watch is bounded in time.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_io::AsyncBufRead;
use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Request, WatchParams};
use serde_json::Value;

use super::objects::Kind;
use crate::process;

/// One call takes no longer.
const CALL_MAX: Duration = Duration::from_secs(60);
/// So many calls of a bulk change are under way at once.
const CONCURRENT: usize = 32;
/// Nobody needs a watch for longer than this.
pub(crate) const WATCH_MAX: Duration = Duration::from_secs(270);
/// The server ends it after this many seconds.
const WATCH_SECONDS: u32 = 280;

/// A connection to the API server.
#[derive(Clone)]
pub(crate) struct Api {
    handle: tokio::runtime::Handle,
    client: Client,
}

/// One event of a watch, and when it was read.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    /// The object, or the status that ended the watch.
    pub(crate) object: Value,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) events: mpsc::Receiver<Event>,
    ended: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

impl Api {
    /// Connects as KUBECONFIG (or the pod) says.
    pub(crate) fn connect() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let client = runtime
            .block_on(Client::try_default())
            .context("cannot reach a cluster: is KUBECONFIG set?")?;
        // It ends with the process; no task on it outlives its caller's interest.
        thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        Ok(Self { handle, client })
    }

    /// Creates an object.
    pub(crate) fn create(&self, kind: Kind, object: Value) -> anyhow::Result<()> {
        self.wait(create(self.client.clone(), kind, object))
    }

    /// Changes part of an object (a merge patch).
    pub(crate) fn patch(
        &self,
        kind: Kind,
        (namespace, name): (&str, &str),
        change: &Value,
    ) -> anyhow::Result<()> {
        let request = Request::new(kind.path(namespace));
        let request = request.patch(name, &PatchParams::default(), &Patch::Merge(change))?;
        let client = self.client.clone();
        self.wait(async move { Ok(client.request::<Value>(request).await.map(drop)?) })
            .with_context(|| format!("cannot change {} {name}", kind.plural()))
    }

    /// Deletes an object; one that is not there is fine.
    pub(crate) fn delete(&self, kind: Kind, namespace: &str, name: &str) -> anyhow::Result<()> {
        self.wait(delete(self.client.clone(), kind, namespace.to_owned(), name.to_owned()))
    }

    /// One object, if it is there.
    pub(crate) fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Option<Value>> {
        let request = Request::new(kind.path(namespace)).get(name, &Default::default())?;
        let client = self.client.clone();
        self.wait(async move {
            match client.request::<Value>(request).await {
                Ok(object) => Ok(Some(object)),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// All objects of a kind, in one namespace or (empty) all, and their resource version.
    pub(crate) fn list(&self, kind: Kind, namespace: &str) -> anyhow::Result<(Vec<Value>, String)> {
        let request = Request::new(kind.path(namespace)).list(&ListParams::default())?;
        let client = self.client.clone();
        let mut list: Value =
            self.wait(async move { Ok(client.request::<Value>(request).await?) })?;
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        match list["items"].take() {
            Value::Array(items) => Ok((items, version)),
            _ => bail!("a list of {} has no items", kind.plural()),
        }
    }

    /// Creates many objects at once; returns when the first was sent and the last answered.
    pub(crate) fn create_all(
        &self,
        kind: Kind,
        objects: Vec<Value>,
    ) -> anyhow::Result<(Instant, Instant)> {
        let client = self.client.clone();
        self.all(objects, move |object| create(client.clone(), kind, object))
    }

    /// Deletes many objects at once.
    pub(crate) fn delete_all(
        &self,
        kind: Kind,
        namespace: &str,
        names: Vec<String>,
    ) -> anyhow::Result<(Instant, Instant)> {
        let (client, namespace) = (self.client.clone(), namespace.to_owned());
        self.all(names, move |name| delete(client.clone(), kind, namespace.clone(), name))
    }

    fn all<T, F>(
        &self,
        items: Vec<T>,
        mut call: impl FnMut(T) -> F,
    ) -> anyhow::Result<(Instant, Instant)>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (done, results) = mpsc::channel();
        let first = Instant::now();
        let mut last = first;
        let mut flying = 0;
        let mut items = items.into_iter();
        loop {
            while flying < CONCURRENT
                && let Some(item) = items.next()
            {
                let (done, call) = (done.clone(), call(item));
                self.handle.spawn(async move {
                    // The receiver is gone only after another call's error.
                    drop(done.send((call.await, Instant::now())));
                });
                flying += 1;
            }
            if flying == 0 {
                return Ok((first, last));
            }
            process::check_interrupt()?;
            let (result, at) = results.recv_timeout(CALL_MAX).context("the API is too slow")?;
            result?;
            last = last.max(at);
            flying -= 1;
        }
    }

    /// Watches a kind in one namespace or (empty) all, from a resource version on.
    pub(crate) fn watch(
        &self,
        kind: Kind,
        namespace: &str,
        version: &str,
    ) -> anyhow::Result<Watch> {
        let (path, version) = (kind.path(namespace), version.to_owned());
        let (client, ended) = (self.client.clone(), Arc::new(AtomicBool::new(false)));
        let (send, events) = mpsc::channel();
        let end = Arc::clone(&ended);
        self.handle.spawn(async move {
            let result = follow(client, (path, version), &send, &end).await;
            if let (Err(error), false) = (result, end.load(Ordering::Relaxed)) {
                eprintln!("note: a watch of {} ended: {error:#}", kind.plural());
            }
        });
        Ok(Watch { events, ended })
    }

    /// Runs one call and waits for it.
    fn wait<T: Send + 'static>(
        &self,
        call: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (done, result) = mpsc::channel();
        self.handle.spawn(async move { drop(done.send(call.await)) });
        result.recv_timeout(CALL_MAX).context("the API did not answer in time")?
    }
}

async fn create(client: Client, kind: Kind, object: Value) -> anyhow::Result<()> {
    let at = |key| object["metadata"][key].as_str().unwrap_or_default();
    let request = Request::new(kind.path(at("namespace")));
    let request = request.create(&PostParams::default(), serde_json::to_vec(&object)?)?;
    let created = client.request::<Value>(request).await;
    created.map(drop).with_context(|| format!("cannot create {} {}", kind.plural(), at("name")))
}

async fn delete(client: Client, kind: Kind, namespace: String, name: String) -> anyhow::Result<()> {
    let request = Request::new(kind.path(&namespace)).delete(&name, &DeleteParams::default())?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot delete {} {name}", kind.plural())),
    }
}

/// Reads lines until the watch ends on either side.
async fn follow(
    client: Client,
    (path, version): (String, String),
    send: &mpsc::Sender<Event>,
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    let parameters = WatchParams::default().timeout(WATCH_SECONDS);
    let request = Request::new(path).watch(&parameters, &version)?;
    let mut stream = pin!(client.request_stream(request).await?);
    let mut line = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let used = poll_fn(|context| {
            stream.as_mut().poll_fill_buf(context).map_ok(|bytes| {
                let used = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
                line.extend_from_slice(&bytes[..used]);
                used
            })
        })
        .await?;
        if used == 0 {
            return Ok(());
        }
        stream.as_mut().consume(used);
        if line.last() == Some(&b'\n') {
            let at = Instant::now();
            let mut event: Value = serde_json::from_slice(&line)?;
            line.clear();
            if send.send(Event { at, object: event["object"].take() }).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
