//! The index: a database that caches the metadata of every file and holds the write-ahead log.
//!
//! It is never the truth about a file; the attr files are. It answers searches, and it can be lost and rebuilt. Every statement
//! is one text for both databases (`sql`), every change goes through one writer that shares commits (`writer`), and the two
//! backends only open pools and run statements.

mod care;
mod dialect;
mod lease;
mod migrate;
mod older;
mod postgres;
mod rows;
mod search;
mod shadow;
mod sql;
mod sqlite;
mod tasks;
mod together;
mod totals;
mod writer;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use element_api::{FileMetadata, Page};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use self::dialect::Dialect;
use self::lease::Leases;
pub use self::lease::{INSTANCE_TTL, Lease, Sharing};
pub use self::migrate::MigrationStatus;
pub use self::postgres::create_database;
use self::search::Statements;
pub use self::search::{Search, Sort};
use self::sql::{Sql, Statement};
use self::writer::Writer;
pub use self::writer::{Change, FileChange};
use crate::config::DatabaseConfig;
use crate::wal::WalRecord;

/// Why the index could not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IndexError {
    /// The database cannot be reached, or refuses this element; later may go well.
    #[error("the database is unavailable")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The volume of the embedded database is full.
    #[error("the volume of the database is full")]
    Full(#[source] Arc<sqlx::Error>),
    /// The database refused a statement: a fault of ours or of its content.
    #[error("failed to run a database statement")]
    Statement(#[source] Arc<sqlx::Error>),
    /// A row holds something that is no metadata or log entry.
    #[error("failed to decode a database row")]
    Row(#[source] Arc<serde_json::Error>),
    /// The schema could not be brought up or down.
    #[error("failed to migrate the database")]
    Migration(#[source] Arc<sqlx::migrate::MigrateError>),
    /// Another server took a log entry over: what it is about must not be acknowledged.
    #[error("another server has taken the operation over")]
    Fenced,
    /// The writer is gone: the element is stopping.
    #[error("the element is stopping")]
    Stopped,
}

impl From<sqlx::Error> for IndexError {
    fn from(error: sqlx::Error) -> Self {
        match Fault::of(&error) {
            Fault::Outage => Self::Unavailable(Arc::new(error)),
            Fault::Full => Self::Full(Arc::new(error)),
            Fault::Statement => Self::Statement(Arc::new(error)),
        }
    }
}

impl IndexError {
    /// Why a transaction failed in which a statement must touch what is only this server's.
    fn of_fenced(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::RowNotFound => Self::Fenced,
            error => error.into(),
        }
    }
}

impl From<serde_json::Error> for IndexError {
    fn from(error: serde_json::Error) -> Self {
        Self::Row(Arc::new(error))
    }
}

/// Where a fault lies.
enum Fault {
    /// With reaching the server, or with its state: later may go well.
    Outage,
    /// With the volume an embedded database is on.
    Full,
    /// With the statement or its content.
    Statement,
}

impl Fault {
    fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Outage,
            sqlx::Error::Database(database) => database.code().map_or(Self::Statement, |code| Self::of_code(&code)),
            _ => Self::Statement,
        }
    }

    /// PostgreSQL's codes have five characters; their classes are connection, transaction state (a standby takes no writes),
    /// authorization, missing database, rollback, resources, object in use, and intervention. SQLite's are numbers whose low
    /// byte is busy, locked, read-only, input or output, full, or cannot open.
    fn of_code(code: &str) -> Self {
        const OUTAGES: [&str; 8] = ["08", "25", "28", "3D", "40", "53", "55", "57"];
        if code.len() == 5 {
            let outage = OUTAGES.iter().any(|class| code.starts_with(class));
            return if outage { Self::Outage } else { Self::Statement };
        }
        match code.parse::<u32>().unwrap_or_default() & 0xff {
            5 | 6 | 8 | 10 | 14 => Self::Outage,
            13 => Self::Full,
            _ => Self::Statement,
        }
    }
}

/// What every table and index of one element begins with, so that several may share a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePrefix(String);

/// The text is no table prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a table prefix: use 1 to {max} of a-z, 0-9 and _, beginning with a letter or _", max = TablePrefix::MAX_BYTES)]
pub struct InvalidTablePrefix(String);

impl TablePrefix {
    /// PostgreSQL cuts names at 63 bytes; our longest suffix takes 20.
    pub const MAX_BYTES: usize = 40;

    /// The prefix as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TablePrefix {
    type Err = InvalidTablePrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        let holds_well = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if begins_well && holds_well && text.len() <= Self::MAX_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTablePrefix(text.to_owned()))
        }
    }
}

