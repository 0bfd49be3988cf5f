//! The write-ahead log: every write says what it will do before it does it, so that a crash at any point is finished or undone.
//!
//! The protocol of a create, and what recovery finds after a crash behind each step:
//!
//! | step | what is done | attr file afterwards | recovery |
//! |---|---|---|---|
//! | 1 | log entry `pending` with the path | absent | undo: nothing to remove |
//! | 2 | content streamed to `.artstore/tmp/ID` | absent | undo: remove the temporary file |
//! | 3 | attributes to `.artstore/tmp/ID.attr.json`, both flushed | absent | undo: remove both |
//! | 4 | content renamed to its place | absent | undo: remove it |
//! | 5 | attributes renamed: **the commit point** | present | redo: put the row |
//! | 6 | folder flushed | present | redo: put the row |
//! | 7 | one transaction: row and `committed` | present | nothing to do |
//!
//! In a bucket there is nothing to rename or flush: content goes to its own key (step 4, in parts that are no object until they are
//! completed), and putting the attr object is step 5.
//!
//! An update replaces the attr file by rename (present before and after: redo puts whichever row it holds). A delete removes the
//! attr file, flushes, removes the content, flushes, and then the row. So one rule recovers all three: *attr file present, put
//! its row; absent, remove the content and the row*. Doing it twice changes nothing, so recovery may itself be killed.
//!
//! Damaged content that goes into quarantine has an entry of its own kind, since it must never be removed: once a part of the file
//! has moved recovery moves the other and removes the row; while both stand it leaves them.
//!
//! A change of the mode has an entry too, and its commit point is the note that keeps the mode: what stands there tells what became of it.
//!
//! Each entry names its server. One that lost its lease may find its entries taken over; then it can no longer settle them, and
//! nothing of them is acknowledged (`instance`).

mod instance;
mod record;
pub mod recover;

use element_api::Mode;
use jiff::Timestamp;
use uuid::Uuid;

use crate::attr::whole_microseconds;
use crate::index::{Change, FileChange, Index, IndexError};

pub use self::instance::Instance;
pub use self::record::{OperationData, OperationType, Status, WalRecord};

/// Writes log entries in the name of one running server, and settles those it still has.
#[derive(Clone)]
pub struct Wal {
    index: Index,
    instance_id: String,
}

impl Wal {
    /// The log in `index`, for the server `instance_id`.
    pub const fn new(index: Index, instance_id: String) -> Self {
        Self { index, instance_id }
    }

    /// A pending entry that is not written yet.
    pub fn record(&self, operation: OperationType, file_id: Uuid, storage_path: &str) -> WalRecord {
        WalRecord {
            transaction_id: Uuid::now_v7(),
            operation_type: operation,
            status: Status::Pending,
            file_id: Some(file_id),
            operation_data: OperationData {
                storage_path: storage_path.to_owned(),
                ..OperationData::default()
            },
            instance_id: self.instance_id.clone(),
            error_message: None,
            started_at: whole_microseconds(Timestamp::now()),
            completed_at: None,
        }
    }

    /// The same for a change of the mode to `target`.
    pub fn mode_record(&self, target: Mode) -> WalRecord {
        let mut record = self.record(OperationType::ModeChange, Uuid::nil(), "");
        record.file_id = None;
        record.operation_data.target_mode = Some(target);
        record
    }

    /// Says durably what is about to be done, or that it is about another file or path than it was.
    ///
    /// # Errors
    /// When the database is away: then nothing may be done.
    pub async fn put(&self, record: &WalRecord) -> Result<(), IndexError> {
        self.index
            .change(Change {
                record: record.clone(),
                file: FileChange::Keep,
            })
            .await
    }

    /// Ends an entry, together with the change of the file's row.
    pub async fn settle(
        &self,
        record: &WalRecord,
        status: Status,
        file: FileChange,
        error: Option<String>,
    ) -> Result<(), IndexError> {
        let record = WalRecord {
            status,
            error_message: error,
            completed_at: Some(whole_microseconds(Timestamp::now())),
            ..record.clone()
        };
        self.index.change(Change { record, file }).await
    }
}
