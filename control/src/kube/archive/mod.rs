//! The snapshot on disk: the last complete configuration, for a start while the API server is away.
//!
//! One file of JSON lines: a head with the format's version, an object a line, a last line with a
//! sum over all before it. Objects stay in the file, not in memory: a write copies what did not
//! change from the file before. Invariants: the file is replaced whole or not at all, only after
//! everything was listed, and away from the control thread; Secrets are in it only if asked for, and
//! only its owner can read it.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::contents::Id;
use super::item::Item;
use crate::api::{Kind, Name};

/// Where a snapshot is kept unless another directory is named.
pub const DIRECTORY_DEFAULT: &str = "/var/lib/ringway";
/// Between two writes of the snapshot at least, and so much more that writing takes
/// at most a fiftieth of the time.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes of objects not yet written that bring a write about by themselves.
pub const PENDING_BYTES_MAX: usize = 8 << 20;
/// How often it is seen whether a write is done.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// A file half written for this time is nobody's.
const LEFTOVER_AGE: Duration = Duration::from_secs(600);
const FILE_NAME: &str = "snapshot.jsonl";
const FORMAT: u32 = 1;

/// Where the snapshot is and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The directory.
    pub directory: PathBuf,
    /// Certificates and their keys too.
    pub secrets: bool,
}

/// Why a snapshot cannot be used.
#[derive(Debug, Error)]
pub(super) enum ArchiveError {
    /// There is none.
    #[error("there is none")]
    Absent,
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Written by another release.
    #[error("it has format {0}, this build reads {FORMAT}")]
    Format(u32),
    /// Cut or changed.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub objects: usize,
    pub age: Duration,
}

#[derive(Serialize, Deserialize)]
struct Head {
    ringway_snapshot: u32,
    written: u64,
    objects: usize,
}

#[derive(Deserialize)]
struct Entry<'a> {
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct Tail {
    sum: String,
}

/// Where an object's JSON is.
#[derive(Clone, Debug)]
enum Place {
    Memory(Arc<str>),
    File { at: u64, length: usize },
}

#[derive(Debug)]
struct Kept {
    hash: u64,
    place: Place,
}

/// The snapshot on disk.
#[derive(Debug)]
pub(super) struct Archive {
    keep: Keep,
    objects: HashMap<Id, Kept>,
    hasher: RandomState,
    pending: usize,
    /// The file that the places of `objects` are in; ours, whoever replaces it.
    file: Option<Arc<File>>,
    is_open: bool,
    is_dirty: bool,
    next: Instant,
    running: Option<Running>,
    has_failed: bool,
}

#[derive(Debug)]
struct Running {
    started: Instant,
    ids: Vec<(Id, Place)>,
    task: JoinHandle<io::Result<Written>>,
}

#[derive(Debug)]
struct Written {
    file: File,
    places: Vec<(u64, usize)>,
}

impl Keep {
    /// Makes the directory and sees whether it can be written.
    ///
    /// # Errors
    /// As the system says.
    pub fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        self.sweep()?;
        let probe = self.temporary();
        create(&probe)?;
        fs::remove_file(probe)
    }

    /// Removes what a process that was killed while it wrote left behind.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)?.flatten() {
            let is_ours =
                entry.file_name().to_string_lossy().starts_with(&format!(".{FILE_NAME}."));
            let changed = entry.metadata().and_then(|about| about.modified());
            let age = changed.ok().and_then(|changed| changed.elapsed().ok());
            if is_ours && age.is_some_and(|age| age > LEFTOVER_AGE) {
                // Another process may have been faster.
                drop(fs::remove_file(entry.path()));
            }
        }
        Ok(())
    }

    fn temporary(&self) -> PathBuf {
        self.directory.join(format!(".{FILE_NAME}.{}", std::process::id()))
    }
}

