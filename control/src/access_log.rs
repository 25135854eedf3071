//! Writes the access log lines that shards send up, on a thread of its own.
//!
//! The controller hands over whole blocks and never waits: when the writer is more than
//! [`BLOCKS_MAX`] blocks behind, a block is dropped and its lines are counted. Files are opened for
//! appending and opened again on [`AccessLog::reopen`]. Invariant: lines are written whole, in the
//! order of each shard.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use thiserror::Error;

/// Blocks (one per report) that may wait for the writer.
pub const BLOCKS_MAX: usize = 256;

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

/// Why there can be no access log.
#[derive(Debug, Error)]
pub enum Error {
    /// The file does not open.
    #[error("cannot open the access log {}: {source}; choose another file with --access-log", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No thread could be had.
    #[error("cannot start the access log's thread: {0}")]
    Thread(io::Error),
}

/// The sending side. Dropping it writes what is queued, then ends the thread.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    failed: Arc<AtomicU64>,
    dropped: u64,
}

enum Work {
    Lines(Vec<u8>),
    Reopen,
}

impl FromStr for Target {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "off" => Self::Off,
            "-" => Self::Stdout,
            path => Self::File(path.into()),
        })
    }
}

impl AccessLog {
    /// Starts the writer; with [`Target::Off`] everything given is forgotten.
    ///
    /// # Errors
    /// The file does not open for appending.
    pub fn start(target: &Target) -> Result<Self, Error> {
        match target {
            Target::Off => {
                Ok(Self { queue: None, thread: None, failed: Arc::default(), dropped: 0 })
            }
            Target::Stdout => Self::spawn(Box::new(io::stdout()), None),
            Target::File(path) => {
                let file =
                    open(path).map_err(|source| Error::Open { path: path.clone(), source })?;
                Self::spawn(Box::new(file), Some(path.clone()))
            }
        }
    }

    fn spawn(out: Box<dyn Write + Send>, path: Option<PathBuf>) -> Result<Self, Error> {
        let (queue, work) = sync_channel(BLOCKS_MAX);
        let failed = Arc::new(AtomicU64::new(0));
        let writer = Writer { out, path, failed: Arc::clone(&failed), complained: false };
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run(&work))
            .map_err(Error::Thread)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), failed, dropped: 0 })
    }

    /// Queues whole lines; drops and counts them if the writer is behind.
    pub fn write(&mut self, lines: Vec<u8>) {
        let Some(queue) = &self.queue else { return };
        if lines.is_empty() {
            return;
        }
        match queue.try_send(Work::Lines(lines)) {
            Ok(()) => {}
            Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) => {
                if let Work::Lines(lines) = work {
                    self.dropped += count_lines(&lines);
                }
            }
        }
    }

    /// Opens the file again, for log rotation.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue
            && queue.try_send(Work::Reopen).is_err()
        {
            tracing::warn!("the access log is behind and was not reopened; send SIGHUP again");
        }
    }

    /// Lines lost so far: queue full or writing failed.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped + self.failed.load(Ordering::Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the access log's thread had failed");
        }
    }
}

struct Writer {
    out: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    failed: Arc<AtomicU64>,
    complained: bool,
}

impl Writer {
    fn run(mut self, work: &Receiver<Work>) {
        for work in work {
            match work {
                Work::Lines(lines) => self.write(&lines),
                Work::Reopen => self.reopen(),
            }
        }
    }

    fn write(&mut self, lines: &[u8]) {
        let result = self.out.write_all(lines).and_then(|()| self.out.flush());
        match result {
            Ok(()) => self.complained = false,
            Err(error) => {
                self.failed.fetch_add(count_lines(lines), Ordering::Relaxed);
                if !self.complained {
                    tracing::warn!("access log lines are lost: {error}");
                    self.complained = true;
                }
            }
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => self.out = Box::new(file),
            Err(error) => {
                tracing::warn!("cannot reopen {}: {error}; the old file is kept", path.display());
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringway-{}-{name}", std::process::id()))
    }

    #[test]
    fn lines_are_appended_and_a_rotated_file_is_left_alone_after_reopening() {
        let (path, old) = (file("access"), file("access.1"));
        fs::write(&path, "before\n").unwrap();
        let mut log = AccessLog::start(&Target::File(path.clone())).unwrap();
        log.write(b"one\n".to_vec());
        // Wait for the writer: the rename must come after the first line.
        while fs::read_to_string(&path).unwrap() != "before\none\n" {
            std::thread::yield_now();
        }
        fs::rename(&path, &old).unwrap();
        log.reopen();
        log.write(b"two\n".to_vec());
        assert_eq!(log.dropped(), 0);
        drop(log);
        assert_eq!(fs::read_to_string(&old).unwrap(), "before\none\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        fs::remove_file(path).unwrap();
        fs::remove_file(old).unwrap();
    }

    #[test]
    fn a_full_disk_counts_every_lost_line() {
        let mut log = AccessLog::start(&Target::File("/dev/full".into())).unwrap();
        log.write(b"one\ntwo\n".to_vec());
        let failed = Arc::clone(&log.failed);
        drop(log);
        assert_eq!(failed.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named_with_the_remedy() {
        let error = AccessLog::start(&Target::File("/no/such/dir/log".into())).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/no/such/dir/log") && text.contains("--access-log"), "{text}");
    }
}
