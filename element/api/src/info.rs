//! What an element says of itself, and how it pages a list.

use serde::{Deserialize, Serialize};

use crate::{Capacity, FileMetadata, Mode, Operation};

/// The answer of `GET /api/v1/info`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Info {
    /// The element's identity.
    pub element_id: String,
    /// The server's version.
    pub version: String,
    /// The current mode.
    pub mode: Mode,
    /// The generation of the mode file last applied; 0 when none ever was.
    pub mode_generation: i64,
    /// What the mode allows.
    pub operations: Vec<Operation>,
    /// `local`.
    pub storage_type: String,
    /// `postgres` or `sqlite`.
    pub database_type: String,
    /// The schema version the migrations brought the database to; absent while the database is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
    /// The number of files; absent while the database is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// The number of write-ahead log entries not yet settled; absent while the database is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_pending: Option<u64>,
    /// How full it is.
    pub capacity: Capacity,
    /// Clients prefer elements of a lower priority number.
    pub priority: i64,
    /// Where clients reach the element, when it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// The answer of a search: one page of files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page {
    /// The files of this page, in the order asked for.
    pub items: Vec<FileMetadata>,
    /// How many files match in all; at least so many where `total_exact` is false.
    pub total: u64,
    /// Whether `total` is exact. Absent means yes: only matches of filters past ten thousand are not counted.
    #[serde(default = "exact", skip_serializing_if = "is_exact")]
    pub total_exact: bool,
    /// What to pass as `cursor` for the next page; absent on the last one.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub next_cursor: Option<String>,
}

const fn exact() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
const fn is_exact(exact: &bool) -> bool {
    *exact
}
