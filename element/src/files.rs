//! The use cases: one verb a file. They know nothing of HTTP and nothing of SQL.
//!
//! [`Files`] holds what the verbs share: the store, the index and its log, the room that is left, a turn for each file, and the
//! operations whose database side is still open ([`unsettled`]).

mod collect;
mod delete;
mod error;
mod fsck;
mod inspect;
mod known;
mod modes;
mod quarantine;
mod read;
mod rebuild;
mod reconcile;
mod recovery;
mod scrub;
mod turn;
mod unsettled;
mod update;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use element_api::{Capacity, FileMetadata, Page, Task};
use jiff::SignedDuration;
use tokio::sync::{Mutex, RwLock, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

pub use self::error::{Chain, FileError, OpenError, RebuildError};
pub use self::fsck::Check;
pub use self::inspect::{CareError, Plan, Reading, Rows, Unwatched, Watch};
use self::known::Known;
pub use self::read::{Content, StoreReader};
use self::recovery::sweep;
use self::turn::Turns;
use self::unsettled::{Bytes, Unsettled};
pub use self::update::Patch;
pub use self::upload::{Author, Details, Stored, Upload};
use crate::capacity::Accounts;
use crate::durable;
use crate::index::{Index, IndexError, Lease, Search, Sharing};
use crate::store::{Fence, OpenStoreError, Store, StoreConfig};
use crate::wal::recover::Recoveries;
use crate::wal::{Instance, OperationType, Wal, WalRecord};

/// What an element's files are kept with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where they are kept.
    pub store: StoreConfig,
    /// Bytes all files together may take; the volume's size when unset.
    pub max_size: Option<u64>,
    /// Bytes one file may take.
    pub max_file_size: u64,
    /// This running server, as log entries name it.
    pub instance_id: String,
}

/// A store that this server has, alone or with others. It can be read from the first moment.
pub struct OwnStore {
    store: Arc<dyn Store>,
    sharing: Sharing,
    fence: Fence,
}

impl OwnStore {
    /// Takes the store.
    ///
    /// # Errors
    /// When it is in use or unusable.
    pub async fn take(settings: &Settings) -> Result<Self, OpenStoreError> {
        let (sharing, fence) = if settings.store.is_shared() {
            (Sharing::WithOthers, Fence::shut())
        } else {
            (Sharing::Alone, Fence::none())
        };
        let store = settings.store.open(settings.max_file_size, fence.clone()).await?;
        Ok(Self { store, sharing, fence })
    }

    /// Reads of it, for as long as there are no [`Files`].
    pub fn reader(&self) -> StoreReader {
        StoreReader::new(Arc::clone(&self.store))
    }
}

/// The files of one element; clones share them.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    store: Arc<dyn Store>,
    index: Index,
    wal: Wal,
    accounts: Accounts,
    instance: Instance,
    turns: Turns,
    known: Known,
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

/// Uploads that run at once; each takes up to a megabyte of memory.
const MAX_UPLOADS: usize = 256;

/// How often unsettled operations are tried again, and how often the log is looked at for old entries.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// How often servers that share a store look for what others left, and count what others stored.
const OTHERS_INTERVAL: Duration = Duration::from_secs(5);

/// How long settled log entries are kept, for whoever looks into what happened.
const KEEP_LOG: SignedDuration = SignedDuration::from_hours(24);

impl Files {
    /// Takes the store, and then all else as [`Files::over`] does.
    ///
    /// # Errors
    /// When the store is in use or unusable, or the database is away.
    #[cfg(test)]
    pub async fn open(settings: Settings, index: Index) -> Result<Self, OpenError> {
        let store = OwnStore::take(&settings).await?;
        Self::over(&store, settings, index).await
    }

    /// Finishes or undoes what a crash left in a store that was taken, and rebuilds a database that came up empty over files.
    ///
    /// # Errors
    /// When the database is away, or the store fails.
    pub async fn over(store: &OwnStore, settings: Settings, index: Index) -> Result<Self, OpenError> {
        let id = settings.instance_id.clone();
        let instance = Instance::register(index.clone(), id, store.sharing, store.fence.clone()).await?;
        let files = Self::assemble(settings, Arc::clone(&store.store), index, instance);
        if let Err(error) = files.start().await {
            files.inner.instance.leave().await;
            return Err(error);
        }
        files.inner.tasks.spawn(look_after(Arc::clone(&files.inner)));
        Ok(files)
    }

    async fn start(&self) -> Result<(), OpenError> {
        let inner = &self.inner;
        let recovered = inner.recover_left_over().await?;
        let swept = sweep(inner.store.as_ref(), &inner.index).await?;
        if recovered > 0 || swept > 0 {
            tracing::info!(entries = recovered, leftovers = swept, "recovered the write-ahead log");
        }
        let stats = inner.index.stats().await?;
        inner.accounts.set_used(stats.files, stats.bytes);
        let quarantined = inner.store.quarantined().await.map_err(OpenError::Sweep)?;
        inner.accounts.add_aside(quarantined);
        if inner.index.is_empty().await? && !inner.store.is_empty().await.map_err(OpenError::Sweep)? {
            tracing::warn!("the database is empty but the store holds files: rebuilding the database");
            self.rebuild().await?;
        }
        Ok(())
    }

