//! The cluster as a [`Source`]: every kind's feed into one picture, and from it what to serve.
//!
//! Runs on the control thread between the feeds and the control loop. Invariants: nothing is built
//! before every kind was listed whole; a change that does not matter wakes nobody; a list that would
//! take away most of a kind is believed only when a second one says the same.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ::kube::Client;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::archive::{Archive, ArchiveError, Keep};
use super::contents::Contents;
use super::feed::{Feed, Message, State, Update, Wanted};
use super::item::Item;
use super::observed::ObservedStatuses;
use super::progress::{self, Progress};
use super::release::{self, Release};
use super::watches::Watches;
use super::wire::{SILENCE_MAX, WireError};
use crate::api::{Kind, Name};
use crate::source::{Built, Source, Translator, host_addresses, problem_line};
use crate::store::Store;
use crate::translate::{Addressing, Translation};

/// Updates that wait for the control loop at one time; feeds pause beyond it.
pub const UPDATES_MAX: usize = 1024;
/// A list that would take away no more objects than this is believed at once.
pub const LOSS_BELIEVED_MAX: usize = 5;
/// An API server that nothing was heard of for this time after the start is away.
pub const CONTACT_TIMEOUT: Duration = Duration::from_secs(2);
/// One that answers but has not listed everything by then counts as away too.
pub const COMPLETE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often feeds get a turn to bring in what is already here before a build starts.
const TURNS_MAX: usize = 16;

/// What the source is started with.
#[derive(Debug)]
pub struct Options {
    /// Where the snapshot on disk is, if anywhere.
    pub keep: Option<Keep>,
    /// The namespaces whose Secrets may be read; empty means all.
    pub secret_namespaces: Vec<Arc<str>>,
    /// Where the addresses of Gateways come from.
    pub addressing: Addressing,
    /// The Service that selects our own replicas, if there is one.
    pub replicas: Option<Name>,
    /// The addresses of this replica; empty means what the host would use.
    pub own_addresses: Vec<IpAddr>,
    /// A watch that is silent for this time is replaced.
    pub silence: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep: None,
            secret_namespaces: Vec::new(),
            addressing: Addressing::default(),
            replicas: None,
            own_addresses: Vec::new(),
            silence: SILENCE_MAX,
        }
    }
}

/// Configuration from the API server.
pub struct KubeSource {
    feeds: Vec<Progress>,
    messages: mpsc::Receiver<Message>,
    tasks: JoinSet<()>,
    live: Contents,
    /// Where Gateways get their addresses, and our own Service.
    place: Place,
    /// What the snapshot on disk held, while it is what serves.
    stale: Option<Contents>,
    archive: Option<Archive>,
    statuses: ObservedStatuses,
    wanted: Arc<Wanted>,
    translator: Translator,
    release: Release,
    watches: Watches,
    changed: bool,
    was_complete: bool,
    in_touch: bool,
    is_lost: bool,
    started: Instant,
    /// When to decide whether the snapshot on disk must serve.
    decide: Option<Instant>,
}

/// Where we are.
struct Place {
    addressing: Addressing,
    replicas: Option<Name>,
    own: Arc<[IpAddr]>,
}

impl KubeSource {
    /// Starts to list and watch every kind. Must be called on a tokio runtime.
    #[must_use]
    pub fn start(client: &Client, options: Options) -> Self {
        let own = Some(options.own_addresses).filter(|own| !own.is_empty());
        let own = own.map_or_else(host_addresses, Arc::from);
        let place = Place { addressing: options.addressing, replicas: options.replicas, own };
        let (to, messages) = mpsc::channel(UPDATES_MAX);
        let now = Instant::now();
        let (release, follow) = release::follow(client);
        let mut source = Self {
            feeds: Vec::new(),
            messages,
            tasks: JoinSet::new(),
            live: place.contents(),
            place,
            stale: None,
            archive: options.keep.map(Archive::new),
            statuses: ObservedStatuses::default(),
            wanted: Arc::default(),
            translator: Translator::new(),
            release,
            watches: Watches::default(),
            changed: false,
            was_complete: false,
            in_touch: false,
            is_lost: false,
            started: now,
            decide: Some(now + CONTACT_TIMEOUT),
        };
        source.tasks.spawn(follow);
        let silence = options.silence;
        for kind in Kind::ALL {
            if kind == Kind::Secret && !options.secret_namespaces.is_empty() {
                for namespace in &options.secret_namespaces {
                    source.feed(client, &to, silence, (kind, Some(namespace)));
                }
            } else {
                source.feed(client, &to, silence, (kind, None));
            }
        }
        source
    }

