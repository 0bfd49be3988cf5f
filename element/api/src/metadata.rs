//! File metadata: the document kept as `NAME.attr.json` beside each file, and answered by the API. One shape for both.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version this project writes into [`FileMetadata::schema_version`].
pub const SCHEMA_VERSION: &str = "1.0";

/// A value of the free `metadata` object: a string, a number or a boolean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum MetadataValue {
    /// `true` or `false`.
    Bool(bool),
    /// Any JSON number.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    Number(serde_json::Number),
    /// Any text.
    Text(String),
}

/// How long a file is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RetentionPolicy {
    /// Until somebody deletes it.
    #[default]
    Permanent,
    /// Until `expires_at`.
    Temporary,
}

/// Everything known about one stored file. Times are UTC with microseconds; sizes are bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileMetadata {
    /// The version of this document's shape.
    #[serde(default = "schema_version")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub schema_version: String,
    /// The file's identity, for ever.
    pub file_id: Uuid,
    /// The name the client gave.
    pub original_filename: String,
    /// The name on disk.
    pub storage_filename: String,
    /// The path of the data file below the storage root, with `/` between its parts, file name included.
    pub storage_path: String,
    /// Bytes of content.
    pub file_size: u64,
    /// The media type.
    pub content_type: String,
    /// sha256 of the content, 64 lower-case hex digits.
    pub checksum: String,
    /// When the file was stored.
    pub created_at: Timestamp,
    /// When the metadata last changed.
    pub updated_at: Timestamp,
    /// The subject of the token that stored the file.
    pub created_by_id: String,
    /// The user name of whoever stored the file.
    pub created_by_username: String,
    /// Their full name, where the token had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by_fullname: Option<String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The document's version, as its owner counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Labels.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub tags: Vec<String>,
    /// A flat object of strings, numbers and booleans.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub metadata: BTreeMap<String, MetadataValue>,
    /// How long the file is kept.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub retention_policy: RetentionPolicy,
    /// Days until a temporary file expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_days: Option<u32>,
    /// When a temporary file expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Counts the changes of this document, from 1.
    #[serde(default = "first_revision")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub revision: i64,
}

fn schema_version() -> String {
    SCHEMA_VERSION.to_owned()
}

const fn first_revision() -> i64 {
    1
}

impl MetadataValue {
    /// The value as the search filter `metadata.KEY=` compares it.
    pub fn as_text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }
}
