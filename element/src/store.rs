//! The store: data files and their attr files, on a volume or in a bucket.
//!
//! On a volume (a bucket has the same paths, and `s3` tells what is different):
//!
//! ```text
//! ROOT/YYYY/MM/DD/HH/NAME             content
//! ROOT/YYYY/MM/DD/HH/NAME.attr.json   the truth about it
//! ROOT/.artstore/tmp/ID               content of an upload in progress
//! ROOT/.artstore/tmp/ID.attr.json     attributes about to take their place
//! ROOT/.artstore/quarantine/ID/NAME   damaged content with its attributes, kept until a person removes it
//! ROOT/.artstore/mode.json            the mode and its history
//! ROOT/.artstore/scrub.json           how far the scrub came
//! ROOT/.artstore/lock                 held by the one server of this folder
//! ```
//! The order in which they change is the write-ahead log's protocol (`wal`); each method here is one step of it, and returns when
//! what it did is durable. Nothing here knows of the database.

#[cfg(test)]
pub(crate) mod conformance;
mod fence;
mod local;
mod name;
mod s3;
mod stamp;

use std::fs::File;
use std::future::ready;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use element_api::FileMetadata;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

pub use self::fence::Fence;
use self::local::LocalStore;
pub use self::name::{id_in_name, storage_filename, storage_folder};
pub use self::s3::S3Config;
use self::s3::S3Store;
pub use self::stamp::{Stamp, Stamped};
use crate::attr::{self, AttrError};

/// The note ([`Store::note`]) that keeps the element's mode.
pub const MODE_NOTE: &str = "mode.json";

/// Where files are to be kept.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// On a volume.
    Local {
        /// The storage folder.
        root: PathBuf,
        /// Whether several servers use it at once.
        shared: bool,
    },
    /// In a bucket.
    S3(S3Config),
}