    /// What the server shows as statuses, for a status writer.
    #[must_use]
    pub fn statuses(&self) -> ObservedStatuses {
        self.statuses.clone()
    }

    /// The numbers of the watches, for metrics.
    #[must_use]
    pub fn watches(&self) -> Watches {
        self.watches.clone()
    }

    fn feed(
        &mut self,
        client: &Client,
        to: &mpsc::Sender<Message>,
        silence: Duration,
        (kind, namespace): (Kind, Option<&Arc<str>>),
    ) {
        let relist = Arc::new(Notify::new());
        let feed = Feed {
            index: self.feeds.len(),
            kind,
            namespace: namespace.cloned(),
            client: client.clone(),
            to: to.clone(),
            keeps_raw: self.archive.as_ref().is_some_and(|archive| archive.keeps(kind)),
            silence,
            wanted: kind.is_kept_by_name().then(|| Arc::clone(&self.wanted)),
            relist: Arc::clone(&relist),
            state: State::default(),
        };
        self.tasks.spawn(feed.run());
        self.feeds.push(Progress {
            kind,
            namespace: namespace.cloned(),
            known: BTreeSet::new(),
            // What is kept by name is complete while no name is asked for.
            is_complete: kind.is_kept_by_name(),
            is_doubted: false,
            is_missing: false,
            failure: None,
            relist,
        });
    }

    fn is_complete(&self) -> bool {
        self.feeds.iter().all(|feed| feed.is_complete)
    }

    fn serves(&self) -> bool {
        self.stale.is_some() || self.is_complete()
    }

    /// Takes in everything that waits; says whether there was anything.
    fn drain(&mut self) -> bool {
        let mut any = false;
        while let Ok(message) = self.messages.try_recv() {
            self.take(message);
            any = true;
        }
        any
    }

    fn take(&mut self, Message { feed, update }: Message) {
        self.count(feed, &update);
        self.in_touch |= !matches!(&update, Update::Failed(error) if error.is_unheard());
        match update {
            Update::Listed { items, version, verdict } => {
                self.list(feed, items, Some(version), verdict);
            }
            Update::Missing { verdict } => self.list(feed, Vec::new(), None, verdict),
            Update::Applied(item) => {
                self.feeds[feed].known.insert(item.name.clone());
                let matters = self.put(feed, *item);
                self.note(matters);
            }
            Update::Deleted(name) => {
                self.feeds[feed].known.remove(&name);
                let matters = self.remove(feed, &name);
                self.note(matters);
            }
            Update::Failed(error) => self.fail(feed, error),
            Update::Back => self.recover(feed),
        }
        self.want();
        self.look();
    }

    /// Counts an update for metrics.
    fn count(&self, feed: usize, update: &Update) {
        let kind = self.feeds[feed].kind;
        let mut others =
            self.feeds.iter().enumerate().filter(|(at, one)| *at != feed && one.kind == kind);
        let fails =
            matches!(update, Update::Failed(_)) || others.any(|(_, one)| one.failure.is_some());
        self.watches.note(kind, |watch| {
            watch.is_heard = !fails;
            match update {
                Update::Listed { .. } => watch.lists += 1,
                Update::Applied(_) | Update::Deleted(_) => watch.events += 1,
                Update::Missing { .. } | Update::Failed(_) | Update::Back => {}
            }
        });
    }

    /// Notes a change of what the live picture means.
    fn note(&mut self, matters: bool) {
        self.changed |= matters && self.is_complete();
        if let Some(archive) = self.archive.as_mut().filter(|_| matters) {
            archive.touch();
        }
    }

    fn put(&mut self, feed: usize, mut item: Item) -> bool {
        let kind = self.feeds[feed].kind;
        if let Some(observed) = item.observed.take() {
            self.statuses.put(kind, item.name.clone(), observed);
        }
        if let (Some(archive), Some(raw)) = (&mut self.archive, item.raw.take())
            && item.object.is_ok()
        {
            archive.put(kind, &item.name, raw);
        }
        self.live.put(kind, item)
    }

    fn remove(&mut self, feed: usize, name: &Name) -> bool {
        let kind = self.feeds[feed].kind;
        self.statuses.remove(kind, name);
        if let Some(archive) = &mut self.archive {
            archive.remove(kind, name);
        }
        self.live.remove(kind, name)
    }

