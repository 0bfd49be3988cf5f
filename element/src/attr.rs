//! `NAME.attr.json`: encoding and decoding of the document that is the truth about a file. No disk access here.

use element_api::{FileMetadata, SCHEMA_VERSION};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, TimestampRound, Unit};
use serde_json::{Map, Value};

/// What an attr file's name ends with.
pub const SUFFIX: &str = ".attr.json";

/// The most bytes an attr file may have: one page, so that it is written and read in one piece.
pub const MAX_BYTES: usize = 4096;

/// What a member is called today, and was in older systems.
const OLDER_NAMES: [(&str, &str); 4] = [
    ("size", "file_size"),
    ("uploaded_at", "created_at"),
    ("uploaded_by", "created_by_username"),
    ("custom_attributes", "metadata"),
];

/// The members of the document.
const NAMES: [&str; 21] = [
    "schema_version",
    "file_id",
    "original_filename",
    "storage_filename",
    "storage_path",
    "file_size",
    "content_type",
    "checksum",
    "created_at",
    "updated_at",
    "created_by_id",
    "created_by_username",
    "created_by_fullname",
    "description",
    "version",
    "tags",
    "metadata",
    "retention_policy",
    "ttl_days",
    "expires_at",
    "revision",
];

/// Why a document is no attr file.
#[derive(Debug, thiserror::Error)]
pub enum AttrError {
    /// It would not fit.
    #[error("the file's attributes take {size} bytes, more than the {MAX_BYTES} allowed")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// It is not the JSON of a file's metadata.
    #[error("failed to read the attributes")]
    Malformed(#[from] serde_json::Error),
    /// It is JSON, but no object.
    #[error("the attributes are not a JSON object")]
    NotAnObject,
}

/// The bytes of `metadata` on disk.
///
/// # Errors
/// [`AttrError::TooLarge`] above [`MAX_BYTES`].
pub fn encode(metadata: &FileMetadata) -> Result<Vec<u8>, AttrError> {
    fitting(serde_json::to_vec(metadata)?)
}

/// The bytes of `metadata` that take the place of `old`. Members that neither we nor an older system of ours made are kept: another
/// program wrote them, or a later version.
///
/// # Errors
/// As [`encode`]; and when `old` is no JSON object.
pub fn replace(old: &[u8], metadata: &FileMetadata) -> Result<Vec<u8>, AttrError> {
    let (Value::Object(old), Value::Object(mut document)) =
        (serde_json::from_slice(old)?, serde_json::to_value(metadata)?)
    else {
        return Err(AttrError::NotAnObject);
    };
    let is_ours = |name: &str| NAMES.contains(&name) || OLDER_NAMES.iter().any(|(older, _)| *older == name);
    document.extend(old.into_iter().filter(|(name, _)| !is_ours(name)));
    fitting(serde_json::to_vec(&document)?)
}

fn fitting(bytes: Vec<u8>) -> Result<Vec<u8>, AttrError> {
    if bytes.len() > MAX_BYTES {
        return Err(AttrError::TooLarge { size: bytes.len() });
    }
    Ok(bytes)
}

/// Reads the attr file that stands beside the data file at `storage_path` (below the storage root, `/` between parts).
/// The path wins over what an older document says of it: the file is where it is.
///
/// # Errors
/// When the bytes are no metadata of this or an older system's shape.
pub fn decode(bytes: &[u8], storage_path: &str) -> Result<FileMetadata, AttrError> {
    let Value::Object(mut document) = serde_json::from_slice(bytes)? else {
        return Err(AttrError::NotAnObject);
    };
    modernise(&mut document, storage_path);
    let mut metadata: FileMetadata = serde_json::from_value(Value::Object(document))?;
    metadata.created_at = whole_microseconds(metadata.created_at);
    metadata.updated_at = whole_microseconds(metadata.updated_at);
    metadata.expires_at = metadata.expires_at.map(whole_microseconds);
    if metadata.checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        // Older systems wrote either case, and checksums are compared as texts.
        metadata.checksum.make_ascii_lowercase();
    }
    Ok(metadata)
}

/// Cuts a time to the precision every database of ours keeps.
pub fn whole_microseconds(time: Timestamp) -> Timestamp {
    let round = TimestampRound::new()
        .smallest(Unit::Microsecond)
        .mode(jiff::RoundMode::Trunc);
    time.round(round).unwrap_or(time)
}

/// Gives a document of an older shape the names and fields of today's.
fn modernise(document: &mut Map<String, Value>, storage_path: &str) {
    document.retain(|_, value| !value.is_null());
    for (old, new) in OLDER_NAMES {
        if let Some(value) = document.remove(old) {
            document.entry(new).or_insert(value);
        }
    }
    flatten(document);
    for name in ["created_at", "updated_at", "expires_at"] {
        read_as_utc(document, name);
    }
    let file_name = storage_path.rsplit('/').next().unwrap_or(storage_path);
    document.insert("storage_path".to_owned(), storage_path.into());
    document.insert("storage_filename".to_owned(), file_name.into());
    document.entry("original_filename").or_insert_with(|| file_name.into());
    document
        .entry("schema_version")
        .or_insert_with(|| SCHEMA_VERSION.into());
    copy_if_absent(document, "created_at", "updated_at");
    copy_if_absent(document, "created_by_username", "created_by_id");
    copy_if_absent(document, "created_by_id", "created_by_username");
    document
        .entry("content_type")
        .or_insert_with(|| "application/octet-stream".into());
}

/// Older systems took any JSON as a value; what is no plain value today becomes its JSON text.
fn flatten(document: &mut Map<String, Value>) {
    if let Some(Value::Object(values)) = document.get_mut("metadata") {
        values.retain(|_, value| !value.is_null());
        for value in values
            .values_mut()
            .filter(|value| value.is_array() || value.is_object())
        {
            *value = value.to_string().into();
        }
    }
}

/// Older systems wrote times in UTC without saying so.
fn read_as_utc(document: &mut Map<String, Value>, name: &str) {
    let text = document.get(name).and_then(Value::as_str);
    if let Some(time) = text.and_then(|text| text.parse::<DateTime>().ok())
        && text.is_some_and(|text| text.parse::<Timestamp>().is_err())
        && let Ok(time) = time.to_zoned(TimeZone::UTC)
    {
        document.insert(name.to_owned(), time.timestamp().to_string().into());
    }
}

fn copy_if_absent(document: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = document.get(from).cloned() {
        document.entry(to).or_insert(value);
    }
}

#[cfg(test)]
mod tests;
