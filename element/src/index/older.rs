//! Tables of an older system under our names: they are set aside, so that ours can take their place and be filled from the attr
//! files, which are the truth in both. Nothing of theirs is read or removed.

use super::dialect::Dialect;
use super::sql::{Parameter, Sql, Statement};
use super::{Index, IndexError};

/// What the names of tables set aside have behind the prefix.
const ASIDE: &str = "older_";

impl Index {
    /// Renames tables that bear our names and were not made by our migrations. Does nothing when there are none.
    pub(super) async fn set_older_tables_aside(&self) -> Result<(), IndexError> {
        let found = self.backend.fetch(&self.sql.tables_of_our_names()).await?;
        let migrations = self.sql.migrations();
        let older: Vec<&String> = found.iter().filter(|name| **name != migrations).collect();
        if older.is_empty() || (found.contains(&migrations) && self.is_migrated().await?) {
            return Ok(());
        }
        let renames: Vec<Statement> = older.iter().flat_map(|name| self.sql.set_aside(name)).collect();
        self.backend.transact(&renames).await?;
        tracing::warn!(tables = ?older, "set tables of an older system aside, as {}{ASIDE}*", self.sql.prefix);
        Ok(())
    }

    async fn is_migrated(&self) -> Result<bool, IndexError> {
        let applied = format!("SELECT '1' FROM {} LIMIT 1", self.sql.migrations());
        Ok(!self
            .backend
            .fetch(&Statement::new(applied, Vec::new()))
            .await?
            .is_empty())
    }
}

impl Sql {
    fn migrations(&self) -> String {
        format!("{}schema_migrations", self.prefix)
    }

    fn tables_of_our_names(&self) -> Statement {
        let names = match self.dialect {
            Dialect::Postgres => {
                "SELECT CAST(relname AS TEXT) FROM pg_class \
                 WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid) AND relname IN ($1, $2, $3)"
            }
            Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ($1, $2, $3)",
        };
        let tables = [self.files.clone(), self.wal.clone(), self.migrations()];
        Statement::new(names, tables.map(Parameter::Text).to_vec())
    }

    /// `name` is one of ours: it came from asking for it. On PostgreSQL an index keeps its name when its table is renamed, and would
    /// stand in the way of ours.
    fn set_aside(&self, name: &str) -> Vec<Statement> {
        let prefix = &self.prefix;
        let rest = name.strip_prefix(prefix).unwrap_or(name);
        let mut texts = vec![format!("ALTER TABLE {name} RENAME TO {prefix}{ASIDE}{rest}")];
        if self.dialect == Dialect::Postgres {
            texts.push(format!(
                "DO $$ DECLARE found record; BEGIN \
                 FOR found IN SELECT c.relname AS name FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid \
                 WHERE indrelid = '{prefix}{ASIDE}{rest}'::regclass AND starts_with(c.relname, '{prefix}') \
                 LOOP EXECUTE format('ALTER INDEX %I RENAME TO %I', found.name, \
                 '{prefix}{ASIDE}' || substr(found.name, length('{prefix}') + 1)); END LOOP; END $$"
            ));
        }
        texts.into_iter().map(|text| Statement::new(text, Vec::new())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Statement;
    use crate::index::tests::{TestDatabase, file, put};

    #[tokio::test]
    async fn tables_of_an_older_system_are_set_aside_once_and_kept() {
        for database in TestDatabase::both().await {
            let index = database.open("storage_elem_01_");
            let older = [
                "CREATE TABLE storage_elem_01_file_metadata (id INTEGER PRIMARY KEY, filename TEXT)",
                "INSERT INTO storage_elem_01_file_metadata (id, filename) VALUES (1, 'theirs')",
                "CREATE TABLE storage_elem_01_wal (id INTEGER PRIMARY KEY)",
            ];
            let statements = older.map(|text| Statement::new(text, Vec::new()));
            index.backend.transact(&statements).await.unwrap();
            // Where the schema stands says nothing yet of whose the tables are.
            assert_eq!(index.migration_status().await.unwrap().current(), None);
            for _ in 0..2 {
                index.migrate_up().await.unwrap();
                put(&index, &file(1)).await;
            }
            assert_eq!(index.get(file(1).file_id).await.unwrap(), Some(file(1)));
            let kept = Statement::new("SELECT filename FROM storage_elem_01_older_file_metadata", Vec::new());
            assert_eq!(index.backend.fetch(&kept).await.unwrap(), ["theirs"]);
            index.close().await;
            database.drop().await;
        }
    }
}
