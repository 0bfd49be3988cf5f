//! A log entry, as the database keeps it.

use element_api::Mode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationType {
    /// A new file.
    FileCreate,
    /// New metadata.
    FileUpdate,
    /// A file that goes.
    FileDelete,
    /// A damaged file that is moved away.
    FileQuarantine,
    /// A row that is made what its attr file says.
    FileReconcile,
    /// Another mode for the element.
    ModeChange,
}

/// How far an entry came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Begun.
    Pending,
    /// Done.
    Committed,
    /// Undone; nothing of it is left.
    RolledBack,
    /// Undone because something failed.
    Failed,
}

/// What recovery needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationData {
    /// The data file's path below the storage root; empty where it is about no file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub storage_path: String,
    /// The path the upload was begun for, where that was another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_path: Option<String>,
    /// The mode that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_mode: Option<Mode>,
}

impl OperationData {
    /// The path the upload was begun for.
    pub fn planned(&self) -> &str {
        self.planned_path.as_deref().unwrap_or(&self.storage_path)
    }

    /// The file shall stand at `storage_path` instead.
    pub fn move_to(&mut self, storage_path: &str) {
        let before = std::mem::replace(&mut self.storage_path, storage_path.to_owned());
        if self.planned_path.is_none() && before != storage_path {
            self.planned_path = Some(before);
        }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalRecord {
    /// Its identity, and the name of the operation's temporary files.
    pub transaction_id: Uuid,
    /// What it is about.
    pub operation_type: OperationType,
    /// How far it came.
    pub status: Status,
    /// The file; none where it is about another thing.
    pub file_id: Option<Uuid>,
    /// What recovery needs.
    pub operation_data: OperationData,
    /// The server that wrote it.
    pub instance_id: String,
    /// Why it failed, if it did.
    pub error_message: Option<String>,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it was settled.
    pub completed_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{OperationType, Status};

    #[test]
    fn words_of_the_log_stay_what_earlier_versions_wrote() {
        for (kind, word) in [
            (OperationType::FileCreate, "file_create"),
            (OperationType::FileUpdate, "file_update"),
            (OperationType::FileDelete, "file_delete"),
            (OperationType::FileQuarantine, "file_quarantine"),
            (OperationType::FileReconcile, "file_reconcile"),
            (OperationType::ModeChange, "mode_change"),
        ] {
            assert_eq!(json!(kind), json!(word));
        }
        for (status, word) in [
            (Status::Pending, "pending"),
            (Status::Committed, "committed"),
            (Status::RolledBack, "rolled_back"),
            (Status::Failed, "failed"),
        ] {
            assert_eq!(json!(status), json!(word));
        }
    }
}
