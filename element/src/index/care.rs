//! What the care for files asks of the index: rows in order, rows of many ids, expired files, and what the log says of one file.

use element_api::FileMetadata;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::sql::{Parameter, Sql, Statement, time_text};
use super::{Index, IndexError};

impl Sql {
    pub(super) fn many(&self, ids: &[Uuid]) -> Statement {
        let is_given = self.dialect.is_id_of("file_id", 1);
        let ids = Parameter::Text(json!(ids).to_string());
        self.select_files(&format!("WHERE {is_given}"), vec![ids])
    }

    fn rows_after(&self, after: Uuid, limit: u32) -> Statement {
        let clauses = format!(
            "WHERE file_id > {} ORDER BY file_id LIMIT {limit}",
            self.dialect.id("$1")
        );
        self.select_files(&clauses, vec![Parameter::Text(after.to_string())])
    }

    fn expired(&self, now: Timestamp, after: (Timestamp, Uuid), limit: u32) -> Statement {
        let (now_at, after_at, after_id) = (self.dialect.time("$1"), self.dialect.time("$2"), self.dialect.id("$3"));
        let clauses = format!(
            "WHERE expires_at <= {now_at} AND (expires_at, file_id) > ({after_at}, {after_id}) \
             ORDER BY expires_at, file_id LIMIT {limit}"
        );
        let texts = [time_text(now), time_text(after.0), after.1.to_string()];
        self.select_files(&clauses, texts.map(Parameter::Text).to_vec())
    }

    fn count(&self) -> Statement {
        let object = self.dialect.json_object();
        let text = format!(
            "SELECT CAST({object}('files', count(*), 'bytes', CAST(coalesce(sum(file_size), 0) AS BIGINT)) AS TEXT) FROM {}",
            self.files
        );
        Statement::new(text, Vec::new())
    }

    fn any_file(&self) -> Statement {
        Statement::new(format!("SELECT '1' FROM {} LIMIT 1", self.files), Vec::new())
    }

    /// Entries about a file or a path that are pending, or were settled at `since` or later.
    fn touching(&self, id: Option<Uuid>, path: &str, since: Timestamp) -> Statement {
        let time = self.dialect.time("$1");
        let text = format!(
            "SELECT '1' FROM {} WHERE (status = 'pending' OR completed_at >= {time}) \
             AND (operation_data->>'storage_path' = $2 OR CAST(file_id AS TEXT) = $3) LIMIT 1",
            self.wal
        );
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        let texts = [time_text(since), path.to_owned(), id];
        Statement::new(text, texts.map(Parameter::Text).to_vec())
    }
}

impl Index {
    /// The metadata the index has of these files; those it does not know are left out.
    pub async fn many(&self, ids: &[Uuid]) -> Result<Vec<FileMetadata>, IndexError> {
        self.files(&self.sql.many(ids)).await
    }

    /// The next rows by id.
    pub async fn rows_after(&self, after: Uuid, limit: u32) -> Result<Vec<FileMetadata>, IndexError> {
        self.files(&self.sql.rows_after(after, limit)).await
    }

    /// The next files whose time had come at `now`, by that time and their id.
    pub async fn expired(
        &self,
        now: Timestamp,
        after: (Timestamp, Uuid),
        limit: u32,
    ) -> Result<Vec<FileMetadata>, IndexError> {
        self.files(&self.sql.expired(now, after, limit)).await
    }

    /// Whether the index knows no file at all. Unlike the totals it cannot be wrong.
    pub async fn is_empty(&self) -> Result<bool, IndexError> {
        Ok(self.backend.fetch(&self.sql.any_file()).await?.is_empty())
    }

    /// Whether some operation works on this file or path, or did since `since`.
    pub async fn is_touched(&self, id: Option<Uuid>, path: &str, since: Timestamp) -> Result<bool, IndexError> {
        Ok(!self
            .backend
            .fetch(&self.sql.touching(id, path, since))
            .await?
            .is_empty())
    }

    /// Counts all files and their bytes, and leaves the totals as they are.
    pub async fn count(&self) -> Result<(u64, u64), IndexError> {
        #[derive(Deserialize)]
        struct Counted {
            files: u64,
            bytes: u64,
        }
        let rows = self.backend.fetch(&self.sql.count()).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let Counted { files, bytes } = serde_json::from_str(row)?;
        Ok((files, bytes))
    }

    /// Counts all files and bytes anew, for [`Index::stats`] to tell.
    pub async fn recount(&self) -> Result<(), IndexError> {
        Ok(self.backend.transact(&self.sql.recount()).await?)
    }

    async fn files(&self, statement: &Statement) -> Result<Vec<FileMetadata>, IndexError> {
        let rows = self.backend.fetch(statement).await?;
        rows.iter()
            .map(|row| serde_json::from_str(row))
            .collect::<Result<_, _>>()
            .map_err(IndexError::from)
    }
}
