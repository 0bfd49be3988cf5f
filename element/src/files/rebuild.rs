//! Rebuilding the database from the attr files: a shadow table fills while the element works, then takes the table's place.

use std::collections::BTreeSet;

use element_api::{FileMetadata, RebuildReport};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{FileError, Files, Inner, RebuildError, Unwatched, Watch};
use crate::index::{FileChange, IndexError, Lease};
use crate::store::Found;
use crate::wal::{OperationType, Status};

/// Rows written at once.
const BATCH: usize = 500;

/// The log is read from a little before the walk began, against clocks that step back.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// What a rebuild has found so far.
struct Filling<'a> {
    /// That no other server rebuilds.
    lease: &'a Lease,
    report: RebuildReport,
    /// Files whose row the database refused, once each however often it was tried.
    refused: BTreeSet<Uuid>,
}

impl<'a> Filling<'a> {
    fn under(lease: &'a Lease) -> Self {
        Self {
            lease,
            report: RebuildReport::default(),
            refused: BTreeSet::new(),
        }
    }
}

impl Files {
    /// Makes the database say what the attr files say. Reads and writes go on meanwhile; the old rows answer until the last moment.
    ///
    /// # Errors
    /// When the database or the store fails; then the database is as it was.
    pub async fn rebuild(&self) -> Result<RebuildReport, RebuildError> {
        self.rebuild_watched(&Unwatched).await
    }

    /// [`Files::rebuild`], with somebody who wants to know how it goes.
    ///
    /// # Errors
    /// As there.
    pub async fn rebuild_watched(&self, watch: &dyn Watch) -> Result<RebuildReport, RebuildError> {
        let inner = &self.inner;
        let _only = inner.rebuilding.try_lock().map_err(|_| RebuildError::Running)?;
        let nowhere_else = inner.instance.lease("rebuild").await?.ok_or(RebuildError::Running)?;
        let report = inner.rebuild(&nowhere_else, watch).await;
        nowhere_else.release().await;
        report
    }
}

impl Inner {
    async fn rebuild(&self, lease: &Lease, watch: &dyn Watch) -> Result<RebuildReport, RebuildError> {
        let began = Timestamp::now() - MARGIN;
        self.index.shadow_create(lease).await?;
        watch.expect(self.index.stats().await?.files);
        let mut filling = Filling::under(lease);
        self.fill_shadow(&mut filling, watch).await?;
        // What changed during the walk is looked at while more changes, so that only what changes meanwhile holds others up.
        let walked = Timestamp::now() - MARGIN;
        self.catch_up(began, &mut filling).await?;
        let gate = self.gate.write().await;
        self.catch_up(walked, &mut filling).await?;
        self.index.shadow_swap(lease).await?;
        let stats = self.index.stats().await?;
        self.accounts.set_used(stats.files, stats.bytes);
        drop(gate);
        if !self.instance.is_alone() {
            self.catch_up_with_others(began).await?;
        }
        let mut report = filling.report;
        report.files = stats.files;
        report.broken += filling.refused.len() as u64;
        tracing::info!(
            files = report.files,
            broken = report.broken,
            orphans = report.orphans,
            "rebuilt the database"
        );
        Ok(report)
    }

    async fn fill_shadow(&self, filling: &mut Filling<'_>, watch: &dyn Watch) -> Result<(), RebuildError> {
        let (mut found, walk) = self.store.walk(None);
        let mut batch: Vec<FileMetadata> = Vec::with_capacity(BATCH);
        while let Some(found) = found.recv().await {
            match found {
                Found::File(metadata) => {
                    watch.did(1, 0);
                    batch.push(*metadata);
                }
                Found::Broken { path, reason } => {
                    filling.report.broken += 1;
                    tracing::error!(path, reason, "left an attr file out of the database");
                }
                Found::Orphan { path } => {
                    filling.report.orphans += 1;
                    tracing::warn!(path, "found content without attributes");
                }
            }
            if batch.len() == BATCH {
                self.fill(newest(&mut batch), filling).await?;
            }
        }
        walk.await.map_err(std::io::Error::other)??;
        self.fill(newest(&mut batch), filling).await
    }

    /// Writes rows; when the database refuses one for its content, that one alone is left out.
    async fn fill(&self, files: Vec<FileMetadata>, filling: &mut Filling<'_>) -> Result<(), RebuildError> {
        match self.index.shadow_fill(filling.lease, &files, &[]).await {
            Err(IndexError::Statement(_)) => {}
            filled => return Ok(filled?),
        }
        for file in files {
            let alone = std::slice::from_ref(&file);
            match self.index.shadow_fill(filling.lease, alone, &[]).await {
                Err(IndexError::Statement(error)) => {
                    filling.refused.insert(file.file_id);
                    tracing::error!(path = file.storage_path, %error, "left a file out of the database, which refuses it");
                }
                filled => filled?,
            }
        }
        Ok(())
    }

    /// Looks again at every file that changed since.
    async fn catch_up(&self, since: Timestamp, filling: &mut Filling<'_>) -> Result<(), RebuildError> {
        let (mut files, mut gone) = (Vec::new(), Vec::new());
        let mut records = self.index.logged_since(since).await?;
        records.extend(self.unsettled.all().into_iter().map(|(record, _)| record));
        for record in records {
            let (Some(id), path) = (record.file_id, record.operation_data.storage_path) else {
                continue;
            };
            match self.attributes(id, &path).await {
                Ok(metadata) => files.push(metadata),
                // Gone, or unreadable and so left out, as the walk leaves it out.
                Err(_) => gone.push((id, path)),
            }
        }
        for gone in gone.chunks(BATCH) {
            self.index.shadow_fill(filling.lease, &[], gone).await?;
        }
        for files in newest(&mut files).chunks(BATCH) {
            self.fill(files.to_vec(), filling).await?;
        }
        Ok(())
    }

    /// Looks once more at what changed, now in the new table: other servers do not stand at our gate.
    async fn catch_up_with_others(&self, since: Timestamp) -> Result<(), RebuildError> {
        let mut seen = BTreeSet::new();
        for record in self.index.logged_since(since).await? {
            let (Some(id), path) = (record.file_id, record.operation_data.storage_path) else {
                continue;
            };
            if !seen.insert((id, path.clone())) {
                continue;
            }
            let _turn = self.turn(id).await.map_err(std::io::Error::other)?;
            let row = match self.attributes(id, &path).await {
                Ok(metadata) => FileChange::Put(Box::new(metadata)),
                Err(FileError::NotFound { .. }) => FileChange::Remove {
                    id,
                    storage_path: path.clone(),
                },
                // Left out, as the walk leaves it out.
                Err(_) => continue,
            };
            let again = self.wal.record(OperationType::FileUpdate, id, &path);
            match self.wal.settle(&again, Status::Committed, row, None).await {
                Err(IndexError::Statement(error)) => {
                    tracing::error!(path, %error, "left a file out of the database, which refuses it");
                }
                settled => settled?,
            }
        }
        Ok(())
    }
}

/// Empties `batch` into one entry an id, since one statement must not touch a row twice.
fn newest(batch: &mut Vec<FileMetadata>) -> Vec<FileMetadata> {
    batch.sort_by_key(|file| (file.file_id, std::cmp::Reverse(file.revision)));
    batch.dedup_by_key(|file| file.file_id);
    std::mem::take(batch)
}
