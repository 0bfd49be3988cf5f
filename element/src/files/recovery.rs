//! Recovery at work: entries that were left over by crashed servers, and operations of this one whose end could not be written.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::unsettled::Bytes;
use super::{Chain, FileError, Inner, KEEP_LOG, OpenError};
use crate::durable;
use crate::index::{Index, IndexError};
use crate::store::Store;
use crate::wal::WalRecord;
use crate::wal::recover::{self, RecoverError, Recovered};

/// How long to wait for a moment in which nothing is being changed here.
const GATE_PATIENCE: Duration = Duration::from_secs(1);

/// What others stored is counted anew so often.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);

impl Inner {
    /// Finishes or undoes every operation that was left over, and answers how many there were.
    pub(super) async fn recover_left_over(&self) -> Result<usize, OpenError> {
        let mut recovered = 0;
        loop {
            let records = self.instance.take_over().await?;
            if records.is_empty() {
                return Ok(recovered);
            }
            // Ours now: one that fails is tried again, and a failed start leaves them all to the next.
            for record in &records {
                self.unsettled.keep_if_room(record.clone());
            }
            for record in records {
                self.recover(&record).await?;
                self.unsettled.forget(&record);
                recovered += 1;
            }
        }
    }

    async fn recover(&self, record: &WalRecord) -> Result<Recovered, RecoverError> {
        let _gate = self.gate.read().await;
        let turn = match record.file_id {
            Some(id) => self.turn(id).await,
            None => self.mode_turn().await,
        };
        let _turn = turn.map_err(busy)?;
        let outcome = recover::settle(self.store.as_ref(), &self.wal, record).await?;
        self.recoveries.note(record, outcome);
        Ok(outcome)
    }

    /// What servers that share a store do for each other.
    pub(super) async fn look_after_others(&self) {
        match self.recover_left_over().await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(entries, "recovered what another server left"),
            Err(error) => tracing::warn!(error = %Chain(&error), "failed to recover what other servers left"),
        }
        if self.accounts.is_older_than(COUNT_INTERVAL) {
            self.refresh_used().await;
        }
    }

    /// Takes over what the database has counted; only while nothing is being changed here.
    pub(super) async fn refresh_used(&self) {
        // Whoever waits for the gate holds up those who come later, so not for long.
        let Ok(_gate) = timeout(GATE_PATIENCE, self.gate.write()).await else {
            return;
        };
        match self.index.stats().await {
            Ok(stats) => self.accounts.set_used(stats.files, stats.bytes),
            Err(error) => tracing::debug!(error = %Chain(&error), "the database does not tell its totals"),
        }
    }

    pub(super) async fn prune(&self) -> Result<(), IndexError> {
        self.index.prune_log(Timestamp::now() - KEEP_LOG).await?;
        self.index.prune_instances().await?;
        self.index.prune_tasks().await
    }

    /// A commit of a server that is dead may reach the database after this one has read the log.
    pub(super) async fn recover_late_comers(&self) {
        if let Err(error) = self.recover_left_over().await {
            tracing::warn!(error = %Chain(&error), "failed to recover what an earlier server left");
        }
    }

    /// Tries again to settle what the database could not take before.
    pub(super) async fn retry_unsettled(&self) {
        for (record, bytes) in self.unsettled.all() {
            // After a failed flush nobody knows what the disk holds; the next start looks again.
            if durable::flush_failed() {
                return;
            }
            match self.recover(&record).await {
                Ok(outcome) => {
                    match (bytes, outcome) {
                        (Bytes::ReleaseIfUndone(bytes), Recovered::Undone) => self.accounts.release(bytes),
                        (Bytes::SpendIfRedone(bytes), Recovered::Redone) => self.accounts.spend(bytes),
                        _ => {}
                    }
                    self.unsettled.forget(&record);
                }
                Err(RecoverError::Index(IndexError::Fenced)) => {
                    tracing::warn!(transaction_id = %record.transaction_id, "another server recovered an operation of this one");
                    self.unsettled.forget(&record);
                }
                Err(error) if error.is_outage() => {
                    tracing::debug!(error = %Chain(&error), "log entries cannot be settled yet");
                    return;
                }
                Err(error) => tracing::warn!(error = %Chain(&error), "a log entry cannot be settled yet"),
            }
        }
    }
}

/// Why a file's turn did not come, to somebody who recovers it.
fn busy(error: FileError) -> RecoverError {
    match error {
        FileError::Index(error) => RecoverError::Index(error),
        error => RecoverError::Storage(std::io::Error::other(error)),
    }
}

/// Removes what uploads left that are not running any more, and answers how much that was.
pub(super) async fn sweep(store: &dyn Store, index: &Index) -> Result<usize, OpenError> {
    let mut left = store.leftovers().await.map_err(OpenError::Sweep)?;
    if !left.is_empty() {
        // Looked at afterwards: an entry is written before anything of its upload is kept.
        let running = index.pending().await?;
        left.retain(|left| {
            let is_owner = |record: &WalRecord| {
                let about = &record.operation_data;
                left.belongs_to(record.transaction_id, [about.planned(), &about.storage_path])
            };
            !running.iter().any(is_owner)
        });
    }
    if !left.is_empty() {
        // What an upload that ended meanwhile had is a file now, or gone.
        let still = store.leftovers().await.map_err(OpenError::Sweep)?;
        left.retain(|left| still.contains(left));
    }
    for left in &left {
        store.clear(left).await.map_err(OpenError::Sweep)?;
    }
    Ok(left.len())
}
