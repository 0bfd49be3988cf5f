//! The embedded SQLite backend: a pool, transactions and rows. What the statements say is `sql`'s.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::migrate::{MigrationStatus, Step};
use super::sql::{Parameter, Statement};
use super::{Backend, IndexError};
use crate::durable;

/// The database's file below the storage root.
const FILE: &str = ".artstore/element.db";

/// SQLite's codes for a flush that failed, of a file and of a folder.
const FAILED_FLUSHES: [&str; 2] = ["1034", "1290"];

/// How long a read waits for a connection: a server that is this busy had better say so.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// Connections that read.
const READ_CONNECTIONS: u32 = 4;

/// Connections that write; they take turns by SQLite's own lock.
const WRITE_CONNECTIONS: u32 = 2;

/// How long a statement waits for another's write to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes have connections of their own, so that slow searches cannot hold them up.
pub(super) struct Sqlite {
    reads: SqlitePool,
    writes: SqlitePool,
}

impl Sqlite {
    pub(super) fn open(storage_root: &Path) -> Result<Self, IndexError> {
        let file = storage_root.join(FILE);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(sqlx::Error::Io)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is durable when it returns, as the contract asks; NORMAL would only promise consistency.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections);
        Ok(Self {
            reads: pool(READ_CONNECTIONS)
                .acquire_timeout(READ_PATIENCE)
                .connect_lazy_with(options.clone()),
            writes: pool(WRITE_CONNECTIONS).connect_lazy_with(options),
        })
    }
}

/// Takes note where SQLite could not flush. It would try again and believe what the kernel says then, which proves nothing.
fn note_failed_flush(error: &sqlx::Error) {
    let code = error.as_database_error().and_then(|error| error.code());
    if code.is_some_and(|code| FAILED_FLUSHES.contains(&code.as_ref())) {
        durable::note_failed_flush();
    }
}

async fn transact(connection: &mut SqliteConnection, statements: &[Statement]) -> Result<(), sqlx::Error> {
    // IMMEDIATE takes the write lock first, so that two writers wait for each other instead of failing midway.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for statement in statements {
        let done = if statement.parameters.is_empty() {
            transaction.execute(sqlx::raw_sql(statement.text())).await?
        } else {
            transaction.execute(bound(statement)).await?
        };
        if !statement.is_satisfied_by(done.rows_affected()) {
            return Err(sqlx::Error::RowNotFound);
        }
    }
    transaction.commit().await
}

impl Backend for Sqlite {
    fn transact<'a>(&'a self, statements: &'a [Statement]) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let mut connection = self.writes.acquire().await?;
            let result = transact(&mut connection, statements).await;
            if let Err(error) = &result {
                note_failed_flush(error);
                // SQLite ends a transaction by itself when the volume is full or fails, and the pool believes that it goes on.
                connection.close_on_drop();
            }
            result
        })
    }

    fn fetch<'a>(&'a self, statement: &'a Statement) -> BoxFuture<'a, Result<Vec<String>, sqlx::Error>> {
        Box::pin(async move {
            // Some that answer rows change some, too.
            let rows = self
                .reads
                .fetch_all(bound(statement))
                .await
                .inspect_err(note_failed_flush)?;
            rows.iter().map(|row| sqlx::Row::try_get(row, 0)).collect()
        })
    }

    fn migrate<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<MigrationStatus, IndexError>> {
        Box::pin(async move {
            let mut connection = self.writes.acquire().await?.detach();
            let result = step.run(&mut connection).await;
            connection.close().await?;
            result.map_err(|error| {
                if let MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) = &error {
                    note_failed_flush(source);
                }
                IndexError::Migration(Arc::new(error))
            })
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.reads.close().await;
            self.writes.close().await;
        })
    }
}

fn bound(statement: &Statement) -> sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    let mut query = sqlx::query(statement.text());
    for parameter in &statement.parameters {
        query = match parameter {
            Parameter::Text(text) => query.bind(text),
            Parameter::Integer(number) => query.bind(number),
        };
    }
    query
}
