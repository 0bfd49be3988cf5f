//! The text of every statement. One text serves both databases: parameters are text and integers, rows travel as JSON.
//!
//! The table prefix makes statements dynamic; [`Statement::text`] is the one place that vouches for them. Nothing from a
//! client ever becomes part of a text.

use std::sync::Arc;

use element_api::FileMetadata;
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};
use uuid::Uuid;

use super::dialect::{Dialect, Kind};
use super::rows::{file_row, wal_row};
use super::{IndexError, TablePrefix};
use crate::wal::WalRecord;

/// Log entries removed in one transaction.
const PRUNED_AT_ONCE: usize = 5000;

/// A parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Parameter {
    Text(String),
    Integer(i64),
}

/// A statement and its parameters, `$1` onwards.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    sql: Arc<str>,
    pub(super) parameters: Vec<Parameter>,
    /// The rows it must touch; when it touches others, its transaction must not be committed.
    pub(super) touches: Option<u64>,
    /// Whether how to go about it hangs on the values, so that no plan is kept: what is best for a rare word is not for a common one.
    pub(super) planned_by_value: bool,
}

impl Statement {
    pub(super) fn new(sql: impl Into<Arc<str>>, parameters: Vec<Parameter>) -> Self {
        Self {
            sql: sql.into(),
            parameters,
            touches: None,
            planned_by_value: false,
        }
    }

    pub(super) fn planned_by_value(mut self) -> Self {
        self.planned_by_value = true;
        self
    }

    /// Whether it touched what it must.
    pub(super) fn is_satisfied_by(&self, rows: u64) -> bool {
        self.touches.is_none_or(|expected| expected == rows)
    }

    /// Whether nothing is changed when it does not touch what it must.
    pub(super) fn changes_all_or_nothing(&self) -> bool {
        self.touches.is_none_or(|expected| expected <= 1)
    }

    /// The text for sqlx. It holds only our own words and a validated [`TablePrefix`].
    pub(super) fn text(&self) -> SqlStr {
        AssertSqlSafe(Arc::clone(&self.sql)).into_sql_str()
    }
}

/// The columns that together are a [`FileMetadata`], and how each is kept.
pub(super) const FILE_COLUMNS: [(&str, Kind); 21] = [
    ("file_id", Kind::Plain),
    ("schema_version", Kind::Plain),
    ("original_filename", Kind::Plain),
    ("storage_filename", Kind::Plain),
    ("storage_path", Kind::Plain),
    ("file_size", Kind::Plain),
    ("content_type", Kind::Plain),
    ("checksum", Kind::Plain),
    ("created_at", Kind::Plain),
    ("updated_at", Kind::Plain),
    ("created_by_id", Kind::Plain),
    ("created_by_username", Kind::Plain),
    ("created_by_fullname", Kind::Plain),
    ("description", Kind::Plain),
    ("version", Kind::Plain),
    ("tags", Kind::Json),
    ("metadata", Kind::Json),
    ("retention_policy", Kind::Plain),
    ("ttl_days", Kind::Plain),
    ("expires_at", Kind::Plain),
    ("revision", Kind::Plain),
];

/// Columns derived from the metadata, for search alone.
pub(super) const SEARCH_COLUMNS: [(&str, Kind); 2] = [("metadata_text", Kind::Json), ("search_text", Kind::Plain)];

pub(super) const WAL_COLUMNS: [(&str, Kind); 9] = [
    ("transaction_id", Kind::Plain),
    ("operation_type", Kind::Plain),
    ("status", Kind::Plain),
    ("file_id", Kind::Plain),
    ("operation_data", Kind::Json),
    ("instance_id", Kind::Plain),
    ("error_message", Kind::Plain),
    ("started_at", Kind::Plain),
    ("completed_at", Kind::Plain),
];

