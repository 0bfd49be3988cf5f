//! Storing a file. The protocol is the one of `wal`; an upload that is dropped before it is finished leaves nothing behind.

mod describe;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use element_api::{FileMetadata, MetadataValue, RetentionPolicy};
use jiff::Timestamp;
use tracing::Instrument as _;
use uuid::Uuid;

use tokio::sync::OwnedSemaphorePermit;

pub(super) use self::describe::check_texts;
use self::describe::{describe, new_id};
use super::unsettled::Bytes as Room;
use super::{Chain, FileError, Files, Inner};
use crate::attr::{self, whole_microseconds};
use crate::capacity::{Reservation, footprint};
use crate::index::FileChange;
use crate::store::{Spool, Spooled};
use crate::wal::recover::RecoverError;
use crate::wal::{OperationType, Status, WalRecord};

/// Whoever stores a file, as their token names them.
#[derive(Clone, Debug)]
pub struct Author {
    /// The token's subject.
    pub id: String,
    /// The user name.
    pub username: String,
    /// The full name.
    pub fullname: Option<String>,
}

/// What a client says of a file.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// Its name.
    pub filename: String,
    /// Its media type; `application/octet-stream` when absent.
    pub content_type: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// The document's version, as its owner counts.
    pub version: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Free values.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// The id it shall have.
    pub file_id: Option<Uuid>,
    /// How long it is kept.
    pub retention_policy: RetentionPolicy,
    /// Days until it expires, if it is temporary.
    pub ttl_days: Option<u32>,
    /// The sha256 it must have, hex.
    pub checksum: Option<String>,
}

/// How an upload ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// A new file.
    Created(FileMetadata),
    /// The same content was stored under this id before.
    Existing(FileMetadata),
}

/// An upload in progress. Dropping it undoes it.
pub struct Upload {
    inner: Arc<Inner>,
    open: Option<Open>,
    author: Author,
    created_at: Timestamp,
    limit: u64,
}

/// What an upload holds until it is finished or undone.
struct Open {
    spool: Box<dyn Spool>,
    reservation: Reservation,
    record: WalRecord,
    _permit: OwnedSemaphorePermit,
}

impl Files {
    /// Begins an upload. `details` are what is known before the content, `declared` what its length is said to be; content that
    /// cannot be stored is refused here, before a byte is kept.
    ///
    /// # Errors
    /// When it is too large, invalid or does not fit, or when the database is away.
    pub async fn begin(&self, author: Author, details: &Details, declared: Option<u64>) -> Result<Upload, FileError> {
        self.writable()?;
        let inner = Arc::clone(&self.inner);
        let limit = inner.settings.max_file_size;
        if declared.is_some_and(|length| length > limit) {
            return Err(FileError::TooLarge { limit });
        }
        let created_at = whole_microseconds(Timestamp::now());
        let id = details.file_id.unwrap_or_else(|| new_id(created_at));
        let planned = describe(
            &author,
            details,
            id,
            created_at,
            &Spooled {
                // The digits it will have are not known; what fits without them is looked at again when they are.
                size: 0,
                checksum: "0".repeat(64),
            },
        )?;
        attr::encode(&planned).map_err(FileError::encoding(id))?;
        let reservation = inner.accounts.reserve(footprint(declared.unwrap_or(0)))?;
        let permit = Arc::clone(&inner.uploads)
            .try_acquire_owned()
            .map_err(|_| FileError::Busy)?;
        let record = inner.wal.record(OperationType::FileCreate, id, &planned.storage_path);
        let spool = inner.store.spool(record.transaction_id, &planned.storage_path);
        let open = Open {
            spool,
            reservation,
            record: record.clone(),
            _permit: permit,
        };
        // Made before the entry is written: if this is cancelled, or the entry's fate is not known, dropping it undoes the entry.
        let upload = Upload {
            inner: Arc::clone(&inner),
            open: Some(open),
            author,
            created_at,
            limit,
        };
        inner.wal.put(&record).await?;
        Ok(upload)
    }
}

impl Upload {
    /// Takes the next bytes of the content.
    ///
    /// # Errors
    /// When it becomes too large, does not fit, or the disk refuses it. Then the upload is to be dropped.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), FileError> {
        let Some(open) = &mut self.open else {
            return Err(FileError::Unwritable);
        };
        let size = open.spool.size() + chunk.len() as u64;
        if size > self.limit {
            return Err(FileError::TooLarge { limit: self.limit });
        }
        open.reservation.grow_to(footprint(size))?;
        let written = open
            .spool
            .write(chunk)
            .await
            .map_err(FileError::storage("write a file's content"));
        open.reservation.wrote(open.spool.written());
        written
    }

    /// Makes the file stand, durably, with all that is known of it now.
    ///
    /// # Errors
    /// When details or content are not what they should be, or the disk refuses. Then nothing is left of it.
    pub async fn finish(mut self, details: Details) -> Result<Stored, FileError> {
        let Some(open) = self.open.take() else {
            return Err(FileError::Unwritable);
        };
        // On a task of its own: a client that goes away must not stop it halfway.
        let (inner, author, created_at) = (Arc::clone(&self.inner), self.author.clone(), self.created_at);
        let task = inner
            .tasks
            .spawn(finish(Arc::clone(&inner), open, author, details, created_at).in_current_span());
        match task.await {
            Ok(result) => result,
            Err(error) => Err(FileError::storage("finish an upload")(std::io::Error::other(error))),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(Open {
            spool,
            reservation,
            record,
            _permit: permit,
        }) = self.open.take()
        {
            let inner = Arc::clone(&self.inner);
            let undo = async move {
                inner
                    .undo(spool, record, Status::RolledBack, "the upload was not completed")
                    .await;
                drop((reservation, permit));
            };
            self.inner.tasks.spawn(undo.in_current_span());
        }
    }
}

