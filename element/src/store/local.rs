//! The store on a local file system. Each method is one step of a protocol and returns when it is durable.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock, statvfs};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::name::storage_folder;
use super::spool::Spool;
use super::threads::WriterThreads;
use super::walk::{self, Found};
use crate::{attr, durable};

const TEMPORARY: &str = ".artstore/tmp";
const LOCK: &str = ".artstore/lock";

/// Folders remembered as durable. There is a new one every hour; a client cannot make this grow.
const MAX_KNOWN_FOLDERS: usize = 1024;

/// Searches by name that run at once.
const MAX_WALKS: usize = 4;

/// Files in flight between the walking thread and whoever takes them.
const WALK_AHEAD: usize = 1024;

/// Why the storage folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// Another server has it.
    #[error("another element is using the storage folder {0:?}")]
    InUse(PathBuf),
    /// It cannot be made or written.
    #[error("failed to open the storage folder {0:?}")]
    Folder(PathBuf, #[source] io::Error),
}

/// The file system below the store, in bytes.
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

/// Files below one folder; clones share it.
#[derive(Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    threads: Arc<WriterThreads>,
    known_folders: Mutex<HashSet<PathBuf>>,
    /// Walks over all names are long; only a few run at once.
    walks: Semaphore,
    /// Held until the store is dropped.
    _lock: File,
}

impl LocalStore {
    /// Takes the folder for this process, making it when it is absent.
    ///
    /// # Errors
    /// When another process has it, or it cannot be written.
    pub async fn open(root: PathBuf) -> Result<Self, OpenStoreError> {
        let folder = root.clone();
        let threads = WriterThreads::start().map_err(|error| OpenStoreError::Folder(folder.clone(), error))?;
        let lock = threads
            .run(move || {
                create_root(&root)?;
                durable::create_folders(&root, Path::new(TEMPORARY))?;
                let lock = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(root.join(LOCK))?;
                match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => Ok(Some(lock)),
                    Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            })
            .await
            .map_err(|error| OpenStoreError::Folder(folder.clone(), error))?
            .ok_or_else(|| OpenStoreError::InUse(folder.clone()))?;
        let inner = Inner {
            root: folder,
            threads: Arc::new(threads),
            known_folders: Mutex::default(),
            walks: Semaphore::new(MAX_WALKS),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A temporary file for the content of `transaction`.
    pub fn spool(&self, transaction: Uuid) -> Spool {
        Spool::new(Arc::clone(&self.inner.threads), self.inner.temporary(transaction))
    }

    /// Gives a spooled file its place, content first, attributes last.
    pub async fn publish(&self, transaction: Uuid, storage_path: &str, attributes: Vec<u8>) -> io::Result<()> {
        let (inner, places) = (Arc::clone(&self.inner), self.inner.places(storage_path)?);
        self.inner
            .threads
            .run(move || {
                inner.make_durable(&places.folder)?;
                let temporary = inner.temporary_attributes(transaction);
                durable::write_new(&temporary, &attributes)?;
                durable::rename(&inner.temporary(transaction), &places.content)?;
                durable::rename(&temporary, &places.attributes)?;
                durable::sync_parent(&places.content)
            })
            .await
    }

    /// Replaces the attributes of a file as a whole.
    pub async fn replace_attributes(
        &self,
        transaction: Uuid,
        storage_path: &str,
        attributes: Vec<u8>,
    ) -> io::Result<()> {
        let (inner, places) = (Arc::clone(&self.inner), self.inner.places(storage_path)?);
        self.inner
            .threads
            .run(move || {
                let temporary = inner.temporary_attributes(transaction);
                durable::write_new(&temporary, &attributes)?;
                durable::rename(&temporary, &places.attributes)?;
                durable::sync_parent(&places.attributes)
            })
            .await
    }

    /// Removes a file: the attributes, and only when that is durable the content. What is gone already is no error, but its
    /// going is made durable too.
    pub async fn remove(&self, storage_path: &str) -> io::Result<()> {
        let places = self.inner.places(storage_path)?;
        self.inner
            .threads
            .run(move || {
                for path in [&places.attributes, &places.content] {
                    durable::remove(path)?;
                    match durable::sync_parent(path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        synced => synced?,
                    }
                }
                Ok(())
            })
            .await
    }

    /// Makes durable what stands at `storage_path`: content, attributes and their names.
    pub async fn confirm(&self, storage_path: &str) -> io::Result<()> {
        let places = self.inner.places(storage_path)?;
        self.inner
            .threads
            .run(move || {
                for path in [&places.content, &places.attributes] {
                    durable::sync_file(&File::open(path)?)?;
                }
                durable::sync_parent(&places.attributes)
            })
            .await
    }

    /// Removes the temporary files of a transaction, if any.
    pub async fn discard(&self, transaction: Uuid) -> io::Result<()> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .threads
            .run(move || {
                durable::remove(&inner.temporary(transaction))?;
                durable::remove(&inner.temporary_attributes(transaction))?;
                Ok(())
            })
            .await
    }

    /// Removes every temporary file. Only when no upload is running.
    pub async fn sweep(&self) -> io::Result<usize> {
        let folder = self.inner.root.join(TEMPORARY);
        self.inner
            .threads
            .run(move || {
                let mut removed = 0;
                for entry in fs::read_dir(&folder)? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        tracing::warn!(path = ?entry.path(), "found a folder among the temporary files");
                        continue;
                    }
                    durable::remove(&entry.path())?;
                    removed += 1;
                }
                durable::sync_folder(&folder)?;
                Ok(removed)
            })
            .await
    }

    /// Which parts of a file stand.
    pub async fn parts(&self, storage_path: &str) -> io::Result<Parts> {
        let places = self.inner.places(storage_path)?;
        read(move || {
            Ok(Parts {
                content: fs::exists(&places.content)?,
                attributes: fs::exists(&places.attributes)?,
            })
        })
        .await
    }

    /// The attributes beside `storage_path`; none when they or the content are missing.
    pub async fn attributes(&self, storage_path: &str) -> io::Result<Option<Vec<u8>>> {
        let places = self.inner.places(storage_path)?;
        read(
            move || match (fs::metadata(&places.content), fs::read(&places.attributes)) {
                (Ok(_), Ok(bytes)) => Ok(Some(bytes)),
                (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                (Err(error), _) | (_, Err(error)) => Err(error),
            },
        )
        .await
    }

    /// Opens the content.
    pub async fn open_content(&self, storage_path: &str) -> io::Result<File> {
        let places = self.inner.places(storage_path)?;
        read(move || File::open(&places.content)).await
    }

    /// Finds a file's path without the database. An id of ours tells its folder; any other means a walk over all names.
    pub async fn locate(&self, id: Uuid) -> io::Result<Option<String>> {
        let _permit = self.inner.walks.acquire().await.map_err(io::Error::other)?;
        let root = self.inner.root.clone();
        let folder = id.get_timestamp().and_then(|time| {
            let (seconds, nanoseconds) = time.to_unix();
            let time = Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()?;
            Some(storage_folder(time))
        });
        read(move || walk::locate(&root, folder.as_deref(), &id.to_string())).await
    }

    /// Everything in the store, as the receiver takes it; the handle tells whether the walk came to its end.
    pub fn walk(&self) -> (mpsc::Receiver<Found>, tokio::task::JoinHandle<io::Result<()>>) {
        let (sender, receiver) = mpsc::channel(WALK_AHEAD);
        let root = self.inner.root.clone();
        (receiver, spawn_blocking(move || walk::walk(&root, &sender)))
    }

    /// Whether the store holds no folder of files.
    pub async fn is_empty(&self) -> io::Result<bool> {
        let root = self.inner.root.clone();
        read(move || walk::is_empty(&root)).await
    }

    /// The file system's size and room. One system call that does not wait for the disk.
    pub fn space(&self) -> io::Result<Space> {
        let stat = statvfs(&self.inner.root)?;
        Ok(Space {
            total: stat.f_frsize.saturating_mul(stat.f_blocks),
            available: stat.f_frsize.saturating_mul(stat.f_bavail),
        })
    }
}