/// What a database must do for us; everything else is text in [`sql`].
trait Backend: Send + Sync {
    /// Runs the statements in one transaction; [`sqlx::Error::RowNotFound`] when one did not touch what it must.
    fn transact<'a>(&'a self, statements: &'a [Statement]) -> BoxFuture<'a, Result<(), sqlx::Error>>;
    /// The first column of every row, which is always JSON text.
    fn fetch<'a>(&'a self, statement: &'a Statement) -> BoxFuture<'a, Result<Vec<String>, sqlx::Error>>;
    /// Brings the schema to the newest version.
    fn migrate<'a>(&'a self, step: migrate::Step<'a>) -> BoxFuture<'a, Result<MigrationStatus, IndexError>>;
    /// Waits longer for a server that does not answer.
    fn be_patient(&self) {}
    /// Whether it need not be asked to know that it is there.
    fn answered_lately(&self) -> bool {
        false
    }
    /// Closes every connection.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Counts of what the index holds; kept with every change, so that asking for them is cheap.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct IndexStats {
    /// Files known.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Log entries neither committed nor rolled back.
    pub wal_pending: u64,
    /// Seconds since the oldest of them was written.
    #[serde(skip)]
    pub wal_oldest_seconds: Option<f64>,
    wal_oldest: Option<Timestamp>,
}

/// A handle on the element's database; clones share it.
#[derive(Clone)]
pub struct Index {
    backend: Arc<dyn Backend>,
    sql: Arc<Sql>,
    writer: Writer,
    leases: Arc<Leases>,
}

impl Index {
    /// Prepares access to the database; connections are made when they are needed, so this does not fail when the server is away.
    ///
    /// # Errors
    /// When the connection options cannot be built, such as an unreadable CA certificate.
    pub fn open(config: &DatabaseConfig, storage_root: &Path) -> Result<Self, IndexError> {
        let (backend, dialect, prefix): (Arc<dyn Backend>, _, _) = match config {
            DatabaseConfig::Embedded { table_prefix } => (
                Arc::new(sqlite::Sqlite::open(storage_root)?),
                Dialect::Sqlite,
                table_prefix,
            ),
            DatabaseConfig::Postgres { table_prefix, .. } => (
                Arc::new(postgres::Postgres::open(config)?),
                Dialect::Postgres,
                table_prefix,
            ),
        };
        let sql = Arc::new(Sql::new(dialect, prefix));
        let writer = Writer::start(Arc::clone(&backend), Arc::clone(&sql));
        Ok(Self {
            backend,
            sql,
            writer,
            leases: Arc::default(),
        })
    }

    /// Waits longer for a server that does not answer: a command has no client who wants to hear soon.
    #[must_use]
    pub fn for_a_command(self) -> Self {
        self.backend.be_patient();
        self
    }

