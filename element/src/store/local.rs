//! The store on a file system: a folder for one server, or for several that share a volume.

mod buffers;
mod care;
mod content;
mod place;
mod scan;
mod spool;
mod threads;
mod walk;

use std::collections::HashSet;
use std::fs::{self, File};
use std::future::ready;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::future::BoxFuture;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags, flock, statvfs};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use self::buffers::Buffers;
use self::content::{LocalContent, open_cached};
use self::spool::LocalSpool;
use self::threads::WriterThreads;
use super::name::storage_folder;
use super::{
    Fence, Found, Leftover, Look, MAX_ATTRIBUTES, MAX_WALKS, OpenStoreError, Parts, Readable, Scan, Space, Spool,
    Stamp, Stamped, Store, turn_to_walk,
};
use crate::durable::FolderFlushes;
use crate::{attr, durable};

const OWN: &str = ".artstore";
const TEMPORARY: &str = ".artstore/tmp";
const LOCK: &str = ".artstore/lock";

/// Files in flight between the walking thread and whoever takes them.
const WALK_AHEAD: usize = 1024;

/// Files below one folder.
pub struct LocalStore {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    threads: WriterThreads,
    known_folders: Mutex<HashSet<PathBuf>>,
    /// Held shared from making sure of a folder until something stands in it, exclusively while empty folders go.
    folders: RwLock<()>,
    /// Held while a note is written, which has no log entry, and while something is cleared away that has none either.
    notes: Mutex<()>,
    /// Walks over all names are long; only a few run at once.
    walks: Semaphore,
    buffers: Buffers,
    flushes: FolderFlushes,
    fence: Fence,
    /// Held until the store is dropped.
    _lock: File,
}

