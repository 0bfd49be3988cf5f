//! The shadow of the metadata table, which a rebuild fills while the table goes on answering, and which then takes its place.

use element_api::FileMetadata;
use uuid::Uuid;

use super::IndexError;
use super::dialect::{Dialect, names};
use super::migrate::{MIGRATIONS, render};
use super::sql::{FILE_COLUMNS, SEARCH_COLUMNS, Sql, Statement};
use super::totals::Counted;

/// What the first migration's indexes are called after the prefix, on PostgreSQL.
const FILE_INDEXES: [&str; 9] = [
    "fm_pkey",
    "fm_created_idx",
    "fm_size_idx",
    "fm_name_idx",
    "fm_user_idx",
    "fm_expires_idx",
    "fm_tags_idx",
    "fm_meta_idx",
    "fm_text_idx",
];

impl Sql {
    /// The shadow is made by the very migration that made the table, under a longer prefix.
    pub(super) fn shadow_create(&self) -> Vec<Statement> {
        let [metadata, ..] = MIGRATIONS;
        let prefix = format!("{}shadow_", self.prefix);
        let mut statements = self.shadow_drop();
        statements.push(Statement::new(render(metadata.up(self.dialect), &prefix), Vec::new()));
        statements.push(self.totals_of_new_shadow());
        statements
    }

    fn shadow_drop(&self) -> Vec<Statement> {
        let Self { prefix, shadow, .. } = self;
        let mut statements = vec![Statement::new(format!("DROP TABLE IF EXISTS {shadow}"), Vec::new())];
        if self.dialect == Dialect::Sqlite {
            statements.insert(
                0,
                Statement::new(format!("DROP TABLE IF EXISTS {prefix}shadow_fm_text"), Vec::new()),
            );
        }
        statements
    }

    pub(super) fn shadow_fill(
        &self,
        files: &[FileMetadata],
        gone: &[(Uuid, String)],
    ) -> Result<Vec<Statement>, IndexError> {
        let put = self.put_files_into(&self.shadow, files)?;
        let remove = self.remove_files_from(&self.shadow, gone);
        let ids: Vec<Uuid> = files
            .iter()
            .map(|file| file.file_id)
            .chain(gone.iter().map(|(id, _)| *id))
            .collect();
        Ok(self.counted(Counted::Shadow, &ids, vec![put, remove]))
    }

    /// PostgreSQL swaps names. SQLite cannot rename an index, so there the rows move, in the same single transaction.
    pub(super) fn shadow_swap(&self) -> Vec<Statement> {
        let Self {
            files, shadow, prefix, ..
        } = self;
        let plain = |sql: String| Statement::new(sql, Vec::new());
        let mut statements = match self.dialect {
            Dialect::Postgres => {
                let mut statements = vec![
                    plain(format!("DROP TABLE {files}")),
                    plain(format!("ALTER TABLE {shadow} RENAME TO {files}")),
                ];
                statements.extend(
                    FILE_INDEXES
                        .iter()
                        .map(|name| plain(format!("ALTER INDEX {prefix}shadow_{name} RENAME TO {prefix}{name}"))),
                );
                statements
            }
            Dialect::Sqlite => {
                let columns: Vec<_> = FILE_COLUMNS.into_iter().chain(SEARCH_COLUMNS).collect();
                let list = names(&columns);
                let mut statements = vec![
                    plain(format!("DELETE FROM {files}")),
                    plain(format!("INSERT INTO {files} ({list}) SELECT {list} FROM {shadow}")),
                ];
                statements.extend(self.shadow_drop());
                statements
            }
        };
        statements.push(self.totals_of_swapped_shadow());
        statements
    }
}
