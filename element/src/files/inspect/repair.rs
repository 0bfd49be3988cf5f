//! Repairs: of the database's side, which is only a cache, and of an attr file whose row is all that is left of it. Content is never
//! touched here.

use element_api::{FileMetadata, FindingKind};

use super::judge::Seen;
use super::{CareError, Inspection, Rows};
use crate::attr;
use crate::files::Chain;
use crate::files::unsettled::Bytes;
use crate::index::{FileChange, IndexError};
use crate::wal::{OperationType, Status};

impl Inspection<'_> {
    /// Repairs a finding, if the plan wants it and it can be; answers whether it was. The caller has the file's turn.
    pub(super) async fn repair(
        &self,
        kind: FindingKind,
        path: &str,
        seen: &Seen,
        row: Option<&FileMetadata>,
    ) -> Result<bool, CareError> {
        let repair_rows = self.plan.rows == Rows::Repair;
        match (kind, seen.metadata(), row) {
            (FindingKind::RowMissing | FindingKind::RowStale, Some(metadata), _) if repair_rows => {
                let put = FileChange::Put(Box::new(metadata.clone()));
                self.change_row(metadata, put).await
            }
            (FindingKind::RowOrphaned, None, Some(row)) if repair_rows => {
                let remove = FileChange::Remove {
                    id: row.file_id,
                    storage_path: row.storage_path.clone(),
                };
                self.change_row(row, remove).await
            }
            (FindingKind::AttributesMissing, None, Some(row)) if self.plan.restore && row.storage_path == path => {
                self.restore_attributes(row).await
            }
            _ => Ok(false),
        }
    }

    /// Row and log entry in one transaction: there is nothing to recover.
    async fn change_row(&self, file: &FileMetadata, change: FileChange) -> Result<bool, CareError> {
        let wal = &self.inner.wal;
        let record = wal.record(OperationType::FileReconcile, file.file_id, &file.storage_path);
        match wal.settle(&record, Status::Committed, change, None).await {
            Ok(()) => Ok(true),
            Err(IndexError::Statement(error)) => {
                tracing::error!(path = file.storage_path, %error, "the database refuses a file's row");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a lost attr file from the row, when the content proves that the row is about it.
    async fn restore_attributes(&self, row: &FileMetadata) -> Result<bool, CareError> {
        let inner = self.inner;
        let content = match inner.read_whole(&row.storage_path).await {
            Ok(content) => content,
            Err(error) => {
                tracing::warn!(path = row.storage_path, %error, "cannot read the content to restore its attributes");
                return Ok(false);
            }
        };
        if content.size != row.file_size || !content.checksum.eq_ignore_ascii_case(&row.checksum) {
            return Ok(false);
        }
        let attributes = match attr::encode(row) {
            Ok(attributes) => attributes,
            Err(error) => {
                tracing::warn!(path = row.storage_path, error = %Chain(&error), "cannot write the attributes again");
                return Ok(false);
            }
        };
        let record = inner
            .begin(OperationType::FileUpdate, row.file_id, &row.storage_path)
            .await?;
        let written = inner
            .store
            .replace_attributes(record.transaction_id, &row.storage_path, attributes)
            .await;
        if let Err(error) = written {
            inner.unsettled.keep(record, Bytes::AsCounted);
            return Err(error.into());
        }
        inner
            .wal
            .settle(&record, Status::Committed, FileChange::Keep, None)
            .await?;
        Ok(true)
    }
}
