//! Reading while the database has not been reached since the start: by id, from the attr files alone. Rows are not asked even once
//! it answers, until the log is recovered: they may tell of a file whose delete the log still has to finish.

use std::sync::Arc;

use element_api::FileMetadata;
use uuid::Uuid;

use super::{Content, search_by_name};
use crate::files::FileError;
use crate::store::Store;

/// Reads of a store, without a database.
pub struct StoreReader {
    store: Arc<dyn Store>,
}

impl StoreReader {
    pub(in crate::files) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// [`FileError::NotFound`], or what kept the store from answering.
    pub async fn metadata(&self, id: Uuid) -> Result<FileMetadata, FileError> {
        search_by_name(self.store.as_ref(), id).await
    }

    /// Opens a file's content.
    ///
    /// # Errors
    /// As [`StoreReader::metadata`].
    pub async fn content(&self, id: Uuid) -> Result<Content, FileError> {
        Content::open(&self.store, Arc::new(self.metadata(id).await?)).await
    }
}
