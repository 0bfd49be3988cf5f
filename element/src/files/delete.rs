//! Deleting a file: its attributes first, which is the commit point, then its content, then the row.

use std::sync::Arc;

use uuid::Uuid;

use super::unsettled::Bytes as Room;
use super::update::check_revision;
use super::{FileError, Files, Inner};
use crate::index::FileChange;
use crate::wal::{OperationType, Status};

impl Files {
    /// Deletes a file for good, if its metadata is at the revision `expected`.
    ///
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::PreconditionFailed`], or what kept it from being removed.
    pub async fn delete(&self, id: Uuid, expected: Option<i64>) -> Result<(), FileError> {
        self.writable()?;
        let inner = Arc::clone(&self.inner);
        self.to_the_end("delete a file", async move { inner.delete(id, expected).await })
            .await
    }
}

impl Inner {
    async fn delete(&self, id: Uuid, expected: Option<i64>) -> Result<(), FileError> {
        let _gate = self.gate.read().await;
        let _turn = self.turn(id).await?;
        let known = self.find_to_change(id).await?;
        let path = known.storage_path.clone();
        let metadata = match self.attributes(id, &path).await {
            // Its content or attributes were lost: what is left of it goes all the same.
            Err(FileError::NotFound { .. }) => known,
            answer => answer?,
        };
        check_revision(&metadata, expected)?;
        let record = self.begin(OperationType::FileDelete, id, &path).await?;
        if let Err(error) = self.store.remove(&path).await {
            // How far it came is not known; recovery finishes it or keeps the file, whichever the attr file says.
            self.unsettled.keep(record, Room::ReleaseIfUndone(metadata.file_size));
            return Err(FileError::storage("delete a file")(error));
        }
        self.accounts.release(metadata.file_size);
        let row = FileChange::Remove { id, storage_path: path };
        self.settle_or_keep(record.clone(), self.wal.settle(&record, Status::Committed, row, None))
            .await
    }
}