impl LocalStore {
    /// Takes the folder for this process, or for this and others that want to share it, making it when it is absent.
    ///
    /// # Errors
    /// When another process has it, or it cannot be written.
    pub async fn open(root: PathBuf, shared: bool, fence: Fence) -> Result<Self, OpenStoreError> {
        let folder = root.clone();
        let threads = WriterThreads::start().map_err(|error| OpenStoreError::Folder(folder.clone(), error))?;
        let lock = threads
            .run(move || {
                durable::create_all(&root)?;
                durable::create_folders(&root, Path::new(TEMPORARY))?;
                let lock = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(root.join(LOCK))?;
                let operation = if shared {
                    FlockOperation::NonBlockingLockShared
                } else {
                    FlockOperation::NonBlockingLockExclusive
                };
                match flock(&lock, operation) {
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
            threads,
            known_folders: Mutex::default(),
            folders: RwLock::default(),
            notes: Mutex::default(),
            walks: Semaphore::new(MAX_WALKS),
            buffers: Buffers::default(),
            flushes: FolderFlushes::default(),
            fence,
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Store for LocalStore {
    fn kind(&self) -> &'static str {
        "local"
    }

    fn spool(&self, transaction: Uuid, _storage_path: &str) -> Box<dyn Spool> {
        Box::new(LocalSpool::new(Arc::clone(&self.inner), transaction))
    }

    fn replace_attributes<'a>(
        &'a self,
        transaction: Uuid,
        storage_path: &'a str,
        attributes: Vec<u8>,
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let (inner, places) = (Arc::clone(&self.inner), self.inner.places(storage_path)?);
            self.inner
                .threads
                .run(move || {
                    let temporary = inner.temporary_attributes(transaction);
                    durable::write_new(&temporary, &attributes)?;
                    inner.fence.check()?;
                    durable::rename(&temporary, &places.attributes)?;
                    inner.flushes.sync(&inner.root.join(&places.folder))
                })
                .await
        })
    }

    fn remove<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let (inner, places) = (Arc::clone(&self.inner), self.inner.places(storage_path)?);
            self.inner
                .threads
                .run(move || {
                    for path in [&places.attributes, &places.content] {
                        inner.fence.check()?;
                        durable::remove(path)?;
                        match durable::sync_parent(path) {
                            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                            synced => synced?,
                        }
                    }
                    Ok(())
                })
                .await
        })
    }

    fn confirm<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
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
        })
    }

    fn discard<'a>(
        &'a self,
        transaction: Uuid,
        _planned: &'a str,
        _storage_path: &'a str,
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.inner.discard(transaction))
    }

    fn leftovers(&self) -> BoxFuture<'_, io::Result<Vec<Leftover>>> {
        let folder = self.inner.root.join(TEMPORARY);
        Box::pin(read(move || leftovers(&folder)))
    }

    fn clear<'a>(&'a self, leftover: &'a Leftover) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let Leftover::Temporary { name, .. } = leftover else {
                return Ok(());
            };
            let (inner, path) = (Arc::clone(&self.inner), self.inner.root.join(TEMPORARY).join(name));
            self.inner
                .threads
                .run(move || {
                    let _no_note = inner.notes.lock().unwrap_or_else(PoisonError::into_inner);
                    durable::remove(&path)?;
                    durable::sync_parent(&path)
                })
                .await
        })
    }

    fn parts<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Parts>> {
        Box::pin(async move {
            let places = self.inner.places(storage_path)?;
            read(move || {
                Ok(Parts {
                    content: fs::exists(&places.content)?,
                    attributes: fs::exists(&places.attributes)?,
                })
            })
            .await
        })
    }

    fn attributes<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            let places = self.inner.places(storage_path)?;
            read(
                move || match (fs::metadata(&places.content), read_attributes(&places.attributes)) {
                    (Ok(_), Ok(bytes)) => Ok(Some(bytes)),
                    (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    (Err(error), _) | (_, Err(error)) => Err(error),
                },
            )
            .await
        })
    }

    fn open_content<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Readable>>> {
        Box::pin(async move {
            let path = self.inner.content_path(storage_path)?;
            let file = match open_cached(&path, OFlags::RDONLY) {
                Some(file) => file,
                None => read(move || File::open(&path)).await?,
            };
            Ok(Box::new(LocalContent::new(file, self.inner.buffers.clone())) as Box<dyn Readable>)
        })
    }

    fn stamp(&self, storage_path: &str) -> Option<Stamp> {
        let path = self.inner.attributes_path(storage_path).ok()?;
        Stamp::of(&open_cached(&path, OFlags::PATH)?).ok()
    }

    fn stamped_attributes<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Option<Stamped>>> {
        Box::pin(async move {
            let places = self.inner.places(storage_path)?;
            read(move || {
                let file = match File::open(&places.attributes) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    opened => opened?,
                };
                let stamp = Stamp::of(&file)?;
                Ok(Some((stamp, read_all_attributes(&file)?)))
            })
            .await
        })
    }

    fn locate(&self, id: Uuid) -> BoxFuture<'_, io::Result<Option<String>>> {
        Box::pin(async move {
            let _permit = turn_to_walk(&self.inner.walks).await?;
            let root = self.inner.root.clone();
            let folder = id.get_timestamp().and_then(|time| {
                let (seconds, nanoseconds) = time.to_unix();
                let time = Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()?;
                Some(storage_folder(time))
            });
            read(move || walk::locate(&root, folder.as_deref(), &id.to_string())).await
        })
    }

    fn walk(&self, after: Option<String>) -> (mpsc::Receiver<Found>, JoinHandle<io::Result<()>>) {
        let (sender, receiver) = mpsc::channel(WALK_AHEAD);
        let root = self.inner.root.clone();
        let walking = spawn_blocking(move || walk::walk(&root, after.as_deref(), &sender));
        (receiver, walking)
    }

    fn look<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Look>> {
        Box::pin(self.inner.look(storage_path))
    }

    fn scan<'a>(&'a self, storage_path: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Scan>>> {
        Box::pin(self.inner.scan(storage_path))
    }

    fn quarantine<'a>(&'a self, transaction: Uuid, storage_path: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.inner.quarantine(transaction, storage_path))
    }

    fn quarantined(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(self.inner.quarantined())
    }

    fn prune_folders(&self, time: Timestamp) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(self.inner.prune_folders(time))
    }

    fn note(&self, name: &'static str) -> BoxFuture<'_, io::Result<Option<Vec<u8>>>> {
        Box::pin(self.inner.note(name))
    }

    fn keep_note(&self, name: &'static str, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.inner.keep_note(name, bytes))
    }

    fn is_empty(&self) -> BoxFuture<'_, io::Result<bool>> {
        let root = self.inner.root.clone();
        Box::pin(read(move || walk::is_empty(&root)))
    }

    fn check(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(ready(self.space().map(drop)))
    }

    /// One system call that does not wait for the disk.
    fn space(&self) -> io::Result<Space> {
        let stat = statvfs(&self.inner.root)?;
        Ok(Space {
            total: stat.f_frsize.saturating_mul(stat.f_blocks),
            available: stat.f_frsize.saturating_mul(stat.f_bavail),
        })
    }
}

fn leftovers(folder: &Path) -> io::Result<Vec<Leftover>> {
    let mut left = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            tracing::warn!(path = ?entry.path(), "found a name that is not UTF-8 among the temporary files");
            continue;
        };
        if entry.file_type()?.is_dir() {
            tracing::warn!(path = ?entry.path(), "found a folder among the temporary files");
            continue;
        }
        let id = name.strip_suffix(attr::SUFFIX).unwrap_or(&name);
        left.push(Leftover::Temporary {
            transaction: id.parse().ok(),
            name,
        });
    }
    Ok(left)
}

/// The bytes of an attr file.
fn read_attributes(path: &Path) -> io::Result<Vec<u8>> {
    read_all_attributes(&File::open(path)?)
}

fn read_all_attributes(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_ATTRIBUTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_ATTRIBUTES {
        let why = format!("the attr file has more than {MAX_ATTRIBUTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(bytes)
}

/// Runs a read off the async threads, apart from the writers'.
async fn read<T: Send + 'static>(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(job).await.map_err(io::Error::other)?
}
