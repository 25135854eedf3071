//! Objects from files: reads them, watches them, and keeps the last good version of each.
//!
//! Only files whose stamp changed are read again. A mistake costs one object its new version and
//! nothing else: its last good version stays, the mistake is logged once and listed in
//! [`Files::problems`]. Used by the control loop: `changed().await`, then `apply`. Invariant: who
//! wins when two files hold the same object depends on their paths alone (the first by order).

pub(crate) mod document;
mod locate;
pub(crate) mod tree;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error as ThisError;

use crate::api::{Kind, Name, Object};
use crate::check::Mistake;
use crate::store::Store;
use crate::yaml::Position;
use document::Document;
pub use locate::Locator;
pub use tree::Stamp;
use tree::Tree;
use watch::Watch;

/// A path that cannot be used.
#[derive(Debug, ThisError)]
#[error("{path}: {error}", path = path.display())]
pub struct OpenError {
    /// The path.
    pub path: PathBuf,
    /// Why.
    pub error: std::io::Error,
}

/// The files below some paths, as last read.
#[derive(Debug)]
pub struct Files {
    roots: Vec<PathBuf>,
    known: BTreeMap<Arc<Path>, Known>,
    holders: HashMap<Id, BTreeSet<Arc<Path>>>,
    touched: HashSet<Id>,
    unreadable: Vec<Mistake>,
    watch: Watch,
}

type Id = (Kind, Name);

/// A file as last read.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    objects: HashMap<Id, Held>,
    problems: Vec<Mistake>,
}

/// An object as a file holds it: its present or last good version, if there ever was one.
#[derive(Clone, Debug)]
struct Held {
    object: Option<Object>,
    at: Position,
}

impl Files {
    /// Reads all files below `roots` and watches them.
    ///
    /// # Errors
    /// A root does not exist or cannot be read. Mistakes inside files are not errors.
    pub fn open(roots: &[PathBuf]) -> Result<Self, OpenError> {
        let watch = Watch::new(roots);
        let mut files = Self {
            roots: roots.to_vec(),
            known: BTreeMap::new(),
            holders: HashMap::new(),
            touched: HashSet::new(),
            unreadable: Vec::new(),
            watch,
        };
        let tree = tree::list(roots);
        if let Some((path, error)) =
            tree.unreadable.into_iter().find(|(path, _)| roots.contains(path))
        {
            return Err(OpenError { path, error });
        }
        files.scan();
        Ok(files)
    }

    /// Waits until some file changed, and reads those that did. Cancel-safe.
    ///
    /// Changes that come while the caller is busy are found together by the next call.
    pub async fn changed(&mut self) {
        while !self.scan() {
            self.watch.news(POLL).await;
        }
    }

    /// Compares every file with what is known of it now, without waiting for news. What changed is
    /// in the store after [`Self::apply`].
    pub fn reread(&mut self) {
        self.scan();
    }

    /// The file that an object in the store came from, with its stamp.
    #[must_use]
    pub fn holder(&self, kind: Kind, name: &Name) -> Option<(Arc<Path>, Stamp)> {
        let path = self.holders.get(&(kind, name.clone()))?.first()?;
        Some((Arc::clone(path), self.known.get(path)?.stamp))
    }

