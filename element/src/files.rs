//! The use cases: one verb a file. They know nothing of HTTP and nothing of SQL.
//!
//! [`Files`] holds what the verbs share: the store, the index and its log, the room that is left, a turn for each file, and the
//! operations whose database side is still open ([`unsettled`]).

mod delete;
mod error;
mod read;
mod rebuild;
mod unsettled;
mod update;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use element_api::{Capacity, FileMetadata, Page};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, MutexGuard, RwLock, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::error::{FileError, OpenError, RebuildError};
pub use self::read::Content;
use self::unsettled::{Bytes, Unsettled};
pub use self::update::{Patch, RevisionMatch};
pub use self::upload::{Author, Details, Stored, Upload};
use crate::capacity::Accounts;
use crate::durable;
use crate::index::{Index, IndexError, Search};
use crate::store::LocalStore;
use crate::wal::recover::{self, RecoverError, Recovered, Recoveries};
use crate::wal::{OperationType, Wal, WalRecord};

/// What an element's files are kept with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The storage folder.
    pub root: PathBuf,
    /// Bytes all files together may take; the volume's size when unset.
    pub max_size: Option<u64>,
    /// Bytes one file may take.
    pub max_file_size: u64,
    /// This running server, as log entries name it.
    pub instance_id: String,
}

/// The files of one element; clones share them.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    store: LocalStore,
    index: Index,
    wal: Wal,
    accounts: Accounts,
    turns: Vec<Mutex<()>>,
    unsettled: Unsettled,
    recoveries: Recoveries,
    /// Held shared by whatever changes a file, exclusively while a rebuild swaps tables.
    gate: RwLock<()>,
    /// Held by the one rebuild that runs.
    rebuilding: Mutex<()>,
    uploads: Arc<Semaphore>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// Files that share a turn wait for each other without need; with this many that is rare.
const TURNS: usize = 256;

/// Uploads that run at once; each takes up to a megabyte of memory.
const MAX_UPLOADS: usize = 256;

/// How often unsettled operations are tried again, and how often the log is looked at for old entries.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// How long settled log entries are kept, for whoever looks into what happened.
const KEEP_LOG: SignedDuration = SignedDuration::from_hours(24);

impl Files {
    /// Takes the storage folder, finishes or undoes what a crash left, and rebuilds a database that came up empty over files.
    ///
    /// # Errors
    /// When the folder is in use or unusable, or the database is away.
    pub async fn open(settings: Settings, index: Index) -> Result<Self, OpenError> {
        let store = LocalStore::open(settings.root.clone()).await?;
        let pending = index.pending().await?;
        let recoveries = Recoveries::default();
        for record in &pending {
            let outcome =
                recover::settle(&store, &Wal::new(index.clone(), settings.instance_id.clone()), record).await?;
            recoveries.note(record, outcome);
        }
        let swept = store.sweep().await.map_err(OpenError::Sweep)?;
        if !pending.is_empty() || swept > 0 {
            tracing::info!(
                entries = pending.len(),
                temporary_files = swept,
                "recovered the write-ahead log"
            );
        }
        let stats = index.stats().await?;
        let files = Self::assemble(settings, store, index, stats.bytes, recoveries);
        if stats.files == 0 && !files.inner.store.is_empty().await.map_err(OpenError::Sweep)? {
            tracing::warn!("the database is empty but the storage folder holds files: rebuilding the database");
            files.rebuild().await?;
        }
        files.inner.tasks.spawn(look_after(Arc::clone(&files.inner)));
        Ok(files)
    }