    fn assemble(settings: Settings, store: Arc<dyn Store>, index: Index, instance: Instance) -> Self {
        let inner = Inner {
            wal: Wal::new(index.clone(), settings.instance_id.clone()),
            accounts: Accounts::new(Arc::clone(&store), settings.max_size),
            turns: Turns::default(),
            known: Known::default(),
            unsettled: Unsettled::default(),
            recoveries: Recoveries::default(),
            gate: RwLock::default(),
            rebuilding: Mutex::default(),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            settings,
            store,
            index,
            instance,
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

    /// The same for whoever is to change the file.
    ///
    /// # Errors
    /// As there, and when the database is away.
    pub async fn metadata_to_change(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        self.inner.find_to_change(id).await
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

    /// Bytes that lie in quarantine.
    pub fn quarantined(&self) -> u64 {
        self.inner.accounts.set_aside()
    }

    /// Counts all files anew, against whatever made the totals drift.
    async fn recount(&self) {
        match self.inner.index.recount().await {
            Ok(()) => self.inner.refresh_used().await,
            Err(error) => tracing::warn!(error = %Chain(&error), "failed to count the files anew"),
        }
    }

    /// Log entries that were recovered by this process, at its start or later.
    pub fn recoveries(&self) -> &Recoveries {
        &self.inner.recoveries
    }

    /// Whether another server of this element lives.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn others_live(&self) -> Result<bool, FileError> {
        Ok(self.inner.index.others_live(&self.inner.settings.instance_id).await?)
    }

    /// Holds a name among all servers of this element, so that a job of theirs runs once at a time. None while another has it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn lease(&self, name: &str) -> Result<Option<Lease>, FileError> {
        Ok(self.inner.instance.lease(name).await?)
    }

    /// Keeps what this server tells of a task it runs, for other servers and for later.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn keep_task(&self, task: &Task) -> Result<(), FileError> {
        let Inner { index, settings, .. } = self.inner.as_ref();
        Ok(index.keep_task(task, &settings.instance_id).await?)
    }

    /// The kind of storage: `local` or `s3`.
    pub fn storage_type(&self) -> &'static str {
        self.inner.store.kind()
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

    /// Whether the store answers.
    ///
    /// # Errors
    /// When it is away.
    pub async fn reach_store(&self) -> Result<(), FileError> {
        self.inner
            .store
            .check()
            .await
            .map_err(FileError::storage("reach the store"))
    }

    /// Runs an operation to its end, also when whoever asked for it goes away, and answers how it ended.
    pub(crate) async fn to_the_end<T, E>(
        &self,
        doing: &'static str,
        operation: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<FileError> + Send + 'static,
    {
        let running = self.inner.tasks.spawn(operation.in_current_span());
        running
            .await
            .unwrap_or_else(|error| Err(FileError::storage(doing)(std::io::Error::other(error)).into()))
    }

    /// Waits for what runs, settles what is open, and closes the database.
    pub async fn shutdown(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.retry_unsettled().await;
        self.inner.instance.leave().await;
        self.inner.index.close().await;
    }
}

impl Inner {
    /// Ends an operation's entry; when the database is away that is done later, and until then the attr file answers for it.
    ///
    /// # Errors
    /// When another server took the operation over: what it left of the file is looked at again, and nobody is told of success.
    async fn settle_or_keep(
        &self,
        record: WalRecord,
        settling: impl Future<Output = Result<(), IndexError>>,
    ) -> Result<(), FileError> {
        match settling.await {
            Ok(()) => Ok(()),
            Err(IndexError::Fenced) => {
                if let Some(id) = record.file_id {
                    let again = self
                        .wal
                        .record(record.operation_type, id, &record.operation_data.storage_path);
                    self.unsettled.keep(again, Bytes::AsCounted);
                }
                Err(IndexError::Fenced.into())
            }
            Err(error) => {
                tracing::warn!(transaction_id = %record.transaction_id, error = %Chain(&error), "settling a log entry is put off");
                self.unsettled.keep(record, Bytes::AsCounted);
                Ok(())
            }
        }
    }

    /// Writes a pending entry about a file.
    async fn begin(&self, operation: OperationType, id: Uuid, path: &str) -> Result<WalRecord, IndexError> {
        self.begun(self.wal.record(operation, id, path)).await
    }

    /// Writes a pending entry. One whose fate is not known is settled later by what stands on disk.
    async fn begun(&self, record: WalRecord) -> Result<WalRecord, IndexError> {
        if let Err(error) = self.wal.put(&record).await {
            self.unsettled.keep_if_room(record);
            return Err(error);
        }
        Ok(record)
    }
}

async fn look_after(inner: Arc<Inner>) {
    let mut retry = tokio::time::interval(RETRY_INTERVAL);
    let mut prune = tokio::time::interval(PRUNE_INTERVAL);
    let mut others = tokio::time::interval(OTHERS_INTERVAL);
    loop {
        tokio::select! {
            () = inner.stopping.cancelled() => return,
            _ = retry.tick() => {
                inner.index.release_left_over().await;
                inner.retry_unsettled().await;
            }
            _ = others.tick(), if !inner.instance.is_alone() => inner.look_after_others().await,
            _ = prune.tick() => {
                inner.recover_late_comers().await;
                if let Err(error) = inner.prune().await {
                    tracing::warn!(error = %Chain(&error), "failed to prune the write-ahead log");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