impl StoreConfig {
    /// Whether other servers may use the same store.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::S3(_) | Self::Local { shared: true, .. })
    }

    /// Opens the store. `fence` guards its commit points.
    ///
    /// # Errors
    /// When it cannot be reached or used.
    pub async fn open(&self, max_file_size: u64, fence: Fence) -> Result<Arc<dyn Store>, OpenStoreError> {
        Ok(match self {
            Self::Local { root, shared } => Arc::new(LocalStore::open(root.clone(), *shared, fence).await?),
            Self::S3(config) => Arc::new(S3Store::open(config, max_file_size, fence).await?),
        })
    }
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// Another server has the folder.
    #[error("another element is using the storage folder {0:?}")]
    InUse(PathBuf),
    /// The folder cannot be made or written.
    #[error("failed to open the storage folder {0:?}")]
    Folder(PathBuf, #[source] io::Error),
    /// The bucket cannot be used.
    #[error("failed to use the bucket {0:?}")]
    Bucket(String, #[source] io::Error),
}

/// The store cannot be reached, or refuses for now: later may go well. Travels inside [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreAway {
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreAway {
    fn because(what: &str) -> io::Error {
        io::Error::other(Self {
            what: what.to_owned(),
            source: None,
        })
    }

    fn over(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> io::Error {
        io::Error::other(Self {
            what: what.to_owned(),
            source: Some(Box::new(source)),
        })
    }

    /// Whether this is what `error` says.
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// Content as it is read.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// Where files are kept.
pub trait Store: Send + Sync {
    /// The kind of storage, as users know it.
    fn kind(&self) -> &'static str;

    /// A place for the content of `transaction`, which is meant to stand at `storage_path`.
    fn spool(&self, transaction: Uuid, storage_path: &str) -> Box<dyn Spool>;

    /// Replaces the attributes of a file as a whole.
    fn replace_attributes<'a>(
        &'a self,
        transaction: Uuid,
        storage_path: &'a str,
        attributes: Vec<u8>,
    ) -> BoxFuture<'a, io::Result<()>>;

    /// Removes a file: the attributes, and only when that is durable the content. What is gone already is no error, but its
    /// going is made durable too.
    fn remove<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<()>>;

    /// Makes durable what stands at `storage_path`: content, attributes and their names.
    fn confirm<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<()>>;

    /// Removes what a transaction left that is no part of the file at `storage_path`. Its upload was begun for the path `planned`.
    fn discard<'a>(
        &'a self,
        transaction: Uuid,
        planned: &'a str,
        storage_path: &'a str,
    ) -> BoxFuture<'a, io::Result<()>>;

    /// What uploads left that is no part of a file. Some of it belongs to uploads that are still running: those whose log entry
    /// is pending when it is looked at after this.
    fn leftovers(&self) -> BoxFuture<'_, io::Result<Vec<Leftover>>>;

    /// Removes one of them.
    fn clear<'a>(&'a self, leftover: &'a Leftover) -> BoxFuture<'a, io::Result<()>>;

    /// Which parts of a file stand.
    fn parts<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Parts>>;

    /// The attributes beside `storage_path`; none when they or the content are missing.
    fn attributes<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>>;

    /// The stamp of the attr file beside `storage_path`, where the store has such a thing and it can be had without waiting.
    fn stamp(&self, _storage_path: &str) -> Option<Stamp> {
        None
    }

    /// The attributes beside `storage_path` with their stamp, where the store has such a thing.
    fn stamped_attributes<'a>(&'a self, _storage_path: &'a str) -> BoxFuture<'a, io::Result<Option<Stamped>>> {
        Box::pin(ready(Ok(None)))
    }

    /// Opens the content. A store may say only when it is read that it is missing.
    fn open_content<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Readable>>>;

    /// Finds a file's path without the database. An id of ours tells its folder; any other means a walk over all names.
    fn locate(&self, id: Uuid) -> BoxFuture<'_, io::Result<Option<String>>>;

    /// Everything in the store in the order of its paths, as the receiver takes it; with `after`, what comes behind the thing with
    /// that [`Found::path`]. The handle tells whether the walk came to its end.
    fn walk(&self, after: Option<String>) -> (mpsc::Receiver<Found>, JoinHandle<io::Result<()>>);

    /// What stands at a file's place, each part for itself.
    fn look<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Look>>;

    /// Opens the content to read it whole, from where it is kept and not from some cache.
    fn scan<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Scan>>>;

    /// Moves what stands at a file's place into the quarantine of `transaction`. What is there already is left there, so that it can
    /// be called again after a crash.
    fn quarantine<'a>(&'a self, transaction: Uuid, storage_path: &'a str) -> BoxFuture<'a, io::Result<()>>;

    /// Bytes that lie in quarantine.
    fn quarantined(&self) -> BoxFuture<'_, io::Result<u64>>;

    /// Removes the empty folders of hours before `time`, and the days, months and years that are empty then; answers how many.
    fn prune_folders(&self, time: Timestamp) -> BoxFuture<'_, io::Result<u64>>;

    /// A note of ours that was kept under this name.
    fn note(&self, name: &'static str) -> BoxFuture<'_, io::Result<Option<Vec<u8>>>>;

    /// Keeps a note under this name, durably.
    fn keep_note(&self, name: &'static str, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>>;

    /// Whether nothing lies where files do.
    fn is_empty(&self) -> BoxFuture<'_, io::Result<bool>>;

    /// Whether the store answers. Cheap enough to be asked by anybody.
    fn check(&self) -> BoxFuture<'_, io::Result<()>>;

    /// The store's size and room. Does not wait for anything.
    fn space(&self) -> io::Result<Space>;
}

/// An upload's content on its way: streamed and hashed in bounded memory. Dropping it leaves what it kept so far; `abandon` does
/// not.
pub trait Spool: Send {
    /// Bytes taken so far.
    fn size(&self) -> u64;

    /// Bytes handed on to the store so far.
    fn written(&self) -> u64;

    /// Takes the next bytes; waits for the store when it is behind. Fails when the store refused any bytes given so far.
    fn write(&mut self, chunk: Bytes) -> BoxFuture<'_, io::Result<()>>;

    /// Ends the content, which need not be durable before it has its place. Fails when the store refused anything: then the content
    /// is not there.
    fn seal(&mut self) -> BoxFuture<'_, io::Result<Spooled>>;

    /// Gives sealed content its place, content first, attributes last. What a failure leaves there is for [`Store::remove`].
    fn publish<'a>(&'a mut self, storage_path: &'a str, attributes: Vec<u8>) -> BoxFuture<'a, io::Result<()>>;

    /// Removes what was spooled, when nothing writes to it any more.
    fn abandon(self: Box<Self>) -> BoxFuture<'static, io::Result<()>>;
}

/// Content that can be read, several times and from several places at once.
pub trait Readable: Send + Sync {
    /// The bytes of `range`, which must lie within the content. Where they go to a `sender` there may be stand-ins of its instead.
    /// An error here is one that came before the first byte.
    fn read(
        &self,
        range: Range<u64>,
        sender: Option<Arc<dyn FileSender>>,
    ) -> BoxFuture<'static, io::Result<ByteStream>>;
}

/// Something that can send a part of a file by itself.
pub trait FileSender: Send + Sync {
    /// Bytes to pass on to it, where what stands in the file is to come. They may be fewer than those of the range, never none.
    fn stand_in(&self, file: &Arc<File>, range: Range<u64>) -> Bytes;
}

/// Content that is being read whole, a piece at a time, so that whoever reads sets the pace.
pub trait Scan: Send {
    /// Reads the next piece and answers its length; 0 at the end.
    fn step(&mut self) -> BoxFuture<'_, io::Result<u64>>;

    /// What was read. Fails when some piece could not be.
    fn finish(self: Box<Self>) -> io::Result<Spooled>;
}

/// Content that stands complete where it was spooled, or was read from where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Its bytes.
    pub size: u64,
    /// Its sha256, 64 lower-case hex digits.
    pub checksum: String,
}

/// The room below the store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total: u64,
    /// What an unprivileged process may still write.
    pub available: u64,
}

/// Which parts of a file stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The data file.
    pub content: bool,
    /// The attr file.
    pub attributes: bool,
}

