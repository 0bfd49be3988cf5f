//! Operations that are done on disk but not yet in the database. Until they are settled, reads of these files ask the disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::wal::WalRecord;

#[derive(Default)]
pub(super) struct Unsettled {
    records: Mutex<HashMap<Uuid, WalRecord>>,
}

impl Unsettled {
    pub(super) fn keep(&self, record: WalRecord) {
        self.records().insert(record.transaction_id, record);
    }

    pub(super) fn forget(&self, record: &WalRecord) {
        self.records().remove(&record.transaction_id);
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> Vec<WalRecord> {
        let mut records: Vec<_> = self.records().values().cloned().collect();
        records.sort_by_key(|record| record.transaction_id);
        records
    }

    /// Those about one file, newest first.
    pub(super) fn of(&self, id: Uuid) -> Vec<WalRecord> {
        let mut records: Vec<_> = self.records().values().filter(|record| record.file_id == Some(id)).cloned().collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.transaction_id));
        records
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Uuid, WalRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
