//! Maintenance: the tasks that look after an element's files, and what they report.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Fills the database anew from the attr files.
    Rebuild,
    /// Checks structure, and content by its sha256; content that is damaged is put into quarantine.
    Scrub,
    /// Deletes temporary files that have expired, and clears leftovers away.
    Gc,
    /// Checks structure and repairs the database's side of it; never touches a file.
    Reconcile,
}

/// How far a task came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// It is under way.
    Running,
    /// It came to its end; `result` says what it did.
    Succeeded,
    /// It could not go on; `error` says why.
    Failed,
    /// The server stopped before it came to its end, or another server of the element runs one of its kind.
    Stopped,
}

/// What a task has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskProgress {
    /// Files dealt with.
    pub done: u64,
    /// Files there are to deal with, as far as is known; files come and go meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Bytes of content dealt with.
    pub bytes: u64,
}

/// A task; the answer of `POST /api/v1/maintenance/{kind}` and `GET /api/v1/maintenance/tasks/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Task {
    /// Its identity.
    pub id: Uuid,
    /// What it does.
    pub kind: TaskKind,
    /// How far it came.
    pub status: TaskStatus,
    /// What it has done so far.
    pub progress: TaskProgress,
    /// Who started it: a token's subject, `operator`, or `schedule`.
    pub started_by: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// What it did, once it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
    /// Why it failed or did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a task did; its shape goes with the task's kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum TaskResult {
    /// Of a rebuild.
    Rebuild(RebuildReport),
    /// Of a garbage collection.
    Gc(GcReport),
    /// Of a scrub or a reconcile.
    Inspection(InspectionReport),
}

/// What a rebuild found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RebuildReport {
    /// Files that stand in the database now.
    pub files: u64,
    /// Attr files that could not be read, whose content is missing, or whose row the database refused.
    pub broken: u64,
    /// Content without attributes.
    pub orphans: u64,
}

/// What a garbage collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GcReport {
    /// Expired files that were deleted.
    pub expired: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Expired files that could not be deleted; the next run tries again.
    pub failed: u64,
    /// Temporary files of transactions that are over.
    pub temporary_files: u64,
    /// Empty folders removed.
    pub folders: u64,
}

/// What a look at every file and row found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InspectionReport {
    /// Files looked at.
    pub files: u64,
    /// Bytes of content read.
    pub bytes: u64,
    /// Rows of the database looked at.
    pub rows: u64,
    /// Files put into quarantine.
    pub quarantined: u64,
    /// How many findings were repaired.
    pub repaired: u64,
    /// How many findings there were of each kind.
    pub counts: BTreeMap<FindingKind, u64>,
    /// The first findings, [`InspectionReport::LISTED`] at the most.
    pub findings: Vec<Finding>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The data file's path below the storage root, where there is one.
    pub path: String,
    /// The file's identity, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<Uuid>,
    /// More about it.
    pub detail: String,
    /// Whether it was repaired.
    pub repaired: bool,
}

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// An attr file stands without its data.
    ContentMissing,
    /// Data stands without its attr file.
    AttributesMissing,
    /// An attr file cannot be read.
    AttributesUnreadable,
    /// The data has another size than its attr file says.
    SizeMismatch,
    /// The data has another sha256 than its attr file says.
    ContentCorrupt,
    /// The data cannot be read.
    ContentUnreadable,
    /// The attr file has no sha256 to check the data against.
    ChecksumUnknown,
    /// Two attr files have the same file id.
    DuplicateId,
    /// A file has no row.
    RowMissing,
    /// A row says something else than its attr file.
    RowStale,
    /// A row stands without attr file and data.
    RowOrphaned,
    /// The database holds no row at all, but the store holds files.
    DatabaseEmpty,
    /// The database's counts of files and bytes are off.
    TotalsWrong,
    /// A log entry was never settled.
    LogPending,
    /// A temporary file was left behind.
    TemporaryFile,
}

impl TaskKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Rebuild, Self::Scrub, Self::Gc, Self::Reconcile];

    /// The kind as the API's paths name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Scrub => "scrub",
            Self::Gc => "gc",
            Self::Reconcile => "reconcile",
        }
    }

    /// The kind named `text`, if there is one.
    pub fn from_name(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl TaskStatus {
    /// The status as users read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl FindingKind {
    /// The kind as users read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContentMissing => "content_missing",
            Self::AttributesMissing => "attributes_missing",
            Self::AttributesUnreadable => "attributes_unreadable",
            Self::SizeMismatch => "size_mismatch",
            Self::ContentCorrupt => "content_corrupt",
            Self::ContentUnreadable => "content_unreadable",
            Self::ChecksumUnknown => "checksum_unknown",
            Self::DuplicateId => "duplicate_id",
            Self::RowMissing => "row_missing",
            Self::RowStale => "row_stale",
            Self::RowOrphaned => "row_orphaned",
            Self::DatabaseEmpty => "database_empty",
            Self::TotalsWrong => "totals_wrong",
            Self::LogPending => "log_pending",
            Self::TemporaryFile => "temporary_file",
        }
    }
}

impl InspectionReport {
    /// The most findings a report lists; the counts count them all.
    pub const LISTED: usize = 100;

    /// Counts a finding, and lists it while there is room.
    pub fn note(&mut self, finding: Finding) {
        *self.counts.entry(finding.kind).or_default() += 1;
        self.repaired += u64::from(finding.repaired);
        if self.findings.len() < Self::LISTED {
            self.findings.push(finding);
        }
    }

    /// How many findings there were.
    pub fn found(&self) -> u64 {
        self.counts.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, FindingKind, GcReport, InspectionReport, RebuildReport, TaskKind, TaskResult};

    #[test]
    fn kinds_are_written_as_their_paths_name_them() {
        for kind in TaskKind::ALL {
            assert_eq!(serde_json::to_value(kind).ok(), Some(kind.as_str().into()));
            assert_eq!(TaskKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(TaskKind::from_name("Scrub"), None);
    }

    #[test]
    fn every_result_reads_back_as_what_it_was() {
        for result in [
            TaskResult::Rebuild(RebuildReport::default()),
            TaskResult::Gc(GcReport::default()),
            TaskResult::Inspection(InspectionReport::default()),
        ] {
            let text = serde_json::to_string(&result).unwrap_or_default();
            assert_eq!(serde_json::from_str(&text).ok(), Some(result), "{text}");
        }
    }

    #[test]
    fn report_counts_every_finding_and_lists_the_first() {
        let mut report = InspectionReport::default();
        for number in 0..150 {
            report.note(Finding {
                kind: FindingKind::RowStale,
                path: number.to_string(),
                file_id: None,
                detail: String::new(),
                repaired: number % 2 == 0,
            });
        }
        assert_eq!((report.found(), report.repaired), (150, 75));
        assert_eq!(report.findings.len(), InspectionReport::LISTED);
        let text = serde_json::to_value(&report.counts).unwrap_or_default();
        assert_eq!(text, serde_json::json!({ "row_stale": 150 }));
    }
}