/// A time with all its microseconds, so that times as text sort as times.
pub(super) fn time_text(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// The statements of one element.
pub(super) struct Sql {
    pub(super) dialect: Dialect,
    pub(super) prefix: String,
    pub(super) files: String,
    pub(super) shadow: String,
    pub(super) wal: String,
    pub(super) totals: String,
}

impl Sql {
    pub(super) fn new(dialect: Dialect, prefix: &TablePrefix) -> Self {
        let prefix = prefix.as_str();
        Self {
            dialect,
            prefix: prefix.to_owned(),
            files: format!("{prefix}file_metadata"),
            shadow: format!("{prefix}shadow_file_metadata"),
            wal: format!("{prefix}wal"),
            totals: format!("{prefix}totals"),
        }
    }

    pub(super) fn ping(&self) -> Statement {
        Statement::new("SELECT '1'", Vec::new())
    }

    pub(super) fn get(&self, id: Uuid) -> Statement {
        let condition = self.dialect.id("$1");
        self.select_files(
            &format!("WHERE file_id = {condition}"),
            vec![Parameter::Text(id.to_string())],
        )
    }

    /// Selects files as JSON; `clauses` begin with WHERE, ORDER BY or LIMIT.
    pub(super) fn select_files(&self, clauses: &str, parameters: Vec<Parameter>) -> Statement {
        Statement::new(
            self.dialect.select(&FILE_COLUMNS, &format!("{} {clauses}", self.files)),
            parameters,
        )
    }

    /// Counts files, up to `limit`.
    pub(super) fn count_files(&self, clauses: &str, parameters: Vec<Parameter>, limit: u64) -> Statement {
        let counted = format!("SELECT 1 FROM {} {clauses} LIMIT {limit}", self.files);
        Statement::new(
            format!("SELECT CAST(count(*) AS TEXT) FROM ({counted}) AS counted"),
            parameters,
        )
    }

    /// How many files there are.
    pub(super) fn known_files(&self) -> Statement {
        let text = format!("SELECT CAST(files AS TEXT) FROM {} WHERE name = 'files'", self.totals);
        Statement::new(text, Vec::new())
    }

    pub(super) fn stats(&self) -> Statement {
        let Self {
            totals, wal, dialect, ..
        } = self;
        let object = dialect.json_object();
        Statement::new(
            format!(
                "SELECT CAST({object}(\
                 'files', (SELECT files FROM {totals} WHERE name = 'files'), \
                 'bytes', (SELECT bytes FROM {totals} WHERE name = 'files'), \
                 'wal_pending', (SELECT count(*) FROM {wal} WHERE status = 'pending'), \
                 'wal_oldest', (SELECT min(started_at) FROM {wal} WHERE status = 'pending')) AS TEXT)"
            ),
            Vec::new(),
        )
    }

    /// Inserts the metadata of `files`, or replaces what stands there.
    pub(super) fn put_files(&self, files: &[FileMetadata]) -> Result<Statement, IndexError> {
        self.put_files_into(&self.files, files)
    }

    pub(super) fn put_files_into(&self, table: &str, files: &[FileMetadata]) -> Result<Statement, IndexError> {
        Ok(Statement::new(
            self.file_insert(table, 1),
            vec![Parameter::Text(Self::file_rows(files)?)],
        ))
    }

    /// Files as JSON, for [`Sql::file_insert`].
    pub(super) fn file_rows(files: &[FileMetadata]) -> Result<String, IndexError> {
        let rows = files.iter().map(file_row).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::Array(rows).to_string())
    }

    /// Removes the rows of these files, where they still are about the content at these paths.
    pub(super) fn remove_files(&self, gone: &[(Uuid, String)]) -> Statement {
        self.remove_files_from(&self.files, gone)
    }

    /// A path holds its file's id, so that the two lists cannot match crosswise.
    pub(super) fn remove_files_from(&self, table: &str, gone: &[(Uuid, String)]) -> Statement {
        let (ids, paths): (Vec<&Uuid>, Vec<&String>) = gone.iter().map(|(id, path)| (id, path)).unzip();
        let (is_given, at_given) = (
            self.dialect.is_id_of("file_id", 1),
            self.dialect.is_text_of("storage_path", 2),
        );
        Statement::new(
            format!("DELETE FROM {table} WHERE {is_given} AND {at_given}"),
            vec![
                Parameter::Text(json!(ids).to_string()),
                Parameter::Text(json!(paths).to_string()),
            ],
        )
    }

    /// Inserts log entries, or replaces what stands there, unless another server took an entry over. What was given up and comes
    /// late opens no entry again.
    pub(super) fn put_wal(&self, records: &[WalRecord]) -> Result<Statement, IndexError> {
        let rows = Self::wal_rows(records)?;
        let mut statement = Statement::new(self.wal_insert(1), vec![Parameter::Text(rows)]);
        statement.touches = Some(records.len() as u64);
        Ok(statement)
    }

    /// Log entries as JSON, for [`Sql::wal_insert`].
    pub(super) fn wal_rows(records: &[WalRecord]) -> Result<String, IndexError> {
        let rows = records.iter().map(wal_row).collect::<Result<Vec<_>, _>>()?;
        Ok(Value::Array(rows).to_string())
    }

    pub(super) fn wal_pending(&self) -> Statement {
        let source = format!("{} WHERE status = 'pending' ORDER BY started_at", self.wal);
        Statement::new(self.dialect.select(&WAL_COLUMNS, &source), Vec::new())
    }

    pub(super) fn wal_since(&self, since: Timestamp) -> Statement {
        let time = self.dialect.time("$1");
        let source = format!(
            "{} WHERE completed_at >= {time} OR status = 'pending' ORDER BY started_at",
            self.wal
        );
        Statement::new(
            self.dialect.select(&WAL_COLUMNS, &source),
            vec![Parameter::Text(time_text(since))],
        )
    }

    /// Answers a row while there is anything to prune.
    pub(super) fn wal_prunable(&self, before: Timestamp) -> Statement {
        let (wal, time) = (&self.wal, self.dialect.time("$1"));
        Statement::new(
            format!("SELECT '1' FROM {wal} WHERE completed_at < {time} LIMIT 1"),
            vec![Parameter::Text(time_text(before))],
        )
    }

    /// Removes some of it.
    pub(super) fn wal_prune(&self, before: Timestamp) -> Statement {
        let (wal, time) = (&self.wal, self.dialect.time("$1"));
        Statement::new(
            format!(
                "DELETE FROM {wal} WHERE transaction_id IN \
                 (SELECT transaction_id FROM {wal} WHERE completed_at < {time} LIMIT {PRUNED_AT_ONCE})"
            ),
            vec![Parameter::Text(time_text(before))],
        )
    }

    /// Pending entries about a file.
    pub(super) fn wal_pending_about(&self, id: Uuid) -> Statement {
        let source = format!(
            "{} WHERE status = 'pending' AND file_id = {} ORDER BY started_at",
            self.wal,
            self.dialect.id("$1")
        );
        Statement::new(
            self.dialect.select(&WAL_COLUMNS, &source),
            vec![Parameter::Text(id.to_string())],
        )
    }
}
