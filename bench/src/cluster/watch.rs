//! A watch of one kind of object, as a channel of events.
//!
//! Each has a thread and a connection of its own, so that no bulk change delays what it sees. The
//! server ends a watch whose reader is slow; it is then taken up where it ended. Called by the
//! measuring files. Invariant: no event is lost without the channel ending.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_io::AsyncBufRead;
use kube::Client;
use kube::api::{Request, WatchParams};
use serde_json::Value;
use tokio::sync::oneshot;

use super::objects::Kind;

/// Nobody needs a watch for longer than this.
pub(crate) const WATCH_MAX: Duration = Duration::from_secs(270);
/// The server ends it after this many seconds.
const WATCH_SECONDS: u32 = 280;

/// One event, and when it was read.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    /// The object as it is now.
    pub(crate) object: Value,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    /// It ends only by an error, which is printed.
    pub(crate) events: mpsc::Receiver<Event>,
    _stop: oneshot::Sender<()>,
}

impl Watch {
    /// Watches a kind in one namespace or (empty) all, from a resource version on.
    pub(crate) fn start(kind: Kind, namespace: &str, version: &str) -> anyhow::Result<Self> {
        let (path, version) = (kind.path(namespace), version.to_owned());
        let (send, events) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let watch = async move {
            let result = tokio::select! {
                result = follow(&path, version, &send) => result,
                _ = stopped => Ok(()),
            };
            if let Err(error) = result {
                eprintln!("note: a watch of {} ended: {error:#}", kind.plural());
            }
        };
        thread::Builder::new()
            .name(kind.plural().to_owned())
            .spawn(move || runtime.block_on(watch))?;
        Ok(Self { events, _stop: stop })
    }
}

/// Watches again and again from the last version seen.
async fn follow(path: &str, mut version: String, send: &mpsc::Sender<Event>) -> anyhow::Result<()> {
    let client = Client::try_default().await?;
    let end = Instant::now() + WATCH_MAX;
    loop {
        ensure!(Instant::now() < end, "it has lasted too long");
        once(&client, path, &mut version, send).await?;
        // Never a hot loop, whatever the server does.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads lines until the server ends the watch.
async fn once(
    client: &Client,
    path: &str,
    version: &mut String,
    send: &mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    let parameters = WatchParams::default().timeout(WATCH_SECONDS);
    let request = Request::new(path).watch(&parameters, version)?;
    let mut stream = pin!(client.request_stream(request).await?);
    let mut line = Vec::new();
    loop {
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
        if line.last() != Some(&b'\n') {
            continue;
        }
        let event = read(&line, version)?;
        line.clear();
        // A receiver that is gone stops this task as well.
        drop(send.send(event));
    }
}

/// Reads one event, and its version for the next watch.
fn read(line: &[u8], version: &mut String) -> anyhow::Result<Event> {
    let at = Instant::now();
    let mut event: Value = serde_json::from_slice(line)?;
    let object = event["object"].take();
    ensure!(event["type"] != "ERROR", "the server said {object}");
    if let Some(new) = object["metadata"]["resourceVersion"].as_str() {
        new.clone_into(version);
    }
    Ok(Event { at, object })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_where_the_next_watch_begins() {
        let mut version = "5".to_owned();
        let line = br#"{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}"#;
        let event = read(line, &mut version).unwrap();
        assert_eq!((&event.object["metadata"]["name"], &*version), (&Value::from("a"), "7"));
    }

    #[test]
    fn an_error_event_ends_the_watch() {
        let mut version = "5".to_owned();
        let line = br#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        let error = read(line, &mut version).unwrap_err().to_string();
        assert!(error.contains("410"), "{error}");
        assert!(read(b"{", &mut version).is_err());
    }
}