impl Archive {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            objects: HashMap::new(),
            hasher: RandomState::new(),
            pending: 0,
            file: None,
            is_open: false,
            is_dirty: false,
            next: Instant::now(),
            running: None,
            has_failed: false,
        }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.keep.directory.join(FILE_NAME)
    }

    /// Whether objects of a kind are in it.
    pub(super) fn keeps(&self, kind: Kind) -> bool {
        kind != Kind::Secret || self.keep.secrets
    }

    /// Takes the newest JSON of an object.
    pub(super) fn put(&mut self, kind: Kind, name: &Name, raw: Box<str>) {
        let hash = self.hasher.hash_one(&*raw);
        let id = (kind, name.clone());
        if self.objects.get(&id).is_some_and(|kept| kept.hash == hash) {
            return;
        }
        self.pending += raw.len();
        self.is_dirty |= self.pending > PENDING_BYTES_MAX;
        self.objects.insert(id, Kept { hash, place: Place::Memory(raw.into()) });
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &Name) {
        self.objects.remove(&(kind, name.clone()));
    }

    /// Something that matters changed.
    pub(super) fn touch(&mut self) {
        self.is_dirty = true;
    }

    /// Everything was listed: from now on it may be written.
    pub(super) fn open(&mut self) {
        self.is_open = true;
        self.is_dirty = true;
        self.next = Instant::now() + CHECK_INTERVAL;
    }

    /// When [`Self::write_due`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.running.is_some() || (self.is_open && self.is_dirty)).then_some(self.next)
    }

    /// Takes in a write that is done, or starts one that is due.
    pub(super) fn write_due(&mut self, now: Instant) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        match self.running.take() {
            None => self.start_write(now),
            Some(running) if running.task.is_finished() => self.end_write(now, running),
            Some(running) => {
                self.running = Some(running);
                self.next = now + CHECK_INTERVAL;
            }
        }
    }

    fn start_write(&mut self, now: Instant) {
        let ids: Vec<(Id, Place)> =
            self.objects.iter().map(|(id, kept)| (id.clone(), kept.place.clone())).collect();
        let parts: Vec<(Kind, Place)> =
            ids.iter().map(|(id, place)| (id.0, place.clone())).collect();
        let (keep, before) = (self.keep.clone(), self.file.clone());
        let task = tokio::task::spawn_blocking(move || write(&keep, before.as_deref(), &parts));
        self.is_dirty = false;
        self.pending = 0;
        self.next = now + CHECK_INTERVAL;
        self.running = Some(Running { started: now, ids, task });
    }

    fn end_write(&mut self, now: Instant, running: Running) {
        use std::future::Future;
        let Running { started, ids, mut task } = running;
        self.next = now + WRITE_INTERVAL.max((now - started) * 50);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let result = match std::pin::Pin::new(&mut task).poll(&mut context) {
            std::task::Poll::Ready(Ok(result)) => result,
            _ => Err(io::Error::other("the write ended early")),
        };
        match result {
            Ok(Written { file, places }) => {
                self.has_failed = false;
                self.adopt(ids, &places);
                self.file = Some(Arc::new(file));
            }
            Err(error) => {
                self.is_dirty = true;
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(
                        "{}: the snapshot is not written: {error}",
                        self.file().display()
                    );
                }
            }
        }
    }

    /// What was written is no longer held in memory; what changed meanwhile is.
    fn adopt(&mut self, ids: Vec<(Id, Place)>, places: &[(u64, usize)]) {
        for ((id, before), (at, length)) in ids.into_iter().zip(places) {
            let Some(kept) = self.objects.get_mut(&id) else { continue };
            let same = match (&kept.place, &before) {
                (Place::Memory(now), Place::Memory(then)) => Arc::ptr_eq(now, then),
                (Place::File { .. }, Place::File { .. }) => true,
                _ => false,
            };
            if same {
                kept.place = Place::File { at: *at, length: *length };
            }
        }
    }

    /// Reads the snapshot of an earlier process, object by object, once it proved whole.
    ///
    /// # Errors
    /// There is none, or it cannot be trusted.
    pub(super) fn read(&self, take: impl FnMut(Kind, Item)) -> Result<Read, ArchiveError> {
        read(&self.file(), take)
    }
}