    /// `postgres` or `sqlite`.
    pub fn kind(&self) -> &'static str {
        self.sql.dialect.name()
    }

    /// Whether the database answers, or did a moment ago: whoever asks often is told without asking it each time.
    ///
    /// # Errors
    /// When it does not.
    pub async fn look(&self) -> Result<(), IndexError> {
        if self.backend.answered_lately() {
            return Ok(());
        }
        self.ping().await
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), IndexError> {
        self.backend.fetch(&self.sql.ping()).await?;
        Ok(())
    }

    /// Brings the schema to the newest version; safe beside other elements doing the same.
    pub async fn migrate_up(&self) -> Result<MigrationStatus, IndexError> {
        self.set_older_tables_aside().await?;
        self.backend
            .migrate(migrate::Step::new(&self.sql, migrate::Direction::Up))
            .await
    }

    /// Undoes the newest migration.
    pub async fn migrate_down(&self) -> Result<MigrationStatus, IndexError> {
        self.backend
            .migrate(migrate::Step::new(&self.sql, migrate::Direction::Down))
            .await
    }

    /// Which migrations stand and which are still to come.
    pub async fn migration_status(&self) -> Result<MigrationStatus, IndexError> {
        self.backend
            .migrate(migrate::Step::new(&self.sql, migrate::Direction::Stay))
            .await
    }

    /// The metadata the index has of a file.
    pub async fn get(&self, id: Uuid) -> Result<Option<FileMetadata>, IndexError> {
        let rows = self.backend.fetch(&self.sql.get(id)).await?;
        rows.first()
            .map(|row| serde_json::from_str(row))
            .transpose()
            .map_err(IndexError::from)
    }

    /// One page of the files that match.
    pub async fn search(&self, search: &Search) -> Result<Page, IndexError> {
        let Statements { page, count, max_total } = search.statements(&self.sql);
        let (rows, total) = futures::try_join!(self.backend.fetch(&page), self.backend.fetch(&count))?;
        let mut items = rows
            .iter()
            .map(|row| serde_json::from_str(row))
            .collect::<Result<Vec<FileMetadata>, _>>()?;
        let more = items.len() > search.limit as usize;
        items.truncate(search.limit as usize);
        let next_cursor = items
            .last()
            .filter(|_| more)
            .map(|last| search.cursor_after(last).to_string());
        let counted: u64 = total
            .first()
            .map(|text| serde_json::from_str(text))
            .transpose()?
            .unwrap_or(0);
        Ok(Page {
            items,
            total: counted.min(max_total),
            total_exact: counted <= max_total,
            next_cursor,
        })
    }

    /// Counts files, bytes and unsettled log entries.
    pub async fn stats(&self) -> Result<IndexStats, IndexError> {
        let rows = self.backend.fetch(&self.sql.stats()).await?;
        let Some(row) = rows.first() else {
            return Err(sqlx::Error::RowNotFound.into());
        };
        let mut stats: IndexStats = serde_json::from_str(row)?;
        stats.wal_oldest_seconds = stats
            .wal_oldest
            .map(|oldest| Timestamp::now().duration_since(oldest).as_secs_f64());
        Ok(stats)
    }

    /// Log entries neither committed nor rolled back, oldest first.
    pub async fn pending(&self) -> Result<Vec<WalRecord>, IndexError> {
        self.wal_records(&self.sql.wal_pending()).await
    }

    /// Log entries about a file, of whichever server, that are pending.
    pub async fn pending_about(&self, id: Uuid) -> Result<Vec<WalRecord>, IndexError> {
        self.wal_records(&self.sql.wal_pending_about(id)).await
    }

    /// Log entries that are pending, or were settled at `since` or later.
    pub async fn logged_since(&self, since: Timestamp) -> Result<Vec<WalRecord>, IndexError> {
        self.wal_records(&self.sql.wal_since(since)).await
    }

    async fn wal_records(&self, statement: &Statement) -> Result<Vec<WalRecord>, IndexError> {
        let rows = self.backend.fetch(statement).await?;
        rows.iter()
            .map(|row| serde_json::from_str(row))
            .collect::<Result<_, _>>()
            .map_err(IndexError::from)
    }

    /// Makes a change durable; it shares its commit with others made at the same time.
    pub async fn change(&self, change: Change) -> Result<(), IndexError> {
        self.writer.submit(change).await
    }

    /// Forgets settled log entries that were completed before `time`, a batch at a time, so that nobody waits long for any.
    pub async fn prune_log(&self, time: Timestamp) -> Result<(), IndexError> {
        while !self.backend.fetch(&self.sql.wal_prunable(time)).await?.is_empty() {
            self.backend.transact(&[self.sql.wal_prune(time)]).await?;
        }
        Ok(())
    }

    /// Makes an empty shadow of the metadata table, dropping one that a killed rebuild left. This and what follows ends in
    /// [`IndexError::Fenced`] once another server has `lease`.
    pub async fn shadow_create(&self, lease: &Lease) -> Result<(), IndexError> {
        self.fenced(lease, self.sql.shadow_create()).await
    }

    /// Adds to the shadow, or replaces there, the metadata of `files`, and removes the files `gone` from their paths.
    pub async fn shadow_fill(
        &self,
        lease: &Lease,
        files: &[FileMetadata],
        gone: &[(Uuid, String)],
    ) -> Result<(), IndexError> {
        self.fenced(lease, self.sql.shadow_fill(files, gone)?).await
    }

    /// Puts the shadow in the metadata table's place, in one transaction.
    pub async fn shadow_swap(&self, lease: &Lease) -> Result<(), IndexError> {
        self.fenced(lease, self.sql.shadow_swap()).await
    }

    async fn fenced(&self, lease: &Lease, change: Vec<Statement>) -> Result<(), IndexError> {
        let statements: Vec<_> = lease.fence().into_iter().chain(change).collect();
        self.backend.transact(&statements).await.map_err(IndexError::of_fenced)
    }

    /// Closes every connection, after the changes already submitted.
    pub async fn close(&self) {
        self.writer.stop().await;
        self.backend.close().await;
    }
}

#[cfg(test)]
pub(crate) mod tests;
