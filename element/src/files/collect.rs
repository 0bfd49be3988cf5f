//! Garbage collection: temporary files whose time has come are deleted, by the ordinary protocol and as their attr files say;
//! what uploads left that are over and the folders of past hours that are empty are cleared away. Nothing else goes.

use element_api::{FileMetadata, GcReport, RetentionPolicy};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::inspect::{CareError, Watch};
use super::{Chain, FileError, Files};
use crate::index::IndexError;

/// Expired files fetched at once.
const PAGE: u32 = 500;

/// Folders younger than this stay: an upload that began in their hour may still be under way, on another replica too.
const KEEP_FOLDERS: SignedDuration = SignedDuration::from_hours(48);

/// What became of a file whose row says that its time has come.
enum Outcome {
    Deleted,
    /// Its attr file says otherwise, or it is gone or was changed meanwhile.
    Kept,
    Failed,
}

impl Files {
    /// Deletes what had expired at `now`, for as long as `may_delete` says so, and clears leftovers away.
    ///
    /// # Errors
    /// When the database or the store fails; what was done stays done.
    pub async fn collect(
        &self,
        now: Timestamp,
        may_delete: &(dyn Fn() -> bool + Send + Sync),
        watch: &dyn Watch,
    ) -> Result<GcReport, CareError> {
        let mut report = GcReport::default();
        let mut after = (Timestamp::UNIX_EPOCH, Uuid::nil());
        while may_delete() {
            let page = self.inner.index.expired(now, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.expires_at.unwrap_or(now), last.file_id);
            for file in &page {
                if !may_delete() {
                    break;
                }
                match self.expire(file, now).await? {
                    Outcome::Deleted => {
                        report.expired += 1;
                        report.bytes += file.file_size;
                        watch.did(1, file.file_size);
                    }
                    Outcome::Kept => {}
                    Outcome::Failed => report.failed += 1,
                }
            }
        }
        let swept = super::sweep(self.inner.store.as_ref(), &self.inner.index).await;
        report.temporary_files = swept.map_err(CareError::Leftovers)? as u64;
        report.folders = self.inner.store.prune_folders(now - KEEP_FOLDERS).await?;
        Ok(report)
    }

    async fn expire(&self, row: &FileMetadata, now: Timestamp) -> Result<Outcome, CareError> {
        let (id, path) = (row.file_id, &row.storage_path);
        let deleted = match self.inner.attributes(id, path).await {
            Ok(file) if has_expired(&file, now) => self.delete(id, Some(file.revision)).await,
            Ok(_) => return Ok(Outcome::Kept),
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => {
                tracing::info!(file_id = %id, path, expires_at = ?row.expires_at, "deleted an expired file");
                Ok(Outcome::Deleted)
            }
            Err(FileError::NotFound { .. } | FileError::PreconditionFailed { .. } | FileError::Contended { .. }) => {
                Ok(Outcome::Kept)
            }
            Err(
                error @ (FileError::Unwritable | FileError::Index(IndexError::Unavailable(_) | IndexError::Stopped)),
            ) => Err(error.into()),
            Err(error) => {
                tracing::error!(file_id = %id, path, error = %Chain(&error), "failed to delete an expired file");
                Ok(Outcome::Failed)
            }
        }
    }
}

fn has_expired(file: &FileMetadata, now: Timestamp) -> bool {
    file.retention_policy == RetentionPolicy::Temporary && file.expires_at.is_some_and(|time| time <= now)
}