    /// Finds where fields stand in the files.
    #[must_use]
    pub fn locator(&self) -> Locator<'_> {
        Locator::new(self)
    }

    /// Where the object begins in the file, as it was last read.
    fn start_of(&self, path: &Path, id: &Id) -> Option<Position> {
        Some(self.known.get(path)?.objects.get(id)?.at)
    }

    /// Brings the store up to date.
    pub fn apply(&mut self, store: &mut Store) {
        for id in self.touched.drain() {
            let winner = self.holders.get(&id).and_then(BTreeSet::first);
            let held = winner.and_then(|path| self.known.get(path)?.objects.get(&id));
            match held.and_then(|held| held.object.clone()) {
                Some(object) => store.put(object),
                None => store.remove(id.0, &id.1),
            };
        }
    }

    /// Everything that is wrong in the files now, in the order of their paths.
    #[must_use]
    pub fn problems(&self) -> Vec<Mistake> {
        let own = self.known.values().flat_map(|file| file.problems.iter().cloned());
        let mut all: Vec<_> = self.unreadable.iter().cloned().chain(own).collect();
        all.extend(self.repeated());
        all.sort_by(|left, right| (&left.file, left.at).cmp(&(&right.file, right.at)));
        all
    }

    /// Objects that a file before theirs holds already.
    fn repeated(&self) -> impl Iterator<Item = Mistake> {
        let several = self.holders.iter().filter(|(_, holders)| holders.len() > 1);
        several.flat_map(move |(id, holders)| {
            let first = holders.first().map(|path| path.display().to_string()).unwrap_or_default();
            holders.iter().skip(1).filter_map(move |path| {
                let held = self.known.get(path)?.objects.get(id)?;
                Some(Mistake {
                    file: path.to_path_buf(),
                    at: held.at,
                    object: format!("{} {}", id.0.as_str(), id.1),
                    field: "metadata.name".to_owned(),
                    what: format!("is in {first} already, which goes first: rename or remove it"),
                })
            })
        })
    }

    /// Reads what changed; says whether anything did.
    fn scan(&mut self) -> bool {
        let Tree { files, unreadable } = tree::list(&self.roots);
        let mut changed = self.note_unreadable(&unreadable);
        let lost = |path: &Path| {
            let below = |(root, error): &(PathBuf, std::io::Error)| {
                let gone = error.kind() == std::io::ErrorKind::NotFound && **root == *path;
                path.starts_with(root) && !gone
            };
            unreadable.iter().any(below)
        };
        let gone: Vec<_> = self
            .known
            .keys()
            .filter(|path| !files.contains_key(&***path) && !lost(path))
            .cloned()
            .collect();
        for path in gone {
            changed = true;
            let before = self.known.remove(&path);
            self.replace(&path, before.as_ref(), None);
        }
        let stale = files.into_iter().filter(|(path, stamp)| {
            let known = self.known.get(path.as_path());
            let same = known.is_some_and(|known| known.stamp == *stamp);
            !same && !self.watch.is_being_written(path)
        });
        let stale: Vec<(Arc<Path>, Stamp)> =
            stale.map(|(path, stamp)| (path.into(), stamp)).collect();
        for (path, known) in self.load_all(&stale) {
            changed = true;
            let before = self.known.remove(&path);
            self.replace(&path, before.as_ref(), Some(known));
        }
        changed
    }

    fn note_unreadable(&mut self, unreadable: &[(PathBuf, std::io::Error)]) -> bool {
        let mistakes: Vec<_> = unreadable
            .iter()
            .map(|(path, error)| document::whole(path, Position::default(), error.to_string()))
            .collect();
        let changed = mistakes != self.unreadable;
        self.unreadable = mistakes;
        changed
    }

    /// Reads files: on every core at the start, when nothing is served yet, and on this thread alone
    /// later, so that an edit takes no time from the shards.
    fn load_all(&self, stale: &[(Arc<Path>, Stamp)]) -> Vec<(Arc<Path>, Known)> {
        let load_some = |some: &[(Arc<Path>, Stamp)]| -> Vec<(Arc<Path>, Known)> {
            let load = |(path, stamp): &(Arc<Path>, Stamp)| {
                (Arc::clone(path), Known::read(path, *stamp, self.known.get(path)))
            };
            some.iter().map(load).collect()
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.known.is_empty() { cores.min(READERS_MAX) } else { 1 };
        let mut parts = stale.chunks(stale.len().div_ceil(threads).max(1));
        let Some(own) = parts.next() else { return Vec::new() };
        std::thread::scope(|scope| {
            let readers: Vec<_> = parts.map(|part| scope.spawn(move || load_some(part))).collect();
            let mut loaded = load_some(own);
            for reader in readers {
                loaded.extend(reader.join().expect("reading a file does not panic"));
            }
            loaded
        })
    }

    /// Puts a file's new content in the place of the old and notes which objects that touches.
    fn replace(&mut self, path: &Arc<Path>, before: Option<&Known>, now: Option<Known>) {
        for id in before.iter().flat_map(|before| before.objects.keys()) {
            if let Some(holders) = self.holders.get_mut(id) {
                holders.remove(path);
                if holders.is_empty() {
                    self.holders.remove(id);
                }
            }
            self.touched.insert(id.clone());
        }
        if let Some(now) = now {
            for id in now.objects.keys() {
                self.holders.entry(id.clone()).or_default().insert(Arc::clone(path));
                self.touched.insert(id.clone());
            }
            self.known.insert(Arc::clone(path), now);
        }
    }
}

impl Known {
    /// Reads a file. Its mistakes are its problems.
    fn read(path: &Path, stamp: Stamp, before: Option<&Self>) -> Self {
        let (document, problem) = match std::fs::read_to_string(path) {
            Ok(text) => (document::read(path, &text), None),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                let problem = document::whole(path, Position::default(), what);
                (Document { is_broken: true, ..Document::default() }, Some(problem))
            }
        };
        let mut known = Self::new(path, stamp, document, before);
        known.problems.extend(problem);
        known
    }

    fn new(path: &Path, stamp: Stamp, document: Document, before: Option<&Self>) -> Self {
        let mut problems = document.mistakes;
        let mut objects: HashMap<Id, Held> = HashMap::with_capacity(document.objects.len());
        for entry in document.objects {
            let id = (entry.kind, entry.name.clone());
            if let Some(first) = objects.get(&id) {
                let what = format!("is on line {} already: rename or remove it", first.at.line);
                problems.push(Mistake {
                    file: path.to_owned(),
                    at: entry.node.at,
                    object: entry.title(),
                    field: format!("{}metadata.name", entry.prefix),
                    what,
                });
                continue;
            }
            if let Err(findings) = &entry.outcome {
                problems.extend(findings.iter().map(|finding| entry.mistake(path, finding)));
            }
            let last_good = || before?.objects.get(&id)?.object.clone();
            let object = entry.outcome.ok().or_else(last_good);
            objects.insert(id, Held { object, at: entry.node.at });
        }
        if document.is_broken {
            // What stood in the unreadable part is not known, so nothing is taken away.
            for (id, held) in before.iter().flat_map(|before| &before.objects) {
                objects.entry(id.clone()).or_insert_with(|| held.clone());
            }
        }
        Self { stamp, objects, problems }
    }
}

/// Threads that read files at the start.
const READERS_MAX: usize = 8;

/// How often files are looked at without being told to.
const POLL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
