//! Changing a file's metadata: the attr file first, by rename, then the row.

use std::collections::BTreeMap;
use std::sync::Arc;

use element_api::{FileMetadata, MetadataValue};
use jiff::Timestamp;
use uuid::Uuid;

use super::unsettled::Bytes as Room;
use super::upload::check_texts;
use super::{FileError, Files, Inner};
use crate::attr::{self, whole_microseconds};
use crate::index::FileChange;
use crate::wal::{OperationType, Status};

/// A JSON merge patch (RFC 7396) of what users may change: absent leaves, null removes, anything else replaces.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// Free text.
    pub description: Option<Option<String>>,
    /// The document's version.
    pub version: Option<Option<String>>,
    /// Labels, as a whole.
    pub tags: Option<Vec<String>>,
    /// Values to set or, where none, to remove.
    pub metadata: Option<BTreeMap<String, Option<MetadataValue>>>,
    /// Forget all values first.
    pub replace_metadata: bool,
}

/// # Errors
/// [`FileError::PreconditionFailed`] when the file is not at the revision the change is meant for.
pub(super) const fn check_revision(metadata: &FileMetadata, expected: Option<i64>) -> Result<(), FileError> {
    let revision = metadata.revision;
    match expected {
        Some(expected) if expected != revision => Err(FileError::PreconditionFailed { revision }),
        _ => Ok(()),
    }
}

impl Patch {
    fn apply(self, metadata: &mut FileMetadata) {
        if let Some(description) = self.description {
            metadata.description = description;
        }
        if let Some(version) = self.version {
            metadata.version = version;
        }
        if let Some(tags) = self.tags {
            metadata.tags = tags;
        }
        if self.replace_metadata {
            metadata.metadata.clear();
        }
        for (key, value) in self.metadata.into_iter().flatten() {
            match value {
                Some(value) => drop(metadata.metadata.insert(key, value)),
                None => drop(metadata.metadata.remove(&key)),
            }
        }
    }
}

impl Files {
    /// Changes a file's metadata, if it is at the revision `expected`, and answers what it is then.
    ///
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::PreconditionFailed`], values that are not allowed, or what kept it from being written.
    pub async fn update(&self, id: Uuid, patch: Patch, expected: Option<i64>) -> Result<FileMetadata, FileError> {
        self.writable()?;
        let inner = Arc::clone(&self.inner);
        self.to_the_end("change a file's metadata", async move {
            inner.update(id, patch, expected).await
        })
        .await
    }
}

impl Inner {
    async fn update(&self, id: Uuid, patch: Patch, expected: Option<i64>) -> Result<FileMetadata, FileError> {
        let _gate = self.gate.read().await;
        let _turn = self.turn(id).await?;
        let path = self.find_to_change(id).await?.storage_path;
        let (mut metadata, old) = self.attributes_to_change(id, &path).await?;
        check_revision(&metadata, expected)?;
        patch.apply(&mut metadata);
        let texts = [metadata.description.as_ref(), metadata.version.as_ref()];
        check_texts(texts.into_iter().flatten().chain(&metadata.tags), &metadata.metadata)?;
        metadata.revision += 1;
        metadata.updated_at = whole_microseconds(Timestamp::now()).max(metadata.updated_at);
        let attributes = attr::replace(&old, &metadata).map_err(FileError::encoding(id))?;
        let record = self.begin(OperationType::FileUpdate, id, &path).await?;
        if let Err(error) = self
            .store
            .replace_attributes(record.transaction_id, &path, attributes)
            .await
        {
            // Whether the new attributes stand is not known; whichever do are put in the database by recovery.
            self.unsettled.keep(record, Room::AsCounted);
            return Err(FileError::storage("write a file's attributes")(error));
        }
        let row = FileChange::Put(Box::new(metadata.clone()));
        self.settle_or_keep(record.clone(), self.wal.settle(&record, Status::Committed, row, None))
            .await?;
        Ok(metadata)
    }
}
