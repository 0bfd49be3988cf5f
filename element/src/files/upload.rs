//! Storing a file. The protocol is the one of `wal`; an upload that is dropped before it is finished leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use element_api::{FileMetadata, MetadataValue, RetentionPolicy, SCHEMA_VERSION};
use jiff::{SignedDuration, Timestamp};
use uuid::{NoContext, Uuid};

use super::{Chain, FileError, Files, Inner};
use crate::attr::{self, whole_microseconds};
use crate::capacity::Reservation;
use crate::index::FileChange;
use crate::store::{Spool, Spooled, storage_filename, storage_folder};
use crate::wal::{OperationType, Status, WalRecord};

/// Days a temporary file is kept when nobody says.
const DEFAULT_TTL_DAYS: u32 = 30;

/// Days a temporary file may be kept.
const TTL_DAYS: std::ops::RangeInclusive<u32> = 1..=365;

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
    spool: Spool,
    reservation: Reservation,
    record: WalRecord,
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
        let planned = describe(&author, details, id, created_at, &Spooled { size: limit, checksum: "0".repeat(64) })?;
        attr::encode(&planned).map_err(FileError::encoding(id))?;
        let reservation = inner.accounts.reserve(declared.unwrap_or(0))?;
        let record = inner.wal.begin(OperationType::FileCreate, id, &planned.storage_path).await?;
        let spool = inner.store.spool(record.transaction_id);
        Ok(Upload { inner, open: Some(Open { spool, reservation, record }), author, created_at, limit })
    }
}

