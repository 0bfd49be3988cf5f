//! Reading: finding a file, with or without the database, and streaming its content.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use element_api::FileMetadata;
use uuid::Uuid;

use super::{Chain, FileError, Files, Inner};
use crate::attr;
use crate::index::IndexError;
use crate::store::{ByteStream, Readable};

/// A file's content and what is known of it.
pub struct Content {
    /// What is known of the file.
    pub metadata: FileMetadata,
    inner: Arc<Inner>,
    readable: Box<dyn Readable>,
}

impl Content {
    /// The bytes of `range`, which must lie within the file.
    ///
    /// # Errors
    /// [`FileError::NotFound`], or what kept the store from answering. The stream's errors come when the first bytes have gone.
    pub async fn read(&self, range: Range<u64>) -> Result<ByteStream, FileError> {
        match self.readable.read(range).await {
            Ok(bytes) => Ok(bytes),
            Err(source) => Err(self.inner.unreadable(&self.metadata, source).await),
        }
    }
}

impl Files {
    /// Opens a file's content.
    ///
    /// # Errors
    /// [`FileError::NotFound`], or what kept the disk from answering.
    pub async fn content(&self, id: Uuid) -> Result<Content, FileError> {
        let inner = Arc::clone(&self.inner);
        if let Some(metadata) = inner.known(id)
            && let Ok(readable) = inner.store.open_content(&metadata.storage_path).await
        {
            return Ok(Content {
                metadata,
                inner,
                readable,
            });
        }
        let metadata = inner.look_up(id).await?;
        match inner.store.open_content(&metadata.storage_path).await {
            Ok(readable) => {
                inner.note_read(&metadata);
                Ok(Content {
                    metadata,
                    inner,
                    readable,
                })
            }
            Err(source) => Err(inner.unreadable(&metadata, source).await),
        }
    }
}

impl Inner {
    /// What is known of a file.
    pub(super) async fn find(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        match self.known(id) {
            Some(metadata) => Ok(metadata),
            None => self.look_up(id).await,
        }
    }

    /// What is known of a file, from the database where it can be believed, else from the attr file.
    async fn look_up(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        let mut gone = Vec::new();
        for record in self.unsettled.of(id) {
            let path = record.operation_data.storage_path;
            match self.attributes(id, &path).await {
                // Nothing stands at this path, whatever a row says; another file may have the id now.
                Err(FileError::NotFound { .. }) => gone.push(path),
                answer => return answer,
            }
        }
        match self.index.get(id).await {
            Ok(Some(metadata)) if !gone.contains(&metadata.storage_path) => Ok(metadata),
            Ok(_) => Err(FileError::NotFound { id }),
            Err(error @ IndexError::Unavailable(_)) => {
                tracing::debug!(error = %Chain(&error), file_id = %id, "looking for a file without the database");
                let found = self
                    .store
                    .locate(id)
                    .await
                    .map_err(FileError::storage("look for a file"))?;
                self.attributes(id, &found.ok_or(FileError::NotFound { id })?).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the attr file says: the truth.
    pub(super) async fn attributes(&self, id: Uuid, storage_path: &str) -> Result<FileMetadata, FileError> {
        let bytes = self
            .store
            .attributes(storage_path)
            .await
            .map_err(FileError::storage("read a file's attributes"))?;
        let bytes = bytes.ok_or(FileError::NotFound { id })?;
        match attr::decode(&bytes, storage_path) {
            Ok(metadata) if metadata.file_id == id => Ok(metadata),
            Ok(_) => Err(FileError::NotFound { id }),
            Err(source) => Err(FileError::Attributes { id, source }),
        }
    }

    /// Why a file's content cannot be read.
    async fn unreadable(&self, metadata: &FileMetadata, source: io::Error) -> FileError {
        if source.kind() != io::ErrorKind::NotFound {
            return FileError::storage("read a file's content")(source);
        }
        // A delete removes the attributes first: if they are gone the file is, if they stand its content was lost.
        match self.store.parts(&metadata.storage_path).await {
            Ok(left) if left.attributes => FileError::storage("find a file's content")(source),
            Ok(_) => FileError::NotFound { id: metadata.file_id },
            Err(error) => FileError::storage("look for a file")(error),
        }
    }
}