/// Why an upload failed, and whether its path could not be cleaned.
struct Failure {
    error: FileError,
    residue: bool,
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self { error, residue: false }
    }
}

async fn finish(
    inner: Arc<Inner>,
    open: Open,
    author: Author,
    details: Details,
    created_at: Timestamp,
) -> Result<Stored, FileError> {
    let Open {
        mut spool,
        reservation,
        mut record,
        _permit,
    } = open;
    let id = details.file_id.or(record.file_id).unwrap_or_else(|| new_id(created_at));
    let content = spool.seal().await.map_err(FileError::storage("write a file's content"));
    let _gate = inner.gate.read().await;
    let turn = match details.file_id {
        Some(id) => inner.turn(id).await,
        None => Ok(inner.turn_here(id).await),
    };
    let size = content.as_ref().map_or(0, |content| content.size);
    let (_turn, come) = match turn {
        Ok(turn) => (Some(turn), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let described = come
        .and(content)
        .and_then(|content| complete(&author, &details, id, created_at, &content));
    let result = match described {
        Ok(metadata) => {
            inner
                .place(spool.as_mut(), &mut record, metadata, details.file_id.is_some())
                .await
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(Stored::Created(metadata)) => {
            reservation.spend(metadata.file_size);
            let row = FileChange::Put(Box::new(metadata.clone()));
            inner
                .settle_or_keep(record.clone(), inner.wal.settle(&record, Status::Committed, row, None))
                .await?;
            Ok(Stored::Created(metadata))
        }
        Ok(existing @ Stored::Existing(_)) => {
            inner
                .undo(spool, record, Status::RolledBack, "the file was stored before")
                .await;
            Ok(existing)
        }
        Err(Failure { error, residue: false }) => {
            inner.undo(spool, record, Status::Failed, &error.to_string()).await;
            Err(error)
        }
        Err(Failure { error, residue: true }) => {
            inner.unsettled.keep(record, Room::SpendIfRedone(size));
            Err(error)
        }
    }
}

/// The metadata of the content that arrived, if it is what the client says it is.
fn complete(
    author: &Author,
    details: &Details,
    id: Uuid,
    created_at: Timestamp,
    content: &Spooled,
) -> Result<FileMetadata, FileError> {
    if let Some(expected) = &details.checksum
        && !expected.eq_ignore_ascii_case(&content.checksum)
    {
        return Err(FileError::ChecksumMismatch {
            expected: expected.clone(),
            actual: content.checksum.clone(),
        });
    }
    describe(author, details, id, created_at, content)
}

impl Inner {
    /// Gives a spooled file its place: everything up to the commit point. The caller has the file's turn.
    async fn place(
        &self,
        spool: &mut dyn Spool,
        record: &mut WalRecord,
        metadata: FileMetadata,
        id_was_given: bool,
    ) -> Result<Stored, Failure> {
        let id = metadata.file_id;
        let attributes = attr::encode(&metadata).map_err(FileError::encoding(id))?;
        if id_was_given {
            match self.find_to_change(id).await {
                Ok(existing) if existing.checksum == metadata.checksum => return Ok(Stored::Existing(existing)),
                Ok(_) => return Err(FileError::Duplicate { id }.into()),
                Err(FileError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if record.operation_data.storage_path != metadata.storage_path || record.file_id != Some(id) {
            record.file_id = Some(id);
            record.operation_data.move_to(&metadata.storage_path);
            self.wal.put(record).await.map_err(FileError::from)?;
        }
        if let Err(error) = spool.publish(&metadata.storage_path, attributes).await {
            // No file stood at this path before, so whatever is there now is this upload's.
            let removed = self.store.remove(&metadata.storage_path).await;
            let error = FileError::storage("put a file in its place")(error);
            return Err(Failure {
                error,
                residue: removed.is_err(),
            });
        }
        Ok(Stored::Created(metadata))
    }

    /// Removes what an upload spooled and ends its entry.
    async fn undo(&self, spool: Box<dyn Spool>, record: WalRecord, status: Status, why: &str) {
        let undone = async {
            spool.abandon().await?;
            self.wal
                .settle(&record, status, FileChange::Keep, Some(why.to_owned()))
                .await?;
            Ok::<(), RecoverError>(())
        };
        if let Err(error) = undone.await {
            tracing::warn!(transaction_id = %record.transaction_id, error = %Chain(&error), "undoing an upload is put off");
            self.unsettled.keep_if_room(record);
        }
    }
}
