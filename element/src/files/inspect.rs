//! A look at every file and every row: does each file have both its parts and the row its attr file says, does each row have a
//! file, is the content what its sha256 says. The scrub, the reconcile and fsck are this look with other [`Plan`]s.
//!
//! Operations go on meanwhile. What looks wrong in passing is looked at again in the file's turn, and passes for right if any
//! operation works on it or did a moment ago: of those every one has its log entry before it touches the disk.

mod content;
mod judge;
mod repair;

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use element_api::{FileMetadata, Finding, FindingKind, InspectionReport};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::content::Pace;
use self::judge::{Doubt, Seen, judge};
use super::{FileError, Files, Inner};
use crate::attr;
use crate::index::IndexError;
use crate::store::{Found, id_in_name};

/// Files looked at together: their rows are fetched at once.
const BATCH: usize = 200;

/// Rows fetched at once.
const ROWS: u32 = 500;

/// An operation settled this long ago no longer explains what is found; as much as clocks of replicas may differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// Whoever wants to know how it goes.
pub trait Watch: Send + Sync {
    /// There are about so many files.
    fn expect(&self, files: u64);
    /// So many more files, and bytes of content, were dealt with.
    fn did(&self, files: u64, bytes: u64);
    /// Something was found.
    fn found(&self, finding: &Finding);
}

/// Nobody wants to know.
pub struct Unwatched;

impl Watch for Unwatched {
    fn expect(&self, _files: u64) {}
    fn did(&self, _files: u64, _bytes: u64) {}
    fn found(&self, _finding: &Finding) {}
}

/// What to look at, and what to do about it.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// What to do with rows.
    pub rows: Rows,
    /// What to do with content.
    pub content: Reading,
    /// Whether damaged content may be put into quarantine at this moment.
    pub may_quarantine: &'a (dyn Fn() -> bool + Send + Sync),
    /// Whether to write attr files that were lost again from their rows, where the content is what the row says.
    pub restore: bool,
    /// Whether no server runs, so that only what the log says is pending may explain what is found.
    pub offline: bool,
}

/// What to do with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Leave them out of it.
    Ignore,
    /// Compare them.
    Check,
    /// Compare them, and make them what the attr files say.
    Repair,
}

/// What to do with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Compare its size alone.
    No,
    /// Read all of it, at this many bytes a second where there is a limit.
    All {
        /// Bytes a second.
        rate: Option<u64>,
    },
}

/// Where a look has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cursor {
    /// Among the files, behind the one found there.
    Files(Option<String>),
    /// Among the rows, behind the one of this id.
    Rows(Uuid),
    /// At the end.
    Done,
}

/// Where a look has come to, and what it has seen until there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// Where.
    pub cursor: Cursor,
    /// What.
    pub report: InspectionReport,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            cursor: Cursor::Files(None),
            report: InspectionReport::default(),
        }
    }
}

