//! Stamps: whether a file is still the one that was looked at, without reading it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// Two changes of a file within this time could leave the same stamp: the kernel's clock ticks, and numbers of removed files are
/// given out again.
const SETTLED: Duration = Duration::from_secs(2);

/// What tells a file from every other that ever stood at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    number: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file's bytes and the stamp they were read under.
pub type Stamped = (Stamp, Vec<u8>);

impl Stamp {
    pub(in crate::store) fn of(file: &File) -> io::Result<Self> {
        let metadata: Metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            number: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether the file stands long enough that any later change shows.
    pub fn is_settled(&self) -> bool {
        let (seconds, _) = self.changed;
        let changed = u64::try_from(seconds).map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        // The part of a second that is left out makes this stricter by up to one.
        changed.is_ok_and(|changed| {
            changed
                .elapsed()
                .is_ok_and(|age| age > SETTLED + Duration::from_secs(1))
        })
    }
}
