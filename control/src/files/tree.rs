//! Which files there are below the given paths, and how to see that one changed.
//!
//! Directories are walked wholly. Hidden names and those that editors leave behind are not ours;
//! symbolic links are followed, so that a ConfigMap volume (`..data`) works.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: (u64, u64),
}

/// The files below some paths.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Files with their stamps, by path.
    pub(crate) files: BTreeMap<PathBuf, Stamp>,
    /// What could not be read.
    pub(crate) unreadable: Vec<(PathBuf, io::Error)>,
}

/// Lists the files below `roots`. A root that is a file is taken whatever its name.
pub(crate) fn list(roots: &[PathBuf]) -> Tree {
    let mut tree = Tree::default();
    for root in roots {
        match fs::metadata(root) {
            Ok(found) if found.is_dir() => tree.walk(root, 0, &mut BTreeSet::new()),
            Ok(found) => {
                tree.files.insert(root.clone(), Stamp::of(&found));
            }
            Err(error) => tree.unreadable.push((root.clone(), error)),
        }
    }
    tree
}

impl Tree {
    fn walk(&mut self, directory: &Path, depth: usize, seen: &mut BTreeSet<(u64, u64)>) {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable.push((directory.to_owned(), error)),
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !is_ignored(name)) else { continue };
            // A file that went since it was listed is simply gone.
            let Ok(found) = fs::metadata(&path) else { continue };
            if found.is_dir() {
                if depth < DEPTH_MAX && seen.insert((found.dev(), found.ino())) {
                    self.walk(&path, depth + 1, seen);
                }
            } else if found.is_file() && is_ours(name) {
                self.files.insert(path, Stamp::of(&found));
            }
        }
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            inode: (found.dev(), found.ino()),
        }
    }
}

fn is_ours(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
}

fn is_ignored(name: &str) -> bool {
    name.starts_with(['.', '#', '~']) || name.ends_with(['~', '#'])
}

/// Directories within directories.
const DEPTH_MAX: usize = 32;