/// Why the care for files could not go on.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// The database.
    #[error("failed to use the database")]
    Index(#[from] IndexError),
    /// The store.
    #[error("failed to read the store")]
    Storage(#[from] io::Error),
    /// A log entry.
    #[error("failed to settle a log entry")]
    Recover(#[from] crate::wal::recover::RecoverError),
    /// Filling an empty database.
    #[error("failed to rebuild the database")]
    Rebuild(#[from] super::RebuildError),
    /// A file.
    #[error("failed to change a file")]
    File(#[source] FileError),
    /// What uploads left.
    #[error("failed to clear leftovers away")]
    Leftovers(#[source] super::OpenError),
}

impl From<FileError> for CareError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Index(error) => Self::Index(error),
            error => Self::File(error),
        }
    }
}

impl Files {
    /// Goes the course to its end. It may be stopped at any point and gone on with from there.
    ///
    /// # Errors
    /// When the database or the store fails.
    pub(super) async fn inspect(
        &self,
        plan: Plan<'_>,
        course: &Mutex<Course>,
        watch: &dyn Watch,
    ) -> Result<(), CareError> {
        watch.expect(self.inner.index.stats().await?.files);
        let inspection = Inspection {
            inner: &self.inner,
            files: self,
            plan,
            course,
            watch,
        };
        let cursor = inspection.course().cursor.clone();
        if let Cursor::Files(after) = cursor {
            inspection.look_at_files(after).await?;
            let next = if plan.rows == Rows::Ignore {
                Cursor::Done
            } else {
                Cursor::Rows(Uuid::nil())
            };
            inspection.course().cursor = next;
        }
        let cursor = inspection.course().cursor.clone();
        if let Cursor::Rows(after) = cursor {
            inspection.look_at_rows(after).await?;
            inspection.course().cursor = Cursor::Done;
        }
        Ok(())
    }
}

struct Inspection<'a> {
    inner: &'a Inner,
    files: &'a Files,
    plan: Plan<'a>,
    course: &'a Mutex<Course>,
    watch: &'a dyn Watch,
}

impl Inspection<'_> {
    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_at_files(&self, after: Option<String>) -> Result<(), CareError> {
        let (mut walk, walked) = self.inner.store.walk(after);
        let mut pace = Pace::new(self.plan.content);
        let mut batch = Vec::with_capacity(BATCH);
        while walk.recv_many(&mut batch, BATCH).await > 0 {
            let rows = self.rows_of(&batch).await?;
            for found in batch.drain(..) {
                self.look_at(&found, &rows, &mut pace).await?;
                let mut course = self.course();
                course.cursor = Cursor::Files(Some(found.path()));
                course.report.files += 1;
                self.watch.did(1, 0);
            }
        }
        walked.await.map_err(io::Error::other)??;
        Ok(())
    }

    async fn rows_of(&self, batch: &[Found]) -> Result<HashMap<Uuid, FileMetadata>, CareError> {
        if self.plan.rows == Rows::Ignore {
            return Ok(HashMap::new());
        }
        let ids: Vec<Uuid> = batch
            .iter()
            .filter_map(|found| match found {
                Found::File(metadata) => Some(metadata.file_id),
                Found::Broken { .. } | Found::Orphan { .. } => None,
            })
            .collect();
        let rows = self.inner.index.many(&ids).await?;
        Ok(rows.into_iter().map(|row| (row.file_id, row)).collect())
    }

    async fn look_at(
        &self,
        found: &Found,
        rows: &HashMap<Uuid, FileMetadata>,
        pace: &mut Pace,
    ) -> Result<(), CareError> {
        let path = match found {
            Found::File(metadata) => metadata.storage_path.clone(),
            // No path as text leads to it.
            Found::Broken { path, reason } if path.contains(char::REPLACEMENT_CHARACTER) => {
                self.report(FindingKind::AttributesUnreadable, path, None, reason.clone(), false);
                return Ok(());
            }
            Found::Broken { path, .. } => path.strip_suffix(attr::SUFFIX).unwrap_or(path).to_owned(),
            Found::Orphan { path } => path.clone(),
        };
        let id = match found {
            Found::File(metadata) => Some(metadata.file_id),
            Found::Broken { .. } | Found::Orphan { .. } => None,
        };
        let seen = Seen::of(self.inner.store.look(&path).await, &path);
        if !judge(&seen, &path, id.and_then(|id| rows.get(&id)), self.plan.rows).is_empty() {
            self.look_again(&path, id).await?;
        }
        if let Found::File(metadata) = found
            && self.plan.content != Reading::No
        {
            self.read_content(metadata, pace).await?;
        }
        Ok(())
    }

    async fn look_at_rows(&self, mut after: Uuid) -> Result<(), CareError> {
        loop {
            let rows = self.inner.index.rows_after(after, ROWS).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.file_id;
            for row in &rows {
                let seen = Seen::of(self.inner.store.look(&row.storage_path).await, &row.storage_path);
                if seen.is_nothing() {
                    self.look_again(&row.storage_path, Some(row.file_id)).await?;
                }
            }
            let mut course = self.course();
            course.report.rows += rows.len() as u64;
            course.cursor = Cursor::Rows(after);
        }
    }

    /// Looks at a file that seemed wrong, now that nobody else of this server changes it; reports and repairs what is.
    async fn look_again(&self, path: &str, id: Option<Uuid>) -> Result<(), CareError> {
        let inner = self.inner;
        let id = id.or_else(|| id_in_name(path));
        let _gate = inner.gate.read().await;
        let _turn = match id.map(|id| inner.turn(id)) {
            Some(turn) => match turn.await {
                Ok(turn) => Some(turn),
                // Another server changes it: nothing to be said of it now.
                Err(FileError::Contended { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        let since = if self.plan.offline {
            Timestamp::MAX
        } else {
            Timestamp::now() - MARGIN
        };
        let seen = Seen::of(inner.store.look(path).await, path);
        let row = match id {
            Some(id) if self.plan.rows != Rows::Ignore || self.plan.restore => inner.index.get(id).await?,
            _ => None,
        };
        let doubts = judge(&seen, path, row.as_ref(), self.plan.rows);
        let unsettled = id.is_some_and(|id| !inner.unsettled.of(id).is_empty());
        if doubts.is_empty() || unsettled || inner.index.is_touched(id, path, since).await? {
            return Ok(());
        }
        for doubt in doubts {
            let doubt = self.named(doubt, path, row.as_ref()).await;
            let repaired = self.repair(doubt.kind, path, &seen, row.as_ref()).await?;
            self.report(doubt.kind, path, id, doubt.detail, repaired);
        }
        Ok(())
    }

    /// A row about another path is stale, unless a file stands there with the very same id.
    async fn named(&self, doubt: Doubt, path: &str, row: Option<&FileMetadata>) -> Doubt {
        let Some(row) = row.filter(|row| doubt.kind == FindingKind::RowStale && row.storage_path != path) else {
            return doubt;
        };
        let other = Seen::of(self.inner.store.look(&row.storage_path).await, &row.storage_path);
        match other.metadata() {
            Some(metadata) if metadata.file_id == row.file_id => Doubt {
                kind: FindingKind::DuplicateId,
                detail: format!("{:?} has the same id", row.storage_path),
            },
            _ => doubt,
        }
    }

    fn report(&self, kind: FindingKind, path: &str, file_id: Option<Uuid>, detail: String, repaired: bool) {
        let finding = Finding {
            kind,
            path: path.to_owned(),
            file_id,
            detail,
            repaired,
        };
        self.watch.found(&finding);
        self.course().report.note(finding);
    }
}
