//! Operations that are done on disk but not yet in the database. Until they are settled, reads of these files ask the disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::wal::WalRecord;

/// Entries kept for tidiness only. Past it the next start undoes them, so that a long outage cannot fill the memory.
const MAX_TIDYING: usize = 10_000;

/// What settling late means for the bytes that files take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// They are counted as they are.
    AsCounted,
    /// They are free when nothing is left of the file.
    ReleaseIfUndone(u64),
    /// They are taken when the file stands after all.
    SpendIfRedone(u64),
}

#[derive(Default)]
pub(super) struct Unsettled {
    records: Mutex<HashMap<Uuid, (WalRecord, Bytes)>>,
}

impl Unsettled {
    pub(super) fn keep(&self, record: WalRecord, bytes: Bytes) {
        self.records().insert(record.transaction_id, (record, bytes));
    }

    /// Keeps an entry that has nothing but itself to be tidied up.
    pub(super) fn keep_if_room(&self, record: WalRecord) {
        let mut records = self.records();
        if records.len() < MAX_TIDYING {
            records.insert(record.transaction_id, (record, Bytes::AsCounted));
        }
    }

    pub(super) fn forget(&self, record: &WalRecord) {
        self.records().remove(&record.transaction_id);
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> Vec<(WalRecord, Bytes)> {
        let mut records: Vec<_> = self.records().values().cloned().collect();
        records.sort_by_key(|(record, _)| record.transaction_id);
        records
    }

    /// Those about one file, newest first.
    pub(super) fn of(&self, id: Uuid) -> Vec<WalRecord> {
        let records = self.records();
        let about = records.values().filter(|(record, _)| record.file_id == Some(id));
        let mut about: Vec<_> = about.map(|(record, _)| record.clone()).collect();
        about.sort_by_key(|record| std::cmp::Reverse(record.transaction_id));
        about
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Uuid, (WalRecord, Bytes)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
