//! The PostgreSQL backend: a pool, transactions and rows. What the statements say is `sql`'s.

mod create;
mod pulse;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection};

pub use self::create::create_database;
use self::pulse::Pulse;
use super::migrate::{MigrationStatus, Step};
use super::sql::{Parameter, Statement};
use super::together::INCOMPLETE;
use super::{Backend, IndexError};
use crate::config::DatabaseConfig;

/// A connection unused for longer is tried before it is used: the server may have gone meanwhile.
const IDLE_BEFORE_PING: Duration = Duration::from_secs(1);

/// Work that the server has not ended by then is given up, whatever else the server does. Rebuilds send their rows in batches, so
/// no statement is meant to take longer.
const SILENCE: Duration = Duration::from_secs(10);

/// The one writer, and a migration or rebuild beside it.
const WRITE_CONNECTIONS: u32 = 2;

/// For every connection. A server may be set up to answer a commit before it is on disk; more than that, such as a standby's word,
/// stays as it is. Compiling a plan takes longer than any statement of ours.
const READ_SETTINGS: &str = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; SET jit = off";

/// For those that write, too. A statement's plan is kept, and one made while a table is empty would read all of it for ever after;
/// every change of ours goes by an index.
const WRITE_SETTINGS: &str = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; SET jit = off; \
     SET enable_seqscan = off";

/// Writes have connections of their own, so that slow searches cannot hold them up.
pub(super) struct Postgres {
    reads: PgPool,
    writes: PgPool,
    pulse: Pulse,
}

impl Postgres {
    pub(super) fn open(config: &DatabaseConfig) -> Result<Self, IndexError> {
        let (options, pool_size) = connect_options(config)?;
        let reads = pool_size.saturating_sub(WRITE_CONNECTIONS).max(1);
        Ok(Self {
            reads: pool(reads, options.clone(), READ_SETTINGS),
            writes: pool(WRITE_CONNECTIONS, options.clone(), WRITE_SETTINGS),
            pulse: Pulse::new(options),
        })
    }
}

/// How to reach the element's database, and how many connections it may have.
fn connect_options(config: &DatabaseConfig) -> Result<(PgConnectOptions, u32), sqlx::Error> {
    let DatabaseConfig::Postgres {
        host,
        port,
        username,
        password,
        database,
        pool_size,
        ssl_mode,
        ssl_ca_cert,
        ..
    } = config
    else {
        return Err(sqlx::Error::Configuration("no PostgreSQL server is configured".into()));
    };
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(host)
        .port(*port)
        .username(username)
        .password(password.expose_secret())
        .database(database)
        .ssl_mode(*ssl_mode)
        .application_name("artstore-element");
    if let Some(path) = ssl_ca_cert {
        options = options.ssl_root_cert(path);
    }
    Ok((options, *pool_size))
}

fn pool(connections: u32, options: PgConnectOptions, settings: &'static str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(SILENCE)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            Box::pin(async move { connection.execute(sqlx::raw_sql(settings)).await.map(drop) })
        })
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > IDLE_BEFORE_PING {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

impl Postgres {
    /// Runs `work` on a connection of `pool`, which is thrown away when `work` is given up midway.
    async fn on_connection<T>(
        &self,
        pool: &PgPool,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let patience = self.pulse.patience()?;
        let mut connection = patience.wait(pool.acquire()).await??;
        match patience.wait(work(&mut connection)).await {
            Ok(result) => {
                if result.is_ok() {
                    self.pulse.felt();
                }
                result
            }
            Err(silent) => {
                connection.close_on_drop();
                Err(silent)
            }
        }
    }
}

async fn transact(connection: &mut PgConnection, statements: &[Statement]) -> Result<(), sqlx::Error> {
    // Alone it is a transaction anyway, and two round trips shorter.
    if let [statement] = statements
        && statement.changes_all_or_nothing()
    {
        return run(connection, statement)
            .await
            .map_err(|error| match error.as_database_error() {
                Some(refused) if refused.code().as_deref() == Some(INCOMPLETE) => sqlx::Error::RowNotFound,
                _ => error,
            });
    }
    let mut transaction = connection.begin().await?;
    for statement in statements {
        run(&mut transaction, statement).await?;
    }
    transaction.commit().await
}

async fn run(connection: &mut PgConnection, statement: &Statement) -> Result<(), sqlx::Error> {
    let done = if statement.parameters.is_empty() {
        connection.execute(sqlx::raw_sql(statement.text())).await?
    } else {
        connection.execute(bound(statement)).await?
    };
    if statement.is_satisfied_by(done.rows_affected()) {
        Ok(())
    } else {
        Err(sqlx::Error::RowNotFound)
    }
}

impl Backend for Postgres {
    fn transact<'a>(&'a self, statements: &'a [Statement]) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(self.on_connection(&self.writes, async move |connection| {
            transact(connection, statements).await
        }))
    }

    fn fetch<'a>(&'a self, statement: &'a Statement) -> BoxFuture<'a, Result<Vec<String>, sqlx::Error>> {
        Box::pin(async move {
            let fetch = async move |connection: &mut PgConnection| connection.fetch_all(bound(statement)).await;
            let rows = self.on_connection(&self.reads, fetch).await?;
            rows.iter().map(|row| sqlx::Row::try_get(row, 0)).collect()
        })
    }

    fn be_patient(&self) {
        self.pulse.be_patient();
    }

    fn answered_lately(&self) -> bool {
        self.pulse.was_felt_lately()
    }

    fn migrate<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<MigrationStatus, IndexError>> {
        Box::pin(async move {
            let acquired = self.pulse.patience()?.wait(self.writes.acquire()).await??;
            let mut connection = acquired.detach();
            let result = step.run(&mut connection).await;
            connection.close().await?;
            result.map_err(|error| match error {
                sqlx::migrate::MigrateError::Execute(source) => IndexError::from(source),
                other => IndexError::Migration(Arc::new(other)),
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

fn bound(statement: &Statement) -> sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let mut query = sqlx::query(statement.text()).persistent(!statement.planned_by_value);
    for parameter in &statement.parameters {
        query = match parameter {
            Parameter::Text(text) => query.bind(text),
            Parameter::Integer(number) => query.bind(number),
        };
    }
    query
}
