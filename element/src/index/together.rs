//! Changes that PostgreSQL takes in one statement, and so in one round trip: log entries, alone or with the rows they put. It is the
//! way of nearly every change; SQLite has no such statements and needs none, being no round trip away.
//!
//! Everything in a statement sees the tables as they were before it. That is right for the totals because whoever changes a file has
//! its turn: nobody else changes the same row meanwhile.

use element_api::FileMetadata;
use serde_json::json;

use super::IndexError;
use super::dialect::{Dialect, names};
use super::sql::{FILE_COLUMNS, Parameter, SEARCH_COLUMNS, Sql, Statement, WAL_COLUMNS};
use crate::wal::WalRecord;

/// PostgreSQL's code for a division by zero: how a statement fails that did not touch every log entry it must.
pub(super) const INCOMPLETE: &str = "22012";

impl Sql {
    /// One statement for log entries and the rows they put, where the database has such statements.
    pub(super) fn together(
        &self,
        records: &[WalRecord],
        files: &[FileMetadata],
    ) -> Result<Option<Statement>, IndexError> {
        if self.dialect != Dialect::Postgres {
            return Ok(None);
        }
        let logged = format!("WITH logged AS ({} RETURNING 1)", self.wal_insert(1));
        let complete = "1 / CASE WHEN count(*) = $2 THEN 1 ELSE 0 END";
        let mut parameters = vec![
            Parameter::Text(Self::wal_rows(records)?),
            Parameter::Integer(i64::try_from(records.len()).unwrap_or(i64::MAX)),
        ];
        if files.is_empty() {
            let text = format!("{logged} SELECT {complete} FROM logged");
            return Ok(Some(Statement::new(text, parameters)));
        }
        let Self {
            totals, files: table, ..
        } = self;
        let ids: Vec<_> = files.iter().map(|file| file.file_id).collect();
        parameters.push(Parameter::Text(Self::file_rows(files)?));
        parameters.push(Parameter::Text(json!(ids).to_string()));
        let is_given = self.dialect.is_id_of("file_id", 4);
        let count = "count(*) AS files, CAST(coalesce(sum(file_size), 0) AS BIGINT) AS bytes";
        let text = format!(
            "{logged}, stored AS ({} RETURNING file_size), \
             before AS (SELECT {count} FROM {table} WHERE {is_given}), \
             afterwards AS (SELECT {count} FROM stored), \
             complete AS (SELECT {complete} AS fine FROM logged) \
             UPDATE {totals} SET files = {totals}.files - before.files + afterwards.files * complete.fine, \
             bytes = {totals}.bytes - before.bytes + afterwards.bytes \
             FROM before, afterwards, complete WHERE name = 'files'",
            self.file_insert(table, 3)
        );
        Ok(Some(Statement::new(text, parameters)))
    }

    /// Inserts the log entries of the JSON in parameter `position`.
    pub(super) fn wal_insert(&self, position: usize) -> String {
        let Self { wal, dialect, .. } = self;
        let list = names(&WAL_COLUMNS);
        let given = dialect.records(wal, &WAL_COLUMNS, position);
        format!(
            "INSERT INTO {wal} ({list}) SELECT {list} FROM {given} AS given WHERE true \
             ON CONFLICT (transaction_id) DO UPDATE SET status = excluded.status, file_id = excluded.file_id, \
             operation_data = excluded.operation_data, error_message = excluded.error_message, \
             completed_at = excluded.completed_at WHERE {wal}.instance_id = excluded.instance_id \
             AND ({wal}.status = 'pending' OR excluded.status <> 'pending')"
        )
    }

    /// Inserts into `table` the files of the JSON in parameter `position`, or replaces what stands there.
    pub(super) fn file_insert(&self, table: &str, position: usize) -> String {
        let columns: Vec<_> = FILE_COLUMNS.into_iter().chain(SEARCH_COLUMNS).collect();
        let list = names(&columns);
        let given = self.dialect.records(table, &columns, position);
        let updates: Vec<_> = columns
            .iter()
            .skip(1)
            .map(|(name, _)| format!("{name} = excluded.{name}"))
            .collect();
        format!(
            "INSERT INTO {table} ({list}) SELECT {list} FROM {given} AS given WHERE true \
             ON CONFLICT (file_id) DO UPDATE SET {}",
            updates.join(", ")
        )
    }
}
