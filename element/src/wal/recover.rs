//! Recovery of one log entry, by the one rule: *attr file present, put its row; absent, remove the content and the row*.

use std::io;

use crate::attr;
use crate::index::{FileChange, IndexError};
use crate::store::LocalStore;

use super::{Status, Wal, WalRecord};

/// What recovery did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// The file stands; its row says what its attr file says.
    Redone,
    /// Nothing is left of the file.
    Undone,
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

/// Finishes or undoes what `record` began. Repeating it changes nothing.
///
/// # Errors
/// When the disk or the database refuses; then it can be called again.
pub async fn settle(store: &LocalStore, wal: &Wal, record: &WalRecord) -> Result<Recovered, RecoverError> {
    let path = &record.operation_data.storage_path;
    let metadata = match store.attributes(path).await? {
        Some(bytes) => match attr::decode(&bytes, path) {
            Ok(metadata) => Some(metadata),
            Err(error) => {
                // Not ours to destroy: a person or a scrub must look at it. The row, if any, stays as it was.
                tracing::error!(path, error = %error, "left an attr file that cannot be read");
                wal.settle(record, Status::Failed, FileChange::Keep, Some(error.to_string())).await?;
                return Ok(Recovered::Undone);
            }
        },
        None => None,
    };
    store.discard(record.transaction_id).await?;
    match (metadata, record.file_id) {
        (Some(metadata), _) => {
            wal.settle(record, Status::Committed, FileChange::Put(Box::new(metadata)), None).await?;
            Ok(Recovered::Redone)
        }
        (None, file_id) => {
            store.remove(path).await?;
            let change = match file_id {
                Some(id) => FileChange::Remove { id, storage_path: path.clone() },
                None => FileChange::Keep,
            };
            wal.settle(record, Status::RolledBack, change, None).await?;
            Ok(Recovered::Undone)
        }
    }
}
