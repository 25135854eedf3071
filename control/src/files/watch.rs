//! Learning of changes at once, through the kernel.
//!
//! A file that is being written is not read until its writer closes it, so a half-written file is
//! not mistaken for an edit. Events only say "look"; what changed is found by comparing stamps, so a
//! lost event costs time, not correctness.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// A watch on all roots.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    watcher: Option<RecommendedWatcher>,
}

#[derive(Debug, Default)]
struct Shared {
    news: Notify,
    /// Files that were touched and not closed since, with the time of the last touch.
    writing: Mutex<HashMap<PathBuf, Instant>>,
}

impl Watch {
    /// Watches `roots`; where the kernel refuses, says so once, and polling has to do.
    pub(crate) fn new(roots: &[PathBuf]) -> Self {
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            told.take(event.ok());
        });
        let mut watch = Self { shared, watcher: None };
        match watcher {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(error) => tracing::warn!("files are polled, not watched: {error}"),
        }
        for root in roots {
            watch.add(root);
        }
        watch
    }

    fn add(&mut self, root: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
        let watched = if root.is_dir() {
            watcher.watch(root, RecursiveMode::Recursive)
        } else {
            // A file is replaced by renaming, which only its directory sees.
            watcher.watch(parent.unwrap_or_else(|| Path::new(".")), RecursiveMode::NonRecursive)
        };
        if let Err(error) = watched {
            tracing::warn!(path = %root.display(), "polled, not watched: {error}");
        }
    }

    /// Waits for news, or until `poll` passed, or until a file that is being written is due.
    pub(crate) async fn news(&self, poll: Duration) {
        let Some(pause) = self.shared.pause(poll, Instant::now()) else { return };
        tokio::select! {
            () = self.shared.news.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Whether somebody is writing to the file.
    pub(crate) fn is_being_written(&self, path: &Path) -> bool {
        let mut writing = self.shared.writing();
        let now = Instant::now();
        writing.retain(|_, touched| now.saturating_duration_since(*touched) < WRITING_MAX);
        writing.contains_key(path)
    }
}

impl Shared {
    fn writing(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Instant>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait for the file that is due first, `poll` at most; `None` if one is due now. It
    /// is not waited for again before it is touched again: files that are kept open, and that nobody
    /// ever asks about, would be due for ever.
    fn pause(&self, poll: Duration, now: Instant) -> Option<Duration> {
        let mut writing = self.writing();
        let before = writing.len();
        writing.retain(|_, touched| now.saturating_duration_since(*touched) < WRITING_MAX);
        if writing.len() < before {
            return None;
        }
        let due = writing.values().min().map(|touched| *touched + WRITING_MAX);
        Some(due.map_or(poll, |due| poll.min(due.saturating_duration_since(now))))
    }

    fn take(&self, event: Option<Event>) {
        let Some(event) = event else { return self.news.notify_one() };
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_) => {
                let mut writing = self.writing();
                for path in &event.paths {
                    writing.remove(&plain(path));
                }
                drop(writing);
                self.news.notify_one();
            }
            EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
                let now = Instant::now();
                self.writing().extend(event.paths.iter().map(|path| (plain(path), now)));
            }
            EventKind::Access(_) => {}
            EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Other => {
                self.news.notify_one();
            }
        }
    }
}

/// Paths below `.` as the user named them.
fn plain(path: &Path) -> PathBuf {
    path.strip_prefix("./").unwrap_or(path).to_owned()
}

/// After this time without a further touch a file counts as written, closed or not.
const WRITING_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_kept_open_is_due_once_after_each_touch() {
        let (shared, start, poll) = (Shared::default(), Instant::now(), Duration::from_secs(1));
        for round in 0..2 {
            let touched = start + poll * round;
            shared.writing().insert("gateway.log".into(), touched);
            assert_eq!(shared.pause(poll, touched), Some(WRITING_MAX));
            let due = touched + WRITING_MAX;
            assert_eq!(shared.pause(poll, due), None, "look now");
            assert_eq!(shared.pause(poll, due), Some(poll), "and then wait");
        }
    }
}
