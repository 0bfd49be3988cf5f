//! Reading: finding a file, with or without the database, and streaming its content.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use element_api::FileMetadata;
use futures::Stream;
use futures::stream;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{Chain, FileError, Files, Inner};
use crate::attr;
use crate::index::IndexError;

/// Bytes read at once. Large enough that the switch to a reading thread and back is small beside the copy.
const READ_BYTES: u64 = 256 * 1024;

/// An open file and what is known of it. It stays readable when it is deleted meanwhile.
pub struct Content {
    /// What is known of it.
    pub metadata: FileMetadata,
    file: Arc<File>,
}

impl Content {
    /// The bytes of `range`, which must lie within the file.
    pub fn read(self, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold((self.file, range.start), move |(file, position)| async move {
            let wanted = range.end.saturating_sub(position).min(READ_BYTES);
            if wanted == 0 {
                return Ok(None);
            }
            let (file, chunk) = spawn_blocking(move || read_at(file, position, wanted))
                .await
                .map_err(io::Error::other)??;
            let position = position + chunk.len() as u64;
            Ok(Some((chunk, (file, position))))
        })
    }
}

fn read_at(file: Arc<File>, position: u64, wanted: u64) -> io::Result<(Arc<File>, Bytes)> {
    let mut buffer = vec![0; usize::try_from(wanted).unwrap_or_default()];
    file.read_exact_at(&mut buffer, position)?;
    Ok((file, buffer.into()))
}

impl Files {
    /// Opens a file's content.
    ///
    /// # Errors
    /// [`FileError::NotFound`], or what kept the disk from answering.
    pub async fn content(&self, id: Uuid) -> Result<Content, FileError> {
        let metadata = self.inner.find(id).await?;
        match self.inner.store.open_content(&metadata.storage_path).await {
            Ok(file) => Ok(Content {
                metadata,
                file: Arc::new(file),
            }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                // A delete removes the attributes first: if they are gone the file is, if they stand its content was lost.
                self.inner.attributes_alone(id, &metadata.storage_path).await?;
                Err(FileError::Storage {
                    doing: "find a file's content",
                    source,
                })
            }
            Err(source) => Err(FileError::Storage {
                doing: "open a file's content",
                source,
            }),
        }
    }
}

impl Inner {
    /// What is known of a file, from the database where it can be believed, else from the attr file.
    pub(super) async fn find(&self, id: Uuid) -> Result<FileMetadata, FileError> {
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

    /// # Errors
    /// [`FileError::NotFound`] when the attr file is gone.
    async fn attributes_alone(&self, id: Uuid, storage_path: &str) -> Result<(), FileError> {
        let left = self
            .store
            .parts(storage_path)
            .await
            .map_err(FileError::storage("look for a file"))?;
        if left.attributes {
            Ok(())
        } else {
            Err(FileError::NotFound { id })
        }
    }
}
