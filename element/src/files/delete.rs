//! Deleting a file: its attributes first, which is the commit point, then its content, then the row.

use std::sync::Arc;

use uuid::Uuid;

use super::{FileError, Files, Inner, RevisionMatch};
use crate::index::FileChange;
use crate::wal::{OperationType, Status};

impl Files {
    /// Deletes a file for good.
    ///
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::PreconditionFailed`], or what kept it from being removed.
    pub async fn delete(&self, id: Uuid, expected: Option<RevisionMatch>) -> Result<(), FileError> {
        self.writable()?;
        let inner = Arc::clone(&self.inner);
        // On a task of its own: a client that goes away must not stop it halfway.
        let task = self.inner.tasks.spawn(async move { inner.delete(id, expected).await });
        task.await.unwrap_or_else(|error| Err(FileError::storage("delete a file")(std::io::Error::other(error))))
    }
}

impl Inner {
    async fn delete(&self, id: Uuid, expected: Option<RevisionMatch>) -> Result<(), FileError> {
        let _gate = self.gate.read().await;
        let _turn = self.turn(id).await;
        let path = self.find(id).await?.storage_path;
        let metadata = self.attributes(id, &path).await?;
        if let Some(expected) = expected {
            expected.check(&metadata)?;
        }
        let record = self.wal.begin(OperationType::FileDelete, id, &path).await?;
        if let Err(error) = self.store.remove(&path).await {
            // How far it came is not known; recovery finishes it or keeps the file, whichever the attr file says.
            self.unsettled.keep(record);
            return Err(FileError::storage("delete a file")(error));
        }
        self.accounts.release(metadata.file_size);
        let row = FileChange::Remove { id, storage_path: path };
        self.settle_or_keep(record.clone(), self.wal.settle(&record, Status::Committed, row, None)).await;
        Ok(())
    }
}
