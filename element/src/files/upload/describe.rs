//! From what a client says of a file to its metadata, or why it cannot be. Pure.

use std::collections::BTreeMap;

use element_api::{FileMetadata, MetadataValue, RetentionPolicy, SCHEMA_VERSION};
use jiff::{SignedDuration, Timestamp};
use uuid::{NoContext, Uuid};

use super::{Author, Details, FileError};
use crate::store::{Spooled, storage_filename, storage_folder};

/// Days a temporary file is kept when nobody says.
const DEFAULT_TTL_DAYS: u32 = 30;

/// Days a temporary file may be kept.
const TTL_DAYS: std::ops::RangeInclusive<u32> = 1..=365;

/// A PostgreSQL index takes keys of some 2,700 bytes; names are keys.
const MAX_INDEXED_BYTES: usize = 1024;

/// A UUIDv7 of the very instant the file is created, so that the id tells the folder.
pub(super) fn new_id(created_at: Timestamp) -> Uuid {
    let seconds = u64::try_from(created_at.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(created_at.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds))
}

/// The metadata of a file with this content.
pub(super) fn describe(
    author: &Author,
    details: &Details,
    id: Uuid,
    created_at: Timestamp,
    content: &Spooled,
) -> Result<FileMetadata, FileError> {
    check(author, details)?;
    let storage_filename = storage_filename(&details.filename, &author.username, created_at, id);
    let (ttl_days, expires_at) = expiry(details, created_at)?;
    Ok(FileMetadata {
        schema_version: SCHEMA_VERSION.to_owned(),
        file_id: id,
        original_filename: details.filename.clone(),
        storage_path: format!("{}/{storage_filename}", storage_folder(created_at)),
        storage_filename,
        file_size: content.size,
        content_type: details
            .content_type
            .clone()
            .unwrap_or_else(|| "application/octet-stream".to_owned()),
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
            Ok((
                Some(days),
                Some(created_at + SignedDuration::from_hours(24 * i64::from(days))),
            ))
        }
    }
}

/// Values no database of ours could keep, or that name nothing.
fn check(author: &Author, details: &Details) -> Result<(), FileError> {
    let invalid = |what: String| Err(FileError::Invalid { what });
    if details.filename.is_empty() {
        return invalid("the file has no name".to_owned());
    }
    for (what, text) in [
        ("the file's name", &details.filename),
        ("the user name", &author.username),
    ] {
        if text.len() > MAX_INDEXED_BYTES {
            return invalid(format!("{what} takes more than {MAX_INDEXED_BYTES} bytes"));
        }
    }
    let texts = [
        Some(&details.filename),
        details.content_type.as_ref(),
        details.description.as_ref(),
    ];
    let names = [
        details.version.as_ref(),
        Some(&author.id),
        Some(&author.username),
        author.fullname.as_ref(),
    ];
    check_texts(
        texts.into_iter().chain(names).flatten().chain(&details.tags),
        &details.metadata,
    )
}

/// PostgreSQL's text holds every character but NUL.
pub(in crate::files) fn check_texts<'a>(
    texts: impl Iterator<Item = &'a String>,
    metadata: &'a BTreeMap<String, MetadataValue>,
) -> Result<(), FileError> {
    let values = metadata.iter().flat_map(|(key, value)| {
        let text = if let MetadataValue::Text(text) = value {
            Some(text)
        } else {
            None
        };
        std::iter::once(key).chain(text)
    });
    if texts.chain(values).any(|text| text.contains('\0')) {
        return Err(FileError::Invalid {
            what: "a text holds the character NUL".to_owned(),
        });
    }
    Ok(())
}
