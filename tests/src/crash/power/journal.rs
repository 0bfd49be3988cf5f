//! The record of a run: every change of a file or folder that had success, in the order in which they were seen.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::place;

/// One change. Paths are below the folder that is recorded.
#[derive(Clone, PartialEq)]
pub enum Change {
    /// A file was opened for writing.
    Open {
        /// Its path.
        path: PathBuf,
        /// It was made if it was not there.
        create: bool,
        /// It was emptied.
        truncate: bool,
    },
    /// Content was written.
    Write {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What.
        data: Vec<u8>,
    },
    /// A file got this length.
    Truncate {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
    },
    /// A file or folder was flushed.
    Sync {
        /// Its path.
        path: PathBuf,
        /// What was changed before this position is covered; later changes may have come while the flush was under way.
        covers: usize,
    },
    /// A folder was made.
    Mkdir {
        /// Its path.
        path: PathBuf,
    },
    /// A file got another name.
    Rename {
        /// The old one.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// A file got one more name.
    Link {
        /// The old one.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// A name was removed.
    Unlink {
        /// The name.
        path: PathBuf,
    },
    /// The ledger has so many lines now.
    Mark(usize),
    /// What a planted fault left out.
    Nothing,
}

impl fmt::Debug for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, .. } => write!(formatter, "open {path:?}"),
            Self::Write { path, offset, data } => write!(formatter, "write {path:?} {offset}+{}", data.len()),
            Self::Truncate { path, length } => write!(formatter, "truncate {path:?} to {length}"),
            Self::Sync { path, .. } => write!(formatter, "sync {path:?}"),
            Self::Mkdir { path } => write!(formatter, "mkdir {path:?}"),
            Self::Rename { from, to } => write!(formatter, "rename {from:?} to {to:?}"),
            Self::Link { from, to } => write!(formatter, "link {from:?} to {to:?}"),
            Self::Unlink { path } => write!(formatter, "unlink {path:?}"),
            Self::Mark(lines) => write!(formatter, "ledger line {lines}"),
            Self::Nothing => formatter.write_str("nothing"),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    changes: Mutex<Vec<Change>>,
}

impl Journal {
    /// An empty journal of what happens below `root`.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            changes: Mutex::default(),
        }
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Adds a change.
    pub fn note(&self, change: Change) {
        let change = change.map(|path| path.strip_prefix(&self.root).map(Path::to_path_buf).unwrap_or(path));
        self.lock().push(change);
    }

    /// All of them.
    pub fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    /// Whether a folder with files in it is flushed.
    pub(super) fn flushes_files_folder(&self) -> bool {
        matches!(self, Self::Sync { path, .. } if place::is_hour(path))
    }

    fn map(self, shorten: impl Fn(PathBuf) -> PathBuf) -> Self {
        match self {
            Self::Open { path, create, truncate } => Self::Open {
                path: shorten(path),
                create,
                truncate,
            },
            Self::Write { path, offset, data } => Self::Write {
                path: shorten(path),
                offset,
                data,
            },
            Self::Truncate { path, length } => Self::Truncate {
                path: shorten(path),
                length,
            },
            Self::Sync { path, covers } => Self::Sync {
                path: shorten(path),
                covers,
            },
            Self::Mkdir { path } => Self::Mkdir { path: shorten(path) },
            Self::Rename { from, to } => Self::Rename {
                from: shorten(from),
                to: shorten(to),
            },
            Self::Link { from, to } => Self::Link {
                from: shorten(from),
                to: shorten(to),
            },
            Self::Unlink { path } => Self::Unlink { path: shorten(path) },
            same @ (Self::Mark(_) | Self::Nothing) => same,
        }
    }
}
