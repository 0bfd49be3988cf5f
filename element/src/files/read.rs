//! Reading: finding a file, with or without the database, and streaming its content.

mod early;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use element_api::FileMetadata;
use uuid::Uuid;

pub use self::early::StoreReader;
use super::{Chain, FileError, Files, Inner};
use crate::attr;
use crate::index::IndexError;
use crate::store::{ByteStream, FileSender, Readable, Store};

/// A file's content and what is known of it.
pub struct Content {
    /// What is known of the file.
    pub metadata: Arc<FileMetadata>,
    store: Arc<dyn Store>,
    readable: Box<dyn Readable>,
}

impl Content {
    /// The bytes of `range`, which must lie within the file. Where they go to a `sender` there may be stand-ins of its instead.
    ///
    /// # Errors
    /// [`FileError::NotFound`], or what kept the store from answering. The stream's errors come when the first bytes have gone.
    pub async fn read(&self, range: Range<u64>, sender: Option<Arc<dyn FileSender>>) -> Result<ByteStream, FileError> {
        match self.readable.read(range, sender).await {
            Ok(bytes) => Ok(bytes),
            Err(source) => Err(unreadable(self.store.as_ref(), &self.metadata, source).await),
        }
    }

    async fn open(store: &Arc<dyn Store>, metadata: Arc<FileMetadata>) -> Result<Self, FileError> {
        match store.open_content(&metadata.storage_path).await {
            Ok(readable) => Ok(Self {
                metadata,
                store: Arc::clone(store),
                readable,
            }),
            Err(source) => Err(unreadable(store.as_ref(), &metadata, source).await),
        }
    }
}

impl Files {
    /// Opens a file's content.
    ///
    /// # Errors
    /// [`FileError::NotFound`], or what kept the disk from answering.
    pub async fn content(&self, id: Uuid) -> Result<Content, FileError> {
        let inner = &self.inner;
        if let Some(metadata) = inner.known(id)
            && let Ok(content) = Content::open(&inner.store, metadata).await
        {
            return Ok(content);
        }
        let content = Content::open(&inner.store, Arc::new(inner.look_up(id).await?)).await?;
        inner.note_read(&content.metadata);
        Ok(content)
    }
}

impl Inner {
    /// What is known of a file.
    pub(super) async fn find(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        match self.known(id) {
            Some(metadata) => Ok(Arc::unwrap_or_clone(metadata)),
            None => self.look_up(id).await,
        }
    }

    /// What is known of a file that is to be changed. Without the database nothing can be, so then nothing is searched for either.
    pub(super) async fn find_to_change(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        match self.known(id) {
            Some(metadata) => Ok(Arc::unwrap_or_clone(metadata)),
            None => self.look_up_row(id).await,
        }
    }

    /// What is known of a file, without the database from the attr file.
    async fn look_up(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        match self.look_up_row(id).await {
            Err(FileError::Index(error @ IndexError::Unavailable(_))) => {
                tracing::debug!(error = %Chain(&error), file_id = %id, "looking for a file without the database");
                search_by_name(self.store.as_ref(), id).await
            }
            answer => answer,
        }
    }

    /// What is known of a file, from the database where it can be believed.
    async fn look_up_row(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        let mut gone = Vec::new();
        for record in self.unsettled.of(id) {
            let path = record.operation_data.storage_path;
            match self.attributes(id, &path).await {
                // Nothing stands at this path, whatever a row says; another file may have the id now.
                Err(FileError::NotFound { .. }) => gone.push(path),
                answer => return answer,
            }
        }
        match self.index.get(id).await? {
            Some(metadata) if !gone.contains(&metadata.storage_path) => Ok(metadata),
            _ if self.instance.is_alone() => Err(FileError::NotFound { id }),
            _ => self.look_up_others(id).await,
        }
    }

    /// What another server stored and acknowledged, and could not tell the database yet.
    async fn look_up_others(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        for record in self.index.pending_about(id).await? {
            match self.attributes(id, &record.operation_data.storage_path).await {
                Err(FileError::NotFound { .. }) => {}
                answer => return answer,
            }
        }
        Err(FileError::NotFound { id })
    }

    /// What the attr file says: the truth.
    pub(super) async fn attributes(&self, id: Uuid, storage_path: &str) -> Result<FileMetadata, FileError> {
        attributes(self.store.as_ref(), id, storage_path).await
    }

    /// The same, and its bytes.
    pub(super) async fn attributes_to_change(
        &self,
        id: Uuid,
        storage_path: &str,
    ) -> Result<(FileMetadata, Vec<u8>), FileError> {
        read_attributes(self.store.as_ref(), id, storage_path).await
    }
}

/// What the attr file says: the truth.
async fn attributes(store: &dyn Store, id: Uuid, storage_path: &str) -> Result<FileMetadata, FileError> {
    read_attributes(store, id, storage_path)
        .await
        .map(|(metadata, _)| metadata)
}

async fn read_attributes(
    store: &dyn Store,
    id: Uuid,
    storage_path: &str,
) -> Result<(FileMetadata, Vec<u8>), FileError> {
    let bytes = store
        .attributes(storage_path)
        .await
        .map_err(FileError::storage("read a file's attributes"))?;
    let bytes = bytes.ok_or(FileError::NotFound { id })?;
    match attr::decode(&bytes, storage_path) {
        Ok(metadata) if metadata.file_id == id => Ok((metadata, bytes)),
        Ok(_) => Err(FileError::NotFound { id }),
        Err(source) => Err(FileError::Attributes { id, source }),
    }
}

/// What is known of a file without the database: the names tell where it stands.
async fn search_by_name(store: &dyn Store, id: Uuid) -> Result<FileMetadata, FileError> {
    let found = store.locate(id).await;
    let found = found.map_err(FileError::storage("look for a file"))?;
    attributes(store, id, &found.ok_or(FileError::NotFound { id })?).await
}

/// Why a file's content cannot be read.
async fn unreadable(store: &dyn Store, metadata: &FileMetadata, source: io::Error) -> FileError {
    if source.kind() != io::ErrorKind::NotFound {
        return FileError::storage("read a file's content")(source);
    }
    // A delete removes the attributes first: if they are gone the file is, if they stand its content was lost.
    match store.parts(&metadata.storage_path).await {
        Ok(left) if left.attributes => FileError::storage("find a file's content")(source),
        Ok(_) => FileError::NotFound { id: metadata.file_id },
        Err(error) => FileError::storage("look for a file")(error),
    }
}
