//! How many files there are and how many bytes they take: a row kept in the transaction of every change, so that nobody ever has
//! to count. The shadow table of a rebuild has a row of its own, which the swap takes over.
//!
//! A change subtracts what stands for its files beforehand and adds what stands afterwards, which is right for new, changed,
//! missing and doubled files alike, and is one text for both databases.

use serde_json::json;
use uuid::Uuid;

use super::sql::{Parameter, Sql, Statement};

/// Which table a row counts.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    Files,
    Shadow,
}

impl Counted {
    const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Shadow => "shadow",
        }
    }

    fn table(self, sql: &Sql) -> &str {
        match self {
            Self::Files => &sql.files,
            Self::Shadow => &sql.shadow,
        }
    }
}

impl Sql {
    /// `change`, with the totals following what it does to the rows of `ids`.
    pub(super) fn counted(&self, counted: Counted, ids: &[Uuid], change: Vec<Statement>) -> Vec<Statement> {
        if ids.is_empty() {
            return change;
        }
        let mut statements = vec![self.adjust(counted, '-', ids)];
        statements.extend(change);
        statements.push(self.adjust(counted, '+', ids));
        statements
    }

    fn adjust(&self, counted: Counted, sign: char, ids: &[Uuid]) -> Statement {
        let (totals, table, name) = (&self.totals, counted.table(self), counted.name());
        let is_given = self.dialect.is_id_of("found.file_id", 1);
        Statement::new(
            format!(
                "UPDATE {totals} SET (files, bytes) = (SELECT {totals}.files {sign} count(*), \
                 {totals}.bytes {sign} CAST(coalesce(sum(found.file_size), 0) AS BIGINT) \
                 FROM {table} AS found WHERE {is_given}) WHERE name = '{name}'"
            ),
            vec![Parameter::Text(json!(ids).to_string())],
        )
    }

    /// Counts everything anew. The first statement takes the row's lock, so that the second sees all that was committed before.
    pub(super) fn recount(&self) -> Vec<Statement> {
        let Self { totals, files, .. } = self;
        [
            format!("UPDATE {totals} SET files = files WHERE name = 'files'"),
            format!(
                "UPDATE {totals} SET (files, bytes) = (SELECT count(*), CAST(coalesce(sum(file_size), 0) AS BIGINT) \
                 FROM {files}) WHERE name = 'files'"
            ),
        ]
        .map(|text| Statement::new(text, Vec::new()))
        .to_vec()
    }

    /// The totals of an empty shadow table.
    pub(super) fn totals_of_new_shadow(&self) -> Statement {
        let totals = &self.totals;
        Statement::new(
            format!("UPDATE {totals} SET files = 0, bytes = 0 WHERE name = 'shadow'"),
            Vec::new(),
        )
    }

    /// The shadow's totals become the totals.
    pub(super) fn totals_of_swapped_shadow(&self) -> Statement {
        let totals = &self.totals;
        Statement::new(
            format!(
                "UPDATE {totals} SET files = (SELECT files FROM {totals} WHERE name = 'shadow'), \
                 bytes = (SELECT bytes FROM {totals} WHERE name = 'shadow') WHERE name = 'files'"
            ),
            Vec::new(),
        )
    }
}