    /// Takes a whole list, unless it takes away so much that a second one must say so too.
    fn list(
        &mut self,
        feed: usize,
        items: Vec<Item>,
        version: Option<&'static str>,
        verdict: oneshot::Sender<bool>,
    ) {
        let progress = &mut self.feeds[feed];
        let kind = progress.kind;
        let listed: BTreeSet<Name> = items.iter().map(|item| item.name.clone()).collect();
        let gone: Vec<Name> = progress.known.difference(&listed).cloned().collect();
        let missing = version.is_none();
        let is_loss = gone.len() > LOSS_BELIEVED_MAX && gone.len() * 2 > progress.known.len();
        if (is_loss || (missing && !gone.is_empty())) && !progress.is_doubted {
            progress.is_doubted = true;
            tracing::warn!(
                "{}: a list lacks {} of {} objects; listing again before any is removed",
                kind.as_str(),
                gone.len(),
                progress.known.len()
            );
            let _ = verdict.send(false);
            return;
        }
        let was_missing = std::mem::replace(&mut progress.is_missing, missing);
        progress.is_doubted = false;
        progress.known = listed;
        let completed = !std::mem::replace(&mut progress.is_complete, true);
        progress::tell_missing(kind, missing, was_missing);
        self.statuses.set_version(kind, version);
        let mut matters = false;
        for name in gone {
            matters |= self.remove(feed, &name);
        }
        for item in items {
            matters |= self.put(feed, item);
        }
        let _ = verdict.send(true);
        if kind == Kind::GatewayClass {
            self.release.look.notify_one();
        }
        self.note(matters);
        self.changed |= completed || missing != was_missing;
    }

    /// Asks for what is referred to and kept only by name. At the start nothing is built until it is
    /// listed.
    fn want(&mut self) {
        for (kind, name) in self.live.take_gained() {
            if kind.is_kept_by_name() && self.wanted.add(&name) {
                for feed in self.feeds.iter_mut().filter(|feed| feed.kind == kind) {
                    // Once served, nobody waits for what somebody else's object names.
                    feed.is_complete &= self.was_complete;
                    feed.relist.notify_one();
                }
            }
        }
    }

    fn fail(&mut self, feed: usize, error: WireError) {
        let before = progress::troubles(&self.feeds, self.serves());
        let progress = &mut self.feeds[feed];
        let kind = progress.kind;
        let is_refused = matches!(error.code(), Some(401 | 403));
        progress.failure = Some(error);
        let is_dispensable = kind.is_kept_by_name() || kind.is_dispensable() && is_refused;
        if is_dispensable && !progress.is_complete {
            // What one object names must not hold up all others.
            progress.is_complete = true;
            self.changed = true;
        }
        self.tell(&before);
    }

    fn recover(&mut self, feed: usize) {
        let before = progress::troubles(&self.feeds, self.serves());
        self.feeds[feed].failure = None;
        self.tell(&before);
    }

    /// Counts objects as known, so that a first list which lacks most of them is doubted too.
    fn expect(&mut self, names: Vec<(Kind, Name)>) {
        for (kind, name) in names {
            let here = |feed: &&mut Progress| {
                let all = feed.namespace.as_ref().is_none_or(|only| *only == name.namespace);
                feed.kind == kind && !feed.is_complete && all
            };
            if let Some(feed) = self.feeds.iter_mut().find(here) {
                feed.known.insert(name);
            }
        }
    }

    /// Says what is new: by itself before anything is built, else as problems of a build.
    fn tell(&mut self, before: &[String]) {
        let is_lost = progress::away(&self.feeds).is_some();
        let was_lost = std::mem::replace(&mut self.is_lost, is_lost);
        if was_lost && !self.is_lost {
            tracing::info!("the API server is back");
        }
        let now = progress::troubles(&self.feeds, self.serves());
        if now != before {
            self.changed = true;
            for line in now.iter().filter(|line| !before.contains(line) && !self.serves()) {
                tracing::warn!("{line}");
            }
        }
    }

    /// Switches to the live picture once it is complete.
    fn look(&mut self) {
        if self.was_complete || !self.is_complete() {
            return;
        }
        self.was_complete = true;
        self.decide = None;
        self.changed = true;
        let objects: usize = self.feeds.iter().map(|feed| feed.known.len()).sum();
        let after = self.started.elapsed().as_secs_f64() * 1e3;
        tracing::info!("all kinds are listed after {after:.0} ms: {objects} objects");
        if self.stale.take().is_some() {
            tracing::info!("serving from the API server again, no longer from the snapshot");
        }
        if let Some(archive) = &mut self.archive {
            archive.open();
        }
        self.statuses.set_live(true);
    }