    fn assemble(settings: Settings, store: LocalStore, index: Index, used: u64, recoveries: Recoveries) -> Self {
        let inner = Inner {
            wal: Wal::new(index.clone(), settings.instance_id.clone()),
            accounts: Accounts::new(store.clone(), settings.max_size, used),
            turns: std::iter::repeat_with(Mutex::default).take(TURNS).collect(),
            unsettled: Unsettled::default(),
            recoveries,
            gate: RwLock::default(),
            rebuilding: Mutex::default(),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            settings,
            store,
            index,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// [`FileError::NotFound`], or what kept the store from answering.
    pub async fn metadata(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        self.inner.find(id).await
    }

    /// One page of the files that match.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn search(&self, search: &Search) -> Result<Page, FileError> {
        Ok(self.inner.index.search(search).await?)
    }

    /// How full the element is.
    pub fn capacity(&self) -> Capacity {
        self.inner.accounts.capacity()
    }

    /// Log entries that were recovered by this process, at its start or later.
    pub fn recoveries(&self) -> &Recoveries {
        &self.inner.recoveries
    }

    /// The element's database.
    pub fn index(&self) -> &Index {
        &self.inner.index
    }

    /// Whether the disk may still be trusted with writes.
    ///
    /// # Errors
    /// [`FileError::Unwritable`] for the rest of the process's life once a flush has failed.
    pub fn writable(&self) -> Result<(), FileError> {
        if durable::flush_failed() {
            Err(FileError::Unwritable)
        } else {
            Ok(())
        }
    }

    /// Waits for what runs, settles what is open, and closes the database.
    pub async fn shutdown(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.retry_unsettled().await;
        self.inner.index.close().await;
    }
}

impl Inner {
    /// Waits until nobody else changes the file.
    async fn turn(&self, id: Uuid) -> Option<MutexGuard<'_, ()>> {
        let turn = usize::try_from(id.as_u128() % (TURNS as u128)).unwrap_or_default();
        match self.turns.get(turn) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// Ends an operation's entry; when the database is away that is done later, and until then the attr file answers for it.
    async fn settle_or_keep(&self, record: WalRecord, settling: impl Future<Output = Result<(), IndexError>>) {
        if let Err(error) = settling.await {
            tracing::warn!(transaction_id = %record.transaction_id, error = %Chain(&error), "settling a log entry is put off");
            self.unsettled.keep(record, Bytes::AsCounted);
        }
    }

    /// Writes a pending entry. One whose fate is not known is settled later by what stands on disk.
    async fn begin(&self, operation: OperationType, id: Uuid, path: &str) -> Result<WalRecord, IndexError> {
        let record = self.wal.record(operation, id, path);
        if let Err(error) = self.wal.put(&record).await {
            self.unsettled.keep_if_room(record);
            return Err(error);
        }
        Ok(record)
    }

    /// Tries again to settle what the database could not take before.
    async fn retry_unsettled(&self) {
        for (record, bytes) in self.unsettled.all() {
            // After a failed flush nobody knows what the disk holds; the next start looks again.
            if durable::flush_failed() {
                return;
            }
            let _gate = self.gate.read().await;
            let _turn = match record.file_id {
                Some(id) => self.turn(id).await,
                None => None,
            };
            match recover::settle(&self.store, &self.wal, &record).await {
                Ok(outcome) => {
                    self.recoveries.note(&record, outcome);
                    match (bytes, outcome) {
                        (Bytes::ReleaseIfUndone(bytes), Recovered::Undone) => self.accounts.release(bytes),
                        (Bytes::SpendIfRedone(bytes), Recovered::Redone) => self.accounts.spend(bytes),
                        _ => {}
                    }
                    self.unsettled.forget(&record);
                }
                Err(RecoverError::Index(error @ (IndexError::Unavailable(_) | IndexError::Stopped))) => {
                    tracing::debug!(error = %Chain(&error), "the database does not take log entries yet");
                    return;
                }
                Err(error) => tracing::warn!(error = %Chain(&error), "a log entry cannot be settled yet"),
            }
        }
    }
}

async fn look_after(inner: Arc<Inner>) {
    let mut retry = tokio::time::interval(RETRY_INTERVAL);
    let mut prune = tokio::time::interval(PRUNE_INTERVAL);
    loop {
        tokio::select! {
            () = inner.stopping.cancelled() => return,
            _ = retry.tick() => inner.retry_unsettled().await,
            _ = prune.tick() => {
                if let Err(error) = inner.index.prune_log(Timestamp::now() - KEEP_LOG).await {
                    tracing::warn!(error = %Chain(&error), "failed to prune the write-ahead log");
                }
            }
        }
    }
}

/// An error and its sources on one line.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'a));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
