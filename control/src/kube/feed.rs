//! One kind, listed and watched for as long as the process lives.
//!
//! A task for each kind (or each namespace of it) that sends what it learns to the source. It knows
//! the protocol: streaming lists or pages, bookmarks, resuming, expiry. It does not know what the
//! objects mean, and keeps none. Invariant: a list is sent whole or not at all, and nothing follows
//! it until the source accepted it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::kube::Client;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::item::{self, Item};
use super::rhythm::Rhythm;
use super::wire::{self, Bookmark, Line, Lines, Page, WireError};
use crate::api::{Kind, Name};
use crate::backoff::{jitter, unit_random};

/// Objects on one page of a list.
pub const PAGE_OBJECTS: u32 = 500;
/// The server ends a watch after about this time; jitter adds up to as much again.
pub const WATCH_SECONDS: u32 = 240;
/// A kind that the server does not have is looked for again after this time.
pub const MISSING_RETRY: Duration = Duration::from_secs(5);
/// After so many failures in a row that the server itself answered, what was known of its history
/// is given up and everything listed again.
pub const RESUME_FAILURES_MAX: u32 = 4;

/// A watch that did not fail for this time is sound, though nothing happened.
const SOUND_AFTER: Duration = Duration::from_secs(2);

/// What a feed learnt.
#[derive(Debug)]
pub(super) enum Update {
    /// Everything there is. The answer says whether it is believed; if not it is listed again.
    Listed {
        items: Vec<Item>,
        version: &'static str,
        verdict: oneshot::Sender<bool>,
    },
    /// The server does not have the kind.
    Missing {
        verdict: oneshot::Sender<bool>,
    },
    Applied(Box<Item>),
    Deleted(Name),
    /// An attempt failed.
    Failed(WireError),
    /// The server answers again.
    Back,
}

/// An update and the feed it comes from.
#[derive(Debug)]
pub(super) struct Message {
    pub feed: usize,
    pub update: Update,
}

/// The names that a kind kept by name is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted(Mutex<BTreeSet<Name>>);