impl Upload {
    /// Takes the next bytes of the content.
    ///
    /// # Errors
    /// When it becomes too large, does not fit, or the disk refuses it. Then the upload is to be dropped.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), FileError> {
        let Some(open) = &mut self.open else { return Err(FileError::Unwritable) };
        let size = open.spool.size() + chunk.len() as u64;
        if size > self.limit {
            return Err(FileError::TooLarge { limit: self.limit });
        }
        open.reservation.grow_to(size)?;
        open.spool.write(chunk).await.map_err(FileError::storage("write a file's content"))
    }

    /// Makes the file stand, durably, with all that is known of it now.
    ///
    /// # Errors
    /// When details or content are not what they should be, or the disk refuses. Then nothing is left of it.
    pub async fn finish(mut self, details: Details) -> Result<Stored, FileError> {
        let Some(open) = self.open.take() else { return Err(FileError::Unwritable) };
        // On a task of its own: a client that goes away must not stop it halfway.
        let (inner, author, created_at) = (Arc::clone(&self.inner), self.author.clone(), self.created_at);
        let task = inner.tasks.spawn(finish(Arc::clone(&inner), open, author, details, created_at));
        match task.await {
            Ok(result) => result,
            Err(error) => Err(FileError::storage("finish an upload")(std::io::Error::other(error))),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(Open { spool, reservation, record }) = self.open.take() {
            let inner = Arc::clone(&self.inner);
            self.inner.tasks.spawn(async move {
                spool.abandon().await;
                inner.undo(record, Status::RolledBack, "the upload was not completed").await;
                drop(reservation);
            });
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
    let Open { spool, reservation, mut record } = open;
    let id = details.file_id.or(record.file_id).unwrap_or_else(|| new_id(created_at));
    let content = spool.finish().await.map_err(FileError::storage("write a file's content"));
    let _gate = inner.gate.read().await;
    let _turn = inner.turn(id).await;
    let result = match content.and_then(|content| complete(&author, &details, id, created_at, &content)) {
        Ok(metadata) => inner.place(&mut record, metadata, details.file_id.is_some()).await,
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(Stored::Created(metadata)) => {
            reservation.spend(metadata.file_size);
            let row = FileChange::Put(Box::new(metadata.clone()));
            inner.settle_or_keep(record.clone(), inner.wal.settle(&record, Status::Committed, row, None)).await;
            Ok(Stored::Created(metadata))
        }
        Ok(existing @ Stored::Existing(_)) => {
            inner.undo(record, Status::RolledBack, "the file was stored before").await;
            Ok(existing)
        }
        Err(Failure { error, residue: false }) => {
            inner.undo(record, Status::Failed, &error.to_string()).await;
            Err(error)
        }
        Err(Failure { error, residue: true }) => {
            inner.unsettled.keep(record);
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
        return Err(FileError::ChecksumMismatch { expected: expected.clone(), actual: content.checksum.clone() });
    }
    describe(author, details, id, created_at, content)
}

impl Inner {
    /// Gives a spooled file its place: everything up to the commit point. The caller has the file's turn.
    async fn place(&self, record: &mut WalRecord, metadata: FileMetadata, id_was_given: bool) -> Result<Stored, Failure> {
        let id = metadata.file_id;
        let attributes = attr::encode(&metadata).map_err(FileError::encoding(id))?;
        if id_was_given {
            match self.find(id).await {
                Ok(existing) if existing.checksum == metadata.checksum => return Ok(Stored::Existing(existing)),
                Ok(_) => return Err(FileError::Duplicate { id }.into()),
                Err(FileError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if record.operation_data.storage_path != metadata.storage_path || record.file_id != Some(id) {
            record.file_id = Some(id);
            record.operation_data.storage_path.clone_from(&metadata.storage_path);
            self.wal.amend(record).await.map_err(FileError::from)?;
        }
        if let Err(error) = self.store.publish(record.transaction_id, &metadata.storage_path, attributes).await {
            // No file stood at this path before, so whatever is there now is this upload's.
            let removed = self.store.remove(&metadata.storage_path).await;
            let error = FileError::storage("put a file in its place")(error);
            return Err(Failure { error, residue: removed.is_err() });
        }
        Ok(Stored::Created(metadata))
    }

    /// Removes the temporary files of an upload and ends its entry.
    async fn undo(&self, record: WalRecord, status: Status, why: &str) {
        if let Err(error) = self.store.discard(record.transaction_id).await {
            tracing::warn!(transaction_id = %record.transaction_id, error = %Chain(&error), "undoing an upload is put off");
            self.unsettled.keep(record);
            return;
        }
        let settling = self.wal.settle(&record, status, FileChange::Keep, Some(why.to_owned()));
        self.settle_or_keep(record.clone(), settling).await;
    }
}

/// A UUIDv7 of the very instant the file is created, so that the id tells the folder.
fn new_id(created_at: Timestamp) -> Uuid {
    let seconds = u64::try_from(created_at.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(created_at.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds))
}

/// The metadata of a file with this content.
fn describe(
    author: &Author,
    details: &Details,
    id: Uuid,
    created_at: Timestamp,
    content: &Spooled,
) -> Result<FileMetadata, FileError> {
    check(details)?;
    let storage_filename = storage_filename(&details.filename, &author.username, created_at, id);
    let (ttl_days, expires_at) = expiry(details, created_at)?;
    Ok(FileMetadata {
        schema_version: SCHEMA_VERSION.to_owned(),
        file_id: id,
        original_filename: details.filename.clone(),
        storage_path: format!("{}/{storage_filename}", storage_folder(created_at)),
        storage_filename,
        file_size: content.size,
        content_type: details.content_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned()),
        checksum: content.checksum.clone(),
        created_at,
        updated_at: created_at,
        created_by_id: author.id.clone(),
        created_by_username: author.username.clone(),
        created_by_fullname: author.fullname.clone(),
        description: details.description.clone(),
        version: details.version.clone(),
        tags: details.tags.clone(),
        metadata: details.metadata.clone(),
        retention_policy: details.retention_policy,
        ttl_days,
        expires_at,
        revision: 1,
    })
}

fn expiry(details: &Details, created_at: Timestamp) -> Result<(Option<u32>, Option<Timestamp>), FileError> {
    let invalid = |what: &str| Err(FileError::Invalid { what: what.to_owned() });
    match (details.retention_policy, details.ttl_days) {
        (RetentionPolicy::Permanent, None) => Ok((None, None)),
        (RetentionPolicy::Permanent, Some(_)) => invalid("ttl_days is for files whose retention_policy is temporary"),
        (RetentionPolicy::Temporary, days) => {
            let days = days.unwrap_or(DEFAULT_TTL_DAYS);
            if !TTL_DAYS.contains(&days) {
                return invalid("ttl_days must lie between 1 and 365");
            }
            Ok((Some(days), Some(created_at + SignedDuration::from_hours(24 * i64::from(days)))))
        }
    }
}

/// Values no database of ours could keep, or that name nothing.
fn check(details: &Details) -> Result<(), FileError> {
    if details.filename.is_empty() {
        return Err(FileError::Invalid { what: "the file has no name".to_owned() });
    }
    let texts = [Some(&details.filename), details.content_type.as_ref(), details.description.as_ref(), details.version.as_ref()];
    check_texts(texts.into_iter().flatten().chain(&details.tags), &details.metadata)
}

/// PostgreSQL's text holds every character but NUL.
pub(super) fn check_texts<'a>(
    texts: impl Iterator<Item = &'a String>,
    metadata: &'a BTreeMap<String, MetadataValue>,
) -> Result<(), FileError> {
    let values = metadata.iter().flat_map(|(key, value)| {
        let text = if let MetadataValue::Text(text) = value { Some(text) } else { None };
        std::iter::once(key).chain(text)
    });
    if texts.chain(values).any(|text| text.contains('\0')) {
        return Err(FileError::Invalid { what: "a text holds the character NUL".to_owned() });
    }
    Ok(())
}