/// Makes the storage folder and whatever leads to it, durably.
fn create_root(root: &Path) -> io::Result<()> {
    let stands = root.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new(""));
    let missing = root.strip_prefix(stands).unwrap_or(Path::new(""));
    let stands = if stands.as_os_str().is_empty() {
        Path::new(".")
    } else {
        stands
    };
    durable::create_folders(stands, missing)
}

/// Runs a read off the async threads, apart from the writers'.
async fn read<T: Send + 'static>(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(job).await.map_err(io::Error::other)?
}

struct Places {
    /// Below the root.
    folder: PathBuf,
    content: PathBuf,
    attributes: PathBuf,
}

impl Inner {
    fn temporary(&self, transaction: Uuid) -> PathBuf {
        self.root.join(TEMPORARY).join(transaction.to_string())
    }

    fn temporary_attributes(&self, transaction: Uuid) -> PathBuf {
        self.root.join(TEMPORARY).join(format!("{transaction}{}", attr::SUFFIX))
    }

    /// Where a file's parts stand. A path that leads out of the root, which only a tampered database could hold, is refused.
    fn places(&self, storage_path: &str) -> io::Result<Places> {
        let relative = Path::new(storage_path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the storage path leads out of the storage folder",
            ));
        }
        Ok(Places {
            folder: relative.parent().map(Path::to_path_buf).unwrap_or_default(),
            content: self.root.join(relative),
            attributes: self.root.join(format!("{storage_path}{}", attr::SUFFIX)),
        })
    }

    /// Makes a folder durable, the first time this process uses it and whenever somebody removed it.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        let known = self
            .known_folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(folder);
        if known && self.root.join(folder).is_dir() {
            return Ok(());
        }
        durable::create_folders(&self.root, folder)?;
        let mut known = self.known_folders.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN_FOLDERS {
            known.clear();
        }
        known.insert(folder.to_path_buf());
        Ok(())
    }
}