impl Wanted {
    /// Wants one more; says whether it is new.
    pub(super) fn add(&self, name: &Name) -> bool {
        self.lock().insert(name.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Name>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One kind's list and watch.
pub(super) struct Feed {
    pub index: usize,
    pub kind: Kind,
    /// Only this namespace.
    pub namespace: Option<Arc<str>>,
    pub client: Client,
    pub to: mpsc::Sender<Message>,
    /// Objects carry what a snapshot on disk needs.
    pub keeps_raw: bool,
    /// A watch that is silent for this time is replaced.
    pub silence: Duration,
    /// For kinds kept by name: which.
    pub wanted: Option<Arc<Wanted>>,
    /// Told when everything shall be listed again.
    pub relist: Arc<Notify>,
    pub state: State,
}

/// What a feed remembers between attempts.
#[derive(Debug, Default)]
pub(super) struct State {
    rhythm: Rhythm,
    /// Version of the API and of the last event; `None` before the first list.
    position: Option<(&'static str, String)>,
    /// The server refused to stream lists.
    pages_only: bool,
    is_failing: bool,
    /// A watch is open and sound.
    is_watching: bool,
    /// Objects without a name were met and reported.
    has_nameless: bool,
}

/// Why an attempt ended.
#[derive(Debug)]
enum End {
    /// The server ended the watch in order, or everything must be listed again.
    Again,
    /// The server does not have the kind.
    Missing,
    /// The source went.
    Closed,
    Failed(WireError),
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Failed(error)
    }
}

impl Feed {
    /// Feeds until the source goes.
    pub(super) async fn run(mut self) {
        loop {
            self.until_wanted().await;
            self.state.rhythm.start().await;
            match self.attempt().await {
                End::Closed => return,
                End::Again => {}
                End::Missing => tokio::time::sleep(MISSING_RETRY.mul_f64(jitter())).await,
                End::Failed(error) => {
                    if self.fail(error).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// A kind kept by name is not asked for while no name is.
    async fn until_wanted(&self) {
        if let Some(wanted) = &self.wanted {
            while wanted.lock().is_empty() {
                self.relist.notified().await;
            }
        }
    }

    async fn fail(&mut self, error: WireError) -> Result<(), End> {
        if error.code() == Some(410) {
            // Nothing is wrong with the server: it only forgot what was too long ago.
            tracing::debug!("{}: listed again, the watch was too far behind", self.kind.as_str());
            self.state.position = None;
            return Ok(());
        }
        if std::mem::take(&mut self.state.is_watching) && error.is_away() {
            // A connection broke, as connections do; whether the server is away the next one says.
            tracing::debug!("{}: the watch broke: {error}", self.kind.as_str());
            return Ok(());
        }
        tracing::debug!("{}: {error}", self.kind.as_str());
        self.state.rhythm.failed(error.wait());
        if !error.is_unheard() && self.state.rhythm.failures() >= RESUME_FAILURES_MAX {
            self.state.position = None;
        }
        if error.code() == Some(429) && self.state.rhythm.failures() == 1 {
            // Whoever asks for a kind first is told to come back: the server only now reads it.
            return Ok(());
        }
        self.state.is_failing = true;
        self.send(Update::Failed(error)).await
    }

    async fn send(&self, update: Update) -> Result<(), End> {
        let message = Message { feed: self.index, update };
        self.to.send(message).await.map_err(|_| End::Closed)
    }

    /// The server answered well.
    async fn worked(&mut self) -> Result<(), End> {
        self.state.rhythm.worked();
        if std::mem::take(&mut self.state.is_failing) {
            self.send(Update::Back).await?;
        }
        Ok(())
    }

    async fn attempt(&mut self) -> End {
        self.state.is_watching = false;
        let watch = match &self.state.position {
            Some((version, at)) => self.resume(version, &at.clone()).await,
            None => self.list().await,
        };
        match watch {
            Ok(mut lines) => match self.watch(&mut lines).await {
                Ok(()) => End::Again,
                Err(end) => end,
            },
            Err(end) => end,
        }
    }

    async fn resume(&mut self, version: &'static str, at: &str) -> Result<Lines, End> {
        let query = format!("&resourceVersion={at}");
        match self.open(version, &query).await {
            Ok(lines) => Ok(lines),
            Err(WireError::Refused { code: 404, .. }) => {
                self.state.position = None;
                Err(End::Again)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a watch.
    async fn open(&self, version: &str, query: &str) -> Result<Lines, WireError> {
        let seconds = f64::from(WATCH_SECONDS) * (1.0 + unit_random());
        let watch = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds:.0}");
        let path = self.path(version, &format!("{watch}{query}"));
        Ok(Lines::new(wire::get(&self.client, &path).await?, self.silence))
    }

    fn path(&self, version: &str, query: &str) -> String {
        let mut path = self.kind.path(version, self.namespace.as_deref());
        path.push('?');
        path.push_str(query);
        if let Some(selector) = self.kind.field_selector() {
            let _ = write!(path, "&fieldSelector={selector}");
        }
        path
    }

    /// Lists everything under the first version that the server has; gives the watch that follows.
    async fn list(&mut self) -> Result<Lines, End> {
        for version in self.kind.versions() {
            match self.list_version(version).await {
                Err(End::Missing) => {}
                Ok(lines) => {
                    self.worked().await?;
                    return Ok(lines);
                }
                Err(end) => return Err(end),
            }
        }
        self.worked().await?;
        let (verdict, answer) = oneshot::channel();
        self.send(Update::Missing { verdict }).await?;
        match answer.await {
            Ok(_) => Err(End::Missing),
            Err(_) => Err(End::Closed),
        }
    }

    async fn list_version(&mut self, version: &'static str) -> Result<Lines, End> {
        if !self.state.pages_only {
            match self.list_streaming(version).await {
                Err(End::Failed(WireError::Refused { code: 400 | 403 | 405 | 422, .. })) => {
                    tracing::debug!("{}: no streaming list, paging", self.kind.as_str());
                    self.state.pages_only = true;
                }
                other => return other,
            }
        }
        let (items, at) = self.list_pages(version).await?;
        self.give(items, version, at).await?;
        let (version, at) = self.state.position.clone().ok_or(End::Again)?;
        let lines = self.open(version, &format!("&resourceVersion={at}")).await;
        // What refuses to stream may still be paged, and a server may learn it: ask again next time.
        self.state.pages_only = false;
        Ok(lines?)
    }

    async fn list_streaming(&mut self, version: &'static str) -> Result<Lines, End> {
        let query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let mut lines = self.open(version, query).await.map_err(missing)?;
        let mut items = Vec::new();
        loop {
            // A server that never says where the list ends is paged the next time.
            let line = lines.next().await.inspect_err(|_| self.state.pages_only = true)?;
            let Some(line) = line else {
                self.state.pages_only = true;
                return Err(WireError::Unreachable("the list was cut".to_owned()).into());
            };
            let line: Line<'_> =
                serde_json::from_str(line).map_err(|error| WireError::garbled(&error))?;
            match &*line.kind {
                "ADDED" | "MODIFIED" => items.extend(self.read(line.object.get())),
                "ERROR" => return Err(WireError::refused(line.object.get()).into()),
                "BOOKMARK" => {
                    let bookmark = bookmark(line.object.get())?;
                    if bookmark.ends_list() {
                        let at = bookmark.version().to_owned();
                        self.give(items, version, at).await?;
                        return Ok(lines);
                    }
                }
                _ => {}
            }
        }
    }

    async fn list_pages(&mut self, version: &str) -> Result<(Vec<Item>, String), End> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let mut query = format!("limit={PAGE_OBJECTS}");
            if !next.is_empty() {
                let _ = write!(query, "&continue={}", escape(&next));
            }
            let body = wire::get(&self.client, &self.path(version, &query)).await;
            let text = wire::whole(body.map_err(missing)?, wire::PAGE_BYTES_MAX).await?;
            let page: Page<'_> =
                serde_json::from_slice(&text).map_err(|error| WireError::garbled(&error))?;
            for object in page.items.into_iter().flatten() {
                items.extend(self.read(object.get()));
            }
            next = page.metadata.next.unwrap_or_default().into_owned();
            if next.is_empty() {
                let at = page.metadata.resource_version.unwrap_or_default();
                return Ok((items, at.into_owned()));
            }
        }
    }

    /// Gives a whole list to the source and remembers where it ended, if it is believed.
    async fn give(
        &mut self,
        items: Vec<Item>,
        version: &'static str,
        at: String,
    ) -> Result<(), End> {
        let (verdict, answer) = oneshot::channel();
        self.send(Update::Listed { items, version, verdict }).await?;
        match answer.await {
            Ok(true) => {
                self.state.position = Some((version, at));
                Ok(())
            }
            Ok(false) => {
                self.state.position = None;
                Err(End::Again)
            }
            Err(_) => Err(End::Closed),
        }
    }

    /// An object that is asked for.
    fn read(&mut self, text: &str) -> Option<Item> {
        if let Some(wanted) = &self.wanted
            && !item::name(text).is_ok_and(|name| wanted.lock().contains(&name))
        {
            return None;
        }
        match Item::read(self.kind, text, self.keeps_raw) {
            Ok(item) => Some(item),
            Err(error) => {
                if !std::mem::replace(&mut self.state.has_nameless, true) {
                    let kind = self.kind.as_str();
                    tracing::warn!("a {kind} without a readable name is left out: {error}");
                }
                None
            }
        }
    }

    /// Follows a watch to its end.
    async fn watch(&mut self, lines: &mut Lines) -> Result<(), End> {
        let sound = Instant::now() + SOUND_AFTER;
        loop {
            let line = tokio::select! {
                line = lines.next() => line?,
                () = tokio::time::sleep_until(sound), if !self.state.is_watching => {
                    self.worked().await?;
                    self.state.is_watching = true;
                    continue;
                }
                () = self.relist.notified() => {
                    self.state.position = None;
                    return Ok(());
                }
            };
            let Some(line) = line else { return Ok(()) };
            let line = serde_json::from_str(line).map_err(|error| WireError::garbled(&error));
            let line = line.inspect_err(|_| self.state.position = None)?;
            self.take(line).await?;
            self.worked().await?;
            self.state.is_watching = true;
        }
    }

    async fn take(&mut self, line: Line<'_>) -> Result<(), End> {
        let text = line.object.get();
        match &*line.kind {
            "ADDED" | "MODIFIED" => {
                if let Some(item) = self.read(text) {
                    self.advance(&item.resource_version);
                    self.send(Update::Applied(Box::new(item))).await?;
                }
            }
            "DELETED" => {
                let name = item::name(text).map_err(|error| WireError::garbled(&error))?;
                self.send(Update::Deleted(name)).await?;
            }
            "BOOKMARK" => self.advance(bookmark(text)?.version()),
            "ERROR" => return Err(WireError::refused(text).into()),
            _ => {}
        }
        Ok(())
    }

    fn advance(&mut self, version: &str) {
        if let Some((_, at)) = &mut self.state.position
            && !version.is_empty()
        {
            version.clone_into(at);
        }
    }
}

fn bookmark(text: &str) -> Result<Bookmark<'_>, WireError> {
    serde_json::from_str(text).map_err(|error| WireError::garbled(&error))
}

fn missing(error: WireError) -> End {
    if error.code() == Some(404) { End::Missing } else { End::Failed(error) }
}

/// Percent-encodes a continue token.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
