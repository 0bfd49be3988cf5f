//! Rebuilding the database from the attr files: a shadow table fills while the element works, then takes the table's place.

use element_api::FileMetadata;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Files, Inner, RebuildError};
use crate::store::Found;

/// Rows written at once.
const BATCH: usize = 500;

/// The log is read from a little before the walk began, against clocks that step back.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// What a rebuild found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RebuildReport {
    /// Files that stand in the database now.
    pub files: u64,
    /// Attr files that could not be read, or whose content is missing.
    pub broken: u64,
    /// Content without attributes.
    pub orphans: u64,
}

impl Files {
    /// Makes the database say what the attr files say. Reads and writes go on meanwhile; the old rows answer until the last moment.
    ///
    /// # Errors
    /// When the database or the store fails; then the database is as it was.
    pub async fn rebuild(&self) -> Result<RebuildReport, RebuildError> {
        let inner = &self.inner;
        let since = Timestamp::now() - MARGIN;
        inner.index.shadow_create().await?;
        let mut report = inner.fill_shadow().await?;
        let _gate = inner.gate.write().await;
        inner.catch_up(since).await?;
        inner.index.shadow_swap().await?;
        let stats = inner.index.stats().await?;
        inner.accounts.set_used(stats.bytes);
        report.files = stats.files;
        tracing::info!(files = report.files, broken = report.broken, orphans = report.orphans, "rebuilt the database");
        Ok(report)
    }
}

impl Inner {
    async fn fill_shadow(&self) -> Result<RebuildReport, RebuildError> {
        let mut report = RebuildReport::default();
        let (mut found, walk) = self.store.walk();
        let mut batch: Vec<FileMetadata> = Vec::with_capacity(BATCH);
        while let Some(found) = found.recv().await {
            match found {
                Found::File(metadata) => batch.push(*metadata),
                Found::Broken { path, reason } => {
                    report.broken += 1;
                    tracing::error!(path, reason, "left an attr file out of the database");
                }
                Found::Orphan { path } => {
                    report.orphans += 1;
                    tracing::warn!(path, "found content without attributes");
                }
            }
            if batch.len() == BATCH {
                self.index.shadow_fill(&newest(&mut batch), &[]).await?;
            }
        }
        walk.await.map_err(std::io::Error::other)??;
        self.index.shadow_fill(&newest(&mut batch), &[]).await?;
        Ok(report)
    }

    /// Looks again at every file that changed while the walk was under way. Nothing changes while this runs.
    async fn catch_up(&self, since: Timestamp) -> Result<(), RebuildError> {
        let (mut files, mut gone) = (Vec::new(), Vec::new());
        let mut records = self.index.logged_since(since).await?;
        records.extend(self.unsettled.all());
        for record in records {
            let (Some(id), path) = (record.file_id, record.operation_data.storage_path) else { continue };
            match self.attributes(id, &path).await {
                Ok(metadata) => files.push(metadata),
                // Gone, or unreadable and so left out, as the walk leaves it out.
                Err(_) => gone.push((id, path)),
            }
        }
        self.index.shadow_fill(&[], &gone).await?;
        self.index.shadow_fill(&newest(&mut files), &[]).await?;
        Ok(())
    }
}

/// Empties `batch` into one entry an id, since one statement must not touch a row twice.
fn newest(batch: &mut Vec<FileMetadata>) -> Vec<FileMetadata> {
    batch.sort_by_key(|file| (file.file_id, std::cmp::Reverse(file.revision)));
    batch.dedup_by_key(|file| file.file_id);
    std::mem::take(batch)
}