/// What stands at a file's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The size of the content, where it stands.
    pub content: Option<u64>,
    /// The attr file, where it stands.
    pub attributes: Option<Vec<u8>>,
}

/// Something an upload left that is no part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// A temporary file.
    Temporary {
        /// Whose it is, when its name tells.
        transaction: Option<Uuid>,
        /// Its name among the temporary files.
        name: String,
    },
    /// A multipart upload that was neither completed nor aborted.
    Multipart {
        /// Where its content would stand.
        storage_path: String,
        /// The bucket's name for it.
        upload_id: String,
    },
}

impl Leftover {
    /// Whether it belongs to `transaction`, which is about one of `paths`.
    pub fn belongs_to(&self, transaction: Uuid, paths: [&str; 2]) -> bool {
        match self {
            Self::Temporary { transaction: owner, .. } => *owner == Some(transaction),
            Self::Multipart { storage_path, .. } => {
                paths.contains(&storage_path.as_str())
                    // On its way into quarantine.
                    || storage_path.split('/').any(|part| part.parse() == Ok(transaction))
            }
        }
    }
}

/// Something a walk came upon.
#[derive(Debug)]
pub enum Found {
    /// A file with its attributes.
    File(Box<FileMetadata>),
    /// An attr file that cannot be read, or whose content is missing.
    Broken {
        /// The attr file's path below the root.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Content without attributes: an upload that never came to be, or one whose attr file was lost.
    Orphan {
        /// Its path below the root.
        path: String,
    },
}

impl Found {
    /// Where the walk came upon it, below the root.
    pub fn path(&self) -> String {
        match self {
            Self::File(metadata) => format!("{}{}", metadata.storage_path, attr::SUFFIX),
            Self::Broken { path, .. } | Self::Orphan { path } => path.clone(),
        }
    }
}

/// The most bytes an attr file of any system ever had. A larger one is none, and is not taken into memory.
const MAX_ATTRIBUTES: u64 = 1 << 20;

/// Searches by name go over all files, so only a few run at once.
const MAX_WALKS: usize = 4;

/// How long a search by name waits for others to end.
const WALK_PATIENCE: Duration = Duration::from_secs(1);

async fn turn_to_walk(walks: &Semaphore) -> io::Result<SemaphorePermit<'_>> {
    match timeout(WALK_PATIENCE, walks.acquire()).await {
        Ok(permit) => permit.map_err(io::Error::other),
        Err(_) => Err(StoreAway::because("too many files are being searched for by name")),
    }
}

/// Why an attr file cannot be understood, on one line.
fn reason_of(error: &AttrError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}
