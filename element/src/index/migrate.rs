//! Migrations of the schema, up and down, with the table prefix in every name.

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};

use super::dialect::Dialect;
use super::sql::{Sql, Statement};

/// One version of the schema, for each database, up and down.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) version: i64,
    name: &'static str,
    postgres: [&'static str; 2],
    sqlite: [&'static str; 2],
}

macro_rules! entry {
    ($version:literal, $file:literal, $name:literal) => {
        Entry {
            version: $version,
            name: $name,
            postgres: [
                include_str!(concat!("../../migrations/postgres/", $file, ".up.sql")),
                include_str!(concat!("../../migrations/postgres/", $file, ".down.sql")),
            ],
            sqlite: [
                include_str!(concat!("../../migrations/sqlite/", $file, ".up.sql")),
                include_str!(concat!("../../migrations/sqlite/", $file, ".down.sql")),
            ],
        }
    };
}

/// Every version, oldest first. A version that was released is never edited.
pub(super) const MIGRATIONS: [Entry; 5] = [
    entry!(1, "0001_file_metadata", "file metadata"),
    entry!(2, "0002_wal", "write-ahead log"),
    entry!(3, "0003_instance", "instances and leases"),
    entry!(4, "0004_totals", "totals"),
    entry!(5, "0005_task", "maintenance tasks"),
];

impl Entry {
    pub(super) const fn up(self, dialect: Dialect) -> &'static str {
        let [up, _] = self.texts(dialect);
        up
    }

    const fn texts(self, dialect: Dialect) -> [&'static str; 2] {
        match dialect {
            Dialect::Postgres => self.postgres,
            Dialect::Sqlite => self.sqlite,
        }
    }
}

/// A migration's text for one element.
pub(super) fn render(text: &str, prefix: &str) -> String {
    text.replace("{prefix}", prefix)
}

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
    Stay,
}

/// A move of one element's schema.
pub(super) struct Step<'a> {
    sql: &'a Sql,
    direction: Direction,
}

/// Where the schema stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Version, name and whether it is applied, oldest first.
    pub versions: Vec<(i64, &'static str, bool)>,
}

impl MigrationStatus {
    /// The newest version applied.
    pub fn current(&self) -> Option<i64> {
        self.versions
            .iter()
            .filter(|(_, _, applied)| *applied)
            .map(|(version, _, _)| *version)
            .max()
    }
}

impl<'a> Step<'a> {
    pub(super) const fn new(sql: &'a Sql, direction: Direction) -> Self {
        Self { sql, direction }
    }

    /// Runs on a connection of its own, which the caller closes afterwards whatever the result: a failure leaves the
    /// migration lock with it.
    pub(super) async fn run<C: Migrate>(self, connection: &mut C) -> Result<MigrationStatus, MigrateError> {
        let table = format!("{}schema_migrations", self.sql.prefix);
        let migrator = self.migrator(&table);
        if self.direction == Direction::Up {
            migrator.run_direct(None, connection, false).await?;
        }
        connection.lock().await?;
        connection.ensure_migrations_table(&table).await?;
        let mut applied = versions(connection, &table).await?;
        if self.direction == Direction::Down
            && let Some(last) = applied.pop()
        {
            let is_last = |found: &&Migration| found.version == last && found.migration_type.is_down_migration();
            let migration = migrator
                .iter()
                .find(is_last)
                .ok_or(MigrateError::VersionMissing(last))?;
            connection.revert(&table, migration).await?;
        }
        connection.unlock().await?;
        let versions = MIGRATIONS
            .iter()
            .map(|entry| (entry.version, entry.name, applied.contains(&entry.version)));
        Ok(MigrationStatus {
            versions: versions.collect(),
        })
    }

    fn migrator(&self, table: &str) -> Migrator {
        let mut migrations = Vec::new();
        for entry in MIGRATIONS {
            let types = [MigrationType::ReversibleUp, MigrationType::ReversibleDown];
            for (text, kind) in entry.texts(self.sql.dialect).into_iter().zip(types) {
                let text = Statement::new(render(text, &self.sql.prefix), Vec::new()).text();
                migrations.push(Migration::new(entry.version, entry.name.into(), kind, text, false));
            }
        }
        let mut migrator = Migrator::with_migrations(migrations);
        migrator.dangerous_set_table_name(table.to_owned());
        migrator
    }
}

async fn versions<C: Migrate>(connection: &mut C, table: &str) -> Result<Vec<i64>, MigrateError> {
    let mut versions: Vec<i64> = connection
        .list_applied_migrations(table)
        .await?
        .into_iter()
        .map(|applied| applied.version)
        .collect();
    versions.sort_unstable();
    Ok(versions)
}
