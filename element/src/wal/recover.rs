//! Recovery of one log entry, by the one rule: *attr file present, put its row; absent, remove the content and the row*.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use element_api::ModeState;

use crate::attr;
use crate::index::{FileChange, IndexError};
use crate::store::{MODE_NOTE, Store, StoreAway};

use super::{OperationType, Status, Wal, WalRecord};

/// What recovery did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// The file stands; its row says what its attr file says.
    Redone,
    /// Nothing is left of the file.
    Undone,
    /// The file is as it was found: it cannot be read, or the database does not take what it says.
    Left,
}

/// Counts of what recovery did.
#[derive(Debug, Default)]
pub struct Recoveries {
    redone: AtomicU64,
    undone: AtomicU64,
    left: AtomicU64,
}

impl Recoveries {
    /// Counts one entry, and says so in the log.
    pub fn note(&self, record: &WalRecord, outcome: Recovered) {
        let count = match outcome {
            Recovered::Redone => &self.redone,
            Recovered::Undone => &self.undone,
            Recovered::Left => &self.left,
        };
        count.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            transaction_id = %record.transaction_id,
            operation = ?record.operation_type,
            file_id = ?record.file_id,
            ?outcome,
            "recovered a log entry"
        );
    }

    /// How many there were of each outcome, by its name.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("redone", count(&self.redone)),
            ("undone", count(&self.undone)),
            ("left", count(&self.left)),
        ]
    }
}

/// Why an entry could not be recovered. It stays pending.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The database.
    #[error("failed to settle a log entry")]
    Index(#[from] IndexError),
    /// The disk.
    #[error("failed to undo a log entry")]
    Storage(#[from] io::Error),
}

impl RecoverError {
    /// Whether the database or the store is away, so that other entries need not be tried now.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Index(error) => matches!(error, IndexError::Unavailable(_) | IndexError::Stopped),
            Self::Storage(error) => StoreAway::is_in(error),
        }
    }
}

/// Finishes or undoes what `record` began. Repeating it changes nothing.
///
/// # Errors
/// When the disk or the database refuses; then it can be called again.
pub async fn settle(store: &dyn Store, wal: &Wal, record: &WalRecord) -> Result<Recovered, RecoverError> {
    match record.operation_type {
        OperationType::FileQuarantine => settle_quarantine(store, wal, record).await,
        OperationType::ModeChange => settle_mode(store, wal, record).await,
        _ => settle_file(store, wal, record).await,
    }
}

async fn settle_file(store: &dyn Store, wal: &Wal, record: &WalRecord) -> Result<Recovered, RecoverError> {
    let path = &record.operation_data.storage_path;
    store
        .discard(record.transaction_id, record.operation_data.planned(), path)
        .await?;
    if let Some(bytes) = store.attributes(path).await? {
        let metadata = match attr::decode(&bytes, path) {
            Ok(metadata) => metadata,
            Err(error) => return leave(wal, record, &error.to_string()).await,
        };
        // The crash may have come before the flush: what is promised now must be on disk.
        store.confirm(path).await?;
        let row = FileChange::Put(Box::new(metadata));
        return match wal.settle(record, Status::Committed, row, None).await {
            Ok(()) => Ok(Recovered::Redone),
            Err(IndexError::Statement(error)) => leave(wal, record, &error.to_string()).await,
            Err(error) => Err(error.into()),
        };
    }
    let parts = store.parts(path).await?;
    if record.operation_type == OperationType::FileUpdate && (parts.content || parts.attributes) {
        // An update removes nothing, so a part that is missing was lost some other way.
        return leave(wal, record, "a part of the file is missing").await;
    }
    store.remove(path).await?;
    let row = match record.file_id {
        Some(id) => FileChange::Remove {
            id,
            storage_path: path.clone(),
        },
        None => FileChange::Keep,
    };
    wal.settle(record, Status::RolledBack, row, None).await?;
    Ok(Recovered::Undone)
}

/// A move into quarantine that was begun is finished; one that was not is left to the next scrub, for the file may be whole by now.
async fn settle_quarantine(store: &dyn Store, wal: &Wal, record: &WalRecord) -> Result<Recovered, RecoverError> {
    let path = &record.operation_data.storage_path;
    let parts = store.parts(path).await?;
    if parts.content && parts.attributes {
        wal.settle(record, Status::RolledBack, FileChange::Keep, None).await?;
        return Ok(Recovered::Left);
    }
    store.quarantine(record.transaction_id, path).await?;
    let row = record.file_id.map_or(FileChange::Keep, |id| FileChange::Remove {
        id,
        storage_path: path.clone(),
    });
    wal.settle(record, Status::Committed, row, None).await?;
    Ok(Recovered::Redone)
}

/// The note that keeps the mode is written as a whole, so it tells whether the change came to be.
async fn settle_mode(store: &dyn Store, wal: &Wal, record: &WalRecord) -> Result<Recovered, RecoverError> {
    let kept = store.note(MODE_NOTE).await?.unwrap_or_default();
    let (status, outcome) = match serde_json::from_slice::<ModeState>(&kept) {
        Ok(state) if Some(state.mode) == record.operation_data.target_mode => {
            // The crash may have come before the flush.
            store.keep_note(MODE_NOTE, kept).await?;
            (Status::Committed, Recovered::Redone)
        }
        _ => (Status::RolledBack, Recovered::Undone),
    };
    wal.settle(record, status, FileChange::Keep, None).await?;
    Ok(outcome)
}

/// Ends an entry without touching file or row: a person must look at them.
async fn leave(wal: &Wal, record: &WalRecord, why: &str) -> Result<Recovered, RecoverError> {
    tracing::error!(path = record.operation_data.storage_path, why, "left a file as it is");
    wal.settle(record, Status::Failed, FileChange::Keep, Some(why.to_owned()))
        .await?;
    Ok(Recovered::Left)
}