    /// What the source waits for at the latest.
    fn due(&self) -> Option<Instant> {
        let archive = self.archive.as_ref().and_then(Archive::due);
        [self.decide, archive].into_iter().flatten().min()
    }

    fn act(&mut self) {
        let now = Instant::now();
        if let Some(archive) = &mut self.archive {
            archive.write_due(now);
        }
        if self.decide.is_some_and(|at| at <= now) {
            let waited = now - self.started;
            self.decide = (self.in_touch && waited < COMPLETE_TIMEOUT)
                .then_some(self.started + COMPLETE_TIMEOUT);
            if self.decide.is_none() {
                self.serve_stale();
            }
        }
    }

    /// Serves what the snapshot on disk holds.
    fn serve_stale(&mut self) {
        let Some(archive) = &self.archive else {
            tracing::warn!("the API server is away and no snapshot is kept: waiting for it");
            return;
        };
        let mut contents = self.place.contents();
        let mut names = Vec::new();
        let read = archive.read(|kind, item| {
            names.push((kind, item.name.clone()));
            contents.put(kind, item);
        });
        match read {
            Ok(read) => {
                tracing::warn!(
                    "the API server is away: serving the {} objects of {}, {} s old{}",
                    read.objects,
                    archive.file().display(),
                    read.age.as_secs(),
                    if archive.keeps(Kind::Secret) { "" } else { ", without certificates" }
                );
                self.stale = Some(contents);
                self.changed = true;
                self.expect(names);
            }
            Err(ArchiveError::Absent) => {
                tracing::warn!("the API server is away and there is no snapshot: waiting for it");
            }
            Err(error) => tracing::warn!(
                "{}: the snapshot is not used: {error}; waiting for the API server",
                archive.file().display()
            ),
        }
    }
}

impl Place {
    /// Nothing known yet, at this place.
    fn contents(&self) -> Contents {
        let store = Store::new(None, Arc::clone(&self.own)).of_cluster();
        Contents::new(store.with_addressing(self.addressing.clone(), self.replicas.clone()))
    }
}

impl fmt::Debug for KubeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KubeSource(awaits {:?})", self.awaits())
    }
}

impl Source for KubeSource {
    async fn changed(&mut self) {
        loop {
            self.drain();
            if self.changed {
                for _ in 0..TURNS_MAX {
                    tokio::task::yield_now().await;
                    if !self.drain() {
                        break;
                    }
                }
                return;
            }
            let due = self.due();
            let Self { messages, translator, release, .. } = self;
            tokio::select! {
                Some(message) = messages.recv() => self.take(message),
                Ok(()) = release.known.changed() => self.changed = true,
                () = translator.changed() => self.changed = true,
                () = async {
                    match due {
                        Some(due) => tokio::time::sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                } => self.act(),
            }
        }
    }

    fn reread(&mut self) {
        for feed in &self.feeds {
            feed.relist.notify_one();
        }
    }

    fn build(&mut self) -> Option<Built> {
        self.drain();
        self.changed = false;
        let troubles = progress::troubles(&self.feeds, self.serves());
        let is_complete = self.is_complete();
        let lacks = |feed: &Progress| feed.kind == Kind::ClusterTrustBundle && feed.is_missing;
        let lacks_trust_bundles = self.stale.is_none() && self.feeds.iter().any(lacks);
        let contents = match &mut self.stale {
            Some(stale) => stale,
            None if is_complete => &mut self.live,
            None => return None,
        };
        contents.store.set_lacks_trust_bundles(lacks_trust_bundles);
        let release = self.release.known.borrow().clone();
        contents.store.set_lacks_routability(!release.has_routability());
        contents.store.set_bundle_version(release.version);
        let found = self.translator.translate(&mut contents.store);
        let Translation { ir, statuses, problems } = found;
        let refused = problems.iter().map(problem_line);
        let problems = troubles.into_iter().chain(contents.faults().cloned()).chain(refused);
        Some(Built::new(ir, statuses, problems.collect()))
    }

    fn awaits(&self) -> Option<String> {
        if self.serves() {
            return None;
        }
        let missing: Vec<String> = self
            .feeds
            .iter()
            .filter(|feed| !feed.is_complete)
            .map(|feed| match &feed.namespace {
                None => feed.kind.as_str().to_owned(),
                Some(namespace) => format!("{} in {namespace}", feed.kind.as_str()),
            })
            .collect();
        let why = progress::away(&self.feeds)
            .map_or_else(String::new, |error| format!("; the API server is away: {error}"));
        Some(format!("not listed yet: {}{why}", missing.join(", ")))
    }
}