fn read(file: &Path, mut take: impl FnMut(Kind, Item)) -> Result<Read, ArchiveError> {
    let text = fs::read_to_string(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ArchiveError::Absent,
        io::ErrorKind::InvalidData => ArchiveError::Damaged("no text"),
        _ => ArchiveError::Io(error),
    })?;
    let (head, objects, age) = parts(&text)?;
    for line in objects.lines() {
        let entry: Entry<'_> =
            serde_json::from_str(line).map_err(|_| ArchiveError::Damaged("an object"))?;
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == entry.kind) else {
            continue;
        };
        let item = Item::read(kind, entry.object.get(), false);
        take(kind, item.map_err(|_| ArchiveError::Damaged("an object"))?);
    }
    Ok(Read { objects: head.objects, age })
}

/// Head and object lines of a whole file, and its age.
fn parts(text: &str) -> Result<(Head, &str, Duration), ArchiveError> {
    let (first, rest) = text.split_once('\n').ok_or(ArchiveError::Damaged("no head"))?;
    let head: Head = serde_json::from_str(first).map_err(|_| ArchiveError::Damaged("no head"))?;
    if head.ringway_snapshot != FORMAT {
        return Err(ArchiveError::Format(head.ringway_snapshot));
    }
    let body = rest.strip_suffix('\n').ok_or(ArchiveError::Damaged("cut short"))?;
    let start = body.rfind('\n').map_or(0, |at| at + 1);
    let (objects, last) = body.split_at(start);
    let tail: Tail = serde_json::from_str(last).map_err(|_| ArchiveError::Damaged("cut short"))?;
    let mut sum = Sum::default();
    sum.add(&text.as_bytes()[..text.len() - last.len() - 1]);
    if tail.sum != sum.text() || objects.lines().count() != head.objects {
        return Err(ArchiveError::Damaged("its sum is wrong"));
    }
    let written = UNIX_EPOCH + Duration::from_secs(head.written);
    Ok((head, objects, SystemTime::now().duration_since(written).unwrap_or_default()))
}

/// Writes a new file and puts it in the place of the old.
fn write(keep: &Keep, before: Option<&File>, parts: &[(Kind, Place)]) -> io::Result<Written> {
    let temporary = keep.temporary();
    let written = write_to(&temporary, before, parts).and_then(|written| {
        fs::rename(&temporary, keep.directory.join(FILE_NAME))?;
        File::open(&keep.directory)?.sync_all()?;
        Ok(written)
    });
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
}

fn write_to(path: &Path, before: Option<&File>, parts: &[(Kind, Place)]) -> io::Result<Written> {
    let mut out = Output { to: BufWriter::new(create(path)?), at: 0, sum: Sum::default() };
    let written = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let head = Head { ringway_snapshot: FORMAT, written, objects: parts.len() };
    out.put(serde_json::to_string(&head)?.as_bytes())?;
    let mut places = Vec::with_capacity(parts.len());
    let mut text = Vec::new();
    for (kind, place) in parts {
        out.put(format!("\n{{\"kind\":\"{}\",\"object\":", kind.as_str()).as_bytes())?;
        let raw = match place {
            Place::Memory(raw) => raw.as_bytes(),
            Place::File { at, length } => {
                let before = before.ok_or_else(|| io::Error::other("the file before is gone"))?;
                text.resize(*length, 0);
                before.read_exact_at(&mut text, *at)?;
                &text[..]
            }
        };
        places.push((out.at, raw.len()));
        out.put(raw)?;
        out.put(b"}")?;
    }
    out.put(b"\n")?;
    let tail = serde_json::to_string(&Tail { sum: out.sum.text() })?;
    out.put(tail.as_bytes())?;
    out.put(b"\n")?;
    let file = out.to.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(Written { file, places })
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

struct Output {
    to: BufWriter<File>,
    at: u64,
    sum: Sum,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.add(bytes);
        self.at += bytes.len() as u64;
        self.to.write_all(bytes)
    }
}

/// FNV-1a, 64 bits: against cut and flipped bytes, not against people.
struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests;
